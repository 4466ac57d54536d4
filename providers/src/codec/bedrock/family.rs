//! `additionalModelRequestFields`: what each family of models calls the parameters that Converse has no field for.

use serde_json::json;

use super::wire::AnyObject;
use crate::catalogue::Thinking;
use crate::common::{Effort, Extras, Json, ReasoningConfig, ReasoningMode, Request, ToolChoice};
use crate::dialect::Dialect;

/// Whose model it is. Model ids say so: `[region.]vendor.model`, alone or at the end of an ARN
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Claude: `thinking`, `output_config`, `top_k`.
    Anthropic,
    /// Nova: `reasoningConfig`, `inferenceConfig.topK`.
    Amazon,
    /// gpt-oss: `reasoning_effort`.
    OpenAi,
    /// `reasoning_config`, a word.
    Qwen,
    /// Another vendor, whose models take none of these; or imported, which no Claude is.
    Other,
    /// Ids that name no vendor: application inference profiles, prompts.
    Unknown,
}

impl Family {
    pub(super) fn of(model: &str) -> Self {
        if model.contains(":imported-model/") {
            return Self::Other;
        }
        let id = model.rsplit('/').next().unwrap_or(model);
        let arn = model.starts_with("arn:");
        for part in id.split('.') {
            match part {
                "anthropic" => return Self::Anthropic,
                "amazon" => return Self::Amazon,
                "openai" => return Self::OpenAi,
                "qwen" => return Self::Qwen,
                _ => {}
            }
        }
        if arn && !id.contains('.') || !id.contains('.') { Self::Unknown } else { Self::Other }
    }

    /// Whether its models take cache points. Other vendors' models refuse the request.
    pub(super) const fn caches(self) -> bool {
        matches!(self, Self::Anthropic | Self::Amazon | Self::Unknown)
    }
}

/// Takes what the common model has a place for out of the fields; gives back the rest.
pub(super) fn read<'a>(fields: Json<'a>, request: &mut Request<'a>) -> Option<Json<'a>> {
    if !fields.is_object() {
        return Some(fields);
    }
    let object: AnyObject<'_> = fields.read().unwrap_or_default();
    let all = object.rest.len();
    let rest: Extras<'_> = object.rest.into_iter().filter(|(key, value)| !take(key, value, request)).collect();
    match rest.len() {
        // `{}` says nothing.
        0 => None,
        left if left == all => Some(fields.clone()),
        _ => Some(Json::of(&super::write::Fields(&rest))),
    }
}

/// Whether the field could be taken whole.
fn take(key: &str, value: &Json<'_>, request: &mut Request<'_>) -> bool {
    let value = value.to_value();
    let only =
        |keys: &[&str]| value.as_object().is_some_and(|object| object.keys().all(|key| keys.contains(&key.as_str())));
    match key {
        "top_k" => value.as_u64().map(|top_k| request.top_k = Some(top_k)).is_some(),
        "inferenceConfig" if only(&["topK"]) => {
            value["topK"].as_u64().map(|top_k| request.top_k = Some(top_k)).is_some()
        }
        "thinking" | "reasoning_config" if only(&["type", "budget_tokens", "display"]) => {
            let mode = match value["type"].as_str() {
                Some("enabled") => ReasoningMode::Enabled,
                Some("adaptive") => ReasoningMode::Adaptive,
                Some("disabled") => ReasoningMode::Disabled,
                Some(_) | None => return false,
            };
            let show = match value.get("display").map(|word| word.as_str()) {
                None => None,
                Some(Some("summarized")) => Some(true),
                Some(Some("omitted")) => Some(false),
                Some(_) => return false,
            };
            let reasoning = request.reasoning.get_or_insert_default();
            (reasoning.mode, reasoning.budget, reasoning.show) = (Some(mode), value["budget_tokens"].as_u64(), show);
            true
        }
        "reasoning_config" | "reasoning_effort" => effort(value.as_str(), request),
        "output_config" if only(&["effort"]) => effort(value["effort"].as_str(), request),
        "reasoningConfig" if only(&["type", "maxReasoningEffort"]) => {
            let mode = match value["type"].as_str() {
                Some("enabled") => ReasoningMode::Enabled,
                Some("disabled") => ReasoningMode::Disabled,
                Some(_) | None => return false,
            };
            if value.get("maxReasoningEffort").is_some() && !effort(value["maxReasoningEffort"].as_str(), request) {
                return false;
            }
            request.reasoning.get_or_insert_default().mode = Some(mode);
            true
        }
        _ => false,
    }
}

pub(super) fn effort(word: Option<&str>, request: &mut Request<'_>) -> bool {
    let effort = word.and_then(Effort::parse);
    if effort.is_some() {
        request.reasoning.get_or_insert_default().effort = effort;
    }
    effort.is_some()
}

/// What is left unsaid, and what goes where.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// For `additionalModelRequestFields`.
    pub(super) fields: Extras<'static>,
    /// For `outputConfig.effort`, which is not tied to a family.
    pub(super) effort: Option<Effort>,
    /// Claude thinks: it takes no other temperature than 1, no `top_k` and no forced tool.
    pub(super) thinks: bool,
    /// Nova reasons as hard as it can: it takes no sampling.
    pub(super) at_most: bool,
    pub(super) lost_reasoning: bool,
    pub(super) lost_top_k: bool,
}

