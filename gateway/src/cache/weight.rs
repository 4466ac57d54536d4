//! Bytes of memory that entries and fills hold, counted where they are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// All bytes held by what is alive, whether or not it can still be found.
#[derive(Clone, Debug, Default)]
pub struct Scale(Arc<AtomicUsize>);

impl Scale {
    /// Bytes held at this moment.
    pub fn total(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts `bytes` until what is returned is dropped.
    pub fn weigh(&self, bytes: usize) -> Weight {
        let mut weight = Weight { bytes: 0, scale: self.clone() };
        weight.grow(bytes);
        weight
    }
}

/// A share of a [`Scale`], given back when dropped.
#[derive(Debug)]
pub struct Weight {
    bytes: usize,
    scale: Scale,
}

impl Weight {
    /// Counts so many more.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.scale.0.fetch_add(bytes, Relaxed);
    }

    /// Counts so many less.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.scale.0.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}
