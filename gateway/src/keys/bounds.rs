//! Limits and budgets of a key as the admin API reads, shows and keeps them: the words of the file, in JSON.
//!
//! ```json
//! { "limits": [{ "requests": "600/min" }, { "concurrent": 32 }], "budget": [{ "usd": 50.0, "per": "month", "soft": 0.8 }] }
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::KeyError;
use crate::config::{budget_rule, concurrent_rule, dollars_and_soft, rate_rule};
use crate::limits::{Period, Rule, What};

/// Limits, or budgets, of one key.
const MOST: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    requests: Option<String>,
    tokens: Option<String>,
    concurrent: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    usd: f64,
    per: String,
    soft: Option<f64>,
}

/// The rules of the field `limits`: one table or several; `null` is none.
pub(super) fn limits(written: Value) -> Result<Vec<Rule>, KeyError> {
    let mut rules = Vec::new();
    for table in tables::<Limits>("limits", written)? {
        for (what, text) in [(What::Requests, table.requests), (What::Tokens, table.tokens)] {
            let rule = text.map(|text| rate_rule(what, &text).map_err(|error| KeyError::field("limits", error)));
            rules.extend(rule.transpose()?);
        }
        if let Some(most) = table.concurrent {
            let none = || KeyError::field("limits", "`concurrent` is 1 or more: no request could ever be made");
            rules.push(concurrent_rule(most).ok_or_else(none)?);
        }
    }
    if rules.len() > MOST {
        return Err(too_many("limits"));
    }
    Ok(rules)
}

/// The rules of the field `budget`: one table or several; `null` is none.
pub(super) fn budgets(written: Value) -> Result<Vec<Rule>, KeyError> {
    let rule = |Budget { usd, per, soft }| {
        budget_rule(usd, &per, soft).map_err(|bad| {
            let help = bad.help.map(|help| format!(": {help}")).unwrap_or_default();
            KeyError::field("budget", format!("`{}`: {}{help}", bad.field, bad.message))
        })
    };
    tables("budget", written)?.into_iter().map(rule).collect()
}

fn tables<T: serde::de::DeserializeOwned>(field: &str, written: Value) -> Result<Vec<T>, KeyError> {
    let tables = match written {
        Value::Null => Vec::new(),
        Value::Array(tables) => tables,
        table => vec![table],
    };
    if tables.len() > MOST {
        return Err(too_many(field));
    }
    let table = |table| serde_json::from_value(table).map_err(|error| KeyError::field(field, error.to_string()));
    tables.into_iter().map(table).collect()
}

fn too_many(field: &str) -> KeyError {
    KeyError::field(field, format!("there are more than {MOST}"))
}

/// What [`limits`] reads of these rules.
pub(super) fn shown_limits(rules: &[Rule]) -> Vec<Value> {
    let shown = |rule: &Rule| {
        let rate = || format!("{}/{}", rule.limit, unit(rule.period));
        match rule.what {
            What::Requests => Some(json!({ "requests": rate() })),
            What::Tokens => Some(json!({ "tokens": rate() })),
            What::Concurrent => Some(json!({ "concurrent": rule.limit })),
            What::Cost => None,
        }
    };
    rules.iter().filter_map(shown).collect()
}

/// What [`budgets`] reads of these rules.
pub(super) fn shown_budgets(rules: &[Rule]) -> Vec<Value> {
    let budgets = rules.iter().filter(|rule| rule.what == What::Cost);
    let shown = budgets.map(|rule| {
        let (usd, soft) = dollars_and_soft(rule);
        json!(Budget { usd, per: rule.period.to_string().replace(' ', ""), soft: Some(soft) })
    });
    shown.collect()
}

fn unit(period: Period) -> String {
    match period {
        Period::Sliding(1_000) => "s".to_owned(),
        Period::Sliding(60_000) => "min".to_owned(),
        Period::Sliding(3_600_000) => "hour".to_owned(),
        Period::Sliding(86_400_000) => "day".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        let written = json!([{ "requests": "600/min", "tokens": "5/s" }, { "requests": "9/h" }, { "tokens": "7/day" }, { "concurrent": 3 }]);
        let rules = limits(written).unwrap();
        assert_eq!(rules.len(), 5);
        assert_eq!(limits(json!(shown_limits(&rules))).unwrap(), rules);
        assert!(shown_budgets(&rules).is_empty());
        for per in ["hour", "day", "week", "month", "total", "30d", "36h", "90m", "1ms", "100years"] {
            for usd in [1e-300, 1e-12, 0.000001, 0.1, 12.34, 50.0, 8_999_999.0] {
                for soft in [None, Some(1.0), Some(0.333), Some(1e-6)] {
                    let rules = budgets(json!({ "usd": usd, "per": per, "soft": soft })).unwrap();
                    assert_eq!(budgets(json!(shown_budgets(&rules))).unwrap(), rules, "{usd} {per} {soft:?}");
                    assert!(shown_limits(&rules).is_empty());
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_field() {
        for bad in [
            json!(7),
            json!("600/min"),
            json!([[]]),
            json!({ "requests": "600" }),
            json!({ "requests": "0/min" }),
            json!({ "requests": "-1/min" }),
            json!({ "tokens": 5 }),
            json!({ "concurrent": 0 }),
            json!({ "concurrent": -1 }),
            json!({ "money": 1 }),
            json!(vec![json!({}); 33]),
            // As many tables as may be, and more limits.
            json!(vec![json!({ "requests": "1/s", "concurrent": 1 }); 17]),
        ] {
            assert!(matches!(limits(bad.clone()), Err(KeyError::Field { field, .. }) if field == "limits"), "{bad}");
        }
        for bad in [
            json!(7),
            json!({ "usd": 1 }),
            json!({ "usd": 0, "per": "day" }),
            json!({ "usd": -1, "per": "day" }),
            json!({ "usd": 1e300, "per": "day" }),
            json!({ "usd": "1", "per": "day" }),
            json!({ "usd": 1, "per": "fortnight" }),
            json!({ "usd": 1, "per": "'; DROP TABLE keys" }),
            json!({ "usd": 1, "per": "0s" }),
            json!({ "usd": 1, "per": "day", "soft": 2 }),
            json!({ "usd": 1, "per": "day", "soft": 1e-7 }),
        ] {
            assert!(matches!(budgets(bad.clone()), Err(KeyError::Field { field, .. }) if field == "budget"), "{bad}");
        }
        assert_eq!(limits(Value::Null), Ok(vec![]));
    }
}
