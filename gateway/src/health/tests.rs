//! Tests of the whole: sequences of verdicts, and threads.
