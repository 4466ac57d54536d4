//! The provider's answer that is under way.

use std::time::Instant;

use ai_gateway_providers::answer::{AnswerForm, Observer};

use crate::net::unasked::Gunzip;

/// What is known of the current attempt's answer: begun anew where another attempt follows on a failed one, kept where another
/// attempt goes on with it.
pub struct UpstreamAnswer {
    /// Watches it.
    pub observer: Option<Observer>,
    /// Unpacks its body, if it comes packed.
    pub gunzip: Option<Box<Gunzip>>,
    /// How it is framed, for the client.
    pub form: AnswerForm,
    /// Since when it is watched.
    pub since: Instant,
    /// How many bytes of it have come, of which those before commit are withheld.
    pub bytes: usize,
    /// When its first output was seen.
    pub first_output: Option<Instant>,
    /// The body of an error answer that is to be told in the client's dialect.
    pub error_body: Option<Vec<u8>>,
}

impl UpstreamAnswer {
    /// Nothing has come yet, as of `since`.
    pub fn new(since: Instant) -> Self {
        Self {
            observer: None,
            gunzip: None,
            form: AnswerForm::Opaque,
            since,
            bytes: 0,
            first_output: None,
            error_body: None,
        }
    }

    /// From now on `observer` watches it, and the client gets it framed as `form`.
    pub fn watch(&mut self, observer: Observer, form: AnswerForm) -> &mut Observer {
        self.form = form;
        (self.since, self.bytes) = (Instant::now(), 0);
        self.observer.insert(observer)
    }
}
