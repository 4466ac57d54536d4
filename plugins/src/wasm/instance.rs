//! One component at work for one request.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, Trap};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::engine::Ready;
use super::world::{Decision, Event, Exchange, Level, Needs, Plugin, log, types};
use crate::Failure;

/// After so many instructions others get their turn.
const TURN: u64 = 50_000;
/// Entries of all tables of an instance, lines in the log of one request, and bytes of a line, at most.
const MOST_TABLE: usize = 200_000;
const MOST_LINES: usize = 16;
const MOST_LINE: usize = 512;

/// What an instance may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Instructions of one call, about.
    pub(super) fuel: u64,
    /// Bytes of memory.
    pub(super) memory: usize,
    /// Of one call.
    pub(super) time: Duration,
}

/// Whose instance it is, for the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner {
    pub(super) request: Arc<str>,
    pub(super) plugin: Arc<str>,
}

/// An instance that was started.
pub(super) struct Instance {
    store: Store<Inside>,
    plugin: Plugin,
    fuel: u64,
}

/// What is around a component: a WASI without files, network, environment, input and output, and how much of what it has.
pub(super) struct Inside {
    wasi: WasiCtx,
    table: ResourceTable,
    memory: usize,
    tables: usize,
    most_memory: usize,
    flooded: bool,
    lines: usize,
    owner: Owner,
}

impl Instance {
    /// Makes one and starts it. Gives back what it says that it needs.
    ///
    /// # Errors
    /// It cannot, or does not want to with these settings.
    pub(super) async fn start(
        ready: &Ready,
        limits: Limits,
        owner: Owner,
        settings: &str,
        exchange: Option<&Exchange>,
    ) -> Result<(Self, Needs), Failure> {
        let wasi = WasiCtx::builder().allow_tcp(false).allow_udp(false).max_random_size(1 << 16).build();
        let inside = Inside {
            wasi,
            table: ResourceTable::new(),
            memory: 0,
            tables: 0,
            most_memory: limits.memory,
            flooded: false,
            lines: 0,
            owner,
        };
        let mut store = Store::new(ready.0.engine(), inside);
        store.limiter(|inside| inside);
        store.set_hostcall_fuel(limits.memory);
        fuel(&mut store, limits.fuel)?;
        let made = ready.0.instantiate_async(&mut store).await;
        let plugin = made.map_err(|error| why(&error, store.data()))?;
        fuel(&mut store, limits.fuel)?;
        let started = plugin.call_start(&mut store, settings, exchange).await;
        let needs = started.map_err(|error| why(&error, store.data()))?.map_err(|told| said(&told))?;
        Ok((Self { store, plugin, fuel: limits.fuel }, needs))
    }

    /// Tells it of an event. It is of no use any more after an outer error; the inner one is what it says itself.
    ///
    /// # Errors
    /// It broke off.
    pub(super) async fn handle(&mut self, event: &Event) -> Result<Result<Decision, Failure>, Failure> {
        fuel(&mut self.store, self.fuel)?;
        let handled = self.plugin.call_handle(&mut self.store, event).await;
        let handled = handled.map_err(|error| why(&error, self.store.data()))?;
        Ok(handled.map_err(|told| said(&told)))
    }
}

fn fuel(store: &mut Store<Inside>, fuel: u64) -> Result<(), Failure> {
    let filled = store.set_fuel(fuel).and_then(|()| store.fuel_async_yield_interval(Some(TURN)));
    filled.map_err(|error| error.to_string().into())
}

/// Why it broke off: never in the words of the component.
fn why(error: &wasmtime::Error, inside: &Inside) -> Failure {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => "it ran out of `fuel`".into(),
        _ if inside.flooded => "it wanted more than its `memory`".into(),
        Some(trap) => format!("it broke off: {trap}").into(),
        None => format!("it broke off: {}", line(&error.root_cause().to_string())).into(),
    }
}

fn said(told: &str) -> Failure {
    format!("it says: {}", line(told)).into()
}

/// One line, not too long.
fn line(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MOST_LINE)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl WasiView for Inside {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Inside {}

impl log::Host for Inside {
    fn write(&mut self, level: Level, message: String) {
        if self.lines >= MOST_LINES {
            return;
        }
        self.lines += 1;
        let level = match level {
            Level::Debug => ::log::Level::Debug,
            Level::Info => ::log::Level::Info,
            Level::Warn => ::log::Level::Warn,
            Level::Error => ::log::Level::Error,
        };
        let Owner { request, plugin } = &self.owner;
        ::log::log!(level, "request {request}: plugin {plugin} says: {}", line(&message));
    }
}

/// Counts all memories of an instance together.
impl ResourceLimiter for Inside {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.most_memory {
            self.flooded = true;
            return Ok(false);
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let tables = self.tables.saturating_add(desired.saturating_sub(current));
        if tables > MOST_TABLE {
            return Ok(false);
        }
        self.tables = tables;
        Ok(true)
    }
}
