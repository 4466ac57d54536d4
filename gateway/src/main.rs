//! The `ai-gateway` command.

fn main() {}
