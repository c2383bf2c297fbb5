//! Random folders, random changes in the target, random options, held against a naive restore that works on what a
//! walk saw.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use strongroom::interrupt::Interrupt;
use strongroom::operation::restore::{self, Overwrite, Request, Selection, Summary};
use strongroom::report::Collector;
use strongroom::source::files::ExcludeOptions;

use crate::seeds::{SMALL_CHUNKS, back_up, cases, hold, repository};
use crate::site::{Seen, see, set_mtime};
use crate::support::{Rng, TempFolder};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e.txt", "f.txt"];

fn entries(top: &Path) -> Vec<PathBuf> {
    let seen = see(top);
    seen.keys().filter(|name| !name.is_empty()).map(|name| top.join(OsStr::from_bytes(name))).collect()
}

fn folders(top: &Path) -> Vec<PathBuf> {
    let is_folder = |path: &PathBuf| path.symlink_metadata().unwrap().is_dir();
    std::iter::once(top.to_owned()).chain(entries(top).into_iter().filter(is_folder)).collect()
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn some_time(rng: &mut Rng, path: &Path) {
    set_mtime(path, 1_000_000_000 + rng.below(4) as i64, rng.below(2) as i64);
}

/// Makes something new at a place where nothing is.
fn make(rng: &mut Rng, path: &Path, outside: &Path) {
    match rng.below(10) {
        0..=4 => {
            let length = [0, 10, 700, 3000, 9000][rng.below(5) as usize];
            let mut content = rng.bytes(length);
            if rng.below(4) == 0 {
                content[length / 3..].fill(0);
            }
            fs::write(path, content).unwrap();
            let mode = *rng.pick(&[0o600, 0o644, 0o755, 0o400]);
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        5..=7 => fs::create_dir(path).unwrap(),
        8 => symlink(if rng.below(2) == 0 { outside } else { Path::new("b") }, path).unwrap(),
        _ => {
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }
    }
    some_time(rng, path);
}

fn change(rng: &mut Rng, top: &Path, outside: &Path) {
    let all = entries(top);
    let free = rng.pick(&folders(top)).join(rng.pick(&NAMES));
    let is_free = free.symlink_metadata().is_err();
    if all.is_empty() || rng.below(3) == 0 {
        if is_free {
            make(rng, &free, outside);
        }
        return;
    }
    let path = rng.pick(&all).clone();
    let metadata = path.symlink_metadata().unwrap();
    let is_file = metadata.is_file();
    match rng.below(8) {
        0 => remove(&path),
        1 => {
            remove(&path);
            make(rng, &path, outside);
        }
        2 if is_file && metadata.len() > 0 => {
            let at = rng.below(metadata.len());
            fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"!", at).unwrap();
            if rng.below(2) == 0 {
                set_mtime(&path, metadata.mtime(), metadata.mtime_nsec());
            }
        }
        3 if is_file => {
            let length = rng.below(10_000);
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
            some_time(rng, &path);
        }
        4 if is_file && is_free => fs::hard_link(&path, &free).unwrap(),
        5 if !metadata.is_symlink() => {
            let mode = if metadata.is_dir() { 0o711 } else { 0o640 };
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        6 if metadata.is_dir() => {
            // A link in the place of a folder, to one that must not be touched.
            remove(&path);
            symlink(outside, &path).unwrap();
        }
        _ => some_time(rng, &path),
    }
}

/// What is asked for.
struct Case {
    include: &'static [&'static str],
    exclude: &'static [&'static str],
    overwrite: Overwrite,
    delete: bool,
    verify: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Selected,
    Way,
    Out,
}

impl Case {
    fn draw(rng: &mut Rng) -> Self {
        let include: &[&[&str]] = &[&[], &[], &["*.txt"], &["/a"], &["b", "/c/d"]];
        let exclude: &[&[&str]] = &[&[], &[], &["*.txt"], &["c"], &["/a/b"]];
        let all = [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never];
        Self {
            include: *rng.pick(include),
            exclude: *rng.pick(exclude),
            overwrite: *rng.pick(&all),
            delete: rng.below(2) == 0,
            verify: rng.below(3) == 0,
        }
    }

    fn request(&self) -> Request<'static> {
        let of = |patterns: &[&str]| ExcludeOptions::of_patterns(patterns.iter().copied());
        Request {
            selection: Selection::new(&of(self.include), &of(self.exclude)).unwrap(),
            overwrite: Some(self.overwrite),
            delete: self.delete,
            verify: self.verify,
            ..Request::default()
        }
    }

    fn fate(&self, path: &str) -> Fate {
        let matches = |patterns: &[&str], path: &str| {
            let name = path.rsplit('/').next().unwrap();
            patterns.iter().any(|pattern| match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
                (Some(whole), _) => path == whole,
                (_, Some(end)) => name.ends_with(end),
                _ => name == *pattern,
            })
        };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let parts: Vec<&str> = ends.map(|end| &path[..end]).collect();
        if parts.iter().any(|part| matches(self.exclude, part)) {
            Fate::Out
        } else if self.include.is_empty() || parts.iter().any(|part| matches(self.include, part)) {
            Fate::Selected
        } else {
            Fate::Way
        }
    }

    fn may_replace(&self, there: &Seen, wanted: &Seen) -> bool {
        match self.overwrite {
            Overwrite::Always | Overwrite::IfChanged => true,
            Overwrite::IfNewer => wanted.mtime > there.mtime,
            Overwrite::Never => false,
        }
    }
}

