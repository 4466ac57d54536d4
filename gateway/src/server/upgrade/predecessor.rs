//! The new process's side of an upgrade: what it takes over, and from whom.

use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use super::channel::Channel;
use super::message::{Identity, Message};
use super::{HANDOVER, Invocation, Lineage, START, TAKE_OVER, state};
use crate::limits::{Held, TellingTo};
use crate::proxy::Gateway;
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
    /// What it has told of limits.
    told: TellingTo,
    /// The ones before it that live still.
    others: Vec<Other>,
}

/// A process before that one.
#[derive(Debug)]
struct Other {
    who: Identity,
    channel: Channel,
    told: TellingTo,
    held: Vec<Held>,
}

impl Inheritance {
    /// What was left to this process; `None` if it was started by nobody who hands over. To be called once. Does not return if
    /// the process is to start another one, as `invocation` says, in its place.
    ///
    /// # Errors
    /// The other process broke off, or no process can be started.
    pub fn claim(invocation: &Invocation) -> io::Result<Option<Self>> {
        let Some(wanted) = std::env::var_os(HANDOVER) else { return Ok(None) };
        let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?)?;
        if wanted == START {
            let Invocation { program, arguments, .. } = invocation;
            let started = Command::new(program).args(arguments).env(HANDOVER, TAKE_OVER).spawn()?;
            channel.send(&Message::Started { pid: started.id() })?;
            std::process::exit(0);
        }
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
        Ok(Some(Self {
            predecessor: Predecessor { channel, who, told: TellingTo::default(), others: Vec::new() },
            sockets,
        }))
    }
}

impl Predecessor {
    /// Tells it that this process cannot take over.
    pub fn tell_failure(&self, error: &dyn std::fmt::Display) {
        // If it is gone nobody needs to know.
        _ = self.channel.send(&Message::Failed { message: error.to_string() });
    }

    /// Tells it that this process can take over, and takes in what it hands over.
    ///
    /// # Errors
    /// It broke off.
    pub fn take_over(&mut self, gateway: &Gateway) -> io::Result<()> {
        self.channel.send(&Message::Prepared { who: Identity::own() })?;
        loop {
            let Some((message, socket)) = self.channel.receive(Some(PATIENCE))? else { return Err(broken_off()) };
            match (state::take(gateway, message), socket) {
                (Some(Message::Go), _) => return Ok(()),
                (Some(Message::Predecessor { who }), Some(socket)) => {
                    let channel = Channel::new(socket)?;
                    self.others.push(Other { who, channel, told: TellingTo::default(), held: Vec::new() });
                }
                (Some(Message::Told { pid, told }), _) if pid == self.who.pid => self.told.extend(told),
                (Some(Message::Told { pid, told }), _) => {
                    if let Some(other) = self.other(pid) {
                        other.told.extend(told);
                    }
                }
                (Some(Message::Holds { pid, held }), _) => {
                    if let Some(other) = self.other(pid) {
                        other.held.extend(held);
                    }
                }
                _ => {}
            }
        }
    }

    fn other(&mut self, pid: u32) -> Option<&mut Other> {
        self.others.iter_mut().find(|other| other.who.pid == pid)
    }

    /// Tells it that this process serves, and listens to what it tells until it ends.
    ///
    /// # Errors
    /// It is gone, which does no harm.
    pub fn tell_ready(self, lineage: &Lineage) -> io::Result<()> {
        for Other { who, channel, told, held } in self.others {
            lineage.follow(who, channel, told, held);
        }
        let told = self.channel.send(&Message::Ready);
        lineage.follow(self.who, self.channel, self.told, Vec::new());
        told
    }
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the process that should hand over has broken off")
}
