//! Planted violations: each breaks one rule on purpose, so that the simulator can prove that it would notice.
//! Without the feature `museum` every question is answered "no" at compile time; with it, nothing is planted
//! unless a thread asks for it. Never used by the product.

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One planted violation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[$doc])* $name,)* }
        impl Planted {
            pub const ALL: &'static [Planted] = &[$(Planted::$name,)*];
            pub fn name(self) -> &'static str {
                match self { $(Planted::$name => $text,)* }
            }
        }
    };
}

violations! {
    /// P5/P6: a member that is not the last answers its own committed version while a newer one pends.
    DirtyRead = "dirty-read",
    /// P5: a reader is told the length of a version that pends.
    DirtyLength = "dirty-length",
    /// P5: a read commits and serves what is pending.
    ServePending = "serve-pending",
    /// P5, and 3FS #401 and #403: an update is stored on another base than its own, also during a resync.
    AcceptGap = "accept-gap",
    /// P6: a change of the chain drops what is pending.
    DropPending = "drop-pending",
    /// P6: a new predecessor does not drive its pending updates again.
    NoRedrive = "no-redrive",
    /// P6: the last serving member acknowledges without the syncing one.
    AckBeforeSyncing = "ack-before-syncing",
    /// P6: a new last serving member waits for the syncing one with what the old last one may have shown
    /// already.
    LastWaits = "last-waits",
    /// P6: a member that was just synced answers reads while the last one before it may still decide for
    /// others.
    NoSettling = "no-settling",
    /// P6/P2: a last serving member answers others although its lease has run out.
    OldLastDecides = "old-last-decides",
    /// A member acknowledges before its successor did.
    AckBeforeSuccessor = "ack-before-successor",
    /// A member forwards before it has stored.
    ForwardBeforeStored = "forward-before-stored",
    /// P7: retries are new updates.
    NoDedupe = "no-dedupe",
    /// P7: a truncation is taken for one that may be repeated, and a retry cuts what was written since.
    TruncateRepeated = "truncate-repeated",
    /// P7: a retry is answered with the chunk's length as it is now.
    AnswersAsOfNow = "answers-as-of-now",
    /// P7: a new head starts with an empty table.
    TableLost = "table-lost",
    /// P7: a syncing member serves without the table.
    TableNotCopied = "table-not-copied",
    /// P9: a syncing member keeps the table of a history that is discarded.
    TableNotCleared = "table-not-cleared",
    /// P9: a syncing member takes updates and copies while what it had is still being discarded.
    SyncBeforeDiscard = "sync-before-discard",
    /// P9: a copy for which there was no room counts as stored.
    RefusedCopyCounts = "refused-copy-counts",
    /// P9: a syncing member without room never leaves, and the chain waits for it.
    EndlessPatience = "endless-patience",
    /// P9: a removal that takes the place of a copy counts for the updates behind it as well.
    RemovalAnswersLater = "removal-answers-later",
    /// P9: a resync does not copy tombstones.
    TombstonesNotCopied = "tombstones-not-copied",
    /// P9: a chunk that is replaced by a shorter one keeps its end.
    ReplaceKeepsTail = "replace-keeps-tail",
    /// P9: a syncing member is done without a flush.
    SyncWithoutFlush = "sync-without-flush",
    /// P10: a member that restarts forgets what it had stored and not committed.
    ForgetStaged = "forget-staged",
    /// P10: what makes a member call itself complete outlives the beginning of a resync.
    CompletenessStays = "completeness-stays",
    /// P10: after a total outage an incomplete member serves at once, as if it were complete.
    IncompleteServes = "incomplete-serves",
    /// P10: a member whose disk was emptied resumes after a total outage, when another process than the one that
    /// found nothing runs there.
    EmptiedResumes = "emptied-resumes",
    /// P3: a manager with an old state believes it, whatever its targets know.
    OldStateBelieved = "old-state-believed",
    /// P3: a manager with an old state adopts what one target knows, while another may know more.
    AdoptsUnheard = "adopts-unheard",
    /// P3: a target believes a version of its chain that does not follow the one that it knows.
    AnyViewBelieved = "any-view-believed",
    /// P10: after a total outage any member may serve, also one that was removed before.
    AnyResumes = "any-resumes",
    /// R1: a target that finished its resync stays up to date when the manager demoted it, and the manager
    /// waits for it.
    R1 = "r1",
    /// R2: a late full replace of the same session rolls a chunk back.
    R2 = "r2",
    /// R3: an up-to-date report of another chain version promotes.
    R3 = "r3",
    /// R4: the lease arrives without the chain.
    R4 = "r4",
    /// R5: a last-serving member stays one although another serves.
    R5 = "r5",
    /// P4: the head does not ask whether a client is live.
    FencedMayWrite = "fenced-may-write",
    /// P4: a fence is confirmed while updates of its client still pend.
    FenceAtOnce = "fence-at-once",
    /// P4: what was held before stays so for a member that becomes the head.
    FenceOutlivesHead = "fence-outlives-head",
    /// P4/P7: a client that is not known here yet is taken for a fenced one, and its records are dropped.
    NewIsGone = "new-is-gone",
    /// P4: a new version of the chain is taken for a fence before its head has rolled forward.
    FenceBeforeRollForward = "fence-before-roll-forward",
    /// P4: a chain whose head is gone, or that nobody serves, is not waited for.
    FenceIgnoresOffline = "fence-ignores-offline",
    /// P4: a fence is confirmed when one of the chains says that it holds.
    FenceOfOneChain = "fence-of-one-chain",
    /// P1: a member that is to leave goes before it has stopped.
    LeaveWithoutStop = "leave-without-stop",
    /// P6: the members change places while updates pend.
    ReordersAtOnce = "reorders-at-once",
    /// P6: the head gives versions on while the chain is reordering.
    AssignsWhileReordering = "assigns-while-reordering",
    /// P6: the last member says that nothing pends while something does.
    RestWhilePending = "rest-while-pending",
    /// P6: the head alone says that nothing pends: of a member between it knows nothing.
    RestOfHead = "rest-of-head",
    /// A chain that is reordering holds its updates until it comes to rest, however long that takes.
    WaitsForRest = "waits-for-rest",
    /// P6: what a member knew of those before it outlives its absence.
    RolledForwardStays = "rolled-forward-stays",
    /// P6: a list of chunks comes from a member where an acknowledged update still pends.
    ListsWhilePending = "lists-while-pending",
    /// P8: a new head takes the room of its old followers for that of all who are behind it now.
    OldRoomKept = "old-room-kept",
    /// P8: a member that does not know the room behind it answers with its own.
    OwnRoomForAll = "own-room-for-all",
    /// P8: what a member answers of the room behind it counts, whichever version of the chain it knows.
    RoomOfAnyView = "room-of-any-view",
    /// The preferred order is never restored.
    NeverReorders = "never-reorders",
    /// P8: a member that is only synced has a say in what the head admits.
    SyncingRoomCounts = "syncing-room-counts",
    /// P8: a member that was just synced serves, and the head goes on with what it knew of the others.
    SyncedRoomNotAsked = "synced-room-not-asked",
    /// P8: a syncing member stores updates from the reserve.
    SyncTakesReserve = "sync-takes-reserve",
    /// P8: the head does not look at the room of the members after it.
    IgnoreSpace = "ignore-space",
    /// P8: on a full chain the head refuses a truncation, which is how room is made.
    RoomToCut = "room-to-cut",
    /// P8: a member that cannot store an assigned update refuses it and goes on.
    RefuseAfterAssign = "refuse-after-assign",
    /// P7/P25: a client tries again under a new number.
    RetryAsNew = "retry-as-new",
    /// P7: a client forgets that a lost request may still arrive, and writes again in another channel.
    DoubtForgotten = "doubt-forgotten",
    /// P7: a client has one lane for all chains, and an answer of one closes the doubts of another.
    LaneOfAllChains = "lane-of-all-chains",
    /// P11: the head answers an fsync before the members after it have flushed.
    FlushHeadOnly = "flush-head-only",
    /// P11: an error of a flush is forgotten, and the next flush succeeds.
    FlushErrorIgnored = "flush-error-ignored",
    /// P11: a target whose flush failed still calls itself complete after a restart.
    OfflineStaysComplete = "offline-stays-complete",
    /// P10/P12: an opening that set chunks back is cut off before the record of the target says so, and the next one
    /// is complete.
    LossForgotten = "loss-forgotten",
    /// P11/P12: a target whose flush failed is opened as it shows itself, and its resync compares versions: what
    /// the page cache shows and the medium has not is never written again.
    LostPagesTrusted = "lost-pages-trusted",
    /// P11: a flush is answered before it is on the medium.
    FlushAnsweredEarly = "flush-answered-early",
    /// P10/P11: the durability epoch is not raised when an incomplete member resumes.
    EpochNotRaised = "epoch-not-raised",
    /// P12: after a loss of power a torn chunk is taken for whole.
    TornAccepted = "torn-accepted",
    /// P12: a chunk that was cut and is extended shows what was there before, not zeros.
    StaleTail = "stale-tail",
    /// P12: bytes are shown without a look at their checksum.
    NoChecksum = "no-checksum",
    /// P3: a new version of the chain is told before it is on the medium.
    TellsBeforeStored = "tells-before-stored",
    /// 3FS #231: a resync goes to another target than the syncing one.
    WrongSyncTarget = "3fs-231-wrong-sync-target",
    /// 3FS #252: look-ups show a commit later than the next request.
    LateCommit = "3fs-252-late-commit",
    /// 3FS #256, #326: of many things to be removed only the first goes.
    DiscardFirstOnly = "3fs-256-discard-first-only",
    /// 3FS #322: the tombstone of a removal is cleaned up while the removal pends elsewhere.
    TombstonesForgotten = "3fs-322-tombstones-forgotten",
    /// P6: the tombstone of a removal goes with the version of the chain, though a member before may hold the removal
    /// pending.
    TombstonesByVersion = "tombstones-by-version",
    /// P6: an update is stored on the tombstone of a removal, which may go meanwhile.
    StoredOnTombstone = "stored-on-tombstone",
    /// P6: an update that was sent twice is stored once more, when the removal after it and its tombstone are gone.
    LateUpdateStored = "late-update-stored",
    /// 3FS #329: an acknowledgement commits updates that it does not speak of.
    AckAll = "3fs-329-ack-all",
    /// R3: what one target of a node reports is taken for the word of another one there.
    ReportOfAnyTarget = "report-of-any-target",
    /// P1: silence is taken for death.
    SuspicionIsDeath = "suspicion-is-death",
    /// P2: reads do not look at the lease.
    NoLease = "no-lease",
    /// P2: a lease is counted from the arrival of the grant, not from the heartbeat that earned it.
    LeaseFromArrival = "lease-from-arrival",
    /// P3: a new manager removes members before the leases of the old one have run out.
    HastyManager = "hasty-manager",
    /// Hop to hop, the chain version is not looked at.
    NoChainVersion = "no-chain-version",
    /// A restarted process takes the state that was given to the one before it.
    AnyIncarnation = "any-incarnation",
}

