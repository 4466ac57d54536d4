//! Addresses that nobody serves, each in its own way. They stay taken as long as the value lives.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// An address at which every connection is refused: the port is taken, and nobody listens.
pub struct Refusing {
    _socket: TcpSocket,
    /// Where.
    pub addr: SocketAddr,
}

impl Refusing {
    /// Takes a port.
    pub fn new() -> Self {
        let socket = bound();
        let addr = socket.local_addr().expect("address");
        Refusing { _socket: socket, addr }
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

/// An address at which connecting hangs: its queue of connections is full and nobody accepts, so that the system drops
/// what else arrives.
pub struct Hanging {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
    /// Where.
    pub addr: SocketAddr,
}

impl Hanging {
    /// Fills a queue, until connecting hangs.
    pub async fn new() -> Self {
        let listener = bound().listen(1).expect("listen");
        let addr = listener.local_addr().expect("address");
        let mut queue = Vec::new();
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await {
            queue.push(connected.expect("connect"));
            assert!(queue.len() < 5000, "the queue of {addr} is never full");
        }
        Hanging { _listener: listener, _queue: queue, addr }
    }
}

fn bound() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
    socket
}
