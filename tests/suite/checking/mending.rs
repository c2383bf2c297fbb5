//! Damage, what a check says mends it, and whether that does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strongroom::format::blob::Class;

use super::{by_age, checked, flip, name_of, of_kind, packs_of, texts, write_over};
use crate::site::{DEADLINE, Site, assert_same, see};
use crate::support::{Outcome, Rng, run, strongroom};

/// A site with two nights: a large file, many small ones, a second key.
pub(super) fn site() -> Site {
    let site = Site::new();
    site.run(0, ["key", "add", "--role", "backup", "--label", "server", "--new-key-file", "add.key"]);
    let mut rng = Rng::new(91);
    site.folder.write("data/large", rng.bytes(3 << 20));
    for night in 0..2 {
        for number in 0..700 {
            site.folder.write(format!("data/{night}/file-{number}"), rng.bytes(80));
        }
        site.backup(["data"]);
    }
    site
}

/// Runs a command that a check named, verbatim, in a shell.
pub(super) fn run_verbatim(site: &Site, command: &str) -> Option<i32> {
    let bin = Path::new(env!("CARGO_BIN_EXE_strongroom")).parent().unwrap();
    let template = strongroom(&site.folder);
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(site.folder.path()).env_clear();
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    shell.env("STRONGROOM_REPOSITORY", site.join("repo")).env("STRONGROOM_KEY_FILE", site.join("full.key"));
    let outcome = run(&mut shell, DEADLINE);
    assert!(!outcome.err().contains("panicked"), "{command}: {}", outcome.err());
    assert!(outcome.code != Some(2), "{command}: {}", outcome.err());
    outcome.code
}

/// What each case does, whether snapshots suffer, and which kind of object is to blame.
struct Case {
    name: &'static str,
    damage: fn(&Site) -> PathBuf,
    hurts: bool,
    kind: &'static str,
}

/// The object of a kind that was written first, or last.
fn one_of<const LAST: bool>(site: &Site, kind: &str) -> PathBuf {
    end_of::<LAST>(by_age(site, kind))
}

fn end_of<const LAST: bool>(mut objects: Vec<PathBuf>) -> PathBuf {
    if LAST { objects.pop().unwrap() } else { objects.remove(0) }
}

/// The first night's pack of data, which holds the large file, or the last night's.
fn data_of<const LAST: bool>(site: &Site) -> PathBuf {
    end_of::<LAST>(packs_of(site, Class::Data))
}

fn metadata_of<const LAST: bool>(site: &Site) -> PathBuf {
    end_of::<LAST>(packs_of(site, Class::Metadata))
}

pub(super) fn data(site: &Site) -> PathBuf {
    data_of::<false>(site)
}

pub(super) fn metadata(site: &Site) -> PathBuf {
    metadata_of::<false>(site)
}

fn last_metadata(site: &Site) -> PathBuf {
    metadata_of::<true>(site)
}

pub(super) fn cut(path: &Path, length: u64) {
    let bytes = fs::read(path).unwrap();
    write_over(path, &bytes[..bytes.len().min(length as usize)]);
}

macro_rules! case {
    ($name:literal, $kind:literal, $hurts:literal, |$site:ident| $path:expr, |$at:ident| $damage:expr) => {
        Case {
            name: $name,
            kind: $kind,
            hurts: $hurts,
            damage: |$site| {
                let $at: PathBuf = $path;
                let () = $damage;
                $at
            },
        }
    };
}