impl Fields {
    fn push(&mut self, key: &'static str, value: &serde_json::Value) {
        self.fields.push((key.into(), Json::of(value)));
    }
}

/// Writes `top_k` and the reasoning in the family's words. `unproven`: the model is in the middle of a turn whose reasoning
/// does not come back to it, which Claude refuses to go on thinking about. `model`: how it takes reasoning, if it is Claude.
pub(super) fn write(
    request: &Request<'_>,
    reasoning: Option<&ReasoningConfig<'_>>,
    family: Family,
    model: Thinking,
    unproven: bool,
) -> Fields {
    let mut out = Fields::default();
    let own = request.dialect == Dialect::Bedrock;
    // A client of this dialect knows its model behind an id that does not tell; most such models are Claude. So does an operator
    // who says how it thinks.
    let known = own || !matches!(model, Thinking::AsAsked | Thinking::Unsupported);
    let family = if known && family == Family::Unknown { Family::Anthropic } else { family };
    if let Some(reasoning) = reasoning {
        match family {
            Family::Anthropic if model.adaptive_only() => without_budget(reasoning, model, &mut out),
            Family::Anthropic => {
                let forced = matches!(
                    request.tool_choice,
                    Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
                );
                // Nor does it think where it must call a tool; the call is what the client relies on.
                let cannot = unproven || forced && request.dialect != Dialect::Anthropic && !own;
                claude(reasoning, request, cannot, &mut out);
            }
            Family::Amazon => match level(reasoning) {
                // Nova does not reason unless told to, and its first generation does not know the field.
                Some(Effort::None) if !own => {}
                Some(Effort::None) => out.push("reasoningConfig", &json!({"type": "disabled"})),
                Some(level) => {
                    let high = three(level) == Effort::High && !own;
                    // There it takes no bound either, which is worth more to who gave one.
                    out.lost_reasoning = high && request.max_tokens.is_some();
                    out.at_most = high && !out.lost_reasoning;
                    let level = if out.lost_reasoning { Effort::Medium } else { three(level) };
                    out.push("reasoningConfig", &json!({"type": "enabled", "maxReasoningEffort": level.as_str()}));
                }
                None => {}
            },
            Family::OpenAi | Family::Qwen => {
                let key = if family == Family::Qwen { "reasoning_config" } else { "reasoning_effort" };
                match level(reasoning) {
                    // Qwen does not reason unless told to; gpt-oss always does.
                    Some(Effort::None) => out.lost_reasoning = family == Family::OpenAi,
                    Some(level) => out.push(key, &json!(three(level).as_str())),
                    None => {}
                }
            }
            Family::Other | Family::Unknown if own && reasoning.effort.is_some() => out.effort = reasoning.effort,
            Family::Other | Family::Unknown => {
                out.lost_reasoning = level(reasoning).is_some_and(|it| it != Effort::None)
            }
        }
    }
    match (request.top_k, family) {
        (None, _) => {}
        (Some(_), Family::Anthropic) if (out.thinks || model.adaptive_only()) && !own => out.lost_top_k = true,
        (Some(top_k), Family::Anthropic) => out.push("top_k", &json!(top_k)),
        (Some(_), Family::Amazon) if out.at_most => out.lost_top_k = true,
        (Some(top_k), Family::Amazon) => out.push("inferenceConfig", &json!({"topK": top_k})),
        (Some(top_k), Family::Other) if own => out.push("top_k", &json!(top_k)),
        (Some(_), Family::OpenAi | Family::Qwen | Family::Other | Family::Unknown) => out.lost_top_k = true,
    }
    out
}

/// <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>
fn claude(reasoning: &ReasoningConfig<'_>, request: &Request<'_>, cannot: bool, out: &mut Fields) {
    // Summaries: what Claude shows is one already.
    let ReasoningConfig { mode, effort, budget, summary: _, show } = reasoning;
    let knows_claude = matches!(request.dialect, Dialect::Bedrock | Dialect::Anthropic);
    let mut think = |mut thinking: serde_json::Value| {
        if cannot {
            out.lost_reasoning = true;
            return;
        }
        if let Some(show) = show.filter(|_| knows_claude) {
            thinking["display"] = json!(if show { "summarized" } else { "omitted" });
        }
        out.thinks = true;
        out.push("thinking", &thinking);
    };
    match mode {
        Some(ReasoningMode::Disabled) if knows_claude => out.push("thinking", &json!({"type": "disabled"})),
        // It does not, unless told to.
        Some(ReasoningMode::Disabled) => {}
        Some(ReasoningMode::Adaptive) if knows_claude => think(json!({"type": "adaptive"})),
        // Elsewhere an effort asks for reasoning by itself.
        None if budget.is_none() && (knows_claude || effort.is_none()) => {}
        Some(ReasoningMode::Enabled | ReasoningMode::Adaptive) | None => {
            let wanted = budget.or(effort.map(Effort::budget)).unwrap_or(Effort::Medium.budget());
            // The budget is a part of `max_tokens`, and 1,024 the least.
            let room = request.max_tokens.map_or(u64::MAX, |most| most.saturating_sub(1));
            if knows_claude {
                think(json!({"type": "enabled", "budget_tokens": wanted}));
            } else if wanted > 0 && room >= 1024 {
                think(json!({"type": "enabled", "budget_tokens": wanted.clamp(1024, room)}));
            } else {
                out.lost_reasoning = wanted > 0;
            }
        }
    }
    if let Some(effort) = effort.filter(|_| knows_claude) {
        out.push("output_config", &json!({"effort": effort.as_str()}));
    }
}

