//! Vaultwarden: where it keeps its parts, and whether a copy of them fits together.
//!
//! A backup goes through these steps, each with what the one before it gave:
//! [`discover`] finds the parts, wherever the settings moved them; the caller copies the database first and
//! the files after it; [`read`] lists what the database's copy says must exist; a [`Proof`] compares this with
//! the files that were stored, and asks the live server again about everything that does not fit.
//!
//! Invariant: everything read here may be hostile or damaged. Nothing out of the database becomes a path
//! unless it is a plain name, and no setting that may hold a secret is ever shown.

mod contents;
mod database_url;
mod dotenv;
mod finder;
mod folder;
pub mod generator;
mod layout;
mod live;
mod live_server;
mod paths;
mod proof;
mod remembered;
mod resync;
mod settings;
mod taken_out;
#[cfg(test)]
pub(super) mod testing;
mod timestamp;

pub use contents::{Contents, Expected, Kind, QUESTIONS, Unusable, from_answers, read};
pub use database_url::{Database, ServerKind};
pub use finder::{DATABASE_PLACE, ENVIRONMENT_PLACE, Item, SECOND_ENVIRONMENT_PLACE, SETTINGS_FILE};
pub use folder::{ASIDE, RESTORING, RESTORING_NOTE, is_half_restored, is_ours, looks_like_one};
pub use layout::{Layout, Options, discover};
pub use live::{FileNow, LiveDatabase, Recheck};
pub use live_server::Ask;
pub use proof::{Outcome, Proof, Tally};
pub use remembered::{recall, remember};
pub use resync::resync_clients;
pub use settings::{Key, Setting, Settings};
pub use taken_out::take_out;
