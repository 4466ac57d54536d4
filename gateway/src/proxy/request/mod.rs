//! The request of an exchange, as it was read.
//!
//! | file | subject |
//! |---|---|
//! | `body` | reading it: bounded in size, memory and time, decoded once |
//! | `clocks` | what its client says of clocks and tries |
//! | `labels` | what its client says for its own accounts |
//! | `weight` | its tokens, by the length of what it holds |

pub mod body;
pub mod clocks;
pub mod labels;
pub mod weight;

use std::sync::Arc;

use ai_gateway_providers::codec::Call;
use ai_gateway_providers::endpoint::Endpoint;
use ai_gateway_providers::scan::{BodyFacts, CacheField, RequestScan};
use bytes::Bytes;

use crate::proxy::plan::BYTES_PER_TOKEN;
use crate::snapshot::Model;
use body::Room;
use clocks::Clocks;

/// A body so small holds no media worth telling from text.
pub const SMALL: usize = 16 << 10;

/// The request body and what one scan told about it.
pub struct Request {
    /// What is asked.
    pub endpoint: Endpoint,
    /// As sent, decoded from its content coding; without the fields that are for the gateway, and with what a rule changes.
    pub body: Bytes,
    /// Where the fields are that the gateway reads.
    pub scan: RequestScan,
    /// The model as configured.
    pub model: Arc<Model>,
    /// Gives the body's bytes back to the common budget.
    pub room: Option<Room>,
    /// The client wants a stream as one JSON array (Gemini without `alt=sse`).
    pub json_array: bool,
    /// A stream's usage object is to tell the cost.
    pub wants_cost: bool,
    /// What its client said of the cache in the body.
    pub cache_field: Option<Box<CacheField>>,
    /// What it says about the clocks of its attempts.
    pub clocks: Clocks,
    /// The client's `anthropic-beta`.
    pub betas: Option<Box<str>>,
    /// The most attempts that its client wants.
    pub attempts: Option<usize>,
    /// About how many tokens it takes, once the body is no longer there.
    pub prompt: Option<u64>,
}

impl Request {
    /// `body` as scanned, for `model`, of which nothing else is said.
    pub fn new(endpoint: Endpoint, body: Bytes, scan: RequestScan, model: Arc<Model>) -> Self {
        Self {
            endpoint,
            body,
            scan,
            model,
            room: None,
            json_array: false,
            wants_cost: false,
            cache_field: None,
            clocks: Clocks::default(),
            betas: None,
            attempts: None,
            prompt: None,
        }
    }

    /// Whether a stream is asked for.
    pub fn wants_stream(&self) -> bool {
        self.scan.stream || self.endpoint.stream
    }

    /// What its path says to who reads its body.
    pub fn call(&self) -> Call<'_> {
        Call { model: self.endpoint.path_model.as_deref(), stream: self.wants_stream() }
    }

    /// Lets go of the body once no attempt can need it any more.
    ///
    /// `prompt`: its length may still be asked for, because the usage may stay unknown.
    pub fn release_body(&mut self, prompt: bool) {
        if prompt || self.body.len() <= SMALL {
            self.prompt = self.prompt_tokens();
        }
        self.body = Bytes::new();
        self.room = None;
    }

    /// About how many tokens its prompt takes; `None` if it is no JSON.
    pub fn prompt_tokens(&self) -> Option<u64> {
        if self.prompt.is_some() || !self.body.trim_ascii_start().starts_with(b"{") {
            return self.prompt;
        }
        let small = (self.body.len() as u64).div_ceil(BYTES_PER_TOKEN);
        Some(if self.body.len() <= SMALL { small } else { BodyFacts::of(&self.body).prompt_tokens() })
    }
}