impl Planted {
    pub fn from_name(name: &str) -> Option<Planted> {
        Planted::ALL.iter().copied().find(|planted| planted.name() == name)
    }
}

#[cfg(feature = "museum")]
mod selected {
    use super::Planted;
    use std::cell::Cell;
    thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
        static PAGE_MAX: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Pages of a resync are no longer than this on this thread, so that a world of few chunks has many.
    pub fn shorten_pages(page_max: usize) {
        PAGE_MAX.set(page_max);
    }

    pub fn page(page: usize) -> usize {
        page.min(PAGE_MAX.get())
    }

    /// Breaks this rule on this thread from now on; `None` keeps them all.
    pub fn plant(planted: Option<Planted>) {
        PLANTED.set(planted);
    }

    pub fn planted(planted: Planted) -> bool {
        PLANTED.get() == Some(planted)
    }
}

#[cfg(feature = "museum")]
pub use selected::{page, plant, planted, shorten_pages};

/// Whether this rule is broken on purpose.
#[cfg(not(feature = "museum"))]
#[inline(always)]
pub const fn planted(_planted: Planted) -> bool {
    false
}

/// The length of a page; the simulator may shorten it.
#[cfg(not(feature = "museum"))]
#[inline(always)]
pub const fn page(page: usize) -> usize {
    page
}
