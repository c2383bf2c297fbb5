//! Whose the restored files are to be: the snapshot's owner, or that of the folder that is there.
//!
//! The server that is to start runs as the owner of the database it had. Where that is another than at the backup (another
//! host, another user in the container), the folder that is there knows it, and the snapshot does not.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::folder::{Folder, Found, show};
use crate::error::{Error, Result};
use crate::format::node::Node;
use crate::report::{Finding, Reporter};
use crate::service::vaultwarden::DATABASE_PLACE;

/// User and group, by number.
pub type Owner = (u32, u32);

const MODE_BITS: u32 = 0o7777;

/// Whose the files are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Whose the database was in the snapshot.
    pub snapshot: Owner,
    /// Who takes that owner's place.
    pub used: Owner,
}

/// Decides; `from_snapshot` asks for the snapshot's owner whatever is there.
pub(super) fn choose(folder: &Folder, database: &Node, from_snapshot: bool) -> Owners {
    let snapshot = (database.uid, database.gid);
    let existing = match folder.found {
        _ if from_snapshot => None,
        Found::Absent => None,
        // An empty folder of root's was made to be filled; one of somebody else's was made for him.
        Found::Empty => owner(&folder.path).filter(|(user, _)| *user != 0),
        Found::Vaultwarden => owner(&folder.path.join(DATABASE_PLACE)).or_else(|| owner(&folder.path)),
    };
    Owners { snapshot, used: existing.unwrap_or(snapshot) }
}

fn owner(path: &Path) -> Option<Owner> {
    path.symlink_metadata().ok().map(|found| (found.uid(), found.gid()))
}

/// Gives something restored to whoever takes its owner's place.
pub(super) fn give(owners: Owners, path: &Path, metadata: &Metadata) -> Result<()> {
    let Owners { snapshot, used } = owners;
    if snapshot == used || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let instead = |is: u32, was: u32, new: u32| (is == was && was != new).then_some(new);
    let user = instead(metadata.uid(), snapshot.0, used.0);
    let group = instead(metadata.gid(), snapshot.1, used.1);
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    lchown(path, user, group).map_err(|error| Error::io(format!("cannot give away {}", show(path)), error))
}

/// Gives a folder of which the snapshot knows no owner to the owner of its database.
pub(super) fn give_top(owners: Owners, path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    lchown(path, Some(owners.used.0), Some(owners.used.1))
        .map_err(|error| Error::io(format!("cannot give away {}", show(path)), error))
}

/// Gives the new folder itself mode and owner of the one that is there.
pub(super) fn keep_top(folder: &Folder, new: &Path) -> Result<()> {
    if folder.found == Found::Absent {
        return Ok(());
    }
    let failed = |error| Error::io(format!("cannot give {} its mode and owner", show(new)), error);
    let there = fs::metadata(&folder.path).map_err(failed)?;
    if rustix::process::geteuid().is_root() && folder.found == Found::Vaultwarden {
        lchown(new, Some(there.uid()), Some(there.gid())).map_err(failed)?;
    }
    fs::set_permissions(new, Permissions::from_mode(there.mode() & MODE_BITS)).map_err(failed)
}

/// Says whose the files are, where that is not as at the backup.
pub(super) fn report(owners: Owners, folder: &Folder, reporter: &dyn Reporter) {
    let me = rustix::process::geteuid();
    let place = show(&folder.path);
    let Owners { snapshot, used } = owners;
    if !me.is_root() {
        if used.0 != me.as_raw() {
            let cause =
                format!("what is restored belongs to user {}, and not to {}:{}", me.as_raw(), used.0, used.1);
            reporter.report(
                Finding::warning(place.clone(), cause)
                    .with_hint(format!("as root: chown -R {}:{} {place}", used.0, used.1)),
            );
        }
    } else if snapshot != used {
        let cause = format!(
            "what is there belongs to {}:{}, and the snapshot's files to {}:{}: they get the owner that is there",
            used.0, used.1, snapshot.0, snapshot.1
        );
        let hint = "to have the snapshot's owner instead, add --owner-from-snapshot";
        reporter.report(Finding::warning(place, cause).with_hint(hint));
    }
}
