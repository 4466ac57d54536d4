//! What providers do unasked to the answers of their JSON APIs, undone before anybody looks at them: gzip, and a content type
//! that says nothing.

use std::io::{self, Write};
use std::mem;

use ai_gateway_providers::Operation;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use super::Exchange;
use super::answer::stream_type;

/// The most that one piece of an answer may become: gzip can make it a thousand times as long.
const MOST: usize = 16 << 20;
/// So much of a piece is decoded at a time.
const PART: usize = 16 << 10;

/// Takes an answer that is packed for one that is not, and one without a type for what was asked for. What is then packed is its
/// body, for [`Gunzip`].
pub fn undo(header: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    exchange.gunzip = None;
    if matches!(exchange.operation(), None | Some(Operation::Speech | Operation::Transcription | Operation::Stored)) {
        return Ok(());
    }
    if header.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip" || coding == "x-gzip") {
        header.remove_header(&CONTENT_ENCODING);
        header.remove_header(&CONTENT_LENGTH);
        exchange.gunzip = Some(Box::default());
    }
    if header.status.is_success() && header.status != StatusCode::NO_CONTENT && says_nothing(header) {
        let asked = match exchange.attempt() {
            Some(attempt) if attempt.translates && exchange.wants_stream() => stream_type(attempt.route.dialect),
            Some(attempt) if attempt.translates => "application/json",
            _ => exchange.content_type(),
        };
        header.insert_header(CONTENT_TYPE, asked)?;
    }
    Ok(())
}

/// Whether the type of an answer is missing, or that of any text or bytes.
fn says_nothing(header: &ResponseHeader) -> bool {
    let Some(content_type) = header.headers.get(CONTENT_TYPE) else { return true };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let generic = [&b"text/plain"[..], b"application/octet-stream", b"binary/octet-stream", b""];
    generic.iter().any(|generic| essence.eq_ignore_ascii_case(generic))
}

/// Unpacks a body piece by piece.
pub struct Gunzip(MultiGzDecoder<Vec<u8>>);

impl Default for Gunzip {
    fn default() -> Self {
        Self(MultiGzDecoder::new(Vec::new()))
    }
}

impl Gunzip {
    /// What `packed` adds to the body. `end`: it is the last.
    ///
    /// # Errors
    /// It is no gzip, not whole at its end, or becomes too long.
    pub fn feed(&mut self, packed: &[u8], end: bool) -> io::Result<Bytes> {
        for part in packed.chunks(PART) {
            self.0.write_all(part)?;
            if self.0.get_ref().len() > MOST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        if end {
            self.0.try_finish()?;
        } else {
            self.0.flush()?;
        }
        Ok(mem::take(self.0.get_mut()).into())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_piece_is_unpacked_when_it_comes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut gunzip = Gunzip::default();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            assert_eq!(gunzip.feed(&mem::take(encoder.get_mut()), false).unwrap(), event);
        }
        assert_eq!(gunzip.feed(&encoder.finish().unwrap(), true).unwrap(), "");
    }

    #[test]
    fn single_bytes_and_damage() {
        let packed = gzip(b"{\"a\": 1}");
        let (mut gunzip, mut text) = (Gunzip::default(), Vec::new());
        for (i, byte) in packed.iter().enumerate() {
            text.extend_from_slice(&gunzip.feed(&[*byte], i + 1 == packed.len()).unwrap());
        }
        assert_eq!(text, b"{\"a\": 1}");
        assert!(Gunzip::default().feed(&packed[..packed.len() - 1], true).is_err(), "cut");
        assert!(Gunzip::default().feed(b"{\"a\": 1}", true).is_err(), "none");
        assert!(Gunzip::default().feed(b"", true).is_err(), "nothing");
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = gzip(&vec![b'a'; 64 << 20]);
        let mut gunzip = Gunzip::default();
        assert_eq!(gunzip.feed(&bomb, true).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(gunzip.0.get_ref().len() < 2 * MOST + 1024 * PART, "{}", gunzip.0.get_ref().len());
    }
}
