//! `/api/keys`: keys made at run time. Described in `docs/admin.md`.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{access, json as answer_json, not_allowed, problem};
use crate::keys::{Change, KeyError, Listed, Maker, NewKey, RuntimeKeys, duration_field};
use crate::snapshot::Snapshot;

/// How long the old secret is taken after a rotation that does not say.
const OVERLAP: Duration = Duration::from_secs(3600);
/// Keys in one answer, unless it is asked for fewer or more …
const PAGE: usize = 100;
/// … and at most.
const LARGEST_PAGE: usize = 1000;

/// A path below `/api/keys`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Path {
    All,
    One(String),
    Rotate(String),
    Enable(String, bool),
}

impl Path {
    /// A name may be percent-encoded: clients do that to `:` and `@`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api/keys")?;
        if rest.is_empty() {
            return Some(Self::All);
        }
        let rest = rest.strip_prefix('/').filter(|rest| !rest.is_empty())?;
        let (name, action) = rest.split_once('/').map_or((rest, None), |(name, action)| (name, Some(action)));
        let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
        match action {
            None => Some(Self::One(name)),
            Some("rotate") => Some(Self::Rotate(name)),
            Some("enable") => Some(Self::Enable(name, true)),
            Some("disable") => Some(Self::Enable(name, false)),
            Some(_) => None,
        }
    }
}

/// The keys as this API manages them. By default there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    current: Option<Arc<ArcSwap<Snapshot>>>,
    runtime: Option<Arc<RuntimeKeys>>,
}

type Answer = Result<Response<Vec<u8>>, KeyError>;

impl Keys {
    pub(super) fn new(current: Arc<ArcSwap<Snapshot>>, runtime: Option<Arc<RuntimeKeys>>) -> Self {
        Self { current: Some(current), runtime }
    }

    pub(super) async fn answer(
        &self,
        method: &Method,
        path: Path,
        query: &str,
        body: Vec<u8>,
        maker: Maker,
    ) -> Response<Vec<u8>> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let allow = match path {
            Path::All if reads || *method == Method::POST => None,
            Path::All => Some("GET, HEAD, POST"),
            Path::One(_) if reads || matches!(*method, Method::PATCH | Method::DELETE) => None,
            Path::One(_) => Some("GET, HEAD, PATCH, DELETE"),
            Path::Rotate(_) | Path::Enable(..) if *method == Method::POST => None,
            Path::Rotate(_) | Path::Enable(..) => Some("POST"),
        };
        if let Some(allow) = allow {
            return not_allowed(allow);
        }
        let Some(current) = &self.current else { return problem(StatusCode::NOT_FOUND, "there are no keys here") };
        let work = Work { snapshot: current.load_full(), runtime: self.runtime.clone(), maker };
        let (method, query) = (method.clone(), query.to_owned());
        // The store writes to a disk.
        let done = tokio::task::spawn_blocking(move || work.run(&method, &path, &query, &body)).await;
        match done {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => refusal(&error),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "this failed inside the gateway"),
        }
    }
}

/// One request to this API.
struct Work {
    snapshot: Arc<Snapshot>,
    runtime: Option<Arc<RuntimeKeys>>,
    maker: Maker,
}

impl Work {
    fn run(&self, method: &Method, path: &Path, query: &str, body: &[u8]) -> Answer {
        match path {
            Path::All if *method == Method::POST => self.create(body),
            Path::All => self.list(query),
            Path::One(name) if *method == Method::DELETE => {
                self.of_store(name)?.delete(name, &self.maker)?;
                Ok(answer_json(StatusCode::OK, &json!({ "deleted": name })))
            }
            Path::One(name) if *method == Method::PATCH => self.change(name, Change::parse(body)?),
            Path::One(name) => self.get(name),
            Path::Rotate(name) => {
                let overlap = duration_field(body, "overlap")?.unwrap_or(OVERLAP);
                let (key, secret) = self.of_store(name)?.rotate(name, overlap, &self.maker)?;
                Ok(answer_json(StatusCode::OK, &with_secret(&key, &secret)))
            }
            Path::Enable(name, enabled) => self.change(name, Change { enabled: Some(*enabled), ..Change::default() }),
        }
    }

    fn create(&self, body: &[u8]) -> Answer {
        let runtime = self.runtime()?;
        let new = NewKey::parse(body, self.snapshot.time.now())?;
        for model in new.models.iter().flatten().filter(|model| !model.contains('*')) {
            if self.snapshot.model(model).is_none() {
                let message = format!("there is no model `{model}`");
                return Err(KeyError::Field { field: "models".to_owned(), message });
            }
        }
        let (key, secret) = runtime.create(new, &self.maker)?;
        Ok(answer_json(StatusCode::CREATED, &with_secret(&key, &secret)))
    }

