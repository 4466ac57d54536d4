//! What the targets of the codecs share.

use ai_gateway_providers::Dialect;
use ai_gateway_providers::Usage;
use ai_gateway_providers::codec::{Client, Maker, Platform, StreamDecoder, codec};
use ai_gateway_providers::common::{
    Choice, Collector, Content, Event, Json, Losses, Opaque, ProviderTag, Response, StopReason, take_apart,
};
use ai_gateway_providers::error::ApiError;

/// The account of every maker and target.
#[must_use]
pub fn account() -> ProviderTag {
    ProviderTag::of("p")
}

/// The maker of every answer.
#[must_use]
pub fn maker() -> Maker<'static> {
    Maker { provider: account(), platform: Platform::Native, model: "model", id_seed: "seed" }
}

/// The client of every answer.
#[must_use]
pub fn client() -> Client {
    Client { include_usage: true, request_id: "id".into(), now: 1, ..Client::default() }
}

/// One of `all` by a byte: `'0'` is the first.
#[must_use]
pub fn choose<T: Copy>(all: &[T], byte: u8) -> T {
    all[usize::from(byte.wrapping_sub(b'0')) % all.len()]
}

/// What a stream in these chunks says, put together; checks that it ends exactly once.
///
/// # Errors
/// The error that it ends with.
pub fn read_stream(
    dialect: Dialect,
    decoder: &mut dyn StreamDecoder,
    chunks: &[&[u8]],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Response<'static>, ApiError> {
    let (mut collector, mut ends) = (Collector::new(dialect), 0);
    for (at, chunk) in chunks.iter().enumerate() {
        decoder.feed(chunk, at + 1 == chunks.len(), &mut |event| {
            assert_eq!(ends, 0, "an event after the end: {event:?}");
            ends += usize::from(matches!(event, Event::End | Event::Error(_)));
            collector.feed(&event);
            on_event(event);
        });
    }
    assert_eq!(ends, 1, "the stream has {ends} ends");
    collector.finish()
}

/// Writes an answer in `dialect`, whole and as a stream; checks that both can be read, and say the same.
pub fn check_answer(response: &Response<'_>, dialect: Dialect, input: usize) {
    // Some dialects have no word for an answer that is none: there it reads as cut off.
    if response.choices.is_empty() {
        return;
    }
    let codec = codec(dialect);
    let mut losses = Losses::default();
    let body = codec.encode_response(response, &client(), &mut losses);
    check_size(input, body.len());
    let whole = codec.decode_response(&body, &maker());
    let whole = whole.unwrap_or_else(|error| panic!("{dialect}: {error}: {}", text(&body)));
    let (mut encoder, mut stream) = (codec.stream_encoder(&client()), Vec::new());
    take_apart(response, &mut |event| encoder.encode(event, &mut losses, &mut stream));
    check_size(input, stream.len());
    let mut decoder = codec.stream_decoder(&maker());
    let streamed = read_stream(dialect, &mut *decoder, &[&stream], &mut |_| {});
    let streamed = streamed.unwrap_or_else(|error| panic!("{dialect} as a stream: {error}: {}", text(&stream)));
    let blocks = || response.choices.iter().flat_map(|choice| &choice.blocks);
    // What only one dialect knows cannot always be streamed; it is noted as lost.
    if blocks().any(|block| matches!(block.content, Content::Foreign(_))) {
        return;
    }
    // What is no object is passed on in a stream, which cannot know, and wrapped in a whole answer.
    let objects = blocks().all(|block| match &block.content {
        Content::ToolCall(call) => call.custom || object(&call.arguments).is_some(),
        _ => true,
    });
    let own = response.dialect == dialect;
    let (mut streamed, mut whole) = (meaning(&streamed, objects, own), meaning(&whole, objects, own));
    // A provider's new word for the end is understood by whoever knows that it is of his dialect; streams do not tell.
    for (at, _) in response.choices.iter().enumerate().filter(|(_, one)| one.stop.reason == StopReason::Other) {
        for meaning in [&mut streamed, &mut whole] {
            if let Some(meaning) = meaning.0.get_mut(at) {
                meaning.stop = None;
            }
        }
    }
    assert!(streamed == whole, "{dialect}: the stream says\n{streamed:?}\nand the answer\n{whole:?}");
}

/// What is said, each kind in its order: dialects that keep calls apart from text have no order between them.
#[derive(Debug, Default, PartialEq)]
struct Meaning {
    /// Its words: Cohere's text and the plan of its calls have no order, either.
    text: Vec<char>,
    refusal: String,
    reasoning: String,
    calls: Vec<[String; 3]>,
    /// Signatures and encrypted reasoning, in their own dialect.
    state: Vec<String>,
    stop: Option<StopReason>,
}

/// The arguments of a call in one spelling, if they are an object or none.
fn object(arguments: &str) -> Option<String> {
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    Json::parse(text).filter(Json::is_object).map(|json| json.to_value().to_string())
}

/// What stands beside words and calls (sources, media, logprobs) is not compared: of odd answers, those of an empty text,
/// say, have a place in some streams and in no whole answer. The tests on recordings compare it.
fn meaning(response: &Response<'_>, objects: bool, own: bool) -> (Vec<Meaning>, Option<Usage>) {
    // Bedrock's stream counts nothing as 0.
    let usage = response.usage.filter(|usage| usage.total_input().unwrap_or(0) + usage.output.unwrap_or(0) > 0);
    (response.choices.iter().map(|choice| meaning_of(choice, objects, own)).collect(), usage)
}

fn meaning_of(choice: &Choice<'_>, objects: bool, own: bool) -> Meaning {
    let mut all = Meaning { stop: Some(choice.stop.reason), ..Meaning::default() };
    // A ticket without data only says that nobody signed.
    let mut keep = |opaque: &Option<Opaque<'_>>| {
        let opened = opaque.iter().filter(|_| own).map(|one| Opaque::from_client(one.dialect, one.data.borrowed()));
        all.state.extend(opened.map(|one| one.data.to_string()).filter(|data| !data.is_empty()));
    };
    for block in &choice.blocks {
        match &block.content {
            Content::Text(text) => {
                all.text.extend(text.text.chars());
                keep(&text.signature);
            }
            Content::Refusal(text) => all.refusal.push_str(text),
            Content::Reasoning(reasoning) => {
                all.reasoning.push_str(&reasoning.text);
                reasoning.summary.iter().for_each(|part| all.reasoning.push_str(part));
                keep(&reasoning.signature);
                keep(&reasoning.encrypted);
            }
            Content::ToolCall(call) => {
                let arguments = object(&call.arguments).unwrap_or_else(|| call.arguments.to_string());
                let arguments = if objects { arguments } else { String::new() };
                all.calls.push([call.id.to_string(), call.name.to_string(), arguments]);
                keep(&call.signature);
            }
            Content::Media(media) => keep(&media.signature),
            Content::ToolResult(_) | Content::Foreign(_) => {}
        }
    }
    // A call without a name waits for it until its stream ends.
    if all.calls.iter().any(|[_, name, _]| name.is_empty()) {
        all.calls.sort();
    }
    all.state.sort();
    all.text.sort_unstable();
    all
}

/// Checks that what is written is in proportion to what was read: every delta of a stream gets an envelope.
pub fn check_size(input: usize, output: usize) {
    assert!(output <= 64 * input + (64 << 10), "{input} bytes became {output}");
}

/// Bytes for a report.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
