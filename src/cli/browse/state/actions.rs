//! Marks, orders and sums; versions; bringing things back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::edit::Edit;
use super::{Dialog, Effect, Purpose, Screen, State, Versions};
use crate::cli::browse::keys::Key;
use crate::cli::browse::request::Request;
use crate::cli::output::human;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::report::printable;
use crate::repository::snapshot::Snapshot;

/// Most marks: a folder is one, whatever it holds.
const MARKS_MAX: usize = 100_000;

impl State {
    /// Does what a key stands for on the screen that is shown.
    pub(super) fn act(&mut self, key: Key) -> Effect {
        match (key, self.screens.last_mut()) {
            (Key::Char('o'), Some(Screen::Folder(folder))) => folder.next_sort(),
            (Key::Char('O'), Some(Screen::Folder(folder))) => folder.reverse(),
            (Key::Char('s'), Some(Screen::Folder(folder))) => {
                let (snapshot, place) = (Arc::clone(&folder.snapshot), folder.place.clone());
                if self.is_busy() {
                    self.tell("the folder is still being read");
                    return Effect::None;
                }
                return self.ask(Request::Sizes { snapshot, place });
            }
            (Key::Char(' '), _) => self.mark(),
            (Key::Char('u'), _) => {
                let count = self.marks.places.len() as u64;
                self.marks = super::Marks::default();
                self.tell(format!("{} taken away", human::counted(count, "mark")));
            }
            (Key::Char('v'), _) => return self.versions(),
            (Key::Char('r'), _) => self.ask_where_to_restore(),
            (Key::Char('w'), _) => self.ask_where_to_save(),
            _ => {}
        }
        Effect::None
    }

    /// What the cursor is on: snapshot, path, and what is there. A snapshot itself is its root.
    fn selected(&self) -> Option<(Arc<Snapshot>, Vec<u8>, NodeKind)> {
        match self.screens.last() {
            None => {
                let known = self.snapshots.selected()?;
                Some((Arc::clone(&known.snapshot), Vec::new(), NodeKind::Directory))
            }
            Some(Screen::Folder(folder)) => {
                let (place, kind) = folder.selected_path()?;
                Some((Arc::clone(&folder.snapshot), place, kind))
            }
            Some(Screen::Versions(versions)) => {
                let (version, snapshot) = versions.selected()?;
                Some((snapshot, versions.place.clone(), version.node.kind))
            }
            Some(Screen::Preview(preview)) => {
                let kind = preview.shown.as_ref()?.node.kind;
                Some((Arc::clone(&preview.snapshot), preview.place.clone(), kind))
            }
        }
    }

    fn mark(&mut self) {
        let Some(Screen::Folder(folder)) = self.screens.last_mut() else {
            self.tell("marks are set in the folders of a snapshot");
            return;
        };
        let Some((place, _)) = folder.selected_path() else { return };
        let id = folder.snapshot.id;
        if let Some(other) = self.marks.snapshot.filter(|other| *other != id) {
            self.complain(format!("there are marks in snapshot {}; u takes them away", other.short()));
            return;
        }
        if !self.marks.places.remove(&place) {
            if self.marks.places.len() >= MARKS_MAX {
                self.complain("these are too many marks; mark the folder");
                return;
            }
            self.marks.places.insert(place);
        }
        folder.list.key(Key::Down);
        self.marks.snapshot = (!self.marks.places.is_empty()).then_some(id);
    }

    fn versions(&mut self) -> Effect {
        let Some((snapshot, place, _)) = self.selected().filter(|(_, place, _)| !place.is_empty()) else {
            self.tell("versions are those of a file or folder in a snapshot");
            return Effect::None;
        };
        if matches!(self.screens.last(), Some(Screen::Versions(_))) {
            return Effect::None;
        }
        let host = &snapshot.manifest.host;
        let known = self.snapshots.choice.known.iter().map(|known| &known.snapshot);
        let snapshots: Vec<Arc<Snapshot>> =
            known.filter(|other| other.manifest.host == *host).map(Arc::clone).collect();
        let screen = Versions::new(place.clone(), snapshots.clone());
        self.push(Screen::Versions(Box::new(screen)), Request::Versions { snapshots, place })
    }

