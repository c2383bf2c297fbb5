//! Which dump of a snapshot goes into which database, and which of its files are no dumps.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::format::path;
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::interrupt::Interrupt;
use crate::report::printable;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;
use crate::source::server::target::About;

/// The dumps of a snapshot.
pub(super) fn dumps(snapshot: &Snapshot) -> &[DumpReport] {
    snapshot.manifest.dumps.as_deref().unwrap_or_default()
}

/// The dumps that a server takes, each with the name of the database that it goes into.
///
/// # Errors
/// `Refused` where there is none, or not just one for the one database that is named.
pub(super) fn choose<'s>(
    snapshot: &'s Snapshot,
    about: &About,
    named: &[String],
) -> Result<Vec<(&'s DumpReport, String)>> {
    let is_named = |dump: &&DumpReport| {
        named.is_empty() || dump.database.as_ref().is_some_and(|database| named.contains(database))
    };
    let fitting: Vec<&DumpReport> =
        dumps(snapshot).iter().filter(|dump| dump.kind == about.kind).filter(is_named).collect();
    let id = snapshot.id.short();
    if fitting.is_empty() {
        return Err(Error::refused(format!("snapshot {id} holds no such dump for {}", about.name))
            .hint(format!("it holds {}", listed(snapshot))));
    }
    if let (Some(database), [_, _, ..]) = (&about.database, fitting.as_slice()) {
        return Err(Error::refused(format!(
            "snapshot {id} holds {} databases, and the address names one: {}",
            fitting.len(),
            printable(database.as_bytes())
        ))
        .hint(format!(
            "choose one of them with --database NAME, or leave the name out of the address, so that each gets its own \
             again: {}",
            listed(snapshot)
        )));
    }
    let chosen = fitting.into_iter().map(|dump| {
        let database = about.database.clone().or_else(|| dump.database.clone());
        let database = database.ok_or_else(|| {
            Error::refused("the snapshot does not say what the database was called")
                .hint("name one in the address")
        })?;
        Ok((dump, database))
    });
    chosen.collect()
}

/// Refuses a snapshot without a dump of a server, and a name that none has.
pub(super) fn check(snapshot: &Snapshot, named: &[String]) -> Result<()> {
    if dumps(snapshot).iter().all(|dump| dump.kind == DumpKind::Command) {
        let what = format!("snapshot {} holds no dump of a server", snapshot.id.short());
        return Err(Error::refused(what).hint(
            "`strongroom restore` without --service brings files back, and with --vaultwarden a Vaultwarden that keeps its \
             database in its folder",
        ));
    }
    let has = |name: &String| dumps(snapshot).iter().any(|dump| dump.database.as_ref() == Some(name));
    let Some(unknown) = named.iter().find(|name| !has(name)) else { return Ok(()) };
    let id = snapshot.id.short();
    let unknown = printable(unknown.as_bytes());
    Err(Error::missing(format!("snapshot {id} holds no dump of a database {unknown}"))
        .hint(format!("it holds {}", listed(snapshot))))
}

/// What a snapshot holds of servers, in words.
fn listed(snapshot: &Snapshot) -> String {
    let of_servers = dumps(snapshot).iter().filter(|dump| dump.kind != DumpKind::Command);
    let places: Vec<String> = of_servers.map(|dump| format!("/{}", printable(&dump.place))).collect();
    if places.is_empty() { "no dump of a server".to_owned() } else { places.join(", ") }
}

/// The paths of a snapshot that are no dumps of servers, none of them in another.
///
/// # Errors
/// Where the tree cannot be read.
pub(super) fn files(
    reader: &BlobReader<'_>,
    snapshot: &Snapshot,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<u8>>> {
    let of_servers = dumps(snapshot).iter().filter(|dump| dump.kind != DumpKind::Command);
    let places: BTreeSet<&[u8]> = of_servers.map(|dump| dump.place.as_slice()).collect();
    let is_above = |folder: &[u8]| places.iter().any(|place| path::is_below(place, folder));
    let mut found = Vec::new();
    let mut tree = TreeReader::new(reader, snapshot.root());
    while let Some(entry) = tree.next_entry()? {
        interrupt.check()?;
        if entry.path.is_empty() || places.contains(entry.path.as_slice()) {
            continue;
        }
        if entry.node.kind == NodeKind::Directory {
            if is_above(&entry.path) {
                continue;
            }
            tree.skip_below(&entry.path)?;
        }
        found.push(entry.path);
    }
    Ok(found)
}
