//! The new process's side of an upgrade: what it takes over, and from whom.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::HANDOVER;
use super::channel::Channel;
use super::message::{Identity, Message};
use crate::server::sockets::Listening;

/// Longest silence of the old process while it hands over.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a process begins with that takes over from another one.
#[derive(Debug)]
pub struct Inheritance {
    /// From whom.
    pub predecessor: Predecessor,
    /// Listening sockets.
    pub sockets: Vec<Listening>,
}

/// The process before this one.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// Who it is.
    pub who: Identity,
}

impl Inheritance {
    /// What was left to this process; `None` if it was started by nobody who hands over. To be called once.
    ///
    /// # Errors
    /// The other process broke off.
    pub fn claim() -> io::Result<Option<Self>> {
        if std::env::var_os(HANDOVER).is_none() {
            return Ok(None);
        }
        let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?)?;
        let mut sockets = Vec::new();
        let mut who = None;
        loop {
            match channel.receive(Some(PATIENCE))? {
                None => return Err(broken_off()),
                Some((Message::Begin { from }, _)) => who = Some(from),
                Some((Message::Listener { role, configured, key }, Some(socket))) => {
                    sockets.push(Listening { role, configured, key, socket });
                }
                Some((Message::Listeners, _)) => break,
                Some(_) => {}
            }
        }
        let who = who.ok_or_else(broken_off)?;
        Ok(Some(Self { predecessor: Predecessor { channel, who }, sockets }))
    }
}

impl Predecessor {
    /// Tells it that this process cannot take over.
    pub fn tell_failure(&self, error: &dyn std::fmt::Display) {
        // If it is gone nobody needs to know.
        _ = self.channel.send(&Message::Failed { message: error.to_string() });
    }

    /// Tells it that this process can take over, and gives what it hands over to `take`.
    ///
    /// # Errors
    /// It broke off.
    pub fn take_over(&self, mut take: impl FnMut(Message)) -> io::Result<()> {
        self.channel.send(&Message::Prepared { who: Identity::own() })?;
        loop {
            match self.channel.receive(Some(PATIENCE))? {
                None => return Err(broken_off()),
                Some((Message::Go, _)) => return Ok(()),
                Some((message, _)) => take(message),
            }
        }
    }

    /// Tells it that this process serves.
    ///
    /// # Errors
    /// It is gone, which does no harm.
    pub fn tell_ready(&self) -> io::Result<()> {
        self.channel.send(&Message::Ready)
    }
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the process that should hand over has broken off")
}
