//! The smallest upstream that answers as an OpenAI-compatible provider would: it costs next to nothing itself.
//!
//! It ignores what is asked except `"stream":true` and the model name: `lorem-N` streams N chunks at once,
//! `lorem-N-every-Mms` streams one chunk per M milliseconds. Anything else gets one short answer of 1 KB.

use std::{net::SocketAddr, time::Duration};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::Result;

/// Binds `listen` and answers forever in the background of the current runtime. Returns the bound address.
pub async fn spawn(listen: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that leaves is no event here.
            tokio::spawn(async move { serve(socket).await.unwrap_or_default() });
        }
    });
    Ok(address)
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some(end) = request_end(&buffer) else {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let asked = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        answer(&mut socket, &asked).await?;
    }
}

fn request_end(buffer: &[u8]) -> Option<usize> {
    let head = memmem::find(buffer, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then_some(end)
}

async fn answer(socket: &mut TcpStream, asked: &str) -> std::io::Result<()> {
    if !asked.contains(r#""stream":true"#) {
        let body = chunk_json("answer", &"lorem ipsum ".repeat(70));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        return socket.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    }
    let (count, every) = lorem(asked);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for index in 0..count {
        if index > 0 && !every.is_zero() {
            tokio::time::sleep(every).await;
        }
        let event = format!("data: {}\n\n", chunk_json("chunk", "lorem "));
        socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
    }
    socket.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await
}

fn chunk_json(object: &str, text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-standin","object":"chat.completion.{object}","created":1700000000,"model":"lorem","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

fn lorem(asked: &str) -> (u64, Duration) {
    let name = asked.split(r#""model":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let mut parts = name.rsplit('/').next().unwrap_or_default().split('-');
    let count = parts.nth(1).and_then(|count| count.parse().ok()).unwrap_or(3);
    let every = parts.nth(1).and_then(|every| every.strip_suffix("ms")?.parse().ok()).unwrap_or(0);
    (count, Duration::from_millis(every))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        load::{HeldStreams, Load},
        wire::Request,
    };

    async fn started() -> SocketAddr {
        spawn(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
    }

    #[tokio::test]
    async fn a_closed_loop_gets_complete_answers() {
        let address = started().await;
        for (stream, events) in [(false, 0), (true, 101)] {
            let request = Arc::new(Request::chat(address, None, "lorem-100", 1024, stream));
            let length = Duration::from_millis(100);
            let outcome = Load { address, request, connections: 4, length, rate: None }.run().await.unwrap();
            assert_eq!(outcome.first_error, None);
            assert!(outcome.answers >= 4);
            assert_eq!(outcome.events, outcome.answers * events);
            assert_eq!(outcome.first_output.len() as u64, if stream { outcome.answers } else { 0 });
        }
    }

    #[tokio::test]
    async fn a_fixed_rate_sends_as_many_as_are_due() {
        let address = started().await;
        let request = Arc::new(Request::chat(address, None, "m", 1024, false));
        let length = Duration::from_millis(200);
        let outcome = Load { address, request, connections: 4, length, rate: Some(500.0) }.run().await.unwrap();
        assert_eq!((outcome.answers, outcome.errors), (100, 0));
    }

    #[tokio::test]
    async fn held_streams_stay_open_until_closed() {
        let address = started().await;
        let request = Arc::new(Request::chat(address, None, "lorem-1000-every-1000ms", 1024, true));
        let held = HeldStreams::open(address, request, 100).await.unwrap();
        assert_eq!(held.open_streams(), 100);
        held.close().await.unwrap();
    }
}
