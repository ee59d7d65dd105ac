//! The planted violations, each with the kind of world that shows it soonest and the number of such worlds
//! within which it must be found.

use crate::knobs::Profile;
use chain::museum::Planted;

#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    pub planted: Planted,
    pub profile: Profile,
    /// The first seed: not 0 for the rarest, so that a test need not pass thousands of worlds on its way.
    pub first: u64,
    /// Seeds from the first on, several times what was needed when it was measured: a change of the simulator shifts
    /// what each seed is.
    pub budget: u64,
}

const fn exhibit(planted: Planted, profile: Profile, budget: u64) -> Exhibit {
    Exhibit { planted, profile, first: 0, budget }
}

const fn rare(planted: Planted, profile: Profile, first: u64, budget: u64) -> Exhibit {
    Exhibit { planted, profile, first, budget }
}

/// Blind spots: planted, and not found in some thousand worlds.
pub const UNSEEN: &[Planted] = &[Planted::LateUpdateStored];

pub const EXHIBITS: &[Exhibit] = &[
    exhibit(Planted::DirtyRead, Profile::General, 200),
    exhibit(Planted::ServePending, Profile::General, 100),
    exhibit(Planted::AcceptGap, Profile::Network, 100),
    exhibit(Planted::DropPending, Profile::Resync, 100),
    exhibit(Planted::NoRedrive, Profile::Resync, 100),
    exhibit(Planted::AckBeforeSyncing, Profile::Resync, 100),
    exhibit(Planted::LastWaits, Profile::Promotion, 200),
    rare(Planted::NoSettling, Profile::Promotion, 1000, 2000),
    exhibit(Planted::OldLastDecides, Profile::Leases, 4000),
    exhibit(Planted::AckBeforeSuccessor, Profile::General, 100),
    exhibit(Planted::ForwardBeforeStored, Profile::Outage, 1500),
    exhibit(Planted::NoDedupe, Profile::Network, 100),
    exhibit(Planted::TableLost, Profile::Resync, 100),
    exhibit(Planted::TableNotCopied, Profile::Resync, 100),
    exhibit(Planted::TableNotCleared, Profile::Outage, 1000),
    exhibit(Planted::NoMarks, Profile::Removals, 4000),
    exhibit(Planted::SyncWithoutFlush, Profile::Outage, 400),
    exhibit(Planted::ForgetStaged, Profile::Outage, 100),
    rare(Planted::StaleMark, Profile::Outage, 500, 10_000),
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
    exhibit(Planted::RefuseAfterAssign, Profile::General, 1000),
    exhibit(Planted::RetryAsNew, Profile::Network, 100),
    exhibit(Planted::FlushHeadOnly, Profile::Outage, 1500),
    exhibit(Planted::FlushErrorIgnored, Profile::Outage, 3000),
    rare(Planted::OfflineStaysComplete, Profile::Outage, 1000, 2000),
    rare(Planted::LostPagesTrusted, Profile::Outage, 3000, 5000),
    exhibit(Planted::FlushAnsweredEarly, Profile::Outage, 500),
    exhibit(Planted::EpochNotRaised, Profile::Outage, 200),
    exhibit(Planted::TornAccepted, Profile::Outage, 1000),
    exhibit(Planted::NoChecksum, Profile::General, 200),
    exhibit(Planted::TellsBeforeStored, Profile::Manager, 2500),
    exhibit(Planted::WrongSyncTarget, Profile::Resync, 100),
    exhibit(Planted::LateCommit, Profile::Resync, 100),
    exhibit(Planted::DiscardFirstOnly, Profile::Resync, 200),
    exhibit(Planted::MarksForgotten, Profile::Resync, 300),
    exhibit(Planted::MarksByVersion, Profile::Resync, 2000),
    exhibit(Planted::StoredOnMark, Profile::Promotion, 2000),
    exhibit(Planted::AckAll, Profile::Network, 100),
    exhibit(Planted::SuspicionIsDeath, Profile::Leases, 200),
    exhibit(Planted::NoLease, Profile::Leases, 100),
    exhibit(Planted::LeaseFromArrival, Profile::Leases, 1500),
    exhibit(Planted::HastyManager, Profile::Manager, 100),
    exhibit(Planted::NoChainVersion, Profile::Resync, 300),
    exhibit(Planted::AnyIncarnation, Profile::Promotion, 300),
];
