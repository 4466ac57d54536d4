//! The providers' own counts and how they turn into [`Usage`].

use super::Usage;
use super::tree::Tree;
use crate::dialect::{Dialect, Operation};
use crate::price::{Served, scaled};

/// One answer's counts as its provider states them, before they are made disjoint. Cumulative: each count of a later
/// report of the same answer replaces a smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Report {
    /// `input` leaves cached tokens out (Anthropic), where OpenAI counts them in.
    input_excludes_cache: bool,
    /// What the total has more than its parts is reasoning.
    hides_reasoning: bool,
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    audio_input: Option<u64>,
    image_input: Option<u64>,
    reasoning: Option<u64>,
    audio_output: Option<u64>,
    image_output: Option<u64>,
    audio_input_ms: Option<u64>,
    search_units: Option<u64>,
    web_searches: Option<u64>,
    /// Web searches that the answer shows, where the provider counts none.
    searched: Option<u64>,
    images: Option<u64>,
    other_models: Option<u64>,
    charged: Option<u64>,
}

impl Report {
    /// Reads a `usage` object (Gemini: `usageMetadata`, Cohere's rerank: `meta`) of an answer whose model is not known. Never
    /// fails: what is not a count is not reported.
    pub(crate) fn read(dialect: Dialect, operation: Operation, usage: &Tree<'_>) -> Self {
        Self::read_of(dialect, operation, None, usage)
    }

    /// The same of an answer by `model`.
    pub(crate) fn read_of(dialect: Dialect, operation: Operation, model: Option<&str>, usage: &Tree<'_>) -> Self {
        match dialect {
            // The usage of own dialects is read by their codecs and never comes here.
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Own(_) => Self::read_openai(operation, usage),
            Dialect::Anthropic => Self::read_anthropic(model, usage),
            Dialect::Gemini => Self::read_gemini(usage),
            Dialect::Bedrock => Self::read_bedrock(usage),
            Dialect::Cohere => Self::read_cohere(usage),
        }
    }

    /// Chat, completions and embeddings (`prompt_tokens`, `completion_tokens`:
    /// <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>), Responses, images and
    /// transcription (`input_tokens`, `output_tokens`), and the vendors that speak them with additions of their own.
    fn read_openai(operation: Operation, usage: &Tree<'_>) -> Self {
        let input_details =
            first_object(usage, &["prompt_tokens_details", "input_tokens_details", "input_token_details"]);
        let output_details =
            first_object(usage, &["completion_tokens_details", "output_tokens_details", "output_token_details"]);
        let output = first(usage, &["completion_tokens", "output_tokens"]);
        let audio_input_ms = ["seconds", "prompt_audio_seconds"].iter().find_map(|name| milliseconds(&usage[name]));
        let image_output = count(output_details, "image_tokens").or_else(|| {
            // The Images API itemises the output only sometimes, and makes nothing but images.
            (operation == Operation::Images && count(output_details, "text_tokens").is_none()).then_some(output)?
        });
        Self {
            input_excludes_cache: false,
            // Where Mistral heard audio, it is what that was made into.
            hides_reasoning: matches!(operation, Operation::Chat | Operation::Completions) && audio_input_ms.is_none(),
            input: first(usage, &["prompt_tokens", "input_tokens"]),
            output,
            total: count(usage, "total_tokens"),
            cache_read: count(input_details, "cached_tokens")
                // DeepSeek, Mistral, Moonshot and Hugging Face.
                .or_else(|| first(usage, &["prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"])),
            // OpenAI and OpenRouter; the others are what proxies in front of Claude say.
            cache_write: first(
                input_details,
                &["cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"],
            ),
            cache_write_5m: None,
            cache_write_1h: None,
            audio_input: count(input_details, "audio_tokens"),
            image_input: count(input_details, "image_tokens"),
            reasoning: count(output_details, "reasoning_tokens").or_else(|| count(usage, "reasoning_tokens")),
            audio_output: count(output_details, "audio_tokens"),
            image_output,
            audio_input_ms,
            // Cohere's `meta`, which others imitate.
            search_units: count(usage, "search_units").or_else(|| count(&usage["billed_units"], "search_units")),
            web_searches: count(&usage["server_tool_use_details"], "web_search_requests")
                .or_else(|| count(usage, "num_search_queries")),
            searched: None,
            images: None,
            other_models: None,
            charged: charged(usage),
        }
    }

