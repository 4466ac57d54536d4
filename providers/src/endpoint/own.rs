//! The paths of own dialects.

use std::borrow::Cow;

use http::Method;

use super::{BodyKind, Endpoint, EndpointError, percent};
use crate::own::Own;
use crate::{Dialect, Operation};

/// Finds the endpoint of a request among the paths of `dialects`; `None`: it is none of theirs. They are asked in turn, and
/// before [`match_endpoint`](super::match_endpoint).
///
/// # Errors
/// Inside, as of [`match_endpoint`](super::match_endpoint).
pub fn match_own(dialects: &[Own], method: &Method, path: &str) -> Option<Result<Endpoint, EndpointError>> {
    let (own, asked) = dialects.iter().find_map(|own| Some((*own, own.dialect().client_path(path)?)))?;
    let dialect = Dialect::Own(own);
    if *method != Method::POST {
        return Some(Err(EndpointError::WrongMethod { dialect, allow: "POST" }));
    }
    let path_model = match asked.model.map(percent::decode_model).transpose() {
        Ok(model) => model,
        Err(reason) => return Some(Err(EndpointError::BadModel { dialect, reason })),
    };
    Some(Ok(Endpoint {
        operation: Operation::Chat,
        dialect,
        suffix: Cow::Borrowed(""),
        body: BodyKind::Json,
        path_model,
        stream: asked.stream,
        stored: None,
    }))
}
