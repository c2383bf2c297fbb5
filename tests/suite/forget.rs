//! Forgetting: rules and names, what is kept against the rules, who may, and what is told of what vanished.

use std::fs;
use std::sync::Arc;

use serde_json::Value;
use strongroom::backend::LocalBackend;
use strongroom::format::node::Timestamp;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::session::{self, Commit, Session};

use crate::site::{DEADLINE, Site, last, number, objects};
use crate::support::{Outcome, run};

/// A site with a backup of each of these times.
fn dated(times: &[&str]) -> Site {
    let site = Site::new();
    for time in times {
        site.folder.write("data/a", time);
        site.run(0, ["-q", "backup", "--host", "server", "--time", time, "data"]);
    }
    site
}

fn nights(count: usize) -> Site {
    let times: Vec<String> = (1..=count).map(|day| format!("2026-03-{day:02}T03:00:00Z")).collect();
    dated(&times.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The times of the snapshots that are listed.
fn listed(site: &Site) -> Vec<String> {
    let snapshots = site.json(0, ["snapshots"]);
    snapshots.iter().map(|snapshot| snapshot["time"].as_str().unwrap()[..10].to_owned()).collect()
}

fn id_of(site: &Site, place: usize) -> String {
    site.json(0, ["snapshots"])[place]["id"].as_str().unwrap().to_owned()
}

/// A key of a role; gives the name of its file.
fn key(site: &Site, role: &str) -> String {
    let file = format!("{role}.key");
    site.run(0, ["-q", "key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    file
}

fn with_key(site: &Site, key: &str, code: i32, arguments: &[&str]) -> Outcome {
    run(&mut site.command_with(key, arguments), DEADLINE).expect_code(code)
}

#[test]
fn rules_keep_what_they_say_and_the_rest_is_forgotten() {
    let site = nights(10);
    let rules = ["forget", "--keep-last", "2", "--keep-daily", "4", "--keep-weekly", "3"];
    let dry = site.run(0, [&rules[..], &["--dry-run"]].concat());
    let shown = dry.out();
    assert!(shown.contains("days and times as in"), "{shown}");
    assert!(shown.contains("host server, "), "{shown}");
    assert!(shown.contains(": 5 of 10 snapshots go"), "{shown}");
    let line = |time: &str| shown.lines().find(|line| line.starts_with(time)).unwrap().to_owned();
    assert!(line("2026-03-10 03:00").ends_with("keep    last 1, daily 1, weekly 1"), "{shown}");
    assert!(line("2026-03-08 03:00").ends_with("keep    daily 3, weekly 2"), "{shown}");
    assert!(line("2026-03-06 03:00").ends_with("forget  no rule keeps it"), "{shown}");
    assert!(shown.ends_with("dry run: 5 snapshots would be forgotten, 5 kept\n"), "{shown}");
    assert_eq!((site.count("forgotten"), listed(&site).len()), (0, 10));

    let done = site.run(0, rules);
    assert!(done.out().contains("5 snapshots forgotten, 5 kept; `strongroom prune` frees"), "{}", done.out());
    assert_eq!(listed(&site), ["2026-03-01", "2026-03-07", "2026-03-08", "2026-03-09", "2026-03-10"]);
    assert_eq!((site.count("forgotten"), site.count("snapshots")), (5, 10));
    site.run(0, [&rules[..], &["--prune"]].concat());
    assert_eq!((site.count("forgotten"), site.count("snapshots")), (5, 5));
    site.assert_sound();
}

#[test]
fn programs_are_told_in_the_words_of_restic() {
    let site = nights(3);
    let said = site.json(0, ["forget", "--keep-daily", "2", "--keep-tag", "x"]);
    let group = &said[0];
    assert_eq!(group["message_type"], "forget");
    assert_eq!(group["host"], "server");
    let times = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap();
        list.iter().map(|one| one["time"].as_str().unwrap()[..10].to_owned()).collect()
    };
    assert_eq!(times(&group["keep"]), ["2026-03-03", "2026-03-02"]);
    assert_eq!(times(&group["remove"]), ["2026-03-01"]);
    assert_eq!(group["reasons"][0]["matches"][0], "daily snapshot");
    assert_eq!(group["reasons"][2]["forgotten_because"], "no rule keeps it");
    let summary = last(&said);
    assert_eq!((number(&summary, "snapshots_removed"), number(&summary, "snapshots_kept")), (1, 2));
    assert_eq!(summary["removed"][0], group["remove"][0]["id"]);
}

#[test]
fn days_begin_where_the_time_zone_says() {
    // Two nights in Berlin and one day in UTC; and the zone's data come from the program where the system has none.
    let site = dated(&["2026-03-28T22:30:00Z", "2026-03-28T23:30:00Z"]);
    let kept = |zone: &str| {
        let mut command = site.command(["--json", "forget", "--keep-daily", "1", "-n", "--timezone", zone]);
        command.args(["--keep-within-daily", "1d", "--forget-more-than-half"]);
        command.env("TZDIR", site.join("nowhere"));
        number(&last(&objects(&run(&mut command, DEADLINE).expect_code(0))), "snapshots_kept")
    };
    assert_eq!((kept("UTC"), kept("Europe/Berlin")), (1, 2));
    let unknown = site.run(2, ["forget", "--keep-last", "1", "--timezone", "Middle/Earth"]);
    assert!(unknown.err().contains("there is no time zone Middle/Earth"), "{}", unknown.err());
    let mut system = site.command(["forget", "--keep-daily", "1", "--keep-last", "2", "-n"]);
    let said = run(system.env("TZ", "Australia/Lord_Howe"), DEADLINE).expect_code(0);
    assert!(said.out().starts_with("days and times as in Australia/Lord_Howe\n"), "{}", said.out());
    assert!(said.out().contains("2026-03-29 09:30"), "{}", said.out());
}

#[test]
fn without_rules_or_names_or_with_both_nothing_is_done() {
    let site = nights(2);
    let wrong: [&[&str]; 8] = [
        &["forget"],
        &["forget", "--host", "server"],
        &["forget", "latest", "--keep-last", "1"],
        &["forget", "--keep-last", "0"],
        &["forget", "--keep-last", "some"],
        &["forget", "--keep-within", "5"],
        &["forget", "--keep-last", "1", "--group-by", "moon"],
        &["forget", "--keep-weakly", "1"],
    ];
    for arguments in wrong {
        site.run(2, arguments);
    }
    let bare = site.run(2, ["forget"]);
    assert!(bare.err().contains("strongroom forget --keep-daily 7"), "{}", bare.err());
    site.run(0, ["forget", "--keep-last", "unlimited"]);
    site.run(0, ["forget", "--keep-last=-1"]);
    assert_eq!((site.count("forgotten"), listed(&site).len()), (0, 2));
}

#[test]
fn a_guard_holds_until_its_own_option_lifts_it() {
    let site = nights(5);
    let refused = site.run(1, ["forget", "--keep-last", "1"]);
    assert!(refused.err().contains("more than half would be forgotten at once: 4 of 5"), "{}", refused.err());
    assert!(refused.err().contains("--forget-more-than-half"), "{}", refused.err());
    // A dry run shows it, and is no failure.
    let dry = site.run(0, ["forget", "--keep-last", "1", "--dry-run"]);
    assert!(dry.out().contains("refused  no rule keeps it"), "{}", dry.out());
    assert!(dry.err().contains("would be refused, with exit code 1: more than half"), "{}", dry.err());
    let group = &site.json(0, ["forget", "--keep-last", "1", "--dry-run"])[0];
    assert_eq!((group["keep"].as_array().unwrap().len(), &group["remove"]), (5, &serde_json::json!([])));
    assert!(group["refused"].as_str().unwrap().contains("4 of 5"), "{group}");
    let none =
        site.run(1, ["forget", "--keep-tag", "never", "--forget-more-than-half", "--forget-newest-good"]);
    assert!(none.err().contains("the rules would keep no snapshot of host server"), "{}", none.err());
    // Naming one of a group is a choice, naming most of it may be an accident.
    let ids: Vec<String> = (0..5).map(|place| id_of(&site, place)).collect();
    site.run(1, ["forget", &ids[0], &ids[1], &ids[2]]);
    let newest = site.run(1, ["forget", "latest"]);
    assert!(newest.err().contains("is the newest snapshot of host server"), "{}", newest.err());
    assert_eq!(site.count("forgotten"), 0);
    site.run(0, ["forget", &ids[0], &ids[1]]);
    site.run(0, ["forget", "latest", "--forget-newest-good"]);
    assert_eq!(listed(&site), ["2026-03-03", "2026-03-04"]);
    site.run(0, ["forget", "--keep-last", "1", "--forget-more-than-half"]);
    assert_eq!(listed(&site), ["2026-03-04"]);
}

#[test]
fn a_group_that_is_refused_keeps_no_other_from_being_thinned_out() {
    let site = nights(5);
    for day in ["2026-04-01", "2026-04-02"] {
        site.run(0, ["-q", "backup", "--host", "other", "--time", day, "data"]);
    }
    let refused = site.run(1, ["forget", "--keep-last", "1", "--prune"]);
    assert!(
        refused.err().contains("more than half would be forgotten at once: 4 of 5 of host server"),
        "{}",
        refused.err()
    );
    assert!(refused.out().contains("1 snapshot forgotten, 6 kept"), "{}", refused.out());
    assert_eq!(listed(&site).last().unwrap(), "2026-04-02");
    assert_eq!((listed(&site).len(), site.count("snapshots")), (6, 6), "and pruned");
}

#[test]
fn the_newest_whose_checks_passed_is_kept() {
    let site = nights(2);
    // From here on something cannot be stored as it should.
    site.folder.write("data/broken.sqlite3", [b"SQLite format 3\0".as_slice(), &[7; 5000]].concat());
    for day in ["2026-03-05", "2026-03-06", "2026-03-07"] {
        site.run(3, ["-q", "backup", "--host", "server", "--time", day, "data"]);
    }
    let shown = site.run(0, ["forget", "--keep-daily", "2", "-n"]).out();
    let line = shown.lines().find(|line| line.starts_with("2026-03-02")).unwrap();
    assert!(line.ends_with("keep    the newest of its group whose checks passed"), "{shown}");
    site.run(0, ["forget", "--keep-daily", "2", "--forget-newest-good", "--forget-more-than-half"]);
    assert_eq!(listed(&site), ["2026-03-06", "2026-03-07"]);
}

#[test]
fn only_who_may_forgets() {
    let site = nights(2);
    let (backup, maintain) = (key(&site, "backup"), key(&site, "maintain"));
    let refused = with_key(&site, &backup, 12, &["forget", "--keep-last", "1"]);
    assert!(refused.err().contains("needs a key of role maintain or full"), "{}", refused.err());
    with_key(&site, &backup, 12, &["forget", "latest", "-n"]);
    assert_eq!(site.count("forgotten"), 0);
    with_key(&site, &maintain, 0, &["forget", &id_of(&site, 0)]);
    assert_eq!(listed(&site), ["2026-03-02"]);
}

#[test]
fn keys_never_push_out_each_others_snapshots() {
    let site = nights(3);
    let other = key(&site, "backup");
    site.folder.write("data/a", "other");
    for _ in 0..3 {
        with_key(&site, &other, 0, &["-q", "backup", "--host", "server", "data"]);
    }
    site.run(0, ["forget", "--keep-last", "2", "--group-by", ""]);
    let left = listed(&site);
    assert_eq!((left.len(), &left[..2]), (4, &["2026-03-02".to_owned(), "2026-03-03".to_owned()][..]));
}

#[test]
fn a_backup_key_is_not_believed_about_the_past() {
    let site = nights(1);
    let stolen = key(&site, "backup");
    let back_up = |time: &[&str]| {
        with_key(
            &site,
            &stolen,
            0,
            &[&["-q", "backup", "--force", "--host", "other", "data"], time].concat(),
        );
    };
    back_up(&[]);
    back_up(&["--time", "2026-03-20"]);
    let shown = site.run(0, ["forget", "--keep-daily", "1", "--host", "other", "-n"]);
    assert!(shown.out().contains("out of order: number 2 after 1"), "{}", shown.out());
    assert!(shown.err().contains("1 snapshot is out of order or dated back, and kept"), "{}", shown.err());
    // Many of today push nothing out, until somebody says that they may.
    let said = site.json(0, ["forget", "--keep-daily", "1", "--host", "other", "--forget-out-of-order"]);
    assert_eq!(number(&last(&said), "snapshots_removed"), 1);
    assert_eq!(listed(&site).len(), 2);
}

/// Lets a key store the tree of the only snapshot again, as one that was finished so many days ago.
fn finished(site: &Site, key: &str, days_ago: i64) -> String {
    let text = fs::read_to_string(site.join(key)).unwrap();
    let credential = Credential::KeyFile(parse_key_file(&text).unwrap());
    let backend = LocalBackend::open(&site.join("repo")).unwrap();
    let repository = Repository::open(Arc::new(backend), &credential).unwrap();
    let found = repository.snapshots().unwrap();
    let mut manifest = found.snapshots.last().unwrap().manifest.clone();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    manifest.time = Timestamp { seconds: now - days_ago * 86_400, nanoseconds: 0 };
    manifest.finished = manifest.time;
    manifest.host = "other".into();
    manifest.sequence = session::next_sequence(&repository, &found);
    let session = Session::begin(&repository, None, "other").unwrap();
    let id = session.id().to_hex();
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Done);
    id
}

#[test]
fn what_is_dated_back_counts_once_somebody_accepts_it() {
    let site = nights(1);
    let slow = key(&site, "backup");
    let first = finished(&site, &slow, 9);
    // This computer looks, and knows the key; what its slow clock dates later was not there.
    site.run(0, ["snapshots"]);
    let late = [5, 4, 3].map(|days| finished(&site, &slow, days));
    let rules = ["forget", "--keep-last", "1", "--host", "other"];
    let dry = |arguments: &[&str]| site.run(0, [&rules[..], &["--dry-run"], arguments].concat());
    let shown = dry(&[]);
    let words = "dated back: it was not there when this computer last looked";
    assert_eq!(shown.out().matches(words).count(), 3, "{}", shown.out());
    assert!(shown.err().contains("3 snapshots are out of order or dated back, and kept"), "{}", shown.err());
    assert!(shown.err().contains("--accept-dated-back ID"), "{}", shown.err());
    // What is not dated back cannot be accepted, nor by who remembers nothing.
    let refused = site.run(1, ["forget", "--accept-dated-back", &first[..12]]);
    assert!(refused.err().contains("is not dated back, so there is nothing to accept"), "{}", refused.err());
    site.run(1, ["--no-cache", "forget", "--accept-dated-back", &late[0][..12]]);
    // A dry run takes nothing for what it says.
    let would = dry(&["--accept-dated-back", "all"]);
    assert!(would.out().contains("3 snapshots would be taken for what it says"), "{}", would.out());
    assert_eq!(would.out().matches(words).count(), 0, "{}", would.out());
    assert_eq!(dry(&[]).out().matches(words).count(), 3);
    // By name: nothing is forgotten without rules, and from now on it counts.
    let said = site.run(0, ["forget", "--accept-dated-back", &late[0][..12]]).out();
    assert!(said.contains("1 snapshot taken for what it says"), "{said}");
    assert_eq!((site.count("forgotten"), dry(&[]).out().matches(words).count()), (0, 2));
    // Another computer has nothing to accept, for it never looked.
    let mut elsewhere = site.command(["--cache-dir", "elsewhere"]);
    elsewhere.args(rules).arg("--dry-run");
    assert_eq!(run(&mut elsewhere, DEADLINE).expect_code(0).out().matches(words).count(), 0);
    // All at once, with rules: they go by these in the same run.
    let said =
        site.json(0, [&rules[..], &["--forget-more-than-half", "--accept-dated-back", "all"]].concat());
    let accepted = said.iter().find(|object| object["message_type"] == "accepted").unwrap();
    let mut ids: Vec<&str> =
        accepted["snapshot_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    ids.sort_unstable();
    let mut expected = [late[1].as_str(), &late[2]];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(number(&last(&said), "snapshots_removed"), 3);
    let left = site.json(0, ["snapshots", "--host", "other"]);
    assert_eq!(left.iter().map(|left| left["id"].as_str().unwrap()).collect::<Vec<_>>(), [&late[2]]);
}

#[test]
fn junk_and_what_vanished_can_be_named() {
    let site = nights(3);
    let (junk, gone) = (id_of(&site, 0), id_of(&site, 1));
    fs::write(site.join("repo/snapshots").join(&junk), "junk").unwrap();
    fs::remove_file(site.join("repo/snapshots").join(&gone)).unwrap();
    // The next command tells of it, once; a check tells every time.
    let next = site.run(3, ["snapshots"]);
    let told = format!(
        "problem: snapshot {} of server of 2026-03-02: vanished without having been forgotten",
        &gone[..8]
    );
    assert!(next.err().contains(&told), "{}", next.err());
    assert!(!site.run(3, ["snapshots"]).err().contains("vanished"));
    for _ in 0..2 {
        assert!(site.run(1, ["check"]).err().contains(&told));
    }
    let junked = site.run(3, ["forget", "--keep-last", "5"]);
    assert!(junked.err().contains(&junk[..8]), "{}", junked.err());
    let named = site.run(0, ["forget", &junk[..10], &gone[..10]]);
    assert!(
        named.out().contains(&format!("{}  forget  named; cannot be read", &junk[..8])),
        "{}",
        named.out()
    );
    assert!(named.out().contains(&format!("{}  forget  named; vanished", &gone[..8])), "{}", named.out());
    assert!(named.out().ends_with("2 snapshots forgotten, 0 kept; `strongroom prune` frees their space\n"));
    site.run(0, ["snapshots"]);
    site.run(0, ["check"]);
    site.run(1, ["forget", "0000"]);
}

#[test]
fn every_command_that_lists_snapshots_notices_what_vanished() {
    let commands: [&[&str]; 5] = [
        &["backup", "--host", "server", "data"],
        &["ls", "latest"],
        &["forget", "--keep-last", "9"],
        &["prune"],
        &["-q", "restore", "latest", "--target", "restored"],
    ];
    let site = nights(6);
    for (place, arguments) in commands.into_iter().enumerate() {
        let id = id_of(&site, 0);
        fs::remove_file(site.join("repo/snapshots").join(&id)).unwrap();
        let said = site.run_any(arguments);
        assert!(said.err().contains(&format!("snapshot {} of server", &id[..8])), "{place}: {}", said.err());
        // What only it needed is all that is left of it, and is not pruned.
        let code = if arguments == ["prune"] { 1 } else { 0 };
        assert_eq!(said.code, Some(code), "{}", said.err());
    }
    let quiet = site.run(0, ["--no-cache", "snapshots"]);
    assert!(quiet.err().is_empty(), "{}", quiet.err());
}

#[test]
fn a_rewritten_snapshot_takes_not_the_place_of_the_one_that_it_was_made_from() {
    let site = nights(4);
    site.folder.write("data/secret", "secret");
    site.run(0, ["-q", "backup", "--host", "server", "--time", "2026-03-05T03:00:00Z", "data"]);
    let whole = id_of(&site, 4);
    site.run(0, ["rewrite", "--exclude", "secret"]);
    assert_eq!(listed(&site).len(), 6);
    let done = site.run(0, ["forget", "--keep-last", "3"]);
    assert!(done.out().contains(", made of the same backup"), "{}", done.out());
    assert_eq!(listed(&site), ["2026-03-03", "2026-03-04", "2026-03-05", "2026-03-05"]);
    // Who wants it gone says so.
    site.run(0, ["forget", &whole]);
    assert_eq!(listed(&site), ["2026-03-03", "2026-03-04", "2026-03-05"]);
}

#[test]
fn one_that_vanished_is_one() {
    let site = nights(2);
    fs::remove_file(site.join("repo/snapshots").join(id_of(&site, 0))).unwrap();
    let refused = site.run(1, ["prune"]);
    assert!(refused.err().contains("1 snapshot vanished without"), "{}", refused.err());
    assert!(refused.err().contains("what only it needed would go"), "{}", refused.err());
}
