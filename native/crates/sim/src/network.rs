//! Delays, losses, duplicates and cuts. A cut is one way; two make a partition.

use crate::event::{Address, Kind};
use crate::knobs::Knobs;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// When the copies of a message arrive.
#[derive(Clone, Copy, Debug)]
pub enum Copies {
    None,
    One(u64),
    Two(u64, u64),
}

/// Places of addresses: the manager, up to 7 nodes, up to 8 clients.
const PLACES: usize = 16;

fn place(address: Address) -> usize {
    match address {
        Address::Manager => 0,
        Address::Node(node) => 1 + node,
        Address::Target(_) => unreachable!("ways are between machines"),
        Address::Client(client) => 8 + client,
    }
}

#[derive(Default)]
pub struct Network {
    cuts: BTreeSet<(Address, Address)>,
    clogs: BTreeMap<(Address, Address), u64>,
    last_delivery: [[u64; PLACES]; PLACES],
    pub calm: bool,
}

impl Network {
    pub fn cut(&mut self, from: Address, to: Address) {
        self.cuts.insert((from, to));
    }

    /// What is sent on this way before `until` arrives after it.
    pub fn clog(&mut self, from: Address, to: Address, until: u64) {
        self.clogs.insert((from, to), until);
    }

    pub fn mend(&mut self, from: Address, to: Address) {
        self.cuts.remove(&(from, to));
    }

    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.clogs.clear();
        self.calm = true;
    }

    pub fn delays(
        &mut self,
        random: &mut Random,
        knobs: &Knobs,
        now: u64,
        way: (Address, Address),
        kind: Kind,
    ) -> Copies {
        if !self.cuts.is_empty() && self.cuts.contains(&way) {
            return Copies::None;
        }
        let quick = random.between(50, 400);
        if self.calm {
            return Copies::One(quick);
        }
        if random.chance(knobs.drop) {
            return Copies::None;
        }
        let slow_kind = knobs.slow_kind == Some(kind) || knobs.also_slow == Some(kind);
        let mut delay = if slow_kind && random.chance(knobs.slow_kind_percent) {
            random.between(1, 1 + knobs.slow_kind_ms * 1000)
        } else if random.chance(knobs.slow) {
            random.between(1, 1 + knobs.slow_ms * 1000)
        } else {
            quick
        };
        if let Some(until) = self.clogs.get(&way).filter(|until| **until > now) {
            delay = delay.max(*until - now + quick);
        }
        // Pushes and grants may come by connections of their own.
        if knobs.ordered && !matches!(kind, Kind::Push | Kind::Grant | Kind::Heartbeat) {
            let last = &mut self.last_delivery[place(way.0)][place(way.1)];
            *last = (*last + 1).max(now + delay);
            delay = *last - now;
        }
        // The second copy of a message is what an old connection delivers late, so no order binds it.
        if random.chance(if slow_kind { knobs.duplicate * 2.0 } else { knobs.duplicate }) {
            let longest = 1 + (knobs.slow_ms + knobs.slow_kind_ms).max(20) * 1000;
            return Copies::Two(delay, delay + random.between(1, longest));
        }
        Copies::One(delay)
    }
}
