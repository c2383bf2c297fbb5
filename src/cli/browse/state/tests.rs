//! Walks through a small repository without a terminal, with the keys of a person and with those of nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::unbounded;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::draw::{self, Done, Theme};
use super::super::request::{Answer, Reply};
use super::super::worker::{self, Notes, Worker};
use super::*;
use crate::error::ErrorKind;
use crate::format::key_slot::Role;
use crate::format::path;
use crate::operation::restore::Summary;
use crate::repository::Repository;
use crate::repository::find::SnapshotFilter;
use crate::repository::reader::BlobReader;
use crate::repository::tests::support::{Random, as_role, backup, backup_at, create, each_seed};

/// A name that would turn a terminal red, ring it and turn its text round.
pub(in crate::cli::browse) const HOSTILE: &str = "docs/\u{1b}[31mred\u{7}\u{202e}gnp.\u{9b}2Jexe";

/// A repository of three snapshots: a text that changed once, a database, a strange name, a folder of many.
pub(in crate::cli::browse) fn repository() -> Repository {
    let (_, repository) = create();
    for night in 0..3 {
        let text = if night == 0 { "old\ttext\n" } else { "new\ttext\nwith \u{1b}[2J two lines\n" };
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("db.sqlite3".to_owned(), b"SQLite format 3\0\x10\0 and so on".to_vec()),
            (HOSTILE.to_owned(), b"hostile".to_vec()),
            ("docs/deep/er/file".to_owned(), vec![0, 1, 2, 255]),
            ("docs/text".to_owned(), text.as_bytes().to_vec()),
        ];
        files.extend((0..300).map(|number| (format!("many/{number:03}"), vec![b'x'; number + 1])));
        let mut files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        files.sort_by(|one, other| path::compare(one.0.as_bytes(), other.0.as_bytes()));
        backup_at(&repository, None, &files, 1_790_000_000 + 86_400 * night).unwrap();
    }
    repository
}

/// The state at its beginning.
pub(in crate::cli::browse) fn begun(repository: &Repository) -> State {
    let found = repository.snapshots().unwrap();
    let refusal = repository.keyring().require(Role::Full, "reading files").err();
    State::new(worker::choice(&found, &SnapshotFilter::default()), refusal.map(|error| error.chain()), None)
}

/// What does the work of an effect and gives its answers.
pub(in crate::cli::browse) type Answers<'w> = &'w mut dyn FnMut(Effect) -> VecDeque<Reply>;

/// Walks with something that answers. Restores are answered and not done.
pub(in crate::cli::browse) fn walk(repository: &Repository, steps: impl FnOnce(Answers<'_>)) {
    let (notes, filter) = (Notes::default(), SnapshotFilter::default());
    let (replies, received) = unbounded();
    let worker = Worker { repository, filter: &filter, notes: &notes, replies };
    let mut reader: Option<BlobReader<'_>> = None;
    let mut answers = |effect: Effect| {
        if let Effect::Ask(job) = effect {
            if matches!(job.request, Request::Restore { .. } | Request::Save { .. }) {
                let answer = Answer::Restored(Summary { files: 2, ..Summary::default() });
                return VecDeque::from([Reply { number: job.number, answer, findings: Vec::new() }]);
            }
            worker.work(job, &mut reader).unwrap();
        }
        received.try_iter().collect()
    };
    steps(&mut answers);
}

/// Types keys and waits for the answers to each.
pub(in crate::cli::browse) fn type_keys(state: &mut State, answers: Answers<'_>, keys: &[Key]) {
    for key in keys {
        let effect = state.key(*key);
        take(state, answers(effect));
    }
}

/// Takes answers.
fn take(state: &mut State, replies: VecDeque<Reply>) {
    for reply in replies {
        state.reply(reply);
    }
}

fn letters(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn top(state: &State) -> &Folder {
    match state.screens.last() {
        Some(Screen::Folder(folder)) => folder,
        other => panic!("no folder: {other:?}"),
    }
}

fn name(state: &State) -> String {
    String::from_utf8_lossy(top(state).selected().unwrap().name).into_owned()
}

#[test]
fn one_walks_in_and_out_and_comes_back_to_where_one_was() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::Down]);
        assert_eq!(name(&state), "docs");
        type_keys(&mut state, answers, &[Key::Enter, Key::End, Key::Enter]);
        let Some(Screen::Preview(preview)) = state.screens.last() else { panic!("{:?}", state.screens) };
        assert_eq!(preview.line(0), Some("new     text"));
        assert_eq!(preview.line(1), Some("with \\u{1b}[2J two lines"));
        type_keys(&mut state, answers, &[Key::Left]);
        assert_eq!(name(&state), "text");
        type_keys(&mut state, answers, &[Key::Char('v')]);
        let Some(Screen::Versions(versions)) = state.screens.last() else { panic!("no versions") };
        let found = versions.found.as_ref().unwrap();
        assert_eq!(found.versions.iter().map(|version| version.snapshots.len()).sum::<usize>(), 3);
        assert_eq!(found.versions.len(), 2);
        type_keys(&mut state, answers, &[Key::Escape, Key::Escape]);
        assert_eq!(name(&state), "docs");
        type_keys(&mut state, answers, &[Key::Escape, Key::Escape]);
        assert!(state.screens.is_empty());
        assert!(matches!(state.key(Key::Char('q')), Effect::Quit));
    });
}