    /// <https://docs.anthropic.com/en/api/messages#response-usage>. `output_tokens` of a stream is cumulative.
    ///
    /// The totals are of the `iterations` that are a `message`. What the conversation's compaction took, or an advisor, is in
    /// others only, and billed besides: an advisor at the prices of the model that it names.
    ///
    /// Where a model gave the answer that another one declined to give (`fallback_message`), they are of that model; a `message` of
    /// another one is what was declined, which is billed if it had begun:
    /// <https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback>.
    fn read_anthropic(model: Option<&str>, usage: &Tree<'_>) -> Self {
        let iterations = usage["iterations"].elements();
        let fallback = anthropic_stand_in(usage);
        let was_declined = |entry: &Tree<'_>| {
            let began = count(entry, "output_tokens").is_some_and(|count| count > 0);
            began && fallback.is_some() && entry["model"].as_str().is_some_and(|named| Some(named) != fallback)
        };
        let beside = iterations.iter().filter(|entry| match entry["type"].as_str() {
            Some("message") => was_declined(entry),
            Some("fallback_message") | None => false,
            Some(_) => true,
        });
        let model = fallback.or(model);
        let is_other = |entry: &&Tree<'_>| entry["model"].as_str().is_some_and(|named| Some(named) != model);
        let (others, own): (Vec<&Tree<'_>>, Vec<&Tree<'_>>) = beside.partition(is_other);
        let total = |name: &str| own.iter().fold(count(usage, name), |sum, entry| add(sum, count(entry, name)));
        let written = |name: &str| {
            let of = |usage: &Tree<'_>| count(&usage["cache_creation"], name);
            own.iter().fold(of(usage), |sum, entry| add(sum, of(entry)))
        };
        let names = ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
        let of_others = others.iter().flat_map(|entry| names.map(|name| count(entry, name)));
        Self {
            input_excludes_cache: true,
            input: total("input_tokens"),
            output: total("output_tokens"),
            cache_read: total("cache_read_input_tokens"),
            cache_write: total("cache_creation_input_tokens"),
            cache_write_5m: written("ephemeral_5m_input_tokens"),
            cache_write_1h: written("ephemeral_1h_input_tokens"),
            other_models: of_others.fold(None, add),
            reasoning: count(&usage["output_tokens_details"], "thinking_tokens"),
            web_searches: count(&usage["server_tool_use"], "web_search_requests"),
            charged: charged(usage),
            ..Self::default()
        }
    }

    /// <https://ai.google.dev/api/generate-content#UsageMetadata>: the prompt includes the cache, the candidates do not
    /// include the thoughts.
    fn read_gemini(usage: &Tree<'_>) -> Self {
        let thoughts = count(usage, "thoughtsTokenCount");
        let candidates = count(usage, "candidatesTokenCount");
        let tool_prompt = count(usage, "toolUsePromptTokenCount");
        // What came from the cache is in the details of both.
        let read_anew = |name| {
            let cached = modality(usage, "cacheTokensDetails", name).unwrap_or(0);
            Some(modality(usage, "promptTokensDetails", name)?.saturating_sub(cached))
        };
        Self {
            input: add(count(usage, "promptTokenCount"), tool_prompt),
            output: add(candidates, thoughts),
            cache_read: count(usage, "cachedContentTokenCount"),
            audio_input: read_anew("AUDIO"),
            image_input: read_anew("IMAGE"),
            reasoning: thoughts,
            audio_output: modality(usage, "candidatesTokensDetails", "AUDIO"),
            image_output: modality(usage, "candidatesTokensDetails", "IMAGE"),
            ..Self::default()
        }
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>: as Anthropic counts.
    /// `cacheDetails` cuts what was written to the cache by time.
    fn read_bedrock(usage: &Tree<'_>) -> Self {
        let details = usage["cacheDetails"].elements();
        let written = |ttl| {
            let of_ttl = details.iter().filter(|detail| detail["ttl"].as_str() == Some(ttl));
            of_ttl.map(|detail| count(detail, "inputTokens")).fold(None, add)
        };
        Self {
            cache_write_5m: written("5m"),
            cache_write_1h: written("1h"),
            input_excludes_cache: true,
            input: count(usage, "inputTokens"),
            output: count(usage, "outputTokens"),
            cache_read: count(usage, "cacheReadInputTokens"),
            cache_write: count(usage, "cacheWriteInputTokens"),
            ..Self::default()
        }
    }

    /// `usage` of v2 chat, `meta` of embed and rerank: <https://docs.cohere.com/v2/reference/chat>. What is billed
    /// counts.
    ///
    /// `cached_tokens` is a part of `tokens`, which counts Cohere's own preamble in, where `billed_units` does not: it may be
    /// more than was billed. Only so much of the billed input is certainly from the cache as is more than was read anew.
    fn read_cohere(usage: &Tree<'_>) -> Self {
        let billed = &usage["billed_units"];
        let tokens = &usage["tokens"];
        // Billed beside the text, not within it.
        let images = count(billed, "image_tokens").filter(|&count| count > 0);
        let cached = count(usage, "cached_tokens");
        let cache_read = match (count(billed, "input_tokens"), count(tokens, "input_tokens"), cached) {
            (Some(billed), Some(tokens), Some(cached)) => Some(billed.saturating_sub(tokens.saturating_sub(cached))),
            (None, _, cached) => cached,
            (Some(_), _, _) => None,
        };
        Self {
            input: add(count(billed, "input_tokens").or_else(|| count(tokens, "input_tokens")), images),
            image_input: images,
            output: count(billed, "output_tokens").or_else(|| count(tokens, "output_tokens")),
            cache_read,
            search_units: count(billed, "search_units"),
            ..Self::default()
        }
    }

    /// Whisper's verbose answer has no usage, only its `duration` in seconds.
    pub(crate) fn audio_duration(seconds: &Tree<'_>) -> Self {
        Self { audio_input_ms: milliseconds(seconds), ..Self::default() }
    }

    /// `tool_usage` of OpenAI's Responses, beside `usage`: what the tools that it ran are billed by. Pictures are made by another model.
    pub(crate) fn of_tools(tools: &Tree<'_>) -> Self {
        let some = |count: Option<u64>| count.filter(|count| *count > 0);
        let pictures = &tools["image_gen"];
        let tokens = add(count(pictures, "input_tokens"), count(pictures, "output_tokens"));
        Self {
            web_searches: some(count(&tools["web_search"], "num_requests")),
            other_models: some(tokens),
            ..Self::default()
        }
    }

    /// So many web searches are in the answer.
    pub(crate) fn of_searches(searches: u64) -> Self {
        Self { searched: Some(searches), ..Self::default() }
    }

    /// One more web search is in the answer.
    pub(crate) fn search(&mut self) {
        self.searched = add(self.searched, Some(1));
    }

    /// One more picture is in the answer.
    pub(crate) fn picture(&mut self) {
        self.images = add(self.images, Some(1));
    }

    /// Takes a later report of the same answer in.
    pub(crate) fn merge(&mut self, later: &Self) {
        let Self {
            input_excludes_cache,
            hides_reasoning,
            input,
            output,
            total,
            cache_read,
            cache_write,
            cache_write_5m,
            cache_write_1h,
            audio_input,
            image_input,
            reasoning,
            audio_output,
            image_output,
            audio_input_ms,
            search_units,
            web_searches,
            searched,
            images,
            other_models,
            charged,
        } = later;
        self.input_excludes_cache |= *input_excludes_cache;
        self.hides_reasoning |= *hides_reasoning;
        raise(&mut self.input, *input);
        raise(&mut self.output, *output);
        raise(&mut self.total, *total);
        raise(&mut self.cache_read, *cache_read);
        raise(&mut self.cache_write, *cache_write);
        raise(&mut self.cache_write_5m, *cache_write_5m);
        raise(&mut self.cache_write_1h, *cache_write_1h);
        raise(&mut self.audio_input, *audio_input);
        raise(&mut self.image_input, *image_input);
        raise(&mut self.reasoning, *reasoning);
        raise(&mut self.audio_output, *audio_output);
        raise(&mut self.image_output, *image_output);
        raise(&mut self.audio_input_ms, *audio_input_ms);
        raise(&mut self.search_units, *search_units);
        raise(&mut self.web_searches, *web_searches);
        raise(&mut self.searched, *searched);
        raise(&mut self.images, *images);
        raise(&mut self.other_models, *other_models);
        raise(&mut self.charged, *charged);
    }

    /// The counts made disjoint; `None` if there is none. The totals are what the provider said, also where its details
    /// do not add up: a detail is cut to what its total leaves.
    pub(crate) fn usage(&self) -> Option<Usage> {
        // Voyage and others state only a total, of work that has no output.
        let input = self.input.or(if self.output.is_none() { self.total } else { None });
        let mut left = Left(input);
        let (cache_read, write_5m, write_1h) = if self.input_excludes_cache {
            let write_1h = self.cache_write_1h;
            let write_5m = match self.cache_write {
                Some(all) => Some(all.saturating_sub(write_1h.unwrap_or(0)).max(self.cache_write_5m.unwrap_or(0))),
                None => self.cache_write_5m,
            };
            (self.cache_read, write_5m, write_1h)
        } else {
            (left.take(self.cache_read), left.take(self.cache_write), None)
        };
        let audio_input = left.take(self.audio_input);
        let image_input = left.take(self.image_input);

        // xAI and Gemini's OpenAI endpoint leave reasoning out of the output, and count it in the total.
        let hidden = match (self.total, input, self.output) {
            (Some(total), Some(input), Some(output)) if self.hides_reasoning => {
                total.saturating_sub(input.saturating_add(output))
            }
            _ => 0,
        };
        let mut out = Left(self.output.map(|output| output.saturating_add(hidden)));
        let stated = self.reasoning.filter(|&count| count > 0);
        let reasoning = out.take(stated.or((hidden > 0).then_some(hidden)).or(self.reasoning));
        let audio_output = out.take(self.audio_output);
        let image_output = out.take(self.image_output);

        let usage = Usage {
            input: left.0,
            cache_read,
            cache_write_5m: write_5m,
            cache_write_1h: write_1h,
            audio_input,
            image_input,
            output: out.0,
            reasoning,
            audio_output,
            image_output,
            audio_input_ms: self.audio_input_ms,
            search_units: self.search_units,
            web_searches: self.web_searches.or(self.searched),
            characters: None,
            images: self.images,
            other_models: self.other_models,
            charged: self.charged,
        };
        // What a sum of many counts made of them has to be one, too.
        let usage = usage.zip(&Usage::default(), |count, _| count.filter(|count| *count < LIMIT));
        let usage = Usage { charged: self.charged, ..usage };
        (usage != Usage::default()).then_some(usage)
    }
}

