//! Which database a DATABASE_URL names.
//!
//! Invariant: no part of the URL is shown unless it follows `sqlite:`, for the others hold passwords.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::report::printable;
use crate::source::server::address::Address;

/// Where a Vaultwarden keeps its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In a file of SQLite.
    Sqlite(PathBuf),
    /// On a server.
    Server {
        /// Which kind of server.
        kind: ServerKind,
        /// Where it is, and which database; the password too, if DATABASE_URL has one.
        address: Address,
    },
}

impl Database {
    /// Its name for a person, without user and password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => printable(path.as_os_str().as_encoded_bytes()),
            Self::Server { kind, address } => {
                format!("the database on {} at {}", kind.name(), address.shown())
            }
        }
    }

    /// The file of SQLite, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Server { .. } => None,
        }
    }
}

/// A kind of database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB or MySQL.
    Mysql,
}

impl ServerKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MariaDB or MySQL",
        }
    }
}

/// What a DATABASE_URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A SQLite database.
    Sqlite(Sqlite<'a>),
    /// A database on a server.
    Server(ServerKind, Address),
}

/// A SQLite database named by DATABASE_URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sqlite<'a> {
    /// Its path, as the server names it.
    pub(super) path: &'a str,
    /// Whether the value is a path for certain, so that it may be shown.
    pub(super) showable: bool,
}

/// Tells which database a URL names.
///
/// # Errors
/// `Refused` for one of an unknown kind, and for a server's address that makes no sense or names no database.
pub(super) fn parse(url: &str) -> Result<Named<'_>> {
    let url = url.trim();
    let scheme_end = url.find(':').unwrap_or(0);
    let (scheme, rest) = url.split_at_checked(scheme_end).unwrap_or(("", url));
    let rest = rest.trim_start_matches(':');
    let sqlite = |path, showable| Ok(Named::Sqlite(Sqlite { path, showable }));
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest), true),
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            sqlite(path.split('?').next().unwrap_or(path), true)
        }
        "postgresql" | "postgres" => server(url, ServerKind::Postgres),
        "mysql" | "mariadb" => server(url, ServerKind::Mysql),
        _ if url.contains("://") => {
            Err(Error::refused("DATABASE_URL names a kind of database that is not known here")
                .hint("check DATABASE_URL; its value is not shown, for it may hold a password"))
        }
        _ => sqlite(url, false),
    }
}

fn server(url: &str, kind: ServerKind) -> Result<Named<'_>> {
    let address = Address::parse(url).map_err(|error| error.context("DATABASE_URL makes no sense"))?;
    if address.database.is_none() {
        return Err(Error::refused("DATABASE_URL names no database on its server")
            .hint("check DATABASE_URL; its value is not shown, for it may hold a password"));
    }
    Ok(Named::Server(kind, address))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn sqlite_has_many_spellings() {
        for (url, path) in [
            ("sqlite:///data/db.sqlite3", "/data/db.sqlite3"),
            ("sqlite://data/db.sqlite3", "data/db.sqlite3"),
            ("SQLite:data/db.sqlite3", "data/db.sqlite3"),
            ("file:/data/db.sqlite3?mode=rwc", "/data/db.sqlite3"),
            ("/data/db.sqlite3", "/data/db.sqlite3"),
            (" data/db.sqlite3 ", "data/db.sqlite3"),
        ] {
            let Named::Sqlite(named) = parse(url).unwrap() else { panic!("{url}") };
            assert_eq!(named.path, path, "{url}");
        }
    }

    #[test]
    fn servers_are_known_by_their_schemes() {
        for (scheme, kind) in [
            ("postgresql", ServerKind::Postgres),
            ("Postgres", ServerKind::Postgres),
            ("mysql", ServerKind::Mysql),
            ("mariadb", ServerKind::Mysql),
        ] {
            let url = format!("{scheme}://user:hunter2@db:99/vaultwarden");
            let Named::Server(found, address) = parse(&url).unwrap() else { panic!("{url}") };
            assert_eq!((found, address.database.as_deref()), (kind, Some("vaultwarden")));
            let database = Database::Server { kind, address };
            assert!(database.shown().contains("db:99"), "{}", database.shown());
            assert!(!format!("{} {database:?}", database.shown()).contains("hunter2"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_its_password() {
        for url in [
            "oracle://user:hunter2@host/vaultwarden",
            "hunter2://user:hunter2@host/vaultwarden",
            "postgresql://user:hunter2@host:port/vaultwarden",
            "postgresql://user:hunter2@host",
            "mysql:hunter2",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let shown = format!("{} {}", error.chain(), error.next_step().unwrap());
            assert!(!shown.contains("hunter2") && !shown.contains("host/"), "{shown}");
        }
    }
}
