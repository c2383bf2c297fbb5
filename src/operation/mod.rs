//! What a person asks for, whole: each operation from its first look to its last write.

mod announce;
mod aside;
pub mod backup;
pub mod browse;
pub mod check;
pub mod copy;
pub mod diff;
mod doubt;
pub mod dump;
pub mod find;
pub mod forget;
pub mod key;
pub mod needed;
pub mod prune;
pub mod recommit;
pub mod repair;
pub mod restore;
pub mod restore_service;
pub mod restore_vaultwarden;
pub mod rewrite;
pub mod stats;
pub mod tag;
pub mod unforget;
pub mod unlock;
pub mod versions;
