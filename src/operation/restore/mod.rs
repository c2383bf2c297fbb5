//! Bringing a snapshot back: into a new folder, never over anything.

pub mod target;
