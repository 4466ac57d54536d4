//! `GET /api/usage`: what the ledger says.
//!
//! `?by=key,day&from=2026-11-01&to=7d&team=support&format=csv`: `by` is a list of dimensions (default `key,model`), `from` and
//! `to` are times as `ai-gateway usage` takes them, every dimension is also a filter (several of one: one of them), `format`
//! is `json` (default) or `csv`.

use std::collections::HashSet;
use std::path::Path;
use std::time::SystemTime;

use http::{Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{json, problem, response};
use crate::ledger::{self, Dimension, Query};

/// Filters of one report.
const MAX_FILTERS: usize = 100;
/// Reports made at the same time; a long one reads the whole ledger.
static REPORTS: Semaphore = Semaphore::const_new(2);

/// The answer to `query`, from the database at `path`, on a thread that may wait for a disk.
pub(super) async fn answer(path: Option<&Path>, query: &str, now: SystemTime) -> Response<Vec<u8>> {
    let Some(path) = path.map(Path::to_owned) else {
        return problem(StatusCode::NOT_FOUND, "the configuration has no [ledger]");
    };
    let (query, csv) = match read(query, now) {
        Ok(read) => read,
        Err(message) => return problem(StatusCode::BAD_REQUEST, &message),
    };
    let Ok(_turn) = REPORTS.acquire().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the gateway ends");
    };
    match spawn_blocking(move || ledger::ask(&path, &query)).await {
        // A file that ends early looks like a whole one.
        Ok(Ok(report)) if csv && report.truncated => {
            let message =
                format!("there are more than {} groups: ask for a shorter time or fewer dimensions", report.rows.len());
            problem(StatusCode::BAD_REQUEST, &message)
        }
        Ok(Ok(report)) if csv => response(StatusCode::OK, "text/csv; charset=utf-8", report.to_csv().into_bytes()),
        Ok(Ok(report)) => json(StatusCode::OK, &report.to_json()),
        Ok(Err(error)) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("the ledger cannot be read: {error}")),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the report failed"),
    }
}

/// Reads the query of the URL; also says if CSV is wanted.
fn read(text: &str, now: SystemTime) -> Result<(Query, bool), String> {
    let mut query = Query { by: vec![Dimension::Key, Dimension::Model], ..Query::default() };
    let mut csv = false;
    let mut named = HashSet::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        // Of two the first would be asked for in vain. Filters are many.
        if matches!(&*name, "by" | "from" | "to" | "format") && !named.insert(name.clone()) {
            return Err(format!("`{name}` is given twice"));
        }
        let time = || ledger::parse_time(&value, now).map_err(|error| format!("{name}: {error}"));
        match &*name {
            "by" => query.by = Dimension::list(&value)?,
            "from" => query.from = Some(time()?),
            "to" => query.to = Some(time()?),
            "format" => {
                csv = match &*value {
                    "csv" => true,
                    "json" => false,
                    _ => return Err("`format` is csv or json".to_owned()),
                }
            }
            dimension => query.filters.push((dimension.parse()?, value.into_owned())),
        }
    }
    if query.filters.len() > MAX_FILTERS {
        return Err(format!("more than {MAX_FILTERS} filters"));
    }
    Ok((query, csv))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Time;
    use crate::config::LedgerConfig;
    use crate::ledger::{Ledger, LedgerMetrics, Record};

    #[test]
    fn the_query_of_the_url() {
        let (query, csv) = read("by=day,team&from=1970-01-02&team=a%20b&team=c&format=csv", SystemTime::now()).unwrap();
        let filters = vec![(Dimension::Team, "a b".to_owned()), (Dimension::Team, "c".to_owned())];
        let by = vec![Dimension::Day, Dimension::Team];
        assert_eq!((query, csv), (Query { by, from: Some(86_400_000_000), to: None, filters }, true));
        assert_eq!(read("by=", SystemTime::now()).unwrap().0, Query::default());
        for wrong in [
            "by=cost",
            "from=soon",
            "format=xml",
            "nonsense=1",
            "by=key&by=model",
            "from=1d&from=2d",
            &"key=1&".repeat(101),
        ] {
            assert!(read(wrong, SystemTime::now()).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn without_a_ledger_or_its_file() {
        assert_eq!(answer(None, "", SystemTime::now()).await.status(), StatusCode::NOT_FOUND);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        assert_eq!(answer(Some(&path), "", SystemTime::now()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(crate::ledger::Store::open(&path).unwrap());
        let answer = answer(Some(&path), "by=key&format=csv", SystemTime::now()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.body().starts_with(b"key,requests,") && answer.body().ends_with(b"tokens\r\n"));
    }

    #[tokio::test]
    async fn a_file_is_whole_or_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig::at(dir.path().join("ledger.db"));
        let ledger = Ledger::start(&config, LedgerMetrics::default(), Time::default()).unwrap();
        for key in 0..101 {
            let at = ledger::micros(SystemTime::now());
            ledger.book(&Record {
                at,
                id: key.to_string().into(),
                key: Some(key.to_string().into()),
                ..Record::default()
            });
        }
        assert!(ledger.close(Duration::from_secs(20)));
        let path = Some(&*config.path);
        assert_eq!(answer(path, "by=key&format=csv", SystemTime::now()).await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer(path, "by=day&format=csv", SystemTime::now()).await.status(), StatusCode::OK);
        let report = answer(path, "by=key", SystemTime::now()).await;
        let report: serde_json::Value = serde_json::from_slice(report.body()).unwrap();
        assert_eq!((&report["truncated"], report["rows"].as_array().unwrap().len()), (&serde_json::json!(true), 100));
    }
}
