//! Bytes and structs: one file per chapter of `format-spec/`.

pub mod node;
