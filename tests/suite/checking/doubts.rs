//! Damage that may be none: a disk that is not mounted, packs that read wrongly for a while, marks that nobody can read. What
//! the program says then, followed word for word, costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use strongroom::format::blob::Class;

use super::mending::{copy, cut, data, fresh, give_up_by_name, metadata, run_verbatim, site, snapshots};
use super::{by_age, checked, flip, name_of, of_kind, packs_of, texts, write_over};
use crate::site::{DEADLINE, Seen, Site, assert_same, objects, see};
use crate::support::{Rng, run};

/// What each snapshot gives back.
fn contents(site: &Site) -> BTreeMap<String, BTreeMap<Vec<u8>, Seen>> {
    let mut all = BTreeMap::new();
    for id in snapshots(site) {
        let restored = site.restore(&id, "restored");
        all.insert(id, see(&restored.join("data")));
        fs::remove_dir_all(restored).unwrap();
    }
    all
}

/// Asserts that every snapshot is there that was, as it was, and that nothing is wrong.
#[track_caller]
fn assert_all_there(site: &Site, before: &BTreeMap<String, BTreeMap<Vec<u8>, Seen>>) {
    site.assert_sound();
    let now = contents(site);
    for (id, files) in before {
        assert_same(files, &now[id]);
    }
}

fn nothing_mends(summary: &serde_json::Value) -> bool {
    texts(&summary["mend"]).is_empty() && texts(&summary["give_up"]).is_empty()
}

/// Runs a command and gives its code and what it said.
fn say(site: &Site, command: &str) -> (Option<i32>, String) {
    let outcome = site.run_any(command.split(' '));
    assert!(!outcome.err().contains("panicked"), "{command}: {}", outcome.err());
    (outcome.code, outcome.out() + &outcome.err())
}

#[test]
fn packs_that_are_not_mounted_cost_no_snapshot() {
    let site = site();
    let mut rng = Rng::new(7);
    for night in 2..4 {
        site.folder.write(format!("data/{night}/file"), rng.bytes(5000));
        site.backup(["data"]);
    }
    copy(&site, "repo", "whole");
    let before = contents(&site);
    for (backs_up, taken) in [
        (false, &["packs"][..]),
        (true, &["packs"]),
        (false, &["packs", "index"]),
        (true, &["packs", "index"]),
    ] {
        fresh(&site);
        for kind in taken {
            fs::create_dir_all(site.join("away")).unwrap();
            fs::rename(site.join("repo").join(kind), site.join("away").join(kind)).unwrap();
            fs::create_dir(site.join("repo").join(kind)).unwrap();
        }
        site.folder.write("data/new", rng.bytes(5000));
        if backs_up {
            say(&site, "backup data");
        } else {
            let (code, said) = say(&site, "repair packs");
            assert!(code == Some(1) && said.contains("no pack at all"), "{said}");
        }
        let (errors, summary) = checked(&site, 1, &[]);
        assert!(nothing_mends(&summary), "{summary}");
        let about_disks =
            |error: &&serde_json::Value| error["message"].as_str().unwrap().contains("not mounted");
        assert_eq!(errors.iter().filter(about_disks).count(), 1, "{errors:?}");
        assert_eq!(texts(&summary["suffering_snapshots"]).len(), before.len(), "{summary}");
        if !taken.contains(&"index") {
            assert_eq!(errors.len(), 1, "{errors:?}");
            for command in ["repair index", "repair index --dry-run", "repair snapshots --forget"] {
                let (code, said) = say(&site, command);
                assert!(code == Some(1) && said.contains("not mounted"), "{command}: {said}");
            }
        }
        for command in [
            "repair index",
            "repair snapshots --forget",
            "backup data",
            "check",
            "repair index",
            "repair packs",
            "repair snapshots --forget",
            "prune",
            "backup data",
            "repair snapshots --forget",
            "prune",
        ] {
            say(&site, command);
        }
        let now = snapshots(&site);
        assert!(before.keys().all(|id| now.contains(id)), "{taken:?}: {now:?}");
        let mut back = Command::new("cp");
        back.args(["-an", "away/.", "repo/"]).current_dir(site.folder.path());
        assert!(back.status().unwrap().success());
        fs::remove_dir_all(site.join("away")).unwrap();
        say(&site, "prune");
        assert_all_there(&site, &before);
    }
}

