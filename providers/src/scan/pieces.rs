//! What a request asks for that is billed by the piece: characters to be spoken, pictures to be made, documents to be ranked.

use super::RequestScan;
use super::cursor::Cursor;
use crate::dialect::Operation;
use crate::usage::Usage;

/// Pieces that a request asks for; `None`: it asks for no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Characters of the text to be spoken: Unicode's code points.
    pub characters: Option<u64>,
    /// Pictures to be made.
    pub images: Option<u64>,
    /// Searches, of which each ranks a hundred documents.
    pub search_units: Option<u64>,
}

impl Pieces {
    /// Those of a body whose `scan` this is. A body for another operation is not looked at.
    #[must_use]
    pub fn of(body: &[u8], scan: &RequestScan, operation: Operation) -> Self {
        match operation {
            Operation::Speech => Self { characters: characters(body), ..Self::default() },
            Operation::Images => Self { images: Some(scan.choices.unwrap_or(1)), ..Self::default() },
            Operation::Rerank => Self { search_units: Some(search_units(body)), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// The same as usage: if all that is asked for is given.
    #[must_use]
    pub fn usage(self) -> Usage {
        let Self { characters, images, search_units } = self;
        Usage { characters, images, search_units, ..Usage::default() }
    }
}

/// The length of a body's `input`.
fn characters(body: &[u8]) -> Option<u64> {
    let (mut characters, mut cursor) = (None, Cursor::new(body));
    cursor.members(|name, cursor| {
        if name == b"input" {
            // All but the bytes that go on with a character begin one.
            let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
            characters = cursor.text().map(|text| text.iter().filter(begins).count() as u64);
        } else {
            cursor.value();
        }
    });
    characters
}

/// How many hundreds of `documents` a body has, begun ones too.
fn search_units(body: &[u8]) -> u64 {
    let (mut documents, mut cursor) = (0_u64, Cursor::new(body));
    cursor.members(|name, cursor| {
        if name != b"documents" || !cursor.enter(b'[') {
            cursor.value();
            return;
        }
        while cursor.next_element() {
            cursor.value();
            documents += 1;
        }
    });
    documents.div_ceil(100).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::{scan_json, scan_multipart};
    use super::*;

    #[test]
    fn characters_to_speak_and_pictures_to_make() {
        let none = RequestScan::default();
        let characters = |body: &str| Pieces::of(body.as_bytes(), &none, Operation::Speech).characters;
        assert_eq!(characters(r#"{"voice":"a","input":"Grüße, \u4e16\n","input2":"x"}"#), Some(9));
        assert_eq!((characters(r#"{"input":""}"#), characters(r#"{"input":["a"]}"#)), (Some(0), None));
        assert_eq!((characters("{}"), characters("--boundary")), (None, None));
        let form = |n: &str| {
            let part =
                |name, value| format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            let body = part("prompt", "a") + &part("n", n) + "--b--\r\n";
            (scan_multipart("multipart/form-data; boundary=b", body.as_bytes()).unwrap(), body)
        };
        let json = |body: &str| (scan_json(body.as_bytes()).unwrap(), body.to_owned());
        for ((scan, body), n) in [
            (json(r#"{"prompt":"a","n":3}"#), 3),
            (json(r#"{"prompt":"n"}"#), 1),
            (json(r#"{"n":null}"#), 1),
            (form("4"), 4),
            (form("four"), 1),
        ] {
            let images = Pieces::of(body.as_bytes(), &scan, Operation::Images);
            assert_eq!(images, Pieces { images: Some(n), ..Pieces::default() }, "{body}");
        }
        let units = |body: &str| Pieces::of(body.as_bytes(), &none, Operation::Rerank).search_units;
        let many = format!(r#"{{"query":"q","documents":[{}"a"]}}"#, r#""b,]","#.repeat(100));
        assert_eq!((units(r#"{"documents":["a","b"]}"#), units(&many), units("{}")), (Some(1), Some(2), Some(1)));
        let (scan, body) = json(r#"{"input":"abc","n":2}"#);
        assert_eq!(Pieces::of(body.as_bytes(), &scan, Operation::Chat), Pieces::default());
    }
}
