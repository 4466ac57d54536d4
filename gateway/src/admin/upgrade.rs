//! `POST /api/upgrade`: another process takes over. Answered when it serves.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;

use super::{json as answer_json, problem};
use crate::server::{Control, UPGRADE_LIMIT, UpgradeError};

/// The longest that an upgrade may be given.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn answer(control: Arc<Control>, query: &str) -> Response<Vec<u8>> {
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "timeout");
    let limit = match asked.map(|(_, text)| humantime::parse_duration(&text)) {
        None => UPGRADE_LIMIT,
        Some(Ok(limit)) if !limit.is_zero() && limit <= LONGEST => limit,
        Some(_) => return problem(StatusCode::BAD_REQUEST, "`timeout` is a length of time such as `30s`, at most 10m"),
    };
    match tokio::task::spawn_blocking(move || control.upgrade(limit)).await {
        Ok(Ok(upgraded)) => {
            let took = u64::try_from(upgraded.took.as_millis()).unwrap_or(u64::MAX);
            let body = json!({ "pid": upgraded.who.pid, "version": upgraded.who.version, "took_ms": took });
            answer_json(StatusCode::OK, &body)
        }
        Ok(Err(error)) => problem(status_of(&error), &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "this failed inside the gateway"),
    }
}

fn status_of(error: &UpgradeError) -> StatusCode {
    match error {
        UpgradeError::Busy | UpgradeError::Restoring => StatusCode::CONFLICT,
        UpgradeError::Leaving => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
