//! What the program says to whoever started it.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on standard error. Where that cannot be written (a full disk, a terminal that is gone) only the line is lost:
/// `eprintln!` would panic, and end a gateway that can serve.
pub fn say(line: impl Display) {
    _ = writeln!(io::stderr().lock(), "{line}");
}
