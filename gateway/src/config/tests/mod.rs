//! Tests of the whole configuration.

mod bad_files;
mod environment;
mod examples;
mod prices;
mod resolve;
mod robust;
mod telemetry;
mod tls;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::*;

/// An environment of a test.
#[derive(Debug, Default)]
pub(super) struct Fake {
    vars: HashMap<String, String>,
    files: HashMap<PathBuf, Vec<u8>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn with_file(mut self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.as_ref().to_owned(), content.as_ref().to_vec());
        self
    }
}

impl Environment for Fake {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
