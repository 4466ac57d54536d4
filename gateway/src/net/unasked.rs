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

use super::media_type::essence;

/// The most that one piece of an answer may become: gzip can make it a thousand times as long.
const MOST: usize = 16 << 20;
/// So much of a piece is decoded at a time.
const PART: usize = 16 << 10;
/// What packs a body: <https://www.iana.org/assignments/http-parameters/http-parameters.xhtml#content-coding>, without `identity`.
const CODINGS: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

/// Whether an answer is packed.
pub fn is_packed(header: &ResponseHeader) -> bool {
    codings(header).next().is_some()
}

/// The codings that an answer's body is in, the outermost last. What is no coding is none: `none` keeps proxies from packing streams,
/// and some say `utf-8`.
fn codings(header: &ResponseHeader) -> impl Iterator<Item = &'static str> {
    let values = header.headers.get_all(CONTENT_ENCODING).into_iter();
    let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    words.filter_map(|word| CODINGS.into_iter().find(|coding| word.eq_ignore_ascii_case(coding.as_bytes())))
}

/// Takes the header of a packed answer for that of one which is not. What is then packed is its body, for what is returned; `None`:
/// it is not, or in a way that is not known.
pub fn unpack(header: &mut ResponseHeader) -> Option<Box<Gunzip>> {
    if !header.headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let mut codings = codings(header);
    let gunzip = match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some("gzip" | "x-gzip"), None) => Some(Box::default()),
        (Some(_), _) => return None,
    };
    drop(codings);
    header.remove_header(&CONTENT_ENCODING);
    if gunzip.is_some() {
        header.remove_header(&CONTENT_LENGTH);
    }
    gunzip
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
    let essence = essence(&header.headers);
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
    fn only_codings_pack() {
        for (values, packed, unpacks) in [
            (&["gzip"][..], true, true),
            (&["X-GZip"], true, true),
            (&["identity, gzip"], true, true),
            (&["none"], false, false),
            (&["utf-8"], false, false),
            (&["Identity", ""], false, false),
            (&["br"], true, false),
            (&["none, ZSTD"], true, false),
            (&["gzip, gzip"], true, false),
            (&["gzip", "br"], true, false),
            (&[], false, false),
        ] {
            let mut header = ResponseHeader::build(200, None).unwrap();
            header.insert_header(CONTENT_LENGTH, 1).unwrap();
            for value in values {
                header.append_header(CONTENT_ENCODING, *value).unwrap();
            }
            assert_eq!(is_packed(&header), packed, "{values:?}");
            assert_eq!(unpack(&mut header).is_some(), unpacks, "{values:?}");
            let left = |name| header.headers.contains_key(name);
            assert_eq!((left(CONTENT_ENCODING), left(CONTENT_LENGTH)), (packed && !unpacks, !unpacks), "{values:?}");
        }
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
