//! `stats`: its numbers against a naive count, and its sums against what lies on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use strongroom::format::blob::BlobKind;
use strongroom::format::node::NodeKind;
use strongroom::id::Id;
use strongroom::report::Collector;
use strongroom::repository::content::visit_chunks;
use strongroom::repository::reader::BlobReader;
use strongroom::repository::tree::TreeReader;

use crate::nights::{Nights, repository};
use crate::site::{DEADLINE, Site, last, number};
use crate::support::{Rng, run};

/// A path, whether a database lies there, and its chunks.
type Held = (Vec<u8>, bool, Vec<Id>);

/// What each snapshot holds: files' bytes, and for each path its chunks; and how long chunks are, plain and stored.
struct Naive {
    snapshots: Vec<(String, u64, u64, Vec<Held>)>,
    lengths: BTreeMap<Id, (u64, u64)>,
}

fn naive(site: &Site) -> Naive {
    let repository = repository(site);
    let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
    let index = reader.index().unwrap();
    let mut naive = Naive { snapshots: Vec::new(), lengths: BTreeMap::new() };
    for snapshot in repository.snapshots().unwrap().snapshots {
        let mut tree = TreeReader::new(&reader, snapshot.root());
        let (mut files, mut bytes, mut paths, mut linked) = (0, 0, Vec::new(), BTreeSet::new());
        while let Some(entry) = tree.next_entry().unwrap() {
            if entry.node.kind != NodeKind::File {
                continue;
            }
            files += 1;
            if entry.node.links < 2 || linked.insert((entry.node.device, entry.node.inode)) {
                bytes += entry.node.size;
            }
            let mut chunks = Vec::new();
            if let Some(content) = &entry.node.content {
                visit_chunks(&reader, content, &mut |_, _| Ok(()), &mut |id| {
                    let place = index.places(BlobKind::Chunk, id).unwrap()[0];
                    naive
                        .lengths
                        .insert(*id, (u64::from(place.plain_length), u64::from(place.stored_length)));
                    chunks.push(*id);
                    Ok(u64::from(place.plain_length))
                })
                .unwrap();
            }
            paths.push((entry.path, entry.node.database.is_some(), chunks));
        }
        naive.snapshots.push((snapshot.id.to_hex(), files, bytes, paths));
    }
    naive
}

fn rows(objects: &[Value], kind: &str) -> Vec<Value> {
    objects.iter().filter(|object| object["message_type"] == kind).cloned().collect()
}

/// Asserts that all that is said of the chunks of files is what a naive count gives.
fn hold_against_naive(site: &Site) {
    let naive = naive(site);
    let all = site.json(0, ["stats", "--by", "snapshot"]);
    let summary = last(&all);
    let told = rows(&all, "snapshot_stats");
    assert_eq!(told.len(), naive.snapshots.len());
    let mut met = BTreeSet::new();
    let (mut by_folder, mut databases): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
    let mut data_added = 0;
    for ((id, files, bytes, paths), row) in naive.snapshots.iter().zip(&told) {
        assert_eq!(row["id"], id.as_str());
        assert_eq!((number(row, "total_file_count"), number(row, "restore_size")), (*files, *bytes), "{row}");
        let mut added = 0;
        for (path, is_database, chunks) in paths {
            for chunk in chunks {
                if met.insert(*chunk) {
                    let stored = naive.lengths[chunk].1;
                    added += stored;
                    let path = String::from_utf8_lossy(path);
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let folder = folder.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
                    *by_folder.entry(format!("/{folder}")).or_default() += stored;
                    databases += if *is_database { stored } else { 0 };
                }
            }
        }
        data_added += added;
        // What a snapshot added is its chunks and its trees.
        assert!(number(&row["added"], "size") >= added, "{row}");
        let alone: BTreeSet<Id> = paths.iter().flat_map(|(_, _, chunks)| chunks.iter().copied()).collect();
        let others: BTreeSet<Id> = naive
            .snapshots
            .iter()
            .filter(|(other, ..)| other != id)
            .flat_map(|(_, _, _, paths)| paths.iter().flat_map(|(_, _, chunks)| chunks.iter().copied()))
            .collect();
        let unique: u64 = alone.difference(&others).map(|chunk| naive.lengths[chunk].1).sum();
        let (told, blobs) = (number(&row["unique"], "size"), number(&row["unique"], "blobs"));
        let few = alone.difference(&others).count() as u64;
        assert!(told >= unique && blobs >= few, "{row}: {unique} bytes of {few} chunks");
        // Every snapshot has a tree of its own here, of a few small blobs.
        assert!(blobs - few <= 6, "{row}: {few} chunks");
    }
    let plain: u64 = naive.lengths.values().map(|(plain, _)| plain).sum();
    let stored: u64 = naive.lengths.values().map(|(_, stored)| stored).sum();
    assert_eq!(stored, data_added);
    assert_eq!(number(&summary["data"], "blobs"), naive.lengths.len() as u64);
    assert_eq!(number(&summary["data"], "uncompressed_size"), plain);
    assert_eq!(number(&summary["data"], "size"), stored);
    let sizes = told.iter().map(|row| number(&row["added"], "size")).sum::<u64>();
    assert_eq!(sizes, stored + number(&summary["metadata"], "size"));
    let folders = site.json(0, ["stats", "--by", "path"]);
    let told: BTreeMap<String, u64> = rows(&folders, "path_stats")
        .iter()
        .map(|row| (row["path"].as_str().unwrap().to_owned(), number(&row["stored"], "size")))
        .collect();
    assert_eq!(told, by_folder);
    let kinds = site.json(0, ["stats", "--by", "kind"]);
    for row in rows(&kinds, "kind_stats") {
        let expected = match row["kind"].as_str().unwrap() {
            "sqlite" => databases,
            "other" => stored - databases,
            "metadata" => number(&summary["metadata"], "size"),
            other => panic!("{other}"),
        };
        assert_eq!(number(&row["stored"], "size"), expected, "{row}");
    }
    hold_modes_against_naive(site, &naive, stored + number(&summary["metadata"], "size"));
}