#[test]
fn packs_that_are_gone_for_good_go_by_a_flag() {
    let site = site();
    of_kind(&site, "packs").iter().for_each(|pack| fs::remove_file(pack).unwrap());
    // It says that packs are gone, and its snapshot is whole.
    assert_eq!(say(&site, "backup data").0, Some(3));
    let (code, said) = say(&site, "repair index");
    assert!(code == Some(1) && said.contains("--packs-are-gone"), "{said}");
    let (code, said) = say(&site, "repair index --packs-are-gone");
    assert!(code == Some(0) && said.contains("named no more"), "{said}");
    // Whose names are gone is not known to be lost whole by one command.
    let all = snapshots(&site);
    let (code, said) = say(&site, "repair snapshots --forget");
    if code != Some(0) {
        assert!(said.contains("those that are named"), "{said}");
        assert_eq!(snapshots(&site), all);
        let ruined = all.iter().take(all.len() - 1).map(String::as_str);
        site.run_any(["repair", "snapshots", "--forget"].into_iter().chain(ruined));
    }
    site.assert_sound();
}

#[test]
fn what_a_condemned_pack_holds_whole_is_copied_and_not_given_up() {
    let site = site();
    copy(&site, "repo", "whole");
    let before = contents(&site);
    for (victim, heals) in [
        (data as fn(&Site) -> PathBuf, "strongroom repair packs"),
        (metadata, "strongroom repair packs"),
        (data, "strongroom repair --from whole"),
    ] {
        fresh(&site);
        let pack = victim(&site);
        let good = fs::read(&pack).unwrap();
        // Nothing of it can be read for a while.
        cut(&pack, 0);
        say(&site, "repair packs");
        write_over(&pack, &good);
        let (errors, summary) = checked(&site, 1, &["--read-data"]);
        assert!(
            errors.iter().any(|error| error["message"].as_str().unwrap().contains("lie in condemned packs")),
            "{errors:?}"
        );
        assert_eq!(texts(&summary["mend"]), ["strongroom repair packs"], "{errors:?}");
        assert_eq!(texts(&summary["give_up"]), [""; 0], "{errors:?}");
        for command in ["repair snapshots --forget", "repair snapshots"] {
            let (code, said) = say(&site, command);
            assert!(code == Some(1) && said.contains("strongroom repair packs"), "{command}: {said}");
        }
        let (code, said) = say(&site, "repair packs --dry-run");
        assert!(code == Some(3) && said.contains("would be copied out of condemned packs"), "{said}");
        assert_eq!(run_verbatim(&site, heals), Some(0));
        assert_all_there(&site, &before);
        say(&site, "repair snapshots --forget");
        site.run(0, ["prune"]);
        assert!(!pack.exists(), "condemned is for good");
        assert_all_there(&site, &before);
    }
}

/// A site with a file for each of these nights, in packs of their own.
fn nights(count: u64) -> Site {
    let site = Site::new();
    let mut rng = Rng::new(count);
    for night in 0..count {
        site.folder.write(format!("data/{night}"), rng.bytes(20_000));
        site.backup(["data"]);
    }
    site
}

/// Lets packs read as zeros; gives what they were.
fn zeroed(packs: &[PathBuf]) -> Vec<(PathBuf, Vec<u8>)> {
    let good: Vec<_> = packs.iter().map(|pack| (pack.clone(), fs::read(pack).unwrap())).collect();
    good.iter().for_each(|(pack, good)| write_over(pack, &vec![0; good.len()]));
    good
}

