//! Strongroom: backups for people who run their own services.
//!
//! From the bottom up, and no module uses one of a higher rank (a test holds them to it):
//! rank 0 `error`, `id`, `interrupt`, `limits`, `report`; rank 1 [`format`], [`crypto`], [`chunker`], [`compress`],
//! [`backend`]; rank 2 [`source`], [`repository`]; rank 3 [`service`], [`operation`]; rank 4 [`cli`], which alone
//! prints, reads the environment and decides how the process ends.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "in a test a failed step is a failed test"
    )
)]

pub mod backend;
pub mod chunker;
pub mod cli;
pub mod compress;
pub mod crypto;
pub mod error;
pub mod format;
pub mod id;
pub mod interrupt;
pub mod limits;
pub mod operation;
pub mod report;
pub mod repository;
pub mod service;
pub mod source;
