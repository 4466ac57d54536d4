//! Whether a condition holds.

use super::Facts;
use super::cel::Failed;
use crate::config::Condition;

/// Whether `condition` holds for the request.
///
/// # Errors
/// An expression cannot be evaluated on this request.
pub fn holds(condition: &Condition, facts: &Facts<'_>) -> Result<bool, Failed> {
    let asked = &facts.asked;
    Ok(match condition {
        Condition::Path(patterns) => patterns.match_one(asked.path),
        Condition::Operation(operations) => operations.contains(&asked.operation),
        Condition::Dialect(dialects) => dialects.contains(&asked.dialect),
        Condition::Header(name, patterns) => {
            let mut values = asked.headers.get_all(name).iter();
            values.any(|value| patterns.match_one(&String::from_utf8_lossy(value.as_bytes())))
        }
        Condition::Key(patterns) => asked.key.is_some_and(|key| patterns.match_one(&key.name)),
        Condition::Tag(patterns) => asked.key.is_some_and(|key| key.tags().iter().any(|tag| patterns.match_one(tag))),
        Condition::Team(patterns) => asked.key.and_then(|key| key.team()).is_some_and(|team| patterns.match_one(team)),
        Condition::Model(patterns) => asked.model.is_some_and(|model| model.is(|name| patterns.match_one(name))),
        Condition::Stream(wanted) => asked.stream == *wanted,
        Condition::Images(wanted) => facts.body().images == *wanted,
        Condition::Tools(wanted) => facts.body().tools == *wanted,
        Condition::PromptTokens { min, max } => (*min..=*max).contains(&facts.body().prompt_tokens()),
        Condition::Metadata(name, patterns) => {
            facts.body().metadata.iter().any(|(field, value)| field == name && patterns.match_one(value))
        }
        Condition::Cel(expression) => expression.holds(facts)?,
        Condition::Not(conditions) => {
            for condition in conditions {
                if !holds(condition, facts)? {
                    return Ok(true);
                }
            }
            false
        }
    })
}
