//! `strongroom unlock`

use std::io::{BufRead, IsTerminal};

use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::Timestamp;
use crate::operation::unlock::{self, SessionInfo};
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::host;
use crate::repository::session::SessionState;

/// Arguments of `unlock`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom unlock\n  strongroom unlock 3f9a0c12\n\n\
    There are no locks, and no backup waits for another: a session only keeps a prune from deleting what it\n\
    might still refer to. A host gives up its own dead sessions at its next backup. Give up another's only if\n\
    you know that it is dead; one that lives after all starts again, and no data is lost.")]
pub(super) struct Arguments {
    /// First digits of the ids of sessions to give up; without any, they are listed, and at a terminal you are asked
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Give up nothing; only list
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let cache = global.cache(&repository, output);
    let sessions = unlock::list(&repository, cache.as_ref())?;
    let named = arguments.ids.iter().map(|id| unlock::find(&sessions, id)).collect::<Result<Vec<_>>>()?;
    if arguments.ids.is_empty() || arguments.dry_run {
        show(&sessions, output)?;
    }
    if arguments.dry_run {
        return Ok(Outcome::Done);
    }
    for info in named {
        give_up(&repository, info, output)?;
    }
    let asks = arguments.ids.is_empty() && !output.json && !output.quiet && std::io::stdin().is_terminal();
    let open = |info: &&SessionInfo| info.state == SessionState::Open && info.runs_here != Some(true);
    for info in sessions.iter().filter(open).filter(|_| asks) {
        if agreed(info, output)? {
            give_up(&repository, info, output)?;
        }
    }
    Ok(Outcome::Done)
}

fn show(sessions: &[SessionInfo], output: &Output) -> Result<()> {
    if output.json {
        return sessions.iter().try_for_each(|info| output.object(&as_json(info)));
    }
    if sessions.is_empty() {
        return output.say("no backup is at work, and none died");
    }
    let mut rows = vec![["Id", "Host", "Started", "Age", "Last sign", "State"].map(str::to_owned).to_vec()];
    rows.extend(sessions.iter().map(row));
    human::table(&rows).iter().try_for_each(|line| output.line(line))
}

fn row(info: &SessionInfo) -> Vec<String> {
    let unknown = || "?".to_owned();
    let record = info.record.as_ref().ok();
    vec![
        info.id.short(),
        record.map_or_else(unknown, |session| printable(session.host.as_bytes())),
        record.map_or_else(unknown, |session| human::local(session.started)),
        record.map_or_else(unknown, |session| ago(session.started)),
        match (info.runs_here, info.last_sign) {
            (Some(true), _) => "now".to_owned(),
            (_, Some(time)) => ago(time),
            (_, None) => unknown(),
        },
        state(info),
    ]
}

fn state(info: &SessionInfo) -> String {
    let process = info.record.as_ref().map_or(0, |session| session.process);
    match (info.state, info.runs_here) {
        (SessionState::Committed, _) => "committed; a prune clears it up".to_owned(),
        (SessionState::GivenUp, _) => "given up; a prune clears it up".to_owned(),
        (SessionState::Open, Some(true)) => format!("at work on this computer, process {process}"),
        (SessionState::Open, Some(false)) => "dead: its process on this computer has ended".to_owned(),
        (SessionState::Open, None) => match (&info.record, info.newer_snapshots) {
            (Err(_), _) => "open, and cannot be read".to_owned(),
            (Ok(_), 0) => "open, on another computer or without a cache".to_owned(),
            (Ok(_), newer) => {
                format!("open, though its host made {} since", human::counted(newer, "snapshot"))
            }
        },
    }
}

/// How long a point in time is past, such as `3 h 12 min`.
fn ago(time: Timestamp) -> String {
    let seconds = host::now().seconds.saturating_sub(time.seconds);
    match u64::try_from(seconds) {
        Err(_) => "in the future".to_owned(),
        Ok(seconds) if seconds >= 2 * 86_400 => human::counted(seconds / 86_400, "day"),
        Ok(seconds) => human::duration(std::time::Duration::from_secs(seconds)),
    }
}

fn agreed(info: &SessionInfo, output: &Output) -> Result<bool> {
    let host =
        info.record.as_ref().map_or_else(|_| "?".to_owned(), |session| printable(session.host.as_bytes()));
    let question =
        format!("give up session {} of {host}? Only if you know that it is dead [y/N] ", info.id.short());
    let mut line = String::new();
    let read = output.signals.question(|| {
        use std::io::Write;
        let mut err = std::io::stderr().lock();
        err.write_all(question.as_bytes())?;
        err.flush()?;
        std::io::stdin().lock().read_line(&mut line)
    });
    match read {
        Ok(_) => Ok(matches!(line.trim(), "y" | "Y" | "yes")),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(Error::new(ErrorKind::Interrupted, "interrupted"))
        }
        Err(error) => Err(Error::io("cannot ask", error)),
    }
}

fn give_up(repository: &Repository, info: &SessionInfo, output: &Output) -> Result<()> {
    let state = unlock::give_up(repository, info, &host::name())?;
    let committed = state == SessionState::Committed;
    if output.json {
        return output.object(&json!({
            "message_type": "given_up",
            "id": info.id.to_hex(),
            "had_committed": committed,
        }));
    }
    let short = info.id.short();
    if committed {
        output.report(Finding::warning(
            format!("session {short}"),
            "had committed: its snapshot is there, and nothing was given up",
        ));
        return Ok(());
    }
    output.say(&format!("session {short} is given up: whatever it writes yet, it makes no snapshot"))
}

fn as_json(info: &SessionInfo) -> serde_json::Value {
    let record = info.record.as_ref().ok();
    json!({
        "message_type": "session",
        "id": info.id.to_hex(),
        "state": match info.state {
            SessionState::Committed => "committed",
            SessionState::GivenUp => "given_up",
            SessionState::Open => "open",
        },
        "host": record.map(|session| &session.host),
        "started": record.map(|session| human::utc(session.started)),
        "process": record.map(|session| session.process),
        "program": record.map(|session| &session.program),
        "runs_here": info.runs_here,
        "newer_snapshots": info.newer_snapshots,
        "last_sign": info.last_sign.map(human::utc),
    })
}
