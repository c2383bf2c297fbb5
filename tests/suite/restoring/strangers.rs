//! Random folders, random parts of them named, random strangers beside, above and below: what `--delete` removes is held
//! against what it may remove at most, and what it has to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::seeds::hold;
use crate::site::{DEADLINE, Site, see};
use crate::support::{Rng, long, run};

const NAMES: [&str; 5] = ["a", "b", "c", "film.mkv", "text"];

/// A path of one to three names.
fn some_path(rng: &mut Rng) -> String {
    let names: Vec<&str> = (0..=rng.below(3)).map(|_| *rng.pick(&NAMES)).collect();
    names.join("/")
}

/// Puts a file somewhere, unless something is in its way; large ones are larger than the limit of a backup.
fn put(rng: &mut Rng, top: &Path, content: &str) {
    let path = top.join(some_path(rng));
    let length = if rng.below(3) == 0 { 3000 } else { 1 };
    if path.symlink_metadata().is_err() && fs::create_dir_all(path.parent().unwrap()).is_ok() {
        fs::write(path, content.repeat(length)).unwrap();
    }
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn names(top: &Path) -> BTreeSet<String> {
    see(top).into_keys().map(|name| String::from_utf8(name).unwrap()).collect()
}

fn is_below(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// What one backup was told, and where it ran.
struct Case {
    named: Vec<String>,
    films: bool,
    large: bool,
    /// Where the repository lies below the folder, if it does.
    repository: Option<String>,
}

impl Case {
    fn draw(rng: &mut Rng, top: &Path) -> Option<Self> {
        let all: Vec<String> = names(top).into_iter().filter(|name| !name.is_empty()).collect();
        if all.is_empty() {
            return None;
        }
        let mut named: Vec<String> = (0..=rng.below(3)).map(|_| rng.pick(&all).clone()).collect();
        if rng.below(8) == 0 {
            named = vec![".".to_owned()];
        }
        let folders: Vec<&String> = all.iter().filter(|name| top.join(name).is_dir()).collect();
        let inside = rng.below(6) == 0 && !folders.is_empty();
        let repository = inside.then(|| format!("{}/repo", rng.pick(&folders)));
        Some(Self { named, films: rng.below(2) == 0, large: rng.below(2) == 0, repository })
    }

    fn is_named(&self, path: &str) -> bool {
        self.named.iter().any(|named| named == "." || is_below(path, named))
    }

    /// Whether something that was there before may go, whatever the snapshot holds.
    fn may_go(&self, before: &Path, path: &str) -> bool {
        let metadata = before.join(path).symlink_metadata().unwrap();
        let is_film = path.split('/').any(|name| name.ends_with(".mkv"));
        let is_large = metadata.is_file() && metadata.len() > 1000;
        let in_use = self.repository.as_ref().is_some_and(|repository| is_below(path, repository));
        let is_left_out = (self.films && is_film) || (self.large && is_large);
        self.is_named(path) && !is_left_out && !in_use
    }
}

#[test]
fn nothing_but_strangers_in_what_was_named_is_deleted() {
    hold(if long() { 2000 } else { 100 }, |seed| {
        let mut rng = Rng::new(seed);
        let site = Site::in_memory();
        let top = site.join("w");
        fs::create_dir(&top).unwrap();
        (0..4 + rng.below(8)).for_each(|_| put(&mut rng, &top, "s"));
        let Some(case) = Case::draw(&mut rng, &top) else { return };
        let repository =
            site.join(case.repository.as_ref().map_or("repo".to_owned(), |place| format!("w/{place}")));
        fs::rename(site.join("repo"), &repository).unwrap();
        let command = |arguments: &[String]| {
            let mut command = crate::support::strongroom(&site.folder);
            command.current_dir(&top).arg("-r").arg(&repository).arg("--key-file").arg(site.join("full.key"));
            command.args(arguments);
            run(&mut command, DEADLINE)
        };
        let absolute = rng.below(2) == 0 && case.named != ["."];
        let mut backup = vec!["backup".to_owned()];
        backup.extend(
            case.named.iter().map(|name| {
                if absolute { top.join(name).to_str().unwrap().to_owned() } else { name.clone() }
            }),
        );
        backup.extend(case.films.then(|| "--exclude=*.mkv".to_owned()));
        backup.extend(case.large.then(|| "--exclude-larger-than=1000".to_owned()));
        let stored = command(&backup);
        if stored.code != Some(0) {
            return;
        }
        for _ in 0..rng.below(6) {
            let there: Vec<String> = names(&top).into_iter().collect();
            let path = rng.pick(&there).clone();
            let holds_repository = case.repository.as_ref().is_some_and(|place| is_below(place, &path));
            let is_repository = case.repository.as_ref().is_some_and(|place| is_below(&path, place));
            if !path.is_empty() && !holds_repository && !is_repository {
                remove(&top.join(&path));
                if rng.below(4) > 0 {
                    // A folder where a file was, or the other way round.
                    put(&mut rng, &top.join(&path), "o");
                }
            }
        }
        (0..6).for_each(|_| put(&mut rng, &top, "t"));
        let before = site.join("before");
        run(std::process::Command::new("cp").arg("-a").args([&top, &before]), DEADLINE).expect_code(0);
        let there = names(&before);
        let place = if absolute { format!("latest:{}", top.display()) } else { "latest".to_owned() };
        let mut restore: Vec<String> =
            ["restore", &place, "--target", ".", "--overwrite", "always", "--delete"]
                .map(str::to_owned)
                .into();
        let restored = command(&restore);
        let after = names(&top);
        for path in there.difference(&after) {
            assert!(case.may_go(&before, path), "{path} went: {backup:?}\n{}", restored.err());
        }
        for path in there.intersection(&after) {
            let (was, is) = (before.join(path), top.join(path));
            let was_folder = was.symlink_metadata().unwrap().is_dir();
            let is_folder = is.symlink_metadata().unwrap().is_dir();
            let changed =
                was_folder != is_folder || (!was_folder && fs::read(&was).unwrap() != fs::read(&is).unwrap());
            let in_use = case.repository.as_ref().is_some_and(|repository| is_below(path, repository));
            assert!(!changed || (case.is_named(path) && !in_use), "{path} changed: {}", restored.err());
        }
        // What the snapshot holds is there, and of what was named nothing else but what was left out.
        if restored.code == Some(0) {
            restore[1] = place;
            restore.truncate(3);
            restore.push(site.join("fresh").to_str().unwrap().to_owned());
            let fresh = command(&restore);
            assert_eq!(fresh.code, Some(0), "{}", fresh.err());
            let held = names(&site.join("fresh"));
            let in_use = |path: &&String| case.repository.as_ref().is_some_and(|place| is_below(path, place));
            let missing: Vec<&String> = held.difference(&after).filter(|path| !in_use(path)).collect();
            assert!(missing.is_empty(), "{missing:?}");
            let spared =
                restored.err().contains("is not deleted") || restored.err().contains("nothing is deleted");
            let strays = after.difference(&held).filter(|path| case.may_go(&top, path)).count();
            assert!(spared || strays == 0 || case.repository.is_some(), "{strays} stay: {}", restored.err());
        }
    });
}