#[test]
fn where_most_packs_seem_to_be_damaged_none_is_named() {
    let site = nights(4);
    site.run(0, ["key", "add", "--role", "maintain", "--label", "keeper", "--new-key-file", "keep.key"]);
    copy(&site, "repo", "whole");
    let before = contents(&site);
    let (data, metadata) = (packs_of(&site, Class::Data), packs_of(&site, Class::Metadata));
    assert_eq!((data.len(), metadata.len()), (4, 4));
    // All that hold contents; half of all; all; and half, some of which are gone.
    let half = [&data[..2], &metadata[2..]].concat();
    for (packs, gone) in [(&data, 0), (&half, 0), (&[data.clone(), metadata.clone()].concat(), 0), (&half, 2)]
    {
        let good = zeroed(packs);
        good.iter().take(gone).for_each(|(pack, _)| fs::remove_file(pack).unwrap());
        let name =
            |(pack, _): &(PathBuf, Vec<u8>)| pack.file_name().unwrap().to_str().unwrap()[..8].to_owned();
        let named: Vec<String> = good.iter().skip(gone).map(name).collect();
        for key in ["full.key", "keep.key"] {
            let mut command = site.command_with(key, ["--json", "check", "--read-data"]);
            let said = run(&mut command, DEADLINE).expect_code(1);
            let said = objects(&said);
            let errors = said.iter().filter(|object| object["message_type"] == "error");
            let summary = said.iter().find(|object| object["message_type"] == "summary").unwrap();
            assert!(nothing_mends(summary), "{summary}");
            assert!(!texts(&summary["suffering_snapshots"]).is_empty(), "{summary}");
            for error in errors {
                let step = error["next_step"].as_str().unwrap_or_default();
                assert!(!named.iter().any(|name| step.contains(name)), "{key}: {error}");
                assert!(
                    !step.contains("--forget") && error["mend"].as_array().is_none_or(Vec::is_empty),
                    "{key}: {error}"
                );
            }
            assert!(said.iter().any(|error| {
                error["item"] == "the store"
                    && error["message"].as_str().unwrap().contains("seem to be damaged")
            }));
        }
        for command in [&format!("repair packs {}", named.join(" ")), "repair packs", "repair --from whole"] {
            let (code, said) = say(&site, command);
            assert!(code == Some(1) && said.contains("--packs-are-damaged"), "{command}: {said}");
        }
        assert!(of_kind(&site, "gc").is_empty());
        for (pack, good) in good {
            drop(fs::remove_file(&pack));
            fs::write(pack, good).unwrap();
        }
        assert_all_there(&site, &before);
    }
    // Three of eight may be the store's own.
    zeroed(&data[..3]);
    let (_, summary) = checked(&site, 1, &["--read-data"]);
    assert!(texts(&summary["mend"]).iter().any(|command| command.starts_with("strongroom repair packs ")));
}

#[test]
fn where_the_walk_through_trees_finds_most_packs_damaged_none_is_named() {
    let site = nights(8);
    let before = contents(&site);
    let metadata = packs_of(&site, Class::Metadata);
    assert_eq!(metadata.len(), 8);
    let good = zeroed(&metadata);
    drop(fs::remove_dir_all(site.join("home/.cache")));
    for options in [&[][..], &["--read-data"]] {
        let (errors, summary) = checked(&site, 1, options);
        assert!(nothing_mends(&summary), "{summary}");
        let of_store = errors.iter().find(|error| error["item"] == "the store").unwrap();
        assert!(of_store["message"].as_str().unwrap().contains("8 of 16 packs seem to be damaged"));
        for error in &errors {
            let step = error["next_step"].as_str().unwrap_or_default();
            assert!(!step.contains("repair packs ") || error["item"] == "the store", "{error}");
        }
    }
    good.iter().for_each(|(pack, good)| write_over(pack, good));
    assert_all_there(&site, &before);
    // Three of sixteen are named, and what is named goes on.
    zeroed(&metadata[..3]);
    drop(fs::remove_dir_all(site.join("home/.cache")));
    let (_, summary) = checked(&site, 1, &[]);
    let mend = texts(&summary["mend"]);
    let step = mend.iter().find(|command| command.starts_with("strongroom repair packs ")).unwrap();
    assert_ne!(run_verbatim(&site, step), Some(1), "{step}");
}

