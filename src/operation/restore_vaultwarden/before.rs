//! What is looked at, and said, before anything is done; and all there is of a dry run.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::folder::{Folder, Found, names_in, show};
use super::{Ending, Restoring, Summary, moved, owners, stored};
use crate::error::Result;
use crate::format::path;
use crate::format::snapshot::ServiceReport;
use crate::operation::aside;
use crate::report::{Collector, Finding, Reporter, printable};
use crate::service::vaultwarden::{self, DATABASE_PLACE};
use crate::source::sqlite;

/// Folders that a server makes anew, and backups leave out.
const MADE_ANEW: [&str; 2] = ["icon_cache", "tmp"];

/// The most names that are told one by one.
const NAMED_MAX: usize = 10;

/// The databases that a server of this folder may have open.
pub(super) fn databases(report: Option<&ServiceReport>, folder: &Folder) -> Vec<PathBuf> {
    let mut databases = vec![folder.path.join(DATABASE_PLACE)];
    let moved = moved::parts(report);
    let moved = moved.iter().find(|part| part.place == DATABASE_PLACE.as_bytes());
    databases.extend(moved.map(|part| folder.path.join(aside::path_of(&part.now_at))));
    // What the settings that are there say; where they say nothing, the names above have to do.
    let found = vaultwarden::discover(&vaultwarden::Options::new(&folder.path), &Collector::default());
    databases.extend(found.ok().and_then(|layout| layout.database.file().map(Path::to_path_buf)));
    databases.sort();
    databases.dedup();
    databases
}

/// Says where a server might be at work that nothing shows.
pub(super) fn warn_of_unseen(databases: &[PathBuf], reporter: &dyn Reporter) {
    if let Some(database) = databases.iter().find(|database| sqlite::may_be_open_unseen(database)) {
        let cause = "cannot see whether processes of other users have it open";
        let hint = "be sure that the server is stopped, or run this as root";
        reporter.report(Finding::warning(show(database), cause).with_hint(hint));
    }
}

impl Restoring<'_> {
    /// Says where the backup itself was not whole, and which one was.
    pub(super) fn warn_if_not_whole(&self) {
        if self.is_whole() {
            return;
        }
        let subject = format!("snapshot {}", self.snapshot.id.short());
        let finding = Finding::warning(subject, "was not proved whole when it was made");
        self.reporter.report(match stored::newest_whole(self.repository) {
            Some(whole) => finding.with_hint(format!("the newest that was is {whole}")),
            None => finding.with_hint("`strongroom snapshots` shows which were"),
        });
    }

    /// Whether the backup was whole, as far as it was asked.
    pub(super) fn is_whole(&self) -> bool {
        self.stored.report.is_none_or(|report| report.whole)
    }

    /// Names what is there and will not be there again.
    pub(super) fn warn_of_what_goes(&self, folder: &Folder) -> Result<()> {
        self.say_what_comes_beside(folder);
        if folder.found != Found::Vaultwarden {
            return Ok(());
        }
        let moved = moved::parts(self.stored.report);
        let comes: BTreeSet<&[u8]> = (self.stored.top_names.iter().map(Vec::as_slice))
            .chain(moved.iter().map(|part| top_of(&part.now_at)))
            .chain(MADE_ANEW.map(str::as_bytes))
            .collect();
        let stays = |name: &[u8]| {
            comes.contains(sqlite::companion_base(name).unwrap_or(name)) || comes.contains(name)
        };
        let mut names = names_in(&folder.path)?;
        names.retain(|name| !stays(name.as_bytes()));
        if names.is_empty() {
            return Ok(());
        }
        let mut named: Vec<String> =
            names.iter().take(NAMED_MAX).map(|name| printable(name.as_bytes())).collect();
        if names.len() > NAMED_MAX {
            named.push(format!("{} more", names.len().saturating_sub(NAMED_MAX)));
        }
        let cause = format!("not in the snapshot, and not there afterwards: {}", named.join(", "));
        let hint = if self.keeps(folder) {
            "what the server needs of that can be copied from what is kept of the folder"
        } else {
            "nothing of that is kept: leave out --no-keep-previous, or copy it elsewhere first"
        };
        self.reporter.report(Finding::warning(show(&folder.path), cause).with_hint(hint));
        Ok(())
    }

    /// What earlier restores kept in a folder that goes is not lost, and not where it was.
    fn say_what_comes_beside(&self, folder: &Folder) {
        let subject = show(&folder.path);
        for (name, path) in folder.kept_inside.iter().zip(folder.moved_beside()) {
            let cause = format!("{} was kept in it by an earlier restore", printable(name.as_bytes()));
            let hint = format!("it is moved to {}", show(&path));
            self.reporter.report(Finding::warning(subject.clone(), cause).with_hint(hint));
        }
    }

    /// What would be done, and what stands in its way.
    pub(super) fn plan(mut self, folder: &Folder, databases: &[PathBuf]) -> Result<Summary> {
        for database in databases {
            if let Some(holder) = sqlite::holder(database)? {
                let cause = format!("is open in {}", holder.describe());
                self.problem(
                    Finding::problem(show(database), cause).with_hint("stop the server before the restore"),
                );
            }
        }
        if let Err(error) = self.make_sure_of_room(folder) {
            self.problem(Finding::problem(show(&folder.path), error.chain()));
        }
        warn_of_unseen(databases, self.reporter);
        self.warn_of_what_goes(folder)?;
        let previous = self.keeps(folder).then(|| folder.aside(folder.within, &aside::time()));
        let owners = owners::choose(folder, &self.stored.database, self.options.owner_from_snapshot);
        owners::report(owners, folder, self.reporter);
        Ok(Summary {
            ending: Ending::Planned,
            previous,
            kept_before: folder.moved_beside(),
            owners: Some(owners),
            moved: moved::parts(self.stored.report),
            ..self.summary(folder)
        })
    }

    pub(super) fn problem(&mut self, finding: Finding) {
        self.problems = self.problems.saturating_add(1);
        self.reporter.report(finding);
    }

    /// Whether what is there is kept: always beside a new state that is not whole.
    pub(super) fn keeps(&self, folder: &Folder) -> bool {
        let keep = self.options.keep_previous || self.problems > 0 || !self.is_whole();
        keep && folder.found == Found::Vaultwarden
    }

    /// Says that it is kept although that was not asked for.
    pub(super) fn warn_if_kept_all_the_same(&self, folder: &Folder) {
        if self.keeps(folder) && !self.options.keep_previous {
            let cause = "what was there is kept all the same, for what takes its place is not whole";
            self.reporter.report(Finding::warning(show(&folder.path), cause));
        }
    }
}

/// The first name of a place.
fn top_of(place: &[u8]) -> &[u8] {
    let mut top = place;
    while let Some(parent) = path::parent(top).filter(|parent| !parent.is_empty()) {
        top = parent;
    }
    top
}
