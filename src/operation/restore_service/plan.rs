//! What a restore of a service will do, and whatever speaks against it.
//!
//! Invariant: nothing is changed here, on no server and in no folder.

use std::io::Write;
use std::path::PathBuf;

use super::folder::{self, FolderStep};
use super::{Options, authentik, choice, fit, redis};
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::snapshot::{DumpKind, DumpReport, ServiceReport};
use crate::operation::{aside, dump};
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::source::server::target::{Found, State, Swap, Target, Wanted};
use crate::source::stream::Patience;

/// A restore that was looked at.
pub struct Plan<'a> {
    pub(super) repository: &'a Repository,
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    pub(super) options: &'a Options,
    /// The databases.
    pub databases: Vec<DatabaseStep<'a>>,
    /// The file for Redis.
    pub redis: Option<RedisStep<'a>>,
    /// Paths of the snapshot that go into the folder.
    pub files: Vec<Vec<u8>>,
    /// The folder.
    pub folder: Option<FolderStep>,
}

/// What becomes of one dump.
pub struct DatabaseStep<'a> {
    /// The server.
    pub target: &'a dyn Target,
    /// The dump.
    pub dump: &'a DumpReport,
    /// The database that holds it in the end.
    pub database: String,
    /// What is there.
    pub found: Found,
    /// How it comes there.
    pub way: Way,
}

/// How a database comes to hold a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is made and filled.
    Create,
    /// It is there and empty, and is filled.
    Fill,
    /// Another is made, filled, and put into its place.
    Replace(Swap),
}

/// What becomes of a dump of Redis.
pub struct RedisStep<'a> {
    /// The dump.
    pub dump: &'a DumpReport,
    /// The folder.
    pub folder: PathBuf,
    /// What lies there and gives way, by its name in the folder.
    pub gives_way: Vec<String>,
}

impl DatabaseStep<'_> {
    /// The database that is filled.
    pub fn filled(&self) -> &str {
        match &self.way {
            Way::Create | Way::Fill => &self.database,
            Way::Replace(swap) => &swap.new,
        }
    }
}

impl<'a> Plan<'a> {
    /// Looks at the snapshot, the servers and the folders.
    ///
    /// # Errors
    /// Whatever keeps the restore from being done; nothing was changed.
    pub fn make(
        repository: &'a Repository,
        snapshot: &'a Snapshot,
        options: &'a Options,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        repository.keyring().require(Role::Full, "restoring a service")?;
        if options.targets.is_empty() && options.redis.is_none() && options.folder.is_none() {
            return Err(Error::refused("nothing says where the service is to be restored").hint(
                "name a server (--postgres URL, --mysql URL), a folder of Redis (--redis-folder DIR), and a folder for \
                 the files (--target DIR)",
            ));
        }
        choice::check(snapshot, &options.databases)?;
        let reader = BlobReader::with_kept_metadata(repository, reporter)?;
        let files = choice::files(&reader, snapshot, &options.interrupt)?;
        let folder = folder::plan(options, &files)?;
        let mut plan =
            Self { repository, snapshot, options, databases: Vec::new(), redis: None, files, folder };
        for target in &options.targets {
            reporter.progress().set_stage(format!("asking {}", target.about().name));
            for (dump, database) in choice::choose(snapshot, &target.about(), &options.databases)? {
                let step = plan.step(&**target, dump, database, reporter)?;
                plan.databases.push(step);
            }
        }
        reporter.progress().set_stage("");
        plan.redis = redis::plan(snapshot, options)?;
        plan.warn_of_the_rest(reporter);
        Ok(plan)
    }

