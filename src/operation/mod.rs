//! What a person asks for, whole: each operation from its first look to its last write.

pub mod restore;
