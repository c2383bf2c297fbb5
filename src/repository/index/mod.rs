//! Which blob lies where: what all index objects of a repository say, searchable in bounded memory.
//!
//! Follows `format-spec/07-index.md`. One blob may lie in several packs; all places are kept. Invariant: an
//! index for a backup holds only packs that a listing showed and that no gc record condemns.
//!
//! # How it is kept
//! An index is a few sorted *runs* ([`run`]), each a function of the index objects it covers, and for each run a
//! list that says which of its packs count today: an object that a prune rewrote and a pack that is condemned or gone
//! are masked there, so that no run is rewritten for their sake. A small run lies in memory. A large one lies in
//! a file of authenticated blocks ([`blocks`]), of which memory holds eight bytes a block and the list of packs:
//! ten million chunks are 540 MB of file and some tens of MB of memory.
//!
//! *Building*: objects are read some at a time ([`read`]); what gets too much is sorted into files without a name
//! ([`gather`]), which are merged ([`merge`]).
//!
//! *Copies*: where there is a cache, a run that was some work to make is kept there, below
//! `<cache>/<repository id>/index/`; the next start reads only the objects that no copy covers. Copies grow as in a
//! log-structured merge tree: what is new is merged with copies that are less than four times as large. A small index
//! is never written down.
//!
//! *What is believed*: objects are named by the hash of their bytes and never change, so an old copy is no wrong
//! one: which of its objects and packs count is decided by today's listings. Of a copy nothing is believed that
//! its MACs do not prove. One that does not open is removed and made again; so is one where a bad block is found while it is
//! searched ([`Index::report_troubles`] tells), with the same numbers, or the command fails. `check` reads every object
//! and believes no copy.
//!
//! Blocks are read with `pread` into memory of their own, not mapped: a mapped file that somebody cuts short kills
//! the process, its bytes may change after the MAC was looked at, and measured it is not faster enough to matter.

mod blocks;
mod builder;
mod covered;
mod folders;
mod gather;
mod lookup;
mod merge;
mod read;
mod record;
mod run;
mod stream;
mod unindexed;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use super::Repository;
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::pack::Envelope;
use crate::id::Id;
use crate::report::{Finding, Reporter};

#[cfg(test)]
pub(crate) use builder::IndexBuilder;
pub(crate) use builder::publish_packs;
pub use folders::IndexFolders;
pub use read::ReadObjects;
pub(crate) use read::{read_index_object, read_listed};
pub use stream::Places;
pub(crate) use unindexed::{indexed, open_pack, read_unindexed_pack, table_of_damaged};

use covered::Covered;
use gather::Gatherer;
use record::{Digest, too_many};
use run::Run;

/// The number of a pack that does not count.
const MASKED: u32 = u32::MAX;

/// A place where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The blob's id.
    pub id: Id,
    /// The pack, by its number in [`Index::packs`].
    pub pack: u32,
    /// Where its frame starts.
    pub offset: u32,
    /// Length of its frame.
    pub stored_length: u32,
    /// Length of its plaintext.
    pub plain_length: u32,
    /// The envelope with its content key, by its number in this index.
    pub envelope: u32,
    /// What it holds.
    pub kind: BlobKind,
}

/// A pack that an index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackInfo {
    /// Its id.
    pub id: Id,
    /// Its size in bytes.
    pub size: u64,
    /// The class of its blobs.
    pub class: Class,
}

/// All that the index objects say.
#[derive(Default)]
pub struct Index {
    views: Vec<View>,
    packs: Vec<PackInfo>,
    envelopes: Vec<KnownEnvelope>,
    content_keys: Vec<OnceLock<Secret>>,
    objects: Vec<Id>,
    troubles: Mutex<Vec<Error>>,
    source: Option<Repository>,
}

/// A run and what its numbers mean in this index.
struct View {
    covered: Covered,
    /// The number of its first place.
    base: u32,
    /// For each of its packs the number in the index, or [`MASKED`].
    packs: Vec<u32>,
    /// For each of its envelopes the number in the index.
    envelopes: Vec<u32>,
    /// What stands in for the run since its file was found to be damaged, and the numbers of its envelopes.
    healed: OnceLock<(Run, Vec<u32>)>,
    healing: Mutex<()>,
}

struct KnownEnvelope {
    digest: Digest,
    view: usize,
    number: u32,
}

impl View {
    fn end(&self) -> u32 {
        self.base.saturating_add(self.covered.run.directory.places)
    }

    /// A run's place in the numbers of the index; none where its pack does not count.
    fn translate(&self, place: &Place, envelopes: &[u32]) -> Option<Place> {
        let pack = *self.packs.get(usize::try_from(place.pack).ok()?)?;
        let envelope = *envelopes.get(usize::try_from(place.envelope).ok()?)?;
        (pack != MASKED).then_some(Place { pack, envelope, ..*place })
    }
}

