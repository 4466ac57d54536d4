//! What the mock makes of the turns before: it counts the model's, and checks what real providers check.

use ai_gateway_providers::Dialect;

use super::steps::{self, Step};

/// The conversation so far, fed item by item, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The steps in the last text of the user that has any.
    pub(super) steps: Vec<Step>,
    /// The model's turns since that text.
    pub(super) turns: usize,
    /// The model's turns with calls since its last one without.
    pub(super) loops: u64,
    /// A signature that the mock cannot have made.
    forged: bool,
    /// Since the user spoke last, the model called without a signature on the first call.
    unsigned: bool,
    /// Since the user spoke last, the model called without reasoning first.
    thoughtless: bool,
    /// The model's turn that is being read.
    open: Option<Turn>,
}

#[derive(Debug)]
struct Turn {
    thought: bool,
    calls: bool,
}

impl History {
    /// A message of the user, of its tools (`result`), or of both.
    pub(super) fn user(&mut self, text: &str, result: bool) {
        self.close();
        if !result {
            (self.unsigned, self.thoughtless) = (false, false);
        }
        let steps = steps::read(text);
        if !steps.is_empty() {
            (self.steps, self.turns) = (steps, 0);
        }
    }

    /// The model reasoned. `proven`: the mock can have done that.
    pub(super) fn thought(&mut self, proven: bool) {
        self.turn(true);
        self.forged |= !proven;
    }

    /// The model said something.
    pub(super) fn text(&mut self) {
        self.turn(false);
    }

    /// The model called a tool. `proven`: whether its signature is right, if it has one.
    pub(super) fn call(&mut self, proven: Option<bool>) {
        let turn = self.turn(false);
        let first = !std::mem::replace(&mut turn.calls, true);
        let thought = turn.thought;
        if first {
            self.loops += 1;
            self.unsigned |= proven.is_none();
            self.thoughtless |= !thought;
        }
        self.forged |= proven == Some(false);
    }

    fn turn(&mut self, thought: bool) -> &mut Turn {
        self.open.get_or_insert_with(|| {
            self.turns += 1;
            Turn { thought, calls: false }
        })
    }

    fn close(&mut self) {
        if self.open.take().is_some_and(|turn| !turn.calls) {
            self.loops = 0;
        }
    }

    /// What a provider of `dialect` says to a conversation that it does not take. `thinking`: reasoning is asked for with a
    /// budget; `strict`: calls must be signed.
    pub(super) fn refusal(&self, dialect: Dialect, thinking: bool, strict: bool) -> Option<&'static str> {
        if self.forged {
            return Some(match dialect {
                Dialect::Gemini => "Corrupted thought signature.",
                Dialect::OpenAiResponses => "The encrypted content of a reasoning item could not be verified.",
                _ => "messages: Invalid `signature` in `thinking` block",
            });
        }
        match dialect {
            Dialect::Gemini if strict && self.unsigned => {
                Some("Function call is missing a thought_signature in functionCall parts.")
            }
            Dialect::Anthropic | Dialect::Bedrock if thinking && self.thoughtless => Some(
                "messages: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a \
                 final `assistant` message must start with a thinking block",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_from_the_script_on() {
        let mut history = History::default();
        history.user("hello", false);
        history.text();
        history.user("please\nCALL f {}\nSAY ok", false);
        assert_eq!((history.steps.len(), history.turns, history.loops), (2, 0, 0));
        history.thought(true);
        history.call(None);
        history.call(None);
        history.user("remember the rules", true);
        assert_eq!((history.steps.len(), history.turns, history.loops), (2, 1, 1));
    }

    #[test]
    fn only_the_current_turn_must_be_signed_and_thought_about() {
        let mut history = History::default();
        history.call(None);
        history.user("", true);
        assert!(history.refusal(Dialect::Gemini, false, true).is_some());
        assert!(history.refusal(Dialect::Gemini, false, false).is_none());
        assert!(history.refusal(Dialect::Anthropic, true, false).is_some());
        history.user("next", false);
        history.thought(true);
        history.call(Some(true));
        history.call(None);
        for dialect in Dialect::ALL {
            assert!(history.refusal(dialect, true, true).is_none(), "{dialect}");
        }
        history.thought(false);
        assert!(history.refusal(Dialect::Bedrock, false, false).is_some());
    }
}
