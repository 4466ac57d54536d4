//! AWS event-stream frames as bytes: [`FrameSplitter`] cuts a chunked body into [`Frame`]s whatever the chunk borders are,
//! borrowing those that lie inside one chunk, and [`write_event`] and [`write_exception`] append frames. Bedrock answers
//! `ConverseStream` and `InvokeModelWithResponseStream` in them.
//!
//! A frame is: its length, the length of its headers, the CRC-32 of these two, the headers, the payload, the CRC-32 of all
//! before; numbers are big-endian, four bytes each
//! (<https://smithy.io/2.0/aws/amazon-eventstream.html>).

mod frame;
mod split;
mod write;

pub use frame::{Frame, FrameError, MAX_FRAME};
pub use split::FrameSplitter;
pub(crate) use split::whole_frames_end;
pub(crate) use write::mask_frames;
pub use write::{write_event, write_exception};

/// The content type of a body made of frames.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
