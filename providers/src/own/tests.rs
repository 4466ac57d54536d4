use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::codec::testing::target;
use crate::codec::{Call, Client, Maker, Platform, Sink, StreamDecoder, StreamEncoder, Target, codec};
use crate::common::{Block, Choice, Content, Event, Losses, Message, Opaque, ProviderTag, Request, Response, Role};
use crate::error::{ErrorKind, decode_error, encode_stream_error};
use crate::preset::{Account, Preset, UpstreamRequest, upstream_path};
use crate::scan::{self, BodyFacts, Repeatable, Side, TextKind, Tools};
use crate::{Dialect, Operation};

/// `{"bird", "flies", "sweet", "say": [texts]}` is answered by `{"said"}`. Its streams are bytes: `.` is an end, `!` an error.
struct Parrot(&'static str);

impl OwnDialect for Parrot {
    fn name(&self) -> &'static str {
        self.0
    }

    fn codec(&self) -> &dyn Codec {
        self
    }

    fn client_path<'p>(&self, _: &'p str) -> Option<ClientPath<'p>> {
        None
    }

    fn provider_path(&self, model: &str, stream: bool) -> String {
        format!("/birds/{model}/{}", if stream { "song" } else { "word" })
    }
}

fn read(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::new(ErrorKind::InvalidRequest, "no bird"))
}

fn text(block: &Block<'_>) -> String {
    match &block.content {
        Content::Text(text) => text.text.to_string(),
        other => panic!("a parrot says only text: {other:?}"),
    }
}

impl Codec for Parrot {
    fn decode_request<'a>(&self, body: &'a [u8], _: &Call<'_>) -> Result<Request<'a>, ApiError> {
        let body = read(body)?;
        let say = body["say"].as_array().ok_or_else(|| ApiError::new(ErrorKind::InvalidRequest, "it says nothing"))?;
        let block = |text: &Value| Block::text(text.as_str().unwrap_or_default().to_owned());
        let message = Message { role: Role::User, blocks: say.iter().map(block).collect(), ..Message::default() };
        Ok(Request {
            model: body["bird"].as_str().unwrap_or_default().to_owned().into(),
            stream: body["flies"] == true,
            temperature: body["sweet"].as_f64(),
            messages: vec![message],
            ..Request::new(Dialect::Cohere)
        })
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target<'_>, _: &mut Losses) -> Result<Vec<u8>, ApiError> {
        let say: Vec<String> = request.messages.iter().flat_map(|message| &message.blocks).map(text).collect();
        Ok(json!({"bird": to.model, "say": say}).to_string().into_bytes())
    }

    fn decode_response<'a>(&self, body: &'a [u8], _: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        let said = read(body)?["said"].as_str().map(str::to_owned);
        let said = said.ok_or_else(|| ApiError::new(ErrorKind::UpstreamError, "it said nothing"))?;
        let choices = vec![Choice { blocks: vec![Block::text(said)], ..Choice::default() }];
        Ok(Response { choices, ..Response::new(Dialect::Cohere) })
    }

    fn encode_response(&self, response: &Response<'_>, _: &Client, _: &mut Losses) -> Vec<u8> {
        let said: String = response.choices.iter().flat_map(|choice| &choice.blocks).map(text).collect();
        json!({ "said": said }).to_string().into_bytes()
    }

    fn stream_decoder(&self, _: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Bytewise)
    }

    fn stream_encoder(&self, _: &Client) -> Box<dyn StreamEncoder> {
        Box::new(Bytewise)
    }
}

struct Bytewise;

impl StreamDecoder for Bytewise {
    fn feed(&mut self, chunk: &[u8], _: bool, sink: Sink<'_>) {
        for byte in chunk {
            sink(match byte {
                b'.' => Event::End,
                b'!' => Event::Error(ApiError::new(ErrorKind::Overloaded, "it is hoarse")),
                _ => Event::Ping,
            });
        }
    }
}

impl StreamEncoder for Bytewise {
    fn encode(&mut self, event: Event<'_>, _: &mut Losses, out: &mut Vec<u8>) {
        if let Event::Error(error) = event {
            out.extend_from_slice(error.message.as_bytes());
        }
    }
}

