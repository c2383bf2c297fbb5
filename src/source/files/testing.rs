//! Folders of their own for tests, removed afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("strongroom-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap_or_else(|error| unreachable!("{}: {error}", path.display()));
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The standard library holds a handle a level; this goes as deep as the tests do.
        drop(Command::new("rm").arg("-rf").arg("--").arg(&self.0).status());
    }
}
