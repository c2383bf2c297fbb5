//! `strongroom dump`

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::Output;
use crate::error::{Error, Result};
use crate::format::path;
use crate::operation::dump;

/// Arguments of `dump`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom dump latest /attachments/CIPHER/ATTACHMENT > attachment.bin")]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Path of the file in the snapshot
    #[arg(value_name = "PATH")]
    file: OsString,
    #[command(flatten)]
    filter: Filter,
}

fn is_broken_pipe(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    output.keep_stdout_for_data();
    let place = path::parse(arguments.file.as_bytes())?;
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, &arguments.snapshot, output)?;
    let mut out = BufWriter::with_capacity(256 << 10, std::io::stdout().lock());
    let dumped = dump::run(&repository, &snapshot, &place, &mut out, output)
        .and_then(|_| out.flush().map_err(|error| Error::io("cannot write the output", error)));
    match dumped {
        // Whoever reads, such as `head`, has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Outcome::Done),
        dumped => dumped.map(|()| Outcome::Done),
    }
}