/// The service tier that Gemini's `usageMetadata` names, in the common words: the Gemini API's `serviceTier`, Vertex AI's
/// `trafficType` (<https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#TrafficType>),
/// whose plain `ON_DEMAND` and provisioned throughput are no tier of their own.
pub(crate) fn gemini_tier(usage: &Tree<'_>) -> Option<String> {
    let own = usage["serviceTier"].as_str();
    let word = own.or_else(|| usage["trafficType"].as_str()?.strip_prefix("ON_DEMAND_"))?.to_ascii_lowercase();
    Some(if word == "standard" { "default".to_owned() } else { word })
}

/// The service tier that Anthropic's `usage` names, with the speed and the region that it was served at beside it; what it says nothing of
/// is as in `known`. <https://platform.claude.com/docs/en/build-with-claude/fast-mode>,
/// <https://platform.claude.com/docs/en/build-with-claude/data-residency>
pub(crate) fn anthropic_tier(known: Option<&str>, usage: &Tree<'_>) -> Option<String> {
    let word = |name| usage[name].as_str();
    Served::told(known, word("service_tier"), word("speed"), word("inference_geo"))
}

/// The model that gave an answer which the one that was asked declined to give, as Anthropic's `usage` tells.
pub(crate) fn anthropic_stand_in<'a>(usage: &'a Tree<'_>) -> Option<&'a str> {
    // Of several the last one.
    let mut iterations = usage["iterations"].elements().iter().rev();
    iterations.find(|entry| entry["type"].as_str() == Some("fallback_message"))?["model"].as_str()
}

