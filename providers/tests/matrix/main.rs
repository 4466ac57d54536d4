//! Every dialect in front of every dialect: what one side says reaches the other, or is disclosed.
//!
//! For each scenario, client dialect and provider dialect a request goes the way it goes in the gateway: written by a client,
//! read by the client's codec, written by the provider's codec, read by a provider. What the gateway read and what the provider
//! reads are compared feature by feature; a feature that changed must be named in the losses. Answers go the same way back, whole and
//! streamed. The features are drawn from the common model in `features.rs`, the scenarios stand in `scenarios.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod document;
mod features;
mod golden;
mod scenarios;

use std::collections::BTreeMap;

use ai_gateway_providers::codec::{Call, Client, Maker, Platform, Target, codec};
use ai_gateway_providers::common::{Aliases, Collector, Losses, ProviderTag, Request, Response, take_apart};
use ai_gateway_providers::error::{decode_error, encode_error};
use ai_gateway_providers::preset::{LimitSpelling, Quirks};
use ai_gateway_providers::{ApiError, Dialect, ErrorKind};

const PROVIDER: &str = "upstream";

fn target(losslessly: bool) -> Target<'static> {
    // What the most capable models of a dialect accept: the question here is what the dialect can say.
    let quirks = Quirks { limit: LimitSpelling::MaxCompletionTokens, developer_role: losslessly, ..Quirks::default() };
    Target { quirks, ..Target::new("upstream-model", ProviderTag::of(PROVIDER)) }
}

fn maker() -> Maker<'static> {
    Maker { provider: ProviderTag::of(PROVIDER), platform: Platform::Native, model: "upstream-model", id_seed: "seed" }
}

fn client() -> Client {
    Client { model: "public".into(), include_usage: true, request_id: "req".into(), now: 1, ..Client::default() }
}

/// What `dialect` makes of a request, as a client writes it, and what of it the dialect cannot say.
fn as_sent(dialect: Dialect, request: &Request<'_>) -> (Vec<u8>, Losses) {
    let mut losses = Losses::default();
    let sent = codec(dialect)
        .encode_request(request, &target(true), &mut losses)
        .unwrap_or_else(|error| panic!("{dialect}: {error}"));
    (sent, losses)
}

fn read(dialect: Dialect, body: &[u8], stream: bool) -> Request<'_> {
    let call = Call { model: Some("m"), stream };
    codec(dialect)
        .decode_request(body, &call)
        .unwrap_or_else(|error| panic!("{dialect}: {error}: {}", String::from_utf8_lossy(body)))
}

/// Features of `before` that `after`, in the words of `to`, lacks or has otherwise, and that are not among the losses.
fn undisclosed(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    losses: &Losses,
    to: Dialect,
) -> Vec<String> {
    let untold = |name: &str| {
        let part = name.strip_prefix("answer.usage.");
        part.is_some_and(|part| features::untold_parts(to).contains(&part))
            // Bedrock is told to cache whatever can be by marks.
            || name == "cache" && after.contains_key("messages.cache")
    };
    let disclosed = |name: &str| {
        losses.iter().any(|loss| {
            let field = loss.field.replace("messages.tool_result.", "messages.");
            // Further choices are dropped whole.
            let whole = loss.field == "answer.choices" && name.starts_with("answer.")
                || loss.field == "messages.reasoning" && name == "messages.signature"
                || loss.field == "answer.transcript" && name == "answer.text";
            whole || field == name || loss.field == name || name.starts_with(&format!("{field}."))
        })
    };
    before
        .iter()
        .filter(|(name, value)| after.get(*name) != Some(value) && !disclosed(name) && !untold(name))
        .map(|(name, value)| format!("{name}: {value} became {:?}", after.get(name)))
        .collect()
}

