//! The tables of `docs/translation.md`: for each pair, what the scenarios lost. Between the two marks the file is what this
//! writes; the text around them is written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ai_gateway_providers::Dialect;
use ai_gateway_providers::codec::{Target, codec};
use ai_gateway_providers::common::Losses;

use crate::features::{self, Features};
use crate::{as_sent, client, maker, read, scenarios, target, through_a_stream};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/translation.md");
const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

/// The names that a loss can have, and what they mean.
const WORDS: &[(&str, &str)] = &[
    ("answer.audio", "a sound that the model made; what it says is told as text where it is known"),
    ("answer.choices", "alternative answers after the first (`n`)"),
    ("answer.citations", "where the text comes from: sources and the words that rest on them"),
    ("answer.expires_at", "until when the provider keeps a sound that a later turn may refer to"),
    (
        "answer.groundingMetadata",
        "Google's own object about a search; what it cites is carried as citations where the client's dialect has them",
    ),
    ("answer.image", "an image that the model made"),
    ("answer.logprobs", "log probabilities of tokens"),
    ("answer.stop", "why the answer ended, in a word that the client's dialect lacks: the nearest one is told"),
    ("answer.service_tier", "which capacity served the request, in a word that the client's dialect lacks"),
    ("answer.stop_sequence", "which of the texts of `stop` was met"),
    ("answer.transcript", "what is said by a sound that is told as such"),
    ("audio", "the voice and form of a sound that is asked for"),
    ("cache", "the wish to have whatever can be cached, or for how long; what caches by itself does so unasked"),
    ("frequency_penalty", "penalty on tokens by how often they occurred"),
    ("logprobs", "the wish for log probabilities"),
    ("messages.audio", "a sound in the conversation"),
    (
        "messages.cache",
        "a mark up to which a prompt is to be cached; dialects without marks cache by themselves or not at all, and those that OpenAI takes since GPT-5.6 (`prompt_cache_breakpoint`) are neither made of others nor told to them",
    ),
    (
        "messages.reasoning",
        "the model's reasoning in earlier turns: plain one, where only proved one is taken, and what another maker proved",
    ),
    ("messages.signature", "the proof of reasoning that another maker made; what it says is carried"),
    ("messages.document", "a document in the conversation, such as a PDF"),
    ("messages.image", "an image in the conversation"),
    ("messages.name", "the name of a document or of who speaks"),
    ("messages.tool_result.error", "that a tool failed; what the tool said is carried"),
    ("messages.tool_result.image", "an image in the result of a tool"),
    ("messages.video", "a video in the conversation"),
    ("metadata", "the client's own notes on the request; OpenAI Chat takes them only with `store`"),
    ("modalities", "the wish for an answer in sound or pictures"),
    ("n", "the wish for several answers: one is given"),
    ("parallel_tool_calls", "the wish for one tool call at a time"),
    ("presence_penalty", "penalty on tokens that occurred"),
    ("prompt_cache_key", "by which the provider's cache finds requests that have much in common"),
    ("reasoning", "how much the model is to reason: an effort, a budget, on or off"),
    ("response_format", "the form of the answer: JSON, or JSON of a schema"),
    (
        "response_format.strict",
        "that an answer must follow its schema: OpenAI does so only if all properties are required and no others allowed",
    ),
    ("seed", "the seed of the sampling"),
    ("service_tier", "which capacity serves the request (priority, flex, …)"),
    ("stop", "texts that end the answer"),
    ("store", "the wish that the provider keeps the answer"),
    ("tools.cache", "a mark up to which tools are to be cached"),
    ("tools.strict", "that a tool's arguments must follow its schema exactly"),
    ("top_k", "sampling from the k likeliest tokens"),
    ("top_logprobs", "how many alternatives of each token to tell"),
    ("top_p", "nucleus sampling; Claude takes it or a temperature, not both"),
    ("user", "who the end user is, for the provider's abuse detection"),
    ("verbosity", "how long an answer is wanted"),
];

/// The providers that are told apart: the dialect's name, and a model's where its family decides.
const PROVIDERS: [(Dialect, &str, &str); 7] = [
    (Dialect::OpenAiChat, "OpenAI Chat Completions", "upstream-model"),
    (Dialect::OpenAiResponses, "OpenAI Responses", "upstream-model"),
    (Dialect::Anthropic, "Anthropic Messages", "upstream-model"),
    (Dialect::Gemini, "Gemini", "upstream-model"),
    (Dialect::Bedrock, "Bedrock Converse, Claude", "anthropic.claude-sonnet"),
    (Dialect::Bedrock, "Bedrock Converse, most others", "vendor.model"),
    (Dialect::Cohere, "Cohere", "upstream-model"),
];

