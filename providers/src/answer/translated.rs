//! An answer that is translated on its way: read by the codec of the provider's dialect, written by that of the client's.

use std::borrow::Cow;

use bytes::Bytes;

use super::continued::{Said, Seam};
use super::marks::Marks;
use super::{AnswerForm, End, Heard, Notes, anthropic};
use crate::codec::{
    Client, Maker, OutputItem, Platform, StreamDecoder, StreamEncoder, codec, is_explanation, whole_characters,
};
use crate::common::{
    Aliases, Before, Collector, Content, Delta, Event, Losses, ProviderTag, Response, Str, TurnMemory, TurnRecorder,
    take_apart,
};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};
use crate::operations::completions;
use crate::price::Served;

/// The largest answer that is held to be translated as a whole.
pub(super) const MAX_WHOLE: usize = 128 << 20;

/// Between whom an answer is translated, and what of the request that takes.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The provider's dialect.
    pub from: Dialect,
    /// The client's dialect.
    pub to: Dialect,
    /// Whose API carries the provider's dialect.
    pub platform: Platform,
    /// The account that answers.
    pub provider: ProviderTag,
    /// The model that was asked.
    pub model: String,
    /// For whom the answer is written.
    pub client: Client,
    /// Tools that go under other names.
    pub aliases: Aliases,
    /// What was said before the answer; `None`: nothing of it is to be remembered for the next turn.
    pub before: Option<Before>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client asked for reasoning.
    pub reasoning: bool,
    /// Whether the items of the answer are to be kept: [`Observer::take_items`](super::Observer::take_items) has them at its end.
    pub keeps_items: bool,
    /// Whether the client asked for a legacy completion, which went as chat.
    pub completion: bool,
    /// Whether another attempt may go on with the answer if it breaks off; of streams only. What has been said is then kept,
    /// and an error that the provider reports is not written: [`Observer::translated_error`](super::Observer::translated_error)
    /// does that when nobody goes on.
    pub may_go_on: bool,
    /// Whether the answer may begin with all that it was to go on with (Mistral's do).
    pub echoes: bool,
}

impl Translation {
    /// From `dialect` to itself, for nobody in particular.
    pub(super) fn within(dialect: Dialect, stream: bool) -> Self {
        Self {
            from: dialect,
            to: dialect,
            platform: Platform::Native,
            provider: ProviderTag::of(""),
            model: String::new(),
            client: Client::default(),
            aliases: Aliases::default(),
            before: None,
            stream,
            reasoning: false,
            keeps_items: false,
            completion: false,
            may_go_on: false,
            echoes: false,
        }
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            provider: self.provider,
            platform: self.platform,
            model: &self.model,
            id_seed: self.client.request_id.get(..12).unwrap_or(&self.client.request_id),
        }
    }

    fn recorder(&self) -> Option<TurnRecorder> {
        let before = self.before?;
        // These sign what they want to have back.
        let signs = matches!(self.from, Dialect::Anthropic | Dialect::Gemini | Dialect::OpenAiResponses);
        Some(TurnRecorder::new(self.provider, before, !signs))
    }

    fn marks(&self) -> Option<Marks> {
        Marks::new(self.from, self.to, self.provider, self.reasoning)
    }
}

/// The translation of one answer under way.
pub(super) struct Translated {
    translation: Translation,
    input: Input,
    output: Output,
    losses: Losses,
    recorder: Option<TurnRecorder>,
    marks: Option<Marks>,
    said: Option<Box<Said>>,
    seam: Option<Box<Seam>>,
    /// Those of a whole answer that are to be kept.
    items: Vec<OutputItem>,
}

enum Input {
    Stream(Box<dyn StreamDecoder>),
    Whole(Vec<u8>),
}

enum Output {
    Stream(Box<dyn StreamEncoder>),
    Whole(Box<Collector>),
}

impl std::fmt::Debug for Translated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translated").field("translation", &self.translation).finish_non_exhaustive()
    }
}

impl Translated {
    /// `form`: how the provider's answer is framed.
    pub(super) fn new(translation: Translation, form: AnswerForm) -> Self {
        let input = Input::new(&translation, form);
        let output = if translation.stream {
            Output::Stream(match translation.completion {
                true => completions::stream_encoder(&translation.client),
                false => codec(translation.to).stream_encoder(&translation.client),
            })
        } else {
            Output::Whole(Box::new(Collector::new(translation.from)))
        };
        let said = (translation.may_go_on && translation.stream && form == AnswerForm::Stream).then(Box::default);
        let (recorder, marks) = (translation.recorder(), translation.marks());
        Self {
            translation,
            input,
            output,
            losses: Losses::default(),
            recorder,
            marks,
            said,
            seam: None,
            items: Vec::new(),
        }
    }

