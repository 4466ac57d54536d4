//! The recordings and hand-written cases for what they lack.

mod recordings;
