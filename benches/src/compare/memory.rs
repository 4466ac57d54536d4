//! What a proxy holds in memory: idle, and with many streams open. Always in a fresh process.

use std::time::Duration;

use super::{Ask, Effort, Target};
use crate::{
    Result,
    load::{HeldStreams, Load},
    process::Memory,
};

/// Resident memory of one process through its life, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct MemoryUse {
    /// After the start, before any request.
    pub idle: Memory,
    /// With the streams open.
    pub streaming: Memory,
    /// `streaming` less what was resident just before the streams were opened, per stream.
    pub per_stream: f64,
}

/// Connections and time of the requests that touch every part of the program once, before the base is read.
const WARM_UP: (usize, Duration) = (8, Duration::from_millis(300));

impl MemoryUse {
    /// Measures `target`, which has just been started.
    pub async fn of(target: &Target, effort: &Effort) -> Result<Self> {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let idle = Memory::of(target.pid())?;
        let (connections, length) = WARM_UP;
        let request = target.request(Ask::Burst);
        let warm_up = Load { address: target.address(), request, connections, length, rate: None }.run().await?;
        if let Some(error) = warm_up.first_error {
            return Err(target.explain(&error).into());
        }
        let base = Memory::of(target.pid())?;
        let held = HeldStreams::open(target.address(), target.request(Ask::Held), effort.held).await;
        let held = held.map_err(|error| target.explain(&error.to_string()))?;
        tokio::time::sleep(effort.hold).await;
        let streaming = Memory::of(target.pid())?;
        held.close().await?;
        let grown = streaming.resident.saturating_sub(base.resident);
        Ok(Self { idle, streaming, per_stream: grown as f64 / effort.held as f64 })
    }
}
