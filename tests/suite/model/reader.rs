//! A restore that reads one snapshot while everything else goes on (`src/repository/reader.rs`).

use super::Protocol;
use super::mutations::Mutation;
use super::set::Set;
use super::state::{Remembered, State};

/// The steps of `format-spec/11-ordering.md`, "Reading". The name is the call that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum ReaderStep {
    /// LIST `snapshots/` and `forgotten/`, and GET one that is live.
    #[default]
    ChooseSnapshot,
    /// LIST `index/`, and GET every object.
    ListIndex,
    /// The end of a listing of `index/` that takes time.
    EndListIndex,
    /// GET each place of each chunk, until one gives it whole.
    GetPack,
    /// LIST `index/` again, and look anew if the list has changed.
    ListIndexAgain,
    /// The end of such a listing that takes time.
    EndListIndexAgain,
    /// It has every chunk, or said that one is lost.
    Finished,
}

/// How a step of the reader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderHow {
    /// In the only way it can.
    Done,
    /// The end of a listing, which shows these objects.
    Shown(Set),
    /// It reads this snapshot.
    Choose(u8),
    /// It tries this pack.
    Try(u8),
}

/// A restore, with what it remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) step: ReaderStep,
    snapshot: u8,
    /// Chunks still to read.
    wanted: Set,
    /// The index objects listed last.
    seen: Set,
    /// Index objects that were there when their listing began.
    listing: Set,
    /// Packs that were not there.
    tried: Set,
}

impl Reader {
    pub(super) fn remembers(&self) -> Remembered {
        Remembered { packs: self.tried, index: self.seen | self.listing, gc: Set::EMPTY }
    }

    fn finish(&mut self) {
        *self = Self { step: ReaderStep::Finished, ..Self::default() };
    }
}

impl Protocol {
    fn untried(&self, state: &State) -> Set {
        let (store, reader) = (&state.store, &state.reader);
        let holds = |pack: &u8| store.chunks(Set::of(&[*pack])).meets(reader.wanted);
        let places = store.named_by(reader.seen) - reader.tried;
        places.iter().filter(holds).fold(Set::EMPTY, |all, pack| all | Set::of(&[pack]))
    }

    pub(super) fn reader_moves(&self, state: &State, out: &mut Vec<ReaderHow>) {
        match state.reader.step {
            ReaderStep::Finished => {}
            ReaderStep::ChooseSnapshot if !self.reader => {}
            ReaderStep::ChooseSnapshot => out.extend(state.store.live().iter().map(ReaderHow::Choose)),
            ReaderStep::GetPack => out.extend(self.untried(state).iter().map(ReaderHow::Try)),
            ReaderStep::EndListIndex | ReaderStep::EndListIndexAgain => {
                out.extend(state.store.index_shown(state.reader.listing).map(ReaderHow::Shown));
            }
            ReaderStep::ListIndex | ReaderStep::ListIndexAgain => out.push(ReaderHow::Done),
        }
    }

    pub(super) fn reader_step(&self, state: &mut State, how: ReaderHow) {
        let reader = &mut state.reader;
        match (reader.step, how) {
            (_, ReaderHow::Choose(snapshot)) => {
                reader.snapshot = snapshot;
                reader.wanted = self.need(snapshot);
                reader.step = ReaderStep::ListIndex;
            }
            (_, ReaderHow::Try(pack)) => {
                if state.store.packs.contains(pack) {
                    reader.wanted -= state.store.chunks(Set::of(&[pack]));
                } else {
                    reader.tried.insert(pack);
                }
                self.all_tried(state);
            }
            (step, ReaderHow::Done) if self.slow_listings => {
                reader.listing = state.store.index;
                let again = step == ReaderStep::ListIndexAgain;
                reader.step = if again { ReaderStep::EndListIndexAgain } else { ReaderStep::EndListIndex };
            }
            (_, ReaderHow::Done) => self.read_index(state, state.store.index),
            (_, ReaderHow::Shown(index)) => self.read_index(state, index),
        }
    }

    /// The reader knows what `index/` holds.
    fn read_index(&self, state: &mut State, index: Set) {
        let reader = &mut state.reader;
        reader.listing = Set::EMPTY;
        let again = matches!(reader.step, ReaderStep::ListIndexAgain | ReaderStep::EndListIndexAgain);
        if again && reader.seen == index {
            return self.report_loss(state);
        }
        reader.seen = index;
        reader.tried = Set::EMPTY;
        reader.step = ReaderStep::GetPack;
        self.all_tried(state);
    }

    /// What comes when nothing is wanted, or when every place has been tried.
    fn all_tried(&self, state: &mut State) {
        if state.reader.wanted.is_empty() {
            state.reader.finish();
        } else if self.untried(state).is_empty() {
            state.reader.step = ReaderStep::ListIndexAgain;
            if self.mutation == Mutation::ReaderTrustsOnePass {
                self.report_loss(state);
            }
        }
    }

    fn report_loss(&self, state: &mut State) {
        state.onlooker.false_loss |= state.store.live().contains(state.reader.snapshot);
        state.reader.finish();
    }
}
