//! Which clients there are: MariaDB's or MySQL's, here or behind a prefix.

use super::version::{self, Family, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::source::server::Options;
use crate::source::server::client::Client;
use crate::source::stream::Patience;

/// Longest answer about the programs, in bytes.
const ANSWER_MAX: usize = 16 << 10;
/// Tells of each pair that is there how it is called, and what it says of its version.
const SCRIPT: &str = "for pair in mariadb-dump:mariadb mysqldump:mysql; do dump=${pair%%:*} client=${pair##*:}; \
    if command -v \"$dump\" >/dev/null && command -v \"$client\" >/dev/null; then \
    echo \"$dump $client $(\"$dump\" --version 2>/dev/null)\"; fi; done";

/// A pair of programs: one dumps, one asks.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) dump: String,
    pub(super) ask: String,
    pub(super) version: Version,
}

impl Programs {
    pub(super) fn family(&self) -> Family {
        self.version.family
    }

    /// Looks for them; gives at least one.
    pub(super) fn find(options: &Options, patience: &Patience) -> Result<Vec<Self>> {
        let mut client = Client::new("sh");
        client.arguments = ["-c", SCRIPT].map(Into::into).to_vec();
        let mut running = client.start(options, patience)?;
        running.told_all();
        let mut buffer = vec![0; ANSWER_MAX];
        let read = running.fill(&mut buffer)?;
        running.finish()?;
        let said = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        let mut found: Vec<Self> = said.lines().map(programs).collect::<Result<_>>()?;
        // MariaDB's clients often go by MySQL's names as well.
        found.dedup_by(|one, other| one.version == other.version);
        if found.is_empty() {
            return Err(missing(!options.prefix.is_empty()));
        }
        Ok(found)
    }

    /// The pair that is of the server's kind, or else the first.
    pub(super) fn choose(found: &[Self], server: &Version) -> Result<(Self, Option<String>)> {
        let own = found.iter().find(|programs| programs.family() == server.family);
        let programs = own.or(found.first()).ok_or_else(|| missing(false))?;
        Ok((programs.clone(), version::check(server, &programs.version)?))
    }
}

fn programs(line: &str) -> Result<Programs> {
    let mut words = line.splitn(3, ' ');
    let (dump, ask, said) = (words.next(), words.next(), words.next());
    let version = Version::of_client(said.unwrap_or_default())?;
    Ok(Programs {
        dump: dump.unwrap_or_default().to_owned(),
        ask: ask.unwrap_or_default().to_owned(),
        version,
    })
}

fn missing(behind_prefix: bool) -> Error {
    let (place, step) = if behind_prefix {
        (
            "where the prefix leads",
            "check the prefix, such as 'docker exec -i NAME', or install mariadb-client there",
        )
    } else {
        (
            "here",
            "install mariadb-client (for MySQL 8 and newer MySQL's own mysql-client), or run those in the server's \
             container with --prefix 'docker exec -i NAME'",
        )
    };
    let what = format!("neither mariadb-dump with mariadb nor mysqldump with mysql is installed {place}");
    Error::new(ErrorKind::Missing, what).hint(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_of_the_servers_kind_is_chosen() {
        let found: Vec<Programs> = [
            "mariadb-dump mariadb mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)",
            "mysqldump mysql mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)",
        ]
        .iter()
        .map(|line| programs(line).unwrap())
        .collect();
        for (server, dump) in [("8.0.30", "mysqldump"), ("10.11.2-MariaDB", "mariadb-dump")] {
            let (programs, note) = Programs::choose(&found, &Version::of_server(server).unwrap()).unwrap();
            assert_eq!((programs.dump.as_str(), note), (dump, None));
        }
        assert!(Programs::choose(&found[..1], &Version::of_server("8.0.30").unwrap()).is_err());
        assert!(programs("mysqldump mysql").is_err());
    }
}
