//! What the program knows of the services it backs up: where they keep things, and what makes a copy whole.
//!
//! Invariant: a service names places and judges copies. It walks no folder, opens no repository, and never
//! writes to what it looks at.

pub mod authentik;
mod counting;
mod small_file;
pub mod vaultwarden;
