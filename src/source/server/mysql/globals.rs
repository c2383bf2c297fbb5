//! What a server has beside its databases: users, and what they may; as SQL of `mariadb-dump --system=users`, or put
//! together from the answers of a MySQL server, whose client has no such option.
//!
//! Invariant: it is whole only where its last line says so, and it makes at least one user.

use super::script::Script;
use super::session::{self, Session};
use super::version::Family;
use super::{Facts, Mysql, place, remedy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::source::command::Running;
use crate::source::server::{Dump, Finished};
use crate::source::stream::Patience;

/// Users of MySQL's own.
const USERS: &str = "SELECT user, host FROM mysql.user WHERE user NOT IN ('mysql.sys', 'mysql.session', \
    'mysql.infoschema') ORDER BY user, host";
/// Password hashes as they can be put back.
const AS_HEX: &str = "/*!80017 SET SESSION print_identified_with_as_hex = ON */";

/// The dump of a server's users.
pub(super) struct GlobalsDump<'a> {
    server: &'a Mysql,
    facts: Facts,
    patience: Patience,
    work: Option<Work>,
    script: Script,
    users: Users,
    bytes: u64,
}

/// Where it comes from.
enum Work {
    Client(Running),
    Text(Vec<u8>),
}

/// Looks for what makes a user, wherever the pieces are cut.
#[derive(Default)]
struct Users {
    tail: Vec<u8>,
    seen: bool,
}

impl Users {
    const MARK: &[u8] = b"CREATE USER ";

    fn feed(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        self.seen |= self.tail.windows(Self::MARK.len()).any(|window| window == Self::MARK);
        self.tail.drain(..self.tail.len().saturating_sub(Self::MARK.len()));
    }
}

impl<'a> GlobalsDump<'a> {
    pub(super) fn new(server: &'a Mysql, facts: Facts, patience: Patience) -> Self {
        Self {
            server,
            facts,
            patience,
            work: None,
            script: Script::default(),
            users: Users::default(),
            bytes: 0,
        }
    }

    fn explain(&self, error: Error) -> Error {
        remedy::explain(error, format!("the users of {} cannot be dumped", self.server.shown()))
    }

    fn begin(&self) -> Result<Work> {
        let programs = &self.facts.programs;
        if programs.family() == Family::MySql || self.facts.server.family == Family::MySql {
            let mut session = self.server.session(programs, None, &self.patience)?;
            let text = asked(&mut session)?;
            session.close()?;
            return Ok(Work::Text(text.into_bytes()));
        }
        let mut client = self.server.connection.client(&programs.dump, programs.family());
        client.arguments.extend(["--system=users", "--skip-dump-date"].map(Into::into));
        let mut running = client.start(&self.server.options, &self.patience)?;
        running.told_all();
        Ok(Work::Client(running))
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.begin()?,
        };
        let read = match &mut work {
            Work::Client(running) => running.fill(buffer)?,
            Work::Text(text) => {
                let length = text.len().min(buffer.len());
                for (to, from) in buffer.iter_mut().zip(text.drain(..length)) {
                    *to = from;
                }
                length
            }
        };
        self.work = Some(work);
        let piece = buffer.get(..read).unwrap_or_default();
        self.script.feed(piece)?;
        self.users.feed(piece);
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }

    fn judge(&mut self) -> Result<()> {
        if let Some(Work::Client(running)) = self.work.take() {
            running.finish()?;
        }
        std::mem::take(&mut self.script).finish().map_err(|error| error.hint("run the backup again"))?;
        if !self.users.seen {
            return Err(
                Error::corrupt("what came makes no user").hint("run `mariadb-dump --system=users` by hand")
            );
        }
        Ok(())
    }
}

impl Dump for GlobalsDump<'_> {
    fn place(&self) -> &[u8] {
        place::GLOBALS.as_bytes()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.take(buffer).map_err(|error| self.explain(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        self.judge().map_err(|error| self.explain(error))?;
        let report = DumpReport {
            place: place::GLOBALS.as_bytes().to_vec(),
            kind: DumpKind::MysqlGlobals,
            database: None,
            server: Some(self.facts.server.shown()),
            client: Some(self.facts.programs.version.shown()),
            bytes: self.bytes,
            tables: Vec::new(),
            without_rows: Vec::new(),
            messages: Vec::new(),
        };
        Ok(Finished { report, answers: Vec::new() })
    }
}

/// Users and what they may, one statement a line: all users first, for grants may name others.
fn asked(session: &mut Session) -> Result<String> {
    let mut text = String::from("-- Users and grants\n");
    let users = session.rows(USERS)?;
    session.ask(AS_HEX)?;
    for statement in ["SHOW CREATE USER", "SHOW GRANTS FOR"] {
        for user in &users {
            let [Some(user), Some(host)] = user.as_slice() else {
                return Err(Error::new(ErrorKind::Io, "the server gave another answer than was asked for"));
            };
            let account = format!("{}@{}", session::name(user), session::name(host));
            for row in session.rows(&format!("{statement} {account}"))? {
                text.extend(row.into_iter().flatten());
                text.push_str(";\n");
            }
        }
    }
    text.push_str("\n-- Dump completed\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_seen_wherever_the_pieces_are_cut() {
        for cut in 0..20 {
            let (one, other) = b"xxx CREATE USER `a`;".split_at(cut);
            let mut users = Users::default();
            users.feed(one);
            users.feed(other);
            assert!(users.seen, "{cut}");
        }
        let mut users = Users::default();
        users.feed(b"CREATE USERS");
        assert!(!users.seen);
    }
}
