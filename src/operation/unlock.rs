//! Unlock: which backups are at work, as far as anybody can tell, and giving up those that died.
//!
//! Follows `format-spec/11-ordering.md#give-up`. Invariants: nothing is given up by the clock; what runs on this computer
//! is never given up. Giving up a backup that lives after all costs that backup, never data: it learns of it when it
//! commits, and starts again.

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::marks::Session;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::session::{self, SessionState};

/// A session and all that is known of it.
pub struct SessionInfo {
    /// Its id.
    pub id: Id,
    /// What it says of itself; the error where it cannot be read.
    pub record: Result<Session>,
    /// What became of it.
    pub state: SessionState,
    /// Whether its process runs on this computer; nothing where it began on another one, or without a cache.
    pub runs_here: Option<bool>,
    /// How many snapshots the same host finished since it began, and when it finished the last of them: where a host has
    /// backed up since, an older session of it is likely to be dead.
    pub newer_snapshots: u64,
    /// The last that was seen of its host: its own beginning, or the end of a later snapshot.
    pub last_sign: Option<Timestamp>,
}

/// Every session, the oldest first.
pub fn list(repository: &Repository, cache: Option<&Cache>) -> Result<Vec<SessionInfo>> {
    let states = session::session_states(repository)?;
    let snapshots = if states.is_empty() { Vec::new() } else { repository.snapshots()?.snapshots };
    let mut found = Vec::new();
    for (id, state) in states {
        let state = if died_before(repository, &id, state)? { SessionState::GivenUp } else { state };
        let record = match repository.read_session(&id) {
            // It ended meanwhile.
            Err(error) if error.kind() == ErrorKind::Missing => continue,
            Err(error) if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                return Err(error);
            }
            record => record,
        };
        let runs_here = cache.map(|cache| cache.session_runs(&id)).transpose()?.flatten();
        let since = record.as_ref().ok();
        let later = snapshots.iter().filter(|snapshot| {
            since.is_some_and(|session| {
                snapshot.id != id
                    && snapshot.manifest.host == session.host
                    && snapshot.manifest.time > session.started
            })
        });
        let ends: Vec<Timestamp> = later.map(|snapshot| snapshot.manifest.finished).collect();
        let last_sign = ends.iter().copied().chain(since.map(|session| session.started)).max();
        found.push(SessionInfo {
            id,
            record,
            state,
            runs_here,
            newer_snapshots: ends.len() as u64,
            last_sign,
        });
    }
    found.sort_by_key(|info| (info.record.as_ref().ok().map(|session| session.started), info.id));
    Ok(found)
}

/// Whether a session was given up before its snapshot landed: the two marks stand, and the manifest counts for nothing.
fn died_before(repository: &Repository, id: &Id, state: SessionState) -> Result<bool> {
    let is_there = |kind| match repository.backend().size(&ObjectName::new(kind, *id)) {
        Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
        found => found.map(|_| true),
    };
    Ok(state == SessionState::Committed
        && is_there(ObjectKind::Abandoned)?
        && is_there(ObjectKind::Forgotten)?
        && repository.read_forgotten(id).is_ok())
}

/// Gives up one session by the protocol.
///
/// # Errors
/// `Refused` where its process runs on this computer.
pub fn give_up(repository: &Repository, info: &SessionInfo, host_name: &str) -> Result<SessionState> {
    let short = info.id.short();
    if info.runs_here == Some(true) {
        let process = info.record.as_ref().map_or(0, |session| session.process);
        return Err(Error::refused(format!(
            "session {short} is at work on this computer, in process {process}"
        ))
        .hint("wait until it ends, or end that process first"));
    }
    match info.state {
        SessionState::Committed => Ok(SessionState::Committed),
        SessionState::GivenUp | SessionState::Open => session::give_up(repository, &info.id, host_name),
    }
}

/// The session that a person names by the first digits of its id.
pub fn find<'a>(sessions: &'a [SessionInfo], name: &str) -> Result<&'a SessionInfo> {
    let wanted = name.to_ascii_lowercase();
    let mut found = sessions.iter().filter(|info| wanted.len() >= 4 && info.id.to_hex().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(info), None) => Ok(info),
        (Some(_), Some(_)) => {
            Err(Error::refused(format!("{name} names several sessions")).hint("give more digits of the id"))
        }
        (None, _) => Err(Error::missing(format!("there is no session {name:?}"))
            .hint("`strongroom unlock` lists them; give at least four digits of the id")),
    }
}
