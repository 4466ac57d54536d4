//! `GET /api/status`: how the process is, for people and programs. Described in `docs/operate.md`.

use http::{Response, StatusCode};
use serde_json::json;

use super::json as answer_json;
use crate::server::Control;

pub(super) fn answer(control: &Control) -> Response<Vec<u8>> {
    answer_json(StatusCode::OK, &json!(control.status()))
}