/// The cases, each with what was written first or last of its kind.
fn cases<const LAST: bool>() -> Vec<Case> {
    vec![
        case!("an index object is damaged", "index", true, |site| one_of::<LAST>(site, "index"), |at| flip(
            &at, 200
        )),
        case!("an index object is empty", "index", true, |site| one_of::<LAST>(site, "index"), |at| cut(
            &at, 0
        )),
        case!("an index object is gone", "index", true, |site| one_of::<LAST>(site, "index"), |at| {
            fs::remove_file(&at).unwrap();
        }),
        case!(
            "all index objects are gone",
            "index",
            true,
            |site| {
                of_kind(site, "index").iter().for_each(|object| fs::remove_file(object).unwrap());
                PathBuf::new()
            },
            |_at| ()
        ),
        case!("the seal of a pack's table is damaged", "pack", false, |site| data_of::<LAST>(site), |at| {
            flip(&at, -60)
        }),
        case!("a pack's header is damaged", "pack", false, |site| metadata_of::<LAST>(site), |at| flip(
            &at, 3
        )),
        case!("a chunk is damaged", "pack", true, |site| data_of::<LAST>(site), |at| flip(&at, 400)),
        case!("a blob of a tree is damaged", "pack", true, |site| metadata_of::<LAST>(site), |at| flip(
            &at, 40
        )),
        case!("a pack of data is cut short", "pack", true, |site| data_of::<LAST>(site), |at| cut(
            &at,
            fs::metadata(&at).unwrap().len() / 3
        )),
        case!("a pack of data is empty", "pack", true, |site| data_of::<LAST>(site), |at| cut(&at, 0)),
        case!("a pack of metadata is cut short", "pack", true, |site| metadata_of::<LAST>(site), |at| cut(
            &at, 30
        )),
        case!("a pack is longer than it was", "pack", false, |site| data_of::<LAST>(site), |at| {
            let bytes = fs::read(&at).unwrap();
            write_over(&at, &[bytes, vec![0; 100]].concat());
        }),
        case!("a pack of data is gone", "pack", true, |site| data_of::<LAST>(site), |at| fs::remove_file(
            &at
        )
        .unwrap()),
        case!("a pack of metadata is gone", "pack", true, |site| metadata_of::<LAST>(site), |at| {
            fs::remove_file(&at).unwrap()
        }),
        case!(
            "a snapshot is damaged",
            "snapshot",
            true,
            |site| one_of::<LAST>(site, "snapshots"),
            |at| flip(&at, 100)
        ),
        case!("a snapshot is empty", "snapshot", true, |site| one_of::<LAST>(site, "snapshots"), |at| cut(
            &at, 0
        )),
        case!("a snapshot is gone", "snapshot", true, |site| one_of::<LAST>(site, "snapshots"), |at| {
            fs::remove_file(&at).unwrap();
        }),
        case!(
            "another's key is damaged",
            "key",
            false,
            |site| {
                let mine = site.run(0, ["--json", "key", "list"]).out();
                let current = mine.lines().find(|line| line.contains("\"current\":true")).unwrap().to_owned();
                of_kind(site, "keys")
                    .into_iter()
                    .find(|key| !current.contains(key.file_name().unwrap().to_str().unwrap()))
                    .unwrap()
            },
            |at| flip(&at, 100)
        ),
        case!(
            "a dead session is damaged",
            "session",
            false,
            |site| {
                // What is left of a backup that was killed.
                site.folder.write(format!("repo/sessions/{}", "5a".repeat(32)), [0; 300])
            },
            |_at| ()
        ),
    ]
}

