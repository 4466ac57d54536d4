//! What the gateway needs of the network beside Pingora: name resolution ([`dns`]).

pub mod dns;
