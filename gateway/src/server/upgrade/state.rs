//! What one process knows that the next one must know, too: limits, health, and which provider keeps which answer.

use std::io;

use super::channel::Channel;
use super::message::Message;
use crate::limits::TellingTo;
use crate::proxy::Gateway;

/// Sends everything. What comes back is what the other process has been told of the limits so far.
///
/// # Errors
/// The other process is gone.
pub fn send(gateway: &Gateway, channel: &Channel) -> io::Result<TellingTo> {
    channel.send_list(gateway.health.save(gateway.time.instant()), |targets| Message::Health { targets })?;
    channel.send_list(gateway.continuity.stored_answers(), |answers| Message::Kept { answers })?;
    if let Some(name) = gateway.limits.instance() {
        channel.send(&Message::Instance { name })?;
    }
    // Last, as it changes most.
    let (subjects, telling) = gateway.limits.save();
    channel.send_list(subjects, |subjects| Message::Limits { subjects })?;
    let pid = std::process::id();
    channel.send_list(telling.all(), |told| Message::Told { pid, told })?;
    Ok(telling)
}

/// Takes in what is of the gateway; gives back what is not.
pub fn take(gateway: &Gateway, message: Message) -> Option<Message> {
    match message {
        Message::Health { targets } => gateway.health.load(targets, gateway.time.instant()),
        Message::Instance { name } => gateway.limits.take_over(name),
        Message::Limits { subjects } => gateway.limits.load(subjects),
        Message::Kept { answers } => gateway.continuity.remember_answers(answers),
        other => return Some(other),
    }
    None
}
