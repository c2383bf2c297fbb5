//! Keys that are removed or changed: what goes, what stays, what is refused, and two who do it at once.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::crypto::kdf::Cost;
use strongroom::crypto::secret::Secret;
use strongroom::error::{Error, ErrorKind, Result};
use strongroom::format::key_slot::Role;
use strongroom::format::node::Timestamp;
use strongroom::id::Id;
use strongroom::operation::key::{self, RemoveOptions};
use strongroom::repository::Repository;
use strongroom::repository::keys::{Credential, NewKey};

use crate::site::{DEADLINE, Site, assert_same, number, objects, see};
use crate::support::{Outcome, run, strongroom};

fn add(site: &Site, role: &str, label: &str) {
    let file = format!("{label}.key");
    site.run(0, ["key", "add", "--role", role, "--label", label, "--new-key-file", &file]);
}

/// The program with a key file, however it ends.
fn with(site: &Site, key: &str, arguments: &[&str]) -> Outcome {
    run(&mut site.command_with(key, arguments), DEADLINE)
}

/// The program with a password in a file.
fn with_password(site: &Site, file: &str, arguments: &[&str]) -> Outcome {
    let mut command: Command = strongroom(&site.folder);
    command.args(["-r", "repo", "--password-file", file]).args(arguments);
    run(&mut command, DEADLINE)
}

/// The id of the key with a label.
fn id(site: &Site, label: &str) -> String {
    let keys = site.json(0, ["key", "list"]);
    let key = keys.iter().find(|key| key["label"] == label).unwrap_or_else(|| panic!("no {label}: {keys:?}"));
    key["id"].as_str().unwrap().to_owned()
}

fn labels(site: &Site, key: &str) -> Vec<String> {
    let keys = objects(&with(site, key, &["--json", "key", "list"]).expect_code(0));
    let mut labels: Vec<String> = keys.iter().map(|key| key["label"].as_str().unwrap().to_owned()).collect();
    labels.sort();
    labels
}

