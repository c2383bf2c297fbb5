//! A dump of Redis put where a server finds it when it starts.
//!
//! Invariants: the file has its name once it is whole. A server that runs would overwrite it when it ends, so none may.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::plan::{Plan, RedisStep};
use super::{Options, RestoredRedis, choice};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::DumpKind;
use crate::operation::aside;
use crate::report::{Reporter, printable};
use crate::repository::snapshot::Snapshot;
use crate::source::stream::Patience;

/// What a server loads when it starts, unless it keeps a log.
const FILE: &str = "dump.rdb";
/// The name until it is whole.
const PARTIAL: &str = ".dump.rdb.strongroom-restore";
/// What a server loads first: logs of newer and older versions. Where one is there, the file is passed over.
const LOGS: [&str; 2] = ["appendonlydir", "appendonly.aof"];

/// Looks at the folder.
pub(super) fn plan<'a>(snapshot: &'a Snapshot, options: &Options) -> Result<Option<RedisStep<'a>>> {
    let Some(redis) = &options.redis else { return Ok(None) };
    let dump = choice::dumps(snapshot).iter().find(|dump| dump.kind == DumpKind::Redis);
    let dump = dump.ok_or_else(|| {
        Error::refused(format!("snapshot {} holds no dump of Redis", snapshot.id.short()))
            .hint("`strongroom ls` shows what it holds; leave --redis-folder out")
    })?;
    let shown = printable(redis.path.as_os_str().as_encoded_bytes());
    let metadata = fs::metadata(&redis.path)
        .map_err(|error| Error::io(format!("cannot look at {shown}, the folder of Redis"), error))?;
    if !metadata.is_dir() {
        return Err(Error::refused(format!("{shown} is no folder")).hint("name the server's `dir`"));
    }
    let patience = Patience { interrupt: options.interrupt.clone(), silence: None };
    let answers = redis.server.as_ref().map_or(Ok(false), |server| server.answers(&patience))?;
    if let Some(who) = user_of(&redis.path).or_else(|| answers.then(|| "a server that answers".to_owned())) {
        let error = Error::new(ErrorKind::Busy, format!("{shown} is in use by {who}"));
        return Err(error.hint("stop the server first: it would write over the file when it ends"));
    }
    let there = [FILE].iter().chain(&LOGS).filter(|name| redis.path.join(name).symlink_metadata().is_ok());
    let gives_way: Vec<String> = there.map(|name| (*name).to_owned()).collect();
    if !gives_way.is_empty() && !options.in_place {
        return Err(Error::refused(format!("{shown} holds {}", gives_way.join(" and ")))
            .hint("name an empty folder; with --in-place what is there is kept under another name"));
    }
    Ok(Some(RedisStep { dump, folder: redis.path.clone(), gives_way }))
}

/// A server whose working folder this is, as far as this user may see.
fn user_of(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let numbers = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find_map(|number| {
        let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
        let is_server = name.starts_with("redis-server") || name.starts_with("valkey-server");
        let works_there = is_server && fs::read_link(format!("/proc/{number}/cwd")).ok()? == folder;
        works_there.then(|| format!("process {number} ({})", printable(name.trim().as_bytes())))
    })
}

/// Writes the file, beside what is there.
pub(super) fn fill(plan: &Plan<'_>, step: &RedisStep<'_>, reporter: &dyn Reporter) -> Result<()> {
    write(plan, step, &step.folder.join(PARTIAL), reporter)
}

/// Removes what was written and did not get its name.
pub(super) fn forget(step: &RedisStep<'_>) {
    // Where there is none, none is left.
    fs::remove_file(step.folder.join(PARTIAL)).ok();
}

fn write(plan: &Plan<'_>, step: &RedisStep<'_>, partial: &Path, reporter: &dyn Reporter) -> Result<()> {
    let shown = printable(partial.as_os_str().as_encoded_bytes());
    let failed = |error| Error::io(format!("cannot write {shown}"), error);
    match fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map_err(failed)?;
    let mut out = BufWriter::new(file);
    plan.write(step.dump, reporter, &mut out)?;
    out.flush().map_err(failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    // The server runs as whom its folder belongs to.
    let folder = fs::metadata(&step.folder).map_err(failed)?;
    let own = file.metadata().map_err(failed)?;
    if (own.uid(), own.gid()) != (folder.uid(), folder.gid()) {
        std::os::unix::fs::fchown(&file, Some(folder.uid()), Some(folder.gid())).map_err(failed)?;
    }
    if own.len() != step.dump.bytes {
        return Err(Error::corrupt(format!(
            "the dump of Redis has {} bytes, and had {} at the backup",
            own.len(),
            step.dump.bytes
        )));
    }
    file.sync_all().map_err(failed)
}

/// Gives it its name, and keeps what was there under another.
pub(super) fn put_in_place(step: &RedisStep<'_>) -> Result<RestoredRedis> {
    let path = step.folder.join(FILE);
    let failed = |name: &str| {
        let shown = printable(step.folder.join(name).as_os_str().as_encoded_bytes());
        move |error| Error::io(format!("cannot rename {shown}"), error)
    };
    let time = aside::time();
    let mut kept = Vec::new();
    for name in &step.gives_way {
        let aside = step.folder.join(format!("{name}.before-restore-{time}"));
        fs::rename(step.folder.join(name), &aside).map_err(failed(name))?;
        kept.push(aside);
    }
    fs::rename(step.folder.join(PARTIAL), &path).map_err(failed(PARTIAL))?;
    let folder = fs::File::open(&step.folder).and_then(|folder| folder.sync_all());
    folder.map_err(|error| Error::io("cannot write the folder of Redis to its disk", error))?;
    Ok(RestoredRedis { path, bytes: step.dump.bytes, aside: kept })
}