/// For models that take no budget.
fn without_budget(reasoning: &ReasoningConfig<'_>, model: Thinking, out: &mut Fields) {
    match level(reasoning) {
        None => {}
        Some(Effort::None) if model == Thinking::Adaptive => out.push("thinking", &json!({"type": "disabled"})),
        Some(Effort::None) => out.lost_reasoning = true,
        Some(asked) => {
            out.thinks = true;
            out.push("thinking", &json!({"type": "adaptive"}));
            out.push("output_config", &json!({"effort": asked.max(Effort::Low).as_str()}));
        }
    }
}

/// As one level; `None`: nothing is asked.
fn level(reasoning: &ReasoningConfig<'_>) -> Option<Effort> {
    match (reasoning.mode, reasoning.effort, reasoning.budget) {
        (Some(ReasoningMode::Disabled), ..) => Some(Effort::None),
        (_, Some(effort), _) => Some(effort),
        (_, None, Some(budget)) => Some(Effort::of_budget(budget)),
        (Some(_), None, None) => Some(Effort::Medium),
        (None, None, None) => None,
    }
}

/// For models that know three levels.
fn three(effort: Effort) -> Effort {
    effort.clamp(Effort::Low, Effort::High)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_vendor() {
        for (id, family) in [
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Anthropic),
            ("anthropic.claude-v2", Family::Anthropic),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2", Family::Anthropic),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-micro-v1:0", Family::Amazon),
            ("openai.gpt-oss-120b-1:0", Family::OpenAi),
            ("qwen.qwen3-32b-v1:0", Family::Qwen),
            ("us.meta.llama4-maverick-17b-instruct-v1:0", Family::Other),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/mi1dadi0g15f", Family::Unknown),
            ("arn:aws:bedrock:us-east-1:1:imported-model/q5nk93fkzl6o", Family::Other),
            ("", Family::Unknown),
        ] {
            assert_eq!(Family::of(id), family, "{id}");
        }
    }

    fn written(dialect: Dialect, reasoning: ReasoningConfig<'static>, family: Family) -> String {
        let mut request = Request::new(dialect);
        request.reasoning = Some(reasoning);
        request.top_k = Some(5);
        request.max_tokens = Some(8000);
        let out = write(&request, request.reasoning.as_ref(), family, Thinking::AsAsked, false);
        Json::of(&super::super::write::Fields(&out.fields)).get().to_owned()
    }

    #[test]
    fn an_effort_becomes_what_the_family_knows() {
        let effort = |effort| ReasoningConfig { effort: Some(effort), ..ReasoningConfig::default() };
        let of = |family| written(Dialect::OpenAiChat, effort(Effort::High), family);
        assert_eq!(of(Family::Anthropic), r#"{"thinking":{"budget_tokens":7999,"type":"enabled"}}"#);
        assert_eq!(
            of(Family::Amazon),
            r#"{"reasoningConfig":{"maxReasoningEffort":"medium","type":"enabled"},"inferenceConfig":{"topK":5}}"#
        );
        assert_eq!(of(Family::OpenAi), r#"{"reasoning_effort":"high"}"#);
        assert_eq!(of(Family::Qwen), r#"{"reasoning_config":"high"}"#);
        assert_eq!(of(Family::Other), "{}");
        let claude = |reasoning| written(Dialect::Anthropic, reasoning, Family::Anthropic);
        assert_eq!(claude(effort(Effort::Max)), r#"{"output_config":{"effort":"max"},"top_k":5}"#);
    }

    #[test]
    fn fields_that_map_are_taken_and_others_stay() {
        let mut request = Request::new(Dialect::Bedrock);
        let fields = r#"{"thinking":{"type":"enabled","budget_tokens":2000},"top_k":7,"anthropic_beta":["x"],
            "output_config":{"effort":"high","format":{}}}"#;
        let rest = read(Json::parse(fields).unwrap(), &mut request).unwrap();
        assert_eq!(rest.get(), r#"{"anthropic_beta":["x"],"output_config":{"effort":"high","format":{}}}"#);
        let reasoning = request.reasoning.unwrap();
        assert_eq!((reasoning.budget, reasoning.effort, request.top_k), (Some(2000), None, Some(7)));
        let mut request = Request::new(Dialect::Bedrock);
        assert_eq!(read(Json::parse("{}").unwrap(), &mut request), None);
        assert_eq!(read(Json::parse("\"test\"").unwrap(), &mut request).unwrap().get(), "\"test\"");
    }
}
