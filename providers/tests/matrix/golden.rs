//! Golden files: what each codec writes and reads, scenario by scenario. `cargo insta review`, or `INSTA_UPDATE=always`, takes over
//! what was meant to change.

use std::fmt::Write as _;

use ai_gateway_providers::codec::codec;
use ai_gateway_providers::common::{Collector, Losses, take_apart};
use ai_gateway_providers::event_stream::{Frame, FrameSplitter};
use ai_gateway_providers::{ApiError, Dialect};

use super::features::{self, Features};
use super::{client, maker, read, scenarios, target};

/// What there is in one direction, in a dialect.
type Told = fn(Dialect) -> String;

const DIRECTIONS: [(&str, Told); 3] = [("request", requests), ("answer", answers), ("stream", streams)];

#[test]
fn all_dialects_in_all_directions() {
    for dialect in Dialect::ALL {
        for (direction, told) in DIRECTIONS {
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(format!("{dialect}-{direction}"), told(dialect));
            });
        }
    }
}

/// As a provider gets them, what it cannot be told, and what is read of the same from a client.
fn requests(dialect: Dialect) -> String {
    let told = |(scenario, request)| {
        let mut losses = Losses::default();
        let written = codec(dialect).encode_request(&request, &target(false), &mut losses).unwrap();
        section(scenario, &written, &losses, &features::of_request(&read(dialect, &written, false)))
    };
    scenarios::requests(Dialect::OpenAiChat).into_iter().map(told).collect()
}

/// As a client gets them, what it cannot be told, and what is read of the same from a provider.
fn answers(dialect: Dialect) -> String {
    let told = |(scenario, response)| {
        let mut losses = Losses::default();
        let written = codec(dialect).encode_response(&response, &client(), &mut losses);
        let read = codec(dialect).decode_response(&written, &maker());
        section(scenario, &written, &losses, &read.map_or_else(refused, |read| features::of_response(&read)))
    };
    scenarios::responses().into_iter().map(told).collect()
}

fn streams(dialect: Dialect) -> String {
    let told = |(scenario, response)| {
        let (mut written, mut losses) = (Vec::new(), Losses::default());
        let mut encoder = codec(dialect).stream_encoder(&client());
        take_apart(&response, &mut |event| encoder.encode(event, &mut losses, &mut written));
        let mut collector = Collector::new(dialect);
        codec(dialect).stream_decoder(&maker()).feed(&written, true, &mut |event| collector.feed(&event));
        let read = collector.finish();
        section(scenario, &written, &losses, &read.map_or_else(refused, |read| features::of_response(&read)))
    };
    scenarios::responses().into_iter().map(told).collect()
}

fn refused(error: ApiError) -> Features {
    Features::from([("error".to_owned(), error.to_string())])
}

fn section(scenario: &str, wire: &[u8], losses: &Losses, read: &Features) -> String {
    let mut section = format!("# {scenario}\n{}\n", text(wire).trim_end());
    for loss in losses.iter() {
        _ = writeln!(section, "- {} is lost", loss.field);
    }
    for (name, value) in read {
        _ = writeln!(section, "+ {name}: {}", value.escape_debug());
    }
    section + "\n"
}

/// The wire for people: of an event stream in frames the names and payloads.
fn text(wire: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(wire) {
        return text.to_owned();
    }
    let mut text = String::new();
    FrameSplitter::default().feed(wire, |frame| {
        let Frame::Event { name, payload } = frame.unwrap() else { panic!("an answer has no error") };
        _ = writeln!(text, "{name} {}", String::from_utf8_lossy(payload));
    });
    text
}
