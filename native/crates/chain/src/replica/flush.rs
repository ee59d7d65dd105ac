//! fsync over a chain: every member flushes, and the answer comes when all have (P11). An acknowledged update
//! is stored on every member, so a flush that starts later covers it. An error of a flush takes the target
//! offline; it is never tried again on the same state.

use super::{Output, Replica, ReplyTo, Step};
use crate::limits;
use crate::museum::{Planted, planted};
use crate::view::Role;
use std::collections::BTreeMap;
use wire::{Code, Error, Result};

struct Waiting {
    reply: ReplyTo,
    here: bool,
    after: bool,
}

#[derive(Default)]
pub(super) struct Flushes {
    waiting: BTreeMap<u64, Waiting>,
    next_ticket: u64,
}

impl Flushes {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub(super) fn fail<P>(&mut self, step: &mut Step<P>, error: &Error) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            step.out.push(Output::ReplyFlush { reply: waiting.reply, result: Err(error.clone()) });
        }
    }
}

impl<P: Clone> Replica<P> {
    pub(super) fn on_flush(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        from_client: bool,
    ) {
        if let Err(error) = self.may_flush(step, chain_version, from_client) {
            return step.out.push(Output::ReplyFlush { reply, result: Err(error) });
        }
        let ticket = self.flushes.ticket();
        let alone = self.view.successor.is_none() || planted(Planted::FlushHeadOnly);
        let waiting = Waiting { reply, here: false, after: alone };
        self.flushes.waiting.insert(ticket, waiting);
        step.out.push(Output::Flush { ticket });
        if let Some(to) = self.view.successor {
            step.out.push(Output::ForwardFlush { to, chain_version: self.view.version.0, ticket });
        }
    }

    fn may_flush(&self, step: &Step<P>, chain_version: u64, from_client: bool) -> Result<()> {
        if from_client {
            self.may_serve(step.now, chain_version)?;
            if !self.view.is_head {
                return Err(Error::new(Code::NotHead, format!("target {}", self.identity.target)));
            }
        } else {
            self.same_version(chain_version)?;
            if self.view.role == Role::Idle {
                return Err(Error::new(Code::NotServing, format!("target {}", self.identity.target)));
            }
        }
        if self.flushes.waiting.len() >= limits::FLUSHES_MAX {
            return Err(Error::new(Code::Overloaded, format!("target {}", self.identity.target)));
        }
        Ok(())
    }

    pub(super) fn on_flushed(&mut self, step: &mut Step<P>, ticket: u64, result: Result<()>) {
        if let Err(error) = result
            && !planted(Planted::FlushErrorIgnored)
        {
            return self.take_offline(step, error);
        }
        if self.session_flushed(step, ticket) {
            return;
        }
        if let Some(waiting) = self.flushes.waiting.get_mut(&ticket) {
            waiting.here = true;
            self.answer_flush(step, ticket);
        }
    }

    pub(super) fn on_flush_answer(&mut self, step: &mut Step<P>, ticket: u64, result: Result<()>) {
        let Some(waiting) = self.flushes.waiting.get_mut(&ticket) else { return };
        match result {
            Ok(()) => {
                waiting.after = true;
                self.answer_flush(step, ticket);
            }
            Err(error) => {
                let reply = waiting.reply;
                self.flushes.waiting.remove(&ticket);
                step.out.push(Output::ReplyFlush { reply, result: Err(error) });
            }
        }
    }

    fn answer_flush(&mut self, step: &mut Step<P>, ticket: u64) {
        let done = self.flushes.waiting.get(&ticket).is_some_and(|waiting| waiting.here && waiting.after);
        if done {
            let waiting = self.flushes.waiting.remove(&ticket).expect("just looked at");
            let result = Ok(self.view.durability_epoch);
            step.out.push(Output::ReplyFlush { reply: waiting.reply, result });
        }
    }
}
