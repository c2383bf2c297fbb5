//! `strongroom restore`

mod runbook;
mod service;
mod show;
mod vaultwarden;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::backup::patterns;
use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::ls::split;
use super::output::Output;
use crate::error::{Error, ErrorKind, Result};
use crate::format::path;
use crate::operation::restore::{self, Event, Overwrite, Request, Selection};
use crate::report::printable;
use crate::source::files::ExcludeOptions;

const WHAT: &str = "What to restore";
const HOW: &str = "What becomes of what is there";

/// Arguments of `restore`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom restore latest --target /srv/restored\n  \
    strongroom restore latest:/attachments --target /srv/attachments\n  \
    strongroom restore latest /etc/nginx /srv/www --target /tmp/look\n  \
    strongroom restore latest --target / --include /etc --overwrite if-changed --dry-run -v\n  \
    strongroom restore --vaultwarden latest --target /srv/vaultwarden/data --dry-run\n  \
    strongroom restore --service latest --postgres postgresql://vault@db/vault --target /srv/vaultwarden/data\n\n\
    Without --overwrite the target is a new or an empty folder, and nothing is ever replaced. A file\n\
    is written aside and named once it is whole: until then the old one stays, and where a restore is\n\
    killed, the next one with --overwrite if-changed goes on. Only the chunks that a file on the disk\n\
    does not hold already are read from the repository. Patterns are those of `backup`, held against\n\
    the paths that `strongroom ls` shows.\n\n\
    With --vaultwarden the target is the data folder itself. Stop the server first. Everything is\n\
    restored beside the folder, proved (database, row counts, every attachment and Send), and swapped\n\
    in only if it is whole; what was there is kept as FOLDER.before-restore-TIME, within the folder if\n\
    that is a mount point. Whatever fails, the old state stays; killed at any step, the same command\n\
    goes on, and ends after that if SNAPSHOT is another one by now. The files get the owner of the\n\
    data folder that is there.\n\n\
    With --service, dumps go back into servers by their own clients, into a database that is empty or\n\
    made for it; passwords come from PGPASSWORD, MYSQL_PWD and the clients' own files. Rows by table\n\
    are counted and compared with those of the backup. With --in-place, a new database is filled and\n\
    proved first and then takes the place of the old one, which is kept. --dry-run prints the steps\n\
    as commands.")]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and the folder or file in it that is
    /// restored
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: String,
    /// Paths of the snapshot to restore alone, each below the target where it lies in the snapshot
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Folder to restore into
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "service")]
    target: Option<PathBuf>,
    /// Restore only what matches this pattern, and what lies in it; may be repeated
    #[arg(short, long, value_name = "PATTERN", help_heading = WHAT)]
    include: Vec<String>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "PATTERN", help_heading = WHAT)]
    iinclude: Vec<String>,
    /// Patterns from a file, a line each; $NAME is taken from the environment, # begins a comment; may be repeated
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    include_file: Vec<PathBuf>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    iinclude_file: Vec<PathBuf>,
    /// Leave out what matches this pattern, and what lies in it; wins over --include; may be repeated
    #[arg(short, long, value_name = "PATTERN", help_heading = WHAT)]
    exclude: Vec<String>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "PATTERN", help_heading = WHAT)]
    iexclude: Vec<String>,
    /// Patterns from a file, a line each; may be repeated
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    exclude_file: Vec<PathBuf>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    iexclude_file: Vec<PathBuf>,
    /// Restore into a folder that holds something: what becomes of it where the snapshot has something of the same
    /// name. Without this the target must be new or empty
    #[arg(long, value_name = "WHEN", value_enum, help_heading = HOW)]
    overwrite: Option<When>,
    /// Remove what is selected and not in the snapshot, in what the backup named and nowhere else. What the backup was
    /// told to leave out stays, and so do other file systems, the repository and the key in use; if the backup was not
    /// whole, or something it named is not in the snapshot, all stays
    #[arg(long, help_heading = HOW)]
    delete: bool,
    /// Change nothing; say what would be done, of each file with -v
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read every file again in the end, also those that were right already, and compare it with the snapshot; those
    /// that `--overwrite never` and `if-newer` keep are not read
    #[arg(long)]
    verify: bool,
    /// Make holes of zeros; what was a hole when it was backed up always is one
    #[arg(long)]
    sparse: bool,
    /// Leave the owner of everything as it is made: yours
    #[arg(long)]
    no_owner: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    vaultwarden: vaultwarden::Flags,
    #[command(flatten)]
    service: service::ServiceFlags,
}

