//! `POST /api/reload`: the file is read again. Answered with the verdict: 200, 400 for a file that is wrong, 409 for one that
//! wants what a running process cannot change.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{json as answer_json, problem};
use crate::config::Problem;
use crate::server::{Control, ReloadError};

pub(super) async fn answer(control: Arc<Control>) -> Response<Vec<u8>> {
    // Files are read, and an SQLite database perhaps.
    let done = tokio::task::spawn_blocking(move || control.reload()).await;
    let error = match done {
        Ok(Ok(reloaded)) => {
            let warnings: Vec<Value> = reloaded.warnings.iter().map(shown).collect();
            let took = u64::try_from(reloaded.took.as_millis()).unwrap_or(u64::MAX);
            let body = json!({ "generation": reloaded.generation, "took_ms": took, "warnings": warnings });
            return answer_json(StatusCode::OK, &body);
        }
        Ok(Err(error)) => error,
        Err(_) => return problem(StatusCode::INTERNAL_SERVER_ERROR, "this failed inside the gateway"),
    };
    let (status, problems): (_, Vec<Value>) = match &error {
        ReloadError::Config(errors) => {
            (StatusCode::BAD_REQUEST, errors.errors.iter().chain(&errors.warnings).map(shown).collect())
        }
        ReloadError::Fixed(all) => (StatusCode::CONFLICT, all.iter().map(|told| json!({ "message": told })).collect()),
        ReloadError::Build(_) => (StatusCode::BAD_REQUEST, Vec::new()),
        ReloadError::Busy | ReloadError::Leaving | ReloadError::NoFile => (StatusCode::CONFLICT, Vec::new()),
    };
    let told = json!({ "status": status.as_u16(), "message": error.to_string(), "problems": problems });
    answer_json(status, &json!({ "error": told }))
}

fn shown(problem: &Problem) -> Value {
    let place = problem.place.as_ref();
    json!({
        "severity": problem.severity.as_str(),
        "file": problem.source,
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "message": problem.message,
        "help": problem.help,
        "text": problem.to_string(),
    })
}