#[test]
fn every_request_reaches_every_provider_or_says_what_does_not() {
    let mut failures = Vec::new();
    for from in Dialect::ALL {
        for (scenario, request) in scenarios::requests(from) {
            let (sent, losses) = as_sent(from, &request);
            let lost = undisclosed(
                &features::of_request(&request),
                &features::of_request(&read(from, &sent, false)),
                &losses,
                from,
            );
            // Of these two no message of their own has a speaker's name that could be lost.
            let nameless = |loss: &&String| {
                loss.starts_with("messages.name") && matches!(from, Dialect::Anthropic | Dialect::Gemini)
            };
            let lost = lost.iter().filter(|loss| !nameless(loss));
            failures.extend(lost.map(|loss| format!("{scenario}: {from}: {loss}")));
            for stream in [false, true] {
                let asked = read(from, &sent, stream);
                let before = features::of_request(&asked);
                for to in Dialect::ALL {
                    let mut losses = Losses::default();
                    let written = codec(to).encode_request(&asked, &target(true), &mut losses).unwrap();
                    let after = features::of_request(&read(to, &written, stream));
                    for loss in undisclosed(&before, &after, &losses, to) {
                        failures.push(format!("{scenario}: {from} -> {to}: {loss}"));
                    }
                }
            }
        }
    }
    report(failures);
}

#[test]
fn every_answer_reaches_every_client_or_says_what_does_not() {
    let mut failures = Vec::new();
    for (scenario, response) in scenarios::responses() {
        for from in Dialect::ALL {
            let mut response = response.clone();
            response.dialect = from;
            let wire = codec(from).encode_response(&response, &client(), &mut Losses::default());
            let answer = match codec(from).decode_response(&wire, &maker()) {
                Ok(answer) => answer,
                // Cohere's word for an answer that a filter cut off is an error.
                Err(_) if from == Dialect::Cohere && scenarios::is_refused(&response) => continue,
                Err(error) => panic!("{scenario}: {from}: {error}"),
            };
            let before = features::of_response(&answer);
            for to in Dialect::ALL {
                let mut losses = Losses::default();
                let written = codec(to).encode_response(&answer, &client(), &mut losses);
                let whole = codec(to)
                    .decode_response(&written, &maker())
                    .map(|after| (before.clone(), features::of_response(&after), losses));
                let streamed = through_a_stream(from, to, &response)
                    .map(|(said, after, losses)| (features::of_response(&said), features::of_response(&after), losses));
                for (form, told) in [("whole", whole), ("streamed", streamed)] {
                    let lost = match told {
                        Ok((before, after, losses)) => undisclosed(&before, &after, &losses, to),
                        Err(_) if to == Dialect::Cohere && scenarios::is_refused(&response) => Vec::new(),
                        Err(error) => vec![error.to_string()],
                    };
                    failures.extend(lost.iter().map(|loss| format!("{scenario}: {from} -> {to}, {form}: {loss}")));
                }
            }
        }
    }
    report(failures);
}

/// The answer as the provider streams it, and the same translated as it comes and put together by the client.
fn through_a_stream(
    from: Dialect,
    to: Dialect,
    response: &Response<'_>,
) -> Result<(Response<'static>, Response<'static>, Losses), ApiError> {
    let (mut wire, mut ignored) = (Vec::new(), Losses::default());
    let mut provider = codec(from).stream_encoder(&client());
    take_apart(response, &mut |event| provider.encode(event, &mut ignored, &mut wire));
    let (mut written, mut losses) = (Vec::new(), Losses::default());
    let mut said = Collector::new(from);
    let mut decoder = codec(from).stream_decoder(&maker());
    let mut encoder = codec(to).stream_encoder(&client());
    let chunks: Vec<&[u8]> = wire.chunks(97).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        decoder.feed(chunk, at + 1 == chunks.len(), &mut |event| {
            said.feed(&event);
            encoder.encode(event, &mut losses, &mut written);
        });
    }
    let mut collector = Collector::new(to);
    codec(to).stream_decoder(&maker()).feed(&written, true, &mut |event| collector.feed(&event));
    Ok((said.finish()?, collector.finish()?, losses))
}