    /// What has been said, for as long as another attempt can go on with it.
    pub(super) fn said(&self) -> Option<&Said> {
        self.said.as_deref()
    }

    /// From here on the answer is that of another attempt, a stream, which goes on with what has been said.
    pub(super) fn go_on(&mut self, translation: Translation) {
        self.seam = self.said.as_ref().map(|said| Box::new(said.seam(translation.echoes)));
        self.input = Input::new(&translation, AnswerForm::Stream);
        (self.recorder, self.marks) = (translation.recorder(), translation.marks());
        self.translation = translation;
    }

    pub(super) fn losses(&self) -> &Losses {
        &self.losses
    }

    pub(super) fn take_memory(&mut self) -> Option<TurnMemory> {
        self.recorder.take()?.finish()
    }

    /// Once it is complete.
    pub(super) fn take_items(&mut self) -> Vec<OutputItem> {
        if !std::mem::take(&mut self.translation.keeps_items) {
            return Vec::new();
        }
        match &self.output {
            Output::Stream(encoder) => encoder.items(),
            Output::Whole(_) => std::mem::take(&mut self.items),
        }
    }

    pub(super) fn feed(&mut self, chunk: &Bytes, end: bool, notes: &mut Notes) -> Bytes {
        let mut out = Vec::new();
        let Self { translation, input, output, losses, recorder, marks, said, seam, items: _ } = self;
        match input {
            Input::Stream(decoder) => {
                let Translation { aliases, .. } = translation;
                let mut write = |event: Event<'_>| {
                    note(&event, notes);
                    let event = as_clients_know_it(event);
                    if let Some(recorder) = recorder {
                        recorder.feed(&event);
                    }
                    let untold = match said {
                        Some(said) => {
                            said.note(&event);
                            matches!(event, Event::Error(_))
                        }
                        None => is_cut(&event),
                    };
                    if !untold {
                        let (failed, from) = (matches!(event, Event::Error(_)), out.len());
                        output.write(event, losses, &mut out);
                        if failed {
                            notes.errors.push(from..out.len());
                        }
                    }
                };
                let mut goes_on_as = None;
                let mut write = |event: Event<'_>| match seam {
                    Some(seam) => {
                        if let Event::Start { model: Some(model), .. } = &event {
                            goes_on_as = Some(model.to_string());
                        }
                        seam.feed(event, &mut write);
                    }
                    None => write(event),
                };
                let mut write = |event: Event<'_>| match marks {
                    Some(marks) => marks.stream(event, &mut write),
                    None => write(event),
                };
                decoder.feed(chunk, end, &mut |event| {
                    if aliases.is_empty() {
                        write(event);
                    } else {
                        aliases.restore_event(event, &mut write);
                    }
                });
                if goes_on_as.is_some() {
                    notes.seen.model = goes_on_as;
                }
                notes.stopped |= decoder.has_stopped();
                if end {
                    self.finish_whole(&mut out, notes);
                }
            }
            Input::Whole(body) => {
                if notes.seen.error.is_some() {
                    return Bytes::new();
                }
                if body.len().saturating_add(chunk.len()) > MAX_WHOLE {
                    *body = Vec::new();
                    let error =
                        ApiError::new(ErrorKind::UpstreamError, "the provider's answer is too large to be translated");
                    return self.refuse(error, notes).into();
                }
                body.extend_from_slice(chunk);
                if end {
                    let body = std::mem::take(body);
                    self.translate_whole(&body, &mut out, notes);
                }
            }
        }
        out.into()
    }

    /// A whole answer of the provider.
    fn translate_whole(&mut self, body: &[u8], out: &mut Vec<u8>, notes: &mut Notes) {
        let Self { translation, output, losses, recorder, marks, items, .. } = self;
        if body.trim_ascii().is_empty() {
            notes.seen.cut = true;
            return;
        }
        let mut read = codec(translation.from).decode_response(body, &translation.maker());
        let mended;
        if read.is_err()
            && let Cow::Owned(whole) = whole_characters(body)
        {
            mended = whole;
            read = codec(translation.from).decode_response(&mended, &translation.maker());
        }
        let mut response = match read {
            Ok(response) => response,
            Err(error) => {
                *out = self.refuse(error, notes);
                return;
            }
        };
        translation.aliases.restore(&mut response);
        if let Some(marks) = marks {
            marks.whole(&mut response);
        }
        take_apart(&response, &mut |event| {
            note(&event, notes);
            if let Some(recorder) = recorder {
                recorder.feed(&event);
            }
            if let Output::Stream(encoder) = output {
                encoder.encode(as_clients_know_it(event), losses, out);
            }
        });
        response.service_tier = response.service_tier.take().map(tier_alone);
        if let Output::Whole(_) = output {
            *items = write_whole(translation, &response, losses, out);
        }
    }

    /// A whole answer that is none. The client of a stream has its header already: it gets the error's event.
    fn refuse(&mut self, error: ApiError, notes: &mut Notes) -> Vec<u8> {
        let out = self.error_event(&error);
        fail(notes, error);
        out
    }

    /// The end of a provider's stream for a client that wants its answer whole.
    fn finish_whole(&mut self, out: &mut Vec<u8>, notes: &mut Notes) {
        let Self { translation, output, losses, items, .. } = self;
        let Output::Whole(collector) = output else { return };
        let collector = std::mem::replace(&mut **collector, Collector::new(translation.from));
        match collector.finish() {
            Ok(response) => *items = write_whole(translation, &response, losses, out),
            Err(error) if error.kind == ErrorKind::StreamCut => notes.seen.cut = true,
            Err(error) => fail(notes, error),
        }
    }

    /// The client dialect's event for an error that the provider did not report itself.
    pub(super) fn error_event(&mut self, error: &ApiError) -> Vec<u8> {
        let mut out = Vec::new();
        if let Output::Stream(encoder) = &mut self.output {
            encoder.encode(Event::Error(error.clone()), &mut self.losses, &mut out);
        }
        out
    }
}

