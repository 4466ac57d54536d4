//! One text through all hooks, one after the other.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::Hooked;
use crate::text::Stage;
use crate::{Flow, Part, Rejection};

/// Feeds `text` to the first hook, what that lets go to the second, and so on; `out` gets what comes out of the last. `stages` has
/// one for each hook. Gives back why the answer must not go on, if so.
pub(super) fn run(
    hooks: &mut [Hooked],
    stages: &mut [Stage],
    part: Part,
    text: &str,
    end: bool,
    out: &mut dyn FnMut(&str),
) -> Option<Rejection> {
    let (Some((hook, hooks)), Some((stage, stages))) = (hooks.split_first_mut(), stages.split_first_mut()) else {
        if !text.is_empty() {
            out(text);
        }
        return None;
    };
    let mut refused = None;
    if !hook.off {
        // The time of those behind it is not its own.
        let behind = Cell::new(Duration::ZERO);
        let mut next = |text: &str| {
            if refused.is_none() {
                let begun = Instant::now();
                refused = run(hooks, stages, part, text, false, out);
                behind.set(behind.get() + begun.elapsed());
            }
        };
        let begun = Instant::now();
        let fed = stage.feed(part, text, end, hook.hold, &mut *hook.hook, &mut next);
        let took = begun.elapsed().saturating_sub(behind.get());
        let fed = fed.and_then(|flow| hook.policy.called(&flow, took).map(|()| flow));
        match fed {
            Ok(Flow::Pass) => {}
            Ok(Flow::Refuse(rejection)) => return Some(rejection),
            Err(failure) => {
                if let Some(rejection) = hook.policy.failed(&failure) {
                    return Some(rejection);
                }
                hook.off = true;
                stage.forgive(&mut next);
            }
        }
        return match refused {
            None if end => run(hooks, stages, part, "", true, out),
            refused => refused,
        };
    }
    if stage.held() > 0 {
        stage.forgive(&mut |text| refused = run(hooks, stages, part, text, false, out));
    }
    match refused {
        None => run(hooks, stages, part, text, end, out),
        refused => refused,
    }
}