impl Index {
    /// An index over what was read; `usable` says which packs count.
    pub fn build(read: &ReadObjects, usable: &dyn Fn(&Id) -> bool) -> Result<Self> {
        let mut index = Self { objects: read.listed.clone(), source: read.source.clone(), ..Self::default() };
        let told = read.troubles.iter().map(|error| Error::new(error.kind(), error.chain()));
        index.troubles = Mutex::new(told.collect());
        let mut numbers = Numbers::default();
        let mut runs = read.runs.clone();
        // What is sought lies in the largest most of the time.
        runs.sort_by_key(|covered| std::cmp::Reverse(covered.run.directory.places));
        for covered in runs {
            index.add(&mut numbers, covered, usable)?;
        }
        Ok(index)
    }

    /// Adds packs that no index object names yet.
    pub(crate) fn extend(&mut self, packs: &[(IndexedPack, Vec<Envelope>)]) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let mut gatherer = Gatherer::new(IndexFolders::default().into(), Secret::new([0; 32]));
        for (pack, envelopes) in packs {
            let object = IndexObject { envelopes: envelopes.clone(), packs: vec![pack.clone()] };
            gatherer.add(Id::default(), &object)?;
        }
        let mut numbers = Numbers::of(self);
        for covered in gatherer.finish()?.0 {
            self.add(&mut numbers, covered, &|_| true)?;
        }
        Ok(())
    }

    fn add(&mut self, numbers: &mut Numbers, covered: Covered, usable: &dyn Fn(&Id) -> bool) -> Result<()> {
        let directory = &covered.run.directory;
        let mut packs = Vec::with_capacity(directory.packs.len());
        for pack in &directory.packs {
            let counts = covered.counts(pack) && usable(&pack.info.id);
            packs.push(if counts { numbers.pack(self, pack.info)? } else { MASKED });
        }
        let mut envelopes = Vec::with_capacity(directory.digests.len());
        for (digest, number) in directory.digests.iter().zip(0..) {
            envelopes.push(numbers.envelope(self, *digest, number)?);
        }
        let base = self.views.last().map_or(0, View::end);
        base.checked_add(directory.places).ok_or_else(too_many)?;
        let (healed, healing) = (OnceLock::new(), Mutex::new(()));
        self.views.push(View { covered, base, packs, envelopes, healed, healing });
        self.content_keys.resize_with(self.envelopes.len(), OnceLock::new);
        Ok(())
    }

    /// One more than the highest number that a place may have.
    pub fn numbers(&self) -> u32 {
        self.views.last().map_or(0, View::end)
    }

    /// All places with their numbers, sorted by id; those of one blob that are equal once.
    pub fn all(&self) -> Places<'_> {
        Places::new(self)
    }

    /// The packs.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The pack of a place.
    pub fn pack(&self, place: &Place) -> Result<&PackInfo> {
        usize::try_from(place.pack)
            .ok()
            .and_then(|number| self.packs.get(number))
            .ok_or_else(|| Error::corrupt("a place names a pack that is not in the index"))
    }

    /// The index objects that were listed.
    pub fn objects(&self) -> &[Id] {
        &self.objects
    }

    /// Tells what was wrong with copies of the index on this computer since this was asked last. Nothing was lost by
    /// it but time.
    pub fn report_troubles(&self, reporter: &dyn Reporter) {
        let Ok(mut troubles) = self.troubles.lock() else { return };
        for error in troubles.drain(..) {
            let cause = format!("{}; the index was read from the repository", error.chain());
            reporter.report(Finding::warning("the cache", cause));
        }
    }
}

/// What an index under construction has numbers for already.
#[derive(Default)]
struct Numbers {
    packs: HashMap<PackInfo, u32>,
    envelopes: HashMap<Digest, u32>,
}

impl Numbers {
    fn of(index: &Index) -> Self {
        let envelopes = index.envelopes.iter().map(|known| known.digest);
        Self {
            packs: index.packs.iter().copied().zip(0..).collect(),
            envelopes: envelopes.zip(0..).collect(),
        }
    }

    fn pack(&mut self, index: &mut Index, info: PackInfo) -> Result<u32> {
        if let Some(number) = self.packs.get(&info) {
            return Ok(*number);
        }
        let number = u32::try_from(index.packs.len()).ok().filter(|number| *number != MASKED);
        let number = number.ok_or_else(too_many)?;
        index.packs.push(info);
        self.packs.insert(info, number);
        Ok(number)
    }

    fn envelope(&mut self, index: &mut Index, digest: Digest, local: u32) -> Result<u32> {
        if let Some(number) = self.envelopes.get(&digest) {
            return Ok(*number);
        }
        let number = u32::try_from(index.envelopes.len()).map_err(|_| too_many())?;
        index.envelopes.push(KnownEnvelope { digest, view: index.views.len(), number: local });
        self.envelopes.insert(digest, number);
        Ok(number)
    }
}
