//! What must not be done: each departure from the protocol that loses data or breaks a promise, and the smallest
//! configuration in which it does.

use super::configurations::{
    CHECKS_FIRST, LATE, PLAIN, READER, REPAIR, TAKEOVER, TAKEOVER_BY_TWO, TWO_PRUNERS, TWO_RUNS, UNFORGET,
};
use super::properties::{I1, I4, I5, READING};
use super::{Protocol, Start};

/// A departure from the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mutation {
    /// The protocol as it is.
    #[default]
    None,
    /// A backup lists `index/` and `packs/` before `gc/`. The index alone may come first: it is the packs, listed
    /// after the records, that tell a pack which is condemned no more from one which is gone.
    BackupListsGcLast,
    /// A pruner lists `index/` and `packs/` before `gc/`.
    PrunerListsGcLast,
    /// Everybody lists `packs/` before `index/`.
    PacksListedBeforeIndex,
    /// A backup puts its session after it has looked.
    SessionAnnouncedLate,
    /// A backup removes its session before it commits.
    SessionRemovedEarly,
    /// A backup whose commit timed out removes its session.
    SessionRemovedAfterTimeout,
    /// A prune does not wait for the sessions of W.
    SessionsNotWaitedFor,
    /// A prune lists sessions before it writes its record.
    SessionsListedBeforeGc,
    /// A prune knows live snapshots from its first look only.
    SnapshotsNotListedAgain,
    /// A backup looks for the mark, then writes its manifest.
    BackupLooksBeforeWriting,
    /// Whoever gives up looks for the manifest, then writes the mark.
    GiverLooksBeforeWriting,
    /// A prune relies on packs that others condemned.
    CondemnedByOthersSurvive,
    /// A prune removes its record before the packs.
    GcRemovedFirst,
    /// A prune deletes what it condemned, whatever refers to it by now.
    NothingRescued,
    /// A prune takes what is referred to out of its record instead of copying it.
    UncondemnedAsRescue,
    /// A gc record that cannot be read is passed over.
    UnreadableGcPassedOver,
    /// `unforget` deletes the mark.
    UnforgetDeletesMark,
    /// The forgotten mark goes with the manifest.
    ForgottenDroppedWithManifest,
    /// A prune deletes packs that no index names as soon as it sees them.
    OrphansDeletedOutside,
    /// A reader reports a loss after one pass over the index.
    ReaderTrustsOnePass,
    /// A pruner that finds a session dead does not put the forgotten mark.
    DeadSessionNotForgotten,
    /// A prune deletes old index objects, then puts the new one.
    IndexDeletedBeforeRewritten,
    /// A prune condemns packs before it has copied what is live in them.
    CondemnedBeforeCopying,
    /// A run uses sessions that were listed before it wrote its record.
    KeptSessionsForNewRecord,
    /// `tidy` removes an abandoned mark once the manifest of its session is there.
    MarkOfCommittedTidied,
    /// `tidy` removes an abandoned mark once its session is forgotten.
    MarkOfDeadTidied,
    /// A prune looks again only where a snapshot or a record is new, and does not ask for the packs it counts on.
    BasisWithoutPacks,
}

impl Mutation {
    /// Each of them.
    pub(super) const ALL: [Self; 27] = [
        Self::BackupListsGcLast,
        Self::PrunerListsGcLast,
        Self::PacksListedBeforeIndex,
        Self::SessionAnnouncedLate,
        Self::SessionRemovedEarly,
        Self::SessionRemovedAfterTimeout,
        Self::SessionsNotWaitedFor,
        Self::SessionsListedBeforeGc,
        Self::SnapshotsNotListedAgain,
        Self::BackupLooksBeforeWriting,
        Self::GiverLooksBeforeWriting,
        Self::CondemnedByOthersSurvive,
        Self::GcRemovedFirst,
        Self::NothingRescued,
        Self::UncondemnedAsRescue,
        Self::UnreadableGcPassedOver,
        Self::UnforgetDeletesMark,
        Self::ForgottenDroppedWithManifest,
        Self::OrphansDeletedOutside,
        Self::ReaderTrustsOnePass,
        Self::DeadSessionNotForgotten,
        Self::IndexDeletedBeforeRewritten,
        Self::CondemnedBeforeCopying,
        Self::KeptSessionsForNewRecord,
        Self::MarkOfCommittedTidied,
        Self::MarkOfDeadTidied,
        Self::BasisWithoutPacks,
    ];

    /// Where it does harm, and the rule that it breaks.
    pub(super) fn caught(self) -> (Protocol, &'static str) {
        let garbage = Protocol { starts: &[Start::Forgotten], ..PLAIN };
        let (configuration, rule) = match self {
            Self::None => (PLAIN, I1),
            Self::BackupListsGcLast
            | Self::SessionAnnouncedLate
            | Self::SessionRemovedEarly
            | Self::SessionsNotWaitedFor
            | Self::SessionsListedBeforeGc
            | Self::SnapshotsNotListedAgain
            | Self::GcRemovedFirst
            | Self::NothingRescued => (garbage, I1),
            Self::OrphansDeletedOutside => (Protocol { starts: &[Start::Orphan], ..PLAIN }, I1),
            Self::CondemnedBeforeCopying => (PLAIN, I4),
            Self::UnreadableGcPassedOver => (PLAIN, I1),
            Self::PrunerListsGcLast | Self::CondemnedByOthersSurvive => (TWO_PRUNERS, I1),
            Self::UncondemnedAsRescue => {
                (Protocol { starts: &[Start::Condemned], runs: 2, repacks: false, ..TWO_PRUNERS }, I1)
            }
            Self::PacksListedBeforeIndex | Self::IndexDeletedBeforeRewritten => (REPAIR, I1),
            Self::SessionRemovedAfterTimeout => (Protocol { timeouts: true, ..garbage }, I1),
            Self::BackupLooksBeforeWriting | Self::GiverLooksBeforeWriting => (TAKEOVER, I5),
            Self::DeadSessionNotForgotten => (TAKEOVER, I1),
            Self::MarkOfCommittedTidied | Self::MarkOfDeadTidied => (TAKEOVER_BY_TWO, I5),
            Self::ForgottenDroppedWithManifest => (Protocol { runs: 2, ..LATE }, I1),
            Self::UnforgetDeletesMark => (UNFORGET, I1),
            Self::BasisWithoutPacks => (CHECKS_FIRST, I1),
            Self::ReaderTrustsOnePass => (READER, READING),
            Self::KeptSessionsForNewRecord => (TWO_RUNS, I1),
        };
        (Protocol { mutation: self, ..configuration }, rule)
    }
}