type World = BTreeMap<String, Seen>;

fn world(folder: &Path) -> World {
    see(folder).into_iter().map(|(name, seen)| (String::from_utf8(name).unwrap(), seen)).collect()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Sorted as a walk meets them: a folder, then all that is in it.
fn in_order(world: &World) -> Vec<&String> {
    let mut names: Vec<&String> = world.keys().collect();
    names.sort_by_key(|name| name.split('/').map(str::to_owned).collect::<Vec<_>>());
    names
}

fn below<'w>(world: &'w World, path: &'w str) -> impl Iterator<Item = String> + 'w {
    let start = format!("{path}/");
    world.keys().filter(move |name| name.starts_with(&start)).cloned()
}

/// A restore as simple as it can be: what the target is afterwards, and the folders whose times nobody promises.
fn naive(
    case: &Case,
    source: &World,
    before: &World,
    links: &BTreeMap<String, u64>,
) -> (World, BTreeSet<String>, u64) {
    let mut after = before.clone();
    let mut loose: BTreeSet<String> =
        before.keys().filter(|name| before[*name].kind == 'd').cloned().collect();
    let (mut problems, mut blocked) = (0, Vec::<String>::new());
    let mut firsts: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let everything = case.include.is_empty() && case.exclude.is_empty();
    for name in in_order(source) {
        let wanted = &source[name];
        let is_blocked = blocked.iter().any(|folder| name.starts_with(&format!("{folder}/")));
        if name.is_empty() || is_blocked || case.fate(name) != Fate::Selected {
            continue;
        }
        // Folders on the way that are not selected themselves are made as they were.
        let mut way: Vec<&str> = vec![name];
        while !parent(way.last().unwrap()).is_empty() {
            way.push(parent(way.last().unwrap()));
        }
        let mut stuck = false;
        for folder in way.iter().skip(1).rev() {
            if case.fate(folder) != Fate::Selected && after.get(*folder).is_none_or(|there| there.kind != 'd')
            {
                if after.get(*folder).is_some_and(|there| !case.may_replace(there, &source[*folder])) {
                    problems += 1;
                    blocked.push((*folder).to_owned());
                    stuck = true;
                    break;
                }
                after.insert((*folder).to_owned(), source[*folder].clone());
            }
        }
        if stuck {
            continue;
        }
        let there = after.get(name).cloned();
        if wanted.kind == 'd' {
            match there {
                Some(there) if there.kind == 'd' => {
                    if case.may_replace(&there, wanted) {
                        after.insert(name.clone(), wanted.clone());
                        loose.remove(name);
                    }
                }
                Some(there) if !case.may_replace(&there, wanted) => {
                    problems += 1;
                    blocked.push(name.clone());
                }
                _ => {
                    after.insert(name.clone(), wanted.clone());
                }
            }
            continue;
        }
        let mut made = wanted.clone();
        let first = firsts.get(&wanted.first_name).cloned();
        if let Some(there) = &there {
            if !case.may_replace(there, wanted) {
                continue;
            }
            if there.kind == 'd' && below(&after, name).next().is_some() && !(case.delete && everything) {
                problems += 1;
                firsts.entry(wanted.first_name.clone()).or_insert_with(|| "lost".to_owned());
                continue;
            }
            let looks_same = there.kind == 'f'
                && wanted.kind == 'f'
                && (there.size, there.mtime) == (wanted.size, wanted.mtime);
            let rights = (there.mode, there.owner) == (wanted.mode, wanted.owner);
            if case.overwrite == Overwrite::IfChanged
                && !case.verify
                && looks_same
                && first.is_none()
                && (links[name] == 1 || rights)
            {
                made.content = there.content.clone();
            }
        }
        match first {
            Some(first) if first == "lost" => {
                problems += 1;
                continue;
            }
            Some(first) => made.content = after[&first].content.clone(),
            None => {
                firsts.insert(wanted.first_name.clone(), name.clone());
            }
        }
        let gone: Vec<String> = below(&after, name).collect();
        gone.iter().for_each(|name| drop(after.remove(name)));
        after.insert(name.clone(), made);
    }
    if case.delete {
        delete(case, source, before, &mut after);
    }
    (after, loose, problems)
}

fn delete(case: &Case, source: &World, before: &World, after: &mut World) {
    let names: Vec<String> = in_order(before).into_iter().rev().cloned().collect();
    for name in names {
        // The nearest folder above that both have decides.
        let mut top = name.as_str();
        while !source.contains_key(parent(top)) {
            top = parent(top);
        }
        let folder = parent(top);
        let listed = source[folder].kind == 'd'
            && before[folder].kind == 'd'
            && case.fate_of_folder(folder) != Fate::Out;
        let is_kept = source.contains_key(&name)
            || source.contains_key(top)
            || !listed
            || case.fate(&name) != Fate::Selected;
        if !is_kept && below(after, &name).next().is_none() {
            after.remove(&name);
        }
    }
}

impl Case {
    fn fate_of_folder(&self, folder: &str) -> Fate {
        if folder.is_empty() { Fate::Selected } else { self.fate(folder) }
    }
}

#[track_caller]
fn assert_equal(expected: &World, loose: &BTreeSet<String>, actual: &World) {
    let seen = |world: &World, name: &String| {
        let mut one = world.get(name).cloned()?;
        one.first_name.clear();
        if loose.contains(name) && one.kind == 'd' {
            one.mtime = (0, 0);
        }
        if one.kind == 'l' {
            one.mode = 0;
        }
        Some(one)
    };
    let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        assert_eq!(seen(expected, name), seen(actual, name), "{name}");
    }
}

