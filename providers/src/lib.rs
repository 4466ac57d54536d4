//! Wire formats and upstream accounts of generative-AI providers.

pub mod answer;
pub mod dialect;
pub mod error;
pub mod sse;
pub mod usage;

pub use answer::{AnswerForm, Observer, Seen};
pub use dialect::{Dialect, Operation};
pub use error::{ApiError, ErrorKind, Fault};
pub use usage::Usage;