#[test]
fn the_commands_that_are_named_mend_it() {
    let site = site();
    copy(&site, "repo", "whole");
    for (Case { name, damage, hurts, kind }, last) in cases::<false>()
        .into_iter()
        .map(|case| (case, false))
        .chain(cases::<true>().into_iter().map(|case| (case, true)))
    {
        let name = format!("{name}, {}", if last { "last" } else { "first" });
        fresh(&site);
        let victim = damage(&site);
        let object = if victim.as_os_str().is_empty() { String::new() } else { name_of(&site, &victim) };
        let (errors, summary) = checked(&site, 1, &["--read-data"]);
        let blamed: Vec<&Value> = errors.iter().filter(|error| error["kind"] == kind).collect();
        assert!(!blamed.is_empty(), "{name}: {errors:?}");
        // What is merely gone is known by what names it; of an index object nothing does.
        let known = kind != "index" || victim.exists();
        assert!(
            !known || blamed.iter().any(|error| error["object"] == object.as_str()),
            "{name}: {errors:?}"
        );
        let suffering = texts(&summary["suffering_snapshots"]);
        assert_eq!(!suffering.is_empty(), hurts, "{name}: {summary}");
        let told: Vec<String> = errors.iter().flat_map(|error| texts(&error["snapshots"])).collect();
        assert!(suffering.iter().all(|id| told.contains(id)), "{name}: {errors:?}");
        let mend = [texts(&summary["mend"]), texts(&summary["give_up"])].concat();
        assert!(!mend.is_empty(), "{name}: {errors:?}");
        // The text names the same commands.
        let said = site.run(1, ["check", "--read-data"]);
        for command in &mend {
            assert!(said.out().contains(&format!("  {command}\n")), "{name}: {}", said.out());
        }
        for command in &mend {
            run_verbatim(&site, command);
        }
        let again = give_up_by_name(&site);
        assert_eq!(again.code, Some(0), "{name}: after {mend:?}: {}", again.err());
        println!("{name}: {} of 2 snapshots suffer; mended by {mend:?}", suffering.len());
    }
}

#[test]
fn what_is_lost_comes_back_with_a_backup_or_from_another_repository() {
    let site = site();
    let files = see(&site.join("data"));
    copy(&site, "repo", "whole");
    for damage in [
        |at: &Path| flip(at, 400),
        |at: &Path| cut(at, fs::metadata(at).unwrap().len() / 3),
        |at: &Path| fs::remove_file(at).unwrap(),
    ] {
        for victim in [data, metadata, last_metadata] {
            for heals in ["strongroom -q backup data --force", "strongroom -q repair --from whole"] {
                fresh(&site);
                damage(&victim(&site));
                let (errors, summary) = checked(&site, 1, &["--read-data"]);
                assert!(errors[0]["next_step"].as_str().unwrap().contains("repair --from"), "{errors:?}");
                // All but giving up.
                assert_eq!(
                    texts(&summary["give_up"]),
                    ["strongroom repair snapshots --forget"],
                    "{errors:?}"
                );
                for command in texts(&summary["mend"]) {
                    run_verbatim(&site, &command);
                }
                assert_eq!(run_verbatim(&site, heals), Some(0), "{heals}");
                let restored = site.restore("latest", "restored");
                assert_same(&files, &see(&restored.join("data")));
                fs::remove_dir_all(restored).unwrap();
                if heals.contains("--from") {
                    site.assert_sound();
                }
            }
        }
    }
}

/// Gives a pack whose first byte is another the name of what it is then.
fn pass_off(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    let name = blake3::hash(&bytes).to_hex().to_string();
    let folder = path.parent().unwrap().parent().unwrap().join(&name[..2]);
    fs::remove_file(path).unwrap();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&name), &bytes).unwrap();
}

/// The ids of the snapshots that are there.
pub(super) fn snapshots(site: &Site) -> Vec<String> {
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    site.json(0, ["snapshots"]).iter().map(id).collect()
}

/// Chooses the object that is damaged.
type Victim = fn(&Site) -> PathBuf;
/// What is done to whom, and whether anything is lost by it.
type Harm<'a> = (&'a str, Victim, &'a dyn Fn(&Path), bool);

