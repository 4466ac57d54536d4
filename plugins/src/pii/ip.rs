//! Addresses of machines.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::find::{Finder, Finding, Kind, Next, at, before, is_word};

/// Longest address as text.
const LONGEST: usize = 45;

/// Finds IPv4 and IPv6 addresses, but those that say nothing of anybody: unspecified, loopback, broadcast.
#[derive(Debug)]
pub(super) struct Ip(pub Kind);

impl Finder for Ip {
    fn next(&self, text: &str, from: usize, end: bool) -> Next {
        let bytes = text.as_bytes();
        let mut here = from;
        while here < bytes.len() {
            let first = bytes.get(here).copied().unwrap_or_default();
            if !is_part(first) || first == b'.' || !begins(text, here) {
                here += 1;
                continue;
            }
            let length = bytes.iter().skip(here).take(LONGEST + 2).take_while(|byte| is_part(**byte)).count();
            if !end && here + length >= bytes.len() {
                return Next::Open(here);
            }
            let run = text.get(here..here + length).unwrap_or_default().trim_end_matches('.');
            let run = if run.ends_with("::") { run } else { run.trim_end_matches(':') };
            // 10.0.0.1:8080 is an address and a port.
            let address = match run.split_once(':') {
                Some((address, port)) if address.contains('.') && !port.contains([':', '.']) => address,
                _ => run,
            };
            let stop = here + address.len();
            if is_address(address) && !at(text, stop).is_some_and(|char| is_word(char) || char == '-') {
                return Next::Found(Finding { kind: self.0.clone(), range: here..stop });
            }
            here += length.max(1);
        }
        Next::Open(text.len())
    }
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')
}

fn begins(text: &str, here: usize) -> bool {
    !before(text, here).is_some_and(|char| is_word(char) || matches!(char, '.' | ':' | '-' | '^' | '~' | '='))
}

fn is_address(text: &str) -> bool {
    if text.contains(':') {
        return text.matches(':').count() >= 2
            && text.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified() && !address.is_loopback());
    }
    text.parse::<Ipv4Addr>().is_ok_and(|address| {
        !address.is_unspecified() && !address.is_loopback() && !address.is_broadcast() && address.octets()[0] != 0
    })
}