    fn ask_where_to_restore(&mut self) {
        let Some((snapshot, place, _)) = self.selected() else { return };
        let in_folder = matches!(self.screens.last(), Some(Screen::Folder(_)));
        let places = match self.marks.snapshot {
            Some(marked) if in_folder && marked == snapshot.id => self.marks.places.iter().cloned().collect(),
            _ => vec![place],
        };
        self.ask_path(Purpose::Restore { snapshot, places }, "");
    }

    fn ask_where_to_save(&mut self) {
        let Some((snapshot, place, kind)) = self.selected() else { return };
        if kind != NodeKind::File {
            self.tell("only a file can be written; r restores anything");
            return;
        }
        let name = std::str::from_utf8(path::name(&place)).unwrap_or_default().to_owned();
        let usable = !name.starts_with('~') && printable(name.as_bytes()) == name;
        self.ask_path(Purpose::Save { snapshot, place }, if usable { &name } else { "" });
    }

    fn ask_path(&mut self, purpose: Purpose, proposal: &str) {
        if let Some(refusal) = &self.refusal {
            let text = refusal.clone();
            self.complain(text);
            return;
        }
        self.stop();
        self.dialog = Dialog::Path { purpose, edit: Edit::with(proposal) };
    }

    /// Takes a key while something lies over the screen.
    pub(super) fn dialog_key(&mut self, key: Key) -> Effect {
        if let Dialog::Help(list) | Dialog::Report { list, .. } = &mut self.dialog {
            return if list.key(key) { Effect::None } else { self.close() };
        }
        match (&mut self.dialog, key) {
            (Dialog::Path { .. } | Dialog::Sure { .. }, Key::Escape)
            | (Dialog::Sure { .. }, Key::Char('n' | 'N')) => {
                self.tell("nothing was written");
                return self.close();
            }
            (Dialog::Path { .. }, Key::Enter) => self.make_sure(),
            (Dialog::Path { edit, .. }, key) => {
                edit.key(key);
            }
            (Dialog::Sure { .. }, Key::Char('y' | 'Y')) => return self.begin_work(),
            (Dialog::Work { stopping, .. }, Key::Escape | Key::Char('q') | Key::Control('c')) => {
                *stopping = true;
                // The answer is waited for: it says what is there.
                if let Some(pending) = &self.pending {
                    pending.interrupt.request();
                }
            }
            _ => {}
        }
        Effect::None
    }

    fn close(&mut self) -> Effect {
        self.dialog = Dialog::None;
        if self.is_busy() { Effect::None } else { self.read_again() }
    }

    fn make_sure(&mut self) {
        let Dialog::Path { purpose, edit } = &self.dialog else { return };
        let typed = edit.text();
        if typed.trim().is_empty() {
            return;
        }
        let path = match (typed.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => home.join(below),
            _ => PathBuf::from(&typed),
        };
        let (purpose, text) = (purpose.clone(), question(purpose, &path));
        self.dialog = Dialog::Sure { purpose, path, text };
    }

    fn begin_work(&mut self) -> Effect {
        let Dialog::Sure { purpose, path, .. } = std::mem::take(&mut self.dialog) else {
            return Effect::None;
        };
        let verb = if matches!(purpose, Purpose::Restore { .. }) { "restoring" } else { "writing" };
        let effect = self.ask(purpose.request(path));
        self.dialog = Dialog::Work { verb, stopping: false };
        effect
    }
}

/// What is about to be done, in words.
fn question(purpose: &Purpose, path: &Path) -> String {
    let shown = printable(path.as_os_str().as_encoded_bytes());
    match purpose {
        Purpose::Restore { snapshot, places } => {
            let what = match places.as_slice() {
                [place] if place.is_empty() => "all".to_owned(),
                [place] => format!("/{}", printable(place)),
                places => human::counted(places.len() as u64, "marked place"),
            };
            let id = snapshot.id.short();
            format!("Restore {what} of snapshot {id} into the new or empty folder {shown}?")
        }
        Purpose::Save { snapshot, place } => {
            format!("Write /{} of snapshot {} to {shown}?", printable(place), snapshot.id.short())
        }
    }
}
