//! What an administrator does: who is to be a member of a chain, and in which order.

use crate::manager_trace::order_step;
use crate::placement::target_place;
use crate::world::World;
use wire::TargetId;
use wire::message::{ChainOrder, Tenure};

impl World {
    /// The administrator: somebody is to leave for somebody who is not there, or a move is taken back.
    pub fn order(&mut self, place: usize) {
        let chain = &self.manager.chains()[place];
        let named = |stays: bool| {
            let members =
                chain.members.iter().filter(move |member| (member.tenure() == Tenure::Stays) == stays);
            members.map(|member| member.target).collect::<Vec<u64>>()
        };
        let (staying, leaving) = (named(true), named(false));
        let is_member = |target: &usize| {
            chain.members.iter().any(|member| target_place(TargetId(member.target)) == *target)
        };
        let out: Vec<usize> = self.placement.targets_of(place).filter(|target| !is_member(target)).collect();
        let order = if let Some(stays) = leaving.first().copied().filter(|_| self.random.chance(30.0)) {
            let leaves = self.random.pick(&staying);
            ChainOrder { stays: vec![stays], leaves: vec![leaves], ..ChainOrder::default() }
        } else if out.is_empty() {
            return;
        } else {
            let join = self.placement.member(self.random.pick(&out));
            ChainOrder {
                joins: vec![join],
                leaves: vec![self.random.pick(&staying)],
                ..ChainOrder::default()
            }
        };
        self.note(|| format!("{order:?}"));
        self.give(place, order);
    }

    /// To the chain as it was looked at, so it is carried out at once: later it may have other members.
    fn give(&mut self, place: usize, order: ChainOrder) {
        let chain = self.manager.chains()[place].id;
        if let Some(manager) = &mut self.manager.running {
            manager.order(chain, order.clone());
            self.trace_step(|| order_step(chain, &order));
            self.look_at_everything();
        }
    }

    /// The administrator wants the members in another order.
    pub fn rotate(&mut self, place: usize, preferred: Option<Vec<u64>>) {
        let preferred = preferred.unwrap_or_else(|| {
            let mut any = self.manager.chains()[place].preferred.clone();
            for place in (1..any.len()).rev() {
                any.swap(place, self.random.below(place + 1));
            }
            any
        });
        self.note(|| format!("preferred {preferred:?}"));
        self.give(place, ChainOrder { preferred, ..ChainOrder::default() });
    }
}
