//! `strongroom backup --postgres`, `--mysql` and `--redis`: the options, and what they come to.
//!
//! Invariant: no password stands in an argument, where every user of the computer could read it.

use std::ffi::OsString;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::cli::config::DatabaseSource;
use crate::cli::global::variable;
use crate::cli::output::Output;
use crate::cli::password;
use crate::error::{Error, Result};
use crate::service::vaultwarden::{QUESTIONS, ServerKind};
use crate::source::server::address::Address;
use crate::source::server::mysql::Mysql;
use crate::source::server::postgres::Postgres;
use crate::source::server::redis::Redis;
use crate::source::server::target::Target;
use crate::source::server::{Options, Server};

/// How long a server may say nothing, in seconds, unless somebody says otherwise: counting a large table takes long.
const SILENCE: u64 = 600;

/// A command's words.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Words(pub(super) Vec<String>);

/// What of `backup` is about database servers.
#[derive(clap::Args, Clone, Debug, Default)]
pub(in crate::cli) struct Databases {
    /// Dump a PostgreSQL server with its own client: postgresql://USER@HOST/DATABASE, or all databases and the roles where
    /// the URL names none; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden"])]
    postgres: Vec<String>,
    /// Dump a MariaDB or MySQL server likewise: mysql://USER@HOST/DATABASE; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden", "authentik"])]
    mysql: Vec<String>,
    /// Dump a Redis server: redis://HOST; may be repeated
    #[arg(long, value_name = "URL", help_heading = "Database servers", conflicts_with_all = ["stream", "vaultwarden"])]
    redis: Vec<String>,
    /// Run the database clients through this command, such as 'docker exec -i NAME' or 'ssh HOST': its words are divided
    /// at spaces, and no shell sees them
    #[arg(long, value_name = "COMMAND", help_heading = "Database servers", conflicts_with = "stream", value_parser = parse_words)]
    prefix: Option<Words>,
    /// Leave out the rows of a table, as the client names it, and keep its definition; may be repeated
    #[arg(long, value_name = "TABLE", help_heading = "Database servers", conflicts_with = "stream")]
    without_rows: Vec<String>,
    /// Seconds that a database server may say nothing
    #[arg(
        long,
        value_name = "SECONDS",
        help_heading = "Database servers",
        default_value_t = SILENCE,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    database_timeout: u64,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    Postgres,
    Mysql,
    Redis,
}

impl Kind {
    /// Its key in a job of the configuration.
    pub(in crate::cli) fn key(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
        }
    }

    /// What its addresses begin with.
    pub(in crate::cli) fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgresql", "postgres"],
            Self::Mysql => &["mysql", "mariadb"],
            Self::Redis => &["redis", "rediss"],
        }
    }

    /// The variable of the environment that its clients take a password from.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "PGPASSWORD",
            Self::Mysql => "MYSQL_PWD",
            Self::Redis => "REDISCLI_AUTH",
        }
    }

    /// The address, with the password that the environment has where it holds none.
    fn with_password(self, mut address: Address) -> Address {
        if !address.has_password() {
            let word = variable(self.variable()).and_then(|word| word.into_string().ok());
            address.password = word.map(Zeroizing::new);
        }
        address
    }

    /// An address out of an argument.
    fn argument(self, url: &str) -> Result<Address> {
        let address = Address::parse(url)?;
        if address.has_password() {
            return Err(password_in_url(self));
        }
        Ok(self.with_password(address))
    }

    /// A server that is filled, by an address out of an argument; nothing where a running one takes no dump.
    pub(in crate::cli) fn target(self, url: &str, options: Options) -> Result<Option<Box<dyn Target>>> {
        let address = self.argument(url)?;
        Ok(match self {
            Self::Postgres => Some(Box::new(Postgres::new(address, options)?)),
            Self::Mysql => Some(Box::new(Mysql::new(address, options)?)),
            Self::Redis => None,
        })
    }

    /// A Redis server, by an address out of an argument.
    pub(in crate::cli) fn redis(url: &str, options: Options) -> Result<Redis> {
        Redis::new(Self::Redis.argument(url)?, options)
    }

    pub(super) fn server(self, address: Address, options: Options) -> Result<Box<dyn Server>> {
        let address = self.with_password(address);
        Ok(match self {
            Self::Postgres => Box::new(Postgres::new(address, options)?),
            Self::Mysql => Box::new(Mysql::new(address, options)?),
            Self::Redis => Box::new(Redis::new(address, options)?),
        })
    }
}

