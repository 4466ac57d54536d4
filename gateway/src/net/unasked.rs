//! What providers do unasked to the answers of their JSON APIs, undone before anybody looks at them: gzip, and a content type
//! that says nothing.

use std::io::{self, Write};
use std::mem;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use pingora_error::Result;
use pingora_http::ResponseHeader;

/// The most that one piece of an answer may become: gzip can make it a thousand times as long.
const MOST: usize = 16 << 20;
/// So much of a piece is decoded at a time.
const PART: usize = 16 << 10;

/// How an answer is packed; `None`: it is not.
pub fn coding_of(header: &ResponseHeader) -> Option<&[u8]> {
    let coding = header.headers.get(CONTENT_ENCODING)?.as_bytes().trim_ascii();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")).then_some(coding)
}

/// Takes the header of a packed answer for that of one which is not. What is then packed is its body, for what is returned; `None`:
/// it is not, or in a way that is not known.
pub fn unpack(header: &mut ResponseHeader) -> Option<Box<Gunzip>> {
    let gzip = |coding: &[u8]| coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip");
    match coding_of(header) {
        Some(coding) if gzip(coding) => {
            header.remove_header(&CONTENT_ENCODING);
            header.remove_header(&CONTENT_LENGTH);
            Some(Box::default())
        }
        Some(_) => None,
        None => {
            header.remove_header(&CONTENT_ENCODING);
            None
        }
    }
}

/// Gives a good answer without a type, or with that of any text or bytes, the type of what was `asked` for.
pub fn label(header: &mut ResponseHeader, asked: &'static str) -> Result<()> {
    if header.status.is_success() && header.status != StatusCode::NO_CONTENT && says_nothing(header) {
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
pub struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    broken: bool,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), broken: false }
    }
}

impl Gunzip {
    /// What `packed` adds to the body. `end`: it is the last. Beside it whether that is all that can be made of the rest: it is no
    /// gzip, not whole at its end, or becomes too long. What comes after that adds nothing.
    pub fn feed(&mut self, packed: &[u8], end: bool) -> (Bytes, bool) {
        if self.broken {
            return (Bytes::new(), true);
        }
        self.broken = self.decode(packed, end).is_err();
        (mem::take(self.decoder.get_mut()).into(), self.broken)
    }

    fn decode(&mut self, packed: &[u8], end: bool) -> io::Result<()> {
        for part in packed.chunks(PART) {
            self.decoder.write_all(part)?;
            if self.decoder.get_ref().len() > MOST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        if end { self.decoder.try_finish() } else { self.decoder.flush() }
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
            assert_eq!(gunzip.feed(&mem::take(encoder.get_mut()), false), (event.into(), false));
        }
        assert_eq!(gunzip.feed(&encoder.finish().unwrap(), true), (Bytes::new(), false));
    }

    #[test]
    fn single_bytes_and_damage() {
        let packed = gzip(b"{\"a\": 1}");
        let (mut gunzip, mut text) = (Gunzip::default(), Vec::new());
        for (i, byte) in packed.iter().enumerate() {
            let (unpacked, is_broken) = gunzip.feed(&[*byte], i + 1 == packed.len());
            assert!(!is_broken);
            text.extend_from_slice(&unpacked);
        }
        let whole = Bytes::from_static(b"{\"a\": 1}");
        assert_eq!(text, whole);
        let mut cut = Gunzip::default();
        assert_eq!(cut.feed(&packed[..packed.len() - 1], true), (whole.clone(), true));
        let mut padded = Gunzip::default();
        assert_eq!(padded.feed(&[&packed[..], &[0; 20]].concat(), false), (whole.clone(), true));
        assert_eq!(padded.feed(&packed, true), (Bytes::new(), true));
        assert_eq!(Gunzip::default().feed(&whole, true), (Bytes::new(), true), "none");
        assert_eq!(Gunzip::default().feed(b"", true), (Bytes::new(), true), "nothing");
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = gzip(&vec![b'a'; 64 << 20]);
        let mut gunzip = Gunzip::default();
        let (unpacked, is_broken) = gunzip.feed(&bomb, true);
        assert!(is_broken && unpacked.len() < 2 * MOST + 1024 * PART, "{}", unpacked.len());
    }
}
