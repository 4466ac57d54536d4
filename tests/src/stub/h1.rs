//! The HTTP/1 side of the stub: strict reading (a request that is not exactly framed fails), scripted writing.

use super::{Answer, Framing, Received, State, Step};
use crate::client::wire;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The peer left, or the script cuts the connection.
struct Gone;

pub(super) async fn serve<S>(mut io: S, connection: usize, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut buffer = BytesMut::new();
    while let Some(head) = wire::read_request_head(&mut io, &mut buffer).await {
        let body = wire::read_body(&mut io, &mut buffer, wire::request_length(&head.headers)).await;
        let (body, complete) = match body {
            Ok(body) => (body, true),
            Err(partial) => (partial, false),
        };
        let request = Received {
            method: head.method,
            target: head.target,
            headers: head.headers,
            body,
            complete,
            http2: false,
            connection,
        };
        let head_only = request.method == http::Method::HEAD;
        let answer = state.record(request);
        if !complete {
            state.departed();
            return;
        }
        let close = matches!(answer.framing, Framing::Close | Framing::Raw);
        match respond(&mut io, &mut buffer, answer, head_only).await {
            Ok(()) if !close => {}
            Ok(()) => {
                let _ = io.shutdown().await;
                return;
            }
            Err(Left::Peer) => return state.departed(),
            Err(Left::Script) => return,
        }
    }
}

/// Who ended the connection before the answer was complete.
enum Left {
    Peer,
    Script,
}

impl From<Gone> for Left {
    fn from(_: Gone) -> Self {
        Left::Peer
    }
}

async fn respond<S>(io: &mut S, buffer: &mut BytesMut, answer: Answer, head_only: bool) -> Result<(), Left>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(gate) = &answer.before {
        tokio::select! {
            () = gate.passed() => {}
            gone = departure(io, buffer) => return Err(gone.into()),
        }
    }
    if answer.framing != Framing::Raw {
        let mut head = format!("HTTP/1.1 {} Stub\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bytes = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
        match answer.framing {
            Framing::Length if answer.headers.iter().any(|(name, _)| name == "content-length") => {}
            Framing::Length => {
                let length: usize = answer.steps.iter().map(bytes).sum();
                head.push_str(&format!("content-length: {length}\r\n"));
            }
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Framing::Close | Framing::Raw => head.push_str("connection: close\r\n"),
        }
        head.push_str("\r\n");
        write(io, head.as_bytes()).await?;
    }
    if head_only {
        return Ok(());
    }
    let chunked = answer.framing == Framing::Chunked;
    for step in answer.steps {
        match step {
            Step::Send(bytes) if bytes.is_empty() => {}
            Step::Send(bytes) if chunked => write(io, &wire::chunk(&bytes)).await?,
            Step::Send(bytes) => write(io, &bytes).await?,
            Step::Wait(gate) => tokio::select! {
                () = gate.passed() => {}
                gone = departure(io, buffer) => return Err(gone.into()),
            },
            Step::Pause(time) => tokio::select! {
                () = tokio::time::sleep(time) => {}
                gone = departure(io, buffer) => return Err(gone.into()),
            },
            Step::Stall => return Err(departure(io, buffer).await.into()),
            Step::Cut | Step::Trailers | Step::GrpcStatus(_) => return Err(Left::Script),
        }
    }
    if chunked {
        write(io, b"0\r\n\r\n").await?;
    }
    Ok(())
}

async fn write<S: AsyncWrite + Unpin>(io: &mut S, bytes: &[u8]) -> Result<(), Gone> {
    io.write_all(bytes).await.map_err(|_| Gone)?;
    io.flush().await.map_err(|_| Gone)
}

/// Ends when the peer has closed; what it sends meanwhile is the start of its next request.
async fn departure<S: AsyncRead + Unpin>(io: &mut S, buffer: &mut BytesMut) -> Gone {
    let mut more = [0; 4096];
    loop {
        match io.read(&mut more).await {
            Ok(0) | Err(_) => return Gone,
            Ok(n) => buffer.extend_from_slice(&more[..n]),
        }
    }
}

/// Keeps the type of a chunk in one place for both directions.
impl From<Bytes> for Step {
    fn from(bytes: Bytes) -> Self {
        Step::Send(bytes)
    }
}
