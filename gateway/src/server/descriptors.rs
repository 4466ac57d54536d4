//! How many connections and files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Two for each request that is under way, and some: with fewer than this a gateway is soon full.
const FEW: u64 = 4096;

/// Takes as many descriptors as the system grants: what it gives unasked, 1,024 in a shell, is used up by 500 streams.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return tell_if_few(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tell_if_few(maximum),
        Err(error) => {
            log::warn!("the limit of open files cannot be raised: {error}");
            tell_if_few(current);
        }
    }
}

fn tell_if_few(limit: Option<u64>) {
    if let Some(limit) = limit.filter(|limit| *limit < FEW) {
        log::warn!(
            "this process may have {limit} files and connections open, and a request takes two (`ulimit -Hn`, `LimitNOFILE=`)"
        );
    }
}