#[test]
fn what_an_earlier_command_made_whole_is_not_given_up_by_a_later_one() {
    let site = site();
    copy(&site, "repo", "whole");
    let all = snapshots(&site);
    let cut_a_little = |at: &Path| cut(at, fs::metadata(at).unwrap().len() - 10);
    let cases: [Harm<'_>; 6] = [
        ("metadata cut a little", metadata, &cut_a_little, false),
        ("data cut a little", data, &cut_a_little, false),
        ("metadata gone", metadata, &|at: &Path| fs::remove_file(at).unwrap(), true),
        ("metadata of another name", metadata, &pass_off, true),
        ("metadata of the last night cut a little", last_metadata, &cut_a_little, false),
        ("metadata of the last night gone", last_metadata, &|at: &Path| fs::remove_file(at).unwrap(), true),
    ];
    for (name, victim, damage, loses) in cases {
        for backup in [false, true] {
            fresh(&site);
            damage(&victim(&site));
            let (errors, summary) = checked(&site, 1, &["--read-data"]);
            let (mend, give_up) = (texts(&summary["mend"]), texts(&summary["give_up"]));
            assert!(!mend.is_empty(), "{name}: {errors:?}");
            assert_eq!(!give_up.is_empty(), loses, "{name}: {errors:?}");
            assert_eq!(!texts(&summary["suffering_snapshots"]).is_empty(), loses, "{name}: {errors:?}");
            let said = site.run(1, ["check", "--read-data"]).out();
            // Before anything is given up it is said what may bring it back.
            let remark = said.find("(first a backup, or `strongroom repair --from OTHER`");
            assert_eq!(remark.is_some(), loses, "{said}");
            for command in &give_up {
                assert!(remark < said.rfind(&format!("  {command}\n")), "{said}");
            }
            for command in mend {
                run_verbatim(&site, &command);
            }
            if backup {
                site.run(0, ["backup", "data", "--force"]);
            }
            let checked = site.run_any(["--json", "check", "--read-data"]).out();
            let summary = checked.lines().find(|line| line.contains("\"message_type\":\"summary\"")).unwrap();
            let summary: Value = serde_json::from_str(summary).unwrap();
            let suffering = texts(&summary["suffering_snapshots"]);
            if !loses {
                assert_eq!(suffering, [""; 0], "{name}");
            }
            let before = snapshots(&site);
            // To the end, though nothing may be left to do.
            for command in ["strongroom repair snapshots --forget".to_owned()].iter().chain(&give_up) {
                run_verbatim(&site, command);
            }
            let after = snapshots(&site);
            for id in before.iter().filter(|id| !suffering.contains(id)) {
                assert!(after.contains(id), "{name}: {id} was whole and is forgotten");
            }
            assert!(loses || after == all || backup, "{name}");
            let checked = give_up_by_name(&site);
            assert_eq!(checked.code, Some(0), "{name}: {}", checked.err());
        }
    }
}

/// Checks. Where nothing or little is left of old snapshots, and packs that are not mounted would explain that as well, a
/// person gives them up by the command that names them, and checks again.
pub(super) fn give_up_by_name(site: &Site) -> Outcome {
    let checked = site.run_any(["check", "--read-data"]);
    let said = checked.err();
    let Some((_, rest)) = said.split_once("`strongroom repair snapshots --forget ") else { return checked };
    let names = rest.split('`').next().unwrap();
    run_verbatim(site, &format!("strongroom repair snapshots --forget {names}"));
    site.run_any(["check", "--read-data"])
}

#[test]
fn a_lost_blob_of_a_tree_is_told_by_the_paths_it_covers() {
    let site = Site::new();
    let mut rng = Rng::new(17);
    for number in 0..3000 {
        site.folder.write(format!("data/{number:04}"), rng.bytes(40));
    }
    site.backup(["data"]);
    // The second night's metadata is what changed: a leaf or two, and what leads there.
    site.folder.write("data/1500-new", "new");
    site.backup(["data"]);
    let (_, summary) = checked(&site, 0, &[]);
    assert_eq!(summary["problems"], 0);
    let mut told = 0;
    for pack in of_kind(&site, "packs") {
        let bytes = fs::read(&pack).unwrap();
        for place in [20, 2000] {
            if (place as usize) < bytes.len() {
                flip(&pack, place);
                let (errors, _) = checked(&site, 1, &["--read-data"]);
                for hurt in errors.iter().flat_map(|error| error["hurts"].as_array().unwrap()) {
                    for range in hurt["ranges"].as_array().unwrap() {
                        let (from, until) = (range["from"].as_str().unwrap(), range["until"].as_str());
                        assert!(until.is_none_or(|until| from < until), "{range}");
                        told += usize::from(until.is_some() || from != "/");
                    }
                }
                write_over(&pack, &bytes);
            }
        }
    }
    assert!(told > 0, "a part of a tree was told");
}

