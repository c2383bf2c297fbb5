//! Cutting streams into chunks: by content, or by database page.
//!
//! Follows `format-spec/04-chunking.md`. Invariant: where a cut falls depends on the bytes of the stream up to there, the
//! sizes and the repository's key alone.

pub mod dump;
pub mod gear;
pub mod page;
