//! Redis and Valkey: all that a server has, as the RDB file that it sends to a replica, taken by `redis-cli --rdb -`.
//!
//! Invariants: the server is only read. No argument of a program bears a secret. What is stored is the RDB file, to the
//! byte; one that is cut or does not fit its checksum is an error.

mod connection;
pub mod rdb;
mod remedy;

use std::ffi::OsString;

use super::address::Address;
use super::client::Client;
use super::{Dump, Finished, Options, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::report::{Reporter, printable};
use crate::source::command::Running;
use crate::source::stream::Patience;
use connection::Connection;
use rdb::{Checked, Rdb};

/// Where the dump lies in the snapshot.
const PLACE: &[u8] = b"redis/dump.rdb";
/// Longest answer to a question, in bytes.
const ANSWER_MAX: usize = 1 << 20;
/// What is read at once.
const PIECE: usize = 64 << 10;
/// Tells which client is there, and what it says of its version.
const FIND: &str = "for client in redis-cli valkey-cli; do if command -v \"$client\" >/dev/null; then \
    echo \"$client\"; \"$client\" --version; exit; fi; done";

/// A Redis server.
pub struct Redis {
    connection: Connection,
    options: Options,
}

/// What the dump has to know of its server.
#[derive(Clone)]
struct Facts {
    /// The client's name.
    program: String,
    /// What it says that it is.
    client: String,
    /// What the server says that it is.
    server: String,
    messages: Vec<String>,
}

impl Redis {
    /// A server at an address.
    ///
    /// # Errors
    /// `Refused` where it is no address of such a server, or something is asked for that it does not have.
    pub fn new(address: Address, options: Options) -> Result<Self> {
        let connection = Connection::new(address)?;
        if !(options.databases.is_empty() && options.without_rows.is_empty() && options.questions.is_empty())
        {
            return Err(Error::refused("Redis gives all of its databases at once, and whole")
                .hint("leave out which databases or tables are to be dumped"));
        }
        Ok(Self { connection, options })
    }

    fn shown(&self) -> String {
        format!("Redis at {}", self.connection.shown())
    }

    /// Whether a server answers there, be it with a refusal.
    ///
    /// # Errors
    /// Where there is no client to ask with.
    pub fn answers(&self, patience: &Patience) -> Result<bool> {
        let patience = Patience { silence: self.options.silence.or(patience.silence), ..patience.clone() };
        let (program, _) = self.find(&patience).map_err(|error| self.explain(error))?;
        let mut client = self.connection.client(&program);
        client.arguments.push("PING".into());
        match self.answer(&client, &patience) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => Ok(!error.chain().contains("Could not connect")),
        }
    }

    fn explain(&self, error: Error) -> Error {
        remedy::explain(error, format!("{} cannot be dumped", self.shown()))
    }

    /// Runs a client to its end and gives what it wrote.
    fn answer(&self, client: &Client, patience: &Patience) -> Result<String> {
        let mut running = client.start(&self.options, patience)?;
        running.told_all();
        let mut buffer = vec![0; ANSWER_MAX];
        let read = running.fill(&mut buffer)?;
        let words = running.words().unwrap_or_default();
        running.finish().map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            kind => Error::new(kind, format!("{error}: {words}")),
        })?;
        // It goes on all the same, as whoever needs no password.
        if words.contains("AUTH failed") {
            return Err(Error::new(ErrorKind::Denied, words));
        }
        Ok(String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned())
    }

    fn find(&self, patience: &Patience) -> Result<(String, String)> {
        let client = Client { arguments: ["-c", FIND].map(OsString::from).to_vec(), ..Client::new("sh") };
        let answer = self.answer(&client, patience)?;
        let found =
            answer.split_once('\n').map(|(name, said)| (name.to_owned(), printable(said.trim().as_bytes())));
        found.ok_or_else(|| {
            let step = "install redis-tools (or valkey-tools), or run the client in the server's container with \
                --prefix 'docker exec -i NAME'";
            Error::new(ErrorKind::Missing, "neither redis-cli nor valkey-cli is installed").hint(step)
        })
    }

    /// What the server tells of itself.
    fn info(&self, program: &str, patience: &Patience) -> Result<Info> {
        let mut client = self.connection.client(program);
        client.arguments.push("INFO".into());
        let answer = self.answer(&client, patience)?;
        if answer.lines().any(|line| line.starts_with("redis_version:")) {
            return Ok(Info(answer));
        }
        let shown = printable(answer.trim().as_bytes());
        Err(Error::new(ErrorKind::Io, format!("the server does not say what it is: {shown}")))
    }

    fn look(&self, patience: &Patience) -> Result<Facts> {
        let (program, client) = self.find(patience)?;
        let info = self.info(&program, patience)?;
        if info.value("loading").is_some_and(|value| value != "0") {
            return Err(Error::new(ErrorKind::Busy, "LOADING: the server is loading its data"));
        }
        let mut messages = Vec::new();
        if info.value("rdb_last_bgsave_status").is_some_and(|value| value != "ok") {
            messages.push("the server's last save to its own disk failed (see its log)".to_owned());
        }
        if self.connection.names_database() {
            messages.push("the dump holds all databases, not only the one that the address names".to_owned());
        }
        let server = match (info.value("valkey_version"), info.value("redis_version")) {
            (Some(version), _) => format!("Valkey {}", printable(version.as_bytes())),
            (None, version) => format!("Redis {}", printable(version.unwrap_or_default().as_bytes())),
        };
        Ok(Facts { program, client, server, messages })
    }
}

