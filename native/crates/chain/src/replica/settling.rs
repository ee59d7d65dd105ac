//! A member that was just synced is the new last one: it decides what is committed (P6). It may have
//! committed what its predecessor, the last one until now, still has pending, and a member that knows only
//! the old version of the chain would be told so by that predecessor. So it shows nothing before its
//! predecessor has the new version too. A predecessor that left the chain answers nobody: its lease had run
//! out before (P1).

use super::{Output, Replica, ReplyTo, Step};
use crate::museum::{Planted, planted};
use crate::view::Role;
use wire::{ChunkId, Code, Error, Result, Version};

/// No chunk has this id: the question is about the version of the chain alone.
pub(super) const NO_CHUNK: ChunkId = ChunkId { inode: u64::MAX, index: u64::MAX };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settling {
    Settled,
    /// The question is in the air, or waits for the next tick.
    Asked,
    Unasked,
}

impl<P: Clone> Replica<P> {
    /// A new view: from `was` to what the view says now.
    pub(super) fn begin_settling(&mut self, was: Role) {
        let alone = self.view.predecessor.is_none();
        let waits = was == Role::Syncing || self.settling != Settling::Settled;
        self.settling = match self.view.role == Role::Serving && waits && !alone {
            true if planted(Planted::NoSettling) => Settling::Settled,
            true => Settling::Unasked,
            false => Settling::Settled,
        };
    }

    pub(super) fn ask_predecessor(&mut self, step: &mut Step<P>) {
        let Some(to) = self.view.predecessor.filter(|_| self.settling == Settling::Unasked) else { return };
        self.settling = Settling::Asked;
        step.out.push(Output::AskCommitted { to, chain_version: self.view.version.0, chunk: NO_CHUNK });
    }

    /// The successor asks: an answer says that this member and those before it have the version of the chain.
    pub(super) fn on_settling_question(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let result = self.same_version(chain_version).and_then(|()| {
            if self.view.role == Role::Serving && self.settling == Settling::Settled {
                return Ok(Version::NONE);
            }
            Err(Error::new(Code::NotServing, format!("target {}", self.identity.target)))
        });
        step.out.push(Output::ReplyCommitted { reply, result });
    }

    pub(super) fn on_settling_answer(&mut self, chain_version: u64, result: Result<Version>) {
        if chain_version == self.view.version.0 && self.settling == Settling::Asked {
            self.settling = if result.is_ok() { Settling::Settled } else { Settling::Unasked };
        }
    }
}
