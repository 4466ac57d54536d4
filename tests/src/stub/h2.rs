//! The HTTP/2 side of the stub.

use super::{Answer, Received, State, Step};
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) async fn serve<S>(io: S, connection: usize, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(mut http2) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = http2.accept().await {
        tokio::spawn(exchange(request, respond, connection, state.clone()));
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    state: Arc<State>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = BytesMut::new();
    let mut complete = true;
    while let Some(data) = stream.data().await {
        let Ok(data) = data else {
            complete = false;
            break;
        };
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let answer = state.record(Received {
        method: head.method,
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body: body.freeze(),
        complete,
        http2: true,
        connection,
    });
    if !complete || answer_with(&mut respond, answer).await.is_err() {
        state.departed();
    }
}

async fn answer_with(respond: &mut SendResponse<Bytes>, answer: Answer) -> Result<(), h2::Error> {
    if let Some(gate) = &answer.before {
        tokio::select! {
            () = gate.passed() => {}
            gone = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return Err(departed(gone)),
        }
    }
    let mut head = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        head = head.header(name, value);
    }
    let Ok(head) = head.body(()) else {
        // What is no HTTP cannot be said here.
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    };
    let mut stream = respond.send_response(head, false)?;
    for step in answer.steps {
        match step {
            Step::Send(bytes) => send(&mut stream, bytes).await?,
            Step::Wait(gate) => tokio::select! {
                () = gate.passed() => {}
                gone = reset(&mut stream) => return Err(gone),
            },
            Step::Pause(time) => tokio::select! {
                () = tokio::time::sleep(time) => {}
                gone = reset(&mut stream) => return Err(gone),
            },
            Step::Stall => return Err(reset(&mut stream).await),
            Step::Cut => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Step::GrpcStatus(code) => {
                let name = http::HeaderName::from_static("grpc-status");
                return stream.send_trailers(http::HeaderMap::from_iter([(name, code.into())]));
            }
            Step::Trailers => {
                let name = http::HeaderName::from_static("x-trailer");
                return stream.send_trailers(http::HeaderMap::from_iter([(name, http::HeaderValue::from_static("1"))]));
            }
        }
    }
    stream.send_data(Bytes::new(), true)
}

/// Sends all of it, as the peer's flow-control window allows.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(granted) => granted?,
            None => return Err(Reason::CANCEL.into()),
        };
        stream.send_data(bytes.split_to(granted.min(bytes.len())), false)?;
    }
    Ok(())
}

async fn reset(stream: &mut SendStream<Bytes>) -> h2::Error {
    departed(std::future::poll_fn(|cx| stream.poll_reset(cx)).await)
}

fn departed(result: Result<Reason, h2::Error>) -> h2::Error {
    match result {
        Ok(reason) => reason.into(),
        Err(error) => error,
    }
}
