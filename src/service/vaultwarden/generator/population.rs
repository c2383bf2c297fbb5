//! Fills an empty database with users, organizations (`people`) and all they keep.
//!
//! Invariant: the order of the draws, and so every byte of the database, follows from the options
//! alone; no clock is read. All times lie in the two years before [`EPOCH`].

use rusqlite::Connection;

use super::random::Random;
use super::rows::{
    Cipher, DAY, Event, Load, Owner, SECOND, date_time, insert_attachment, insert_event, insert_send, signed,
};
use super::{Options, files};

/// The moment at which the generated installation stands still: 2026-03-01 00:00 UTC.
pub(super) const EPOCH: i64 = 1_772_323_200 * SECOND;

/// How far back the oldest rows go.
const AGE: u64 = 730 * 86_400;

/// Bytes a cipher takes in the database with its index entries and its links, for guessing only.
const BYTES_PER_CIPHER: u64 = 2000;

/// The same for an event.
const BYTES_PER_EVENT: u64 = 300;

/// A user and the folders they sort ciphers into.
pub(super) struct User {
    pub uuid: String,
    pub folders: Vec<String>,
}

/// An organization with the users in it and its collections.
pub(super) struct Organization {
    pub uuid: String,
    pub members: Vec<String>,
    pub collections: Vec<String>,
}

/// A file that a row promises, to be written after it.
#[derive(Debug)]
pub(super) struct Promised {
    pub path: String,
    pub length: u64,
}

/// What was put in.
#[derive(Debug, Default)]
pub(super) struct Population {
    pub devices: u64,
    pub organizations: u64,
    pub ciphers: u64,
    pub events: u64,
    pub attachments: Vec<Promised>,
    pub sends: u64,
    pub file_sends: Vec<Promised>,
}

/// The database under construction.
pub(super) struct Builder<'database> {
    pub connection: &'database Connection,
    pub random: Random,
    pub users: Vec<User>,
    pub organizations: Vec<Organization>,
    ciphers: Vec<String>,
    pub done: Population,
}

/// Fills the database; its tables exist and are empty.
pub(super) fn populate(connection: &Connection, options: &Options) -> rusqlite::Result<Population> {
    let mut builder = Builder {
        connection,
        random: Random::new(options.seed, "rows"),
        users: Vec::new(),
        organizations: Vec::new(),
        ciphers: Vec::new(),
        done: Population::default(),
    };
    let users = u64::from(options.users.max(1));
    for number in 0..users {
        builder.user(number, users)?;
    }
    for number in 0..=users / 100 {
        builder.organization(number, users)?;
    }
    builder.relations(users)?;
    for _ in 0..options.ciphers {
        builder.cipher()?;
    }
    for _ in 0..options.events {
        builder.event()?;
    }
    builder.grow(options)?;
    builder.attachments(options)?;
    for number in 0..options.sends {
        builder.send(number)?;
    }
    Ok(builder.done)
}