#[test]
fn packs_that_were_all_condemned_while_they_read_wrongly_give_back_everything() {
    let site = nights(4);
    let before = contents(&site);
    let all = [packs_of(&site, Class::Data), packs_of(&site, Class::Metadata)].concat();
    for packs in [&all[..4], &all] {
        copy(&site, "repo", "kept");
        let good = zeroed(packs);
        let (code, said) = say(&site, "repair packs --packs-are-damaged");
        assert!(code == Some(3) && said.contains("lost: "), "{said}");
        // Nothing of it is given up in one go: neither where no file is left nor where no tree is.
        let (errors, summary) = checked(&site, 1, &["--read-data"]);
        assert!(nothing_mends(&summary), "{summary}");
        assert!(
            errors.iter().any(|error| error["message"].as_str().unwrap().contains("or less than half")),
            "{errors:?}"
        );
        let ids = snapshots(&site);
        for command in ["repair snapshots --forget", "repair snapshots --forget --tag none"] {
            say(&site, command);
            assert_eq!(snapshots(&site), ids, "{command}");
        }
        let (code, said) = say(&site, "repair snapshots --forget");
        assert!(code == Some(3) && said.contains("gives up those that are named"), "{said}");
        assert_eq!(snapshots(&site), ids);
        let (planned, said_before) = say(&site, "repair snapshots --forget --dry-run");
        assert!(planned == code && said_before.contains("gives up those that are named"), "{said_before}");
        assert!(!said_before.contains("the old would be forgotten"), "{said_before}");
        // The way on is named with the snapshot, and no copy is stored that holds no file.
        for id in &ids {
            let way_on = format!("`strongroom repair snapshots --forget {}`", &id[..8]);
            let lost = said.contains(&format!("snapshot {}: has lost the top", &id[..8]));
            assert!(!lost || said.contains(&way_on), "{way_on}: {said}");
        }
        let (code, said) = say(&site, "repair snapshots");
        assert!(code == Some(3) && said.contains("0 snapshots stored anew"), "{said}");
        assert_eq!(snapshots(&site), ids);
        // They read as they should again.
        good.iter().for_each(|(pack, good)| write_over(pack, good));
        let (code, said) = say(&site, "repair packs");
        assert!(code == Some(0) && said.contains("copied out of condemned packs"), "{said}");
        assert_all_there(&site, &before);
        site.run(0, ["prune"]);
        assert!(packs.iter().all(|pack| !pack.exists()), "condemned is for good");
        assert_all_there(&site, &before);
        copy(&site, "kept", "repo");
        drop(fs::remove_dir_all(site.join("home/.cache")));
    }
    // Where they stay as they are, a person gives up what no backup brought back.
    zeroed(&all);
    say(&site, "repair packs --packs-are-damaged");
    site.run(0, ["backup", "data", "--force"]);
    assert_eq!(checked(&site, 1, &[]).0[0]["item"], "the store");
    assert_eq!(give_up_by_name(&site).code, Some(0));
    site.run(0, ["prune"]);
    site.assert_sound();
    assert_same(&see(&site.join("data")), &see(&site.restore("latest", "after").join("data")));
}

#[test]
fn what_little_is_left_of_snapshots_is_stored_beside_them_and_they_go_by_name() {
    let site = nights(4);
    let ids = snapshots(&site);
    let first: Vec<PathBuf> = by_age(&site, "packs")
        .into_iter()
        .filter(|pack| packs_of(&site, Class::Data).contains(pack))
        .take(3)
        .collect();
    zeroed(&first);
    assert_eq!(say(&site, "repair packs").0, Some(3));
    // Of three nights no file is left, and of the last one of four.
    let (code, said) = say(&site, "repair snapshots");
    assert!(code == Some(3) && said.contains("1 snapshot stored anew; the old stay"), "{said}");
    assert_eq!(said.matches("no file would be left of it").count(), 3, "{said}");
    let now = snapshots(&site);
    assert_eq!(now.len(), 5);
    assert!(ids.iter().all(|id| now.contains(id)), "{now:?}");
    let (_, way_on) = said.split_once("only by their names, `").unwrap();
    let (way_on, _) = way_on.split_once('`').unwrap();
    // What is left, stored beside them, vouches for nothing.
    for command in ["repair snapshots --forget --dry-run", "repair snapshots --forget"] {
        let (code, said) = say(&site, command);
        assert!(code == Some(3) && said.contains("gives up those that are named"), "{said}");
        assert!(said.contains("no file would be left of it") && !said.contains("; the old"), "{said}");
        assert_eq!(snapshots(&site), now, "{command}");
    }
    assert_eq!(run_verbatim(&site, way_on), Some(0), "{way_on}");
    let left = snapshots(&site);
    let gone: Vec<&String> = now.iter().filter(|id| !left.contains(id)).collect();
    assert!(gone.len() == 1 && ids.contains(gone[0]) && way_on.contains(&gone[0][..8]), "{gone:?}");
}

