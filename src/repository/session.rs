//! A backup session: saying that one runs, reading what is there in the order that makes it safe, committing,
//! and giving up one's own dead sessions.
//!
//! Follows `format-spec/11-ordering.md`, whose numbered steps the functions here name.

use std::collections::{HashMap, HashSet};

use super::cache::{Cache, SessionLock};
use super::index::{Index, ReadObjects, indexed, read_unindexed_pack};
use super::snapshot::Snapshots;
use super::unread::is_passed_over;
use super::{Repository, host};
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::IndexedPack;
use crate::format::key_slot::Role;
use crate::format::marks::{self, Abandoned, Session as SessionRecord};
use crate::format::node::Timestamp;
use crate::format::pack::Envelope;
use crate::format::snapshot::Manifest;
use crate::id::Id;

/// A backup that runs.
pub struct Session<'a> {
    repository: &'a Repository,
    id: Id,
    lock: Option<SessionLock>,
    cache: Option<Cache>,
}

/// Packs and the envelopes that their blobs need, for an index to name them.
pub type Adopted = Vec<(IndexedPack, Vec<Envelope>)>;

/// What a backup may deduplicate against.
pub struct Usable {
    /// The index over every pack that counts.
    pub index: Index,
    /// Packs that no index named, as an interrupted run leaves them: to be published with this session's index.
    pub adopted: Adopted,
    /// Packs that the index names and that are gone, though no prune condemned them.
    pub missing: Vec<Id>,
    /// Index objects that are damaged or cannot be had, and packs without an index that cannot be used, and why.
    pub unreadable: Vec<(ObjectKind, Id, Error)>,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The snapshot is there.
    Done,
    /// Somebody gave this session up before: the backup has to start again under a new id.
    Abandoned,
}

impl<'a> Session<'a> {
    /// Step 1: announces the session.
    pub fn begin(repository: &'a Repository, cache: Option<&Cache>, host_name: &str) -> Result<Self> {
        let id = random::id()?;
        // The lock comes first: a session without one could never be told from a dead one on another host.
        let lock = cache.map(|cache| cache.lock_session(&id)).transpose()?;
        let record = SessionRecord {
            host: host_name.to_owned(),
            host_id: match cache {
                Some(cache) => *cache.host_id(),
                None => random::id()?,
            },
            started: host::now(),
            process: std::process::id(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        repository.put_named(ObjectKind::Session, &id, &marks::encode_session(&record)?)?;
        Ok(Self { repository, id, lock, cache: cache.cloned() })
    }

    /// The session's id, and its snapshot's.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// What tells whether the session is still worth working for.
    pub fn announced(&self) -> Announced {
        Announced { repository: self.repository.clone(), id: self.id }
    }

    /// Step 2: what is stored and may be referred to. Lists `gc/` first, then `index/`, then `packs/`.
    pub fn usable(&self) -> Result<Usable> {
        usable(self.repository)
    }

    /// Gives the manifest the number and the time of its end that are its turn now, and commits it.
    pub fn commit_next(self, manifest: &mut Manifest) -> Result<Commit> {
        let (sequence, finished) = draw_number(self.repository, self.cache.as_ref(), manifest.sequence);
        (manifest.sequence, manifest.finished) = (sequence, finished);
        self.commit(manifest)
    }

    /// The same for a manifest that stands for an earlier backup, and keeps the time at which that one ended.
    pub fn commit_for_another(self, manifest: &mut Manifest) -> Result<Commit> {
        (manifest.sequence, _) = draw_number(self.repository, self.cache.as_ref(), manifest.sequence);
        self.commit(manifest)
    }

    /// Step 4: writes the manifest, then looks for a mark. Step 5: removes the session.
    ///
    /// Before that it makes sure that its session is still announced: nobody may remove it, but where somebody did, a
    /// prune did not wait for this backup and may have deleted what it stored.
    ///
    /// The packs and the index that the manifest refers to must have been acknowledged before.
    pub fn commit(mut self, manifest: &Manifest) -> Result<Commit> {
        match self.repository.backend().size(&ObjectName::new(ObjectKind::Session, self.id)) {
            Err(error) if error.kind() == ErrorKind::Missing => return Ok(Commit::Abandoned),
            announced => announced.map(|_| ())?,
        }
        self.repository.put_snapshot(&self.id, manifest)?;
        let abandoned = self.repository.list_ids(ObjectKind::Abandoned)?;
        if abandoned.contains(&self.id) {
            return Ok(Commit::Abandoned);
        }
        self.repository.remember_one(&self.id, manifest);
        self.end();
        Ok(Commit::Done)
    }

    /// Ends a session that stored a manifest, or that never will.
    pub fn end(&mut self) {
        let removed = self.repository.backend().delete(&ObjectName::new(ObjectKind::Session, self.id));
        // Where the store lets this key delete nothing, the session stays and a pruner sees that it committed.
        if let (Ok(()), Some(lock)) = (removed, self.lock.take()) {
            lock.remove();
        }
    }
}

/// A session that was announced, for whoever stores something in its name.
///
/// Once it is given up, no prune waits for it, and packs that it stored may be gone: an index object that names them then
/// makes a repository look damaged that is not.
#[derive(Clone)]
pub struct Announced {
    repository: Repository,
    id: Id,
}

impl Announced {
    /// Looks before step 3 ends whether the session is there and nobody gave it up. It decides nothing about the commit.
    ///
    /// # Errors
    /// `Abandoned` where it is not worth going on.
    pub fn check(&self) -> Result<()> {
        let is_there = |kind| match self.repository.backend().size(&ObjectName::new(kind, self.id)) {
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            found => found.map(|_| true),
        };
        if is_there(ObjectKind::Session)? && !is_there(ObjectKind::Abandoned)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Abandoned, "this session was given up by somebody else")
            .hint("run this again; find out who unlocks the repository while this host works on it"))
    }
}

