//! Check without any key, for whoever runs the store: are the objects the ones that were put there?
//!
//! Packs, index objects, records of prunes and key slots are named by the hash of their bytes, so that any damage to them
//! shows. Of the others only what stands in the clear is looked at: header, version, size. What this cannot see: bits
//! flipped in a snapshot, a session or a mark behind its header, objects deleted or put back, and whether any of it was
//! written by somebody who held a key.
//!
//! Invariant: memory holds a piece of each object that is being read, never all of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::subset::{Subset, choose};
use crate::backend::{Backend, Listed, ObjectKind, ObjectName};
use crate::crypto::derive::Hasher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::config;
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::format::pack::TRAILER_LEN;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::report::{Damage, Finding, Reporter};

/// Bytes that are read and hashed at once.
const PIECE: u64 = 4 << 20;
/// What a seal adds to what it covers: salt and tag.
const SEAL_LEN: u64 = 48;
/// What follows the header of a mark at the least.
const LEAST_SEALED: u64 = HEADER_LEN as u64 + SEAL_LEN;

/// What a check without a key came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Objects looked at.
    pub objects: u64,
    /// Packs listed.
    pub packs: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// What is wrong.
    pub problems: u64,
    /// Objects that are damaged.
    pub damaged: Vec<String>,
}

/// Checks what can be checked without a key; reads such packs as `subset` says, and everything else whole.
///
/// # Errors
/// Where the store cannot be listed; what cannot be read is a finding.
pub fn run(
    backend: &dyn Backend,
    subset: Subset,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let mut objects: Vec<(ObjectName, u64, bool)> = Vec::new();
    let mut summary = Summary::default();
    for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
        let listed = backend.list(kind)?;
        let read =
            if kind == ObjectKind::Pack { packs_to_read(&listed, subset, &mut summary)? } else { Vec::new() };
        objects.extend(listed.iter().map(|object| {
            let reads = kind != ObjectKind::Pack || read.binary_search(&object.id).is_ok();
            (ObjectName::new(kind, object.id), object.size, reads)
        }));
    }
    let size = backend.size(&ObjectName::CONFIG)?;
    objects.push((ObjectName::CONFIG, size, true));
    let total =
        objects.iter().filter(|(.., reads)| *reads).fold(0u64, |sum, (_, size, _)| sum.saturating_add(*size));
    reporter.progress().set_stage("holding names against contents");
    reporter.progress().set_total(objects.len() as u64, total);
    let bytes = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let failed = || Error::refused("another thread failed while it read an object");
    objects.par_iter().try_for_each(|(name, size, reads)| {
        interrupt.check()?;
        let one = One { backend, name, size: *size, reporter, interrupt, bytes: &bytes };
        let looked = one.look(*reads);
        reporter.progress().add_files(1);
        match looked {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) if error.kind() == ErrorKind::Missing && one.is_gone() => Ok(()),
            Err(error) => {
                wrong.lock().map_err(|_| failed())?.push((*name, error));
                Ok(())
            }
        }
    })?;
    let mut wrong = wrong.into_inner().map_err(|_| failed())?;
    wrong.sort_by_key(|(name, _)| *name);
    summary.objects = objects.len() as u64;
    summary.bytes_read = bytes.into_inner();
    summary.problems = wrong.len() as u64;
    for (name, error) in wrong {
        tell(&name, &error, reporter);
        summary.damaged.push(name.path());
    }
    Ok(summary)
}

fn packs_to_read(listed: &[Listed], subset: Subset, summary: &mut Summary) -> Result<Vec<Id>> {
    let packs: Vec<(Id, u64)> = listed.iter().map(|pack| (pack.id, pack.size)).collect();
    let mut read = choose(subset, &packs, None, 0)?;
    read.sort_unstable();
    summary.packs = packs.len() as u64;
    summary.packs_read = read.len() as u64;
    summary.bytes = packs.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
    Ok(read)
}

