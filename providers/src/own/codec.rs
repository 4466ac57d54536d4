//! What holds for the codecs of all own dialects: requests and answers name their dialect, a path that asks for a stream is
//! heard, no turn is asked for without those before it, a stream ends once, and no client is told of the operator's account.

use super::Own;
use crate::codec::{Call, Client, Codec, Maker, Sink, StreamDecoder, StreamEncoder, Target, refers_to_nothing};
use crate::common::{Event, Json, Losses, Request, Response};
use crate::error::{ApiError, ErrorKind, for_client};

impl Codec for Own {
    fn decode_request<'a>(&self, body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
        let request = self.dialect().codec().decode_request(body, call)?;
        Ok(Request { dialect: (*self).into(), stream: request.stream || call.stream, ..request })
    }

    fn encode_request(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<u8>, ApiError> {
        refers_to_nothing(request, (*self).into())?;
        self.dialect().codec().encode_request(request, target, losses)
    }

    fn decode_response<'a>(&self, body: &'a [u8], maker: &Maker<'_>) -> Result<Response<'a>, ApiError> {
        let response = self.dialect().codec().decode_response(body, maker)?;
        Ok(Response { dialect: (*self).into(), ..response })
    }

    fn encode_response(&self, response: &Response<'_>, client: &Client, losses: &mut Losses) -> Vec<u8> {
        self.dialect().codec().encode_response(response, client, losses)
    }

    fn stream_decoder(&self, maker: &Maker<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Ending { decoder: self.dialect().codec().stream_decoder(maker), over: false })
    }

    fn stream_encoder(&self, client: &Client) -> Box<dyn StreamEncoder> {
        Box::new(Discreet(self.dialect().codec().stream_encoder(client)))
    }

    fn echo(&self, request: &Request<'_>) -> Option<Json<'static>> {
        self.dialect().codec().echo(request)
    }
}

/// Gives out one end, and nothing behind it.
struct Ending {
    decoder: Box<dyn StreamDecoder>,
    over: bool,
}

impl StreamDecoder for Ending {
    fn feed(&mut self, chunk: &[u8], end: bool, sink: Sink<'_>) {
        let Self { decoder, over } = self;
        decoder.feed(chunk, end, &mut |event| {
            if !*over {
                *over = matches!(event, Event::End | Event::Error(_));
                sink(event);
            }
        });
        if end && !*over {
            *over = true;
            sink(Event::Error(ApiError::new(ErrorKind::StreamCut, "the stream broke off before it was complete")));
        }
    }
}

/// Tells of errors only what a client may know.
struct Discreet(Box<dyn StreamEncoder>);

impl StreamEncoder for Discreet {
    fn encode(&mut self, event: Event<'_>, losses: &mut Losses, out: &mut Vec<u8>) {
        let event = match event {
            Event::Error(error) => Event::Error(for_client(&error)),
            event => event,
        };
        self.0.encode(event, losses, out);
    }
}