    /// Keys of the file first (they are few), then a page of those of the store.
    fn list(&self, query: &str) -> Answer {
        let parameter = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let most = match parameter("limit") {
            None => PAGE,
            Some(text) => match text.parse() {
                Ok(most @ 1..=LARGEST_PAGE) => most,
                Ok(_) | Err(_) => {
                    let message = format!("is a number from 1 to {LARGEST_PAGE}");
                    return Err(KeyError::Field { field: "limit".to_owned(), message });
                }
            },
        };
        let after = parameter("after").filter(|name| !name.is_empty());
        let mut keys: Vec<Listed> = Vec::new();
        if let (Maker::Master, None) = (&self.maker, &after) {
            keys.extend(self.snapshot.keys.configured().values().map(|key| Listed::configured(key)));
        }
        let page = match &self.runtime {
            Some(runtime) => runtime.list(after.as_deref().unwrap_or_default(), most, &self.maker),
            None => Vec::new(),
        };
        let next = page.last().filter(|_| page.len() == most).map(|last| last.name().to_owned());
        keys.extend(page);
        Ok(answer_json(StatusCode::OK, &json!({ "keys": keys, "next": next })))
    }

    fn get(&self, name: &str) -> Answer {
        let key = match (&self.maker, self.snapshot.keys.configured().get(name)) {
            (Maker::Master, Some(key)) => Listed::configured(key),
            _ => self.of_store(name)?.get(name, &self.maker)?,
        };
        Ok(answer_json(StatusCode::OK, &json!(key)))
    }

    fn change(&self, name: &str, change: Change) -> Answer {
        let key = self.of_store(name)?.change(name, change, &self.maker)?;
        Ok(answer_json(StatusCode::OK, &json!(key)))
    }

    fn runtime(&self) -> Result<&RuntimeKeys, KeyError> {
        self.runtime.as_deref().ok_or_else(|| {
            let message = "there is nowhere to keep keys: set `path = \"…/keys.db\"` in [store] and restart";
            KeyError::Conflict(message.to_owned())
        })
    }

    /// The store, if the key `name` is one of it and not of the file.
    fn of_store(&self, name: &str) -> Result<&RuntimeKeys, KeyError> {
        match (&self.maker, self.snapshot.keys.configured().get(name), &self.runtime) {
            (Maker::Master, Some(_), _) => {
                Err(KeyError::Conflict(format!("the key `{name}` stands in the configuration file: change it there")))
            }
            (_, _, Some(runtime)) => Ok(runtime),
            _ => Err(KeyError::NotFound(name.escape_default().to_string())),
        }
    }
}

/// The only place where a secret leaves.
fn with_secret(key: &Listed, secret: &str) -> Value {
    let mut shown = json!(key);
    shown["key"] = secret.into();
    shown
}

fn refusal(error: &KeyError) -> Response<Vec<u8>> {
    let (status, field) = match error {
        KeyError::Field { field, .. } => (StatusCode::BAD_REQUEST, Some(field.as_str())),
        KeyError::Beyond { field, .. } => (StatusCode::FORBIDDEN, Some(*field)),
        KeyError::Refused(why) => return access::unauthorised(why.message()),
        KeyError::Conflict(_) => (StatusCode::CONFLICT, None),
        KeyError::NotFound(_) => (StatusCode::NOT_FOUND, None),
        KeyError::Store(_) | KeyError::Random => (StatusCode::SERVICE_UNAVAILABLE, None),
    };
    if status.is_server_error() {
        log::error!("a change of keys failed: {error}");
    }
    let mut body = json!({ "error": { "status": status.as_u16(), "message": error.to_string() } });
    if let Some(field) = field {
        body["error"]["field"] = field.into();
    }
    answer_json(status, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_percent_encoded() {
        let one = |name: &str| Some(Path::One(name.to_owned()));
        assert_eq!(Path::of("/api/keys/staff:x@y"), one("staff:x@y"));
        assert_eq!(Path::of("/api/keys/staff%3Ax%40y"), one("staff:x@y"));
        assert_eq!(Path::of("/api/keys/a%2Fb/rotate"), Some(Path::Rotate("a/b".to_owned())));
        assert_eq!(Path::of("/api/keys/%zz%"), one("%zz%"));
        assert_eq!((Path::of("/api/keysx"), Path::of("/api/keys/")), (None, None));
        assert_eq!((Path::of("/api/keys"), Path::of("/api/keys/a/b")), (Some(Path::All), None));
    }
}
