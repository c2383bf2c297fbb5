//! `strongroom backup --postgres`, `--mysql` and `--redis`: the options, and what they come to.
//!
//! Invariant: no password stands in an argument, where every user of the computer could read it.

use std::ffi::OsString;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::global::variable;
use crate::error::{Error, Result};
use crate::service::vaultwarden::{QUESTIONS, ServerKind};
use crate::source::server::address::Address;
use crate::source::server::mysql::Mysql;
use crate::source::server::postgres::Postgres;
use crate::source::server::redis::Redis;
use crate::source::server::{Options, Server};

/// What of `backup` is about database servers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(in crate::cli) struct Databases {
    /// Dump a PostgreSQL server with its own client: postgresql://USER@HOST/DATABASE, or all databases and the roles where
    /// the URL names none; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden"])]
    postgres: Vec<String>,
    /// Dump a MariaDB or MySQL server likewise: mysql://USER@HOST/DATABASE; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden"])]
    mysql: Vec<String>,
    /// Dump a Redis server: redis://HOST; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden"])]
    redis: Vec<String>,
    /// Run the database clients through this command, such as 'docker exec -i NAME' or 'ssh HOST': its words are divided
    /// at spaces, and no shell sees them
    #[arg(long, value_name = "COMMAND", help_heading = "Database servers", conflicts_with = "stream")]
    prefix: Option<String>,
    /// Leave out the rows of a table, as the client names it, and keep its definition; may be repeated
    #[arg(long, value_name = "TABLE", help_heading = "Database servers", conflicts_with = "stream")]
    without_rows: Vec<String>,
    /// Seconds that a database server may say nothing
    #[arg(
        long,
        value_name = "SECONDS",
        help_heading = "Database servers",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    database_timeout: u64,
}

/// A kind of server, and what it takes its password from.
#[derive(Clone, Copy)]
enum Kind {
    Postgres,
    Mysql,
    Redis,
}

impl Kind {
    /// The variable of the environment that its clients know.
    fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "PGPASSWORD",
            Self::Mysql => "MYSQL_PWD",
            Self::Redis => "REDISCLI_AUTH",
        }
    }

    fn server(self, address: Address, options: Options) -> Result<Box<dyn Server>> {
        Ok(match self {
            Self::Postgres => Box::new(Postgres::new(address, options)?),
            Self::Mysql => Box::new(Mysql::new(address, options)?),
            Self::Redis => Box::new(Redis::new(address, options)?),
        })
    }
}

impl Databases {
    /// The servers that are named.
    pub(super) fn servers(&self) -> Result<Vec<Box<dyn Server>>> {
        let all = [(Kind::Postgres, &self.postgres), (Kind::Mysql, &self.mysql), (Kind::Redis, &self.redis)];
        let all = all.into_iter().flat_map(|(kind, urls)| urls.iter().map(move |url| (kind, url)));
        all.map(|(kind, url)| {
            let mut address = Address::parse(url)?;
            if address.password.is_some() || address.parameter("password").is_some() {
                return Err(password_in_url(kind));
            }
            address.password =
                variable(kind.variable()).and_then(|word| word.into_string().ok()).map(Zeroizing::new);
            kind.server(address, self.options(Vec::new()))
        })
        .collect()
    }

    /// The server of a Vaultwarden's database, which answers what must be beside it.
    pub(super) fn of_vaultwarden(&self, kind: ServerKind, address: &Address) -> Result<Box<dyn Server>> {
        let kind = match kind {
            ServerKind::Postgres => Kind::Postgres,
            ServerKind::Mysql => Kind::Mysql,
        };
        kind.server(address.clone(), self.options(QUESTIONS.map(str::to_owned).to_vec()))
    }

    fn options(&self, questions: Vec<String>) -> Options {
        let hidden = std::env::vars_os().map(|(name, _)| name);
        let hidden = hidden.filter(|name| name.as_encoded_bytes().starts_with(b"STRONGROOM_")).collect();
        let prefix = self.prefix.as_deref().unwrap_or_default();
        Options {
            prefix: prefix.split_whitespace().map(OsString::from).collect(),
            hidden,
            databases: Vec::new(),
            without_rows: self.without_rows.clone(),
            questions,
            silence: Some(Duration::from_secs(self.database_timeout)),
        }
    }
}

fn password_in_url(kind: Kind) -> Error {
    let variable = kind.variable();
    let file = match kind {
        Kind::Postgres => ", or in ~/.pgpass",
        Kind::Mysql => ", or in ~/.my.cnf",
        Kind::Redis => "",
    };
    Error::refused("a password in an argument can be read by every user of this computer, and stays in the shell's history")
        .hint(format!("leave it out of the URL, and put it into the environment as {variable}{file}"))
}
