//! `use = "wasm"`: a plugin that is a WebAssembly component, in any language that compiles to one. It gets the hooks of
//! [`Plugin`](crate::Plugin) through the world in `plugins/wit/plugin.wit`, and reaches nothing but the gateway's log.
//!
//! ```toml
//! [[plugins]]
//! use = "wasm"
//! path = "plugins/codename.wasm"     # a local file
//! sha256 = "9f86d0…"                 # of that file; another one is not loaded
//! fuel = 1000000000                  # instructions of one call, about
//! memory = "64MiB"                   # of one request
//! engine = "auto"                    # "native", "interpreter"; auto: native code where memory may be executable
//! settings = { word = "falcon" }     # the plugin's own, which it gets as JSON
//! ```
//!
//! Every request has an instance of its own, from its first hook to its end: a trap, an endless loop or a flood of memory ends that
//! instance and is a failure of the plugin in that request. Behind the Cargo feature `wasm`, which is off by default.
//!
//! | file | what |
//! |---|---|
//! | `settings` | from `[[plugins]]` to a plugin |
//! | `engine` | native code or interpreter; each component is compiled once |
//! | `instance` | one component at work for one request, within its limits |
//! | `slot` | the instance of an exchange, from hook to hook |
//! | `at_once` | what may have to wait, from hooks that cannot |
//! | `hooks` | the plugin itself |
//! | `view`, `apply` | from our views to the world's records, and back from what it changed |

#[cfg(feature = "wasm")]
mod apply;
#[cfg(any(feature = "wasm", test))]
mod at_once;
#[cfg(feature = "wasm")]
mod engine;
#[cfg(feature = "wasm")]
mod hooks;
#[cfg(feature = "wasm")]
mod instance;
#[cfg(feature = "wasm")]
mod settings;
#[cfg(feature = "wasm")]
mod slot;
#[cfg(feature = "wasm")]
mod view;

use crate::Kind;

/// `use = "wasm"`.
#[cfg(feature = "wasm")]
pub(crate) const PLUGIN: Kind = Kind::new("wasm", settings::build);

/// `use = "wasm"`, where it was left out.
#[cfg(not(feature = "wasm"))]
pub(crate) const PLUGIN: Kind = Kind::new("wasm", |_| {
    let error = crate::SettingsError::new("this gateway was built without plugins in WebAssembly");
    Err(error.help("build it with them: cargo build --release -p ai-gateway --features wasm"))
});

/// The world, as Rust.
#[cfg(feature = "wasm")]
mod world {
    wasmtime::component::bindgen!({ path: "wit", world: "plugin", exports: { default: async } });

    pub(super) use ai_gateway::plugin::log::{self, Level};
    pub(super) use ai_gateway::plugin::types;
    pub(super) use ai_gateway::plugin::types::*;
}

#[cfg(test)]
#[cfg(not(feature = "wasm"))]
mod tests {
    use crate::Settings;

    #[test]
    fn without_the_feature_it_says_how_to_build() {
        let Err(error) = super::PLUGIN.build(&Settings::of("path = 'a.wasm'")) else { panic!("it was built") };
        assert!(error.to_string().contains("--features wasm"), "{error}");
    }
}