fn parrot() -> Dialect {
    Own::new(Parrot("parrot")).into()
}

fn own() -> Own {
    Own::new(Parrot("parrot"))
}

#[test]
fn it_is_known_by_its_name() {
    let other: Dialect = Own::new(Parrot("macaw")).into();
    assert_eq!(parrot(), parrot());
    assert_ne!(parrot(), other);
    assert_eq!(HashSet::from([parrot(), parrot(), other, Dialect::Cohere]).len(), 3);
    assert!(Dialect::Cohere < other && other < parrot(), "built-in ones, then by name");
    assert_eq!((parrot().to_string(), serde_json::to_value(parrot()).unwrap()), ("parrot".to_owned(), json!("parrot")));
    assert!("parrot".parse::<Dialect>().is_err(), "nothing in the process knows them all");
    assert!(size_of::<Dialect>() <= 16);
}

#[test]
fn the_codec_tells_what_a_request_asks() {
    let scan = |body: &'static str, stream| {
        let body = Bytes::from_static(body.as_bytes());
        scan_request(&body, parrot(), &Call { model: None, stream })
    };
    let found =
        scan(r#"{"bird": "ara", "flies": true, "say": [], "model": "m", "metadata": {"a": "b"}}"#, false).unwrap();
    assert_eq!((found.model.unwrap().value.as_str(), found.stream, found.labels), ("ara", true, true));
    let found = scan(r#"{"say": [], "model": "m", "stream": true}"#, false).unwrap();
    assert_eq!((found.model, found.stream), (None, false), "its own words count");
    assert!(scan(r#"{"say": []}"#, true).unwrap().stream, "the path asks for a stream");
    for (body, told) in [
        ("[", "JSON"),
        (r#"{"bird": "ara"}"#, "it says nothing"),
        (r#"{"bird": "a\nb", "say": []}"#, "the model name is"),
    ] {
        let error = scan(body, false).unwrap_err();
        assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains(told), "{error}");
    }
}

#[test]
fn texts_and_facts_are_found_by_the_codec() {
    let body = Bytes::from_static(br#"{"bird": "ara", "sweet": 0.5, "say": ["one", "two"], "messages": "no text"}"#);
    let texts = scan::texts(&body, Side::Request, parrot(), Operation::Chat);
    let texts: Vec<_> = texts.iter().map(|text| (text.kind, &*text.text, text.number)).collect();
    assert_eq!(texts, [(TextKind::User, "one", 0), (TextKind::User, "two", 1)]);
    let (edited, count) = scan::edit_texts(&body, Side::Request, parrot(), Operation::Chat, |text| {
        (text.number == 1).then(|| text.text.to_uppercase())
    });
    let edited: Value = serde_json::from_slice(&edited.unwrap()).unwrap();
    assert_eq!((edited, count), (json!({"bird": "ara", "say": ["one", "TWO"]}), 1));
    assert_eq!(scan::edit_texts(&body, Side::Request, parrot(), Operation::Chat, |_| None), (None, 0));
    let answer = Bytes::from_static(br#"{"said": "three"}"#);
    assert_eq!(scan::texts(&answer, Side::Answer, parrot(), Operation::Chat)[0].text, "three");
    let (edited, _) = scan::edit_texts(&answer, Side::Answer, parrot(), Operation::Chat, |_| Some("four".to_owned()));
    assert_eq!(edited.unwrap(), r#"{"said":"four"}"#);
    // What the codec cannot read is read as JSON is.
    let other = br#"{"messages": [{"role": "user", "content": "five"}]}"#;
    assert_eq!(scan::texts(other, Side::Request, parrot(), Operation::Chat)[0].text, "five");

    let facts = BodyFacts::in_dialect(&body, parrot());
    assert_eq!((facts.prompt_bytes, facts.images, facts.tools), (6, false, false));
    let wanted = Repeatable { temperature: true, tools: Tools::None, once: None };
    assert_eq!(Repeatable::of(&body, parrot()), wanted);
    assert!(Repeatable::of(b"{}", parrot()).once.is_some(), "what is not understood is not given again");
}

#[test]
fn no_error_tells_of_the_operators_account() {
    let mut error = ApiError::new(ErrorKind::UpstreamError, "sk-abcdef123456 has no quota");
    error.provider_type = Some("t".to_owned());
    let whole = String::from_utf8(crate::error::encode_error(parrot(), &error, "r")).unwrap();
    assert!(whole.contains("[key] has no quota"), "{whole}");
    assert_eq!(encode_stream_error(parrot(), &error, "r", 0), b"[key] has no quota");
    let refused = ApiError::new(ErrorKind::UpstreamAuth, "your key ends in 1234");
    assert_eq!(encode_stream_error(parrot(), &refused, "r", 0), b"the provider refused the gateway's credentials");
}

#[test]
fn a_providers_error_is_read_in_the_usual_places_unless_it_says_otherwise() {
    let error = decode_error(parrot(), 429, br#"{"error": {"message": "slow down"}}"#);
    assert_eq!((error.kind, error.status, &*error.message), (ErrorKind::RateLimited, 429, "slow down"));
    assert!(decode_error(parrot(), 500, b"").message.contains("the parrot provider answered with status 500"));
}

#[test]
fn a_stream_ends_once() {
    let ends = |stream: &[u8]| {
        let maker = Maker { provider: ProviderTag::of("p"), platform: Platform::Native, model: "m", id_seed: "1" };
        let (mut decoder, mut events) = (codec(parrot()).stream_decoder(&maker), Vec::new());
        decoder.feed(stream, false, &mut |event| events.push(format!("{event:?}")));
        decoder.feed(b"", true, &mut |event| events.push(format!("{event:?}")));
        events
            .iter()
            .map(|event| event.split_once('{').map_or(&**event, |(name, _)| name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ends(b"a.b."), ["Ping", "End"]);
    assert_eq!(ends(b"!."), ["Error(ApiError "]);
    assert_eq!(ends(b"a"), ["Ping", "Error(ApiError "], "a decoder that does not tell is told for");
}

#[test]
fn a_turn_that_follows_a_kept_answer_is_not_asked_without_it() {
    let mut asked = Request { previous: Some("resp_1".into()), ..Request::new(Dialect::OpenAiResponses) };
    let encode = |asked: &Request<'_>| codec(parrot()).encode_request(asked, &target(), &mut Losses::default());
    assert_eq!(encode(&asked).unwrap_err().param.as_deref(), Some("previous_response_id"));
    asked.dialect = parrot();
    assert!(encode(&asked).is_ok(), "its own codec knows better");
}

#[test]
fn a_model_in_a_path_cannot_leave_its_place() {
    let preset = Preset::find("openai-compatible").unwrap();
    let path = |model, stream| {
        let account = Account { base_path: "/zoo/", ..Account::default() };
        let (dialect, operation) = (parrot(), Operation::Chat);
        let asked = UpstreamRequest { dialect, operation, suffix: None, model, stream, query: None };
        upstream_path(preset, &account, &asked)
    };
    assert_eq!(path("ara/2", false).as_deref(), Some("/zoo/birds/ara%2F2/word"));
    assert_eq!(path("ara?", true).as_deref(), Some("/zoo/birds/ara%3F/song"));
    assert_eq!(path("..", true), None);
    let offered = Operation::ALL.into_iter().filter(|operation| preset.offers(parrot(), *operation));
    assert_eq!(offered.collect::<Vec<_>>(), [Operation::Chat]);
}

#[test]
fn its_state_is_nobody_elses() {
    let made = Opaque::made_by(own().into(), Some(ProviderTag::of("zoo")), "proof".into());
    assert_eq!(made.for_client(parrot()), "proof");
    let ticket = made.for_client(Dialect::Anthropic).into_owned();
    let back = Opaque::from_client(Dialect::Anthropic, ticket);
    for dialect in Dialect::ALL {
        assert_eq!(back.for_provider(dialect, ProviderTag::of("zoo")), None, "{dialect}");
    }
}
