//! What is fuzzed: one function for each decoder of bytes that somebody else may have written.
//!
//! Each takes any bytes, and panics where the program breaks a promise: a decoder answers with a value that has just
//! these bytes, or with an error that says they are damaged; it keeps its limits, and it ends. The suite runs them over
//! the vectors and mutations of them, and `fuzz/` under libFuzzer; both share these files.
//!
//! Invariant: a target depends on its bytes alone. What it leaves in a store or a folder, it removes.

pub(crate) mod bench;
mod bytes;
mod cutting;
mod dumps;
pub(crate) mod local;
mod records;
mod sealed;
mod texts;
mod walks;

use std::cell::Cell;

use strongroom::error::{ErrorKind, Result};

pub(crate) use bytes::sized;

/// A function to be fuzzed.
pub(crate) struct Target {
    /// Its name: of its corpus, and on the command line.
    pub(crate) name: &'static str,
    /// What it does with the bytes.
    pub(crate) run: fn(&[u8]),
    /// What one run costs.
    pub(crate) cost: Cost,
}

/// What one run costs, to decide how many there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Microseconds: bytes in memory.
    Low,
    /// Parts of a millisecond: seals, or small files.
    Middle,
    /// Many milliseconds: a database.
    High,
}

const fn low(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, cost: Cost::Low }
}

const fn middle(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, cost: Cost::Middle }
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    low("header", records::header),
    low("config", records::config),
    low("key_slot", records::key_slot),
    low("key_label", records::key_label),
    low("key_bundle", records::key_bundle),
    low("pack_table", records::pack_table),
    low("pack_trailer", records::pack_trailer),
    low("index", records::index),
    low("leaf", records::leaf),
    low("inner", records::inner),
    low("list", records::list),
    low("node", records::node),
    low("manifest", records::manifest),
    low("signed_manifest", records::signed_manifest),
    low("session", records::session),
    low("abandoned", records::abandoned),
    low("forgotten", records::forgotten),
    low("condemned", records::condemned),
    low("signed_record", records::signed_record),
    low("remembered", records::remembered),
    low("path", texts::path),
    low("id", texts::id),
    low("zstd", cutting::zstd),
    low("gear", cutting::gear),
    low("pages", cutting::pages),
    middle("envelope", sealed::envelope),
    middle("signature", sealed::signature),
    middle("frame", sealed::frame),
    middle("whole_pack", sealed::whole_pack),
    middle("whole_index", sealed::whole_index),
    middle("whole_snapshot", sealed::whole_snapshot),
    middle("whole_mark", sealed::whole_mark),
    middle("whole_config", sealed::whole_config),
    low("tree", walks::tree),
    low("content", walks::content),
    middle("cached_tree", local::cached_tree),
    middle("index_copy", local::index_copy),
    middle("note", local::note),
    middle("vaultwarden", local::vaultwarden),
    Target { name: "sqlite", run: local::sqlite, cost: Cost::High },
    low("recovery", texts::recovery),
    low("key_file", texts::key_file),
    middle("pattern", texts::pattern),
    middle("command_line", texts::command_line),
    low("mysql_script", dumps::mysql_script),
    low("postgres_archive", dumps::postgres_archive),
    low("rdb", dumps::rdb),
];

thread_local! {
    static ACCEPTED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the bytes of this run got through.
fn accept() {
    ACCEPTED.set(true);
}

/// Whether bytes got through since this was asked last: a target that refuses all of its seeds tests nothing.
pub(crate) fn take_accepted() -> bool {
    ACCEPTED.replace(false)
}

/// What a decoder made of the bytes; an error must say that it is the bytes that are wrong.
#[track_caller]
fn decoded<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => {
            accept();
            Some(value)
        }
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported),
                "{kind:?}: {}",
                error.chain()
            );
            None
        }
    }
}
