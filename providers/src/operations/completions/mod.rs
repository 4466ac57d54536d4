//! Legacy completions (`/v1/completions`, <https://platform.openai.com/docs/api-reference/completions>) for providers that know
//! only chat: the prompt becomes the one message of a user, and the answer's text the completion.
//!
//! Left to the provider: how many tokens to write at most, where the client does not say it. The original's 16 were made for
//! models that do not think and do not greet.

mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

pub use request::decode_request;
pub use response::encode_response;
pub use stream::stream_encoder;
