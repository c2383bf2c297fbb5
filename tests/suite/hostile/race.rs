//! Somebody swaps folders for links while a restore runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::begun;
use super::scene::{Scene, directory};
use crate::forge::site::node;

#[test]
fn a_folder_that_becomes_a_link_leads_nothing_outside() {
    let mut forge = begun();
    let mut nodes = vec![(b"d".to_vec(), directory()), (b"d/e".to_vec(), directory())];
    for number in 0..1500 {
        let path = format!("d/e/{number:05}").into_bytes();
        let file = forge.file(path.clone().as_slice(), 100, json!({"mode": 0o777}));
        nodes.push((path, file));
    }
    for number in 0..300 {
        let link = node("symlink", json!({"link_target": "61"}));
        nodes.push((format!("d/e/link-{number:05}").into_bytes(), link));
        nodes.push((
            format!("d/e/pipe-{number:05}").into_bytes(),
            node("fifo", json!({"links": 2, "inode": 5})),
        ));
    }
    nodes.sort_by(|(one, _), (other, _)| crate::hostile::order(one, other));
    let top = forge.tree(&nodes, 100);
    let scene = Scene::new(forge, top);
    fs::create_dir_all(scene.folder.join("outside")).unwrap();
    let (target, outside) = (scene.folder.join("target/out"), scene.folder.join("outside"));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Another process of the same user could: the folder, and then the one in it.
            while !done.load(Ordering::Relaxed) {
                for folder in ["d", "d/e"] {
                    let (here, away) = (target.join(folder), target.join("away"));
                    if fs::rename(&here, &away).is_ok() {
                        drop(symlink(&outside, &here));
                        thread::yield_now();
                        drop(fs::remove_file(&here));
                        drop(fs::rename(&away, &here));
                    }
                }
            }
        });
        // The scene itself holds what lies outside against what lay there before.
        let met = scene.meet("restore");
        done.store(true, Ordering::Relaxed);
        assert!(matches!(met.outcome.code, Some(0 | 1 | 3)), "{}", met.outcome.err());
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
