//! What waits for a running backup, and what comes of it meanwhile.

use strongroom::id::Id;
use strongroom::repository::cache::Cache;
use strongroom::repository::session::Commit;

use super::{Nights, begin, open};
use crate::site::{assert_same, number, see};

#[test]
fn what_a_waiting_prune_has_condemned_comes_back_and_stays() {
    let mut nights = Nights::new(4011);
    let first = nights.night(24);
    let before = see(&nights.site.join("data"));
    nights.night(24);
    nights.site.run(0, ["forget", &first]);
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let mut session = begin(&repository, &cache);
    let blocked = nights.prune(0, &[]);
    assert!(number(&blocked["pending"], "packs") > 0, "{blocked}");
    nights.site.run(0, ["unforget", "--dry-run", &first]);
    let said = nights.site.json(0, ["unforget", &first]);
    let changed = said.iter().find(|object| object["message_type"] == "changed").unwrap();
    let back = changed["new_snapshot_id"].as_str().unwrap().to_owned();
    session.end();
    nights.prune(0, &[]);
    assert_eq!((nights.site.count("gc"), nights.site.count("sessions")), (0, 0));
    nights.site.assert_sound();
    let restored = nights.site.restore(&back, "back");
    assert_same(&before, &see(&restored.join("data")));
}

#[test]
fn a_session_that_died_before_its_snapshot_landed_is_shown_as_given_up() {
    let mut nights = Nights::new(4012);
    nights.night(24);
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let session = begin(&repository, &cache);
    let id = *session.id();
    nights.site.run(0, ["unlock", &id.to_hex()]);
    // Its manifest comes late.
    let manifest = repository.snapshots().unwrap().snapshots.pop().unwrap().manifest;
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Abandoned);
    let shown = nights.site.run(0, ["unlock", "--dry-run"]).out();
    assert!(shown.contains("given up; a prune clears it up"), "{shown}");
}

#[test]
fn a_record_of_packs_that_are_gone_keeps_nobody_waiting() {
    let mut nights = Nights::new(4013);
    nights.night(24);
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let mut session = begin(&repository, &cache);
    repository.put_condemned(vec![Id([1; 32])]).unwrap();
    for _ in 0..3 {
        let said = nights.site.run(0, ["prune"]);
        assert!(!said.err().contains("0 packs"), "{}", said.err());
    }
    session.end();
    nights.prune(0, &[]);
    assert_eq!(nights.site.count("gc"), 0);
}

#[test]
fn what_stays_unused_for_want_of_room_is_not_said_to_be_worth_nothing() {
    let mut nights = Nights::new(4014);
    let first = nights.night(24);
    nights.night(12);
    nights.forget(&first);
    let row =
        |flags: &[&str]| nights.site.run(0, [&["prune", "-n", "--max-unused", "0"], flags].concat()).out();
    assert!(!row(&[]).contains("stays unused"), "{}", row(&[]));
    let bounded = row(&["--max-repack-size", "1K"]);
    assert!(bounded.contains("stays unused, more work than --max-repack-size"), "{bounded}");
}