#[test]
fn older_packs_that_are_gone_are_doubted_however_many_came_since() {
    let site = nights(10);
    copy(&site, "repo", "whole");
    let (data, metadata) = (packs_of(&site, Class::Data), packs_of(&site, Class::Metadata));
    assert_eq!((data.len(), metadata.len()), (10, 10));
    let older = [&data[..4], &metadata[..4]].concat();
    // All of the older ones, half of each night's, and all of half of these nights'.
    for gone in [&older[..], &data[..4], &[&data[..2], &metadata[..2]].concat()] {
        fresh(&site);
        gone.iter().for_each(|pack| fs::remove_file(pack).unwrap());
        let (errors, summary) = checked(&site, 1, &[]);
        assert!(!texts(&summary["suffering_snapshots"]).is_empty(), "{summary}");
        let of_store = errors.iter().find(|error| error["item"] == "the store").unwrap();
        assert!(of_store["message"].as_str().unwrap().contains("half or more of what"), "{errors:?}");
        assert!(!of_store["hurts"].as_array().unwrap().is_empty(), "{errors:?}");
        let (code, said) = say(&site, "repair snapshots --forget");
        assert!(code == Some(1) && said.contains("not mounted"), "{said}");
        for backs_up in [false, true] {
            if backs_up {
                say(&site, "backup data");
            }
            assert!(nothing_mends(&checked(&site, 1, &[]).1));
            for command in ["repair index", "repair index --dry-run", "repair packs"] {
                let (code, said) = say(&site, command);
                assert!(code == Some(1) && said.contains("not mounted"), "{command}: {said}");
            }
        }
    }
    fresh(&site);
    // Three are few, and what is gone indeed goes by the flag.
    data[..3].iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let (_, summary) = checked(&site, 1, &[]);
    assert!(texts(&summary["mend"]).contains(&"strongroom repair index".to_owned()), "{summary}");
    fs::remove_file(&metadata[3]).unwrap();
    assert_eq!(say(&site, "repair index").0, Some(1));
    let (code, said) = say(&site, "repair index --packs-are-gone");
    assert!(code == Some(0) && said.contains("4 packs gone, named no more"), "{said}");
    site.run(0, ["backup", "data", "--force"]);
    // Of the night whose tree is gone nothing is left; it is one of four, and given up by the command that is named.
    assert_eq!(texts(&checked(&site, 1, &[]).1["give_up"]), ["strongroom repair snapshots --forget"]);
    run_verbatim(&site, "strongroom repair snapshots --forget");
    site.assert_sound();
}

/// Packs that none but a damaged index object names.
fn named_by_none(site: &Site) -> Vec<PathBuf> {
    let mut only = Vec::new();
    for pack in by_age(site, "packs") {
        let good = fs::read(&pack).unwrap();
        flip(&pack, -60);
        let (errors, _) = checked(site, 1, &[]);
        if errors.iter().any(|error| error["message"].as_str().unwrap().contains("is in no index, and")) {
            only.push(pack.clone());
        }
        write_over(&pack, &good);
    }
    only
}

#[test]
fn an_index_object_and_the_table_of_a_pack_that_only_it_names_go_together() {
    let site = site();
    copy(&site, "repo", "whole");
    for night in 0..2 {
        fresh(&site);
        let index = by_age(&site, "index").swap_remove(night);
        flip(&index, 200);
        let packs = named_by_none(&site);
        assert_eq!(packs.len(), 2, "of data and of metadata");
        for pack in packs {
            fresh(&site);
            flip(&index, 200);
            a_pack_and_what_alone_names_it_are_given_up(&site, &pack);
        }
    }
}

fn a_pack_and_what_alone_names_it_are_given_up(site: &Site, pack: &Path) {
    flip(pack, -60);
    let (errors, summary) = checked(site, 1, &["--read-data"]);
    let (mend, give_up) = (texts(&summary["mend"]), texts(&summary["give_up"]));
    let named = pack.file_name().unwrap().to_str().unwrap()[..8].to_owned();
    let step = format!("strongroom repair packs {named}");
    assert_eq!(mend, ["strongroom repair index"], "{errors:?}");
    assert!(give_up.contains(&step), "{give_up:?}");
    let all = snapshots(site);
    // Beside an index object that cannot be read nothing is given up.
    let (code, said) = say(site, "repair snapshots --forget");
    assert!(code == Some(1) && said.contains("index objects that cannot be read"), "{said}");
    assert_eq!(snapshots(site), all);
    for command in &mend {
        run_verbatim(site, command);
    }
    let (code, said) = say(site, "repair packs");
    assert!(code == Some(1) && said.contains(&step), "{said}");
    for command in &give_up {
        run_verbatim(site, command);
    }
    assert_eq!(give_up_by_name(site).code, Some(0));
    site.run(0, ["prune"]);
    site.assert_sound();
}

