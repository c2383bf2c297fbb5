//! A repository in memory: for tests, which may look at its bytes and damage them.
//!
//! Invariant: every clone is a handle on the same objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, Listed, ObjectKind, ObjectName};
use crate::error::Result;

/// Objects in memory.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    objects: Arc<Mutex<BTreeMap<ObjectName, Vec<u8>>>>,
}

impl MemoryBackend {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of all objects, sorted.
    pub fn objects(&self) -> Vec<ObjectName> {
        self.lock().keys().copied().collect()
    }

    /// A copy of everything, to compare with later.
    pub fn snapshot(&self) -> BTreeMap<ObjectName, Vec<u8>> {
        self.lock().clone()
    }

    /// Puts other bytes in the place of an object, or in a new one, as damage or an attacker would.
    pub fn replace(&self, name: &ObjectName, bytes: Vec<u8>) {
        self.lock().insert(*name, bytes);
    }

    /// Takes an object away and returns what it held.
    pub fn remove(&self, name: &ObjectName) -> Option<Vec<u8>> {
        self.lock().remove(name)
    }

    /// No call leaves the map half changed, so that a panic of another thread does not matter.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &ObjectName, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        match self.lock().get(name) {
            Some(bytes) => read(bytes),
            None => Err(super::missing(name)),
        }
    }
}

impl Backend for MemoryBackend {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let mut objects = self.lock();
        match objects.get(name) {
            Some(stored) if stored == bytes => Ok(()),
            Some(_) => Err(super::holds_other_bytes(name)),
            None => {
                objects.insert(*name, bytes.to_vec());
                Ok(())
            }
        }
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.with(name, |bytes| {
            let size = bytes.len() as u64;
            if size > limit { Err(super::too_large(name, size, limit)) } else { Ok(bytes.to_vec()) }
        })
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.with(name, |bytes| {
            let start = usize::try_from(offset).ok();
            let end = offset.checked_add(length).and_then(|end| usize::try_from(end).ok());
            start
                .zip(end)
                .and_then(|(start, end)| bytes.get(start..end))
                .map(<[u8]>::to_vec)
                .ok_or_else(|| super::too_short(name, bytes.len() as u64, offset, length))
        })
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.with(name, |bytes| Ok(bytes.len() as u64))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let objects = self.lock();
        let listed = objects.iter().filter(|(name, _)| name.kind == kind);
        Ok(listed.map(|(name, bytes)| Listed { id: name.id, size: bytes.len() as u64 }).collect())
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.lock().remove(name);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".into()
    }
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MemoryBackend({} objects)", self.lock().len())
    }
}
