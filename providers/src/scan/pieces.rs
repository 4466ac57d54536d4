//! What a request asks for that is billed by the piece: characters to be spoken, pictures to be made.

use super::cursor::Cursor;
use crate::dialect::Operation;
use crate::usage::Usage;

/// Pieces that a request asks for; `None`: it asks for no such thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Characters of the text to be spoken: Unicode's code points.
    pub characters: Option<u64>,
    /// Pictures to be made. A form is not looked into: it is taken to ask for one.
    pub images: Option<u64>,
}

impl Pieces {
    /// Those of a body that [`scan_json`](super::scan_json) or [`scan_multipart`](super::scan_multipart) has accepted. A body for
    /// another operation is not looked at.
    #[must_use]
    pub fn of(body: &[u8], operation: Operation) -> Self {
        let (mut characters, mut images) = (None, 1);
        let name: &[u8] = match operation {
            Operation::Speech => b"input",
            Operation::Images => b"n",
            _ => return Self::default(),
        };
        let mut cursor = Cursor::new(body);
        cursor.enter(b'{');
        while let Some(key) = cursor.next_key() {
            if &*key.name != name {
                cursor.value();
            } else if operation == Operation::Speech {
                // All but the bytes that go on with a character begin one.
                let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
                characters = cursor.text().map(|text| text.iter().filter(begins).count() as u64);
            } else {
                let value = cursor.value();
                images = str::from_utf8(cursor.slice(value)).ok().and_then(|n| n.parse().ok()).unwrap_or(images);
            }
        }
        Self { characters, images: (operation == Operation::Images).then_some(images) }
    }

    /// The same as usage: if all that is asked for is given.
    #[must_use]
    pub fn usage(self) -> Usage {
        let Self { characters, images } = self;
        Usage { characters, images, ..Usage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_to_speak_and_pictures_to_make() {
        let characters = |body: &str| Pieces::of(body.as_bytes(), Operation::Speech).characters;
        assert_eq!(characters(r#"{"voice":"a","input":"Grüße, \u4e16\n","input2":"x"}"#), Some(9));
        assert_eq!((characters(r#"{"input":""}"#), characters(r#"{"input":["a"]}"#)), (Some(0), None));
        assert_eq!((characters("{}"), characters("--boundary")), (None, None));
        let images = |body: &str| Pieces::of(body.as_bytes(), Operation::Images);
        for (body, n) in [(r#"{"prompt":"a","n":3}"#, 3), (r#"{"prompt":"n"}"#, 1), (r#"{"n":null}"#, 1), ("--b", 1)] {
            assert_eq!(images(body), Pieces { characters: None, images: Some(n) }, "{body}");
        }
        assert_eq!(Pieces::of(br#"{"input":"abc","n":2}"#, Operation::Chat), Pieces::default());
    }
}
