//! Media types and the words that stand for them, and what else a medium needs on this wire.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::common::MediaKind;

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
pub(super) fn mime_of(kind: MediaKind, word: &str) -> Option<&'static str> {
    FORMATS.iter().find(|row| row.0 == kind && row.1 == word).map(|row| row.2)
}

/// The word for a media type (parameters and case do not matter).
pub(super) fn word_of(kind: MediaKind, mime: &str) -> Option<&'static str> {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let row = FORMATS.iter().find(|row| row.0 == kind && row.2.eq_ignore_ascii_case(mime));
    row.map(|row| row.1).or_else(|| {
        let readable = mime.starts_with("text/") || mime == "application/json" || mime.ends_with("+json");
        (kind == MediaKind::Document && readable).then_some("txt")
    })
}

/// The word for a medium whose type is not told: by its first bytes (in base64), or by its name.
pub(super) fn guess(kind: MediaKind, data: &str, name: Option<&str>) -> Option<&'static str> {
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

/// Gives documents names that the service takes: letters, digits, single spaces, `-()[]`, each name once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn name<'n>(&mut self, wanted: Option<&'n str>) -> Cow<'n, str> {
        let wanted = wanted.unwrap_or_default();
        let clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
        let mut name = Cow::Borrowed(wanted);
        if wanted.is_empty() || wanted.trim() != wanted || wanted.contains("  ") || !wanted.chars().all(clean) {
            let spaced: String = wanted.chars().map(|c| if clean(c) { c } else { ' ' }).collect();
            name = spaced.split_whitespace().collect::<Vec<_>>().join(" ").into();
        }
        if name.is_empty() {
            name = "Document".into();
        }
        // The service takes 200.
        if name.len() > 180 {
            name = name.chars().take(180).collect::<String>().trim_end().to_owned().into();
        }
        if self.0.contains(&*name) {
            let free = (2u32..).map(|n| format!("{name} {n}")).find(|name| !self.0.contains(name));
            name = free.unwrap_or_default().into();
        }
        self.0.insert(name.clone().into_owned());
        name
    }
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

    #[test]
    fn names_are_clean_and_unique() {
        let mut names = Names::default();
        assert_eq!(names.name(Some("report_2024.final.pdf")), "report 2024 final pdf");
        assert_eq!(names.name(Some("report 2024 final pdf")), "report 2024 final pdf 2");
        assert_eq!(names.name(Some("报告")), "Document");
        assert_eq!(names.name(None), "Document 2");
        assert!(names.name(Some(&"x".repeat(500))).len() <= 200);
    }
}
