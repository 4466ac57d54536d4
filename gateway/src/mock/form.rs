//! Multipart forms, as far as the mock needs them: <https://www.rfc-editor.org/rfc/rfc7578>.

use memchr::memmem;

/// The fields of a form, and its first file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
    /// Name and size of the file.
    pub(super) file: Option<(String, usize)>,
}

impl Form {
    /// Reads `body`, whose boundary is in `content_type`. What is malformed is left out.
    pub(super) fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        let boundary = parameter(content_type, "boundary")?;
        let mark = format!("--{boundary}");
        let finder = memmem::Finder::new(mark.as_bytes());
        let mut form = Form::default();
        let starts: Vec<usize> = finder.find_iter(body).collect();
        for pair in starts.windows(2) {
            let part = &body[pair[0] + mark.len()..pair[1]];
            let Some(split) = memmem::find(part, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&part[..split]);
            let content = &part[split + 4..part.len().max(split + 6) - 2];
            let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition"));
            let Some(disposition) = disposition else { continue };
            if let Some(file) = parameter(disposition, "filename") {
                form.file.get_or_insert((file, content.len()));
            } else if let Some(name) = parameter(disposition, "name") {
                form.fields.push((name, String::from_utf8_lossy(content).into_owned()));
            }
        }
        Some(form)
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// `name=value` or `name="value"` among the parameters of a header.
fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_a_file() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--X\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n12345\r\n--X--\r\n";
        let form = Form::read("multipart/form-data; boundary=X", body).unwrap();
        assert_eq!(form.get("model"), Some("whisper"));
        assert_eq!(form.file, Some(("a.wav".into(), 5)));
    }

    #[test]
    fn nonsense_is_left_out() {
        let form = Form::read("multipart/form-data; boundary=X", b"--X\r\n\r\n\r\n--X--X\r\n\r\n--X");
        assert_eq!(form, Some(Form::default()));
        assert_eq!(Form::read("multipart/form-data", b""), None);
    }
}
