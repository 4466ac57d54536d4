//! What of a body is no text.

use super::RequestScan;
use super::cursor::Cursor;
use crate::Operation;
use crate::common::MediaKind;

/// Bytes of a document or a film, in base64, that are taken for a page, and the most pages of one.
const BYTES_PER_PAGE: u64 = 32 << 10;
const MAX_PAGES: u64 = 100;
/// How deep what stands for media may hold its bytes: Bedrock's `image` has a `source` with `bytes`.
const MAX_DEPTH: usize = 3;

/// Pictures, documents, films and sound of a request: they take other numbers of tokens than a text of their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Bytes of the body in which they stand.
    pub bytes: u64,
    /// Pictures. A document or a film is one for each 32 KiB of it, a hundred at most.
    pub pictures: u64,
    /// Bytes of sound, out of `bytes`.
    pub audio_bytes: u64,
}

impl Media {
    /// Those of a form for `operation`, as scanned.
    #[must_use]
    pub fn of_form(scan: &RequestScan, operation: Operation) -> Self {
        let bytes = scan.file_bytes;
        match operation {
            Operation::Transcription => Self { bytes, pictures: 0, audio_bytes: bytes },
            _ => Self { bytes, pictures: scan.files, audio_bytes: 0 },
        }
    }

    /// Takes in one that takes so many bytes.
    pub(crate) fn add(&mut self, kind: MediaKind, bytes: u64) {
        self.bytes += bytes;
        match kind {
            MediaKind::Image => self.pictures += 1,
            MediaKind::Audio => self.audio_bytes += bytes,
            MediaKind::Video | MediaKind::Document => self.pictures += (bytes / BYTES_PER_PAGE).clamp(1, MAX_PAGES),
        }
    }

    /// Takes the value that comes next, which stands for one: a string, or an object that has its bytes or says where they are.
    /// `kind`: which, unless a media type says otherwise. `None`: it is a text after all.
    pub(super) fn take(&mut self, kind: MediaKind, cursor: &mut Cursor<'_>) -> Option<MediaKind> {
        let mut found = Found { kind: Some(kind), bytes: 0, is_there: false };
        found.look(cursor, 0);
        let kind = found.kind.filter(|_| found.is_there)?;
        self.add(kind, found.bytes);
        Some(kind)
    }
}

struct Found {
    /// `None`: a text.
    kind: Option<MediaKind>,
    /// Of its longest string.
    bytes: u64,
    is_there: bool,
}

impl Found {
    fn look(&mut self, cursor: &mut Cursor<'_>, depth: usize) {
        match cursor.peek() {
            Some(b'"') => {
                let span = cursor.string();
                let text = cursor.slice(span);
                self.is_there = true;
                self.bytes = self.bytes.max(text.len() as u64);
                if let Some(mime) = text.strip_prefix(b"data:") {
                    let end = mime.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(0);
                    self.is_of(mime.get(..end).unwrap_or_default());
                }
            }
            Some(b'{') if depth < MAX_DEPTH => {
                cursor.members(|name, cursor| match name {
                    b"mimeType" | b"mime_type" | b"media_type" => {
                        self.is_of(&cursor.text().unwrap_or_default());
                    }
                    // Anthropic's sources that are texts; those of documents in Bedrock, and their formats that are.
                    b"type" | b"format" => {
                        let word = cursor.text().unwrap_or_default();
                        if matches!(&*word, b"text" | b"content" | b"txt" | b"md" | b"csv" | b"html") {
                            self.kind = None;
                        }
                    }
                    b"text" | b"content" => {
                        cursor.value();
                        self.kind = None;
                    }
                    _ => self.look(cursor, depth + 1),
                });
            }
            _ => drop(cursor.value()),
        }
    }