#[test]
fn every_error_reads_as_the_clients_dialect_says_it() {
    use ErrorKind::{
        ContextLength, InvalidRequest, ModelNotFound, Overloaded, RateLimited, UpstreamError, UpstreamTimeout,
    };
    for from in Dialect::ALL {
        for kind in
            [InvalidRequest, ContextLength, ModelNotFound, RateLimited, Overloaded, UpstreamTimeout, UpstreamError]
        {
            let message =
                if kind == ContextLength { "prompt is too long: 9 tokens > 8" } else { "the provider's own words" };
            let error = ApiError::new(kind, message);
            let decoded = decode_error(from, error.client_status(from), &encode_error(from, &error, "r"));
            assert_eq!(decoded.message, message, "{from} {kind:?}");
            for to in Dialect::ALL {
                let told = decode_error(to, decoded.client_status(to), &encode_error(to, &decoded, "r"));
                assert_eq!(told.message, message, "{from} -> {to} {kind:?}");
                let same = told.kind == decoded.kind || told.client_status(to) == decoded.client_status(to);
                assert!(same, "{from} -> {to}: {:?} became {:?}", decoded.kind, told.kind);
            }
        }
        for to in Dialect::ALL {
            let mut stream = Vec::new();
            let mut encoder = codec(to).stream_encoder(&client());
            let mut losses = Losses::default();
            let error = ApiError::new(Overloaded, "no room today");
            for event in [
                ai_gateway_providers::common::Event::Start { id: None, model: None, created: None },
                ai_gateway_providers::common::Event::Error(error),
            ] {
                encoder.encode(event, &mut losses, &mut stream);
            }
            let mut collector = Collector::new(to);
            codec(to).stream_decoder(&maker()).feed(&stream, true, &mut |event| collector.feed(&event));
            let told = collector.finish().expect_err("an error is no answer");
            assert!(told.message.contains("no room today"), "{to}: {told}");
        }
    }
}

/// Tools that a dialect does not know go out as functions and come back as what they are.
#[test]
fn custom_and_grouped_tools_come_back() {
    let request = scenarios::custom_tools();
    for to in Dialect::ALL {
        let aliases = Aliases::of(&request, to);
        let mut losses = Losses::default();
        let written = codec(to).encode_request(&request, &target(true), &mut losses).unwrap();
        let asked = read(to, &written, false);
        let names: Vec<String> = features::tool_names(&asked);
        assert_eq!(names.len(), 2, "{to}: {names:?}");
        let mut answer = scenarios::calls_of(to, &asked);
        aliases.restore(&mut answer);
        let calls = features::calls(&answer);
        assert_eq!(calls, ["custom apply_patch *** Begin", "mcp__docs/search {\"q\":\"x\"}"], "{to}");
    }
}

/// Names that a dialect does not take are the same wherever they stand in what is sent, and calls come back under the client's.
#[test]
fn tools_with_names_that_do_not_fit_come_back() {
    for from in Dialect::ALL {
        let request = scenarios::misnamed_tools(from);
        for to in Dialect::ALL.into_iter().filter(|to| *to != from) {
            let aliases = Aliases::of(&request, to);
            let mut losses = Losses::default();
            let written = codec(to).encode_request(&request, &target(true), &mut losses).unwrap();
            let asked = read(to, &written, false);
            let names = features::tool_names(&asked);
            let longest = if to == Dialect::Anthropic { 128 } else { 64 };
            for name in &names {
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                let begins = to != Dialect::Gemini || !name.starts_with(|c: char| c.is_ascii_digit());
                assert!(begins && name.len() <= longest && name.chars().all(fits), "{from} -> {to}: {name}");
            }
            // The history calls each of them, and the first is chosen.
            let called = features::called(&asked);
            if to == Dialect::Cohere {
                assert_eq!((&names[..], called.len()), (&called[..1], 4), "{from} -> {to}");
            } else {
                assert_eq!(names, called, "{from} -> {to}");
                assert_eq!(features::chosen(&asked).as_ref(), names.first(), "{from} -> {to}");
            }
            let mut answer = scenarios::calls_of(to, &asked);
            aliases.restore(&mut answer);
            let calls = features::calls(&answer);
            let wanted = scenarios::misnamed().map(|(group, name)| {
                let group = group.map(|group| format!("{group}/")).unwrap_or_default();
                format!("{group}{name} {{\"q\":\"x\"}}")
            });
            assert_eq!(calls, wanted[..calls.len()], "{from} -> {to}");
        }
    }
}

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} undisclosed losses:\n{}", failures.len(), failures.join("\n"));
}