/// Which packs count, for whoever writes: those that are listed and that no gc record condemns.
pub fn usable(repository: &Repository) -> Result<Usable> {
    let condemned = condemned(repository)?;
    let read = ReadObjects::read(repository)?;
    // The packs are listed last: what an index names and a prune deleted meanwhile does not count.
    let listed = repository.backend().list(ObjectKind::Pack)?;
    let present: HashMap<Id, u64> = listed.into_iter().map(|listed| (listed.id, listed.size)).collect();
    let mut index = Index::build(&read, &|pack| present.contains_key(pack) && !condemned.contains(pack))?;
    let named: HashSet<Id> = index.packs().iter().map(|pack| pack.id).collect();
    let orphans = present.iter().filter(|(pack, _)| !named.contains(*pack) && !condemned.contains(*pack));
    let missing: Vec<Id> =
        read.packs().filter(|pack| !present.contains_key(pack) && !condemned.contains(pack)).collect();
    let mut adopted = Vec::new();
    let mut unreadable: Vec<(ObjectKind, Id, Error)> =
        read.damaged.into_iter().map(|(id, error)| (ObjectKind::Index, id, error)).collect();
    // One at a time: each is read whole, to see that its frames are its own.
    for (id, size) in orphans {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        match repository.read_listed_object(&name, || read_unindexed_pack(repository, id)) {
            Ok(table) => {
                adopted.push(indexed(*id, *size, table));
            }
            Err(error) if error.kind() == ErrorKind::Missing || is_passed_over(&error) => {
                unreadable.push((ObjectKind::Pack, *id, error));
            }
            Err(error) => return Err(error),
        }
    }
    index.extend(&adopted)?;
    Ok(Usable { index, adopted, missing, unreadable })
}

/// Every pack that any prune condemned. A record that cannot be read stops whoever asks.
pub(crate) fn condemned(repository: &Repository) -> Result<HashSet<Id>> {
    let mut condemned = HashSet::new();
    for id in repository.list_ids(ObjectKind::Gc)? {
        match repository.read_condemned(&id) {
            Ok(record) => condemned.extend(record.packs),
            // The prune that wrote it finished, and removed it, after the listing: its packs are gone, and the
            // listing of packs, which comes later, shows that.
            Err(error) if error.kind() == ErrorKind::Missing => {}
            Err(error) => {
                return Err(error
                    .context("a prune's record cannot be read, so no chunk is safe to reuse")
                    .hint(format!(
                        "bring back gc/{id} from a copy of the repository; or, once no backup, prune or repair runs on any \
                         host, move the file away: the next prune condemns anew"
                    )));
            }
        }
    }
    Ok(condemned)
}

/// Gives up the sessions that this host began and that died: writes the mark, **then** looks for the snapshot.
/// Only a session whose lock file lies in this cache, and is free, is one of them.
pub fn give_up_own_dead(repository: &Repository, cache: &Cache, host_name: &str) -> Result<Vec<Id>> {
    let mut given_up = Vec::new();
    let abandoned: HashSet<Id> = repository.list_ids(ObjectKind::Abandoned)?.into_iter().collect();
    for id in repository.list_ids(ObjectKind::Session)? {
        let Some(lock) = cache.take_dead_lock(&id)? else { continue };
        let name = ObjectName::new(ObjectKind::Session, id);
        let record = match repository.read_listed_object(&name, || repository.read_session(&id)) {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::Missing => {
                lock.remove();
                continue;
            }
            // One that is damaged is not known to be ours: a check reports it, and a pruner decides.
            Err(error) if is_passed_over(&error) => continue,
            Err(error) => return Err(error),
        };
        if record.host_id != *cache.host_id() {
            continue;
        }
        let committed = || Ok::<_, Error>(repository.list_ids(ObjectKind::Snapshot)?.contains(&id));
        // A look before the mark spares marks, where the store lets no session be removed; it decides nothing.
        if !committed()? {
            if !abandoned.contains(&id) {
                let mark = Abandoned { host: host_name.to_owned(), time: host::now() };
                repository.put_abandoned(&id, &mark)?;
                given_up.push(id);
            }
            if !committed()? {
                lock.remove();
                continue;
            }
        }
        // It had committed: what is left of the session is litter.
        if repository.backend().delete(&ObjectName::new(ObjectKind::Session, id)).is_err() {
            // Where the store lets this key delete nothing, a pruner removes it.
        }
        lock.remove();
    }
    Ok(given_up)
}

