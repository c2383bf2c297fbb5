//! Versions of servers and clients: a client older than the server cannot dump it.

use crate::error::{Error, ErrorKind, Result};

/// A major version: 15, or 9.6 as 906.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Major(u32);

/// The first version whose number of two parts became one.
const ONE_PART_SINCE: u32 = 10;

impl Major {
    fn new(first: u32, second: u32) -> Self {
        if first >= ONE_PART_SINCE {
            Self(first.saturating_mul(100))
        } else {
            Self(first.saturating_mul(100).saturating_add(second))
        }
    }

    /// Of a server's `server_version_num`, such as `150018` or `90624`.
    pub(super) fn of_number(text: &str) -> Option<Self> {
        let number: u32 = text.trim().parse().ok()?;
        Some(Self::new(number / 10_000, number % 10_000 / 100)).filter(|major| major.0 > 0)
    }

    /// Of what a client says with `--version`, such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub(super) fn of_client(text: &str) -> Option<Self> {
        let word =
            text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let mut numbers = word.split(|other: char| !other.is_ascii_digit());
        let first = numbers.next()?.parse().ok()?;
        let second = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Some(Self::new(first, second))
    }

    /// Whether a standby of this version lends its view of the data to others.
    pub(super) fn standby_exports(self) -> bool {
        self >= Self::new(ONE_PART_SINCE, 0)
    }

    fn package(self) -> String {
        let (first, second) = (self.0 / 100, self.0 % 100);
        if first >= ONE_PART_SINCE {
            format!("postgresql-client-{first}")
        } else {
            format!("postgresql-client-{first}.{second}")
        }
    }
}

/// Refuses a client that is older than the server. `server` is its version as text, `client` what the client says, and
/// `purpose` what it is to do.
pub(super) fn check(program: &str, server: &str, number: &str, client: &str, purpose: &str) -> Result<Major> {
    let short = |text: &str| {
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
    };
    let strange = |what: &str, text: &str| {
        let text = crate::report::printable(text.as_bytes());
        Error::new(ErrorKind::Unsupported, format!("cannot tell the version of {what} from `{text}`"))
    };
    let server_major = Major::of_number(number).ok_or_else(|| strange("the server", number))?;
    let client_major = Major::of_client(client).ok_or_else(|| strange(program, client))?;
    if client_major >= server_major {
        return Ok(server_major);
    }
    let server = short(server).unwrap_or_default();
    let found = short(client).unwrap_or_default();
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "this server is PostgreSQL {server}, {program} here is {found}, which is too old to {purpose}"
        ),
    )
    .hint(format!(
        "install {}, or run the one in the server's container with --prefix 'docker exec -i NAME'",
        server_major.package()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_older_than_the_server_is_refused() {
        let client = |version| format!("pg_dump (PostgreSQL) {version}");
        for (server, number, version) in [
            ("15.18 (Debian 15.18-0+deb12u1)", "150018", "15.18 (Debian 15.18-0+deb12u1)"),
            ("15.18", "150018", "15.1"),
            ("15.18", "150018", "16.2"),
            ("15.18", "150018", "19devel"),
            ("9.6.24", "90624", "9.6.1"),
            ("9.6.24", "90624", "10.1"),
        ] {
            assert!(
                check("pg_dump", server, number, &client(version), "dump it").is_ok(),
                "{server} {version}"
            );
        }
        let error = check("pg_dump", "16.2 (Debian 16.2-1)", "160002", &client("15.18 (Debian)"), "dump it")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "this server is PostgreSQL 16.2, pg_dump here is 15.18, which is too old to dump it"
        );
        let hint = error.next_step().unwrap();
        assert!(hint.contains("postgresql-client-16,") && hint.contains("docker exec -i"), "{hint}");
        let error = check("pg_dump", "9.6.24", "90624", &client("9.5.2"), "dump it").unwrap_err();
        assert!(error.next_step().unwrap().contains("postgresql-client-9.6"));
        for (number, version) in [("", "15.1"), ("x", "15.1"), ("150001", "devel"), ("150001", "")] {
            assert_eq!(
                check("pg_dump", "", number, &client(version), "dump it").unwrap_err().kind(),
                ErrorKind::Unsupported
            );
        }
    }

    #[test]
    fn a_standby_lends_its_view_since_10() {
        assert!(!Major::of_number("90624").unwrap().standby_exports());
        assert!(Major::of_number("100001").unwrap().standby_exports());
    }
}
