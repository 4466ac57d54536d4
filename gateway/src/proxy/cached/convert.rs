//! A kept answer in another form than it was given in: a stream as one document, a document as a stream. The codec of the client's
//! own dialect reads the one and writes the other; ids and times stay those of the kept answer.

use ai_gateway_providers::answer::{AnswerForm, Observer};
use ai_gateway_providers::common::ProviderTag;
use ai_gateway_providers::{Dialect, Operation};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::cache::{Entry, Form, Meta};
use crate::proxy::Exchange;
use crate::proxy::attempt::encode;

/// Of the ways in which a stream is framed, the one that leaves its events as they are.
const SHOWS_USAGE: u32 = 1 << 1;

/// The entry in the form that the exchange's client wants; `None` if that cannot be said without a loss.
pub fn convert(entry: &Entry, wanted: Form, exchange: &Exchange) -> Option<Entry> {
    let endpoint = exchange.endpoint()?;
    let dialect = endpoint.dialect;
    if exchange.wants_cost() || endpoint.operation != Operation::Chat || entry.meta.dialect != dialect.as_str() {
        return None;
    }
    let provider = ProviderTag::of(&entry.meta.provider);
    let translation = encode::within(exchange, provider, &entry.meta.upstream_model, entry.meta.created)?;
    if dialect == Dialect::OpenAiChat && !tells_usage(entry.meta.form) && tells_usage(wanted) {
        return None;
    }
    let form = match entry.meta.form {
        Form::Whole => AnswerForm::Json,
        // An array is no stream to the codec, and a usage that tells the cost is not the provider's.
        Form::Stream(framed) if framed & !SHOWS_USAGE != 0 => return None,
        Form::Stream(_) => AnswerForm::Stream,
    };
    let mut observer = Observer::translating(translation, endpoint.operation, form);
    let body = observer.feed(entry.body.clone(), true);
    let seen = observer.seen();
    let faithful = seen.complete && !seen.cut && seen.error.is_none() && seen.unreadable == 0;
    let lost = observer.losses().is_some_and(|losses| !losses.is_empty());
    if !faithful || lost || body.is_empty() {
        return None;
    }
    let mut meta = Meta { form: wanted, ..entry.meta.clone() };
    meta.headers.insert(CONTENT_TYPE, HeaderValue::from_static(exchange.content_type()));
    Some(Entry { meta, body })
}

/// Whether a Chat Completion of that form says what it consumed: a stream does only where its client wants that.
fn tells_usage(form: Form) -> bool {
    match form {
        Form::Whole => true,
        Form::Stream(framed) => framed & SHOWS_USAGE != 0,
    }
}
