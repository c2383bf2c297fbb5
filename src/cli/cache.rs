//! `strongroom cache`

use std::time::SystemTime;

use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use crate::error::{Error, Result};
use crate::format::node::Timestamp;
use crate::operation::forget::Reach;
use crate::report::{Finding, Reporter, printable};
use crate::repository::caches::{self, CacheState, Part};

/// Arguments of `cache`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom cache\n  strongroom cache clear --older-than 30d\n\n\
    No key is asked for, and no repository. Copies of trees and indexes that were not used for 90 days go by \
    themselves when any other repository is used.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the caches, one for each repository that was used here
    #[command(after_help = "Example:\n  strongroom cache list")]
    List,
    /// Remove what is cached
    Clear(Clear),
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom cache clear --older-than 30d --dry-run\n  strongroom cache clear 3f2a --all\n\n\
    What goes is copies of trees and indexes: the next command reads them from the repository again, and the next \
    backup with a backup key reads every file again. Nothing else is lost. With --all the memory goes too: a backup \
    that was killed here is not recognized as this computer's, so that `unlock` has to be asked; a snapshot that \
    vanished from the store is not noticed; and `prune` does not see that packs have become few. A cache that a \
    command uses now stays, with exit code 3."
)]
struct Clear {
    /// Caches: beginnings of the repositories' ids; all of them if none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Only caches that were not used for so long, such as 30d or 1y6m
    #[arg(long, value_name = "DURATION", value_parser = parse_reach)]
    older_than: Option<Reach>,
    /// Also what this computer remembers: its id, its sessions, the snapshots it has seen
    #[arg(long)]
    all: bool,
    /// Remove nothing; tell what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn parse_reach(text: &str) -> std::result::Result<Reach, String> {
    Reach::parse(text)
        .ok_or_else(|| "give years, months, weeks, days and hours, such as 1y5m7d2h or 30d".to_owned())
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.action {
        None | Some(Action::List) => list(global, output),
        Some(Action::Clear(arguments)) => clear(global, arguments, output),
    }
}

fn list(global: &Global, output: &Output) -> Result<Outcome> {
    let folder = global.cache_folder()?;
    let found = caches::list(&folder)?;
    let bytes = found.iter().fold(0u64, |sum, cache| sum.saturating_add(cache.bytes()));
    if output.json {
        for cache in &found {
            output.object(&json!({
                "message_type": "cache",
                "id": cache.id.to_hex(),
                "short_id": cache.id.short(),
                "size": cache.bytes(),
                "copies_bytes": cache.copies_bytes,
                "memory_bytes": cache.memory_bytes,
                "last_used": human::utc(timestamp(cache.used)),
                "in_use": cache.in_use,
                "place": cache.place.as_ref().map(|place| String::from_utf8_lossy(place)),
            }))?;
        }
        output.object(&json!({
            "message_type": "summary",
            "folder": folder.display().to_string(),
            "caches": found.len(),
            "size": bytes,
        }))?;
        return Ok(Outcome::Done);
    }
    if !found.is_empty() {
        let mut rows =
            vec![["Repository", "Size", "Memory", "Last used", "Where"].map(str::to_owned).to_vec()];
        rows.extend(found.iter().map(row));
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
    }
    let count = human::counted(found.len() as u64, "cache");
    let folder = printable(folder.as_os_str().as_encoded_bytes());
    output.say(&format!("{count} in {folder}, {}", human::bytes(bytes)))?;
    Ok(Outcome::Done)
}

fn row(cache: &CacheState) -> Vec<String> {
    let used = if cache.in_use { "now".to_owned() } else { human::local(timestamp(cache.used)) };
    vec![
        cache.id.short(),
        human::bytes(cache.bytes()),
        human::bytes(cache.memory_bytes),
        used,
        cache.place.as_ref().map_or_else(|| "not known".to_owned(), |place| printable(place)),
    ]
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp { seconds, nanoseconds: since.subsec_nanos() }
}

/// The caches that are meant.
fn chosen<'c>(found: &'c [CacheState], arguments: &Clear) -> Result<Vec<&'c CacheState>> {
    let mut chosen: Vec<&CacheState> = Vec::new();
    for name in &arguments.ids {
        let wanted = name.to_ascii_lowercase();
        let mut matches = found.iter().filter(|cache| cache.id.to_hex().starts_with(&wanted));
        let is_digits = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (matches.next().filter(|_| is_digits), matches.next()) {
            (Some(cache), None) => chosen.push(cache),
            (Some(_), Some(_)) => {
                let shown = printable(name.as_bytes());
                return Err(Error::refused(format!("{shown} names several caches"))
                    .hint("give more digits of the id"));
            }
            (None, _) => {
                let shown = printable(name.as_bytes());
                return Err(Error::missing(format!("there is no cache {shown}")).hint(
                    "`strongroom cache` lists them; give at least four digits of the repository's id",
                ));
            }
        }
    }
    if arguments.ids.is_empty() {
        chosen.extend(found);
    }
    chosen.sort_by_key(|cache| cache.id);
    chosen.dedup_by_key(|cache| cache.id);
    if let Some(reach) = &arguments.older_than {
        let limit = reach.before(&jiff::Zoned::now()).map(SystemTime::from);
        chosen.retain(|cache| limit.is_some_and(|limit| cache.used < limit));
    }
    Ok(chosen)
}

fn clear(global: &Global, arguments: &Clear, output: &Output) -> Result<Outcome> {
    let part = if arguments.all { Part::All } else { Part::Copies };
    let found = caches::list(&global.cache_folder()?)?;
    let (mut cleared, mut freed, mut problems) = (0u64, 0u64, 0u64);
    for cache in chosen(&found, arguments)? {
        let done = if arguments.dry_run && !cache.in_use {
            Ok(cache.bytes_of(part))
        } else if arguments.dry_run {
            Err(Error::refused("it is in use"))
        } else {
            caches::clear(cache, part)
        };
        match done {
            Ok(bytes) => {
                cleared = cleared.saturating_add(1);
                freed = freed.saturating_add(bytes);
                tell(cache, bytes, arguments.dry_run, output)?;
            }
            Err(error) => {
                problems = problems.saturating_add(1);
                let finding = Finding::problem(format!("cache {}", cache.id.short()), error.chain());
                output.report(match error.next_step() {
                    Some(hint) => finding.with_hint(hint),
                    None => finding,
                });
            }
        }
    }
    let dry = if arguments.dry_run { "dry run: " } else { "" };
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "dry_run": arguments.dry_run,
            "caches": cleared,
            "freed_bytes": freed,
            "problems": problems,
        }))?;
    } else {
        let count = human::counted(cleared, "cache");
        output.say(&format!("{dry}{} freed in {count}", human::bytes(freed)))?;
    }
    Ok(Outcome::of(problems))
}

fn tell(cache: &CacheState, bytes: u64, dry_run: bool, output: &Output) -> Result<()> {
    if output.json {
        return output.object(&json!({
            "message_type": "cache_cleared",
            "id": cache.id.to_hex(),
            "dry_run": dry_run,
            "freed_bytes": bytes,
        }));
    }
    let place = cache.place.as_ref().map(|place| format!(" of {}", printable(place))).unwrap_or_default();
    output.say(&format!("{}{place}: {}", cache.id.short(), human::bytes(bytes)))
}