/// Whether an item of OpenAI's Responses is a web search: those that look at a page are not billed as one. `kind` and `action`: its
/// types.
pub(crate) fn is_search(kind: &str, action: Option<&str>) -> bool {
    kind == SEARCH && !action.is_some_and(|action| PAGE_ACTIONS.contains(&action))
}

/// The type of such an item, and of the actions that are no search.
pub(crate) const SEARCH: &str = "web_search_call";
pub(crate) const PAGE_ACTIONS: [&str; 3] = ["open_page", "find_in_page", "find"];

/// As how many web searches Google bills the queries that an answer of `model` was grounded in: one for all of them before Gemini 3.
/// <https://ai.google.dev/gemini-api/docs/google-search#pricing>
pub(crate) fn google_searches(model: &str, queries: u64) -> u64 {
    let by_prompt = ["gemini-1", "gemini-2"].iter().any(|family| model.contains(family));
    if by_prompt { queries.min(1) } else { queries }
}

/// What OpenRouter charges, in pico-dollars: `cost`, and where the account's own key was used at another provider (`is_byok`) what
/// that one charges besides (<https://openrouter.ai/docs/use-cases/usage-accounting>). What no request costs is no cost.
fn charged(usage: &Tree<'_>) -> Option<u64> {
    const MOST: u64 = 10_000 * 1_000_000_000_000;
    let dollars = |value: &Tree<'_>| scaled(&value.as_f64()?.to_string(), 12).map(|cost| cost.value);
    let own = dollars(&usage["cost"])?;
    let beside = match usage["is_byok"] {
        Tree::Bool(true) => dollars(&usage["cost_details"]["upstream_inference_cost"])?,
        _ => 0,
    };
    Some(own.saturating_add(beside)).filter(|cost| *cost <= MOST)
}

