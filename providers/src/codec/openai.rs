//! What OpenAI's own models and APIs take less of than their two dialects can say.

use super::Target;
use super::detail::Words;
use super::media::is_usual_image;
use crate::catalogue::{Thinking, Traits};
use crate::common::{Effort, Losses, Media, MediaKind, MediaSource, ReasoningConfig, ReasoningMode, Str};
use crate::dialect::Dialect;
use crate::preset::LimitSpelling;

/// The most texts that end an answer: <https://platform.openai.com/docs/api-reference/chat/create>.
const MOST_STOPS: usize = 4;

/// The least that may be set as the most output tokens: <https://platform.openai.com/docs/api-reference/responses/create>.
const LEAST_OUTPUT: u64 = 16;

/// Whether the target is OpenAI's own API or Azure's: what only they know is sent to nobody else, because some vendors refuse
/// fields that they do not know.
pub(super) fn is_reference(target: &Target<'_>) -> bool {
    target.quirks.limit == LimitSpelling::MaxCompletionTokens && target.quirks.developer_role
}

/// Whether OpenAI reads a medium of its type: of images four sorts, of sounds two.
pub(super) fn reads(media: &Media<'_>) -> bool {
    let mime = media.mime.as_deref();
    match (media.kind, &media.source) {
        (MediaKind::Image, MediaSource::Data(_)) => is_usual_image(mime),
        (MediaKind::Audio, MediaSource::Data(_)) => mime.is_none_or(|mime| matches!(sound_format(mime), "wav" | "mp3")),
        (_, _) => true,
    }
}

/// OpenAI's word for a media type of sound.
pub(super) fn sound_format(mime: &str) -> &str {
    let mime = mime.split(';').next().unwrap_or(mime);
    match mime.strip_prefix("audio/").unwrap_or(mime) {
        "mpeg" | "mp3" => "mp3",
        "x-wav" | "wave" | "vnd.wave" => "wav",
        other => other.strip_prefix("x-").unwrap_or(other),
    }
}

/// In whose words a target is told how closely to look at a medium.
pub(super) fn words_of_detail(kind: MediaKind, reference: bool) -> Words {
    if reference && kind == MediaKind::Image { Words::OpenAi } else { Words::Common }
}

/// Settings of sampling for a model that may take none.
#[derive(Clone, Copy)]
pub(super) struct Sampling {
    taken: bool,
}

impl Sampling {
    /// For a target that is asked for `effort`. Clients of its own dialect see to it themselves.
    pub(super) fn of(target: &Target<'_>, own: bool, effort: Option<&str>) -> Self {
        let traits = target.traits;
        let reasons = traits.thinking != Thinking::Unsupported && !traits.reasons.takes_sampling(effort);
        Self { taken: own || !is_reference(target) || !reasons }
    }

    /// A setting as the model takes it. What is left out is noted, unless it asked for what happens anyway.
    pub(super) fn setting<T: PartialEq>(
        self,
        field: &'static str,
        value: Option<T>,
        default: &T,
        losses: &mut Losses,
    ) -> Option<T> {
        losses.note_if(!self.taken && value.as_ref().is_some_and(|value| value != default), field);
        value.filter(|_| self.taken)
    }

    /// The texts that end the answer: reasoning models take none, the others of OpenAI four.
    pub(super) fn stops<'r, 'a>(self, stop: &'r [Str<'a>], most: usize, losses: &mut Losses) -> &'r [Str<'a>] {
        let count = if self.taken { stop.len().min(most) } else { 0 };
        losses.note_if(count < stop.len(), "stop");
        stop.get(..count).unwrap_or_default()
    }
}

/// How many texts that end an answer a target takes.
pub(super) fn most_stops(target: &Target<'_>, own: bool) -> usize {
    if own || !is_reference(target) { usize::MAX } else { MOST_STOPS }
}

/// The effort that stands for a budget: few models know more than `high`, that is for clients that say so.
fn effort_of_budget(budget: u64) -> Effort {
    Effort::of_budget(budget).min(Effort::High)
}

/// How hard to reason, of all that is asked.
pub(super) fn effort_asked(config: &ReasoningConfig<'_>) -> Option<Effort> {
    let ReasoningConfig { mode, effort, budget, summary: _, show: _ } = config;
    let asked = effort.or(budget.map(effort_of_budget));
    match mode {
        Some(ReasoningMode::Disabled) => Some(Effort::None),
        Some(ReasoningMode::Enabled) => asked.or(Some(Effort::Medium)),
        // As the model sees fit is what every model does unless it is told.
        Some(ReasoningMode::Adaptive) | None => asked,
    }
}

