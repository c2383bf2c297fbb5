//! Servers for tests: each private to its test, on a socket in a folder of its own, stopped when it goes out of scope.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod ssh;
