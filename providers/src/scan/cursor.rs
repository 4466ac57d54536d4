//! A cursor over JSON that has been validated: it steps from member to member and decodes nothing that nobody reads. Of
//! anything else it gives some answer, without panic and in bounded time.

use std::borrow::Cow;
use std::ops::Range;

use super::depth::string_end;

/// A place in a JSON text.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// A key of an object; the cursor then stands at its value.
pub(super) struct Key<'a> {
    /// Without its quotes and escapes.
    pub name: Cow<'a, [u8]>,
    /// Where its opening quote stands.
    pub start: usize,
    /// What stands between its quotes.
    pub raw: Range<usize>,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The first byte of the value or mark that comes next, white space passed over.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Steps behind the `open` bracket, if that comes next.
    pub fn enter(&mut self, open: u8) -> bool {
        let there = self.peek() == Some(open);
        self.at += usize::from(there);
        there
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Steps back to where it [stood](Self::at).
    pub fn go_back(&mut self, at: usize) {
        self.at = at;
    }

    /// The next key of the object that was entered; `None`, and behind the brace, at its end. The value must be taken
    /// before the next key is asked for.
    pub fn next_key(&mut self) -> Option<Key<'a>> {
        if !self.next_element() {
            return None;
        }
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return None;
        }
        let raw = self.string();
        let name = unescaped(self.text.get(raw.clone()).unwrap_or_default());
        if self.peek() == Some(b':') {
            self.at += 1;
        }
        Some(Key { name, start, raw })
    }

    /// Whether there is another element in the array that was entered; if not, the cursor stands behind its bracket. The
    /// element must be taken before the next is asked for.
    pub fn next_element(&mut self) -> bool {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        match self.peek() {
            None => false,
            Some(b']' | b'}') => {
                self.at += 1;
                false
            }
            Some(_) => true,
        }
    }

    /// Steps through the object that comes next: `each` is given the name of every member and takes its value. Anything else is
    /// passed over, and `false`.
    pub fn members(&mut self, mut each: impl FnMut(&[u8], &mut Self)) -> bool {
        if !self.enter(b'{') {
            self.value();
            return false;
        }
        while let Some(key) = self.next_key() {
            each(&key.name, self);
        }
        true
    }

    /// Whether an array that has an element comes next.
    pub fn has_elements(&mut self) -> bool {
        let start = self.at;
        let some = self.enter(b'[') && !matches!(self.peek(), None | Some(b']'));
        self.at = start;
        some
    }

    /// Takes one value, whatever it is; its bytes.
    pub fn value(&mut self) -> Range<usize> {
        let first = self.peek();
        let start = self.at;
        match first {
            None => {}
            Some(b'"') => drop(self.string()),
            Some(b'{' | b'[') => self.nested(),
            Some(_) => {
                let rest = self.text.get(start + 1..).unwrap_or_default();
                let end =
                    rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
                self.at = start + 1 + end.unwrap_or(rest.len());
            }
        }
        start..self.at
    }

    /// Takes one value; its text if it is a string, else `None`. One that is no Unicode (a lone surrogate) is empty.
    pub fn text(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.peek()? {
            b'"' => Some(unescaped(self.text.get(self.string())?)),
            _ => {
                self.value();
                None
            }
        }
    }

    /// The bytes of a value that was taken.
    pub fn slice(&self, span: Range<usize>) -> &'a [u8] {
        self.text.get(span).unwrap_or_default()
    }

    /// Takes the string that begins here; what stands between its quotes.
    pub fn string(&mut self) -> Range<usize> {
        let start = self.at + 1;
        let end = string_end(self.text, start).min(self.text.len());
        self.at = (end + 1).min(self.text.len());
        start.min(end)..end
    }

    fn nested(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// What stands between the quotes of a string, without escapes; empty if they make no Unicode.
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let quoted = [b"\"", raw, b"\""].concat();
    Cow::Owned(serde_json::from_slice::<String>(&quoted).unwrap_or_default().into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_and_elements() {
        let text = br#" { "a\u0062" : [1, "x\"]", {}] ,"c":-1e3, "d" : null } "#;
        let mut cursor = Cursor::new(text);
        assert!(!cursor.enter(b'[') && cursor.enter(b'{'));
        let mut seen = Vec::new();
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            seen.push((String::from_utf8_lossy(&key.name).into_owned(), cursor.slice(value).to_vec()));
        }
        assert_eq!(seen[0], ("ab".into(), br#"[1, "x\"]", {}]"#.to_vec()));
        assert_eq!(seen[1..], [("c".into(), b"-1e3".to_vec()), ("d".into(), b"null".to_vec())]);
        assert_eq!(cursor.peek(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(text in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ 1a".to_vec()), 0..60)) {
            let mut cursor = Cursor::new(&text);
            let open = cursor.peek().unwrap_or_default();
            cursor.enter(open);
            for _ in 0..=text.len() {
                if cursor.next_key().is_none() && !cursor.next_element() {
                    break;
                }
                cursor.value();
            }
            prop_assert!(cursor.at() <= text.len());
        }
    }
}