    /// What the backup said of the service.
    pub fn service(&self) -> Option<&'a ServiceReport> {
        self.snapshot.manifest.service.as_ref()
    }

    /// Writes a dump.
    pub(super) fn write(
        &self,
        report: &DumpReport,
        reporter: &dyn Reporter,
        out: &mut dyn Write,
    ) -> Result<()> {
        let request = dump::Request {
            snapshot: self.snapshot,
            place: &report.place,
            base: b"",
            format: dump::Format::Tar,
        };
        dump::Dump::find(self.repository, request, reporter)?
            .run(out, reporter, &self.options.interrupt)
            .map(|_| ())
    }

    pub(super) fn patience(&self) -> Patience {
        Patience { interrupt: self.options.interrupt.clone(), silence: None }
    }

    fn step(
        &self,
        target: &'a dyn Target,
        dump: &'a DumpReport,
        database: String,
        reporter: &dyn Reporter,
    ) -> Result<DatabaseStep<'a>> {
        let content = |out: &mut dyn Write| self.write(dump, reporter, out);
        let roles = if self.options.with_roles { Some(self.globals(target)?) } else { None };
        let globals = roles.map(|roles| move |out: &mut dyn Write| self.write(roles, reporter, out));
        let wanted = Wanted {
            database: &database,
            dump,
            content: &content,
            globals: globals.as_ref().map(|globals| globals as _),
            in_place: self.options.in_place,
        };
        let found = target.look(&wanted, &self.patience())?;
        for finding in found.findings.iter().cloned() {
            reporter.report(finding);
        }
        let way = match &found.state {
            State::Absent => Way::Create,
            State::Empty => Way::Fill,
            State::Holds(_) if !self.options.in_place => return Err(holds_something(target, &database)),
            State::Holds(tables) => {
                self.may_give_way(target, dump, &database, tables, found.connected.as_deref())?;
                Way::Replace(swap(&database, target.about().name_max))
            }
        };
        Ok(DatabaseStep { target, dump, database, found, way })
    }

    /// The dump of the roles that a server may take.
    pub(super) fn globals(&self, target: &dyn Target) -> Result<&'a DumpReport> {
        let about = target.about();
        if about.kind != DumpKind::Postgres {
            return Err(Error::refused(format!("{} cannot be given users out of a snapshot", about.name))
                .hint("leave --with-roles out; `strongroom dump` shows the snapshot's mysql/globals.sql"));
        }
        let found = choice::dumps(self.snapshot).iter().find(|dump| dump.kind == DumpKind::PostgresGlobals);
        found.ok_or_else(|| {
            let id = self.snapshot.id.short();
            Error::refused(format!("snapshot {id} holds no roles, for its databases were backed up by name"))
                .hint("leave --with-roles out, and make the roles by hand (createuser NAME)")
        })
    }

    fn may_give_way(
        &self,
        target: &dyn Target,
        dump: &DumpReport,
        database: &str,
        tables: &[String],
        connected: Option<&str>,
    ) -> Result<()> {
        let shown = printable(database.as_bytes());
        let of = |error: Error| {
            error.context(format!("the database {shown} of {} stays as it is", target.about().name))
        };
        fit::same_service(tables, dump).map_err(of)?;
        if let Some(who) = connected {
            let error = Error::new(ErrorKind::Busy, format!("it is in use by {who}"));
            return Err(of(error.hint("stop the service, and run the same command again")));
        }
        if let Some(report) = self.service().filter(|report| authentik::is_its(report, dump)) {
            authentik::fitting_release(report, target, database, &self.patience()).map_err(of)?;
        }
        fit::not_newer(target, database, tables, dump, &self.patience()).map_err(of)
    }

    /// Says what of the snapshot is not restored.
    fn warn_of_the_rest(&self, reporter: &dyn Reporter) {
        let is_taken = |dump: &DumpReport| {
            let taken = self.databases.iter().any(|step| step.dump.place == dump.place);
            taken || self.redis.as_ref().is_some_and(|step| step.dump.place == dump.place)
        };
        let named = |dump: &&DumpReport| {
            self.options.databases.is_empty()
                || dump.database.as_ref().is_none_or(|name| self.options.databases.contains(name))
        };
        for dump in choice::dumps(self.snapshot).iter().filter(|dump| !is_taken(dump)).filter(named) {
            let next = match dump.kind {
                DumpKind::Command => continue,
                DumpKind::Postgres => "--postgres URL names a server for it",
                DumpKind::Mysql => "--mysql URL names a server for it",
                DumpKind::Redis => "--redis-folder DIR names where a server finds it when it starts",
                DumpKind::PostgresGlobals if self.options.with_roles => continue,
                DumpKind::PostgresGlobals => {
                    "--with-roles makes the roles that a server has not; `strongroom dump` shows what it holds"
                }
                DumpKind::MysqlGlobals => {
                    "it holds the users of the whole server: look into it with `strongroom dump`, and run \
                     what you want of it"
                }
            };
            let finding = Finding::warning(format!("/{}", printable(&dump.place)), "is not restored");
            reporter.report(finding.with_hint(next));
        }
        if self.folder.is_none() && !self.files.is_empty() {
            let finding = Finding::warning("files", "of the snapshot are not restored");
            reporter.report(finding.with_hint("--target DIR names a new or an empty folder for them"));
        }
    }
}

/// A database that holds something is left alone.
fn holds_something(target: &dyn Target, database: &str) -> Error {
    let shown = printable(database.as_bytes());
    Error::refused(format!("the database {shown} of {} is not empty", target.about().name)).hint(
        "name one that is empty, or that does not exist yet; with --in-place the new one takes its place, and what is \
         there is kept under another name",
    )
}

/// Names for what is filled beside a database and for what gives way.
fn swap(database: &str, name_max: usize) -> Swap {
    let digits: String = aside::time().chars().filter(char::is_ascii_digit).collect();
    let (day, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let named = |what: &str| {
        let ending = format!("_{what}_{day}_{time}");
        let mut name = String::new();
        for letter in database.chars() {
            if name.len().saturating_add(letter.len_utf8()).saturating_add(ending.len()) > name_max {
                break;
            }
            name.push(letter);
        }
        name + &ending
    };
    Swap { database: database.to_owned(), new: named("restored"), aside: named("before") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_server() {
        let short = swap("vault", 63);
        assert!(short.new.starts_with("vault_restored_20") && short.aside.starts_with("vault_before_20"));
        let long = swap(&"é".repeat(40), 63);
        assert!(long.new.len() <= 63 && long.aside.len() <= 63 && long.new != long.aside);
    }
}
