//! authentik: where it keeps its parts, and whether a copy of them fits together.
//!
//! A backup goes through these steps: [`discover`] reads the compose file and what it leads to; the caller dumps the database
//! first, asking [`questions`] in the dump's own view, and stores the files after it; [`from_answers`] reads what the rows say must
//! exist; a [`Proof`] compares this with the files that were stored.
//!
//! Invariant: everything read here may be hostile or damaged. Nothing out of the database becomes a path unless it is made of plain
//! names, and no setting that may hold a secret is ever shown.

mod compose;
mod contents;
mod env_file;
mod interpolate;
mod layout;
mod proof;
mod release;
mod service;
mod settings;
mod transient;
mod yaml;

pub use contents::{Contents, from_answers, question_of_release, questions};
pub use layout::{External, Item, Layout, Options, Server, discover};
pub use proof::{Ask, Outcome, Proof, places};
pub use release::{Refusal, Release, refusal};
pub use transient::TRANSIENT;

/// Its name in a manifest.
pub const NAME: &str = "authentik";
/// What a manifest calls a folder in which uploaded files may lie.
pub const UPLOADS: &str = "uploaded files";
