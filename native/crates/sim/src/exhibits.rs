//! The planted violations, each with the kind of world that shows it soonest and the number of such worlds
//! within which it must be found.

use crate::knobs::Profile;
use chain::museum::Planted;

#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    pub planted: Planted,
    pub profile: Profile,
    /// Seeds from 0 on, about three times what was needed when it was measured.
    pub budget: u64,
}

const fn exhibit(planted: Planted, profile: Profile, budget: u64) -> Exhibit {
    Exhibit { planted, profile, budget }
}

pub const EXHIBITS: &[Exhibit] = &[
    exhibit(Planted::DirtyRead, Profile::General, 50),
    exhibit(Planted::ServePending, Profile::General, 50),
    exhibit(Planted::AcceptGap, Profile::Network, 50),
    exhibit(Planted::DropPending, Profile::Resync, 50),
    exhibit(Planted::NoRedrive, Profile::Resync, 50),
    exhibit(Planted::AckBeforeSyncing, Profile::Resync, 50),
    exhibit(Planted::LastWaits, Profile::Promotion, 300),
    exhibit(Planted::NoSettling, Profile::Promotion, 1500),
    exhibit(Planted::OldLastDecides, Profile::Leases, 1500),
    exhibit(Planted::AckBeforeSuccessor, Profile::General, 50),
    exhibit(Planted::ForwardBeforeStored, Profile::Outage, 300),
    exhibit(Planted::NoDedupe, Profile::Network, 50),
    exhibit(Planted::TableLost, Profile::Resync, 50),
    exhibit(Planted::TableNotCopied, Profile::Resync, 50),
    exhibit(Planted::TableNotCleared, Profile::Outage, 1000),
    exhibit(Planted::NoMarks, Profile::Promotion, 3000),
    exhibit(Planted::SyncWithoutFlush, Profile::Outage, 300),
    exhibit(Planted::ForgetStaged, Profile::Outage, 50),
    exhibit(Planted::StaleMark, Profile::Resync, 5000),
    exhibit(Planted::IncompleteServes, Profile::Outage, 50),
    exhibit(Planted::AnyResumes, Profile::Outage, 50),
    exhibit(Planted::R1, Profile::Resync, 100),
    exhibit(Planted::R2, Profile::Resync, 300),
    exhibit(Planted::R3, Profile::Resync, 100),
    exhibit(Planted::R4, Profile::Leases, 300),
    exhibit(Planted::R5, Profile::Outage, 200),
    exhibit(Planted::SuspicionIsDeath, Profile::Leases, 300),
    exhibit(Planted::NoLease, Profile::Leases, 100),
    exhibit(Planted::LeaseFromArrival, Profile::Leases, 500),
    exhibit(Planted::HastyManager, Profile::Manager, 200),
    exhibit(Planted::NoChainVersion, Profile::Resync, 50),
    exhibit(Planted::AnyIncarnation, Profile::General, 200),
];