fn tell(name: &ObjectName, error: &Error, reporter: &dyn Reporter) {
    let finding = Finding::problem(name.path(), error.chain()).with_hint(match error.next_step() {
        Some(step) => step.to_owned(),
        None => format!(
            "bring {name} back from a copy of the repository; whoever has a key learns by `strongroom check --read-data` what \
             suffers and what mends it"
        ),
    });
    let damage = Damage { object: name.path(), kind: kind_name(name.kind), ..Damage::default() };
    reporter.report_damage(finding, &damage);
}

fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Config => "config",
        ObjectKind::Key => "key",
        ObjectKind::Pack => "pack",
        ObjectKind::Index => "index",
        ObjectKind::Snapshot => "snapshot",
        ObjectKind::Abandoned => "abandoned",
        ObjectKind::Forgotten => "forgotten",
        ObjectKind::Session => "session",
        ObjectKind::Gc => "gc",
    }
}

/// What is known of a kind without a key: its header, its least and its greatest size, and whether its name is the hash
/// of its bytes.
fn known(kind: ObjectKind) -> (HeaderKind, u64, u64, bool) {
    const HEAD: u64 = HEADER_LEN as u64;
    let small = limits::SMALL_OBJECT_MAX;
    match kind {
        ObjectKind::Config => (HeaderKind::Config, HEAD, small, false),
        ObjectKind::Key => (HeaderKind::Key, HEAD, small, true),
        ObjectKind::Pack => {
            (HeaderKind::Pack, LEAST_SEALED.saturating_add(TRAILER_LEN as u64), limits::PACK_MAX, true)
        }
        ObjectKind::Index => (HeaderKind::Index, LEAST_SEALED, limits::INDEX_MAX, true),
        ObjectKind::Snapshot => (HeaderKind::Snapshot, LEAST_SEALED, limits::SNAPSHOT_MAX, false),
        ObjectKind::Abandoned => (HeaderKind::Abandoned, LEAST_SEALED, small, false),
        ObjectKind::Forgotten => (HeaderKind::Forgotten, LEAST_SEALED, small, false),
        ObjectKind::Session => (HeaderKind::Session, LEAST_SEALED, small, false),
        ObjectKind::Gc => (HeaderKind::Gc, LEAST_SEALED, limits::GC_MAX, true),
    }
}

struct One<'a> {
    backend: &'a dyn Backend,
    name: &'a ObjectName,
    size: u64,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    bytes: &'a AtomicU64,
}

impl One<'_> {
    /// Whether it went, by a prune, since it was listed.
    fn is_gone(&self) -> bool {
        self.backend.size(self.name).is_err_and(|error| error.kind() == ErrorKind::Missing)
    }

    fn look(&self, reads: bool) -> Result<()> {
        let (header, least, most, by_hash) = known(self.name.kind);
        if self.size == 0 {
            return Err(Error::corrupt("it is empty"));
        }
        if self.size < least {
            return Err(Error::corrupt(format!(
                "it has {} bytes, less than any {} can have",
                self.size,
                header.name()
            )));
        }
        if self.size > most {
            return Err(Error::corrupt(format!(
                "it has {} bytes, more than any {} may have",
                self.size,
                header.name()
            )));
        }
        let start = self.backend.get_range(self.name, 0, HEADER_LEN as u64)?;
        header::strip(header, &start)?;
        if self.name.kind == ObjectKind::Config {
            let bytes = self.backend.get(self.name, most)?;
            self.count(bytes.len() as u64);
            return config::decode(&bytes).map(|_| ());
        }
        if !reads {
            return Ok(());
        }
        let mut hasher = Hasher::new();
        let mut offset = 0u64;
        while offset < self.size {
            self.interrupt.check()?;
            let length = PIECE.min(self.size.saturating_sub(offset));
            hasher.update(&self.backend.get_range(self.name, offset, length)?);
            self.count(length);
            offset = offset.saturating_add(length);
        }
        if by_hash && hasher.id() != self.name.id {
            return Err(Error::corrupt("its bytes are not the ones its name says"));
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.reporter.progress().add_bytes(bytes);
    }
}
