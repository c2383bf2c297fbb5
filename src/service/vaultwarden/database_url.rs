//! Which database a DATABASE_URL names.
//!
//! Invariant: no part of the URL is shown unless it follows `sqlite:`, for the others hold passwords.

use crate::error::{Error, Result};

/// A SQLite database named by DATABASE_URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sqlite<'a> {
    /// Its path, as the server names it.
    pub(super) path: &'a str,
    /// Whether the value is a path for certain, so that it may be shown.
    pub(super) showable: bool,
}

/// Tells which database a URL names; any but SQLite is refused.
pub(super) fn parse(url: &str) -> Result<Sqlite<'_>> {
    let url = url.trim();
    let scheme_end = url.find(':').unwrap_or(0);
    let (scheme, rest) = url.split_at_checked(scheme_end).unwrap_or(("", url));
    let rest = rest.trim_start_matches(':');
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" => Ok(Sqlite { path: rest.strip_prefix("//").unwrap_or(rest), showable: true }),
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            Ok(Sqlite { path: path.split('?').next().unwrap_or(path), showable: true })
        }
        "postgresql" => Err(other_database("postgresql://", "PostgreSQL", "pg_dump")),
        "postgres" => Err(other_database("postgres://", "PostgreSQL", "pg_dump")),
        "mysql" => Err(other_database("mysql://", "MySQL or MariaDB", "mariadb-dump or mysqldump")),
        "mariadb" => Err(other_database("mariadb://", "MySQL or MariaDB", "mariadb-dump or mysqldump")),
        _ if url.contains("://") => Err(Error::refused(
            "DATABASE_URL names a kind of database that is not known here; this command backs up SQLite only",
        )
        .hint("check DATABASE_URL; its value is not shown, for it may hold a password")),
        _ => Ok(Sqlite { path: url, showable: false }),
    }
}

fn other_database(scheme: &str, name: &str, tool: &str) -> Error {
    Error::refused(format!(
        "DATABASE_URL begins with {scheme}: this Vaultwarden keeps its data in {name}, which is not SQLite and is not \
         backed up by this command"
    ))
    .hint(format!("dump the database with {tool}, and back up the dump together with the data folder"))
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
            assert_eq!(parse(url).unwrap().path, path, "{url}");
        }
    }

    #[test]
    fn other_databases_are_refused_without_their_passwords() {
        for scheme in ["postgresql", "postgres", "mysql", "mariadb", "PostgreSQL", "oracle", "hunter2"] {
            let error = parse(&format!("{scheme}://user:hunter2@host/vaultwarden")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let shown = format!("{} {}", error.chain(), error.next_step().unwrap());
            assert!(!shown.contains("hunter2") && !shown.contains("host/"), "{shown}");
        }
        assert!(parse("postgresql://x").unwrap_err().chain().contains("postgresql://"));
    }
}
