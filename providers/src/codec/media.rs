//! Media types, and the words that stand for them on Bedrock's wire and in names of files.

use crate::common::{MediaKind, plain_mime};

/// Sort, word, media type. Of several words for one type the first is written.
const FORMATS: &[(MediaKind, &str, &str)] = &[
    (MediaKind::Image, "png", "image/png"),
    (MediaKind::Image, "jpeg", "image/jpeg"),
    (MediaKind::Image, "jpeg", "image/jpg"),
    (MediaKind::Image, "gif", "image/gif"),
    (MediaKind::Image, "webp", "image/webp"),
    (MediaKind::Document, "pdf", "application/pdf"),
    (MediaKind::Document, "csv", "text/csv"),
    (MediaKind::Document, "doc", "application/msword"),
    (MediaKind::Document, "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (MediaKind::Document, "xls", "application/vnd.ms-excel"),
    (MediaKind::Document, "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (MediaKind::Document, "html", "text/html"),
    (MediaKind::Document, "txt", "text/plain"),
    (MediaKind::Document, "md", "text/markdown"),
    (MediaKind::Video, "mp4", "video/mp4"),
    (MediaKind::Video, "mov", "video/quicktime"),
    (MediaKind::Video, "mkv", "video/x-matroska"),
    (MediaKind::Video, "webm", "video/webm"),
    (MediaKind::Video, "flv", "video/x-flv"),
    (MediaKind::Video, "mpeg", "video/mpeg"),
    (MediaKind::Video, "mpg", "video/mpeg"),
    (MediaKind::Video, "wmv", "video/x-ms-wmv"),
    (MediaKind::Video, "three_gp", "video/3gpp"),
    (MediaKind::Audio, "mp3", "audio/mpeg"),
    (MediaKind::Audio, "mp3", "audio/mp3"),
    (MediaKind::Audio, "mpeg", "audio/mpeg"),
    (MediaKind::Audio, "mpga", "audio/mpeg"),
    (MediaKind::Audio, "wav", "audio/wav"),
    (MediaKind::Audio, "wav", "audio/x-wav"),
    (MediaKind::Audio, "opus", "audio/opus"),
    (MediaKind::Audio, "aac", "audio/aac"),
    (MediaKind::Audio, "x-aac", "audio/x-aac"),
    (MediaKind::Audio, "flac", "audio/flac"),
    (MediaKind::Audio, "mp4", "audio/mp4"),
    (MediaKind::Audio, "m4a", "audio/x-m4a"),
    (MediaKind::Audio, "m4a", "audio/m4a"),
    (MediaKind::Audio, "ogg", "audio/ogg"),
    (MediaKind::Audio, "mkv", "audio/x-matroska"),
    (MediaKind::Audio, "mka", "audio/x-matroska"),
    (MediaKind::Audio, "pcm", "audio/pcm"),
    (MediaKind::Audio, "pcm", "audio/l16"),
    (MediaKind::Audio, "webm", "audio/webm"),
];

/// The media type that a word stands for.
pub(crate) fn mime_of(kind: MediaKind, word: &str) -> Option<&'static str> {
    FORMATS.iter().find(|row| row.0 == kind && row.1 == word).map(|row| row.2)
}

/// The word for a media type (parameters and case do not matter).
pub(crate) fn word_of(kind: MediaKind, mime: &str) -> Option<&'static str> {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let row = FORMATS.iter().find(|row| row.0 == kind && row.2.eq_ignore_ascii_case(mime));
    row.map(|row| row.1).or_else(|| {
        let readable = mime.starts_with("text/") || mime == "application/json" || mime.ends_with("+json");
        (kind == MediaKind::Document && readable).then_some("txt")
    })
}

/// The word for a medium whose type is not told: by its first bytes (in base64), or by its name.
pub(crate) fn guess(kind: MediaKind, data: &str, name: Option<&str>) -> Option<&'static str> {
    const MAGIC: &[(&str, MediaKind, &str)] = &[
        ("iVBORw0KGgo", MediaKind::Image, "png"),
        ("/9j/", MediaKind::Image, "jpeg"),
        ("R0lGOD", MediaKind::Image, "gif"),
        ("UklGR", MediaKind::Image, "webp"),
        ("JVBERi", MediaKind::Document, "pdf"),
        ("UklGR", MediaKind::Audio, "wav"),
        ("SUQz", MediaKind::Audio, "mp3"),
        ("T2dnUw", MediaKind::Audio, "ogg"),
        ("ZkxhQ", MediaKind::Audio, "flac"),
    ];
    let by_bytes = MAGIC.iter().find(|row| row.1 == kind && data.starts_with(row.0)).map(|row| row.2);
    by_bytes.or_else(|| {
        let extension = name?.rsplit_once('.')?.1;
        FORMATS.iter().find(|row| row.0 == kind && row.1.eq_ignore_ascii_case(extension)).map(|row| row.1)
    })
}

/// The media type of an image that all read who see: OpenAI, Anthropic, Cohere.
pub(crate) fn usual_image(mime: &str) -> Option<&'static str> {
    match &*plain_mime(mime) {
        "image/jpeg" | "image/jpg" => Some("image/jpeg"),
        "image/png" => Some("image/png"),
        "image/gif" => Some("image/gif"),
        "image/webp" => Some("image/webp"),
        _ => None,
    }
}

/// Whether a media type says no more than what sort of medium it is, if that.
pub(crate) fn says_nothing(mime: &str) -> bool {
    let mime = plain_mime(mime);
    mime.is_empty() || mime.ends_with("/*") || mime == "application/octet-stream"
}

/// Whether an image in here is of a type that those read whom [`usual_image`] names, as far as it tells.
pub(crate) fn is_usual_image(mime: Option<&str>) -> bool {
    mime.is_none_or(|mime| says_nothing(mime) || usual_image(mime).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_or_is_a_second_spelling() {
        let second = ["mpg", "mpga", "mpeg", "mka"];
        for (kind, word, _) in FORMATS {
            let back = word_of(*kind, mime_of(*kind, word).unwrap()).unwrap();
            assert!(back == *word || second.contains(word), "{word} became {back}");
        }
        assert_eq!(word_of(MediaKind::Document, "Text/Plain; charset=utf-8"), Some("txt"));
        assert_eq!(word_of(MediaKind::Document, "application/json"), Some("txt"));
        assert_eq!(word_of(MediaKind::Image, "image/tiff"), None);
        assert_eq!(guess(MediaKind::Document, "AAAA", Some("a.b.XLSX")), Some("xlsx"));
        assert_eq!(guess(MediaKind::Image, "/9j/4AAQ", None), Some("jpeg"));
    }
}
