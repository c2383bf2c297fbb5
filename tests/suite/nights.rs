//! A repository in which nights pass: data that changes, snapshots that are made and forgotten, and a record of what each
//! has to give back, kept outside of the program under test.
//!
//! Invariant: whatever lies in `snapshots/` was either noted with what it holds, or is new and holds what the data holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use strongroom::backend::LocalBackend;
use strongroom::format::snapshot::Change;
use strongroom::id::Id;
use strongroom::interrupt::Interrupt;
use strongroom::operation::restore;
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::snapshot::Snapshot;

use crate::site::{Site, each_file, last, number};
use crate::support::{Rng, TempFolder};

/// Paths and what is in them, as hashes.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// A repository, its data, and what has to be in each snapshot.
pub(crate) struct Nights {
    pub(crate) site: Site,
    pub(crate) rng: Rng,
    /// Snapshots that are there and not forgotten.
    pub(crate) live: BTreeMap<Id, Contents>,
    /// Snapshots that were forgotten.
    pub(crate) forgotten: BTreeSet<Id>,
    nights: u64,
}

impl Nights {
    /// A repository with two snapshots.
    pub(crate) fn new(seed: u64) -> Self {
        Self::at(Site::in_memory(), seed)
    }

    /// The same on a site of one's own.
    pub(crate) fn at(site: Site, seed: u64) -> Self {
        let mut nights =
            Self { site, rng: Rng::new(seed), live: BTreeMap::new(), forgotten: BTreeSet::new(), nights: 0 };
        for number in 0..12 {
            let bytes = nights.rng.bytes(2000);
            nights.site.folder.write(format!("data/stable/file-{number}"), bytes);
        }
        for _ in 0..2 {
            nights.change();
            nights.backup();
        }
        nights
    }

    /// A day passes: files and a database change.
    pub(crate) fn change(&mut self) {
        self.nights += 1;
        for number in 0..4 {
            let bytes = self.rng.bytes(3000);
            self.site.folder.write(format!("data/changing/file-{number}"), bytes);
        }
        // One that stays a while, so that packs come to be partly used.
        let bytes = self.rng.bytes(3000);
        self.site.folder.write(format!("data/changing/slow-{}", self.nights % 3), bytes);
        let database = rusqlite::Connection::open(self.site.join("data/app.sqlite3")).unwrap();
        database
            .execute_batch("CREATE TABLE IF NOT EXISTS rows (night INTEGER PRIMARY KEY, content BLOB)")
            .unwrap();
        let content = self.rng.bytes(1500);
        database
            .execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", ((self.nights % 8) as i64, content))
            .unwrap();
    }

    /// Backs up; what it reports to have made has to be there.
    #[track_caller]
    pub(crate) fn backup(&mut self) -> Id {
        let summary = self.site.backup(["data"]);
        self.note();
        let id = Id::from_hex(summary["snapshot_id"].as_str().expect("an id")).expect("an id");
        assert!(self.live.contains_key(&id), "{id} was reported and is not there");
        id
    }

    /// Backs up where something is lost, which a backup tells of for as long as the index names it.
    #[track_caller]
    pub(crate) fn backup_beside_losses(&mut self) {
        let outcome = self.site.run_any(["-q", "backup", "data"]);
        assert!(matches!(outcome.code, Some(0 | 3)), "{}", outcome.err());
        self.note();
    }

    /// Opens the repository in this process.
    pub(crate) fn repository(&self) -> Repository {
        repository(&self.site)
    }

    /// Notes snapshots that came to be; they hold what the data holds now, and one that repairs another what is left of
    /// that.
    pub(crate) fn note(&mut self) {
        let now = contents(&self.site.join("data"));
        let before = self.live.clone();
        // A late manifest of a session that was given up is as dead as one that was forgotten.
        self.forgotten.extend(stored(&self.site, "forgotten"));
        self.live.retain(|id, _| !self.forgotten.contains(id));
        for id in stored(&self.site, "snapshots") {
            if !self.live.contains_key(&id) && !self.forgotten.contains(&id) {
                let repository = self.repository();
                let snapshot = repository.read_snapshot(&id).unwrap();
                let original = snapshot.original().filter(|original| original.change == Change::Repaired);
                let held = match original {
                    None => now.clone(),
                    Some(original) => {
                        let rest = given_back(&repository, &snapshot).unwrap();
                        let whole = &before[&original.made_from];
                        let known = |(name, content)| whole.get(name) == Some(content);
                        assert!(
                            !rest.is_empty() && rest.iter().all(known),
                            "what is left of {id} is another"
                        );
                        rest
                    }
                };
                self.live.insert(id, held);
            }
        }
    }