/// What became of a session that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Its snapshot is there: it committed.
    Committed,
    /// Somebody gave it up before its snapshot was there: whatever it writes yet stays dead once the mark of forgetting
    /// is stored.
    GivenUp,
    /// Neither: it runs, or died without anybody having given it up.
    Open,
}

/// Every session that is listed and what became of it. Looks for marks before it looks for snapshots, as whoever gives
/// up does.
pub fn session_states(repository: &Repository) -> Result<Vec<(Id, SessionState)>> {
    let sessions = repository.list_agreed(ObjectKind::Session)?;
    let abandoned: HashSet<Id> = repository.list_ids(ObjectKind::Abandoned)?.into_iter().collect();
    let snapshots = repository.list_agreed(ObjectKind::Snapshot)?;
    let committed: HashSet<Id> = snapshots.into_iter().map(|listed| listed.id).collect();
    let state = |id: Id| {
        if committed.contains(&id) {
            return Ok((id, SessionState::Committed));
        }
        if abandoned.contains(&id) {
            return Ok((id, SessionState::GivenUp));
        }
        // Its snapshot was forgotten and is gone: whatever comes of it yet is forgotten as well.
        match repository.read_forgotten(&id) {
            Ok(_) => Ok((id, SessionState::GivenUp)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported
                ) =>
            {
                Ok((id, SessionState::Open))
            }
            Err(error) => Err(error),
        }
    };
    sessions.into_iter().map(|listed| state(listed.id)).collect()
}

/// Gives up a session that is dead, whoever's it was: stores the mark, **then** looks for the snapshot, and where there
/// is none, stores the mark of forgetting, so that a late write of it stays dead. A key of role backup stores the first
/// mark only, and whoever prunes does the rest.
pub fn give_up(repository: &Repository, id: &Id, host_name: &str) -> Result<SessionState> {
    repository.put_abandoned(id, &Abandoned { host: host_name.to_owned(), time: host::now() })?;
    let snapshots = repository.list_agreed(ObjectKind::Snapshot)?;
    if snapshots.iter().any(|listed| listed.id == *id) {
        return Ok(SessionState::Committed);
    }
    if repository.keyring().role() >= Role::Maintain {
        repository.put_forgotten(id, None)?;
    }
    Ok(SessionState::GivenUp)
}

/// The least number that the next manifest of this key may carry, by all that the repository says.
pub fn next_sequence(repository: &Repository, snapshots: &Snapshots) -> u64 {
    let writer = repository.own_writer();
    // Forgotten ones count too, also where only their marks are left: a number is not used again.
    let all = snapshots.snapshots.iter().chain(&snapshots.forgotten);
    let own = all.filter(|snapshot| snapshot.writer == writer).map(|snapshot| snapshot.manifest.sequence);
    let marks = snapshots.marks.iter().filter_map(|mark| mark.number.as_ref());
    let used = marks.filter(|number| number.writer == writer).map(|number| number.sequence);
    own.chain(used).max().unwrap_or(0).saturating_add(1)
}

/// Draws the number of a manifest that is about to be written, `least` or more, and the time that goes with it.
///
/// Two backups of one key may end at once on one host, each not having seen the other's manifest: a counter in the
/// cache, under a lock, gives each a number of its own, and the later time to the higher one. Without a cache that can be
/// written to the number is `least`. Two snapshots may then share it, which costs nothing but that no rule forgets them.
pub fn draw_number(repository: &Repository, cache: Option<&Cache>, least: u64) -> (u64, Timestamp) {
    let Some((cache, lock)) = cache.and_then(|cache| Some((cache, cache.lock("notes.lock").ok()?))) else {
        return (least, host::now());
    };
    let writer = repository.own_writer();
    let name = derive::keyed_hash(&repository.keyring().key(Purpose::Cache), &writer);
    let drawn = cache.note(repository, &name);
    let drawn = drawn.and_then(|note| note.try_into().ok()).map_or(0, u64::from_le_bytes);
    let number = least.max(drawn.saturating_add(1));
    if cache.keep_note(repository, &name, &number.to_le_bytes()).is_err() {
        // The counter is at rest, and the repository alone tells the next number.
    }
    let now = host::now();
    drop(lock);
    (number, now)
}
