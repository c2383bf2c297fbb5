//! A disk that does not give one object: what reads goes on and says so, what deletes does not, and what is said leads out
//! of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strongroom::format::blob::Class;

use crate::checking::{of_kind, packs_of, written};
use crate::site::{DEADLINE, Site, assert_same, last, objects, see};
use crate::strikes::can_strike;
use crate::support::{Outcome, Rng, run};
use crate::traced::traced;

/// Three nights of one large file and many small ones.
fn site() -> (Site, Vec<String>) {
    let site = Site::new();
    let mut rng = Rng::new(17);
    let mut snapshots = Vec::new();
    for night in 0..3 {
        site.folder.write("data/large", rng.bytes(1 << 20));
        for number in 0..40 {
            site.folder.write(format!("data/{night}/file-{number}"), rng.bytes(120));
        }
        let summary = site.backup(["data"]);
        snapshots.push(summary["snapshot_id"].as_str().unwrap().to_owned());
    }
    (site, snapshots)
}

/// Runs the program where the disk gives nothing of one file.
#[track_caller]
fn unread(site: &Site, path: &Path, code: i32, arguments: &[&str]) -> Outcome {
    failing(site, path, "", code, arguments)
}

/// Runs the program where the disk fails at readings of one file: at all of them, or at those that each thread's count says.
#[track_caller]
fn failing(site: &Site, path: &Path, when: &str, code: i32, arguments: &[&str]) -> Outcome {
    let program = site.command(arguments);
    let mut strace = Command::new("strace");
    strace.env_clear().current_dir(site.folder.path());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.args(["-f", "-o", "/dev/null", "-P"]).arg(path).args(["-e", "trace=read,pread64,preadv"]);
    strace.args(["-e", &format!("inject=read,pread64,preadv:error=EIO{when}")]);
    strace.arg(program.get_program()).args(program.get_args());
    run(&mut strace, DEADLINE).expect_code(code)
}

fn summary_of(outcome: &Outcome) -> Value {
    let mut objects = objects(outcome);
    objects.pop_if(|object| object["message_type"] == "exit_error");
    last(&objects)
}

fn id_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What holds of every small object: it is named with the way out, reading goes on, and nothing is deleted.
#[track_caller]
fn assert_passed_over(site: &Site, path: &Path) {
    let short = &id_of(path)[..8];
    let said = unread(site, path, 1, &["--no-cache", "check"]).err();
    assert!(
        said.contains(short) && said.contains("Input/output error") && said.contains("ddrescue"),
        "{said}"
    );
    let before = site.objects();
    let said = unread(site, path, 1, &["--no-cache", "prune"]).err();
    assert!(said.contains("nothing is pruned") && said.contains("ddrescue"), "{said}");
    assert_eq!(site.objects(), before);
    let said = unread(site, path, 3, &["-q", "--no-cache", "restore", "latest", "--target", "target"]).err();
    assert!(said.contains(short), "quiet is not mute: {said}");
    let said = unread(site, path, 3, &["--no-cache", "backup", "data"]).err();
    assert!(said.contains(short) && said.contains("ddrescue"), "{said}");
}

#[test]
fn an_index_object_in_a_bad_sector() {
    if !can_strike("an index object that cannot be read") {
        return;
    }
    let (site, _) = site();
    // That of the first night: where the top of a snapshot is lost, there is nothing to go on with.
    let path = of_kind(&site, "index").into_iter().min_by_key(|path| written(path)).unwrap();
    assert_passed_over(&site, &path);
    // The backup has named again what that object names.
    unread(&site, &path, 3, &["--no-cache", "restore", "latest", "--target", "again"]);
    assert_same(&see(&site.join("data")), &see(&site.join("again/data")));
    // It may be whole: it is left where it is, and the way out is the one that was said.
    let outcome = unread(&site, &path, 3, &["repair", "index"]);
    let said = outcome.err();
    assert!(said.contains("is left as it is") && said.contains("move index/"), "{said}");
    assert!(!outcome.out().contains("needed no repair"), "{}", outcome.out());
    assert!(path.exists());
    fs::rename(&path, site.join("moved away")).unwrap();
    site.run(0, ["repair", "index"]);
    site.run(0, ["prune"]);
    site.assert_sound();
}

