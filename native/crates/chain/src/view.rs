//! One version of a chain as one member sees it: who comes before and after, and what it may do itself. Pure
//! look-ups.

use crate::museum::{Planted, planted};
use wire::message::{Chain, PublicState, Tenure};
use wire::{ChainVersion, TargetId};

/// What the chain's version lets this process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Serving,
    Syncing,
    /// Waiting, offline, last serving, told to stop, not a member, or the state was given to another process
    /// of this target.
    Idle,
}

#[derive(Clone, Debug)]
pub struct View {
    pub version: ChainVersion,
    pub durability_epoch: u64,
    pub role: Role,
    /// The manager's state of this target, whatever process it spoke to.
    pub public_state: PublicState,
    /// The administrator takes this member out: it answers nothing, and says so, before the others go on
    /// without it (P1).
    pub stops: bool,
    /// The next member on the way of an update: serving, or else the syncing one.
    pub successor: Option<TargetId>,
    pub successor_is_syncing: bool,
    /// The serving member before this one.
    pub predecessor: Option<TargetId>,
    pub is_head: bool,
    pub last_serving: Option<TargetId>,
    /// The serving members after this one.
    pub serving_after: Vec<TargetId>,
    pub chain: Chain,
}

impl View {
    /// Before the first message of the manager.
    pub fn none() -> View {
        View {
            version: ChainVersion(0),
            durability_epoch: 0,
            role: Role::Idle,
            public_state: PublicState::PublicOffline,
            stops: false,
            successor: None,
            successor_is_syncing: false,
            predecessor: None,
            is_head: false,
            last_serving: None,
            serving_after: Vec::new(),
            chain: Chain::default(),
        }
    }

    pub fn new(chain: Chain, target: TargetId, incarnation: u64) -> View {
        let path: Vec<(TargetId, bool)> = chain
            .members
            .iter()
            .filter(|member| {
                matches!(member.state(), PublicState::PublicServing | PublicState::PublicSyncing)
            })
            .map(|member| (TargetId(member.target), member.state() == PublicState::PublicSyncing))
            .collect();
        let own = chain.members.iter().find(|member| member.target == target.0);
        let public_state = own.map_or(PublicState::PublicOffline, |member| member.state());
        let spoken_to =
            own.is_some_and(|member| member.incarnation == incarnation || planted(Planted::AnyIncarnation));
        let stops = own.is_some_and(|member| member.tenure() == Tenure::Stops);
        let role = match public_state {
            PublicState::PublicServing if spoken_to && !stops => Role::Serving,
            PublicState::PublicSyncing if spoken_to => Role::Syncing,
            _ => Role::Idle,
        };
        let place = path.iter().position(|(member, _)| *member == target);
        let next = place.and_then(|place| path.get(place + 1)).filter(|_| role == Role::Serving);
        let after = place.map_or(&[][..], |place| &path[place + 1..]).iter();
        View {
            version: ChainVersion(chain.version),
            durability_epoch: chain.durability_epoch,
            role,
            public_state,
            stops,
            successor: next.map(|(member, _)| *member),
            successor_is_syncing: next.is_some_and(|(_, syncing)| *syncing),
            predecessor: place.and_then(|place| place.checked_sub(1)).map(|place| path[place].0),
            is_head: role == Role::Serving && place == Some(0),
            last_serving: path.iter().rev().find(|(_, syncing)| !syncing).map(|(member, _)| *member),
            serving_after: after
                .filter(|(_, syncing)| !syncing || planted(Planted::SyncingRoomCounts))
                .map(|(member, _)| *member)
                .collect(),
            chain,
        }
    }

    pub fn syncs(&self, target: TargetId) -> bool {
        let mut members = self.chain.members.iter();
        members.any(|member| member.target == target.0 && member.state() == PublicState::PublicSyncing)
    }
}
