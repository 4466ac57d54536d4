//! The invariants of scan and rewrite, for any bytes: what property tests and fuzz targets check.
//!
//! A check returns what is broken, without panic, so that each caller fails in its own way.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Edits, RequestScan, Root, ScanError, UsageOption, scan_json, scan_multipart};

/// Fails the check with a reason.
macro_rules! ensure {
    ($holds:expr, $($reason:tt)+) => {
        if !$holds {
            return Err(format!($($reason)+));
        }
    };
}

/// Checks a JSON body and any name for its model.
///
/// # Errors
/// What is broken.
pub fn check_json(body: &[u8], model: &str) -> Result<(), String> {
    let valid = std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let scan = match scan_json(body) {
        Ok(scan) => scan,
        Err(ScanError::NotJson { .. } | ScanError::NotUtf8 { .. } | ScanError::Empty) => {
            ensure!(!valid, "refused valid JSON");
            return Ok(());
        }
        // The guard comes before the parser.
        Err(ScanError::TooDeep { .. }) => return Ok(()),
        Err(other) => {
            ensure!(valid, "invalid JSON refused as {other:?}");
            return Ok(());
        }
    };
    ensure!(valid, "accepted invalid JSON");
    let body = Bytes::copy_from_slice(body);
    if let Some(field) = &scan.model {
        let raw = body.get(field.span.clone()).ok_or("the model's span is outside the body")?;
        let read: String = serde_json::from_slice(raw).map_err(|error| format!("the model's span: {error}"))?;
        ensure!(read == field.value, "the model's span holds {read:?}, not {:?}", field.value);
    }
    untouched(&scan, &body)?;
    let quoted = serde_json::to_vec(model).map_err(|error| error.to_string())?;
    spliced(&scan, &body, model, &quoted)?;
    let renamed = scan.rewrite(&body, &Edits { model: Some(model), include_usage: false });
    same_but_model(&scan, &scan_json(&renamed).or_else(allow_bad_model)?, model)?;
    usage_added(&scan, &body, model)
}

/// Checks a form and any name for its model.
///
/// # Errors
/// What is broken.
pub fn check_multipart(content_type: &str, body: &[u8], model: &str) -> Result<(), String> {
    let Ok(scan) = scan_multipart(content_type, body) else { return Ok(()) };
    let body = Bytes::copy_from_slice(body);
    if let Some(field) = &scan.model {
        ensure!(body.get(field.span.clone()) == Some(field.value.as_bytes()), "the model's span is wrong");
    }
    untouched(&scan, &body)?;
    spliced(&scan, &body, model, model.as_bytes())?;
    let again = scan_multipart(&scan.content_type(), &body).map_err(|error| format!("its own type: {error}"))?;
    ensure!(again == scan, "with the `content-type` that is sent it is another form");
    let renamed = scan.rewrite(&body, &Edits { model: Some(model), include_usage: true });
    match scan_multipart(content_type, &renamed) {
        Ok(again) => same_but_model(&scan, &again, model),
        // A name that cannot be a model's, here given by the fuzzer, never comes from a scan.
        Err(_) if crate::model_name::check(model).is_err() => Ok(()),
        Err(error) => Err(format!("the rewritten form is refused: {error}")),
    }
}

/// No edit, or one to the name that stands there: the very same bytes.
fn untouched(scan: &RequestScan, body: &Bytes) -> Result<(), String> {
    let same = scan.model.as_ref().map(|field| field.value.as_str());
    for model in [None, same] {
        let out = scan.rewrite(body, &Edits { model, include_usage: false });
        ensure!(out.as_ptr() == body.as_ptr() && out.len() == body.len(), "copied without an edit");
    }
    Ok(())
}

/// Everything outside the model's span is equal.
fn spliced(scan: &RequestScan, body: &Bytes, model: &str, raw: &[u8]) -> Result<(), String> {
    let out = scan.rewrite(body, &Edits { model: Some(model), include_usage: false });
    if scan.model.as_ref().is_some_and(|field| field.value == model) {
        ensure!(out == body, "the same name changed the body");
        return Ok(());
    }
    match scan.model.as_ref().map(|field| &field.span).or(scan.null_model.as_ref()) {
        Some(span) => {
            let (before, after) = (body.get(..span.start), body.get(span.end..));
            let want = [before.unwrap_or_default(), raw, after.unwrap_or_default()].concat();
            ensure!(out == want, "bytes outside the model's span changed");
            Ok(())
        }
        None => {
            let at = match &scan.root {
                Root::Json { open, .. } => *open,
                Root::Multipart { delimiter, .. } => delimiter.start,
                Root::None => 0,
            };
            let tail = body.len() - at;
            ensure!(out.get(..at) == body.get(..at), "bytes before the inserted model changed");
            ensure!(out.get(out.len() - tail..) == body.get(at..), "bytes behind the inserted model changed");
            Ok(())
        }
    }
}

fn same_but_model(old: &RequestScan, new: &RequestScan, model: &str) -> Result<(), String> {
    if crate::model_name::check(model).is_err() {
        return Ok(());
    }
    ensure!(new.model.as_ref().is_some_and(|field| field.value == model), "the new model is not read back");
    ensure!(
        (old.stream, old.max_tokens, &old.response_format) == (new.stream, new.max_tokens, &new.response_format),
        "another field changed"
    );
    Ok(())
}

/// A fuzzer's name may be one that no scan accepts; the body must be good otherwise.
fn allow_bad_model(error: ScanError) -> Result<RequestScan, String> {
    match error {
        ScanError::BadModel { .. } => Ok(RequestScan::default()),
        other => Err(format!("the rewritten body is refused: {other}")),
    }
}

/// With both edits the body means what the edited document means.
fn usage_added(scan: &RequestScan, body: &Bytes, model: &str) -> Result<(), String> {
    let out = scan.rewrite(body, &Edits { model: Some(model), include_usage: true });
    let again = scan_json(&out).or_else(allow_bad_model)?;
    ensure!(!again.hide_usage(), "the usage chunk is not asked for");
    // Not every body can be read into a `Value`: numbers may be too large, surrogates lone.
    let Ok(mut want) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    let got: Value = serde_json::from_slice(&out).map_err(|error| format!("the rewritten body: {error}"))?;
    if let Value::Object(members) = &mut want {
        members.insert("model".into(), model.into());
        if scan.stream && scan.usage != UsageOption::Unreadable {
            let options = members.entry("stream_options").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if options.is_null() {
                *options = Value::Object(serde_json::Map::new());
            }
            if let Value::Object(options) = options {
                options.insert("include_usage".into(), true.into());
            }
        }
    }
    ensure!(got == want, "the rewritten body means something else");
    Ok(())
}
