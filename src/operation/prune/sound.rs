//! Reading what has to be whole before anything is pruned: snapshots, records of other prunes, the index.
//!
//! Invariant: what is damaged, listed and not given, or gone without having been forgotten is an error. What seems to be
//! nobody's may be what is missing.

use std::collections::HashSet;

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::index::ReadObjects;
use crate::repository::listing::left_out;
use crate::repository::reach::Lost;
use crate::repository::snapshot::Snapshots;

/// The snapshots, every one of which has to be readable: what an unreadable one needs is not known.
pub(super) fn readable_snapshots(repository: &Repository, reporter: &dyn Reporter) -> Result<Snapshots> {
    let mut listed: Vec<Id> = Vec::new();
    let list = || {
        listed.extend(repository.list_agreed(ObjectKind::Snapshot)?.into_iter().map(|listed| listed.id));
        Ok(listed.clone())
    };
    let found = repository.snapshots_listed(list)?;
    refuse_unread(repository, &listed, &found)?;
    if !found.vanished.is_empty() {
        // Whoever holds the store deleted them: what they needed is all that is left of them.
        found.vanished.iter().for_each(|vanished| reporter.report(vanished.finding()));
        let (snapshots, they) = match found.vanished.len() {
            1 => ("1 snapshot".to_owned(), "it"),
            count => (format!("{count} snapshots"), "they"),
        };
        return Err(Error::missing(format!(
            "nothing is pruned: {snapshots} vanished without having been forgotten, and what only {they} needed would go"
        ))
        .hint("bring them back from a copy of the repository, or accept the loss by `strongroom forget`"));
    }
    found.require_all_read("nothing is pruned")?;
    match found.damaged.iter().find(|(kind, ..)| *kind == ObjectKind::Snapshot) {
        None => Ok(found),
        Some((_, id, error)) => Err(Error::new(error.kind(), error.chain())
            .context(format!("nothing is pruned, for what snapshot {} needs cannot be known", id.short()))
            .hint(format!(
                "bring back snapshots/{id} from a copy of the repository, or give it up: `strongroom forget {}`",
                id.short()
            ))),
    }
}

/// A snapshot that is listed, cannot be had and is not forgotten: a reader passes over it, and a prune would delete all
/// that is left of it.
fn refuse_unread(repository: &Repository, listed: &[Id], found: &Snapshots) -> Result<()> {
    let read = found.snapshots.iter().chain(&found.forgotten).map(|snapshot| snapshot.id);
    let known: HashSet<Id> = read.chain(found.damaged.iter().map(|(_, id, _)| *id)).collect();
    for id in listed.iter().filter(|id| !known.contains(id)) {
        repository.read_forgotten(id).map_err(|_| {
            Error::missing(format!(
                "nothing is pruned: snapshots/{id} is listed, and the store does not give it"
            ))
            .hint("find out what is wrong with the store, and try again")
        })?;
    }
    Ok(())
}

/// The gc records; one that cannot be read stops a prune as it stops a backup.
pub(super) fn gc_records(repository: &Repository) -> Result<Vec<(Id, Vec<Id>)>> {
    let mut records = Vec::new();
    for listed in repository.list_agreed(ObjectKind::Gc)? {
        match repository.read_condemned(&listed.id) {
            Ok(record) => records.push((listed.id, record.packs)),
            // Its prune finished meanwhile, or the store does not give what it lists.
            Err(error) if error.kind() == ErrorKind::Missing => {
                let name = ObjectName::new(ObjectKind::Gc, listed.id);
                match repository.backend().size(&name) {
                    Err(gone) if gone.kind() == ErrorKind::Missing => {}
                    _ => return Err(error.context("another prune's record cannot be read")),
                }
            }
            Err(error) => {
                return Err(error.context("another prune's record cannot be read").hint(format!(
                    "bring back gc/{} from a copy of the repository; or, once no backup, prune or repair runs on any host, move \
                     the file away: this command then condemns anew",
                    listed.id
                )));
            }
        }
    }
    Ok(records)
}

/// The index, every object of which has to be readable: the packs of one that is not would seem to be nobody's.
pub(super) fn read_index(repository: &Repository) -> Result<ReadObjects> {
    let listed = repository.list_agreed(ObjectKind::Index)?;
    let read = ReadObjects::read(repository)?;
    if let Some((id, error)) = read.damaged.first() {
        return Err(Error::new(error.kind(), error.chain())
            .context(format!(
                "nothing is pruned, for the packs of index/{} would seem to be nobody's",
                id.short()
            ))
            .hint(error.next_step().unwrap_or("run `strongroom repair index`").to_owned()));
    }
    for listed in &listed {
        let name = ObjectName::new(ObjectKind::Index, listed.id);
        let vanished = read.listed().binary_search(&listed.id).is_err();
        match vanished.then(|| repository.backend().size(&name)) {
            None => {}
            Some(Err(error)) if error.kind() == ErrorKind::Missing => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(_)) => {
                return Err(left_out(ObjectKind::Index));
            }
        }
    }
    Ok(read)
}

pub(super) fn losses(lost: &[Lost], first: &Lost, has_unnamed: bool) -> Error {
    let trees = lost.iter().filter(|lost| lost.kind != BlobKind::Chunk).count();
    let what = format!(
        "nothing is pruned: snapshots need {} chunks and {trees} blobs of trees that are missing, such as {} {}: {}",
        lost.len().saturating_sub(trees),
        first.kind.name(),
        first.id.short(),
        first.cause.chain()
    );
    let hint = if has_unnamed {
        "some packs are in no index: run `strongroom repair index` first"
    } else {
        "`strongroom check` names what is affected; back up again to store what is still there, \
         then run `strongroom repair snapshots`"
    };
    Error::new(first.cause.kind(), what).hint(hint)
}
