//! A place in a list, and the part of it that is seen.
//!
//! Invariant: the position lies in the list unless that is empty, and it is 0 then.

use crate::cli::browse::keys::Key;

/// Where one is in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::browse) struct List {
    position: usize,
    top: usize,
    length: usize,
    height: usize,
}

impl List {
    /// A list of so many lines.
    pub(in crate::cli::browse) fn of(length: usize) -> Self {
        Self { length, ..Self::default() }
    }

    pub(in crate::cli::browse) fn position(&self) -> usize {
        self.position
    }

    pub(in crate::cli::browse) fn length(&self) -> usize {
        self.length
    }

    pub(in crate::cli::browse) fn set_length(&mut self, length: usize) {
        self.length = length;
        self.go_to(self.position);
    }

    pub(in crate::cli::browse) fn go_to(&mut self, position: usize) {
        self.position = position.min(self.length.saturating_sub(1));
    }

    /// Moves by a key; says whether it is one that moves.
    pub(in crate::cli::browse) fn key(&mut self, key: Key) -> bool {
        let page = self.height.saturating_sub(1).max(1);
        let position = match key {
            Key::Up | Key::Char('k') | Key::Control('p') => self.position.saturating_sub(1),
            Key::Down | Key::Char('j') | Key::Control('n') => self.position.saturating_add(1),
            Key::PageUp | Key::Control('b' | 'u') => self.position.saturating_sub(page),
            Key::PageDown | Key::Control('f' | 'd') => self.position.saturating_add(page),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => usize::MAX,
            _ => return false,
        };
        self.go_to(position);
        true
    }

    /// Fits the part that is seen to so many lines, with the position in it; gives the numbers of the lines.
    pub(in crate::cli::browse) fn seen(&mut self, height: usize) -> std::ops::Range<usize> {
        self.height = height;
        let lowest = self.position.saturating_add(1).saturating_sub(height).min(self.position);
        // Nothing is left empty at the end while there is something above.
        self.top = self.top.clamp(lowest, self.position).min(self.length.saturating_sub(height).max(lowest));
        self.top..self.top.saturating_add(height).min(self.length)
    }

    /// The same for text, which has no cursor: the position is the first line that is seen.
    pub(in crate::cli::browse) fn scrolled(&mut self, height: usize) -> std::ops::Range<usize> {
        self.height = height;
        self.position = self.position.min(self.length.saturating_sub(height));
        self.top = self.position;
        self.top..self.top.saturating_add(height).min(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_stays_in_the_list_and_in_sight() {
        let mut list = List::of(100);
        assert_eq!(list.seen(10), 0..10);
        for (key, position, top) in [
            (Key::Up, 0, 0),
            (Key::Down, 1, 0),
            (Key::PageDown, 10, 1),
            (Key::End, 99, 90),
            (Key::Down, 99, 90),
            (Key::PageUp, 90, 90),
            (Key::Up, 89, 89),
            (Key::Home, 0, 0),
        ] {
            assert!(list.key(key));
            list.seen(10);
            assert_eq!((list.position(), list.top), (position, top), "{key:?}");
        }
        list.key(Key::End);
        list.seen(10);
        list.set_length(3);
        assert_eq!((list.seen(10), list.position()), (0..3, 2));
        assert_eq!(list.seen(0).len(), 0);
        list.set_length(0);
        assert_eq!((list.seen(10), list.position()), (0..0, 0));
        list.key(Key::Down);
        assert_eq!(list.position(), 0);
        assert!(!list.key(Key::Enter));
    }
}