/// When something that is there becomes what the snapshot holds.
#[derive(Clone, Copy, clap::ValueEnum)]
enum When {
    /// Always; contents are read and compared, so that nothing is taken for unchanged that is not
    Always,
    /// Always, but a file of the same length and time of change is taken to be unchanged
    IfChanged,
    /// If what the snapshot holds is newer
    IfNewer,
    /// Never: only what is missing is restored
    Never,
}

impl Arguments {
    fn target(&self) -> Result<&Path> {
        let target = self.target.as_deref();
        target.ok_or_else(|| Error::refused("nothing says where to restore").hint("add --target FOLDER"))
    }

    fn request(&self, place: Vec<u8>) -> Result<Request<'static>> {
        let options = |given: &[String], any_case: &[String], file: &[PathBuf], any_case_file: &[PathBuf]| {
            let mut options = ExcludeOptions {
                patterns: given.to_vec(),
                patterns_any_case: any_case.to_vec(),
                ..ExcludeOptions::default()
            };
            for file in file {
                options.patterns.extend(patterns(file)?);
            }
            for file in any_case_file {
                options.patterns_any_case.extend(patterns(file)?);
            }
            Ok::<_, Error>(options)
        };
        let include = options(&self.include, &self.iinclude, &self.include_file, &self.iinclude_file)?;
        let exclude = options(&self.exclude, &self.iexclude, &self.exclude_file, &self.iexclude_file)?;
        let files = !self.include_file.is_empty() || !self.iinclude_file.is_empty();
        if files && include.patterns.is_empty() && include.patterns_any_case.is_empty() {
            // To include nothing must not mean to include everything.
            return Err(Error::refused("the files of --include-file hold no pattern"));
        }
        Ok(Request {
            place,
            paths: self.paths.iter().map(|text| path::parse(text.as_bytes())).collect::<Result<_>>()?,
            selection: Selection::new(&include, &exclude)?,
            overwrite: self.overwrite.map(|when| match when {
                When::Always => Overwrite::Always,
                When::IfChanged => Overwrite::IfChanged,
                When::IfNewer => Overwrite::IfNewer,
                When::Never => Overwrite::Never,
            }),
            delete: self.delete,
            verify: self.verify,
            sparse: self.sparse,
            no_owner: self.no_owner,
            dry_run: self.dry_run,
            own: Vec::new(),
            observer: None,
        })
    }
}

/// Says what a restore that did not come to its end leaves behind.
fn explain(error: Error, target: &Path) -> Error {
    if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NoSpace) {
        return error;
    }
    let target = printable(target.as_os_str().as_bytes());
    let interrupted = error.kind() == ErrorKind::Interrupted;
    let error = error.context(format!("the restore is not complete; each file that is in {target} is whole"));
    error.hint(if interrupted {
        "with --overwrite if-changed the same command goes on"
    } else {
        "free some space on that disk, then the same command with --overwrite if-changed goes on"
    })
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    if arguments.vaultwarden.vaultwarden {
        return vaultwarden::run(global, arguments, output);
    }
    if arguments.service.service {
        return service::run(global, arguments, output);
    }
    let target = arguments.target()?;
    let started = Instant::now();
    let (name, place) = split(&arguments.snapshot)?;
    let mut request = arguments.request(place)?;
    request.own = global.needed();
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, name, output)?;
    let show = |event: &Event<'_>| show::event(output, event);
    if output.verbose {
        request.observer = Some(&show);
    }
    let progress = output.start_progress("restoring");
    let interrupt = output.signals.in_good_order();
    let summary = restore::run(&repository, &snapshot, &request, target, output, &interrupt);
    drop(progress);
    let summary = summary.map_err(|error| explain(error, target))?;
    let ended = show::Ended {
        summary: &summary,
        snapshot: &snapshot.id,
        target,
        dry_run: arguments.dry_run,
        in_place: arguments.overwrite.is_some(),
        took: started.elapsed(),
    };
    if output.json {
        output.object(&ended.object())?;
    } else {
        ended.lines().iter().try_for_each(|line| output.say(line))?;
    }
    Ok(Outcome::of(summary.problems))
}