/// What of it a model is asked for.
pub(super) fn effort_taken(
    config: &ReasoningConfig<'_>,
    traits: &Traits,
    from: Dialect,
    losses: &mut Losses,
) -> Option<Effort> {
    let asked = effort_asked(config)?;
    // Who speaks one of OpenAI's dialects knows the words of its model.
    let knows = matches!(from, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    if knows && config.effort == Some(asked) {
        return Some(asked);
    }
    let taken = match (asked, traits.min_effort) {
        // Most models know no `none`, and those that do not reason need not be told.
        (Effort::None, None) => None,
        (Effort::Minimal, Some(Effort::None)) => Some(Effort::Low),
        (asked, least) => Some(asked.max(least.unwrap_or(Effort::Low)).min(traits.max_effort)),
    };
    losses.note_if(taken != Some(asked), "reasoning");
    taken
}

/// The capacity that serves the request, if it is one of OpenAI's. Clients of its own dialect know the words of its vendor.
pub(super) fn tier_told<'t>(tier: Option<&'t str>, own: bool, losses: &mut Losses) -> Option<&'t str> {
    let known = |tier: &&str| matches!(*tier, "auto" | "default" | "flex" | "scale" | "priority" | "fast");
    let told = tier.filter(|tier| own || known(tier));
    losses.note_if(told != tier, "service_tier");
    told
}