/// Names of losses, each with the scenarios in which it was lost, and whether there were others in which it was carried.
#[derive(Default)]
struct Lost(BTreeMap<String, (BTreeSet<&'static str>, bool)>);

impl Lost {
    fn add(&mut self, scenario: &'static str, asked: &Features, losses: &Losses) {
        for loss in losses.iter() {
            self.0.entry(loss.field.clone()).or_default().0.insert(scenario);
        }
        for name in asked.keys().filter(|name| !losses.iter().any(|loss| loss.field == **name)) {
            self.0.entry(name.clone()).or_default().1 = true;
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter(|(_, (scenarios, _))| !scenarios.is_empty()).map(|(name, _)| name)
    }

    fn cell(&self) -> String {
        let lost = self.0.iter().filter(|(_, (scenarios, _))| !scenarios.is_empty());
        let told = lost.map(|(name, (scenarios, sometimes))| match sometimes {
            true => format!("`{name}` ({})", scenarios.iter().copied().collect::<Vec<_>>().join(", ")),
            false => format!("`{name}`"),
        });
        let told: Vec<String> = told.collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

#[test]
fn the_document_says_what_each_pair_loses() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("a mark where the tables begin");
    let (_, after) = rest.split_once(END).expect("a mark where the tables end");
    let now = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, now).unwrap();
    } else {
        let update = "UPDATE_DOCS=1 cargo test -p ai-gateway-providers --test matrix document";
        assert!(text == now, "docs/translation.md is out of date: run {update}");
    }
}

fn tables() -> String {
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    for (from, client, _) in PROVIDERS.into_iter().filter(|(_, title, _)| !title.ends_with("others")) {
        let client = client.split(',').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "\n### Clients of {client}\n\n| provider | not in the request | not in the answer |\n|---|---|---|"
        );
        for (to, provider, model) in PROVIDERS.into_iter().filter(|(to, ..)| *to != from) {
            let (asked, answered) = (lost_requests(from, to, model), lost_answers(to, from));
            let _ = writeln!(text, "| {provider} | {} | {} |", asked.cell(), answered.cell());
            seen.extend(asked.names().chain(answered.names()).cloned());
        }
    }
    text.push_str("\n### The names\n\n| name | what it is |\n|---|---|\n");
    for name in &seen {
        let (_, meaning) =
            WORDS.iter().find(|(word, _)| word == name).unwrap_or_else(|| panic!("say in WORDS what {name:?} means"));
        let _ = writeln!(text, "| `{name}` | {meaning} |");
    }
    text.push_str("\n### Parts of the usage that are in its totals only\n\n| client | parts |\n|---|---|\n");
    for (dialect, client, _) in PROVIDERS.into_iter().filter(|(_, title, _)| !title.ends_with("others")) {
        let client = client.split(',').next().unwrap_or_default();
        let parts: Vec<String> = features::untold_parts(dialect).iter().map(|part| format!("`{part}`")).collect();
        let _ = writeln!(text, "| {client} | {} |", parts.join(", "));
    }
    text.push('\n');
    text
}

/// What a client that speaks `from` can ask and `model` of a provider that speaks `to` is not told.
fn lost_requests(from: Dialect, to: Dialect, model: &str) -> Lost {
    let mut lost = Lost::default();
    for (scenario, request) in scenarios::requests(from) {
        let (sent, _) = as_sent(from, &request);
        let asked = read(from, &sent, false);
        let mut losses = Losses::default();
        let target = Target { model, ..target(true) };
        codec(to).encode_request(&asked, &target, &mut losses).unwrap();
        lost.add(scenario, &features::of_request(&asked), &losses);
    }
    lost
}

/// What a provider that speaks `from` answers and a client that speaks `to` is not told, whole or streamed.
fn lost_answers(from: Dialect, to: Dialect) -> Lost {
    let mut lost = Lost::default();
    for (scenario, mut response) in scenarios::responses() {
        response.dialect = from;
        let wire = codec(from).encode_response(&response, &client(), &mut Losses::default());
        let Ok(answer) = codec(from).decode_response(&wire, &maker()) else { continue };
        let mut losses = Losses::default();
        codec(to).encode_response(&answer, &client(), &mut losses);
        if let Ok((_, _, streamed)) = through_a_stream(from, to, &response) {
            losses.extend(&streamed);
        }
        lost.add(scenario, &features::of_response(&answer), &losses);
    }
    lost
}
