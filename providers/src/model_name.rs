//! What every model name must satisfy, wherever the client wrote it: names go on into headers, metrics labels, log
//! lines and multipart bodies, where a line break would be an injection.

/// Gemini's name of a model, which is a resource: <https://ai.google.dev/api/models>.
#[must_use]
pub fn gemini_resource(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("models/{model}") }
}

/// The longest model name accepted, in bytes. Bedrock's longest ARNs are a few hundred.
pub const MAX_LEN: usize = 1024;

/// Checks a client's model name; the error says what is wrong, to follow "the model name is".
///
/// # Errors
/// Empty, longer than [`MAX_LEN`], or with control characters.
pub fn check(model: &str) -> Result<(), &'static str> {
    if model.is_empty() {
        Err("empty")
    } else if model.len() > MAX_LEN {
        Err("longer than 1024 bytes")
    } else if model.chars().any(char::is_control) {
        Err("not free of control characters")
    } else {
        Ok(())
    }
}