impl Server for Redis {
    fn name(&self) -> String {
        self.shown()
    }

    fn dispensable(&self) -> bool {
        self.options.dispensable
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        vec![PLACE.to_vec()]
    }

    fn dumps<'a>(&'a self, patience: &Patience, _: &'a dyn Reporter) -> Result<Vec<Box<dyn Dump + 'a>>> {
        let patience = Patience { silence: self.options.silence.or(patience.silence), ..patience.clone() };
        let facts = self.look(&patience).map_err(|error| self.explain(error))?;
        let rdb = Rdb::default();
        Ok(vec![Box::new(RedisDump {
            server: self,
            facts,
            patience,
            work: None,
            rdb,
            checked: None,
            bytes: 0,
        })])
    }
}

/// What `INFO` says, a value a line.
struct Info(String);

impl Info {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
    }

    /// Keys in all databases, such as `db0:keys=1,expires=0`.
    fn keys(&self) -> u64 {
        let databases = self.0.lines().filter_map(|line| {
            let (number, values) = line.strip_prefix("db")?.split_once(':')?;
            number.parse::<u32>().ok()?;
            values.strip_prefix("keys=")?.split(',').next()?.trim().parse::<u64>().ok()
        });
        databases.fold(0, u64::saturating_add)
    }
}

/// The one dump of a server.
struct RedisDump<'a> {
    server: &'a Redis,
    facts: Facts,
    patience: Patience,
    /// The client, and how many keys the server had before it began.
    work: Option<(Running, u64)>,
    rdb: Rdb,
    /// How it was checked, once it has ended.
    checked: Option<Checked>,
    bytes: u64,
}

impl RedisDump<'_> {
    fn begin(&self) -> Result<(Running, u64)> {
        let keys = self.server.info(&self.facts.program, &self.patience)?.keys();
        let mut client = self.server.connection.client(&self.facts.program);
        client.arguments.extend(["--rdb", "-"].map(OsString::from));
        let mut running = client.start(&self.server.options, &self.patience)?;
        running.told_all();
        Ok((running, keys))
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let (mut running, keys) = match self.work.take() {
            Some(work) => work,
            None => self.begin()?,
        };
        let mut piece = vec![0; PIECE];
        let mut filled = 0usize;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            let released = self.rdb.release(room);
            filled = filled.saturating_add(released);
            if released > 0 {
                continue;
            }
            if self.checked.is_some() {
                break;
            }
            let read = running.fill(&mut piece)?;
            self.rdb.feed(piece.get(..read).unwrap_or_default())?;
            if read < piece.len() {
                running = self.end(running)?;
            }
        }
        self.work = Some((running, keys));
        self.bytes = self.bytes.saturating_add(filled as u64);
        Ok(filled)
    }

    /// What the client wrote has ended: checks the file's end. Where it fails, how the client failed tells more.
    fn end(&mut self, running: Running) -> Result<Running> {
        match self.rdb.end() {
            Ok(checked) => {
                self.checked = Some(checked);
                Ok(running)
            }
            Err(error) => Err(running.finish().err().unwrap_or(error)),
        }
    }

    fn judge(&mut self) -> Result<Vec<String>> {
        let (running, before) =
            self.work.take().ok_or_else(|| Error::new(ErrorKind::Io, "nothing of it was read"))?;
        running.finish()?;
        let checked = self.checked.ok_or_else(|| Error::corrupt("the RDB file was not read to its end"))?;
        let after = self.server.info(&self.facts.program, &self.patience)?.keys();
        let mut messages = std::mem::take(&mut self.facts.messages);
        messages.push(format!("the server had {before} keys before the dump and {after} after it"));
        if checked == Checked::Form {
            messages.push("the server writes no checksums (rdbchecksum no): the file was checked by its beginning and its end alone".to_owned());
        }
        Ok(messages)
    }
}

impl Dump for RedisDump<'_> {
    fn place(&self) -> &[u8] {
        PLACE
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.take(buffer).map_err(|error| self.server.explain(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        let messages = self.judge().map_err(|error| self.server.explain(error))?;
        let report = DumpReport {
            place: PLACE.to_vec(),
            kind: DumpKind::Redis,
            database: None,
            server: Some(self.facts.server),
            client: Some(self.facts.client),
            bytes: self.bytes,
            tables: Vec::new(),
            without_rows: Vec::new(),
            messages,
        };
        Ok(Finished { report, answers: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = Info("# Server\r\nredis_version:7.0.15\r\nloading:0\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb12:keys=4,expires=1\r\ndbx:keys=9\r\n".to_owned());
        assert_eq!(info.value("redis_version"), Some("7.0.15"));
        assert_eq!((info.value("loading"), info.value("valkey_version")), (Some("0"), None));
        assert_eq!(info.keys(), 7);
    }

    #[test]
    fn what_it_does_not_have_is_refused() {
        let address = || Address::parse("redis://h").unwrap();
        assert!(Redis::new(address(), Options::default()).is_ok());
        let options = Options { databases: vec!["0".to_owned()], ..Options::default() };
        assert_eq!(Redis::new(address(), options).err().unwrap().kind(), ErrorKind::Refused);
    }
}
