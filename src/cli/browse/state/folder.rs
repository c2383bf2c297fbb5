//! The screen of one folder: its entries, in an order, as far as they are read.

use std::sync::Arc;

use super::list::List;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::operation::browse::{Entries, Entry, Found, Page, Summed};
use crate::repository::snapshot::Snapshot;

/// A folder of more entries is read again when one comes back to it.
const KEPT_ENTRIES: usize = 200_000;
/// So many losses are kept word for word.
const LOSSES_KEPT: usize = 100;

/// By what entries are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::browse) enum Sort {
    #[default]
    Name,
    Size,
    Time,
}

/// How far the entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::browse) enum Reading {
    Running,
    Done,
    /// Not all of them were read, or they were given up since.
    Stopped,
}

/// One folder.
#[derive(Clone, Debug)]
pub(in crate::cli::browse) struct Folder {
    pub(in crate::cli::browse) snapshot: Arc<Snapshot>,
    pub(in crate::cli::browse) place: Vec<u8>,
    pub(in crate::cli::browse) list: List,
    pub(in crate::cli::browse) reading: Reading,
    pub(in crate::cli::browse) sort: Sort,
    pub(in crate::cli::browse) reversed: bool,
    /// What is lost of it: the first of that in words, and how much in all.
    pub(in crate::cli::browse) losses: (Vec<String>, u64),
    pub(in crate::cli::browse) summed: Option<Summed>,
    /// Whether there are more entries than are shown.
    pub(in crate::cli::browse) more: bool,
    entries: Entries,
    /// The numbers of the entries in their order, unless that is the order of names.
    order: Option<Vec<u32>>,
    /// The name to go to once it is there.
    wanted: Option<Vec<u8>>,
}

impl Folder {
    /// A folder that is to be read, with the cursor on this name if it is there.
    pub(in crate::cli::browse) fn new(
        snapshot: Arc<Snapshot>,
        place: Vec<u8>,
        wanted: Option<Vec<u8>>,
    ) -> Self {
        Self {
            snapshot,
            place,
            list: List::default(),
            reading: Reading::Running,
            sort: Sort::default(),
            reversed: false,
            losses: (Vec::new(), 0),
            summed: None,
            more: false,
            entries: Entries::default(),
            order: None,
            wanted,
        }
    }

    /// Starts anew, for it is to be read again.
    pub(in crate::cli::browse) fn begin(&mut self) {
        let wanted = self.wanted.take().or_else(|| self.selected().map(|entry| entry.name.to_vec()));
        let fresh = Self::new(Arc::clone(&self.snapshot), std::mem::take(&mut self.place), wanted);
        *self = Self { sort: self.sort, reversed: self.reversed, ..fresh };
    }

    /// Somebody leaves it: what would take much memory goes, as does what was not read to its end.
    pub(in crate::cli::browse) fn leave(&mut self) {
        if self.reading != Reading::Done || self.entries.len() > KEPT_ENTRIES {
            self.begin();
            self.reading = Reading::Stopped;
        }
    }

    /// Takes some entries.
    pub(in crate::cli::browse) fn add(&mut self, page: Page) {
        let first = self.entries.len();
        self.entries.append(page.entries);
        if let Some(order) = &mut self.order {
            order.extend((first..self.entries.len()).filter_map(|number| u32::try_from(number).ok()));
        }
        self.losses.1 = self.losses.1.saturating_add(page.losses.len() as u64);
        let room = LOSSES_KEPT.saturating_sub(self.losses.0.len());
        self.losses.0.extend(page.losses.into_iter().take(room));
        // Turned round, what comes is put in front.
        let came = self.entries.len().saturating_sub(first);
        let turned = self.order.is_none() && self.reversed && first > 0;
        self.list.set_length(self.entries.len());
        if turned {
            self.list.go_to(self.list.position().saturating_add(came));
        }
        if let Some(number) = self.wanted.as_deref().and_then(|name| self.entries.position(name)) {
            self.wanted = None;
            self.go_to_number(number);
        }
    }

    /// All entries are read.
    pub(in crate::cli::browse) fn done(&mut self, found: Found) {
        self.reading = Reading::Done;
        self.more = found.more;
        self.wanted = None;
        if self.sort != Sort::Name {
            self.arrange();
        }
    }

    /// Notes what folders hold in all.
    pub(in crate::cli::browse) fn add_sums(&mut self, sums: Vec<(Vec<u8>, u64)>) {
        for (name, bytes) in sums {
            self.entries.set_bytes(&name, bytes);
        }
    }

    /// All folders are summed.
    pub(in crate::cli::browse) fn sums_done(&mut self, summed: Summed) {
        self.summed = Some(summed);
        if self.sort == Sort::Size {
            self.arrange();
        }
    }

    /// The next way to order.
    pub(in crate::cli::browse) fn next_sort(&mut self) {
        self.sort = match self.sort {
            Sort::Name => Sort::Size,
            Sort::Size => Sort::Time,
            Sort::Time => Sort::Name,
        };
        self.arrange();
    }

    pub(in crate::cli::browse) fn reverse(&mut self) {
        let number = self.number(self.list.position());
        self.reversed = !self.reversed;
        if let Some(order) = &mut self.order {
            order.reverse();
        }
        self.go_to_number(number);
    }

    /// Puts the entries in order, largest and newest first; the cursor stays on its entry.
    fn arrange(&mut self) {
        let number = self.number(self.list.position());
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let entry = |number: &u32| usize::try_from(*number).ok().and_then(|number| self.entries.get(number));
        let mut order: Vec<u32> = (0..count).collect();
        match self.sort {
            Sort::Name => order = Vec::new(),
            Sort::Size => order.sort_by_cached_key(|number| {
                std::cmp::Reverse(entry(number).map(|entry| entry.bytes.unwrap_or(0)))
            }),
            Sort::Time => {
                order.sort_by_cached_key(|number| std::cmp::Reverse(entry(number).map(|entry| entry.mtime)));
            }
        }
        if self.reversed {
            order.reverse();
        }
        self.order = (self.sort != Sort::Name).then_some(order);
        self.go_to_number(number);
    }

    /// The number of the entry in a line.
    fn number(&self, position: usize) -> usize {
        match &self.order {
            Some(order) => {
                order.get(position).and_then(|number| usize::try_from(*number).ok()).unwrap_or(usize::MAX)
            }
            None if self.reversed => self.entries.len().saturating_sub(position.saturating_add(1)),
            None => position,
        }
    }

    fn go_to_number(&mut self, number: usize) {
        let position = match &self.order {
            Some(order) => order.iter().position(|other| usize::try_from(*other) == Ok(number)),
            None if self.reversed => self.entries.len().checked_sub(number.saturating_add(1)),
            None => Some(number),
        };
        self.list.go_to(position.unwrap_or(0));
    }

    /// The entry in a line.
    pub(in crate::cli::browse) fn entry(&self, position: usize) -> Option<Entry<'_>> {
        self.entries.get(self.number(position))
    }

    /// The entry under the cursor.
    pub(in crate::cli::browse) fn selected(&self) -> Option<Entry<'_>> {
        self.entry(self.list.position())
    }

    /// The path of a name in this folder.
    pub(in crate::cli::browse) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut place = self.place.clone();
        path::push(&mut place, name);
        place
    }

    /// The path under the cursor, and what is there.
    pub(in crate::cli::browse) fn selected_path(&self) -> Option<(Vec<u8>, NodeKind)> {
        self.selected().map(|entry| (self.path_of(entry.name), entry.kind))
    }
}