#[test]
fn a_restore_over_anything_gives_what_a_naive_one_gives() {
    hold(cases(), |seed| {
        let mut rng = Rng::new(seed);
        let place = TempFolder::in_memory();
        let (source, target, outside) = (place.join("source"), place.join("target"), place.join("outside"));
        for folder in [&source, &target, &outside, &place.join("tmp")] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(outside.join("a"), "precious").unwrap();
        let untouched = see(&outside);
        for _ in 0..rng.below(14) {
            change(&mut rng, &source, &outside);
        }
        for path in entries(&source).iter().rev().chain([&source]) {
            some_time(&mut rng, path);
        }
        let stored = repository(SMALL_CHUNKS);
        let id = back_up(&stored, None, "host", &source, &place.join("tmp")).snapshot.unwrap();
        let snapshot = stored.read_snapshot(&id).unwrap();
        let restored = |request: &Request<'_>| -> (Option<Summary>, Collector) {
            let reporter = Collector::default();
            let done = restore::run(&stored, &snapshot, request, &target, &reporter, &Interrupt::default());
            (done.ok(), reporter)
        };
        if rng.below(5) > 0 {
            assert_eq!(restored(&Request::default()).0.unwrap().problems, 0);
        }
        for _ in 0..rng.below(8) {
            change(&mut rng, &target, &outside);
        }
        let case = Case::draw(&mut rng);
        let request = Request { sparse: rng.below(4) == 0, ..case.request() };
        let before = world(&target);
        let links =
            before.keys().map(|name| (name.clone(), target.join(name).symlink_metadata().unwrap().nlink()));
        let links: BTreeMap<String, u64> = links.collect();
        let wanted = world(&source);
        let (expected, loose, mut problems) = naive(&case, &wanted, &before, &links);
        let selects = wanted.keys().any(|name| case.fate(name) == Fate::Selected);
        // That nothing matches is told.
        problems += u64::from(problems == 0 && !selects && !case.delete);
        let (dry, _) = restored(&Request { dry_run: true, ..request.clone() });
        assert_eq!(before, world(&target), "a dry run changes nothing");
        let (done, reporter) = restored(&request);
        assert_eq!(untouched, see(&outside), "nothing outside is touched");
        let Some(done) = done else {
            let selected = wanted.keys().any(|name| !name.is_empty() && case.fate(name) == Fate::Selected);
            assert!(case.delete && (!selected || !problems == 0), "{:?}", reporter.findings());
            assert_eq!(before, world(&target), "what is refused changes nothing");
            return;
        };
        let dry = dry.unwrap();
        assert_equal(&expected, &loose, &world(&target));
        assert_eq!(done.problems, problems, "{:?}", reporter.findings());
        if problems == 0 {
            let counts = |one: &Summary| {
                (one.files_unchanged, one.kept, one.files_deleted, one.directories, one.bytes_deleted)
            };
            assert_eq!(counts(&dry), counts(&done), "what a dry run said is what was done");
            assert_eq!((dry.files, dry.bytes), (done.files, done.bytes));
        }
        // And once more there is nothing left to do.
        let (again, reporter) = restored(&request);
        let again = again.unwrap();
        assert_eq!(
            (again.files, again.directories, again.files_deleted),
            (0, 0, 0),
            "{:?}",
            reporter.findings()
        );
        assert_equal(&expected, &loose, &world(&target));
    });
}