#[test]
fn a_place_is_opened_with_all_that_lies_above_it() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        let snapshot = Arc::clone(&state.snapshots.at(2).unwrap().snapshot);
        let effect = state.open_at(&snapshot, b"docs/deep/er/file", false);
        take(&mut state, answers(effect));
        assert_eq!((name(&state).as_str(), state.screens.len()), ("file", 4));
        for above in ["er", "deep", "docs"] {
            type_keys(&mut state, answers, &[Key::Left]);
            assert_eq!(name(&state), above);
        }
        type_keys(&mut state, answers, &[Key::Left]);
        assert_eq!(state.snapshots.selected().unwrap().snapshot.id, snapshot.id);
    });
}

#[test]
fn entries_are_ordered_searched_and_summed() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::Char('s')]);
        assert_eq!(top(&state).summed.unwrap().files, 304);
        assert_eq!(top(&state).entry(2).unwrap().bytes, Some(45_150));
        type_keys(&mut state, answers, &[Key::End, Key::Enter, Key::Char('o')]);
        assert_eq!((name(&state).as_str(), top(&state).list.position()), ("000", 299));
        type_keys(&mut state, answers, &[Key::Home]);
        assert_eq!(name(&state), "299");
        type_keys(&mut state, answers, &[Key::Char('O')]);
        assert_eq!((name(&state).as_str(), top(&state).list.position()), ("299", 299));
        type_keys(&mut state, answers, &[Key::Char('o'), Key::Char('o'), Key::Home]);
        assert_eq!(name(&state), "299", "names turned round");
        type_keys(&mut state, answers, &[Key::Char('O'), Key::Char('/')]);
        type_keys(&mut state, answers, &letters("23"));
        assert_eq!(name(&state), "023");
        type_keys(&mut state, answers, &[Key::Enter, Key::Char('n')]);
        assert_eq!(name(&state), "123");
        type_keys(&mut state, answers, &[Key::Char('N'), Key::Char('N')]);
        assert_eq!(name(&state), "239", "round the end");
        type_keys(&mut state, answers, &[Key::Char('/'), Key::Char('z'), Key::Enter]);
        assert!(state.message.as_ref().unwrap().is_error);
        assert_eq!(name(&state), "239");
        type_keys(&mut state, answers, &[Key::Char('/'), Key::Char('9'), Key::Escape]);
        assert_eq!(name(&state), "239");
    });
}

#[test]
fn what_is_marked_is_restored_once_one_is_sure() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::Char(' '), Key::Char(' '), Key::Char(' ')]);
        // The last of three is marked by the third, and the cursor stays there.
        assert_eq!(state.marks.places.len(), 3);
        type_keys(&mut state, answers, &[Key::Char(' ')]);
        assert_eq!(state.marks.places, BTreeSet::from([b"db.sqlite3".to_vec(), b"docs".to_vec()]));
        type_keys(&mut state, answers, &[Key::Char('r')]);
        type_keys(&mut state, answers, &letters("out"));
        state.paste("side\u{1b}\n");
        type_keys(&mut state, answers, &[Key::Enter]);
        let Dialog::Sure { text, path, .. } = &state.dialog else { panic!("{:?}", state.dialog) };
        assert!(text.contains("2 marked places") && text.contains("outside"), "{text}");
        assert_eq!(path, &PathBuf::from("outside"));
        type_keys(&mut state, answers, &[Key::Char('x'), Key::Char('n'), Key::Char('r'), Key::Char('a')]);
        type_keys(&mut state, answers, &[Key::Enter]);
        let effect = state.key(Key::Char('y'));
        let Effect::Ask(job) = &effect else { panic!("{effect:?}") };
        let Request::Restore { places, folder, .. } = &job.request else { panic!("{job:?}") };
        assert_eq!((places.len(), folder), (2, &PathBuf::from("a")));
        assert!(matches!(state.dialog, Dialog::Work { stopping: false, .. }));
        state.key(Key::Escape);
        assert!(job.interrupt.requested());
        assert!(matches!(state.dialog, Dialog::Work { stopping: true, .. }), "the answer is waited for");
        take(&mut state, answers(effect));
        let Dialog::Report { lines, .. } = &state.dialog else { panic!("{:?}", state.dialog) };
        assert!(lines[0].starts_with("2 files"), "{lines:?}");
        type_keys(&mut state, answers, &[Key::Enter, Key::Char('u'), Key::Left, Key::Down, Key::Enter]);
        assert!(state.marks.places.is_empty());
    });
}

