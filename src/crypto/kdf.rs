//! From a password to a key: Argon2id (RFC 9106).
//!
//! Follows `format-spec/03-cryptography.md#passwords`. Parameters come from a file that anybody may have
//! written: whoever calls this has held them against the limits first.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::secret::{SECRET_LEN, Secret};
use crate::error::{Error, ErrorKind, Result};

/// What Argon2id is asked to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// What RFC 9106 section 4 advises where memory is short, as it is on a small server at night.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// The least that the crate allows: for tests.
    pub const LEAST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };
}

/// Stretches a password.
pub fn stretch(password: &[u8], salt: &[u8; 32], cost: Cost) -> Result<Secret> {
    let fail = |error: argon2::Error| Error::new(ErrorKind::Io, format!("Argon2id failed: {error}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(SECRET_LEN)).map_err(fail)?;
    let mut blocks: Vec<Block> = Vec::new();
    blocks.try_reserve_exact(params.block_count()).map_err(|error| {
        Error::new(ErrorKind::Io, format!("no memory for the password's {} KiB", cost.memory_kib))
            .caused_by(error)
    })?;
    blocks.resize(params.block_count(), Block::default());
    let mut key = [0; SECRET_LEN];
    let stretched = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        password,
        salt,
        &mut key,
        &mut blocks,
    );
    // The crate leaves its memory as it is.
    blocks.iter_mut().for_each(Zeroize::zeroize);
    let secret = Secret::new(key);
    key.zeroize();
    stretched.map_err(fail)?;
    Ok(secret)
}
