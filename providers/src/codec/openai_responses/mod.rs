//! Placeholder.

use super::{Call, Client, Codec, Maker, StreamDecoder, StreamEncoder, Target};
use crate::common::{Losses, Request, Response};
use crate::error::{ApiError, ErrorKind};

pub(super) struct OpenAiResponses;

#[expect(clippy::unimplemented)]
impl Codec for OpenAiResponses {
    fn decode_request<'a>(&self, _: &'a [u8], _: &Call<'_>) -> Result<Request<'a>, ApiError> {
        Err(ApiError::new(ErrorKind::NotSupported, "not yet"))
    }

    fn encode_request(&self, _: &Request<'_>, _: &Target<'_>, _: &mut Losses) -> Result<Vec<u8>, ApiError> {
        Err(ApiError::new(ErrorKind::NotSupported, "not yet"))
    }

    fn decode_response<'a>(&self, _: &'a [u8], _: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        Err(ApiError::new(ErrorKind::NotSupported, "not yet"))
    }

    fn encode_response(&self, _: &Response<'_>, _: &Client, _: &mut Losses) -> Vec<u8> {
        Vec::new()
    }

    fn stream_decoder(&self, _: &Maker<'_>) -> Box<dyn StreamDecoder> {
        unimplemented!()
    }

    fn stream_encoder(&self, _: &Client) -> Box<dyn StreamEncoder> {
        unimplemented!()
    }
}
