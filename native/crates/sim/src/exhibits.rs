//! The planted violations, each with the kind of world that shows it soonest and the number of such worlds
//! within which it must be found.

use crate::profiles::Profile;
use chain::museum::Planted;

#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    pub planted: Planted,
    pub profile: Profile,
    /// Seeds from 0 on, several times what was needed when it was measured: a change of the simulator shifts
    /// what each seed is.
    pub budget: u64,
}

const fn exhibit(planted: Planted, profile: Profile, budget: u64) -> Exhibit {
    Exhibit { planted, profile, budget }
}

/// Blind spots: planted, and not found in some thousand worlds.
pub const UNSEEN: &[Planted] = &[Planted::RolledForwardStays];

pub const EXHIBITS: &[Exhibit] = &[
    exhibit(Planted::DirtyRead, Profile::General, 200),
    exhibit(Planted::ServePending, Profile::General, 100),
    exhibit(Planted::DirtyLength, Profile::Truncations, 100),
    exhibit(Planted::AcceptGap, Profile::Network, 100),
    exhibit(Planted::DropPending, Profile::Resync, 100),
    exhibit(Planted::NoRedrive, Profile::Resync, 100),
    exhibit(Planted::AckBeforeSyncing, Profile::Resync, 100),
    exhibit(Planted::LastWaits, Profile::Promotion, 200),
    exhibit(Planted::NoSettling, Profile::Promotion, 800),
    exhibit(Planted::OldLastDecides, Profile::Leases, 4000),
    exhibit(Planted::AckBeforeSuccessor, Profile::General, 100),
    exhibit(Planted::ForwardBeforeStored, Profile::Outage, 1500),
    exhibit(Planted::NoDedupe, Profile::Network, 100),
    exhibit(Planted::TruncateRepeated, Profile::Truncations, 100),
    exhibit(Planted::AnswersAsOfNow, Profile::Truncations, 200),
    exhibit(Planted::TableLost, Profile::Resync, 100),
    exhibit(Planted::TableNotCopied, Profile::Resync, 100),
    exhibit(Planted::TableNotCleared, Profile::Outage, 1000),
    exhibit(Planted::TombstonesNotCopied, Profile::Removals, 4000),
    exhibit(Planted::ReplaceKeepsTail, Profile::Truncations, 100),
    exhibit(Planted::SyncWithoutFlush, Profile::Outage, 400),
    exhibit(Planted::ForgetStaged, Profile::Outage, 100),
    exhibit(Planted::CompletenessStays, Profile::Blackout, 800),
    exhibit(Planted::IncompleteServes, Profile::Outage, 100),
    exhibit(Planted::AnyResumes, Profile::Outage, 100),
    exhibit(Planted::R1, Profile::Resync, 100),
    exhibit(Planted::R2, Profile::Resync, 500),
    exhibit(Planted::R3, Profile::Resync, 100),
    exhibit(Planted::R4, Profile::Leases, 3000),
    exhibit(Planted::R5, Profile::Outage, 100),
    exhibit(Planted::FencedMayWrite, Profile::Fencing, 1000),
    exhibit(Planted::FenceAtOnce, Profile::Fencing, 1000),
    exhibit(Planted::FenceOutlivesHead, Profile::Fencing, 1000),
    exhibit(Planted::NewIsGone, Profile::Fencing, 1000),
    exhibit(Planted::FenceBeforeRollForward, Profile::Fencing, 1000),
    exhibit(Planted::FenceIgnoresOffline, Profile::Fencing, 1000),
    exhibit(Planted::LeaveWithoutStop, Profile::Change, 400),
    exhibit(Planted::ReordersAtOnce, Profile::Resync, 100),
    exhibit(Planted::AssignsWhileReordering, Profile::Outage, 300),
    exhibit(Planted::RestWhilePending, Profile::Promotion, 100),
    exhibit(Planted::NeverReorders, Profile::Resync, 100),
    exhibit(Planted::IgnoreSpace, Profile::General, 500),
    exhibit(Planted::OldRoomKept, Profile::Reordering, 400),
    exhibit(Planted::OwnRoomForAll, Profile::Reordering, 400),
    exhibit(Planted::RefuseAfterAssign, Profile::General, 1000),
    exhibit(Planted::RetryAsNew, Profile::Network, 100),
    exhibit(Planted::FlushHeadOnly, Profile::Outage, 1500),
    exhibit(Planted::FlushErrorIgnored, Profile::Outage, 3000),
    exhibit(Planted::OfflineStaysComplete, Profile::Blackout, 400),
    exhibit(Planted::LostPagesTrusted, Profile::Blackout, 400),
    exhibit(Planted::FlushAnsweredEarly, Profile::Outage, 500),
    exhibit(Planted::EpochNotRaised, Profile::Outage, 200),
    exhibit(Planted::TornAccepted, Profile::Outage, 1000),
    exhibit(Planted::StaleTail, Profile::Truncations, 100),
    exhibit(Planted::NoChecksum, Profile::General, 200),
    exhibit(Planted::TellsBeforeStored, Profile::Manager, 2500),
    exhibit(Planted::WrongSyncTarget, Profile::Resync, 100),
    exhibit(Planted::LateCommit, Profile::Resync, 100),
    exhibit(Planted::DiscardFirstOnly, Profile::Resync, 200),
    exhibit(Planted::TombstonesForgotten, Profile::Resync, 300),
    exhibit(Planted::TombstonesByVersion, Profile::Resync, 2000),
    exhibit(Planted::StoredOnTombstone, Profile::Promotion, 2000),
    exhibit(Planted::LateUpdateStored, Profile::Reordering, 300),
    exhibit(Planted::RestOfHead, Profile::Reordering, 500),
    exhibit(Planted::WaitsForRest, Profile::Reordering, 300),
    exhibit(Planted::ListsWhilePending, Profile::Reordering, 300),
    exhibit(Planted::AckAll, Profile::Network, 100),
    exhibit(Planted::SuspicionIsDeath, Profile::Leases, 200),
    exhibit(Planted::NoLease, Profile::Leases, 100),
    exhibit(Planted::LeaseFromArrival, Profile::Leases, 1500),
    exhibit(Planted::HastyManager, Profile::Manager, 100),
    exhibit(Planted::NoChainVersion, Profile::Resync, 300),
    exhibit(Planted::AnyIncarnation, Profile::Promotion, 300),
];