#[test]
fn where_another_copy_is_whole_nothing_suffers() {
    let site = site();
    copy(&site, "repo", "first");
    for kind in ["packs", "index"] {
        of_kind(&site, kind).iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    site.run(0, ["backup", "data", "--force", "--no-cache"]);
    let mut command = Command::new("cp");
    command.args(["-an", "first/packs", "first/index", "repo/"]).current_dir(site.folder.path());
    assert!(command.status().unwrap().success());
    site.assert_sound();
    let victim = data(&site);
    flip(&victim, 400);
    let (errors, summary) = checked(&site, 1, &["--read-data"]);
    assert_eq!((errors.len(), texts(&summary["suffering_snapshots"]).len()), (1, 0), "{errors:?}");
    assert_eq!(errors[0]["blobs_lost"], 0);
    assert!(errors[0]["message"].as_str().unwrap().contains("nothing suffers"), "{errors:?}");
    let mend = texts(&summary["mend"]);
    assert_eq!(mend.len(), 1);
    assert_eq!(run_verbatim(&site, &mend[0]), Some(0));
    site.assert_sound();
}

/// Puts the whole repository back, and lets the cache know its snapshots and nothing else.
pub(super) fn fresh(site: &Site) {
    copy(site, "whole", "repo");
    drop(fs::remove_dir_all(site.join("home/.cache")));
    site.run(0, ["snapshots"]);
}

pub(super) fn copy(site: &Site, from: &str, to: &str) {
    drop(fs::remove_dir_all(site.join(to)));
    let mut command = Command::new("cp");
    command.args(["-a", from, to]).current_dir(site.folder.path());
    assert!(command.status().unwrap().success());
}

#[test]
fn a_pack_that_lacks_its_table_gives_back_what_lies_in_front() {
    let site = site();
    let pack = data(&site);
    cut(&pack, fs::metadata(&pack).unwrap().len() - 7);
    let (errors, summary) = checked(&site, 1, &["--read-data"]);
    assert!(errors[0]["message"].as_str().unwrap().contains("nothing suffers by it"), "{errors:?}");
    assert!(texts(&summary["suffering_snapshots"]).is_empty());
    assert_same(&see(&site.join("data")), &see(&site.restore("latest", "target").join("data")));
}

#[test]
fn a_key_that_opens_no_contents_does_not_say_what_they_lost() {
    let site = site();
    site.run(0, ["key", "add", "--role", "maintain", "--label", "keeper", "--new-key-file", "keep.key"]);
    let pack = data(&site);
    flip(&pack, 400);
    let short = &pack.file_name().unwrap().to_str().unwrap()[..8];
    let as_keeper =
        |arguments: &[&str]| run(&mut site.command_with("keep.key", arguments), DEADLINE).expect_code(1);
    let outcome = as_keeper(&["--json", "check", "--read-data"]);
    assert!(outcome.out().contains("what is lost in it only a full key tells"), "{}", outcome.out());
    assert!(outcome.out().contains(&format!("`strongroom repair packs {short}` with a full key")));
    let summary = outcome.out().lines().find(|line| line.contains("\"summary\"")).unwrap().to_owned();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert!(texts(&summary["mend"]).is_empty() && texts(&summary["give_up"]).is_empty(), "{summary}");
    let said = as_keeper(&["repair", "packs", short]).err();
    assert!(said.contains("needs a key of role full") && !said.contains("check the disk"), "{said}");
}