#[test]
fn a_snapshot_in_a_bad_sector() {
    if !can_strike("a snapshot that cannot be read") {
        return;
    }
    let (site, snapshots) = site();
    let path = site.join("repo/snapshots").join(&snapshots[0]);
    assert_passed_over(&site, &path);
    assert_same(&see(&site.join("data")), &see(&site.join("target/data")));
    let said = unread(&site, &path, 3, &["--no-cache", "snapshots"]);
    assert!(said.out().contains(&snapshots[1][..8]) && said.err().contains(&snapshots[0][..8]));
    unread(&site, &path, 1, &["--no-cache", "restore", &snapshots[0], "--target", "it"]);
    // No rule counts what is not all there; who names it knows what he does.
    let said = unread(&site, &path, 1, &["forget", "--keep-last", "1"]).err();
    assert!(said.contains("nothing is forgotten by rules"), "{said}");
    let given_up = format!("strongroom forget {}", &snapshots[0][..8]);
    assert!(unread(&site, &path, 1, &["check"]).err().contains(&given_up));
    unread(&site, &path, 0, &["forget", &snapshots[0][..8]]);
    unread(&site, &path, 0, &["prune"]);
    assert!(!path.exists());
    site.assert_sound();
}

#[test]
fn a_mark_of_forgetting_in_a_bad_sector() {
    if !can_strike("a mark of forgetting that cannot be read") {
        return;
    }
    let (site, snapshots) = site();
    site.run(0, ["forget", &snapshots[0]]);
    let path = site.join("repo/forgotten").join(&snapshots[0]);
    assert_passed_over(&site, &path);
    let said = unread(&site, &path, 3, &["snapshots"]);
    assert!(said.out().contains(&snapshots[0][..8]) && said.err().contains("perhaps forgotten"));
    unread(&site, &path, 3, &["restore", &snapshots[0], "--target", "it"]);
    let said = unread(&site, &path, 1, &["forget", "--keep-last", "1"]).err();
    assert!(said.contains("whether snapshot"), "{said}");
}

