//! The plugin interface of ai-gateway, and the plugins that ship with it.
//!
//! The crate holds its place in the workspace and nothing else: `[[plugins]]` is refused by the configuration as not
//! supported yet, and the trait comes with the issue that brings plugins. Nothing depends on this crate until then.
pub mod find;
pub mod pii;
pub mod secrets;
