//! Planted bugs: each breaks one rule of the engine on purpose, so that the tests can prove that they would
//! notice (`museum/tests.rs`). They exist in this crate's own unit tests alone, where nothing is planted unless a
//! thread asks for it; in every other build each question is answered "no" at compile time.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One planted bug. It breaks P12 unless it says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Planted { $($(#[$doc])* $name,)* }
        #[cfg(test)]
        impl Planted {
            pub const ALL: &'static [Planted] = &[$(Planted::$name,)*];
        }
    };
}

bugs! {
    /// A journal record is replayed without a look at the checksum of its body.
    RecordUnchecked,
    /// Replay goes on behind a record that is not whole.
    ReplayBehindTorn,
    /// A journal that goes on behind a record that is not whole counts as one that ends there.
    EndUnquestioned,
    /// Records that wait are left behind by the next one, which is numbered after them.
    WaitingLeftBehind,
    /// The mark of a flush is on the medium before the bytes that it speaks of.
    MarkBeforeBytes,
    /// P11: a flush covers one of the segments that were written.
    FlushSkipsFile,
    /// P11: a flush that failed is forgotten, and the next one succeeds.
    FlushErrorForgotten,
    /// A file is used before its name is on the medium.
    NamesNotFlushed,
    /// The catalogue is committed before the blocks that it names are on the medium.
    CatalogBeforeBytes,
    /// The catalogue writes its header without waiting for its pages.
    CatalogWithoutBarrier,
    /// The old journal goes before the catalogue holds what it said.
    JournalRemovedEarly,
    /// Journaled blocks go in place before their record is on the medium.
    InPlaceBeforeRecord,
    /// A row of the catalogue leaves the bytes of pending images to a journal that goes.
    ImageLeftOut,
    /// A chunk leaves memory before the catalogue has its changes.
    EvictsUnsaved,
    /// What a failed checkpoint took to be saved is not saved by the next one.
    FailedCheckpointForgets,
    /// Blocks that a version gave up are used again before a flush covers that.
    FreedBeforeFlush,
    /// A large overwrite goes over the committed blocks.
    OverwriteInPlace,
    /// Bytes behind the chunk's end are overwritten in place although a longer version may come back.
    AppendOverLonger,
    /// A gap within a block is taken for zeros: what was there before a cut shows again.
    GapNotZeroed,
    /// Blocks that were given up stay in the file.
    ReleaseWithoutPunch,
    /// The block behind those that were given up is punched too.
    PunchesNeighbour,
    /// The room of an update that failed is never given back.
    FailedWriteLeaks,
    /// The room of an update that failed is given back with the bytes that were written already.
    FailedWriteKeepsBytes,
    /// Every target counts as closed in order: what a crash left in the files stays there.
    LeaksStay,
    /// Extents of chunks that the journal names are handed out again.
    ExtentsNotTaken,
    /// Updates that no flush covered are replayed without a look at their blocks.
    ReplayUnverified,
    /// A target that set chunks back calls itself complete.
    SetBackUnsaid,
    /// What no flush covered is verified and not written again: the page cache may show what the medium has not.
    NotWrittenAgain,
    /// A discarded version is back after a restart.
    DiscardNotReplayed,
    /// P7: the exactly-once entry of an update is not in its record.
    TagNotRecorded,
    /// P7: an update that is set back leaves its exactly-once entry behind.
    TagOfSetBack,
    /// P4: a fenced client's entries are dropped from memory alone.
    ForgetNotRecorded,
    /// P8: a full disk refuses an update while there is a reserve.
    ReserveNotSpent,
    /// Bytes are shown without a look at their checksum.
    ReadUnverified,
    /// What is kept of a block that is overwritten in part is not verified.
    MergeUnverified,
    /// Bytes appended to a damaged block make it whole: its checksum is computed anew.
    AppendHealsDamage,
    /// A block that is known to be damaged gets a checksum that its bytes have.
    DamageUnmarked,
}

#[cfg(test)]
mod selected {
    use super::Planted;
    use std::cell::Cell;
    thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Engines have this bug on this thread from now on; `None`: none. Their checkpoints must run on it too
    /// (`Options::background`).
    pub fn plant(planted: Option<Planted>) {
        PLANTED.set(planted);
    }

    pub fn planted(planted: Planted) -> bool {
        PLANTED.get() == Some(planted)
    }
}

#[cfg(test)]
pub(crate) use selected::{plant, planted};

/// Whether the engine has this bug on purpose.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_planted: Planted) -> bool {
    false
}

#[cfg(test)]
mod tests;
