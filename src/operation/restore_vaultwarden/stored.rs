//! What a snapshot holds of a Vaultwarden, and what its backup said about it.

use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::format::snapshot::{DatabaseReport, ServiceReport};
use crate::interrupt::Interrupt;
use crate::report::printable;
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{TreeReader, lookup};
use crate::service::vaultwarden::DATABASE_PLACE;

/// The name of the service in a manifest.
const SERVICE: &str = "vaultwarden";

/// A Vaultwarden in a snapshot.
pub(super) struct Stored<'a> {
    /// The folder that it is in.
    pub(super) place: &'a [u8],
    /// Its database.
    pub(super) database: Node,
    /// Whether the snapshot knows mode and owner of the folder itself.
    pub(super) knows_top: bool,
    /// The proof of its backup, where it was backed up as a Vaultwarden.
    pub(super) report: Option<&'a ServiceReport>,
    /// How its database was taken.
    pub(super) taken: Option<&'a DatabaseReport>,
    /// What lies directly in it.
    pub(super) top_names: Vec<Vec<u8>>,
    /// Files in it.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl<'a> Stored<'a> {
    /// Looks for one in a folder of a snapshot.
    ///
    /// # Errors
    /// `Refused` where there is none.
    pub(super) fn find(
        repository: &Repository,
        reader: &BlobReader<'_>,
        snapshot: &'a Snapshot,
        place: &'a [u8],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut wanted = place.to_vec();
        path::push(&mut wanted, DATABASE_PLACE.as_bytes());
        let database = lookup(reader, snapshot.root(), &wanted)?.filter(|node| node.kind == NodeKind::File);
        let Some(database) = database else { return Err(none_here(repository, snapshot, place)) };
        let manifest = &snapshot.manifest;
        let (mut files, mut bytes) = (0u64, 0u64);
        let mut top_names = Vec::new();
        let mut tree = TreeReader::below(reader, snapshot.root(), place);
        while let Some(entry) = tree.next_entry()? {
            interrupt.check()?;
            if path::parent(&entry.path).unwrap_or_default() == place && entry.path != place {
                top_names.push(path::name(&entry.path).to_vec());
            }
            if entry.node.kind == NodeKind::File {
                files = files.saturating_add(1);
                bytes = bytes.saturating_add(entry.node.size);
            }
        }
        Ok(Self {
            place,
            database,
            knows_top: lookup(reader, snapshot.root(), place)?.is_some(),
            report: report(snapshot, place),
            taken: manifest.databases.iter().find(|report| report.place == wanted),
            top_names,
            files,
            bytes,
        })
    }
}

/// What the backup said of the Vaultwarden in a folder of a snapshot.
pub(super) fn report<'s>(snapshot: &'s Snapshot, place: &[u8]) -> Option<&'s ServiceReport> {
    report_of(snapshot).filter(|_| place.is_empty())
}

fn report_of(snapshot: &Snapshot) -> Option<&ServiceReport> {
    snapshot.manifest.service.as_ref().filter(|report| report.name == SERVICE)
}

/// Why there is nothing to restore, and which snapshot or folder to name instead.
fn none_here(repository: &Repository, snapshot: &Snapshot, place: &[u8]) -> Error {
    let id = snapshot.id.short();
    let error = Error::refused(format!(
        "snapshot {id} holds no Vaultwarden at /{}: there is no {DATABASE_PLACE}",
        printable(place)
    ));
    let inside = snapshot.manifest.databases.iter().find_map(|database| {
        let fits = path::name(&database.place) == DATABASE_PLACE.as_bytes();
        path::parent(&database.place).filter(|parent| fits && *parent != place)
    });
    if let Some(inside) = inside {
        return error.hint(format!("name the folder in it that is one: {id}:/{}", printable(inside)));
    }
    match newest(repository, |_| true) {
        Some(other) => error.hint(format!("the newest snapshot that holds one is {other}")),
        None => error.hint("`strongroom snapshots` lists all; those of a Vaultwarden have a proof"),
    }
}

/// The newest snapshot that was proved whole, to name beside one that was not.
pub(super) fn newest_whole(repository: &Repository) -> Option<String> {
    newest(repository, |report| report.whole)
}

fn newest(repository: &Repository, fits: impl Fn(&ServiceReport) -> bool) -> Option<String> {
    let found = repository.snapshots().ok()?;
    let newest = found.snapshots.iter().rev().find(|snapshot| report_of(snapshot).is_some_and(&fits))?;
    Some(newest.id.short())
}
