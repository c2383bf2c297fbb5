//! Database servers as targets: a dump goes back into a database, and the server says what it holds then.
//!
//! Invariants: what holds something is never filled, only swapped as a whole against what was filled beside it. Nothing is
//! removed but what was made here. Passwords stand in no argument and in no message.

use std::io::Write;
use std::time::Duration;

use super::Row;
use crate::error::{Error, Result};
use crate::format::snapshot::{DumpKind, DumpReport, TableRows};
use crate::report::Finding;
use crate::source::stream::Patience;

/// How often, and with what pause, is looked for whoever is connected before that counts.
pub(super) const LOOKS: u32 = 10;
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Writes a dump; again from its beginning at each call.
pub type Content<'a> = dyn Fn(&mut dyn Write) -> Result<()> + 'a;

/// A server whose databases can be filled.
pub trait Target: Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// Looks at a database, and at what a dump needs there. Changes nothing.
    ///
    /// # Errors
    /// Whatever would keep the dump from being taken, with what to do about it.
    fn look(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found>;

    /// Makes a database.
    ///
    /// # Errors
    /// Where the server does not.
    fn create(&self, database: &str, shape: &Shape, patience: &Patience) -> Result<()>;

    /// Fills an empty database; tells what is not as it was.
    ///
    /// # Errors
    /// Where it cannot take all of it. A server that can takes nothing then.
    fn fill(
        &self,
        database: &str,
        shape: &Shape,
        content: &Content<'_>,
        patience: &Patience,
    ) -> Result<Vec<Finding>>;

    /// Counts the rows of every table, named as in [`DumpReport::tables`] and sorted by that.
    ///
    /// # Errors
    /// Where it cannot be asked.
    fn count(&self, database: &str, patience: &Patience) -> Result<Vec<TableRows>>;

    /// Asks a database, in SQL.
    ///
    /// # Errors
    /// Where it cannot be asked.
    fn ask_in(&self, database: &str, question: &str, patience: &Patience) -> Result<Vec<Row>>;

    /// Removes a database that was made here.
    ///
    /// # Errors
    /// Where the server does not.
    fn remove(&self, database: &str, patience: &Patience) -> Result<()>;

    /// Puts one database into the place of another, which is kept under a third name.
    ///
    /// # Errors
    /// Where the server does not, or somebody is connected: then all is as it was.
    fn swap(&self, swap: &Swap, patience: &Patience) -> Result<()>;

    /// Makes the roles that a dump of a server's globals names and the server has not; gives their names.
    ///
    /// # Errors
    /// Where this kind of server takes none, or does not allow it.
    fn make_roles(&self, globals: &Content<'_>, patience: &Patience) -> Result<Vec<String>> {
        let _ = (globals, patience);
        let name = self.about().name;
        Err(Error::refused(format!("{name} cannot be given users out of a snapshot"))
            .hint("leave --with-roles out; `strongroom dump` shows the snapshot's globals.sql"))
    }

    /// What somebody types who does a step by hand.
    fn by_hand(&self, step: &ByHand<'_>) -> Vec<String>;
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name for messages, such as `PostgreSQL at db.example:5432`.
    pub name: String,
    /// What it takes.
    pub kind: DumpKind,
    /// The database that its address names.
    pub database: Option<String>,
    /// Longest name of a database, in bytes.
    pub name_max: usize,
    /// Whether a dump that fails leaves nothing behind in its database.
    pub transactional: bool,
}

/// What is to be restored, and where.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The database that is to be filled, or whose place is to be taken.
    pub database: &'a str,
    /// What the manifest says of the dump.
    pub dump: &'a DumpReport,
    /// The dump.
    pub content: &'a Content<'a>,
    /// The dump of the server's roles, where those that are not there are made first.
    pub globals: Option<&'a Content<'a>>,
    /// Whether its place is to be taken.
    pub in_place: bool,
}

/// What is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// The database as it is.
    pub state: State,
    /// How it is to be made and filled.
    pub shape: Shape,
    /// Who is connected to it, in words; nobody is, or it was not asked for, where there is nothing.
    pub connected: Option<String>,
    /// Roles that are not there and are made first.
    pub roles: Vec<String>,
    /// What is worth knowing before anything is done.
    pub findings: Vec<Finding>,
}

/// A database before a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none of this name.
    Absent,
    /// It holds nothing.
    Empty,
    /// It holds something: these tables, sorted, named as in [`DumpReport::tables`].
    Holds(Vec<String>),
}

/// How a database is made and filled; what is absent is left to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Whom it belongs to.
    pub owner: Option<String>,
    /// How its texts are encoded.
    pub encoding: Option<String>,
    /// How they are sorted.
    pub collation: Option<String>,
    /// What its characters are.
    pub character_types: Option<String>,
    /// Whether all of it belongs to who fills it, and nobody gets rights.
    pub without_owners: bool,
}

/// A database that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The place.
    pub database: String,
    /// What was filled.
    pub new: String,
    /// The name under which the old one is kept.
    pub aside: String,
}

/// A step that a person may do.
#[derive(Clone, Copy, Debug)]
pub enum ByHand<'a> {
    /// Make a database.
    Create(&'a str, &'a Shape),
    /// Fill it: the command that takes the dump on its standard input.
    Fill(&'a str, &'a Shape),
    /// Put it into its place.
    Swap(&'a Swap),
}