impl Databases {
    /// Whether somebody says what the clients are run by.
    pub(super) fn has_prefix(&self) -> bool {
        self.prefix.is_some()
    }

    /// What a job says of its service's database.
    pub(super) fn of_job(prefix: &[String]) -> Self {
        let prefix = Some(Words(prefix.to_vec())).filter(|words| !words.0.is_empty());
        Self { prefix, database_timeout: SILENCE, ..Self::default() }
    }

    /// The servers that are named.
    pub(super) fn servers(&self) -> Result<Vec<Box<dyn Server>>> {
        let named = self.named()?.into_iter();
        named.map(|(kind, address)| kind.server(address, self.options(Vec::new()))).collect()
    }

    /// Their addresses, with the passwords that the environment has.
    pub(super) fn named(&self) -> Result<Vec<(Kind, Address)>> {
        let all = [(Kind::Postgres, &self.postgres), (Kind::Mysql, &self.mysql), (Kind::Redis, &self.redis)];
        let all = all.into_iter().flat_map(|(kind, urls)| urls.iter().map(move |url| (kind, url)));
        all.map(|(kind, url)| Ok((kind, kind.argument(url)?))).collect()
    }

    /// The server of a Vaultwarden's database, which answers what must be beside it.
    pub(super) fn of_vaultwarden(&self, kind: ServerKind, address: &Address) -> Result<Box<dyn Server>> {
        let kind = match kind {
            ServerKind::Postgres => Kind::Postgres,
            ServerKind::Mysql => Kind::Mysql,
        };
        kind.server(address.clone(), self.options(QUESTIONS.map(str::to_owned).to_vec()))
    }

    pub(super) fn options(&self, questions: Vec<String>) -> Options {
        let silence = Duration::from_secs(self.database_timeout);
        Options {
            without_rows: self.without_rows.clone(),
            questions,
            ..options(self.prefix.as_ref(), Some(silence))
        }
    }
}

/// How to go about a server.
pub(in crate::cli) fn options(prefix: Option<&Words>, silence: Option<Duration>) -> Options {
    Options {
        prefix: prefix.into_iter().flat_map(|words| &words.0).map(OsString::from).collect(),
        hidden: hidden(),
        silence,
        ..Options::default()
    }
}

/// A server that a job names.
pub(super) fn of_source(kind: Kind, source: &DatabaseSource, output: &Output) -> Result<Box<dyn Server>> {
    let (address, options) = address_of(source, output)?;
    kind.server(address, options)
}

/// Where a server that a job names is, with its password, and how to go about it.
pub(super) fn address_of(source: &DatabaseSource, output: &Output) -> Result<(Address, Options)> {
    let no_url = || Error::refused("a database server has no address").hint("add `url`");
    let mut address = source.url.clone().ok_or_else(no_url)?;
    let password = match (&source.password_file, &source.password_command) {
        (Some(file), _) => Some(password::from_file(file)?),
        (None, Some(command)) => Some(password::from_command(command.as_ref(), output)?),
        (None, None) => None,
    };
    if let Some(bytes) = password {
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::refused(format!("the password of {} is not UTF-8", address.shown()))
                .hint("change it on the server")
        })?;
        address.password = Some(Zeroizing::new(text.to_owned()));
    }
    let options = Options {
        prefix: source.prefix.iter().map(OsString::from).collect(),
        hidden: hidden(),
        databases: source.databases.clone(),
        without_rows: source.without_rows.clone(),
        questions: Vec::new(),
        silence: Some(source.timeout.unwrap_or(Duration::from_secs(SILENCE))),
        ..Options::default()
    };
    Ok((address, options))
}

/// What opens the repository is nothing for a client.
fn hidden() -> Vec<OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.as_encoded_bytes().starts_with(b"STRONGROOM_")).collect()
}

/// The words of a command, divided at spaces.
pub(in crate::cli) fn parse_words(text: &str) -> std::result::Result<Words, String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        Err("give a command, such as 'docker exec -i NAME'".to_owned())
    } else {
        Ok(Words(words))
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
