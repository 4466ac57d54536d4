//! Server-sent events as bytes: [`Splitter`] cuts a chunked body into whole events whatever the chunk borders are, and
//! [`Fields`] reads the fields of one event. Both borrow from the chunk wherever the event lies inside it.
//! The format is that of <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

mod fields;
mod split;

pub use fields::Fields;
pub use split::{DEFAULT_MAX_EVENT, Piece, Splitter};
