//! What turns something on this host into nodes and streams. A source knows nothing of repositories.
//!
//! Invariant: a source leaves what it reads as it was.

pub mod command;
pub mod files;
pub mod server;
pub mod sqlite;
pub mod stream;
