//! Which unflushed changes a crash of the disk in memory leaves.

use super::{Crash, Dice};

/// Which unflushed changes a crash leaves.
pub(super) struct Survivors {
    crash: Crash,
    pub dice: Dice,
    /// Places of all unflushed changes in the order of the disk.
    order: Vec<u64>,
    /// How many of them are whole, if the next one is torn.
    whole: u64,
}

pub(super) enum Fate {
    Lost,
    Whole,
    FirstHalf,
    /// Each sector by the dice.
    Torn,
}

impl Survivors {
    /// `order`: the places of all unflushed changes, rising.
    pub fn new(crash: Crash, order: Vec<u64>) -> Survivors {
        let mut dice = Dice(if let Crash::Random(seed) | Crash::Torn(seed) = crash { seed } else { 0 });
        let whole = if let Crash::Torn(_) = crash { dice.roll(order.len() as u64 + 1) } else { 0 };
        Survivors { crash, dice, order, whole }
    }

    pub fn fate(&mut self, place: u64) -> Fate {
        let rank = self.order.binary_search(&place).expect("every unflushed change has a place") as u64;
        match self.crash {
            Crash::LoseAll => Fate::Lost,
            Crash::KeepAll => Fate::Whole,
            Crash::First(count) if rank < count => Fate::Whole,
            Crash::First(count) if rank == count => Fate::FirstHalf,
            Crash::First(_) => Fate::Lost,
            Crash::Torn(_) if rank < self.whole => Fate::Whole,
            Crash::Torn(_) if rank == self.whole => Fate::Torn,
            Crash::Torn(_) => Fate::Lost,
            Crash::AllBut(lost) if rank == lost => Fate::Lost,
            Crash::AllBut(_) => Fate::Whole,
            Crash::Random(_) => match (self.dice.roll(2) == 0, self.dice.roll(3) == 0) {
                (false, _) => Fate::Lost,
                (true, false) => Fate::Whole,
                (true, true) => Fate::Torn,
            },
        }
    }

    /// How many changes of names survive: a folder keeps their order.
    pub fn names<T>(&mut self, names: &[(u64, T)]) -> usize {
        if let Crash::Random(_) = self.crash {
            return self.dice.roll(names.len() as u64 + 1) as usize;
        }
        names.iter().take_while(|(place, _)| matches!(self.fate(*place), Fate::Whole)).count()
    }
}
