//! Operations other than chat across dialects: what the client's API asks, said in another provider's API. One file per operation.

pub mod completions;
