//! Which of the two kinds of server this is, and whether a client of that kind is at hand.
//!
//! MariaDB and MySQL have gone apart: a client of the one fails at servers of the other, or passes over what only that
//! one has (sequences, packages, roles, generated keys) without a word.

use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// The first MySQL that MariaDB's clients do not understand.
const MYSQL_APART: u32 = 8;

/// A kind of server or client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    MariaDb,
    MySql,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb-client",
            Self::MySql => "mysql-client",
        }
    }
}

/// A version of a server or a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) family: Family,
    major: u32,
    minor: u32,
    text: String,
}

impl Version {
    /// Of what a server says of itself, such as `10.11.19-MariaDB-0+deb12u1` or `8.0.36`.
    pub(super) fn of_server(text: &str) -> Result<Self> {
        Self::new(text, text).ok_or_else(|| strange("the server", text))
    }

    /// Of what a client says with `--version`: its own number stands behind `Distrib`, `from` or `Ver`.
    pub(super) fn of_client(said: &str) -> Result<Self> {
        let behind = ["Distrib ", "from ", "Ver "].iter().find_map(|word| Some(said.split_once(word)?.1));
        behind.and_then(|text| Self::new(text, said)).ok_or_else(|| strange("the client", said))
    }

    /// Of what [`Version::shown`] gives.
    pub(super) fn of_shown(text: &str) -> Option<Self> {
        Self::new(text.split_whitespace().next_back()?, text)
    }

    /// Whether it is newer than another, its last numbers aside.
    pub(super) fn is_newer(&self, other: &Self) -> bool {
        (self.major, self.minor) > (other.major, other.minor)
    }

    fn new(text: &str, said: &str) -> Option<Self> {
        let text = text.split(|other: char| other.is_whitespace() || other == ',').next()?;
        let number = text.split('-').next()?;
        let mut parts = number.split('.').map(str::parse::<u32>);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let family = if said.contains("MariaDB") { Family::MariaDb } else { Family::MySql };
        Some(Self { family, major, minor, text: number.to_owned() })
    }

    /// Whether a server of this version takes statements of 16 MiB, unless it is told otherwise.
    pub(super) fn takes_long_statements(&self) -> bool {
        self.family == Family::MariaDb || self.major >= MYSQL_APART
    }

    /// As it is shown: `MariaDB 10.11.19`.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.family.name(), printable(self.text.as_bytes()))
    }
}

fn strange(what: &str, text: &str) -> Error {
    let text = printable(text.trim().as_bytes());
    Error::new(ErrorKind::Unsupported, format!("cannot tell the version of {what} from `{text}`"))
}

/// Refuses a client that would fail or lose something; gives what is worth knowing of one that will do.
pub(super) fn check(server: &Version, client: &Version) -> Result<Option<String>> {
    let together =
        server.family == client.family || (client.family == Family::MariaDb && server.major < MYSQL_APART);
    if !together {
        let why = format!(
            "this server is {}, and the dump program here is one of {}, which loses what only {} has",
            server.shown(),
            client.shown(),
            server.family.name()
        );
        return Err(Error::new(ErrorKind::Unsupported, why).hint(remedy(server)));
    }
    if server.family != client.family {
        return Ok(Some(format!("{} was dumped by a program of {}", server.shown(), client.shown())));
    }
    if client.major < server.major {
        let why = format!(
            "this server is {}, and the dump program here is of {}, which is too old for it",
            server.shown(),
            client.shown()
        );
        return Err(Error::new(ErrorKind::Unsupported, why).hint(remedy(server)));
    }
    let older = client.major == server.major && client.minor < server.minor;
    Ok(older.then(|| {
        format!(
            "the dump program is of {}, older than the server: it passes over what is new since",
            client.shown()
        )
    }))
}

fn remedy(server: &Version) -> String {
    let family = server.family;
    format!(
        "install {}'s clients of version {}.{} or newer ({}), or run those in the server's container with --prefix \
         'docker exec -i NAME'",
        family.name(),
        server.major,
        server.minor,
        family.packages()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_shown() {
        let version = |text: &str| Version::of_shown(text).unwrap();
        let server = Version::of_server("10.11.19-MariaDB-0+deb12u1").unwrap();
        assert_eq!(version(&server.shown()).shown(), server.shown());
        assert!(version("MariaDB 11.4.2").is_newer(&server) && !version("MariaDB 10.11.2").is_newer(&server));
        assert!(Version::of_shown("").is_none());
    }

    const MARIADB_CLIENT: &str =
        "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)";

    #[test]
    fn versions_are_read_as_they_are_written() {
        for (said, shown) in [
            (MARIADB_CLIENT, "MariaDB 10.11.19"),
            ("mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", "MariaDB 11.4.2"),
            ("mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", "MySQL 8.0.36"),
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", "MySQL 5.7.44"),
        ] {
            assert_eq!(Version::of_client(said).unwrap().shown(), shown);
        }
        for (said, shown) in [
            ("10.11.19-MariaDB-0+deb12u1", "MariaDB 10.11.19"),
            ("8.4.0", "MySQL 8.4.0"),
            ("5.7.44-log", "MySQL 5.7.44"),
        ] {
            assert_eq!(Version::of_server(said).unwrap().shown(), shown);
        }
        for text in ["", "x", "10", "MariaDB", "mysqldump Ver"] {
            assert_eq!(Version::of_server(text).unwrap_err().kind(), ErrorKind::Unsupported);
            assert_eq!(Version::of_client(text).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_client_of_the_other_kind_or_too_old_is_refused() {
        let client =
            |version: &str| Version::of_client(&format!("mysqldump  Ver {version} for Linux")).unwrap();
        let mariadb = Version::of_client(MARIADB_CLIENT).unwrap();
        let server = |version: &str| Version::of_server(version).unwrap();
        assert_eq!(check(&server("10.11.4-MariaDB"), &mariadb).unwrap(), None);
        assert_eq!(check(&server("10.5.4-MariaDB"), &mariadb).unwrap(), None);
        assert_eq!(check(&server("8.0.36"), &client("8.4.0")).unwrap(), None);
        assert!(check(&server("8.4.0"), &client("8.0.36")).unwrap().unwrap().contains("older"));
        assert!(check(&server("5.7.44"), &mariadb).unwrap().unwrap().contains("was dumped by"));
        for (server, client) in [
            (server("8.0.36"), &mariadb),
            (server("10.11.4-MariaDB"), &client("8.0.36")),
            (server("11.4.2-MariaDB"), &mariadb),
            (server("9.1.0"), &client("8.4.0")),
        ] {
            let error = check(&server, client).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.next_step().unwrap().contains("docker exec"), "{:?}", error.next_step());
        }
    }
}
