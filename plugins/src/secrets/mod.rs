//! `secrets`: keys and tokens in prompts and answers.

mod assigned;
mod find;
mod shapes;

pub use find::Secrets;
