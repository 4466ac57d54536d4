//! Clients that read their answers slowly, or stop.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use pingora_core::apps::ServerApp as _;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest};
use pingora_core::server::configuration::ServerConf;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::build::{Built, build};
use super::downstream::Downstream;
use crate::clock::Time;
use crate::config::{Config, System};
use crate::keys::hash_line;

/// What a client has to take a part of its answer, which it does not take.
const SHORT: Duration = Duration::from_millis(500);
/// The same, of a client that takes it.
const LONG: Duration = Duration::from_secs(4);
/// The same, of one that takes a little all the time.
const SLOW: Duration = Duration::from_secs(1);
/// More than all sockets in between hold.
const LARGE: usize = 2 << 20;
const SOCKET: u32 = 32 << 10;
/// The same of sockets as they are made, which grow.
const HUGE: usize = 16 << 20;

/// A provider whose answers are large: streams or not, as they are asked for. It ends its connections.
async fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    assert!(connection.read_buf(&mut request).await.unwrap() > 0);
                }
                let request = String::from_utf8_lossy(&request);
                let size = if request.contains(r#""huge""#) { HUGE } else { LARGE };
                let answer = if request.contains(r#""stream":true"#) { stream(size) } else { whole(size) };
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn stream(size: usize) -> String {
    let event = |delta: &str, finish: &str| {
        format!(
            r#"data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
        )
    };
    let text = event(&format!(r#"{{"content":"{}"}}"#, "x".repeat(1 << 10)), "null");
    let events =
        [vec![event(r#"{"role":"assistant"}"#, "null")], vec![text; size >> 10], vec![event("{}", r#""stop""#)]];
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";
    format!("{head}\r\n{}\n\ndata: [DONE]\n\n", events.concat().join("\n\n"))
}

fn whole(size: usize) -> String {
    let body = format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#,
        "x".repeat(size)
    );
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

struct Bench {
    downstream: Arc<Downstream>,
    keys: Vec<(&'static str, String)>,
}

impl Bench {
    async fn new(more: &str, patience: Duration) -> Self {
        let keys = ["cancel", "drain"].map(|name| (name, format!("sk-{name}")));
        let key = |(name, secret): &(&str, String)| {
            let hash = hash_line(secret);
            format!("[[keys]]\nname = '{name}'\nhash = '{}'\non_abort = '{name}'\n", hash.trim())
        };
        let origin = provider().await;
        let config = format!(
            "[providers.p]\nkind = 'openai-compatible'\nbase_url = 'http://{origin}/v1'\napi_key = 'k'\n{}{}{more}",
            key(&keys[0]),
            key(&keys[1])
        );
        let config = Config::parse(&config, "a.toml", &System).unwrap().config;
        let Built { mut gateway, .. } = build(&config, None, Time::default()).unwrap();
        gateway.patience = patience;
        let downstream = Arc::new(Downstream::new(&Arc::new(ServerConf::default()), gateway));
        Self { downstream, keys: keys.into() }
    }

    /// A connection that holds little, and what serves it.
    async fn connect(&self) -> (TcpStream, JoinHandle<()>) {
        let (listener, client) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
        listener.set_send_buffer_size(SOCKET).unwrap();
        client.set_recv_buffer_size(SOCKET).unwrap();
        self.connect_over(listener, client).await
    }

    async fn connect_over(&self, listener: TcpSocket, client: TcpSocket) -> (TcpStream, JoinHandle<()>) {
        listener.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = listener.listen(1).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Socket::from(listener.accept().await.unwrap().0);
        // As Pingora's own listeners do.
        let digest = SocketDigest::from_raw_fd(server.as_raw_fd());
        server.set_socket_digest(digest);
        let app = self.downstream.clone();
        let served = tokio::spawn(async move {
            let (_stop, shutdown) = watch::channel(false);
            app.process_new(Box::new(server), &shutdown).await;
        });
        (client, served)
    }
}

fn body(path: &str, stream: bool, model: &str) -> String {
    let most = if path.ends_with("messages") { r#""max_tokens":9,"# } else { "" };
    format!(r#"{{"model":"{model}",{most}"stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#)
}

async fn ask(client: &mut TcpStream, path: &str, key: &str, body: &str) {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap_or_else(|_| panic!("{what}: for ever"))
}

const PATHS: [&str; 2] = ["/v1/chat/completions", "/v1/messages"];
const ON_CUT: &str = "[models.cut]\ntargets = [{ provider = 'p', model = 'm' }]\non_cut = 'buffer'\n";
const CACHED: &str = "[models.kept]\ntargets = [{ provider = 'p', model = 'm' }]\ncache = { ttl = '1h' }\n";

#[tokio::test]
async fn who_stops_reading_is_not_waited_for_and_gets_no_end() {
    let bench = Bench::new(&[ON_CUT, CACHED].concat(), SHORT).await;
    for (_, key) in &bench.keys {
        for path in PATHS {
            for (model, streams) in [("p/m", true), ("p/m", false), ("cut", true), ("kept", true), ("kept", false)] {
                let what = format!("{path} {model} {streams} {key}");
                let (mut client, served) = bench.connect().await;
                ask(&mut client, path, key, &body(path, streams, model)).await;
                soon(&what, served).await.unwrap();
                let mut got = Vec::new();
                let _ = client.read_to_end(&mut got).await;
                let text = String::from_utf8_lossy(&got);
                assert!(text.starts_with("HTTP/1.1 200"), "{what}: {text:.300}");
                assert!(got.len() < LARGE && !text.ends_with("0\r\n\r\n"), "{what}: {} bytes", got.len());
            }
        }
    }
}

/// Nor of answers without a body, of which many fill a socket.
#[tokio::test]
async fn who_does_not_read_what_has_no_body_is_not_waited_for() {
    let bench = Bench::new("", SHORT).await;
    let head = format!("HEAD /v1/models HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n\r\n", bench.keys[0].1);
    let (client, served) = bench.connect().await;
    let (_unread, mut asks) = client.into_split();
    let asking = tokio::spawn(async move { while asks.write_all(head.as_bytes()).await.is_ok() {} });
    soon("HEAD", served).await.unwrap();
    soon("asking", asking).await.unwrap();
}

#[tokio::test]
async fn who_stops_reading_over_http_2_gets_a_reset() {
    let bench = Bench::new(ON_CUT, SHORT).await;
    for (_, key) in &bench.keys {
        for path in PATHS {
            for (model, streams) in [("p/m", true), ("p/m", false), ("cut", true)] {
                let what = format!("{path} {model} {streams} {key}");
                let (client, _served) = bench.connect().await;
                let (mut client, connection) = h2::client::handshake(client).await.unwrap();
                tokio::spawn(connection);
                let request =
                    http::Request::post(format!("http://h{path}")).header("authorization", format!("Bearer {key}"));
                let (answer, mut sent) = client.send_request(request.body(()).unwrap(), false).unwrap();
                sent.send_data(Bytes::from(body(path, streams, model)), true).unwrap();
                let answer = soon(&what, answer).await.unwrap();
                assert_eq!(answer.status(), 200, "{what}");
                let mut answer = answer.into_body();
                let mut got = 0;
                // Without giving its window back.
                let end = loop {
                    match soon(&what, answer.data()).await {
                        Some(Ok(data)) => got += data.len(),
                        end => break end,
                    }
                };
                assert!(matches!(end, Some(Err(_))), "{what}: an end behind {got} bytes");
            }
        }
    }
}

/// Of what comes in one piece, too.
#[tokio::test]
async fn who_reads_slowly_gets_the_whole_answer() {
    let bench = Bench::new(&[ON_CUT, CACHED].concat(), LONG).await;
    let ways = [("p/m", true), ("p/m", false), ("cut", true), ("cut", false), ("kept", false)];
    let reads =
        PATHS.iter().flat_map(|path| ways.map(|(model, streams)| Box::pin(read_slowly(&bench, path, model, streams))));
    join_all(reads).await;
}

async fn read_slowly(bench: &Bench, path: &str, model: &str, streams: bool) {
    let what = format!("{path} {model} {streams}");
    let (mut client, _served) = bench.connect().await;
    ask(&mut client, path, &bench.keys[0].1, &body(path, streams, model)).await;
    let mut got = Vec::new();
    let begun = tokio::time::Instant::now();
    let mut part = [0; 32 << 10];
    let whole = |got: &[u8]| got.ends_with(b"0\r\n\r\n") || (!streams && got.ends_with(b"}"));
    while !whole(&got) {
        let read = soon(&what, client.read(&mut part)).await.unwrap();
        assert!(read > 0, "{what}: an end behind {} bytes", got.len());
        got.extend_from_slice(&part[..read]);
        // The pace of a slow line.
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    assert!(got.len() > LARGE && begun.elapsed() > LONG, "{what}: {:?}", begun.elapsed());
}

/// A slow line: for a while it takes some bytes every now and then, and never none for as long as a client may take none.
fn slow_line(connection: TcpStream) -> DuplexStream {
    let (near, far) = duplex(SOCKET as usize);
    tokio::spawn(async move {
        let ((mut from, mut to), (mut asked, mut answered)) = (connection.into_split(), split(far));
        let sends = async { tokio::io::copy(&mut asked, &mut to).await };
        let takes = async {
            let (mut part, begun) = (vec![0; 64 << 10], tokio::time::Instant::now());
            loop {
                let read = from.read(&mut part).await?;
                if read == 0 {
                    return answered.shutdown().await;
                }
                answered.write_all(&part[..read]).await?;
                if begun.elapsed() < 4 * SLOW {
                    tokio::time::sleep(SLOW / 10).await;
                }
            }
        };
        let _ = tokio::join!(sends, takes);
    });
    near
}

/// Of sockets as they are made nothing is heard until a third is free again of the megabytes that they hold.
#[tokio::test]
async fn who_takes_a_little_all_the_time_is_waited_for() {
    let bench = Bench::new("", SLOW).await;
    let key = &bench.keys[0].1;
    let sockets = || (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    let over_http_1 = async {
        let (listener, client) = sockets();
        let (mut client, _served) = bench.connect_over(listener, client).await;
        ask(&mut client, PATHS[0], key, &body(PATHS[0], false, "p/huge")).await;
        let (mut line, mut got) = (slow_line(client), Vec::new());
        while !got.ends_with(b"}") {
            let read = soon("HTTP/1", line.read_buf(&mut got)).await.unwrap();
            assert!(read > 0, "an end behind {} bytes", got.len());
        }
        assert!(got.len() > HUGE);
    };
    let over_http_2 = async {
        let (listener, client) = sockets();
        let (client, _served) = bench.connect_over(listener, client).await;
        let mut windows = h2::client::Builder::new();
        let most = 2 * u32::try_from(HUGE).unwrap();
        windows.initial_window_size(most).initial_connection_window_size(most);
        let (mut client, connection) = windows.handshake::<_, Bytes>(slow_line(client)).await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::post(format!("http://h{}", PATHS[0])).header("authorization", format!("Bearer {key}"));
        let (answer, mut sent) = client.send_request(request.body(()).unwrap(), false).unwrap();
        sent.send_data(Bytes::from(body(PATHS[0], false, "p/huge")), true).unwrap();
        let (mut answer, mut got) = (soon("HTTP/2", answer).await.unwrap().into_body(), 0);
        while let Some(data) = soon("HTTP/2", answer.data()).await {
            got += data.unwrap_or_else(|error| panic!("{error} behind {got} bytes")).len();
        }
        assert!(got > HUGE);
    };
    tokio::join!(over_http_1, over_http_2);
}
