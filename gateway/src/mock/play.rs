//! Performs an answer: its frames in time, and the faults in their place.

use std::time::Duration;

use ai_gateway_providers::Dialect;
use bytes::Bytes;
use tokio::time::Instant;

use super::behaviour::{At, Behaviour, Delivery, Fault};
use super::encode::{BLANK, Encode};
use super::failure::Failure;
use super::script::Script;
use super::wire::{End, RawFault, Wire};

/// Long enough for bytes to leave before their stream is reset (HTTP/2 forgets what is queued).
pub(super) const BEFORE_A_CUT: Duration = Duration::from_millis(20);

const NO_CONTENT: &[u8] = b"<html><body>502 Bad Gateway</body></html> \xff\xfe\x00 {]";

/// What goes wrong before there is any answer, in any operation. Returns the error to answer with, if it is that.
/// `content_type`: of the answer that is to come.
pub(super) async fn overture(
    wire: &mut Wire<'_>,
    behaviour: &Behaviour,
    content_type: &'static str,
) -> Result<Option<Failure>, End> {
    wire.pause(behaviour.header_delay).await?;
    match behaviour.fault {
        Some(Fault::Cut(At::Header)) => Err(End::Cut),
        Some(Fault::Stall(At::Header)) => Err(wire.stall().await),
        Some(Fault::Garbage) => Err(End::Raw(RawFault::Garbage)),
        Some(Fault::HalfChunk) => Err(End::Raw(RawFault::HalfChunk(content_type))),
        Some(Fault::BadChunk) => Err(End::Raw(RawFault::BadChunk(content_type))),
        Some(Fault::HugeHeader(bytes)) => Err(End::Raw(RawFault::HugeHeader(bytes))),
        Some(fault) => Ok(Failure::of_fault(fault)),
        None => Ok(None),
    }
}

/// An error as the whole answer.
pub(super) async fn refuse(
    wire: &mut Wire<'_>,
    failure: &Failure,
    shape: Dialect,
    headers: &[(&'static str, &str)],
) -> Result<(), End> {
    let mut all = headers.to_vec();
    all.extend(failure.header(shape));
    let (seconds, millis);
    if let Some(wait) = failure.retry_after {
        seconds = wait.as_millis().div_ceil(1000).to_string();
        all.push(("retry-after", &seconds));
        if wait.subsec_millis() != 0 {
            millis = wait.as_millis().to_string();
            all.push(("retry-after-ms", &millis));
        }
    }
    let mut body = failure.body(shape);
    body.push('\n');
    wire.whole(failure.status, &all, body.into()).await
}

/// A stream. `headers` hold its content type.
pub(super) async fn stream(
    wire: &mut Wire<'_>,
    behaviour: &Behaviour,
    script: &Script,
    encode: &mut dyn Encode,
    headers: &[(&'static str, &str)],
) -> Result<(), End> {
    wire.header(200, headers, None).await?;
    match behaviour.fault {
        Some(Fault::GarbageBody) => {
            wire.frame(Bytes::from_static(NO_CONTENT)).await?;
            return wire.finish().await;
        }
        Some(Fault::ErrorEvent(At::Header)) => {
            wire.frame(encode.error(&Failure::in_stream())).await?;
            return wire.finish().await;
        }
        _ => {}
    }
    wire.frame(encode.preamble(script)).await?;
    if let Some(fault @ (Fault::Cut(At::Output) | Fault::Stall(At::Output) | Fault::ErrorEvent(At::Output))) =
        behaviour.fault
    {
        return strike(wire, fault, encode).await;
    }
    wire.pause(behaviour.first_delay).await?;
    let fatal = match behaviour.fault {
        Some(
            fault @ (Fault::Cut(At::After(n))
            | Fault::Stall(At::After(n))
            | Fault::ErrorEvent(At::After(n))
            | Fault::EndEarly(n)),
        ) => Some((fault, n)),
        _ => None,
    };
    let mut due = Instant::now();
    for (i, piece) in (0..).zip(script.pieces()) {
        if fatal.is_some_and(|(_, n)| n == i) {
            break;
        }
        if !behaviour.gap.is_zero() && i > 0 {
            // Counted from the start, so that the chunks do not drift.
            due += behaviour.gap;
            wire.until(due).await?;
        }
        if behaviour.fault == Some(Fault::Malformed(i)) {
            wire.frame(encode.malformed()).await?;
        }
        wire.frame(encode.piece(piece)).await?;
    }
    if let Some((fault, _)) = fatal {
        return strike(wire, fault, encode).await;
    }
    let mut closing = encode.closing(script.finish, script.usage);
    if behaviour.fault == Some(Fault::NoEndMarker) && encode.has_end_marker() {
        closing.pop();
    }
    for frame in closing {
        wire.frame(frame).await?;
    }
    wire.finish().await
}

/// Ends a stream the wrong way.
async fn strike(wire: &mut Wire<'_>, fault: Fault, encode: &mut dyn Encode) -> Result<(), End> {
    match fault {
        Fault::Stall(_) => {
            wire.release().await?;
            Err(wire.stall().await)
        }
        Fault::ErrorEvent(_) => {
            wire.frame(encode.error(&Failure::in_stream())).await?;
            wire.finish().await
        }
        Fault::EndEarly(_) => wire.finish().await,
        _ => {
            wire.release().await?;
            wire.pause(BEFORE_A_CUT).await?;
            Err(End::Cut)
        }
    }
}

/// An answer that is not streamed.
pub(super) async fn whole(
    wire: &mut Wire<'_>,
    behaviour: &Behaviour,
    steps: u64,
    endless: bool,
    body: Bytes,
    shape: Dialect,
    headers: &[(&'static str, &str)],
) -> Result<(), End> {
    if endless {
        wire.header(200, headers, None).await?;
        loop {
            wire.frame(BLANK).await?;
            wire.pause(behaviour.gap).await?;
        }
    }
    let half = body.slice(..body.len() / 2);
    match behaviour.fault {
        Some(Fault::GarbageBody) => return wire.whole(200, headers, Bytes::from_static(NO_CONTENT)).await,
        Some(Fault::ErrorEvent(_)) => {
            return wire.whole(200, headers, Failure::in_stream().body(shape).into()).await;
        }
        Some(Fault::Cut(at)) => {
            wire.header(200, headers, Some(body.len())).await?;
            if let At::After(_) = at {
                wire.frame(half).await?;
            }
            wire.pause(BEFORE_A_CUT).await?;
            return Err(End::Cut);
        }
        Some(Fault::Stall(at)) => {
            wire.header(200, headers, None).await?;
            if let At::After(_) = at {
                wire.frame(half).await?;
                wire.release().await?;
            }
            return Err(wire.stall().await);
        }
        Some(Fault::EndEarly(_)) => {
            wire.header(200, headers, None).await?;
            wire.frame(half).await?;
            return wire.finish().await;
        }
        _ => {}
    }
    wire.pause(behaviour.gap.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))).await?;
    let plain = matches!(behaviour.delivery, Delivery::Chunks | Delivery::Once);
    if plain && behaviour.first_delay.is_zero() {
        return wire.whole(200, headers, body).await;
    }
    wire.header(200, headers, None).await?;
    wire.pause(behaviour.first_delay).await?;
    wire.frame(body).await?;
    wire.finish().await
}
