//! The planted violations, each with the kind of world that shows it soonest and the number of such worlds
//! within which it must be found.

use crate::knobs::Profile;
use chain::museum::Planted;

#[derive(Clone, Copy, Debug)]
pub struct Exhibit {
    pub planted: Planted,
    pub profile: Profile,
    /// The search begins at this seed: not 0 only for the rarest, whose whole search takes longer than a test may.
    pub first: u64,
    /// Seeds to search, at least twice what was needed when it was measured.
    pub budget: u64,
}

const fn exhibit(planted: Planted, profile: Profile, budget: u64) -> Exhibit {
    Exhibit { planted, profile, first: 0, budget }
}

/// First found after `needed` worlds from seed 0 on; searched again from a little before.
const fn rare(planted: Planted, profile: Profile, needed: u64) -> Exhibit {
    Exhibit { planted, profile, first: needed - 50, budget: 500 }
}

pub const EXHIBITS: &[Exhibit] = &[
    exhibit(Planted::DirtyRead, Profile::General, 100),
    exhibit(Planted::ServePending, Profile::General, 100),
    exhibit(Planted::AcceptGap, Profile::Network, 100),
    exhibit(Planted::DropPending, Profile::Resync, 100),
    exhibit(Planted::NoRedrive, Profile::Resync, 100),
    exhibit(Planted::AckBeforeSyncing, Profile::Resync, 100),
    exhibit(Planted::LastWaits, Profile::Promotion, 200),
    exhibit(Planted::NoSettling, Profile::Promotion, 500),
    rare(Planted::OldLastDecides, Profile::Leases, 1494),
    exhibit(Planted::AckBeforeSuccessor, Profile::General, 100),
    exhibit(Planted::ForwardBeforeStored, Profile::Outage, 600),
    exhibit(Planted::NoDedupe, Profile::Network, 100),
    exhibit(Planted::TableLost, Profile::Resync, 100),
    exhibit(Planted::TableNotCopied, Profile::Resync, 100),
    exhibit(Planted::TableNotCleared, Profile::Outage, 1000),
    rare(Planted::NoMarks, Profile::Promotion, 908),
    exhibit(Planted::SyncWithoutFlush, Profile::Outage, 400),
    exhibit(Planted::ForgetStaged, Profile::Outage, 100),
    rare(Planted::StaleMark, Profile::Promotion, 1535),
    exhibit(Planted::IncompleteServes, Profile::Outage, 100),
    exhibit(Planted::AnyResumes, Profile::Outage, 100),
    exhibit(Planted::R1, Profile::Resync, 100),
    exhibit(Planted::R2, Profile::Resync, 300),
    exhibit(Planted::R3, Profile::Resync, 100),
    exhibit(Planted::R4, Profile::Leases, 300),
    exhibit(Planted::R5, Profile::Outage, 100),
    exhibit(Planted::SuspicionIsDeath, Profile::Leases, 100),
    exhibit(Planted::NoLease, Profile::Leases, 100),
    exhibit(Planted::LeaseFromArrival, Profile::Leases, 800),
    exhibit(Planted::HastyManager, Profile::Manager, 100),
    exhibit(Planted::NoChainVersion, Profile::Resync, 100),
    exhibit(Planted::AnyIncarnation, Profile::Promotion, 100),
];
