//! What one process knows that the next one must know, too: limits, health, and which provider keeps which answer.

use std::io;

use super::channel::Channel;
use super::message::Message;
use crate::limits::{Questions, TellingTo};
use crate::proxy::Gateway;

/// Sends everything, from when on the other process lets requests in. What comes back is what it has been told of the limits so
/// far, and what it is to be asked.
///
/// # Errors
/// The other process is gone.
pub fn send(gateway: &Gateway, channel: &Channel) -> io::Result<(TellingTo, Questions)> {
    channel.send_list(gateway.health.save(gateway.time.instant()), |targets| Message::Health { targets })?;
    channel.send_list(gateway.continuity.stored_answers(), |answers| Message::Kept { answers })?;
    if let Some(name) = gateway.limits.instance() {
        channel.send(&Message::Instance { name })?;
    }
    // Last, as it changes most; and what is not in it any more must not be let in here.
    let questions = gateway.limits.ask_elsewhere();
    let (subjects, telling) = gateway.limits.save();
    channel.send_list(subjects, |subjects| Message::Limits { subjects })?;
    let pid = std::process::id();
    channel.send_list(telling.all(), |told| Message::Told { pid, told })?;
    Ok((telling, questions))
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