/// The most output tokens as Responses takes them: fewer than 16 are refused.
pub(super) fn output_limit(most: Option<u64>, own: bool, losses: &mut Losses) -> Option<u64> {
    let raised = !own && most.is_some_and(|most| most < LEAST_OUTPUT);
    losses.note_if(raised, "max_tokens");
    if raised { Some(LEAST_OUTPUT) } else { most }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::codec;
    use super::super::testing::target;
    use super::*;
    use crate::common::{FunctionTool, Json, Request, Tool};
    use crate::preset::Preset;

    const BOTH: [Dialect; 2] = [Dialect::OpenAiChat, Dialect::OpenAiResponses];

    fn written(request: &Request<'_>, dialect: Dialect, kind: &str, model: &str) -> (Value, Vec<String>) {
        let quirks = Preset::find(kind).unwrap().quirks;
        let mut losses = Losses::default();
        let body = codec(dialect).encode_request(
            request,
            &Target { quirks, traits: Traits::of(model), ..target() },
            &mut losses,
        );
        (serde_json::from_slice(&body.unwrap()).unwrap(), losses.iter().map(|loss| loss.field.clone()).collect())
    }

    fn asked() -> Request<'static> {
        Request {
            temperature: Some(0.5),
            top_p: Some(0.9),
            max_tokens: Some(1),
            frequency_penalty: Some(0.0),
            presence_penalty: Some(0.0),
            ..Request::new(Dialect::Anthropic)
        }
    }

    fn effort(effort: Effort) -> Option<ReasoningConfig<'static>> {
        Some(ReasoningConfig { effort: Some(effort), ..ReasoningConfig::default() })
    }

    #[test]
    fn models_that_reason_take_no_sampling() {
        for dialect in BOTH {
            let sampling = |request: &Request<'_>, kind: &str, model: &str| {
                let (body, losses) = written(request, dialect, kind, model);
                let told = body["temperature"].is_number();
                assert_eq!(told, body["top_p"].is_number());
                assert_eq!(!told, losses.iter().any(|field| field == "temperature"), "{dialect:?} {model} {losses:?}");
                assert_eq!(!told, losses.iter().any(|field| field == "top_p"));
                told
            };
            let plain = asked();
            for model in ["gpt-5", "gpt-5-mini-2025-08-07", "o3", "o4-mini", "o1", "gpt-5.2-codex", "gpt-5.6"] {
                assert!(!sampling(&plain, "openai", model), "{model}");
                assert!(!sampling(&plain, "azure", model), "{model}");
                assert!(sampling(&plain, "openrouter", model), "{model}");
            }
            for model in ["gpt-4.1", "gpt-5-chat-latest", "gpt-5.1", "gpt-5.2", "of-ones-own"] {
                assert!(sampling(&plain, "openai", model), "{model}");
            }
            let request = |level| Request { reasoning: effort(level), ..asked() };
            assert!(!sampling(&request(Effort::Low), "openai", "gpt-5.1"));
            assert!(sampling(&request(Effort::None), "openai", "gpt-5.1"));
            let own = Request { dialect, ..asked() };
            assert_eq!(written(&own, dialect, "openai", "gpt-5").0["temperature"], 0.5);
            // A deployment may be called after another model: the operator's word counts.
            let traits = Traits { thinking: Thinking::Unsupported, ..Traits::of("gpt-5") };
            let body = codec(dialect).encode_request(
                &plain,
                &Target { quirks: Preset::find("azure").unwrap().quirks, traits, ..target() },
                &mut Losses::default(),
            );
            assert_eq!(serde_json::from_slice::<Value>(&body.unwrap()).unwrap()["temperature"], 0.5);
            // What happens anyway is no loss.
            let usual = Request { temperature: Some(1.0), top_p: Some(1.0), max_tokens: None, ..asked() };
            let (body, losses) = written(&usual, dialect, "openai", "gpt-5");
            assert!(body["temperature"].is_null() && losses.is_empty(), "{body} {losses:?}");
        }
    }

    #[test]
    fn models_are_asked_for_no_more_effort_than_they_know() {
        for dialect in BOTH {
            let asked = |from, effort, kind: &str, model: &str| {
                let request = Request { reasoning: self::effort(effort), ..Request::new(from) };
                let (body, losses) = written(&request, dialect, kind, model);
                let word = body["reasoning_effort"].as_str().or(body["reasoning"]["effort"].as_str());
                (word.unwrap_or_default().to_owned(), losses)
            };
            let lost = || vec!["reasoning".to_owned()];
            for (effort, kind, model, wanted) in [
                (Effort::XHigh, "openai", "gpt-5", ("high", lost())),
                (Effort::Max, "azure", "gpt-5.1", ("high", lost())),
                (Effort::Max, "groq", "openai/gpt-oss-120b", ("high", lost())),
                (Effort::XHigh, "openai", "gpt-5.2", ("xhigh", Vec::new())),
                (Effort::Max, "openai", "gpt-5.4", ("xhigh", lost())),
                (Effort::Max, "openai", "gpt-5.6-terra", ("max", Vec::new())),
            ] {
                let wanted = (wanted.0.to_owned(), wanted.1);
                assert_eq!(asked(Dialect::Anthropic, effort, kind, model), wanted, "{dialect:?} {kind} {model}");
            }
            // Who speaks one of OpenAI's dialects knows the words of its model.
            for from in BOTH {
                assert_eq!(asked(from, Effort::XHigh, "openai", "gpt-5"), ("xhigh".to_owned(), Vec::new()));
            }
        }
    }

    #[test]
    fn models_are_asked_for_no_less_effort_than_they_know() {
        for dialect in BOTH {
            let asked = |from, reasoning: &ReasoningConfig<'static>, kind: &str, model: &str| {
                let request = Request { reasoning: Some(reasoning.clone()), ..Request::new(from) };
                let (body, losses) = written(&request, dialect, kind, model);
                let word = body["reasoning_effort"].as_str().or(body["reasoning"]["effort"].as_str());
                (word.map(str::to_owned), losses)
            };
            let off = ReasoningConfig { mode: Some(ReasoningMode::Disabled), ..ReasoningConfig::default() };
            let minimal = effort(Effort::Minimal).unwrap();
            let (lost, kept) = (vec!["reasoning".to_owned()], Vec::new());
            for (kind, model, not_at_all, hardly) in [
                ("openai", "gpt-5", Some("minimal"), "minimal"),
                ("azure", "gpt-5-codex", Some("low"), "low"),
                ("openai", "gpt-5-pro", Some("high"), "high"),
                ("openai", "gpt-5.1", Some("none"), "low"),
                ("openai", "gpt-5.1-codex", Some("low"), "low"),
                ("openai", "o3", Some("low"), "low"),
                ("groq", "openai/gpt-oss-120b", Some("low"), "low"),
                // Whether it reasons is not known.
                ("deepseek", "of-ones-own", None, "low"),
            ] {
                for from in [Dialect::Anthropic, Dialect::Gemini] {
                    let told = not_at_all.map(str::to_owned);
                    let losses = if not_at_all == Some("none") { &kept } else { &lost };
                    assert_eq!(asked(from, &off, kind, model), (told, losses.clone()), "{dialect:?} {model}");
                    let losses = if hardly == "minimal" { &kept } else { &lost };
                    let told = Some(hardly.to_owned());
                    assert_eq!(asked(from, &minimal, kind, model), (told, losses.clone()), "{dialect:?} {model}");
                }
            }
            for from in BOTH {
                assert_eq!(asked(from, &minimal, "openai", "o3"), (Some("minimal".to_owned()), Vec::new()));
            }
        }
    }

    #[test]
    fn openrouter_is_not_told_to_turn_off_what_cannot_be_turned_off() {
        let off = Some(ReasoningConfig { mode: Some(ReasoningMode::Disabled), ..ReasoningConfig::default() });
        let request = Request { reasoning: off, ..Request::new(Dialect::Anthropic) };
        for (model, reasoning, lost) in [
            ("google/gemini-2.5-pro", json!({"effort": "low"}), true),
            ("openai/gpt-5", json!({"effort": "minimal"}), true),
            ("openai/gpt-5.1", json!({"enabled": false}), false),
            ("qwen/qwen3-14b", json!({"enabled": false}), false),
        ] {
            let (body, losses) = written(&request, Dialect::OpenAiChat, "openrouter", model);
            assert_eq!((&body["reasoning"], !losses.is_empty()), (&reasoning, lost), "{model}");
        }
    }

    #[test]
    fn models_that_do_not_reason_are_asked_for_none() {
        for dialect in BOTH {
            let request = Request { reasoning: effort(Effort::High), ..Request::new(Dialect::Anthropic) };
            let (body, losses) = written(&request, dialect, "openai", "gpt-4.1");
            for field in ["reasoning", "reasoning_effort", "include"] {
                assert!(body[field].is_null(), "{body}");
            }
            assert_eq!(losses, ["reasoning"]);
            let mode = Some(ReasoningMode::Disabled);
            let off = Some(ReasoningConfig { mode, ..ReasoningConfig::default() });
            let (_, losses) = written(&Request { reasoning: off, ..request }, dialect, "openai", "gpt-4.1");
            assert!(losses.is_empty(), "{losses:?}");
        }
    }

    #[test]
    fn tools_are_strict_if_openai_takes_their_schema() {
        let schema = |required: Value| {
            let properties = json!({"n": {"type": "number"}, "s": {"type": "string"}});
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        };
        for dialect in BOTH {
            for (from, required, taken) in [
                (Dialect::Anthropic, json!(["n"]), false),
                (Dialect::Anthropic, json!(["n", "s"]), true),
                (BOTH[0], json!(["n"]), true),
                (BOTH[1], json!(["n"]), true),
            ] {
                let parameters = Some(Json::of(&schema(required)));
                let tool = FunctionTool { name: "f".into(), strict: Some(true), parameters, ..FunctionTool::default() };
                let request = Request { tools: vec![Tool::Function(Box::new(tool))], ..Request::new(from) };
                let (body, losses) = written(&request, dialect, "openai", "gpt-4.1");
                let tool = &body["tools"][0];
                assert_eq!(tool.get("function").unwrap_or(tool)["strict"], taken, "{dialect:?} {from:?}");
                assert_eq!(losses, if taken { Vec::<String>::new() } else { vec!["tools.strict".to_owned()] });
            }
        }
    }

    #[test]
    fn responses_are_of_sixteen_tokens_at_least() {
        let (body, losses) = written(&asked(), Dialect::OpenAiResponses, "openai", "gpt-4.1");
        assert_eq!((&body["max_output_tokens"], losses), (&json!(16), vec!["max_tokens".to_owned()]));
        let own = Request { dialect: Dialect::OpenAiResponses, ..asked() };
        assert_eq!(written(&own, Dialect::OpenAiResponses, "openai", "gpt-4.1").0["max_output_tokens"], 1);
    }

    #[test]
    fn four_texts_end_an_answer_of_openai() {
        let stop: Vec<Str<'_>> = ["a", "b", "c", "d", "e"].map(Into::into).into();
        let request = Request { stop, ..Request::new(Dialect::Anthropic) };
        let (body, losses) = written(&request, Dialect::OpenAiChat, "openai", "gpt-4.1");
        assert_eq!((&body["stop"], losses), (&json!(["a", "b", "c", "d"]), vec!["stop".to_owned()]));
        let (body, losses) = written(&request, Dialect::OpenAiChat, "openai", "o3");
        assert_eq!((&body["stop"], losses), (&Value::Null, vec!["stop".to_owned()]));
        let (body, losses) = written(&request, Dialect::OpenAiChat, "groq", "llama");
        assert_eq!((body["stop"].as_array().unwrap().len(), losses.len()), (5, 0));
    }

    #[test]
    fn notes_are_for_answers_that_are_kept() {
        let metadata = Json::parse(r#"{"k":"v"}"#);
        let request = Request { metadata, ..Request::new(Dialect::OpenAiResponses) };
        let (body, losses) = written(&request, Dialect::OpenAiChat, "openai", "gpt-4.1");
        assert_eq!((&body["metadata"], losses), (&Value::Null, vec!["metadata".to_owned()]));
        let kept = Request { store: Some(true), ..request.clone() };
        assert_eq!(written(&kept, Dialect::OpenAiChat, "openai", "gpt-4.1").0["metadata"], json!({"k": "v"}));
        let own = Request { dialect: Dialect::OpenAiChat, ..request };
        assert_eq!(written(&own, Dialect::OpenAiChat, "openai", "gpt-4.1").0["metadata"], json!({"k": "v"}));
    }

    #[test]
    fn a_penalty_of_nothing_is_no_loss() {
        let request = Request { max_tokens: None, ..asked() };
        let (_, losses) = written(&request, Dialect::OpenAiResponses, "openai", "gpt-4.1");
        assert!(losses.is_empty(), "{losses:?}");
        let (_, losses) =
            written(&Request { presence_penalty: Some(0.5), ..request }, Dialect::OpenAiResponses, "openai", "gpt-4.1");
        assert_eq!(losses, ["presence_penalty"]);
    }
}