#[test]
fn of_a_pack_that_was_cut_a_little_nothing_is_given_up() {
    let site = site();
    copy(&site, "repo", "whole");
    let before = contents(&site);
    for victim in [data as fn(&Site) -> PathBuf, metadata] {
        fresh(&site);
        let pack = victim(&site);
        cut(&pack, fs::metadata(&pack).unwrap().len() - 10);
        let objects = site.objects();
        // Nor is there a copy without it, which would be one more to put right.
        for command in ["repair snapshots --forget", "repair snapshots"] {
            let (code, said) = say(&site, command);
            assert!(
                code == Some(1) && said.contains("another size than the index says"),
                "{command}: {said}"
            );
            assert!(said.contains("nothing was stored or forgotten") && said.contains("check --read-data"));
            assert_eq!(site.objects(), objects, "{command}");
        }
        let (_, summary) = checked(&site, 1, &["--read-data"]);
        for command in texts(&summary["mend"]) {
            run_verbatim(&site, &command);
        }
        assert_all_there(&site, &before);
        assert_eq!(say(&site, "repair snapshots").0, Some(0));
    }
}

#[test]
fn a_repository_is_not_repaired_from_itself() {
    let site = site();
    std::os::unix::fs::symlink(site.join("repo"), site.join("link")).unwrap();
    for path in ["repo", "./repo/", "link"] {
        assert_eq!(run_verbatim(&site, &format!("strongroom repair --from {path}")), Some(1), "{path}");
    }
    copy(&site, "repo", "other");
    assert_eq!(run_verbatim(&site, "strongroom repair --from other"), Some(0));
}

/// What a check says of an object.
#[track_caller]
fn said_of(site: &Site, object: &Path) -> String {
    let (errors, _) = checked(site, 1, &[]);
    let name = name_of(site, object);
    let error = errors.iter().find(|error| error["object"] == name.as_str()).expect("it is told");
    error["next_step"].as_str().unwrap().to_owned()
}

#[test]
fn a_mark_that_cannot_be_read_is_told_with_a_safe_way_past_it() {
    let site = site();
    let id = snapshots(&site).remove(0);
    // While its snapshot is there, it is back.
    site.run(0, ["forget", &id[..12]]);
    let mark = of_kind(&site, "forgotten").remove(0);
    let good = fs::read(&mark).unwrap();
    flip(&mark, 60);
    assert!(said_of(&site, &mark).contains("the snapshot is back"));
    write_over(&mark, &good);
    site.run(0, ["prune"]);
    assert_eq!(snapshots(&site).len(), of_kind(&site, "snapshots").len());
    flip(&mark, 60);
    let said = said_of(&site, &mark);
    assert!(
        said.contains("no snapshot is there that it forgot") && said.contains("move the file away"),
        "{said}"
    );
    fs::remove_file(&mark).unwrap();
    site.assert_sound();

    let mark = site.folder.write(format!("repo/abandoned/{}", "5a".repeat(32)), [0; 300]);
    let said = said_of(&site, &mark);
    assert!(said.contains("`strongroom prune`") && said.contains("move the file away"), "{said}");
    site.run(0, ["prune"]);
    fs::remove_file(&mark).unwrap();
    site.assert_sound();
}

#[test]
fn a_record_of_a_prune_that_cannot_be_read_is_moved_away_and_the_next_prune_condemns_anew() {
    let site = site();
    let before = contents(&site);
    let pack = data(&site);
    flip(&pack, 3);
    site.run(0, ["repair", "packs"]);
    let record = of_kind(&site, "gc").remove(0);
    flip(&record, 40);
    assert!(said_of(&site, &record).contains("move the file away: the next prune condemns anew"));
    for command in ["backup data", "prune"] {
        let (code, said) = say(&site, command);
        assert!(code == Some(1) && said.contains("move the file away"), "{said}");
    }
    fs::rename(&record, site.join("away")).unwrap();
    site.run(0, ["prune"]);
    assert!(!pack.exists());
    assert_all_there(&site, &before);
}
