//! What is shown and what a key does to it, without a terminal: events go in, requests come out.
//!
//! Invariants: one request at a time is under way; a new one, or leaving what it is for, asks the one before to stop,
//! and its late answers are passed over. Nothing here waits, reads or writes.

mod actions;
mod answers;
mod dialog;
mod edit;
mod folder;
mod list;
mod screens;
mod search;
mod walk;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::keys::{HELP, Key};
use super::request::{Choice, Job, Request};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::Finding;

pub(super) use dialog::{Dialog, Purpose};
pub(super) use folder::{Folder, Reading, Sort};
pub(super) use list::List;
pub(super) use screens::{Look, Preview, Snapshots, Versions};
pub(super) use search::Search;

/// What the program has to do after an event.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    /// Work for the thread that reads.
    Ask(Job),
    /// Draw everything again.
    Redraw,
    Suspend,
    Quit,
    /// As after SIGINT.
    Interrupt,
}

/// A line for the person, gone at the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// What lies above the list of snapshots.
#[derive(Debug)]
pub(super) enum Screen {
    Folder(Box<Folder>),
    Versions(Box<Versions>),
    Preview(Box<Preview>),
}

/// A request under way.
#[derive(Debug)]
struct Pending {
    number: u64,
    interrupt: Interrupt,
}

/// What is marked: places of one snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub(super) snapshot: Option<Id>,
    pub(super) places: BTreeSet<Vec<u8>>,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) snapshots: Snapshots,
    pub(super) screens: Vec<Screen>,
    pub(super) dialog: Dialog,
    pub(super) search: Option<Search>,
    pub(super) marks: Marks,
    pub(super) message: Option<Message>,
    /// How far the request under way is, in words.
    pub(super) so_far: String,
    /// What was found that is worth telling when the screen is gone.
    pub(super) findings: Vec<Finding>,
    /// What was searched for last.
    sought: String,
    pending: Option<Pending>,
    last_number: u64,
    /// Why the key reads no contents, where it does not.
    refusal: Option<String>,
    home: Option<PathBuf>,
}

impl State {
    /// The list of snapshots. `refusal` says why contents cannot be read, where that is so; `home` stands for `~`.
    pub(super) fn new(choice: Choice, refusal: Option<String>, home: Option<PathBuf>) -> Self {
        Self {
            snapshots: Snapshots::new(choice),
            screens: Vec::new(),
            dialog: Dialog::None,
            search: None,
            marks: Marks::default(),
            message: None,
            so_far: String::new(),
            findings: Vec::new(),
            sought: String::new(),
            pending: None,
            last_number: 0,
            refusal,
            home,
        }
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: Key) -> Effect {
        match key {
            Key::Control('c') if !matches!(self.dialog, Dialog::Work { .. }) => return Effect::Interrupt,
            Key::Control('z') => return Effect::Suspend,
            Key::Control('l') => return Effect::Redraw,
            _ => {}
        }
        if !matches!(self.dialog, Dialog::None) {
            return self.dialog_key(key);
        }
        self.message = None;
        if self.search.is_some() {
            self.search_key(key);
            return Effect::None;
        }
        self.screen_key(key)
    }

    /// Takes a text that was pasted: into what is being typed, or nowhere.
    pub(super) fn paste(&mut self, text: &str) {
        if let Dialog::Path { edit, .. } = &mut self.dialog {
            edit.insert(text);
        } else if let Some(search) = &mut self.search {
            search.edit.insert(text);
            self.seek();
        }
    }

    /// Whether something is being read or written.
    pub(super) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    fn screen_key(&mut self, key: Key) -> Effect {
        if let Some(Screen::Preview(preview)) = self.screens.last_mut() {
            match key {
                Key::Right | Key::Char('l') => {
                    preview.column = preview.column.saturating_add(8).min(1 << 16);
                    return Effect::None;
                }
                Key::Left | Key::Char('h') if preview.column > 0 => {
                    preview.column = preview.column.saturating_sub(8);
                    return Effect::None;
                }
                _ => {}
            }
        }
        if self.list().key(key) {
            return Effect::None;
        }
        match key {
            Key::Char('q') => Effect::Quit,
            Key::Enter | Key::Right | Key::Char('l') => self.open(),
            Key::Escape if self.is_busy() => {
                self.stop();
                self.tell("stopped");
                Effect::None
            }
            Key::Left | Key::Backspace | Key::Escape | Key::Char('h') => self.back(),
            Key::Char('?') => {
                self.dialog = Dialog::Help(List::of(HELP.len()));
                Effect::None
            }
            Key::Char('/') => {
                self.search = Some(Search::new(self.list().position()));
                Effect::None
            }
            Key::Char('n') => self.search_on(true),
            Key::Char('N') => self.search_on(false),
            Key::Char('R') => self.refresh(),
            key => self.act(key),
        }
    }

    /// The list that keys move in.
    fn list(&mut self) -> &mut List {
        match self.screens.last_mut() {
            Some(Screen::Folder(folder)) => &mut folder.list,
            Some(Screen::Versions(versions)) => &mut versions.list,
            Some(Screen::Preview(preview)) => &mut preview.list,
            None => &mut self.snapshots.list,
        }
    }

    /// Gives work to the thread that reads; what it did before is to stop.
    fn ask(&mut self, request: Request) -> Effect {
        self.stop();
        self.last_number = self.last_number.saturating_add(1);
        let interrupt = Interrupt::default();
        self.pending = Some(Pending { number: self.last_number, interrupt: interrupt.clone() });
        Effect::Ask(Job { number: self.last_number, interrupt, request })
    }

    /// Asks what is under way to stop, and waits for no answer to it.
    pub(super) fn stop(&mut self) {
        self.so_far.clear();
        if let Some(pending) = self.pending.take() {
            pending.interrupt.request();
            if let Some(Screen::Folder(folder)) = self.screens.last_mut()
                && folder.reading == Reading::Running
            {
                folder.reading = Reading::Stopped;
            }
        }
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.message = Some(Message { text: text.into(), is_error: false });
    }

    fn complain(&mut self, text: impl Into<String>) {
        self.message = Some(Message { text: text.into(), is_error: true });
    }
}