impl Builder<'_> {
    /// A time in the past, and one between it and [`EPOCH`].
    pub(super) fn times(&mut self) -> (i64, i64) {
        let age = self.random.below(AGE);
        let created_at = EPOCH - signed(age) * SECOND + signed(self.random.below(1_000_000_000));
        // Most things are never touched again after the day on which they were made.
        let since = if self.random.chance(300) { self.random.below(age + 1) } else { self.random.below(60) };
        (created_at, created_at + signed(since) * SECOND + signed(self.random.below(1_000_000_000)))
    }

    /// A cipher with its place: a collection of an organization, or perhaps a folder of its user.
    fn cipher(&mut self) -> rusqlite::Result<()> {
        let uuid = self.random.uuid();
        let (created_at, updated_at) = self.times();
        let cipher = Cipher::draw(&mut self.random, EPOCH);
        let shared = self.random.chance(450);
        if let (true, Some(organization)) = (shared, self.random.pick(&self.organizations)) {
            let owner = Owner::Organization(&organization.uuid);
            cipher.insert(self.connection, &uuid, owner, created_at, updated_at)?;
            if let Some(collection) = self.random.pick(&organization.collections) {
                self.connection
                    .prepare_cached("INSERT INTO ciphers_collections VALUES (?1, ?2)")?
                    .execute((&uuid, collection))?;
            }
        } else if let Some(user) = self.random.pick(&self.users) {
            cipher.insert(self.connection, &uuid, Owner::User(&user.uuid), created_at, updated_at)?;
            if self.random.chance(500)
                && let Some(folder) = self.random.pick(&user.folders)
            {
                self.connection
                    .prepare_cached("INSERT INTO folders_ciphers VALUES (?1, ?2)")?
                    .execute((&uuid, folder))?;
            }
            if self.random.chance(80) {
                self.connection
                    .prepare_cached("INSERT INTO favorites VALUES (?1, ?2)")?
                    .execute((&user.uuid, &uuid))?;
            }
            if self.random.chance(10) {
                self.connection.prepare_cached("INSERT INTO archives VALUES (?1, ?2, ?3)")?.execute((
                    &user.uuid,
                    &uuid,
                    date_time(updated_at),
                ))?;
            }
        }
        self.ciphers.push(uuid);
        self.done.ciphers += 1;
        Ok(())
    }

    fn event(&mut self) -> rusqlite::Result<()> {
        // Events are kept in the order in which they happened.
        let at = EPOCH - 90 * DAY
            + signed(self.done.events) * 54 * SECOND
            + signed(self.random.below(1_000_000_000));
        let Some(user) = self.random.pick(&self.users).map(|user| user.uuid.as_str()) else { return Ok(()) };
        let organization =
            self.random.pick(&self.organizations).map(|organization| organization.uuid.as_str());
        let event = match self.random.below(10) {
            0..=2 => Event { kind: 1000, user: Some(user), acting_user: Some(user), ..Event::default() },
            3..=5 => Event {
                kind: 1000,
                user: Some(user),
                organization,
                acting_user: Some(user),
                ..Event::default()
            },
            kind => Event {
                kind: 1095 + signed(kind),
                organization,
                cipher: self.random.pick(&self.ciphers).map(String::as_str),
                acting_user: Some(user),
                ..Event::default()
            },
        };
        insert_event(self.connection, &mut self.random, &event, at)?;
        self.done.events += 1;
        Ok(())
    }

    /// Adds ciphers, and events in proportion, until the database is large enough.
    fn grow(&mut self, options: &Options) -> rusqlite::Result<()> {
        let ciphers = u64::from(options.ciphers.max(1));
        let bytes_per_cipher = BYTES_PER_CIPHER + BYTES_PER_EVENT * options.events / ciphers;
        loop {
            let missing = options.database_bytes.saturating_sub(database_bytes(self.connection)?);
            if missing == 0 {
                return Ok(());
            }
            for _ in 0..=missing / bytes_per_cipher {
                self.cipher()?;
                while self.done.events * ciphers < self.done.ciphers * options.events {
                    self.event()?;
                }
            }
        }
    }

    fn attachments(&mut self, options: &Options) -> rusqlite::Result<()> {
        let count = u64::from(options.attachments);
        for length in files::lengths(&mut self.random, count, options.attachment_bytes_total) {
            let id = self.random.hex(20);
            let Some(cipher) = self.random.pick(&self.ciphers) else { return Ok(()) };
            let path = format!("attachments/{cipher}/{id}");
            insert_attachment(self.connection, &mut self.random, &id, cipher, length)?;
            self.done.attachments.push(Promised { path, length });
        }
        Ok(())
    }

    /// Every other Send carries a file; every fourth of those was written by an old server.
    fn send(&mut self, number: u32) -> rusqlite::Result<()> {
        let (uuid, id) = (self.random.uuid(), self.random.hex(64));
        let Some(user) = self.random.pick(&self.users) else { return Ok(()) };
        let created_at = EPOCH - signed(self.random.below(6 * 86_400)) * SECOND;
        let load = if number.is_multiple_of(2) {
            let size = files::sealed_length(1024 + self.random.below(40 * 1024));
            self.done.file_sends.push(Promised { path: format!("sends/{uuid}/{id}"), length: size });
            Load::File { id: &id, size, capitals: number % 8 == 6 }
        } else {
            Load::Text
        };
        insert_send(self.connection, &mut self.random, &uuid, &user.uuid, load, created_at)?;
        self.done.sends += 1;
        Ok(())
    }
}

/// The bytes the database takes, its pages not yet written included.
pub(super) fn database_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(u64::try_from(number("page_count")?.saturating_mul(number("page_size")?)).unwrap_or(0))
}
