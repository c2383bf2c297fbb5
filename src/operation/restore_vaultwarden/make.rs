//! Making the new folder, complete and proved, where nobody sees it yet.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::folder::{Folder, Found, show};
use super::moved::{self, MovedPart};
use super::owners::{self, Owners};
use super::prove::{self, Proved};
use super::work::Work;
use super::{Restoring, stored};
use crate::error::{Error, Result};
use crate::format::snapshot::DatabaseOutcome;
use crate::operation::restore::{self, Request};
use crate::report::Finding;
use crate::repository::host;
use crate::service::vaultwarden::{self, DATABASE_PLACE};
use crate::source::sqlite;

/// Only the server may read the key that signs sessions.
const KEY_MODE: u32 = 0o600;

/// What was made.
pub(super) struct Made {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) proved: Proved,
    pub(super) moved: Vec<MovedPart>,
    pub(super) resynced: Option<u64>,
}

impl Restoring<'_> {
    /// Makes the new folder in the work folder, and proves it.
    pub(super) fn make(&mut self, folder: &Folder, work: &Work, owners: Owners) -> Result<Made> {
        let interrupt = &self.options.interrupt;
        let restored = restore::run(
            self.repository,
            self.snapshot,
            &Request::of(self.stored.place),
            &work.data(),
            self.reporter,
            interrupt,
        )?;
        let data = work.held_data();
        self.finish_top(folder, &data, owners)?;
        let mut new_problems = restored.problems;
        let database = data.join(DATABASE_PLACE);
        if !database.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Err(self.without_database("could not be restored"));
        }
        self.settle(&data, &mut new_problems);
        let mut resynced = None;
        if self.options.resync_clients {
            let done = vaultwarden::resync_clients(&database, host::now());
            let what = "the clients cannot be made to fetch anew";
            resynced = self.or_problem(&data, what, done, &mut new_problems);
        }
        prove::each(&data, interrupt, &mut |place, path, metadata| {
            owners::give(owners, path, metadata)?;
            if metadata.is_file() && is_session_key(place) {
                let set = fs::set_permissions(path, Permissions::from_mode(KEY_MODE));
                set.map_err(|error| Error::io(format!("cannot protect {}", show(path)), error))?;
            }
            Ok(())
        })?;
        let proved = prove::prove(&data, &folder.path, &self.stored, self.reporter, interrupt)?;
        if !proved.is_readable {
            return Err(self.without_database("cannot be read"));
        }
        new_problems = new_problems.saturating_add(proved.new_problems);
        self.refuse_if_worse(new_problems)?;
        self.problems = new_problems.saturating_add(proved.known_problems);
        let mut moved = moved::parts(self.stored.report);
        moved::put_back(&data, &mut moved)?;
        sync(&data)?;
        Ok(Made { files: restored.files, bytes: restored.bytes, proved, moved, resynced })
    }

    /// Mode and owner of the folder itself. A snapshot need not know them; then it belongs to whom the database does.
    fn finish_top(&self, folder: &Folder, data: &Path, owners: Owners) -> Result<()> {
        if folder.found != Found::Vaultwarden {
            let failed = |error| Error::io(format!("cannot look at {}", show(data)), error);
            let metadata = fs::symlink_metadata(data).map_err(failed)?;
            if self.stored.knows_top {
                owners::give(owners, data, &metadata)?;
            } else {
                owners::give_top(owners, data)?;
            }
        }
        owners::keep_top(folder, data)
    }

    /// Leaves the database alone in its place: a log that belongs to it is taken in, any other goes.
    fn settle(&self, data: &Path, problems: &mut u64) {
        let database = &data.join(DATABASE_PLACE);
        let there = || {
            let beside = sqlite::COMPANIONS.iter().map(|ending| sqlite::companion(database, ending));
            beside.filter(|path| path.symlink_metadata().is_ok()).collect::<Vec<_>>()
        };
        if there().is_empty() {
            return;
        }
        let complete = [DatabaseOutcome::Checked, DatabaseOutcome::FailedCheck];
        if !self.stored.taken.is_some_and(|taken| complete.contains(&taken.outcome)) {
            let taken_in = sqlite::alter_at_rest(database, |connection| {
                connection.pragma_query_value(None, "schema_version", |_| Ok(()))
            });
            self.or_problem(data, "its log cannot be taken in", taken_in, problems);
        }
        for path in there() {
            let name = show(Path::new(path.file_name().unwrap_or_default()));
            self.reporter.report(Finding::warning(name, "does not belong to the database; left out"));
            let removed = fs::remove_file(&path).map_err(|error| Error::io("cannot remove it", error));
            self.or_problem(data, "cannot be left out", removed, problems);
        }
    }

    fn or_problem<T>(&self, data: &Path, what: &str, outcome: Result<T>, problems: &mut u64) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(error) => {
                *problems = problems.saturating_add(1);
                let cause = prove::named_for_people(&error, data, &self.options.target);
                self.reporter.report(Finding::problem("database", format!("{what}: {cause}")));
                None
            }
        }
    }

    /// A server would make an empty vault of it; nobody can want that.
    fn without_database(&self, cause: &str) -> Error {
        let id = self.snapshot.id.short();
        let hint = "`strongroom check --read-data` says what the repository lost; a vault without its database is not put \
                    in place, not even with --accept-problems";
        let error = Error::corrupt(format!("{DATABASE_PLACE} of snapshot {id} {cause}"));
        error.hint(format!("{hint}{}", self.another()))
    }

    /// Which snapshot to take instead, where there is one.
    fn another(&self) -> String {
        let id = self.snapshot.id.short();
        let other = stored::newest_whole(self.repository).filter(|other| *other != id);
        other.map(|other| format!("; or take another: {other} was proved whole")).unwrap_or_default()
    }

    fn refuse_if_worse(&self, new_problems: u64) -> Result<()> {
        if new_problems == 0 || self.options.accept_problems {
            return Ok(());
        }
        let id = self.snapshot.id.short();
        let message =
            format!("snapshot {id} does not pass its proof: {new_problems} of the problems named are new");
        let or = self.another();
        Err(Error::corrupt(message).hint(format!(
            "`strongroom check --read-data` says what the repository lost; --accept-problems puts it in place as it is{or}"
        )))
    }
}

fn is_session_key(place: &[u8]) -> bool {
    place.starts_with(b"rsa_key.") && !place.contains(&b'/')
}

/// Brings everything on a disk there.
fn sync(folder: &Path) -> Result<()> {
    let opened = fs::File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?));
    opened.map_err(|error| Error::io("cannot bring to the disk what was restored", error))
}