/// What is left of a total after its details were taken out; `None`: there is no total, and details stand for
/// themselves.
struct Left(Option<u64>);

impl Left {
    fn take(&mut self, detail: Option<u64>) -> Option<u64> {
        let (Some(left), Some(detail)) = (self.0, detail) else { return detail };
        let taken = detail.min(left);
        self.0 = Some(left - taken);
        Some(taken)
    }
}

/// A count that is a number, however it is spelt; a negative one is none, nor is one that nothing real has: sums of thousands
/// still fit SQLite's numbers.
fn count(object: &Tree<'_>, name: &str) -> Option<u64> {
    whole(object[name].as_f64()?)
}

/// Where counts end: all below are exact as floating-point numbers.
const LIMIT: u64 = 1 << 52;
const MOST: f64 = LIMIT as f64;

fn first(object: &Tree<'_>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| count(object, name))
}

fn first_object<'t, 'a>(object: &'t Tree<'a>, names: &[&str]) -> &'t Tree<'a> {
    names.iter().map(|name| &object[*name]).find(|value| value.is_object()).unwrap_or(&Tree::Null)
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    super::sum([a, b])
}

/// Gemini's details: `[{"modality": "AUDIO", "tokenCount": 5}]`.
fn modality(usage: &Tree<'_>, list: &str, name: &str) -> Option<u64> {
    let details = usage[list].elements().iter().filter(|detail| detail["modality"].as_str() == Some(name));
    details.map(|detail| count(detail, "tokenCount")).fold(None, add)
}