fn hold_modes_against_naive(site: &Site, naive: &Naive, stored: u64) {
    let mode = |mode: &str| last(&site.json(0, ["stats", "--mode", mode]));
    assert_eq!(number(&mode("raw-data"), "total_size"), stored);
    let restore = mode("restore-size");
    assert_eq!(
        number(&restore, "total_size"),
        naive.snapshots.iter().map(|(_, _, bytes, _)| bytes).sum::<u64>()
    );
    assert_eq!(number(&restore, "snapshots_count"), naive.snapshots.len() as u64);
    let paths = || naive.snapshots.iter().flat_map(|(_, _, _, paths)| paths);
    let contents: BTreeSet<&Vec<Id>> = paths().map(|(_, _, chunks)| chunks).collect();
    assert_eq!(number(&mode("files-by-contents"), "total_file_count"), contents.len() as u64);
    let files: BTreeSet<(&Vec<u8>, &Vec<Id>)> = paths().map(|(path, _, chunks)| (path, chunks)).collect();
    let pairs: BTreeSet<(&Vec<u8>, &Id)> =
        paths().flat_map(|(path, _, chunks)| chunks.iter().map(move |chunk| (path, chunk))).collect();
    let told = mode("blobs-per-file");
    assert_eq!(number(&told, "total_file_count"), files.len() as u64);
    assert_eq!(number(&told, "total_blob_count"), pairs.len() as u64);
    let bytes: u64 = pairs.iter().map(|(_, chunk)| naive.lengths[chunk].0).sum();
    assert_eq!(number(&told, "total_size"), bytes);
}

/// Asserts that the parts of the repository are what lies on the disk.
fn hold_against_disk(site: &Site) {
    let summary = last(&site.json(0, ["stats"]));
    let mut folders: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (path, size) in site.objects() {
        let below = path.strip_prefix(site.join("repo")).unwrap().to_string_lossy().into_owned();
        let entry = folders.entry(below.split('/').next().unwrap().to_owned()).or_default();
        *entry = (entry.0 + 1, entry.1 + size);
    }
    for (name, told) in summary["objects"].as_object().unwrap() {
        let (count, bytes) = folders.remove(name).unwrap_or_default();
        assert_eq!((number(told, "count"), number(told, "size")), (count, bytes), "{name}");
    }
    assert!(folders.is_empty(), "{folders:?}");
    assert_eq!(number(&summary, "repository_size"), site.objects().values().sum::<u64>());
    let parts = number(&summary, "total_size")
        + number(&summary["unused"], "size")
        + number(&summary, "pack_tables_size")
        + number(&summary, "pack_padding_size")
        + number(&summary["unindexed_packs"], "size");
    assert_eq!(parts, site.pack_bytes(), "{summary}");
    // Padding is what Padmé asks for: at most an eighth.
    assert!(number(&summary, "pack_padding_size") <= site.pack_bytes() / 8, "{summary}");
}