impl Input {
    fn new(translation: &Translation, form: AnswerForm) -> Self {
        match form {
            AnswerForm::Stream => Self::Stream(codec(translation.from).stream_decoder(&translation.maker())),
            AnswerForm::Json | AnswerForm::Opaque => Self::Whole(Vec::new()),
        }
    }
}

impl Output {
    fn write(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        match self {
            Self::Stream(encoder) => encoder.encode(event, losses, out),
            Self::Whole(collector) => collector.feed(&event),
        }
    }
}

/// Gives back what is to be kept of it.
fn write_whole(
    translation: &Translation,
    response: &Response<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Vec<OutputItem> {
    *out = match translation.completion {
        true => completions::encode_response(response, &translation.client, losses),
        false => codec(translation.to).encode_response(response, &translation.client, losses),
    };
    if translation.keeps_items { codec(translation.to).items_of(out) } else { Vec::new() }
}

fn is_cut(event: &Event<'_>) -> bool {
    matches!(event, Event::Error(error) if error.kind == ErrorKind::StreamCut)
}

pub(super) fn fail(notes: &mut Notes, error: ApiError) {
    notes.seen.error.get_or_insert(error);
}

/// Fills in what the gateway wants to know of an answer, from its events.
pub(super) fn note(event: &Event<'_>, notes: &mut Notes) {
    notes.seen.events += 1;
    hear(event, &mut notes.heard);
    match event {
        Event::Start { id, model, .. } => {
            let seen = &mut notes.seen;
            seen.id = id.as_ref().map(ToString::to_string);
            seen.model = model.as_ref().map(ToString::to_string);
        }
        Event::BlockStart { block, .. } => {
            if is_explanation(block) {
                notes.ends(End::Replaced);
            }
            match &block.content {
                Content::Text(text) if text.text.is_empty() => {}
                Content::Refusal(text) if text.is_empty() => {}
                Content::Reasoning(reasoning) if reasoning.text.is_empty() && reasoning.encrypted.is_none() => {}
                Content::Reasoning(_) => notes.thought(),
                Content::Text(_)
                | Content::Refusal(_)
                | Content::Media(_)
                | Content::ToolCall(_)
                | Content::ToolResult(_) => notes.output(),
                Content::Foreign(foreign) => {
                    let by = || anthropic::goes_on(foreign.raw.get().as_bytes());
                    match (foreign.dialect == Dialect::Anthropic).then(by).flatten() {
                        // That another model goes on says nothing yet.
                        Some(by) => notes.stand_in(Some(by)),
                        None => notes.output(),
                    }
                }
            }
        }
        Event::Delta { delta, .. } => {
            let empty = match delta {
                Delta::Text(text)
                | Delta::Refusal(text)
                | Delta::Reasoning(text)
                | Delta::Summary { text, .. }
                | Delta::Arguments(text)
                | Delta::MediaData(text)
                | Delta::Transcript(text) => text.is_empty(),
                Delta::Signature(_) => true,
                Delta::Encrypted(_) | Delta::Citation(_) | Delta::Foreign(_) => false,
            };
            match delta {
                _ if empty => {}
                Delta::Reasoning(_) | Delta::Summary { .. } | Delta::Encrypted(_) => notes.thought(),
                _ => notes.output(),
            }
        }
        Event::Usage(usage) => notes.seen.usage = Some(*usage),
        Event::ServiceTier(tier) => notes.seen.service_tier = Some(tier.to_string()),
        Event::Error(error) if error.kind == ErrorKind::StreamCut => notes.seen.cut = true,
        Event::Error(error) => fail(notes, error.clone()),
        Event::End => notes.seen.complete = true,
        Event::Stop { stop, .. } => notes.stop(stop),
        Event::BlockEnd { .. } | Event::Logprobs { .. } | Event::Extras(_) | Event::Ping => {}
    }
}

/// A tier has beside it what decides the price, which no client's dialect has a word for.
fn as_clients_know_it(event: Event<'_>) -> Event<'_> {
    match event {
        Event::ServiceTier(tier) => Event::ServiceTier(tier_alone(tier)),
        other => other,
    }
}

fn tier_alone(tier: Str<'_>) -> Str<'_> {
    match Served::tier_word(&tier) {
        word if word.len() == tier.len() => tier,
        word => word.to_owned().into(),
    }
}

/// Measures what the event says.
fn hear(event: &Event<'_>, heard: &mut Heard) {
    match event {
        Event::BlockStart { block, .. } => match &block.content {
            Content::Text(text) => heard.text(text.text.as_bytes()),
            Content::Refusal(text) => heard.text(text.as_bytes()),
            Content::Reasoning(reasoning) => heard.text(reasoning.text.as_bytes()),
            Content::ToolCall(call) => {
                heard.text(call.name.as_bytes());
                heard.text(call.arguments.as_bytes());
            }
            Content::Media(_) | Content::ToolResult(_) | Content::Foreign(_) => {}
        },
        Event::Delta { delta, .. } => match delta {
            Delta::Text(text)
            | Delta::Refusal(text)
            | Delta::Reasoning(text)
            | Delta::Summary { text, .. }
            | Delta::Arguments(text)
            | Delta::Transcript(text) => heard.text(text.as_bytes()),
            Delta::MediaData(_)
            | Delta::Signature(_)
            | Delta::Encrypted(_)
            | Delta::Citation(_)
            | Delta::Foreign(_) => {}
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Observer;
    use crate::dialect::Operation;

    /// The provider cut its text, or a call's arguments, inside a character; it was paid for all the same.
    #[test]
    fn half_a_character_makes_no_answer_unreadable() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":"a \ud83d"}]},"finishReason":"MAX_TOKENS"}]}"#;
        let translation = Translation {
            to: Dialect::OpenAiChat,
            provider: ProviderTag::of("p"),
            model: "m".into(),
            ..Translation::within(Dialect::Gemini, false)
        };
        let mut observer = Observer::translating(translation, Operation::Chat, AnswerForm::Json);
        let out = observer.feed(Bytes::from_static(body), true);
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["choices"][0]["message"]["content"], "a \u{fffd}");
    }

    #[test]
    fn a_whole_answer_that_is_none_is_an_error_in_the_clients_stream() {
        for to in [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini, Dialect::Cohere]
        {
            let translation = |stream| Translation {
                to,
                provider: ProviderTag::of("p"),
                model: "m".into(),
                ..Translation::within(Dialect::OpenAiChat, stream)
            };
            for (stream, wanted) in [(true, true), (false, false)] {
                let mut observer = Observer::translating(translation(stream), Operation::Chat, AnswerForm::Json);
                let out = observer.feed(Bytes::from_static(br#"{"method":"POST"}"#), true);
                let out = String::from_utf8_lossy(&out);
                assert_eq!(out.contains("the provider's answer has no choices"), wanted, "{to}: {out}");
                assert!(observer.seen().error.is_some() && !observer.seen().complete, "{to}");
            }
        }
    }

    fn to_chat(from: Dialect, stream: bool) -> Translation {
        Translation { to: Dialect::OpenAiChat, ..Translation::within(from, stream) }
    }

    /// What stands in for words that Claude did not say.
    #[test]
    fn why_claude_declines_is_no_answer() {
        let stop = r#""stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"About weapons."}"#;
        let whole = format!(r#"{{"type":"message","model":"m","content":[],{stop}}}"#);
        let streamed = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"model\":\"m\",\"content\":[]}}}}\n\n\
         event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{{stop}}},\"usage\":{{\"output_tokens\":1}}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        for (form, body) in [(AnswerForm::Json, &whole), (AnswerForm::Stream, &streamed)] {
            for to_stream in [false, true] {
                let mut observer = Observer::translating(to_chat(Dialect::Anthropic, to_stream), Operation::Chat, form);
                let out = observer.feed(Bytes::copy_from_slice(body.as_bytes()), true);
                assert!(String::from_utf8_lossy(&out).contains("About weapons."), "{form:?} {to_stream}");
                assert!(observer.seen().first_output && observer.seen().is_blocked(), "{form:?} {to_stream}");
            }
        }
    }

    /// Its client knows no such words.
    #[test]
    fn what_stands_beside_a_tier_is_for_the_price_alone() {
        let usage =
            r#"{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"fast","inference_geo":"us"}"#;
        let whole = format!(
            r#"{{"id":"i","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn","usage":{usage}}}"#
        );
        let streamed = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"i\",\"model\":\"m\",\"content\":[],\"usage\":{usage}}}}}\n\n\
         event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{{\"output_tokens\":1}}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        for (form, body) in [(AnswerForm::Json, &whole), (AnswerForm::Stream, &streamed)] {
            for to_stream in [false, true] {
                let translation = to_chat(Dialect::Anthropic, to_stream);
                let mut observer = Observer::translating(translation, Operation::Chat, form);
                let out = observer.feed(Bytes::copy_from_slice(body.as_bytes()), true);
                let out = String::from_utf8_lossy(&out);
                assert!(out.contains(r#""service_tier":"default""#), "{form:?} {out}");
                assert_eq!(observer.seen().service_tier.as_deref(), Some("default+fast_mode+us"), "{form:?}");
            }
        }
    }

    #[test]
    fn who_goes_on_with_an_answer_is_whose_it_is() {
        let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"model\":\"fable\",\"content\":[]}}\n\n\
            event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":\
            {\"type\":\"fallback\",\"from\":{\"model\":\"fable\"},\"to\":{\"model\":\"opus\"}}}\n\n";
        let translation = Translation::within(Dialect::Anthropic, true);
        let mut observer = Observer::translating(translation, Operation::Chat, AnswerForm::Stream);
        observer.feed(Bytes::from_static(body.as_bytes()), false);
        assert_eq!(observer.seen().model.as_deref(), Some("opus"));
    }

    #[test]
    fn what_openai_runs_as_tools_counts() {
        let items = r#"{"type":"web_search_call","action":{"type":"search"}},{"type":"web_search_call","action":{"type":"open_page"}}"#;
        let tools =
            r#""tool_usage":{"image_gen":{"input_tokens":1,"output_tokens":2},"web_search":{"num_requests":3}}"#;
        for (rest, right) in [
            (format!(r#""output":[{items}]"#), (Some(1), None)),
            (format!(r#""output":[{items}],{tools}"#), (Some(3), Some(3))),
        ] {
            let whole =
                format!(r#"{{"id":"r","status":"completed","usage":{{"input_tokens":5,"output_tokens":2}},{rest}}}"#);
            let streamed = format!("data: {{\"type\":\"response.completed\",\"response\":{whole}}}\n\n");
            for (form, body) in [(AnswerForm::Json, whole), (AnswerForm::Stream, streamed)] {
                let translation = to_chat(Dialect::OpenAiResponses, true);
                let mut observer = Observer::translating(translation, Operation::Chat, form);
                let _ = observer.feed(Bytes::from(body.clone()), true);
                let usage = observer.seen().usage.unwrap();
                assert_eq!((usage.web_searches, usage.other_models), right, "{form:?} {body}");
            }
        }
    }
}