#[test]
fn a_key_that_cannot_be_read_is_not_taken_away() {
    if !can_strike("a key that cannot be read") {
        return;
    }
    let (site, _) = site();
    let before = of_kind(&site, "keys");
    site.run(0, ["key", "add", "--role", "backup", "--label", "server", "--new-key-file", "add.key"]);
    let path = of_kind(&site, "keys").into_iter().find(|path| !before.contains(path)).unwrap();
    let summary = summary_of(&unread(&site, &path, 1, &["--json", "check"]));
    assert_eq!((&summary["mend"], &summary["give_up"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    let said = unread(&site, &path, 1, &["key", "remove", &id_of(&path)]).err();
    assert!(said.contains("is not removed"), "{said}");
    assert!(path.exists());
    // One that was read and is none may go, once somebody says so.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "no key at all").unwrap();
    let summary = summary_of(&site.run(1, ["--json", "check"]));
    let remove = format!("strongroom key remove {}", &id_of(&path)[..8]);
    assert_eq!((&summary["mend"], &summary["give_up"]), (&Value::Array(vec![]), &Value::from(vec![remove])));
    site.run(0, ["key", "remove", &id_of(&path)]);
    site.assert_sound();
}

/// The pack that holds the last night's large file.
fn large_pack(site: &Site) -> PathBuf {
    packs_of(site, Class::Data).pop().unwrap()
}

#[test]
fn a_pack_in_a_bad_sector_is_told_and_given_up_by_its_name_only() {
    if !can_strike("a pack that cannot be read") {
        return;
    }
    for night in 0..3 {
        given_up_by_its_name_only(night);
    }
}

/// Gives up the pack of data of one of the three nights.
fn given_up_by_its_name_only(night: usize) {
    let (site, snapshots) = site();
    let path = packs_of(&site, Class::Data).swap_remove(night);
    let short = id_of(&path)[..8].to_owned();
    let outcome = unread(&site, &path, 1, &["--json", "check", "--read-data"]);
    let summary = summary_of(&outcome);
    assert_eq!(summary["mend"], Value::from(vec![format!("strongroom repair packs {short}")]));
    assert_eq!(summary["give_up"], Value::from(vec!["strongroom repair snapshots --forget"]));
    assert!(!summary["suffering_snapshots"].as_array().unwrap().is_empty());
    assert!(outcome.out().contains("ddrescue"), "{}", outcome.out());
    // The disk may give it tomorrow.
    let said = unread(&site, &path, 1, &["repair", "packs"]).err();
    assert!(said.contains(&format!("strongroom repair packs {short}")), "{said}");
    site.assert_sound();
    unread(&site, &path, 3, &["repair", "packs", &short]);
    site.run(0, ["backup", "data", "--force"]);
    let forget = ["repair", "snapshots", "--forget"];
    if night == 2 {
        // The host still has all that lay in it.
        unread(&site, &path, 0, &forget);
    } else {
        // What an older night had in it may still be there, as long as the pack is.
        let refused = unread(&site, &path, 1, &forget).err();
        assert!(refused.contains("ddrescue") && refused.contains("out of the repository"), "{refused}");
    }
    fs::rename(&path, site.join("moved away")).unwrap();
    if night == 0 {
        // Hardly anything is left of the oldest, and what came since does not vouch for it.
        let said = site.run(3, forget).err();
        assert!(said.contains("gives up those that are named"), "{said}");
        site.run(0, [&forget[..], &[&snapshots[0]]].concat());
    }
    site.run(0, forget);
    site.run(0, ["prune"]);
    site.assert_sound();
    assert_same(&see(&site.join("data")), &see(&site.restore("latest", "after").join("data")));
}

#[test]
fn a_condemned_pack_in_a_bad_sector_has_a_way_on() {
    if !can_strike("a condemned pack that cannot be read") {
        return;
    }
    let (site, _) = site();
    let path = large_pack(&site);
    let short = id_of(&path)[..8].to_owned();
    unread(&site, &path, 3, &["repair", "packs", &short]);
    let moved = format!("move packs/{}", &id_of(&path)[..2]);
    let outcome = unread(&site, &path, 1, &["--json", "check"]);
    assert!(outcome.out().contains("is condemned, may hold"), "{}", outcome.out());
    assert!(outcome.out().contains("ddrescue") && outcome.out().contains(&moved), "{}", outcome.out());
    let said = unread(&site, &path, 3, &["repair", "packs"]).err();
    assert!(said.contains(&moved), "{said}");
    let said = unread(&site, &path, 1, &["repair", "snapshots", "--forget"]).err();
    assert!(said.contains(&moved), "{said}");
    // What was said leads on.
    fs::rename(&path, site.join("moved away")).unwrap();
    site.run(0, ["repair", "packs"]);
    let outcome = site.run_any(["repair", "snapshots", "--forget"]);
    assert!(!outcome.err().contains("nothing was stored or forgotten"), "{}", outcome.err());
    site.run(0, ["prune"]);
    site.assert_sound();
}

/// Lets a pack read as zeros until it is condemned, and rightly from then on.
fn condemned_by_mistake(site: &Site, path: &Path) {
    let good = fs::read(path).unwrap();
    for bytes in [&vec![0; good.len()], &good] {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
        if *bytes != good {
            site.run(3, ["repair", "packs"]);
        }
    }
}

#[test]
fn what_a_condemned_pack_holds_is_copied_beside_another_in_a_bad_sector() {
    if !can_strike("a pack that cannot be read beside a condemned one") {
        return;
    }
    let (site, snapshots) = site();
    let data = packs_of(&site, Class::Data);
    let (condemned, path) = (&data[0], &data[1]);
    let short = id_of(path)[..8].to_owned();
    condemned_by_mistake(&site, condemned);
    let outcome = unread(&site, path, 1, &["--json", "check", "--read-data"]);
    assert!(outcome.out().contains("lie in condemned packs"), "{}", outcome.out());
    assert_eq!(summary_of(&outcome)["mend"], Value::from(vec![format!("strongroom repair packs {short}")]));
    let said = unread(&site, path, 1, &["repair", "snapshots", "--forget"]).err();
    assert!(said.contains("lies whole in condemned packs"), "{said}");
    // Not named, the one in the bad sector is left, and holds up nothing.
    let outcome = unread(&site, path, 1, &["repair", "packs"]);
    assert!(outcome.out().contains("that snapshots lack copied out of condemned packs"), "{}", outcome.out());
    assert!(outcome.err().contains("cannot be had whole") && outcome.err().contains(&short));
    site.assert_sound();
    site.run(0, ["prune"]);
    assert!(path.exists() && !condemned.exists());
    site.assert_sound();
    for snapshot in snapshots {
        site.restore(&snapshot, &snapshot);
    }
}

#[test]
fn of_a_condemned_pack_what_the_disk_gives_is_copied() {
    if !can_strike("a condemned pack of which the disk gives a part") {
        return;
    }
    let (site, snapshots) = site();
    let path = large_pack(&site);
    condemned_by_mistake(&site, &path);
    // First its table is read with the whole of it; then the whole fails, twice, and what holds its first sector, and that.
    let outcome = failing(&site, &path, ":when=2..5", 3, &["--json", "repair", "packs"]);
    let summary = summary_of(&outcome);
    assert_eq!(summary["packs_unsure"], 1, "{summary}");
    assert!(summary["blobs_rescued"].as_u64().unwrap() > 0, "{summary}");
    assert!(outcome.out().contains("may hold what snapshots lack, and is left"), "{}", outcome.out());
    assert!(outcome.out().contains("ddrescue"), "{}", outcome.out());
    // The rest may be there: it is neither given up nor pruned away.
    let (_, lacking) = (site.run(1, ["check"]), site.run_any(["prune"]));
    assert!(lacking.code != Some(0) && path.exists(), "{}", lacking.err());
    let said = unread(&site, &path, 1, &["repair", "snapshots", "--forget"]).err();
    assert!(said.contains("ddrescue"), "{said}");
    // The disk gives it after all.
    let more = summary_of(&site.run(0, ["--json", "repair", "packs"]));
    assert!(more["blobs_rescued"].as_u64().unwrap() > 0, "{more}");
    site.assert_sound();
    site.run(0, ["prune"]);
    assert!(!path.exists());
    site.assert_sound();
    for snapshot in snapshots {
        site.restore(&snapshot, &snapshot);
    }
}

#[test]
fn a_pack_in_no_index_and_in_a_bad_sector_is_not_given_up() {
    if !can_strike("a pack in no index that cannot be read") {
        return;
    }
    let (site, snapshots) = site();
    let path = large_pack(&site);
    for index in of_kind(&site, "index") {
        fs::rename(&index, site.join(id_of(&index))).unwrap();
    }
    unread(&site, &path, 3, &["repair", "index"]);
    let said = unread(&site, &path, 1, &["repair", "snapshots", "--forget"]).err();
    assert!(said.contains("which no index object names") && said.contains("ddrescue"), "{said}");
    // The disk gives it again.
    site.run(0, ["repair", "index"]);
    site.assert_sound();
    for snapshot in snapshots {
        site.restore(&snapshot, &snapshot);
    }
}

#[test]
fn a_snapshot_that_may_be_forgotten_vouches_for_no_other() {
    if !can_strike("a mark of forgetting that cannot be read") {
        return;
    }
    let (site, snapshots) = site();
    site.run(0, ["forget", "--forget-newest-good", &snapshots[2]]);
    site.run(0, ["forget", &snapshots[0]]);
    let path = site.join("repo/forgotten").join(&snapshots[2]);
    let outcome = unread(&site, &path, 1, &["forget", &snapshots[1]]);
    assert!(outcome.err().contains("is the newest snapshot"), "{}", outcome.err());
}

#[test]
fn a_copy_of_the_repository_gives_what_a_bad_sector_holds() {
    if !can_strike("a pack that cannot be read, and a copy of it") {
        return;
    }
    let (site, snapshots) = site();
    assert!(
        Command::new("cp")
            .arg("-a")
            .arg(site.join("repo"))
            .arg(site.join("copy"))
            .status()
            .unwrap()
            .success()
    );
    for path in of_kind(&site, "packs") {
        let said = unread(&site, &path, 1, &["repair", "--from", "copy"]);
        assert!(said.out().contains("found in the other repository"), "{}", said.out());
        assert!(!said.out().contains("nothing found"), "{}", said.out());
        assert!(said.out().contains("as far as that is known: 1 pack could not be read"), "{}", said.out());
        // Now it is of no use to anybody.
        unread(&site, &path, 0, &["repair", "packs", &id_of(&path)[..8]]);
        unread(&site, &path, 0, &["prune"]);
        assert!(!path.exists());
    }
    site.assert_sound();
    for snapshot in snapshots {
        site.restore(&snapshot, &snapshot);
    }
}

#[test]
fn a_check_reads_packs_from_the_disk() {
    if !can_strike("where a check reads from") {
        return;
    }
    let (site, _) = site();
    for command in [["check", "--read-data"], ["repair", "packs"]] {
        let calls = traced(&site, &[], "fadvise64,pread64", &command);
        for pack in of_kind(&site, "packs") {
            let of_pack = calls.iter().filter(|call| Path::new(call.handle()) == pack);
            let names: Vec<&str> = of_pack
                .map(|call| if call.text.contains("POSIX_FADV_DONTNEED") { "dropped" } else { &call.name })
                .collect();
            assert_eq!(names.first(), Some(&"dropped"), "{command:?}: {names:?}");
            assert!(names.contains(&"pread64"), "{command:?}: {names:?}");
        }
    }
}
