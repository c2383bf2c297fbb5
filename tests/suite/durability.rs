//! What a backup brings to the disk, and in which order, as the system sees it: nothing is named before it is on the
//! disk, nothing is referred to before its name is, and nothing is flushed without need.

use crate::site::Site;
use crate::support::Rng;
use crate::traced::{Call, can_trace, traced};

/// What is looked at: whatever flushes, names, opens, removes or writes.
const CALLS: &str = "fsync,fdatasync,syncfs,sync_file_range,sync,renameat2,renameat,rename,linkat,link,openat,unlinkat,write,pwrite64";

/// Where an object gets its name, and what that name is.
const KINDS: [&str; 4] = ["packs", "index", "snapshots", "sessions"];

/// An object that got its name.
struct Object<'a> {
    kind: &'static str,
    folder: &'a str,
    temporary: String,
    call: &'a Call,
}

/// What happened in the repository.
struct Seen<'a> {
    calls: &'a [Call],
    top: String,
    objects: Vec<Object<'a>>,
}

impl<'a> Seen<'a> {
    fn new(calls: &'a [Call], site: &Site) -> Self {
        let top = format!("{}/", site.join("repo").display());
        let mut objects = Vec::new();
        for call in
            calls.iter().filter(|call| call.name.starts_with("rename") || call.name.starts_with("link"))
        {
            let Some(below) = call.handle().strip_prefix(&top) else {
                assert!(!call.text.contains(&top), "not by a handle: {}", call.text);
                continue;
            };
            assert!(call.succeeded() && call.text.contains("RENAME_NOREPLACE"), "{}", call.text);
            let kind = KINDS.into_iter().find(|kind| below.split('/').next() == Some(kind)).expect("a kind");
            let [from, to] = call.names()[..] else { panic!("{}", call.text) };
            assert!(from.starts_with(".tmp-") && to.len() == 64, "{}", call.text);
            let temporary = format!("{}/{from}", call.handle());
            objects.push(Object { kind, folder: call.handle(), temporary, call });
        }
        Self { calls, top, objects }
    }

    fn of(&self, kind: &str) -> Vec<&Object<'a>> {
        self.objects.iter().filter(|object| object.kind == kind).collect()
    }

    fn syncs(&self) -> impl Iterator<Item = &'a Call> {
        self.calls.iter().filter(|call| call.name.contains("sync"))
    }

    fn syncs_of(&self, path: &str) -> Vec<&'a Call> {
        self.syncs().filter(|call| call.handle() == path).collect()
    }

    /// When the name of an object was on the disk.
    fn durable(&self, object: &Object<'_>) -> usize {
        let folder = self.syncs_of(object.folder);
        let first = folder.iter().find(|sync| sync.entered > object.call.left);
        first.unwrap_or_else(|| panic!("its folder is never flushed: {}", object.call.text)).left
    }

    /// The bytes of every object lie on the disk, and change no more, before it is named.
    fn assert_whole(&self) {
        for object in &self.objects {
            let [sync] = self.syncs_of(&object.temporary)[..] else {
                panic!("one flush before the name: {}", object.call.text)
            };
            assert!(sync.left < object.call.entered, "flushed when named already: {}", object.call.text);
            let writes = self.calls.iter().filter(|call| call.name.contains("write"));
            let mut writes = writes.filter(|call| call.handle() == object.temporary).peekable();
            assert!(writes.peek().is_some(), "it was written: {}", object.call.text);
            assert!(writes.all(|write| write.left < sync.entered), "written after the flush: {}", sync.text);
        }
    }

    /// Whatever refers to something is named after that is on the disk.
    fn assert_order(&self) {
        let durable = |kind| self.of(kind).into_iter().map(|object| self.durable(object)).max();
        let named = |kind| self.of(kind).into_iter().map(|object| object.call.entered).min();
        for (before, after) in
            [("sessions", "packs"), ("packs", "index"), ("index", "snapshots"), ("packs", "snapshots")]
        {
            if let (Some(before), Some(after)) = (durable(before), named(after)) {
                assert!(before < after, "line {before} of the trace comes before line {after}");
            }
        }
        let removals = self.calls.iter().filter(|call| call.name == "unlinkat");
        let removals: Vec<_> = removals.filter(|call| call.handle().starts_with(&self.top)).collect();
        let [removal] = removals[..] else { panic!("one removal: {removals:?}") };
        let [session] = self.of("sessions")[..] else { panic!("one session") };
        assert_eq!((removal.handle(), removal.names()[0]), (session.folder, session.call.names()[1]));
        assert!(durable("snapshots").unwrap() < removal.entered, "the session outlives the commit's flush");
        let settled = self.syncs_of(session.folder).into_iter().any(|sync| sync.entered > removal.left);
        assert!(settled, "the removal is flushed");
    }

    /// Each object costs a flush of its own and one of its folder, the session one more for its removal, and
    /// nothing else is flushed anywhere.
    fn assert_sparing(&self) {
        println!("{:12}{:>8}{:>8}{:>16}", "", "renamed", "fsync", "fsync of folder");
        let mut all = 0;
        for kind in KINDS {
            let objects = self.of(kind).len();
            let (mut own, mut folders) = (0, 0);
            for sync in self.syncs() {
                let below = sync.handle().strip_prefix(&self.top).unwrap_or_default();
                if below.split('/').next() == Some(kind) {
                    *(if below.contains("/.tmp-") { &mut own } else { &mut folders }) += 1;
                }
            }
            println!("{kind:12}{objects:>8}{own:>8}{folders:>16}");
            assert_eq!((own, folders), (objects, objects + usize::from(kind == "sessions")), "{kind}");
            all += own + folders;
        }
        assert_eq!(self.syncs().count(), all, "nothing else is flushed");
        assert!(self.syncs().all(|call| call.name == "fsync" && call.succeeded()));
    }
}

#[test]
fn a_backup_is_on_the_disk_in_the_order_of_the_protocol() {
    let what = "the order in which a backup reaches the disk";
    if !can_trace(what) {
        return;
    }
    let site = Site::new();
    let mut rng = Rng::new(77);
    site.folder.write("data/large", rng.bytes(80_000_000));
    site.folder.write("data/small", "small");
    // A first night of several packs, one of a little, one without a change.
    for (night, fewest, most) in [(0, 5, 9), (1, 2, 2), (2, 0, 0)] {
        if night == 1 {
            site.folder.write("data/small", "another");
        }
        let before = KINDS.map(|kind| site.count(kind));
        let calls = traced(&site, &["-s", "0"], CALLS, &["-q", "backup", "data"]);
        let seen = Seen::new(&calls, &site);
        let packs = seen.of("packs").len();
        assert!((fewest..=most).contains(&packs), "night {night}: {packs} packs");
        seen.assert_whole();
        seen.assert_order();
        println!("night {night}");
        seen.assert_sparing();
        // The session is gone again; a night without packs needs no index.
        let named = KINDS.map(|kind| seen.of(kind).len());
        assert_eq!(named, [packs, usize::from(packs > 0), 1, 1]);
        let after = KINDS.map(|kind| site.count(kind));
        assert_eq!(after, [before[0] + packs, before[1] + named[1], before[2] + 1, 0]);
    }
    site.assert_sound();
}
