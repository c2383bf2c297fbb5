//! Makes a repository with an index of any size, and measures opening it and looking things up in it:
//!
//! ```text
//! strongroom -r REPO init --new-key-file KEY
//! cargo run --release --example large_index -- generate REPO KEY 10000000
//! cargo run --release --example large_index -- measure REPO KEY 10000000 CACHE
//! ```
#![allow(
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a tool for measuring stops at the first surprise"
)]

#[path = "../tests/suite/large_index/made_up.rs"]
mod made_up;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use strongroom::backend::LocalBackend;
use strongroom::format::blob::BlobKind;
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::index::IndexFolders;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::session;

/// Look-ups of chunks that are there.
const LOOKUPS: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, folder, key, chunks, rest @ ..] = arguments.as_slice() else {
        panic!("generate|measure REPOSITORY KEY-FILE CHUNKS [CACHE]");
    };
    let chunks: u64 = chunks.parse().unwrap();
    let key = Credential::KeyFile(parse_key_file(&std::fs::read_to_string(key).unwrap()).unwrap());
    let folder = PathBuf::from(folder);
    let repository = Repository::open(Arc::new(LocalBackend::open(&folder).unwrap()), &key).unwrap();
    match what.as_str() {
        "generate" => made_up::generate(&repository, &folder, chunks),
        "measure" => {
            let cache = rest.first().map(|cache| Cache::index_folder(cache.as_ref(), repository.id()));
            let folders = IndexFolders::new(cache, Some(std::env::temp_dir()));
            measure(&repository.with_index_folders(folders), chunks);
        }
        other => panic!("unknown: {other}"),
    }
}

fn measure(repository: &Repository, chunks: u64) {
    let started = Instant::now();
    let usable = session::usable(repository).unwrap();
    println!("opened in {:.2?}; {}", started.elapsed(), memory());
    let mut state = 1u64;
    let ids: Vec<Id> = (0..LOOKUPS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            made_up::chunk((state >> 20) % chunks)
        })
        .collect();
    let started = Instant::now();
    assert!(ids.iter().all(|id| usable.index.contains(BlobKind::Chunk, id).unwrap()));
    println!("{LOOKUPS} look-ups of what is there in {:.2?}; {}", started.elapsed(), memory());
    let absent: Vec<Id> = (chunks..chunks + LOOKUPS / 10).map(made_up::chunk).collect();
    let started = Instant::now();
    assert!(!absent.iter().any(|id| usable.index.contains(BlobKind::Chunk, id).unwrap()));
    println!("{} look-ups of what is not in {:.2?}", absent.len(), started.elapsed());
    let started = Instant::now();
    let count = usable.index.all().map(Result::unwrap).count();
    println!("{count} places listed in {:.2?}; {}", started.elapsed(), memory());
}

/// This process's memory, as the system counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("RssAnon"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
