//! What snapshots lose, sorted by the object that is to blame.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Bad;
use super::suffer::{Loss, Place, Sufferers, is_trouble};
use super::tree::first_fault;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Hurt, PathRange};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::Root;

/// So many paths are named in all; the rest is counted.
const NAMED_MAX: usize = 1 << 20;

/// Where what is lost lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// In this pack, which is damaged or missing.
    Pack(Id),
    /// In whole packs that no index object names.
    Unnamed,
    /// In condemned packs that no index object names.
    Condemned,
    /// In no pack that is known.
    Nowhere,
}

/// Something that is wrong with a tree itself.
#[derive(Debug)]
pub(super) struct TreeFault {
    pub(super) hurt: Hurt,
    pub(super) error: Error,
}

/// What is lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// By holder, whom it hurts.
    pub(super) hurts: BTreeMap<Holder, Vec<Hurt>>,
    /// Trees that are not what they must be.
    pub(super) faults: Vec<TreeFault>,
    /// Snapshots that suffer.
    pub(super) suffering: BTreeSet<Id>,
    /// Files and stretches of distinct trees that are hurt.
    pub(super) places: u64,
    named: usize,
}

/// What two groups of snapshots have in common that suffer alike: files, stretches, and what is beyond them.
type Same = (Vec<Vec<u8>>, Vec<PathRange>, u64);

/// What to look at.
pub(super) struct Look<'a> {
    /// Reads by what the index objects say.
    pub(super) reader: &'a BlobReader<'a>,
    /// Reads by what unnamed packs say, too.
    pub(super) wide: Option<&'a BlobReader<'a>>,
    /// Packs that no index object names, condemned ones included.
    pub(super) unnamed: &'a HashSet<Id>,
    /// Those of them that are condemned.
    pub(super) condemned: &'a HashSet<Id>,
    /// Blobs that a reader finds and of which no copy is whole.
    pub(super) bad: &'a Bad,
    pub(super) interrupt: &'a Interrupt,
}

impl Look<'_> {
    /// Goes through the trees of all snapshots; those of snapshots that are alike once.
    pub(super) fn losses(&self, snapshots: &[Snapshot]) -> Result<Losses> {
        let mut checked = HashMap::new();
        let mut alike: HashMap<Id, Vec<Id>> = HashMap::new();
        for snapshot in snapshots {
            alike.entry(snapshot.root().id).or_default().push(snapshot.id);
        }
        let mut losses = Losses::default();
        let mut suffer: Vec<(Root, Vec<Id>, Error)> = Vec::new();
        for snapshot in snapshots {
            let root = snapshot.root();
            let Some(ids) = alike.remove(&root.id) else { continue };
            let fault = first_fault(self.reader, root, self.bad, &mut checked, self.interrupt)?;
            suffer.extend(fault.map(|fault| (root, ids, fault)));
        }
        drop(checked);
        if suffer.is_empty() {
            return Ok(losses);
        }
        let reader = self.wide.unwrap_or(self.reader);
        let mut sufferers = Sufferers::new(reader, self.unnamed, self.bad, self.interrupt)?;
        for (root, ids, fault) in suffer {
            losses.add_tree(&mut sufferers, self.condemned, root, &ids, fault)?;
        }
        losses.merge();
        Ok(losses)
    }
}

impl Losses {
    fn add_tree(
        &mut self,
        sufferers: &mut Sufferers<'_>,
        condemned: &HashSet<Id>,
        root: Root,
        ids: &[Id],
        fault: Error,
    ) -> Result<()> {
        self.suffering.extend(ids);
        let mut found: Vec<Loss> = Vec::new();
        let mut more = 0u64;
        let room = NAMED_MAX.saturating_sub(self.named);
        let walked = sufferers.tree(root, &mut |loss| {
            if found.len() < room {
                found.push(loss);
            } else {
                more = more.saturating_add(1);
            }
            Ok(())
        });
        self.named = self.named.saturating_add(found.len());
        self.places = self.places.saturating_add(more).saturating_add(found.len() as u64);
        let mut faulty: Option<TreeFault> = None;
        let mut by_holder: BTreeMap<Holder, Hurt> = BTreeMap::new();
        let hurt = || Hurt { snapshots: ids.to_vec(), more, ..Hurt::default() };
        for loss in &found {
            for holder in holders(sufferers, condemned, loss)? {
                add(by_holder.entry(holder).or_insert_with(hurt), &loss.place);
            }
            if let Some(cause) = &loss.fault {
                let error = || Error::corrupt(cause.clone());
                add(
                    &mut faulty.get_or_insert_with(|| TreeFault { hurt: hurt(), error: error() }).hurt,
                    &loss.place,
                );
            }
        }
        match walked {
            Ok(()) => {}
            Err(error) if is_trouble(&error) && error.kind() != crate::error::ErrorKind::Interrupted => {
                faulty = faulty.or(Some(TreeFault { hurt: hurt(), error }));
            }
            Err(error) => return Err(error),
        }
        if found.is_empty() && faulty.is_none() {
            self.places = self.places.saturating_add(1);
            let mut whole = hurt();
            whole.ranges.push(PathRange::default());
            faulty = Some(TreeFault { hurt: whole, error: fault });
        }
        self.faults.extend(faulty);
        for (holder, hurt) in by_holder {
            self.hurts.entry(holder).or_default().push(hurt);
        }
        Ok(())
    }

    /// Puts together what hurts several snapshots alike.
    fn merge(&mut self) {
        for hurts in self.hurts.values_mut() {
            let mut merged: Vec<Hurt> = Vec::new();
            let mut places: HashMap<Same, usize> = HashMap::new();
            for hurt in std::mem::take(hurts) {
                let key = (hurt.files, hurt.ranges, hurt.more);
                if let Some(same) = places.get(&key).and_then(|place| merged.get_mut(*place)) {
                    same.snapshots.extend(hurt.snapshots);
                    continue;
                }
                let (files, ranges, more) = key.clone();
                places.insert(key, merged.len());
                merged.push(Hurt { snapshots: hurt.snapshots, files, ranges, more });
            }
            *hurts = merged;
        }
    }
}

/// Where the blobs lay that something lacks.
fn holders(sufferers: &Sufferers<'_>, condemned: &HashSet<Id>, loss: &Loss) -> Result<BTreeSet<Holder>> {
    let mut holders = BTreeSet::new();
    for blob in &loss.blobs {
        let mut packs = sufferers.packs(blob)?;
        if sufferers.is_lost(blob) {
            // From a condemned pack nobody gets what is damaged there.
            packs.retain(|pack| !condemned.contains(pack));
        }
        if packs.is_empty() {
            holders.insert(Holder::Nowhere);
        }
        let holder = |pack: &Id| match (condemned.contains(pack), sufferers.is_unnamed_pack(pack)) {
            (true, _) => Holder::Condemned,
            (false, true) => Holder::Unnamed,
            (false, false) => Holder::Pack(*pack),
        };
        holders.extend(packs.iter().map(holder));
    }
    Ok(holders)
}

fn add(hurt: &mut Hurt, place: &Place) {
    match place {
        Place::File(path) => hurt.files.push(path.clone()),
        Place::Range(range) => hurt.ranges.push(range.clone()),
    }
}
