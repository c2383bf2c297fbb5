//! All places of an index, one blob after another.

use super::lookup::may_be_healed;
use super::run::Cursor;
use super::{Index, Place, View};
use crate::error::Result;
use crate::id::Id;

/// How the places of one blob are sorted.
pub(super) fn order(place: &Place) -> (u32, u32, u32, u32, u32) {
    (place.pack, place.offset, place.stored_length, place.plain_length, place.envelope)
}

/// All places of an index with their numbers, sorted by id.
pub struct Places<'a> {
    heads: Vec<Head<'a>>,
    /// The places of one blob, the last one first.
    group: Vec<(u32, Place)>,
    failed: bool,
}

struct Head<'a> {
    index: &'a Index,
    view: &'a View,
    cursor: Cursor<'a>,
    envelopes: &'a [u32],
    /// How many places the cursor has passed.
    passed: u32,
    next: Option<(u32, Place)>,
    started: bool,
}

impl<'a> Head<'a> {
    fn new(index: &'a Index, view: &'a View) -> Self {
        let (run, envelopes) = match view.healed.get() {
            Some((run, envelopes)) => (run, envelopes),
            None => (&*view.covered.run, &view.envelopes),
        };
        Self { index, view, cursor: run.cursor(0), envelopes, passed: 0, next: None, started: false }
    }

    /// Moves on to the next place that counts.
    fn step(&mut self) -> Result<()> {
        self.started = true;
        self.next = None;
        while let Some(place) = self.read()? {
            let number = self.view.base.saturating_add(self.passed);
            self.passed = self.passed.saturating_add(1);
            if let Some(place) = self.view.translate(&place, self.envelopes) {
                self.next = Some((number, place));
                break;
            }
        }
        Ok(())
    }

    /// The next place of the run, or of what stands in for it once it was found to be damaged.
    fn read(&mut self) -> Result<Option<Place>> {
        match self.cursor.next_place() {
            Err(error) if may_be_healed(&self.view.covered.run, &error) => {
                let (run, envelopes) = self.index.heal(self.view, error)?;
                self.cursor = run.cursor(self.passed);
                self.envelopes = envelopes;
                self.cursor.next_place()
            }
            read => read,
        }
    }
}

impl<'a> Places<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        let heads = index.views.iter().map(|view| Head::new(index, view)).collect();
        Self { heads, group: Vec::new(), failed: false }
    }

    /// Gathers the places of the next id.
    fn fill(&mut self) -> Result<()> {
        for head in self.heads.iter_mut().filter(|head| !head.started) {
            head.step()?;
        }
        let ids = self.heads.iter().filter_map(|head| head.next.map(|(_, place)| place.id));
        let Some(id): Option<Id> = ids.min() else { return Ok(()) };
        for head in &mut self.heads {
            while let Some(next) = head.next.filter(|(_, place)| place.id == id) {
                self.group.push(next);
                head.step()?;
            }
        }
        self.group.sort_by_key(|(number, place)| (order(place), *number));
        self.group.dedup_by_key(|(_, place)| *place);
        self.group.reverse();
        Ok(())
    }
}

impl Iterator for Places<'_> {
    type Item = Result<(u32, Place)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.group.is_empty()
            && !self.failed
            && let Err(error) = self.fill()
        {
            self.failed = true;
            return Some(Err(error));
        }
        self.group.pop().filter(|_| !self.failed).map(Ok)
    }
}