    /// The live snapshots that give back all that they hold.
    pub(crate) fn whole(&self) -> BTreeSet<Id> {
        let repository = self.repository();
        let snapshots = repository.snapshots().unwrap().snapshots;
        let whole = snapshots.iter().filter(|snapshot| {
            given_back(&repository, snapshot)
                .is_ok_and(|contents| Some(&contents) == self.live.get(&snapshot.id))
        });
        whole.map(|snapshot| snapshot.id).collect()
    }

    /// Forgets all but the newest snapshots.
    pub(crate) fn forget_but(&mut self, kept: usize) {
        let repository = self.repository();
        let listed = repository.snapshots().unwrap().snapshots;
        let count = listed.len().saturating_sub(kept);
        for snapshot in listed.into_iter().take(count) {
            repository.put_forgotten(&snapshot.id, Some(snapshot.used_number())).unwrap();
            self.live.remove(&snapshot.id);
            self.forgotten.insert(snapshot.id);
        }
    }

    /// Asserts that exactly the live snapshots are there, and that each gives back what it holds.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let repository = self.repository();
        let found = repository.snapshots().unwrap();
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        let ids: BTreeSet<Id> = found.snapshots.iter().map(|snapshot| snapshot.id).collect();
        assert_eq!(ids, self.live.keys().copied().collect(), "the snapshots that are there");
        for snapshot in &found.snapshots {
            let given = given_back(&repository, snapshot).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(given, self.live[&snapshot.id], "{}", snapshot.id);
        }
    }

    /// Asserts that after a backup and a prune nothing is left over and all is sound.
    #[track_caller]
    pub(crate) fn assert_clean_in_the_end(&mut self) {
        self.backup();
        self.site.run(0, ["prune", "--max-unused", "0"]);
        self.verify();
        assert_eq!(leftovers(&self.site), Vec::<String>::new(), "temporary files");
        assert_eq!((self.site.count("sessions"), self.site.count("gc")), (0, 0), "sessions and gc records");
        assert_eq!(
            stored(&self.site, "snapshots"),
            self.live.keys().copied().collect(),
            "forgotten manifests"
        );
        let plan = last(&self.site.json(0, ["prune", "--dry-run"]));
        for amount in ["unindexed_packs", "unindexed_packs_kept", "condemned_earlier", "unused_packs"] {
            assert_eq!(number(&plan[amount], "packs"), 0, "{amount}: {plan}");
        }
        self.site.assert_sound();
    }
}

/// Opens the repository of a site in this process.
pub(crate) fn repository(site: &Site) -> Repository {
    let key = fs::read_to_string(site.join("full.key")).unwrap();
    let credential = Credential::KeyFile(parse_key_file(&key).unwrap());
    let backend = LocalBackend::open(&site.join("repo")).unwrap();
    Repository::open(Arc::new(backend), &credential).unwrap()
}

/// What a snapshot gives back, or why it does not.
fn given_back(repository: &Repository, snapshot: &Snapshot) -> Result<Contents, String> {
    let target = TempFolder::in_memory();
    let (reporter, to) = (Collector::default(), target.join("to"));
    let restored =
        restore::run(repository, snapshot, &restore::Request::of(b""), &to, &reporter, &Interrupt::default());
    let restored = restored.map_err(|error| format!("{}: {}", snapshot.id, error.chain()))?;
    if !reporter.findings().is_empty() || restored.problems > 0 {
        return Err(format!("{}: {} problems, {:?}", snapshot.id, restored.problems, reporter.findings()));
    }
    Ok(contents(&target.join("to/data")))
}

/// The ids of the objects in a folder of the repository.
pub(crate) fn stored(site: &Site, kind: &str) -> BTreeSet<Id> {
    let entries = fs::read_dir(site.join("repo").join(kind)).unwrap();
    entries.filter_map(|entry| Id::from_hex(entry.unwrap().file_name().to_str()?)).collect()
}

/// The temporary files in the repository.
pub(crate) fn leftovers(site: &Site) -> Vec<String> {
    let mut found = Vec::new();
    each_file(&site.join("repo"), &mut |path, _| {
        let name = path.file_name().unwrap().to_string_lossy();
        if name.starts_with('.') {
            found.push(path.display().to_string());
        }
    });
    found
}

/// What is in a folder. A database counts by its rows: a copy of it may differ in what SQLite counts in its header.
pub(crate) fn contents(folder: &Path) -> Contents {
    let mut found = Contents::new();
    each_file(folder, &mut |path, _| {
        let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        let mut hasher = blake3::Hasher::new();
        if name.ends_with(".sqlite3") {
            let database = rusqlite::Connection::open(path).unwrap();
            let mut rows = database.prepare("SELECT night, content FROM rows ORDER BY night").unwrap();
            let mut rows = rows.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                hasher.update(&row.get::<_, i64>(0).unwrap().to_le_bytes());
                hasher.update(&row.get::<_, Vec<u8>>(1).unwrap());
            }
        } else {
            hasher.update(&fs::read(path).unwrap());
        }
        found.insert(name, hasher.finalize().as_bytes().to_vec());
    });
    found
}
