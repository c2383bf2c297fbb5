//! The maxima that bound memory and time, whatever a store hands back.
//!
//! Follows `format-spec/13-limits.md`; a test compares its table with these constants.
//! Invariant: every length read from outside is compared with one of these before anything is allocated.

/// Largest plaintext of one blob, in bytes.
pub const BLOB_PLAIN_MAX: usize = 8 << 20;
/// Largest pack, in bytes.
pub const PACK_MAX: u64 = 128 << 20;
/// Largest index object, in bytes.
pub const INDEX_MAX: u64 = 96 << 20;
/// Largest snapshot manifest, in bytes.
pub const SNAPSHOT_MAX: u64 = 16 << 20;
/// Most items in a manifest: its encoding is short beside what an item takes in memory.
pub const SNAPSHOT_ITEMS_MAX: usize = 1 << 18;
/// Largest config, key slot, session or mark, in bytes.
pub const SMALL_OBJECT_MAX: u64 = 1 << 20;
/// Largest gc record, in bytes.
pub const GC_MAX: u64 = 64 << 20;
/// Most envelopes that one pack or index object may carry.
pub const ENVELOPES_MAX: usize = 65_535;
/// Greatest height of a snapshot's tree or of a list of chunks.
pub const LEVEL_MAX: u8 = 12;
/// Most lists of chunks that a file may have.
pub const LISTS_MAX: usize = 1 << 20;
/// Most chunks named in a node itself.
pub const INLINE_CHUNKS_MAX: usize = 32;
/// Most bytes of names and values of extended attributes that a node may have.
pub const ATTRIBUTES_MAX: usize = 1 << 20;
/// Most holes that a node may have.
pub const HOLES_MAX: usize = 4096;
/// Most key slots that are looked at.
pub const KEY_SLOTS_MAX: usize = 1024;
/// Most memory that a password slot may ask Argon2id for, in KiB.
pub const ARGON2_MEMORY_MAX_KIB: u32 = 1 << 20;
/// Most passes that a password slot may ask Argon2id for.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Most lanes that a password slot may ask Argon2id for.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Longest password accepted, in bytes.
pub const PASSWORD_MAX: usize = 4096;
/// Longest label, host name, tag or other text in an object, in bytes.
pub const TEXT_MAX: usize = 4096;
