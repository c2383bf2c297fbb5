//! Cutting streams into chunks: by content, or by database page.
//!
//! Follows `format-spec/04-chunking.md`. Invariant: where a cut falls depends on the bytes, the sizes and the
//! repository's key alone.

pub mod gear;
pub mod page;
