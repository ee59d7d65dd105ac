//! What is judged of the room of disks (P8): whose room a head goes by, and who takes the reserve.

use crate::engine::{ROOMY_BYTES, UPDATE_BYTES};
use crate::placement::target_place;
use crate::target::Target;
use crate::world::World;
use chain::limits::{ROOM_UNKNOWN, SYNC_ROOM_PATIENCE_MAX_MS, SYNC_ROOM_PATIENCE_MS};
use chain::{Input, Output, Role};
use wire::message::{Chain, LocalState, Member, PublicState};
use wire::{Code, TargetId};

/// What is known of a target's room, as nobody in the world knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fullness {
    /// Its disk was full at some time.
    pub ever: bool,
    /// While it is full: since when, and the most that it has had left.
    pub now: Option<(u64, u64)>,
    /// It serves, since this version of its chain, which was published then.
    pub serves: Option<(u64, u64)>,
}

/// Since when something finds no room, and since when nothing went either, which would have made some.
#[derive(Clone, Copy, Debug)]
pub struct Refuses {
    pub first: u64,
    pub since: u64,
}

pub fn serves(member: &Member) -> bool {
    member.state() == PublicState::PublicServing
}

impl Target {
    /// As long as it has nothing left for a copy or an update.
    pub fn lacks_room(&self) -> bool {
        self.waits_for_room && chain::Chunks::allocatable_bytes(&self.engine) < UPDATE_BYTES
    }

    /// As `Fullness::now`; a disk that was mended, or another one, is not.
    fn full(&self) -> Option<(u64, u64)> {
        self.fullness.now.filter(|_| self.engine.room < ROOMY_BYTES / 2)
    }
}

impl World {
    /// A version of a chain was published. `before`: the one that it follows.
    pub fn note_who_serves(&mut self, before: &Chain, chain: &Chain) {
        for member in &chain.members {
            let served = before.members.iter().any(|other| other.target == member.target && serves(other));
            let fullness = &mut self.targets[target_place(TargetId(member.target))].fullness;
            match serves(member) {
                true if served => {}
                true => fullness.serves = Some((chain.version, self.now)),
                false => fullness.serves = None,
            }
        }
    }

    /// A head refuses writes in the name of members that serve: what it knows of them may be old, so that one of them
    /// must have been full at some time.
    pub fn judge_refusal(&mut self, index: usize) {
        let view = self.targets[index].replica.as_ref().expect("it answers").view();
        let serving = view.chain.members.iter().filter(|member| serves(member));
        let mut places = serving.map(|member| target_place(TargetId(member.target)));
        if view.is_head && !places.any(|place| self.targets[place].fullness.ever) {
            self.violate(format!(
                "target {index} refuses an update for want of room that all who serve have"
            ));
        }
    }

    /// After each step of a target. Of a member whose disk has been full since before it began to serve, everybody
    /// before it has heard in this version or a later one.
    pub fn judge_promise(&mut self, index: usize) {
        let Some(replica) = &self.targets[index].replica else { return };
        let view = replica.view();
        let promised = replica.allocatable_bytes(&self.targets[index].engine);
        // A manager that was set back may make a version anew.
        if !view.is_head || promised == ROOM_UNKNOWN || self.knobs.set_back > 0 {
            return;
        }
        let too_little = |member: &&Member| {
            let target = &self.targets[target_place(TargetId(member.target))];
            let (Some((full_since, most)), Some((version, published))) =
                (target.full(), target.fullness.serves)
            else {
                return false;
            };
            serves(member) && full_since < published && version <= view.version.0 && most < promised
        };
        if let Some(full) = view.chain.members.iter().find(too_little) {
            let full = target_place(TargetId(full.target));
            self.violate(format!("target {index} promises {promised} bytes, which {full} has not had"));
        }
    }

    /// The reserve is for members that serve.
    pub fn judge_storing<P>(&mut self, index: usize, output: &Output<P>) {
        let Output::Store { update, if_room: false, .. } = output else { return };
        let target = &self.targets[index];
        let syncing = target.replica.as_ref().is_some_and(|replica| replica.view().role == Role::Syncing);
        if syncing && update.may_allocate_bytes() > chain::Chunks::allocatable_bytes(&target.engine) {
            self.violate(format!("target {index} is synced and takes the reserve"));
        }
    }

    /// Answers since when something of a chunk finds no room, if it does.
    pub fn note_refusal<P>(&mut self, index: usize, input: &Input<P>) -> Option<Refuses> {
        let (chunk, refused) = match input {
            Input::Stored { chunk, result, .. } => (chunk, result.as_ref().err()),
            Input::Replaced { chunk, result, .. } => (chunk, result.as_ref().err()),
            _ => return None,
        };
        let refuses = &mut self.targets[index].refuses;
        if refused.is_some_and(|error| error.code == Code::NoSpace) {
            let new = Refuses { first: self.now, since: self.now };
            return Some(*refuses.entry(*chunk).or_insert(new));
        }
        refuses.remove(chunk);
        None
    }

    /// Clients wait for a member that has no room, so it leaves in time, whatever makes room meanwhile.
    pub fn judge_patience(&mut self, index: usize, refused: Option<Refuses>) {
        // By a clock that may be slower.
        let over = |since: u64, limit_ms: u64| self.now - since > limit_ms * 1_100;
        let late = refused.is_some_and(|Refuses { first, since }| {
            over(since, SYNC_ROOM_PATIENCE_MS) || over(first, SYNC_ROOM_PATIENCE_MAX_MS)
        });
        let stays = |world: &World| {
            let replica = world.targets[index].replica.as_ref();
            replica.is_some_and(|replica| {
                replica.view().role == Role::Syncing && replica.report().0 != LocalState::LocalOffline
            })
        };
        if late && stays(self) {
            self.violate(format!("target {index} has no room for too long, and the chain waits for it"));
        }
    }

    /// It gave something back.
    pub fn note_room(&mut self, index: usize) {
        let target = &mut self.targets[index];
        if let Some((_, most)) = &mut target.fullness.now {
            *most = (*most).max(chain::Chunks::allocatable_bytes(&target.engine));
        }
    }

    pub fn fill_disk(&mut self, target: usize) {
        let few = self.random.between(0, 6) * UPDATE_BYTES;
        let target = &mut self.targets[target];
        target.engine.room = target.engine.reserve + few;
        target.fullness.ever = true;
        target.fullness.now = Some((self.now, few));
    }

    pub fn empty_disk(&mut self, target: usize) {
        self.targets[target].engine.room = ROOMY_BYTES;
        self.targets[target].fullness.now = None;
    }
}