    fn is_of(&mut self, mime: &[u8]) {
        let mime = String::from_utf8_lossy(mime);
        let named = match MediaKind::of_mime(&mime) {
            // What has no pages is read as it stands.
            MediaKind::Document => {
                let format = mime.strip_prefix("application/").unwrap_or_default();
                let has_pages = ["pdf", "vnd.", "msword"].iter().any(|name| format.starts_with(name));
                has_pages.then_some(MediaKind::Document)
            }
            kind => Some(kind),
        };
        self.kind = self.kind.and(named);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{BodyFacts, scan_multipart};
    use super::*;

    fn media(part: Value) -> Media {
        let body =
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]});
        BodyFacts::of(body.to_string().as_bytes()).media
    }

    #[test]
    fn media_of_each_dialect() {
        let data = "A".repeat(100_000);
        let url = |mime: &str| format!("data:{mime};base64,{data}");
        let source = |mime: &str| json!({"type": "base64", "media_type": mime, "data": data});
        let inline = |mime: &str| json!({"inlineData": {"data": data, "mimeType": mime}});
        let bedrock = |format: &str| json!({"format": format, "name": "n", "source": {"bytes": data}});
        for (part, pictures, sound) in [
            (json!({"type": "image_url", "image_url": {"url": url("image/png"), "detail": "high"}}), 1, 0),
            (json!({"type": "input_image", "image_url": url("image/jpeg")}), 1, 0),
            (json!({"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}), 0, 100_000),
            (json!({"type": "file", "file": {"file_data": url("application/pdf"), "filename": "a.pdf"}}), 3, 0),
            (json!({"type": "input_file", "file_data": url("application/pdf")}), 3, 0),
            (json!({"type": "image", "source": source("image/png")}), 1, 0),
            (json!({"source": source("application/pdf"), "type": "document"}), 3, 0),
            (inline("image/webp"), 1, 0),
            (inline("audio/wav"), 0, 100_000),
            (inline("video/mp4"), 3, 0),
            (json!({"inline_data": {"mime_type": "application/pdf", "data": data}}), 3, 0),
            (json!({"image": bedrock("png")}), 1, 0),
            (json!({"document": bedrock("pdf")}), 3, 0),
            (json!({"video": bedrock("mp4")}), 3, 0),
            (json!({"type": "tool_result", "content": [{"type": "image", "source": source("image/png")}]}), 1, 0),
        ] {
            let found = media(part.clone());
            assert_eq!(
                (found.pictures, found.audio_bytes),
                (pictures, sound),
                "{}",
                part.to_string().replace(&data, "…")
            );
            assert!((100_000..100_050).contains(&found.bytes), "{found:?}");
        }
        let images = json!({"images": [url("image/png"), url("image/png")]});
        assert_eq!(BodyFacts::of(images.to_string().as_bytes()).media.pictures, 2);
    }

    #[test]
    fn what_lies_elsewhere_takes_no_bytes_worth_telling() {
        for part in [
            json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
            json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
            json!({"type": "document", "source": {"type": "file", "file_id": "f"}}),
            json!({"type": "file", "file": {"file_id": "f"}}),
            json!({"fileData": {"fileUri": "gs://x/y.png", "mimeType": "image/png"}}),
        ] {
            let found = media(part.clone());
            assert_eq!((found.pictures, found.audio_bytes), (1, 0), "{part}");
            assert!(found.bytes < 20, "{part}");
        }
    }

    #[test]
    fn texts_stay_texts() {
        let text = "the quick brown fox ".repeat(1_000);
        for part in [
            json!({"type": "text", "text": text}),
            json!({"type": "text", "text": format!("data:image/png;base64,{text}")}),
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}),
            json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": text}]}}),
            json!({"document": {"format": "txt", "name": "n", "source": {"bytes": text}}}),
            json!({"document": {"format": "pdf", "name": "n", "source": {"text": text}}}),
            json!({"inlineData": {"mimeType": "text/csv", "data": text}}),
            json!({"type": "file", "file": {"file_data": format!("data:text/plain;base64,{text}")}}),
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {"image_url": text, "data": text}}),
            json!({"type": "document", "document": {"id": "d", "data": text}}),
            json!({"type": "search_result", "source": "https://x/y", "content": [{"type": "text", "text": text}]}),
            json!({"functionCall": {"name": "f", "args": {"image": text}}}),
        ] {
            assert_eq!(media(part.clone()), Media::default(), "{part}");
        }
    }

    #[test]
    fn files_of_forms() {
        let form = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
            --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n0123456789\r\n\
            --b\r\ncontent-disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\n\r\n01234\r\n--b--";
        let scan = scan_multipart("multipart/form-data; boundary=b", form.as_bytes()).unwrap();
        let heard = Media { bytes: 15, pictures: 0, audio_bytes: 15 };
        assert_eq!(Media::of_form(&scan, Operation::Transcription), heard);
        assert_eq!(Media::of_form(&scan, Operation::Images), Media { bytes: 15, pictures: 2, audio_bytes: 0 });
    }
}
