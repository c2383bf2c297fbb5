//! `strongroom dump`

mod target;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::ls::split;
use super::output::{Output, human};
use crate::error::{Error, Result};
use crate::format::path;
use crate::interrupt::Interrupt;
use crate::operation::dump::{Dump, Format, Request, Summary};
use target::Target;

/// Room for what is written at once, in bytes.
const BUFFER: usize = 256 << 10;

/// Arguments of `dump`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom dump latest /attachments/CIPHER/ATTACHMENT > attachment.bin\n  \
    strongroom dump latest / | tar -x -C /srv/restored\n  \
    strongroom dump latest:/srv/data / --archive zip --target data.zip\n\n\
    Names in an archive are relative to the snapshot's root, or to the path behind `:`. A tar archive holds all \
    there is: owners, times to the nanosecond, links, devices, extended attributes with access control lists \
    (unpack with --xattrs --xattrs-include='*'); holes are zeros, and sockets are left out. Zip holds files, \
    folders, symbolic links, modes, owners and times in UTC to the second; it is not compressed, and a file \
    with several names is in it several times. Names that Windows takes for a path elsewhere, with a backslash \
    or a drive letter, are left out of a zip and named.\n\n\
    What is lost is left out and named, with exit code 3. Where damage is found within a file longer than \
    32 MiB, dump ends with exit code 1, and the archive lacks its end. If whoever reads the output goes \
    before its end, as `head` does, dump says nothing and ends with exit code 1."
)]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a folder in it that PATH starts from
    #[arg(value_name = "SNAPSHOT[:FOLDER]")]
    snapshot: String,
    /// Path of the file or folder in the snapshot; `/` is all of it
    #[arg(value_name = "PATH")]
    file: OsString,
    /// How a folder is written
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Archive::Tar)]
    archive: Archive,
    /// Write to a new file, which is there whole or not at all, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Archive {
    /// POSIX pax
    Tar,
    /// Zip, not compressed
    Zip,
}

/// Whether an error says that nobody reads any more.
fn is_broken_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            return true;
        }
        cause = inner.source();
    }
    false
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let started = Instant::now();
    if arguments.target.is_none() {
        output.keep_stdout_for_data();
    }
    let (name, base) = split(&arguments.snapshot)?;
    let mut place = base.clone();
    let below = path::parse(arguments.file.as_bytes())?;
    if !below.is_empty() {
        path::push(&mut place, &below);
    }
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, name, output)?;
    let format = match arguments.archive {
        Archive::Tar => Format::Tar,
        Archive::Zip => Format::Zip,
    };
    let request = Request { snapshot: &snapshot, place: &place, base: &base, format };
    let dump = Dump::find(&repository, request, output)?;
    let written = match &arguments.target {
        Some(path) => to_target(&dump, path, output),
        None => to_stdout(&dump, output),
    };
    let summary = match written {
        Err(error) if arguments.target.is_none() && is_broken_pipe(&error) => return Ok(Outcome::Unread),
        written => written?,
    };
    tell(&summary, dump.is_file(), arguments, output, started)?;
    Ok(Outcome::of(summary.problems))
}

fn to_target(dump: &Dump<'_>, path: &std::path::Path, output: &Output) -> Result<Summary> {
    let interrupt = output.signals.in_good_order();
    let target = Target::create(path)?;
    let progress = output.start_progress("dumping");
    let mut out = BufWriter::with_capacity(BUFFER, target.file());
    let written = dump.run(&mut out, output, &interrupt);
    drop(out);
    drop(progress);
    let summary = written?;
    target.keep()?;
    Ok(summary)
}

fn to_stdout(dump: &Dump<'_>, output: &Output) -> Result<Summary> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() && !dump.is_file() {
        return Err(Error::refused("an archive is not for a terminal")
            .hint("write it to a file by --target FILE, or into a pipe, such as `| tar -x -C FOLDER`"));
    }
    // Not through the buffer of lines that standard output has.
    let out = stdout.as_fd().try_clone_to_owned();
    let out = File::from(out.map_err(|error| Error::io("cannot write the output", error))?);
    let progress = (!stdout.is_terminal()).then(|| output.start_progress("dumping"));
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let written = dump.run(&mut out, output, &Interrupt::default());
    drop(progress);
    // What was written of an archive that ends in an error goes out all the same: nothing at all would seem whole to tar.
    drop(out);
    written
}

fn tell(
    summary: &Summary,
    is_file: bool,
    arguments: &Arguments,
    output: &Output,
    started: Instant,
) -> Result<()> {
    if is_file && arguments.target.is_none() {
        return Ok(());
    }
    if output.json {
        return output.object(&json!({
            "message_type": "summary",
            "target": arguments.target.as_ref().map(|target| target.display().to_string()),
            "files": summary.files,
            "dirs": summary.directories,
            "others": summary.others,
            "bytes": summary.bytes,
            "problems": summary.problems,
            "total_duration": started.elapsed().as_secs_f64(),
        }));
    }
    if arguments.target.is_some() || output.verbose || summary.problems > 0 {
        output.say(&format!(
            "dumped {}, {} ({}) in {}",
            human::counted(summary.files, "file"),
            human::counted(summary.directories, "folder"),
            human::bytes(summary.bytes),
            human::duration(started.elapsed())
        ))?;
    }
    if summary.problems > 0 {
        output.say(&format!("{}: see above; exit code 3", human::counted(summary.problems, "problem")))?;
    }
    Ok(())
}