#[test]
fn marks_are_those_of_one_snapshot() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::Char(' '), Key::Left, Key::Down, Key::Enter]);
        type_keys(&mut state, answers, &[Key::Char(' ')]);
        assert!(state.message.as_ref().unwrap().text.contains("marks in snapshot"));
        assert_eq!(state.marks.places.len(), 1);
        // Here nothing is marked, and the cursor counts.
        type_keys(&mut state, answers, &[Key::Char('r')]);
        let Dialog::Path { purpose: Purpose::Restore { snapshot, places }, .. } = &state.dialog else {
            panic!("{:?}", state.dialog)
        };
        assert_ne!(Some(snapshot.id), state.marks.snapshot);
        assert_eq!(places.len(), 1);
    });
}

#[test]
fn a_maintain_key_lists_and_is_told_what_it_may_not() {
    let (store, repository) = create();
    backup(&repository, None, &[("a/file", b"text".to_vec())]).unwrap();
    let maintain = as_role(&store, &repository, Role::Maintain);
    walk(&maintain, |answers| {
        let mut state = begun(&maintain);
        type_keys(&mut state, answers, &[Key::Enter, Key::Enter]);
        assert_eq!(name(&state), "file");
        for key in [Key::Enter, Key::Char('r'), Key::Char('w')] {
            state.message = None;
            type_keys(&mut state, answers, &[key]);
            let text = state.message.as_ref().unwrap().text.clone();
            assert!(
                text.contains("needs a key of role full") && text.contains("maintain"),
                "{key:?}: {text}"
            );
            assert!(matches!(state.dialog, Dialog::None));
            assert_eq!(name(&state), "file");
        }
        type_keys(&mut state, answers, &[Key::Char('v')]);
        assert!(matches!(state.screens.last(), Some(Screen::Versions(_))));
    });
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let repository = repository();
    walk(&repository, |answers| {
        let mut state = begun(&repository);
        type_keys(&mut state, answers, &[Key::Enter, Key::End]);
        let effect = state.key(Key::Enter);
        let late = answers(effect);
        let effect = state.key(Key::Left);
        assert!(matches!(effect, Effect::None), "what lies above was read");
        take(&mut state, late);
        assert_eq!(name(&state), "many");
        // A failure is told, and the screen stays.
        let Effect::Ask(job) = state.key(Key::Enter) else { panic!() };
        let failure = super::super::request::Failure {
            kind: ErrorKind::Io,
            text: "the disk is gone".into(),
            next_step: Some("look for it".into()),
        };
        state.reply(Reply { number: job.number, answer: Answer::Failed(failure), findings: Vec::new() });
        assert_eq!(state.message.as_ref().unwrap().text, "the disk is gone (look for it)");
        assert_eq!(top(&state).reading, Reading::Stopped);
        type_keys(&mut state, answers, &[Key::Char('R')]);
        assert_eq!((top(&state).list.length(), top(&state).reading), (300, Reading::Done));
    });
}

/// The keys that nobody types.
const KEYS: &[Key] = &[
    Key::Up,
    Key::Down,
    Key::Down,
    Key::Down,
    Key::Left,
    Key::Right,
    Key::PageUp,
    Key::PageDown,
    Key::Home,
    Key::End,
    Key::Enter,
    Key::Enter,
    Key::Enter,
    Key::Escape,
    Key::Backspace,
    Key::Delete,
    Key::Char(' '),
    Key::Char('/'),
    Key::Char('n'),
    Key::Char('N'),
    Key::Char('o'),
    Key::Char('O'),
    Key::Char('s'),
    Key::Char('v'),
    Key::Char('u'),
    Key::Char('r'),
    Key::Char('w'),
    Key::Char('y'),
    Key::Char('?'),
    Key::Char('R'),
    Key::Char('q'),
    Key::Char('a'),
    Key::Char('ü'),
    Key::Char('9'),
    Key::Control('c'),
    Key::Control('w'),
    Key::Control('a'),
    Key::Control('l'),
    Key::Control('z'),
    Key::Char('G'),
    Key::Char('g'),
];

#[test]
fn no_order_of_keys_leads_out_of_range_or_sends_a_control_character() {
    let repository = repository();
    let theme = Theme { color: true, zone: jiff::tz::TimeZone::UTC };
    walk(&repository, |answers| {
        let answers = std::cell::RefCell::new(answers);
        let first = begun(&repository).snapshots;
        each_seed(|seed| {
            let mut random = Random::new((seed << 20) + 99);
            let mut state = State { snapshots: first.clone(), ..begun_empty() };
            let mut waiting: VecDeque<Reply> = VecDeque::new();
            for _ in 0..200 {
                let effect = state.key(KEYS[random.below(KEYS.len())]);
                waiting.extend((answers.borrow_mut())(effect));
                for _ in 0..random.below(4) {
                    let reply = waiting.pop_front();
                    take(&mut state, reply.into_iter().collect());
                }
                let list = *state.list();
                assert!(list.position() < list.length().max(1));
                if random.below(10) == 0 {
                    let size = (random.below(100) as u16, random.below(30) as u16);
                    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
                    terminal.draw(|frame| draw::all(frame, &mut state, &theme, &Done::default())).unwrap();
                    let cells = terminal.backend().buffer().content();
                    assert!(cells.iter().all(|cell| !cell.symbol().contains(char::is_control)));
                }
            }
        });
    });
}

fn begun_empty() -> State {
    State::new(Choice::default(), None, None)
}
