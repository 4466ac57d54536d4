//! The invariants of scan and rewrite.
