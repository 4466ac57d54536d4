//! Sockets and names: what stands between a configuration's addresses and Pingora's listeners and peers.

pub mod call;
pub mod dns;
pub mod patience;
pub mod prebound;
pub mod unasked;
