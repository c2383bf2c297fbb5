//! Strongroom: backups for people who run their own services.
pub mod error;
pub mod format;
pub mod id;
pub mod report;
