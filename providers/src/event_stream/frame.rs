//! What one frame says.

/// The largest frame that is read, in bytes.
pub const MAX_FRAME: usize = 16 << 20;

/// Two lengths and their checksum.
pub(super) const PRELUDE: usize = 12;
/// The checksum at the end.
pub(super) const TRAILER: usize = 4;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An event of the stream.
    Event {
        /// `:event-type`; empty if there is none.
        name: &'a str,
        /// Its content, JSON where Bedrock sends it.
        payload: &'a [u8],
    },
    /// An error that the service's model knows.
    Exception {
        /// `:exception-type`: `throttlingException`, `modelStreamErrorException`, …
        name: &'a str,
        /// Its content: `{"message": "…"}`.
        payload: &'a [u8],
    },
    /// Any other error.
    Error {
        /// `:error-code`.
        code: &'a str,
        /// `:error-message`.
        message: &'a str,
    },
}

/// Why a body is no sequence of frames. Nothing after such a place can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A checksum does not match.
    #[error("a frame of the event stream is damaged")]
    Checksum,
    /// The frame is larger than [`MAX_FRAME`].
    #[error("a frame of the event stream is too large")]
    TooLarge,
    /// Lengths or headers contradict each other.
    #[error("a frame of the event stream is malformed")]
    Malformed,
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes` and its length; `None` while it is not all there.
    pub(crate) fn first(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((total, headers)) = lengths(bytes)? else { return Ok(None) };
        let Some(frame) = bytes.get(..total) else { return Ok(None) };
        let (body, checksum) = frame.split_at(total - TRAILER);
        if crc32fast::hash(body) != number(checksum) {
            return Err(FrameError::Checksum);
        }
        let (headers, payload) = body[PRELUDE..].split_at(headers);
        Ok(Some((Self::read(headers, payload).ok_or(FrameError::Malformed)?, total)))
    }

    fn read(mut headers: &'a [u8], payload: &'a [u8]) -> Option<Self> {
        let (mut kind, mut name, mut exception, mut code, mut message) = ("event", "", "", "", "");
        while !headers.is_empty() {
            let key = take(&mut headers, 1).and_then(|length| take(&mut headers, usize::from(length[0])))?;
            let Some(text) = value(&mut headers)? else { continue };
            match key {
                b":message-type" => kind = text,
                b":event-type" => name = text,
                b":exception-type" => exception = text,
                b":error-code" => code = text,
                b":error-message" => message = text,
                // The content type is always JSON, and other headers are the application's own: Bedrock has none.
                _ => {}
            }
        }
        Some(match kind {
            "exception" => Self::Exception { name: exception, payload },
            "error" => Self::Error { code, message },
            _ => Self::Event { name, payload },
        })
    }
}

/// The length of the frame and of its headers, once the prelude is there.
pub(super) fn lengths(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    if crc32fast::hash(&prelude[..8]) != number(&prelude[8..]) {
        return Err(FrameError::Checksum);
    }
    let (total, headers) = (number(prelude) as usize, number(&prelude[4..]) as usize);
    if total > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    if headers.saturating_add(PRELUDE + TRAILER) > total {
        return Err(FrameError::Malformed);
    }
    Ok(Some((total, headers)))
}

/// The value of a header, if it is text.
fn value<'a>(headers: &mut &'a [u8]) -> Option<Option<&'a str>> {
    const BYTES: u8 = 6;
    const STRING: u8 = 7;
    let kind = take(headers, 1)?[0];
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        BYTES | STRING => take(headers, 2).map(|length| usize::from(length[0]) << 8 | usize::from(length[1]))?,
        9 => 16,
        _ => return None,
    };
    let value = take(headers, length)?;
    if kind == STRING { std::str::from_utf8(value).ok().map(Some) } else { Some(None) }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    bytes.split_off(..count)
}

/// The first four bytes as a number.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
