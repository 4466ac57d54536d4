//! Requests: the first byte chooses the client's dialect, the second the target's peculiarities, the rest is the body. Whatever
//! it is, what any codec writes of it can be read again.
#![no_main]

use ai_gateway_providers::Dialect;
use ai_gateway_providers::catalogue::{Thinking, Traits};
use ai_gateway_providers::codec::{Call, Platform, Target, codec};
use ai_gateway_providers::common::{Aliases, Losses};
use ai_gateway_providers::preset::{LimitSpelling, Quirks, ReasoningSpelling};
use ai_gateway_providers_fuzz::{account, check_size, choose, text};
use libfuzzer_sys::fuzz_target;

fn target(kind: u8) -> Target<'static> {
    let odd = kind.is_multiple_of(2);
    Target {
        platform: if kind % 8 == 7 { Platform::BedrockInvoke } else { Platform::Native },
        traits: Traits {
            max_output: None,
            thinking: choose(&[Thinking::AsAsked, Thinking::Budget, Thinking::Adaptive, Thinking::Always], kind),
            gemini_3: odd,
            ..Traits::default()
        },
        quirks: Quirks {
            limit: choose(&[LimitSpelling::MaxCompletionTokens, LimitSpelling::Either, LimitSpelling::MaxTokens], kind),
            developer_role: odd,
            cache_control: odd,
            short_tool_ids: kind.is_multiple_of(3),
            reasoning: choose(
                &[
                    ReasoningSpelling::Effort,
                    ReasoningSpelling::Object,
                    ReasoningSpelling::Parts,
                    ReasoningSpelling::Plain,
                    ReasoningSpelling::Untold,
                ],
                kind,
            ),
            ..Quirks::default()
        },
        ..Target::new("model", account())
    }
}

fuzz_target!(|input: &[u8]| {
    let [dialect, kind, body @ ..] = input else { return };
    let call = Call { model: Some("model"), stream: kind.is_multiple_of(5) };
    let Ok(request) = codec(choose(&Dialect::ALL, *dialect)).decode_request(body, &call) else { return };
    for to in Dialect::ALL {
        let _ = Aliases::of(&request, to);
        let mut losses = Losses::default();
        let Ok(written) = codec(to).encode_request(&request, &target(*kind), &mut losses) else { continue };
        check_size(body.len(), written.len());
        if let Err(error) = codec(to).decode_request(&written, &call) {
            panic!("{to}: {error}: {}", text(&written));
        }
    }
});
