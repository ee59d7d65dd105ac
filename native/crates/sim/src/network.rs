//! Delays, losses, duplicates and cuts. A cut is one way; two make a partition.

use crate::event::{Address, Kind};
use crate::knobs::Knobs;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Network {
    cuts: BTreeSet<(Address, Address)>,
    last_delivery: BTreeMap<(Address, Address), u64>,
    pub calm: bool,
}

impl Network {
    pub fn cut(&mut self, from: Address, to: Address) {
        self.cuts.insert((from, to));
    }

    pub fn mend(&mut self, from: Address, to: Address) {
        self.cuts.remove(&(from, to));
    }

    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.calm = true;
    }

    /// When the copies of a message arrive; none if it is lost.
    pub fn delays(
        &mut self,
        random: &mut Random,
        knobs: &Knobs,
        now: u64,
        way: (Address, Address),
        kind: Kind,
    ) -> Vec<u64> {
        if self.cuts.contains(&way) {
            return Vec::new();
        }
        let quick = random.between(50, 400);
        if self.calm {
            return vec![quick];
        }
        if random.chance(knobs.drop) {
            return Vec::new();
        }
        let slow_kind = knobs.slow_kind == Some(kind) || knobs.also_slow == Some(kind);
        let delay = if slow_kind && random.chance(knobs.slow_kind_percent) {
            random.between(1, 1 + knobs.slow_kind_ms * 1000)
        } else if random.chance(knobs.slow) {
            random.between(1, 1 + knobs.slow_ms * 1000)
        } else {
            quick
        };
        let mut delays = vec![delay];
        // Pushes and grants may come by connections of their own.
        if knobs.ordered && !matches!(kind, Kind::Push | Kind::Grant | Kind::Heartbeat) {
            let last = self.last_delivery.entry(way).or_insert(0);
            *last = (*last + 1).max(now + delay);
            delays[0] = *last - now;
        }
        // The second copy of a message is what an old connection delivers late, so no order binds it.
        if random.chance(if slow_kind { knobs.duplicate * 2.0 } else { knobs.duplicate }) {
            let longest = 1 + (knobs.slow_ms + knobs.slow_kind_ms).max(20) * 1000;
            delays.push(delays[0] + random.between(1, longest));
        }
        delays
    }
}
