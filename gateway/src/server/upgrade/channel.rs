//! The socket between a process and the one that takes over from it.
//!
//! A pair of Unix sockets with message boundaries (`SOCK_SEQPACKET`): a message arrives whole or not at all, so either end can
//! pass to yet another process between two messages. Descriptors travel along (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;

use super::message::{Message, batches};

/// Bytes of the largest message; lists are cut so that they stay far below ([`Channel::send_list`]).
const LARGEST: usize = 256 << 10;
/// Bytes that may be under way; the system may give less, but at least its own default, which is enough for one message.
const BUFFER: usize = 4 << 20;
/// Longest wait for the other side to take a message.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// One end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    /// The end that `socket` is.
    ///
    /// # Errors
    /// It is no socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        // What the system does not allow it cuts itself.
        set_socket_send_buffer_size(&socket, BUFFER)?;
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_PATIENCE))?;
        Ok(Self { socket })
    }

    /// The socket, for another process.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// The socket itself.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other side is gone, or takes nothing.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a list in as many messages as it takes.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub fn send_list<T: Serialize>(&self, list: Vec<T>, message: impl Fn(Vec<T>) -> Message) -> io::Result<()> {
        batches(list)?.into_iter().try_for_each(|batch| self.send(&message(batch)))
    }

    /// Sends a message with a descriptor, which stays open here.
    ///
    /// # Errors
    /// As of [`Self::send`].
    pub fn send_socket(&self, message: &Message, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send_with(message, &[socket])
    }

    fn send_with(&self, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            match sendmsg(self.socket.as_fd(), &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message, with the descriptor that came along; `None`: the other side is gone.
    ///
    /// # Errors
    /// Nothing came within `limit` ([`io::ErrorKind::WouldBlock`]), or something that is no message.
    pub fn receive(&self, limit: Option<Duration>) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        // The system takes none of no length for one without end.
        let limit = limit.map(|limit| limit.max(Duration::from_millis(1)));
        set_socket_timeout(&self.socket, Timeout::Recv, limit)?;
        let mut bytes = vec![0; LARGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(self.socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let mut sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let socket = sockets.next().and_then(|mut sockets| sockets.next());
        if got.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the other process is too long"));
        }
        match bytes.get(..got.bytes) {
            None | Some([]) => Ok(None),
            Some(bytes) => Ok(Some((serde_json::from_slice(bytes)?, socket))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn messages_and_sockets_arrive_whole_and_an_end_is_told() {
        let (a, b) = Channel::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        a.send(&Message::Go).unwrap();
        a.send_socket(&Message::Failed { message: "x".repeat(100_000) }, listener.as_fd()).unwrap();
        drop((a, listener));
        assert!(matches!(b.receive(None).unwrap(), Some((Message::Go, None))));
        let (message, socket) = b.receive(None).unwrap().unwrap();
        assert!(matches!(message, Message::Failed { message } if message.len() == 100_000));
        let mut client = TcpStream::connect(addr).unwrap();
        drop(TcpListener::from(socket.unwrap()).accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(b.receive(None).unwrap().is_none());
    }

    #[test]
    fn what_a_later_version_says_is_passed_over_and_silence_ends() {
        let (a, b) = Channel::pair().unwrap();
        let text = br#"{"is":"something_new","of":[1]}"#;
        let mut none = SendAncillaryBuffer::default();
        sendmsg(a.socket.as_fd(), &[IoSlice::new(text)], &mut none, SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(b.receive(None).unwrap(), Some((Message::Unknown, None))));
        assert_eq!(b.receive(Some(Duration::ZERO)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