fn milliseconds(seconds: &Tree<'_>) -> Option<u64> {
    whole((seconds.as_f64()? * 1000.0).round())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn whole(number: f64) -> Option<u64> {
    (0.0..MOST).contains(&number).then_some(number as u64)
}

/// `None < Some(0)`, so the maximum both fills and raises.
fn raise(bucket: &mut Option<u64>, later: Option<u64>) {
    *bucket = (*bucket).max(later);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::price::Price;

    #[test]
    fn cohere_counts_its_cache_against_all_tokens_and_bills_less() {
        let read = |usage: Value| Report::read(Dialect::Cohere, Operation::Chat, &Tree::from(&usage)).usage().unwrap();
        let counts = |billed: u64, tokens: u64, cached: u64| {
            let usage = read(json!({
                "billed_units": {"input_tokens": billed, "output_tokens": 2},
                "tokens": {"input_tokens": tokens, "output_tokens": 4},
                "cached_tokens": cached,
            }));
            assert_eq!((usage.total_input(), usage.output), (Some(billed), Some(2)), "what is billed counts");
            (usage.input, usage.cache_read)
        };
        // As recorded: all but seven tokens were cached.
        assert_eq!(counts(2406, 2935, 2928), (Some(7), Some(2399)));
        // As recorded: what was cached may all have been the preamble.
        assert_eq!(counts(33, 1452, 144), (Some(33), Some(0)));
        assert_eq!(counts(10, 10, 10), (Some(0), Some(10)));
        let unbilled = read(json!({"tokens": {"input_tokens": 12.0}, "cached_tokens": 4.0}));
        assert_eq!((unbilled.input, unbilled.cache_read), (Some(8), Some(4)));
        let plain = read(json!({"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 496}}));
        assert_eq!((plain.input, plain.cache_read), (Some(1), None));
    }

    #[test]
    fn an_absurd_count_is_none() {
        let read = |count: &str| {
            let text = format!(r#"{{"prompt_tokens":{count},"seconds":{count}}}"#);
            let usage = serde_json::from_str(&text).unwrap();
            let usage = Report::read(Dialect::OpenAiChat, Operation::Chat, &usage).usage();
            usage.map(|usage| (usage.input, usage.audio_input_ms))
        };
        assert_eq!(read("4503599627370495"), Some((Some((1 << 52) - 1), None)));
        assert_eq!(read("7.0"), Some((Some(7), Some(7_000))));
        for none in ["4503599627370496", "18446744073709551615", "1e300", "-1", "\"7\""] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn an_absurd_sum_is_none() {
        let most = (1_u64 << 52) - 1;
        let once = json!({"type": "compaction", "input_tokens": most, "output_tokens": 1});
        let usage = json!({"input_tokens": 1, "output_tokens": 1, "iterations": vec![once; 1_000]});
        let usage = Report::read(Dialect::Anthropic, Operation::Chat, &Tree::from(&usage)).usage();
        assert_eq!(usage, Some(Usage { output: Some(1_001), ..Usage::default() }));
        let usage = json!({"cacheDetails": [{"ttl": "5m", "inputTokens": most}, {"ttl": "5m", "inputTokens": most}]});
        assert_eq!(Report::read(Dialect::Bedrock, Operation::Chat, &Tree::from(&usage)).usage(), None);
    }

    #[test]
    fn geminis_cached_audio_is_not_read_anew() {
        let details = |audio, image| {
            json!([{"modality": "AUDIO", "tokenCount": audio}, {"modality": "IMAGE", "tokenCount": image},
            {"modality": "TEXT", "tokenCount": 50}])
        };
        let usage = json!({"promptTokenCount": 1_150, "cachedContentTokenCount": 1_000, "candidatesTokenCount": 1,
            "promptTokensDetails": details(1_000, 100), "cacheTokensDetails": details(900, 100)});
        let usage = Report::read(Dialect::Gemini, Operation::Chat, &Tree::from(&usage)).usage().unwrap();
        let input = (usage.input, usage.audio_input, usage.image_input, usage.cache_read);
        assert_eq!(input, (Some(50), Some(100), Some(0), Some(1_000)));
    }

    /// As recorded: what the total has more is the audio, of which the seconds are billed.
    #[test]
    fn what_mistral_heard_is_no_reasoning() {
        let usage =
            json!({"prompt_audio_seconds": 19, "prompt_tokens": 10, "total_tokens": 452, "completion_tokens": 67});
        let read = |operation| Report::read(Dialect::OpenAiChat, operation, &Tree::from(&usage)).usage();
        let heard = Usage { input: Some(10), output: Some(67), audio_input_ms: Some(19_000), ..Usage::default() };
        assert_eq!((read(Operation::Transcription), read(Operation::Chat)), (Some(heard), Some(heard)));
        // 19 seconds at 50 dollars a million.
        let price = Price::new(["audio_second=50".parse().unwrap()]);
        assert_eq!(price.cost(&heard, None).total(), Some(950_000_000));
    }

    #[test]
    fn what_anthropic_did_beside_its_messages_counts() {
        let usage = json!({"input_tokens": 23_000, "output_tokens": 1_000, "cache_read_input_tokens": 5, "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7}},
            {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000, "cache_read_input_tokens": 5},
            {"type": "advisor_message", "model": "opus", "input_tokens": 823, "cache_read_input_tokens": 10, "output_tokens": 100}]});
        let usage = Tree::from(&usage);
        let read = |model| Report::read_of(Dialect::Anthropic, Operation::Chat, model, &usage).usage().unwrap();
        let sonnet = Usage {
            input: Some(203_000),
            output: Some(4_500),
            cache_read: Some(5),
            cache_write_5m: Some(0),
            cache_write_1h: Some(7),
            other_models: Some(933),
            ..Usage::default()
        };
        assert_eq!((read(Some("sonnet")), read(None)), (sonnet, sonnet));
        assert_eq!(sonnet.total(), Some(203_000 + 4_500 + 5 + 7 + 933));
        let advised_by_itself =
            Usage { input: Some(203_823), output: Some(4_600), cache_read: Some(15), other_models: None, ..sonnet };
        assert_eq!(read(Some("opus")), advised_by_itself);
        let price = Price::new(["input=1".parse().unwrap(), "output=1".parse().unwrap()]);
        assert!(price.cost(&advised_by_itself, None).total().is_some());
        let cost = price.cost(&sonnet, None);
        assert_eq!((cost.total(), cost.known()), (None, 207_512_000_000));
    }

    #[test]
    fn what_a_fallback_answered_counts_once() {
        let read = |declined: u64, model| {
            let usage = json!({"input_tokens": 1_000, "output_tokens": 200, "iterations": [
                {"type": "message", "model": "fable", "input_tokens": 900, "output_tokens": declined},
                {"type": "message", "model": "opus", "input_tokens": 400, "output_tokens": 50},
                {"type": "fallback_message", "model": "opus", "input_tokens": 600, "output_tokens": 150}]});
            Report::read_of(Dialect::Anthropic, Operation::Chat, model, &Tree::from(&usage)).usage().unwrap()
        };
        let told = Usage { input: Some(1_000), output: Some(200), ..Usage::default() };
        for model in [Some("opus"), Some("fable"), None] {
            assert_eq!(read(0, model), told, "nothing was said before it was declined");
            assert_eq!(read(30, model), Usage { other_models: Some(930), ..told });
        }
        // 1,000 at 5 dollars and 200 at 25 for each million.
        let price = Price::new(["input=5".parse().unwrap(), "output=25".parse().unwrap()]);
        assert_eq!(price.cost(&told, None).total(), Some(10_000_000_000));
    }

    #[test]
    fn bedrocks_cache_writes_are_cut_by_time() {
        let usage =
            |value: Value| Report::read(Dialect::Bedrock, Operation::Chat, &Tree::from(&value)).usage().unwrap();
        let both = usage(json!({
            "inputTokens": 1, "outputTokens": 2, "totalTokens": 33, "cacheWriteInputTokens": 30,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}],
        }));
        assert_eq!((both.cache_write_5m, both.cache_write_1h, both.total()), (Some(20), Some(10), Some(33)));
        let hour = usage(json!({"cacheDetails": [{"ttl": "1h", "inputTokens": 10}], "cacheWriteInputTokens": 10}));
        assert_eq!((hour.cache_write_5m, hour.cache_write_1h), (Some(0), Some(10)));
        let untold = usage(json!({"cacheDetails": [], "cacheWriteInputTokens": 10}));
        assert_eq!((untold.cache_write_5m, untold.cache_write_1h), (Some(10), None));
    }
}