fn slots(site: &Site) -> Vec<(String, Vec<u8>)> {
    let mut slots: Vec<_> = fs::read_dir(site.join("repo/keys"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    slots.sort();
    slots
}

#[test]
fn a_removed_key_opens_nothing_and_the_others_are_untouched() {
    let site = Site::new();
    for (role, label) in [("backup", "server"), ("maintain", "pruner")] {
        add(&site, role, label);
    }
    let (server, before) = (id(&site, "server"), slots(&site));
    let looked = site.run(0, ["key", "remove", "-n", &server[..8]]);
    assert!(looked.out().contains("would be removed"), "{}", looked.out());
    assert_eq!(slots(&site), before);
    let said = site.run(0, ["key", "remove", &server[..8].to_uppercase()]).out();
    assert!(said.contains("of role backup (server) removed") && said.contains("copy"), "{said}");
    let left: Vec<_> = before.iter().filter(|(name, _)| *name != server).cloned().collect();
    assert_eq!(slots(&site), left);
    with(&site, "server.key", &["snapshots"]).expect_code(12);
    with(&site, "pruner.key", &["snapshots"]).expect_code(0);
    // By its whole id, for a program.
    let pruner = id(&site, "pruner");
    let object = &site.json(0, ["key", "remove", &pruner])[0];
    assert_eq!((&object["message_type"], &object["id"]), (&"key_removed".into(), &pruner.as_str().into()));
    assert_eq!((&object["role"], &object["dry_run"]), (&"maintain".into(), &false.into()));
    assert_eq!(slots(&site).len(), 1);
    for (name, why) in [
        (&pruner[..8], "there is no key"),
        ("abc", "names no key"),
        ("../x", "names no key"),
        ("", "names no key"),
    ] {
        let said = site.run(1, ["key", "remove", name]).err();
        assert!(said.contains(why) && said.contains("key list"), "{said}");
    }
    assert_eq!(slots(&site).len(), 1);
}

#[test]
fn a_prefix_of_several_keys_removes_none() {
    let site = Site::new();
    let key = id(&site, "first key");
    // A slot that cannot be read counts as well: nobody can tell what it is.
    let digit = if key.ends_with('0') { '1' } else { '0' };
    let twin = format!("{}{digit}", &key[..63]);
    fs::copy(site.join(format!("repo/keys/{key}")), site.join(format!("repo/keys/{twin}"))).unwrap();
    let said = site.run(1, ["key", "remove", &key[..8]]).err();
    assert!(said.contains("names several keys"), "{said}");
    // By its whole id the damaged one goes, and only with a full key.
    add(&site, "maintain", "pruner");
    with(&site, "pruner.key", &["key", "remove", &twin]).expect_code(12);
    site.run(0, ["key", "remove", &twin]);
    site.run(0, ["key", "list"]);
}

#[test]
fn the_last_full_key_stays_and_the_one_in_use_goes_only_where_asked() {
    let site = Site::new();
    let full = id(&site, "first key");
    let before = slots(&site);
    let said = site.run(1, ["key", "remove", &full]).err();
    assert!(said.contains("is the key in use") && said.contains("--in-use"), "{said}");
    for flags in [&["--in-use"][..], &["--in-use", "-n"], &["--in-use", "--json"]] {
        let outcome = site.run(1, [&["key", "remove", &full], flags].concat());
        let said = outcome.err() + &outcome.out();
        assert!(
            said.contains("is the last key of role full") && said.contains("key add --recovery"),
            "{said}"
        );
    }
    assert_eq!(slots(&site), before);
    add(&site, "full", "second");
    site.run(1, ["key", "remove", &full]);
    site.run(0, ["key", "remove", "--in-use", &full]);
    with(&site, "full.key", &["snapshots"]).expect_code(12);
    assert_eq!(labels(&site, "second.key"), ["second"]);
    let last = slots(&site)[0].0.clone();
    with(&site, "second.key", &["key", "remove", "--in-use", &last]).expect_code(1);
}

#[test]
fn each_role_removes_what_it_may_add() {
    let site = Site::new();
    for (role, label) in
        [("backup", "server"), ("backup", "other"), ("maintain", "pruner"), ("full", "second")]
    {
        add(&site, role, label);
    }
    let before = slots(&site);
    for label in ["server", "other", "pruner", "second"] {
        let said = with(&site, "server.key", &["key", "remove", "--in-use", &id(&site, label)])
            .expect_code(12)
            .err();
        assert!(said.contains("needs a key of role maintain or full"), "{said}");
    }
    let said = with(&site, "pruner.key", &["key", "remove", &id(&site, "second")]).expect_code(12).err();
    assert!(said.contains("removing a full key needs a key of role full"), "{said}");
    assert_eq!(slots(&site), before);
    let server = id(&site, "server");
    with(&site, "pruner.key", &["key", "remove", &server]).expect_code(0);
    let pruner = id(&site, "pruner");
    with(&site, "pruner.key", &["key", "remove", "--in-use", &pruner]).expect_code(0);
    assert_eq!(labels(&site, "second.key"), ["first key", "other", "second"]);
}

#[test]
fn two_admins_restore_each_alone_and_one_goes_on_without_the_other() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.folder.write("data/sub/other", vec![7; 300_000]);
    site.backup(["data"]);
    add(&site, "full", "second");
    let data = see(&site.join("data"));
    let restored = |key: &str, target: &str| {
        with(&site, key, &["-q", "restore", "latest:/data", "--target", target]).expect_code(0);
        assert_same(&data, &see(&site.join(target)));
    };
    restored("full.key", "one");
    restored("second.key", "two");
    let first = id(&site, "first key");
    with(&site, "second.key", &["key", "remove", &first]).expect_code(0);
    with(&site, "full.key", &["ls", "latest"]).expect_code(12);
    restored("second.key", "three");
    site.folder.write("data/new", "new");
    with(&site, "second.key", &["-q", "backup", "data"]).expect_code(0);
    with(&site, "second.key", &["check", "--read-data"]).expect_code(0);
    add_for(&site, "second.key", "third");
    with(&site, "third.key", &["dump", "latest", "data/new"]).expect_code(0);
}

fn add_for(site: &Site, key: &str, label: &str) {
    let file = format!("{label}.key");
    with(site, key, &["key", "add", "--role", "full", "--label", label, "--new-key-file", &file])
        .expect_code(0);
}

fn manifests(site: &Site, key: &str) -> Vec<Value> {
    let mut found = objects(&with(site, key, &["--json", "snapshots"]).expect_code(0));
    found.retain(|object| object["message_type"] == "snapshot");
    found
}

#[test]
fn a_changed_password_opens_and_the_old_one_does_not() {
    let site = Site::new();
    for (file, text) in [("old", "first words\n"), ("new", "second words\n")] {
        site.folder.write(file, text);
    }
    site.run(0, ["key", "add", "--role", "full", "--label", "person", "--new-password-file", "old"]);
    let (before, old) = (slots(&site), id(&site, "person"));
    let change = ["key", "passwd", "--new-password-file", "new"];
    with_password(&site, "old", &[&change[..], &["-n"]].concat()).expect_code(0);
    assert_eq!(slots(&site), before);
    let said = with_password(&site, "old", &change).expect_code(0).out();
    assert!(said.contains(&old[..8]), "{said}");
    with_password(&site, "old", &["snapshots"]).expect_code(12);
    with_password(&site, "new", &["snapshots"]).expect_code(0);
    assert_eq!(labels(&site, "full.key"), ["first key", "person"]);
    let new = id(&site, "person");
    assert!(new != old && slots(&site).len() == 2);
    // For a program; and to a key file, which the password no longer opens then.
    let change = ["--json", "key", "passwd", "--new-key-file", "person.key"];
    let object = &objects(&with_password(&site, "new", &change).expect_code(0))[0];
    assert_eq!((&object["message_type"], &object["replaces"]), (&"key_changed".into(), &new.as_str().into()));
    assert_eq!((&object["role"], &object["opens_with"]), (&"full".into(), &"key file".into()));
    assert_eq!(object["id"], id(&site, "person").as_str());
    with_password(&site, "new", &["snapshots"]).expect_code(12);
    with(&site, "person.key", &["snapshots"]).expect_code(0);
    // A wrong password changes nothing, nor does a new one that cannot be had.
    let before = slots(&site);
    with_password(&site, "old", &["key", "passwd", "--new-password-file", "old"]).expect_code(12);
    site.run(1, ["key", "passwd", "--new-password-file", "no such file"]);
    site.run(1, ["key", "passwd", "--new-key-file", "full.key"]);
    let said = site.run(1, ["key", "passwd"]).err();
    assert!(said.contains("opens with a key file") && said.contains("--new-key-file"), "{said}");
    assert_eq!(slots(&site), before);
}

#[test]
fn a_server_whose_key_file_is_exchanged_goes_on_from_its_last_backup() {
    let site = Site::new();
    add(&site, "backup", "server");
    for number in 0..20 {
        site.folder.write(format!("data/{number}"), vec![number; 20_000]);
    }
    let backup = |key: &str| {
        let outcome = with(&site, key, &["--json", "backup", "data"]).expect_code(0);
        crate::site::last(&objects(&outcome))
    };
    crate::site::let_times_settle();
    let first = backup("server.key");
    with(&site, "server.key", &["-q", "key", "passwd", "--new-key-file", "next.key"]).expect_code(0);
    with(&site, "server.key", &["snapshots"]).expect_code(12);
    let second = backup("next.key");
    assert_eq!(second["parent"], first["snapshot_id"]);
    assert_eq!((number(&second, "files_unmodified"), number(&second, "data_added")), (20, 0));
    let numbers: Vec<u64> =
        manifests(&site, "next.key").iter().map(|snapshot| number(snapshot, "sequence")).collect();
    assert_eq!(numbers, [1, 2]);
    // It is no stronger than before.
    with(&site, "next.key", &["ls", "latest"]).expect_code(12);
    site.assert_sound();
}

type Hook = Box<dyn FnOnce(&MemoryBackend) + Send>;
/// The call, how many of them to let pass, and what to do then.
type Hooked = (&'static str, usize, Hook);

/// A store in memory where something happens just before one call.
#[derive(Clone, Default)]
struct Store {
    memory: MemoryBackend,
    /// The call, counted from now, before which to step in; and what to do there.
    hook: Arc<Mutex<Vec<Hooked>>>,
    deaf: Arc<Mutex<bool>>,
}

impl Store {
    fn before(&self, call: &'static str, nth: usize, act: impl FnOnce(&MemoryBackend) + Send + 'static) {
        self.hook.lock().unwrap().push((call, nth, Box::new(act)));
    }

    fn called(&self, call: &str) {
        let mut due = Vec::new();
        let mut hooks = self.hook.lock().unwrap();
        for (name, mut nth, act) in std::mem::take(&mut *hooks) {
            if name == call && nth == 0 {
                due.push(act);
                continue;
            }
            nth -= usize::from(name == call);
            hooks.push((name, nth, act));
        }
        drop(hooks);
        due.into_iter().for_each(|act| act(&self.memory));
    }
}

impl Backend for Store {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.called("put");
        self.memory.put(name, bytes)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.memory.get(name, limit)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.memory.get_range(name, offset, length)
    }
    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.memory.size(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.called("list");
        self.memory.list(kind)
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.called("delete");
        if *self.deaf.lock().unwrap() {
            return Err(Error::new(ErrorKind::Denied, "nothing is deleted here"));
        }
        self.memory.delete(name)
    }
    fn location(&self) -> String {
        "a store in memory".into()
    }
}

fn secret(byte: u8) -> Credential {
    Credential::KeyFile(Secret::new([byte; 32]))
}

const TIME: Timestamp = Timestamp { seconds: 1_790_000_000, nanoseconds: 0 };

/// Two full keys, each on its own way to the same store.
fn two_admins() -> (Store, Repository, Repository) {
    let store = Store::default();
    let (first, second) = (secret(1), secret(2));
    let new = |credential| NewKey { credential, cost: Cost::LEAST, label: "x", time: TIME };
    let one = Repository::create(Arc::new(store.clone()), &new(&first)).unwrap();
    one.add_key(Role::Full, &new(&second)).unwrap();
    let other = Repository::open(Arc::new(store.memory.clone()), &secret(2)).unwrap();
    (store, one, other)
}

fn remove(repository: &Repository, id: &Id) -> Result<key::Removed> {
    key::remove(repository, &RemoveOptions { name: &id.to_hex(), in_use: false, dry_run: false })
}

fn opens(store: &Store, byte: u8) -> bool {
    Repository::open(Arc::new(store.memory.clone()), &secret(byte)).is_ok()
}

#[test]
fn two_who_remove_each_other_leave_one_full_key() {
    // The other does all of his work between this one's look and this one's deletion.
    let (store, one, other) = two_admins();
    let (mine, his) = (*one.keyring().slot(), *other.keyring().slot());
    store.before("delete", 0, move |_| drop(remove(&other, &mine).unwrap()));
    let error = remove(&one, &his).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    assert!(error.to_string().contains("put back"), "{error}");
    assert!(!opens(&store, 1) && opens(&store, 2));

    // The other had looked before, and deletes between this one's deletion and this one's second look. Whoever looks
    // last sees that there was none, and this one has put his back.
    let (store, one, other) = two_admins();
    let (mine, his) = (*one.keyring().slot(), *other.keyring().slot());
    store.before("list", 1, move |memory| memory.delete(&ObjectName::new(ObjectKind::Key, mine)).unwrap());
    assert_eq!(remove(&one, &his).unwrap_err().kind(), ErrorKind::Busy);
    assert!(opens(&store, 2));
    assert_eq!(other.list_keys().unwrap().0.len(), 1);

    // One after the other: the second finds himself without a key that is still there.
    let (store, one, other) = two_admins();
    let (mine, his) = (*one.keyring().slot(), *other.keyring().slot());
    remove(&one, &his).unwrap();
    assert_eq!(remove(&other, &mine).unwrap_err().kind(), ErrorKind::Refused);
    assert!(opens(&store, 1) && !opens(&store, 2));
}

#[test]
fn a_change_that_is_interrupted_leaves_both_and_is_named() {
    let (store, one, _) = two_admins();
    *store.deaf.lock().unwrap() = true;
    let changed = key::change(&one, &secret(3), Cost::LEAST, TIME).unwrap();
    assert_eq!(changed.left.unwrap().kind(), ErrorKind::Denied);
    assert!(opens(&store, 1) && opens(&store, 3));
    *store.deaf.lock().unwrap() = false;
    let by_new = Repository::open(Arc::new(store.clone()), &secret(3)).unwrap();
    assert_eq!((by_new.own_writer(), *by_new.keyring().slot()), (one.own_writer(), changed.id));
    // Removing the old one says that the key has another slot still.
    let removed = remove(&by_new, &changed.replaced).unwrap();
    assert_eq!(removed.twins, [changed.id]);
    assert!(!opens(&store, 1) && opens(&store, 3));
}

#[test]
fn a_key_that_is_removed_while_it_changes_stays_removed() {
    let (store, one, other) = two_admins();
    let mine = *one.keyring().slot();
    store.before("put", 0, move |_| drop(remove(&other, &mine).unwrap()));
    let error = key::change(&one, &secret(3), Cost::LEAST, TIME).unwrap_err();
    assert!(error.to_string().contains("removed by somebody else"), "{error}");
    assert!(!opens(&store, 1) && !opens(&store, 3) && opens(&store, 2));
    // And afterwards there is nothing to change.
    assert_eq!(key::change(&one, &secret(3), Cost::LEAST, TIME).unwrap_err().kind(), ErrorKind::Missing);
}