#[test]
fn numbers_are_those_of_a_naive_count_and_of_the_disk() {
    for seed in 1..4 {
        let mut nights = Nights::new(seed);
        let many = Rng::new(seed).bytes(3 << 20);
        nights.site.folder.write("data/deep/er/large", &many);
        fs::write(nights.site.join("data/copy"), &many).unwrap();
        fs::hard_link(nights.site.join("data/copy"), nights.site.join("data/stable/linked")).unwrap();
        for _ in 0..4 {
            nights.change();
            nights.backup();
        }
        hold_against_naive(&nights.site);
        hold_against_disk(&nights.site);
        assert_eq!(number(&last(&nights.site.json(0, ["stats"]))["unused"], "size"), 0);
        nights.forget_but(2);
        hold_against_naive(&nights.site);
        hold_against_disk(&nights.site);
        let unused = number(&last(&nights.site.json(0, ["stats"]))["unused"], "size");
        let plan = last(&nights.site.json(0, ["prune", "--dry-run"]));
        assert!(unused > 0, "{plan}");
        nights.site.run(0, ["prune", "--max-unused", "0"]);
        hold_against_naive(&nights.site);
        hold_against_disk(&nights.site);
        assert_eq!(number(&last(&nights.site.json(0, ["stats"]))["unused"], "size"), 0);
    }
}

#[test]
fn snapshots_may_be_chosen_and_tables_are_readable() {
    let site = Site::new();
    site.folder.write("data/sub/one", Rng::new(1).bytes(700_000));
    site.backup(["data", "--host", "one"]);
    site.folder.write("data/two", Rng::new(2).bytes(300_000));
    site.backup(["data", "--host", "two"]);
    let size = |arguments: &[&str]| number(&last(&site.json(0, arguments)), "total_restore_size");
    assert_eq!(size(&["stats", "latest"]), 1_000_000);
    assert_eq!(size(&["stats", "latest~1"]), 700_000);
    assert_eq!(size(&["stats", "--host", "one"]), 700_000);
    assert_eq!(size(&["stats"]), 1_700_000);
    assert!(last(&site.json(0, ["stats", "latest"])).get("unused").is_none());
    for (arguments, words) in [
        (&["stats"][..], &["Restore size", "2 snapshots", "Unused", "Padding", "Index"][..]),
        (&["stats", "--by", "snapshot"], &["Alone", "one", "two"]),
        (&["stats", "--by", "night"], &["In all", "########"]),
        (&["stats", "--by", "path"], &["/data/sub", "Share"]),
        (&["stats", "--by", "kind"], &["Other files", "Names, trees"]),
        (&["stats", "--mode", "raw-data"], &["Uncompressed"]),
        (&["stats", "--mode", "blobs-per-file"], &["Blobs"]),
    ] {
        let said = site.run(0, arguments).out();
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}:\n{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    }
    site.run(1, ["stats", "0000"]);
    site.run(2, ["stats", "--mode", "raw-data", "--by", "path"]);
}

#[test]
fn a_maintain_key_is_enough_and_a_backup_key_is_not() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    for role in ["maintain", "backup"] {
        let file = format!("{role}.key");
        site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
    for arguments in
        [&["stats"][..], &["stats", "--by", "snapshot"], &["stats", "--mode", "files-by-contents"]]
    {
        run(&mut site.command_with("maintain.key", arguments), DEADLINE).expect_code(0);
        run(&mut site.command_with("backup.key", arguments), DEADLINE).expect_code(12);
    }
}

#[test]
fn what_is_lost_is_told() {
    let site = Site::new();
    site.folder.write("data/file", Rng::new(1).bytes(100_000));
    site.backup(["data"]);
    for pack in site.objects().into_keys().filter(|path| path.starts_with(site.join("repo/packs"))) {
        fs::remove_file(pack).unwrap();
    }
    let outcome = site.run(3, ["stats"]);
    assert!(outcome.err().contains("lost"), "{}", outcome.err());
}
