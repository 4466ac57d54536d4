//! Frames written.

use super::frame::{Frame, TRAILER};

/// Appends an event named `name` whose JSON `payload` appends.
pub fn write_event(out: &mut Vec<u8>, name: &str, payload: impl FnOnce(&mut Vec<u8>)) {
    write_frame(
        out,
        &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    );
}

/// Appends an exception named `name` (`throttlingException`), whose JSON `payload` appends.
pub fn write_exception(out: &mut Vec<u8>, name: &str, payload: impl FnOnce(&mut Vec<u8>)) {
    write_frame(
        out,
        &[(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")],
        payload,
    );
}

/// Lets `hide` change what the errors among these whole frames say.
pub(crate) fn mask_frames(mut frames: &mut [u8], hide: impl Fn(&mut [u8])) {
    while let Ok(Some((frame, length))) = Frame::first(frames) {
        let said = match frame {
            Frame::Event { .. } => None,
            Frame::Exception { payload: said, .. } => Some(said),
            Frame::Error { message, .. } => Some(message.as_bytes()),
        };
        let said = said.map(|said| (said.as_ptr().addr() - frames.as_ptr().addr(), said.len()));
        let (frame, rest) = frames.split_at_mut(length);
        if let Some((from, length)) = said {
            hide(&mut frame[from..from + length]);
            let (body, checksum) = frame.split_at_mut(frame.len() - TRAILER);
            checksum.copy_from_slice(&crc32fast::hash(body).to_be_bytes());
        }
        frames = rest;
    }
}

/// A name or value that is too long for its length field, or a frame of 4 GiB, is nothing that a caller has: nothing is
/// appended then.
fn write_frame(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: impl FnOnce(&mut Vec<u8>)) {
    let from = out.len();
    if try_write(out, headers, payload).is_err() {
        out.truncate(from);
    }
}

fn try_write(
    out: &mut Vec<u8>,
    headers: &[(&str, &str)],
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), std::num::TryFromIntError> {
    const STRING: u8 = 7;
    let from = out.len();
    // The prelude is known last.
    out.extend_from_slice(&[0; 12]);
    for (name, value) in headers {
        out.push(u8::try_from(name.len())?);
        out.extend_from_slice(name.as_bytes());
        out.push(STRING);
        out.extend_from_slice(&u16::try_from(value.len())?.to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let headers = u32::try_from(out.len() - from - 12)?;
    payload(out);
    let total = u32::try_from(out.len() - from + 4)?;
    out[from..from + 4].copy_from_slice(&total.to_be_bytes());
    out[from + 4..from + 8].copy_from_slice(&headers.to_be_bytes());
    let checksum = crc32fast::hash(&out[from..from + 8]);
    out[from + 8..from + 12].copy_from_slice(&checksum.to_be_bytes());
    let checksum = crc32fast::hash(&out[from..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    Ok(())
}
