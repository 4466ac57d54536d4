//! Who may use the admin API.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem;
use crate::config::Right;
use crate::keys::{Maker, is_from_page, presented_key};
use crate::snapshot::Snapshot;

/// What is asked of a request. By default nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    current: Option<Arc<ArcSwap<Snapshot>>>,
}

impl Access {
    pub(super) fn new(current: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { current: Some(current) }
    }

    /// Who asks.
    ///
    /// # Errors
    /// The answer to somebody who may not.
    pub(super) fn of(&self, headers: &HeaderMap) -> Result<Maker, Response<Vec<u8>>> {
        let admin = self.current.as_ref().and_then(|current| current.load().admin_key);
        let Some(presented) = presented_key(headers, None) else {
            return match admin {
                Some(_) => Err(unauthorised("send the admin key as `authorization: Bearer …`")),
                // Without a key the loopback address is all the protection: pages in a browser on this machine reach it too.
                None if is_from_page(headers) => Err(problem(
                    StatusCode::FORBIDDEN,
                    "without `admin_key` the admin API is for programs on this machine: no browser, no host but localhost",
                )),
                None => Ok(Maker::Master),
            };
        };
        let hash: [u8; 32] = Sha256::digest(&presented).into();
        if admin.is_some_and(|admin| bool::from(admin.ct_eq(&hash))) {
            return Ok(Maker::Master);
        }
        let found = self.current.as_ref().map(|current| {
            let snapshot = current.load();
            snapshot.keys.find(&presented, snapshot.time.now())
        });
        match found {
            Some(Ok(key)) if key.may(Right::Keys) => Ok(Maker::Key(key)),
            Some(Ok(_)) => Err(problem(StatusCode::FORBIDDEN, "this key may not use the admin API")),
            Some(Err(why)) => Err(unauthorised(why.message())),
            None => Err(unauthorised("the API key is not valid")),
        }
    }
}

/// The 401 that says `message`.
pub(super) fn unauthorised(message: &str) -> Response<Vec<u8>> {
    let mut response = problem(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}
