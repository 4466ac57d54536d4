//! From bytes to a component that is ready to run. Native code, or, where no memory may be made executable (systemd's
//! `MemoryDenyWriteExecute=`), wasmtime's interpreter Pulley.
//!
//! What is here for the whole process is the same for every gateway in it: the two engines, and what was compiled, by its hash, as
//! long as anybody uses it. So a reload does not compile again what did not change.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Module};

use super::instance::Inside;
use super::world::{Plugin, PluginPre};

/// How a component runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// As native code, unless no memory may be executable.
    #[default]
    Auto,
    /// As native code.
    Native,
    /// Interpreted.
    Interpreter,
}

/// A component, compiled and linked.
pub(super) struct Ready(pub(super) PluginPre<Inside>);

/// The smallest module with code in it: whoever can load that can run native code.
const PROBE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";

type Built = Result<wasmtime::Engine, String>;

/// What was compiled: its hash, whether for the interpreter, and where it is.
type Compiled = Vec<([u8; 32], bool, Weak<Ready>)>;

static NATIVE: OnceLock<Built> = OnceLock::new();
static INTERPRETER: OnceLock<Built> = OnceLock::new();
static COMPILED: Mutex<Compiled> = Mutex::new(Vec::new());

fn native() -> &'static Built {
    NATIVE.get_or_init(|| {
        let engine = engine(&mut Config::new())?;
        Module::new(&engine, PROBE).map_err(|error| format!("no native code can run here: {error:#}"))?;
        Ok(engine)
    })
}

fn interpreter() -> &'static Built {
    INTERPRETER.get_or_init(|| {
        let mut config = Config::new();
        config.target(if cfg!(target_endian = "big") { "pulley64be" } else { "pulley64" }).map_err(told)?;
        engine(&mut config)
    })
}

/// Every call has fuel; which is also where others get their turn.
fn engine(config: &mut Config) -> Built {
    config.consume_fuel(true).wasm_backtrace_max_frames(None);
    wasmtime::Engine::new(config).map_err(told)
}

/// The component in `file`, whose SHA-256 is `hash`. Compiling takes seconds for a large one.
///
/// # Errors
/// It is no component, or none of our world.
pub(super) fn load(file: &[u8], hash: [u8; 32], engine: Engine) -> Result<Arc<Ready>, String> {
    let (interpreted, engine) = match engine {
        Engine::Native => (false, native()),
        Engine::Auto if native().is_ok() => (false, native()),
        Engine::Auto | Engine::Interpreter => (true, interpreter()),
    };
    let engine = engine.as_ref().map_err(Clone::clone)?;
    let found = |compiled: &Compiled| {
        compiled.iter().find(|(other, how, _)| *other == hash && *how == interpreted)?.2.upgrade()
    };
    if let Some(ready) = found(&lock()) {
        return Ok(ready);
    }
    let how = if interpreted { "the interpreter" } else { "native code" };
    let begun = std::time::Instant::now();
    let ready = Arc::new(compile(engine, file)?);
    log::info!("plugin {}: compiled for {how} in {} ms", hex::encode(&hash[..4]), begun.elapsed().as_millis());
    let mut compiled = lock();
    compiled.retain(|(_, _, ready)| ready.strong_count() > 0);
    compiled.push((hash, interpreted, Arc::downgrade(&ready)));
    Ok(ready)
}

fn compile(engine: &wasmtime::Engine, file: &[u8]) -> Result<Ready, String> {
    let component = Component::new(engine, file).map_err(told)?;
    let mut linker = Linker::<Inside>::new(engine);
    // Toolchains bring it along whether a plugin uses it or not. What it may do is said in `instance`: nothing.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(told)?;
    Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |inside| inside).map_err(told)?;
    let linked = linker.instantiate_pre(&component).map_err(told)?;
    PluginPre::new(linked).map(Ready).map_err(told)
}

fn lock() -> MutexGuard<'static, Compiled> {
    COMPILED.lock()
}

fn told(error: wasmtime::Error) -> String {
    format!("{error:#}")
}
