//! Disks that are full.

use std::fs;

use super::transcript::Transcript;
use crate::support::{Rng, SmallDisk};

#[test]
fn full_disks() {
    let mut told = Transcript::new();
    for name in ["small", "target", "caches"] {
        fs::create_dir(told.join(name)).unwrap();
    }
    told.folder.write("large/file", Rng::new(1).bytes(12 << 20));
    let what = "messages about full disks";
    let Some(disk) = SmallDisk::mount(&told.join("small"), 6 << 20, what) else { return };
    told.silent(&["-r", "small/repo", "init", "--new-key-file", "small.key"]);
    let small = ["-r", "small/repo", "--key-file", "small.key"];
    told.tell("The repository's disk is full.", &[&small[..], &["backup", "large"]].concat());
    told.tell("The same for a program.", &[&["--json", "-q"], &small[..], &["backup", "large"]].concat());
    told.silent(&["backup", "large", "--host", "server"]);
    let target = SmallDisk::mount(&told.join("target"), 6 << 20, what).expect("one more");
    told.tell("The target's disk is full.", &["restore", "latest", "--target", "target/out"]);
    fs::remove_dir_all(told.join("target/out")).unwrap();
    told.tell("The same for a program.", &["--json", "-q", "restore", "latest", "--target", "target/out"]);
    let caches = SmallDisk::mount(&told.join("caches"), 64 << 10, what).expect("one more");
    fs::write(told.join("caches/full"), vec![0; 64 << 10]).unwrap_or_default();
    told.tell(
        "The cache's disk is full.",
        &["--cache-dir", "caches/cache", "backup", "data", "--host", "server"],
    );
    drop((disk, target, caches));
    told.hold("full_disks");
}
