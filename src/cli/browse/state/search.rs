//! Searching the list that is shown, letter by letter.

use super::edit::Edit;
use super::{Effect, Screen, State};
use crate::cli::browse::keys::Key;
use crate::report::printable;

/// A search that is being typed.
#[derive(Clone, Debug)]
pub(in crate::cli::browse) struct Search {
    pub(in crate::cli::browse) edit: Edit,
    /// Whether nothing was found.
    pub(in crate::cli::browse) failed: bool,
    origin: usize,
}

impl Search {
    pub(super) fn new(origin: usize) -> Self {
        Self { edit: Edit::default(), failed: false, origin }
    }
}

impl State {
    pub(super) fn search_key(&mut self, key: Key) {
        let Some(search) = &mut self.search else { return };
        match key {
            Key::Escape => {
                let origin = search.origin;
                self.search = None;
                self.list().go_to(origin);
            }
            Key::Enter => {
                let (text, failed) = (search.edit.text(), search.failed);
                self.search = None;
                if failed {
                    self.complain(format!("nothing here is called {}", printable(text.as_bytes())));
                }
                self.sought = text;
            }
            key if search.edit.key(key) => self.seek(),
            _ => {}
        }
    }

    /// Goes to the first match at or behind where the search began.
    pub(super) fn seek(&mut self) {
        let Some(search) = &self.search else { return };
        let (text, origin) = (search.edit.text(), search.origin);
        let found = if text.is_empty() { Some(origin) } else { self.find(&text, origin, true) };
        if let Some(search) = &mut self.search {
            search.failed = found.is_none();
        }
        self.list().go_to(found.unwrap_or(origin));
    }

    /// Goes to the next match, or the one before.
    pub(super) fn search_on(&mut self, forward: bool) -> Effect {
        let (length, position) = (self.list().length(), self.list().position());
        if self.sought.is_empty() {
            self.tell("nothing was searched for yet; / searches");
            return Effect::None;
        }
        let step = if forward { 1 } else { length.saturating_sub(1) };
        let from = position.saturating_add(step).checked_rem(length).unwrap_or(0);
        let text = self.sought.clone();
        match self.find(&text, from, forward) {
            Some(found) => self.list().go_to(found),
            None => self.complain(format!("nothing here is called {}", printable(text.as_bytes()))),
        }
        Effect::None
    }

    /// The first line that holds a text, from a line on and around the end.
    fn find(&mut self, text: &str, from: usize, forward: bool) -> Option<usize> {
        let length = self.list().length();
        let needle = text.to_lowercase();
        let mut lines = (0..length).map(|step| {
            let step = if forward { step } else { length.saturating_sub(step) };
            from.saturating_add(step).checked_rem(length).unwrap_or(0)
        });
        lines.find(|line| self.line_holds(*line, &needle))
    }

    fn line_holds(&self, line: usize, needle: &str) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(needle);
        match self.screens.last() {
            Some(Screen::Folder(folder)) => {
                folder.entry(line).is_some_and(|entry| contains(entry.name, needle))
            }
            Some(Screen::Preview(preview)) => preview.line(line).is_some_and(holds),
            Some(Screen::Versions(versions)) => versions.version(line).is_some_and(|version| {
                versions.holders(version).iter().any(|snapshot| snapshot.id.to_hex().starts_with(needle))
            }),
            None => self.snapshots.at(line).is_some_and(|known| {
                let manifest = &known.snapshot.manifest;
                known.snapshot.id.to_hex().starts_with(needle)
                    || holds(&manifest.host)
                    || holds(&known.state)
                    || manifest.tags.iter().chain(&manifest.job).any(|text| holds(text))
                    || manifest.paths.iter().any(|path| contains(path, needle))
            }),
        }
    }
}

/// Whether a name holds a text in small letters, whatever its own are. Among a million names nothing may be copied.
fn contains(name: &[u8], needle: &str) -> bool {
    if needle.is_ascii() {
        return name.windows(needle.len().max(1)).any(|part| part.eq_ignore_ascii_case(needle.as_bytes()));
    }
    printable(name).to_lowercase().contains(needle)
}
