//! What goes wrong, when, and how it is repaired. The choice comes from the seed's weights; a script may name
//! the faults instead.

use crate::event::{Address, Event, Fault};
use crate::world::World;

#[derive(Clone, Copy)]
enum Choice {
    Crash,
    PowerLoss,
    AllCrash,
    AllPowerLoss,
    Stop,
    Pause,
    Cut,
    ManagerRestart,
    DiskError,
    Fence,
    Order,
}

impl World {
    pub fn fault(&mut self, fault: Fault) {
        if !matches!(fault, Fault::Next) {
            self.note(|| format!("{fault:?}"));
        }
        match fault {
            Fault::Next => self.next_fault(),
            Fault::Crash { node, power } => self.crash(node, power),
            Fault::Stop { node } => self.stop(node),
            Fault::Restart { node } => self.start_node(node),
            Fault::Pause { node, ms } => {
                let until = self.now + ms * 1000;
                let node = &mut self.nodes[node];
                node.paused_until = node.paused_until.max(until);
            }
            Fault::Order => self.order(),
            Fault::DiskError { node } => self.nodes[node].disk_broken = true,
            Fault::Cut { from, to, ms } => {
                self.network.cut(from, to);
                self.schedule(ms * 1000, Event::Fault(Fault::Mend { from, to }));
            }
            Fault::Mend { from, to } => self.network.mend(from, to),
            Fault::ManagerStop { ms } => {
                self.manager.running = None;
                self.schedule(ms * 1000, Event::Fault(Fault::ManagerStart));
            }
            Fault::Fence { client } => self.fence(client),
            Fault::ManagerStart => self.start_manager(),
            Fault::ExitReport { node, incarnation } => self.report_exit(node, incarnation),
            Fault::Heal => self.heal(),
        }
    }

    fn crash(&mut self, index: usize, power: bool) {
        if self.nodes[index].replica.is_none() && !power {
            return;
        }
        let incarnation = self.nodes[index].incarnation;
        let ran = self.nodes[index].replica.is_some();
        self.end_node(index);
        if power {
            let all_kept = self.random.chance(30.0);
            self.nodes[index].boot += 1;
            self.nodes[index].engine.lose_power(all_kept);
        } else if ran && self.random.chance(self.knobs.exit_reported) {
            let delay = self.random.between(1000, 300_000);
            self.schedule(delay, Event::Fault(Fault::ExitReport { node: index, incarnation }));
        }
        self.restart_later(index);
    }

    /// An orderly stop: flush, then the lease goes back.
    fn stop(&mut self, index: usize) {
        if self.nodes[index].replica.is_none() {
            return;
        }
        let incarnation = self.nodes[index].incarnation;
        let serves = self.nodes[index].engine.served_boot == self.nodes[index].boot;
        self.end_node(index);
        let snapshot = self.nodes[index].engine.snapshot();
        self.nodes[index].engine.flushed(snapshot);
        self.nodes[index].engine.clean = serves;
        let delay = self.random.between(100, 5000);
        self.schedule(delay, Event::Fault(Fault::ExitReport { node: index, incarnation }));
        self.restart_later(index);
    }

    fn restart_later(&mut self, node: usize) {
        if !self.knobs.stays_down {
            let down = self.random.between(1, 1 + self.knobs.down_ms * 1000);
            self.schedule(down, Event::Fault(Fault::Restart { node }));
        }
    }

    /// Repeated until a manager takes it (P28).
    fn report_exit(&mut self, node: usize, incarnation: u64) {
        match &mut self.manager.running {
            Some(manager) => {
                manager.exited(node as u32, incarnation);
                if self.knobs.manager_eager {
                    self.advance_chains();
                }
            }
            None => self.schedule(200_000, Event::Fault(Fault::ExitReport { node, incarnation })),
        }
    }

    fn next_fault(&mut self) {
        if self.healed || self.knobs.fault_every_ms == 0 {
            return;
        }
        let pause = self.random.between(1, 2 * self.knobs.fault_every_ms * 1000);
        self.schedule(pause, Event::Fault(Fault::Next));
        if let Some(choice) = self.choose() {
            self.faults += 1;
            self.inject(choice);
        }
    }

    fn choose(&mut self) -> Option<Choice> {
        let knobs = &self.knobs;
        let weights = [
            (Choice::Crash, knobs.crash),
            (Choice::PowerLoss, knobs.power_loss),
            (Choice::AllCrash, knobs.all_crash),
            (Choice::AllPowerLoss, knobs.all_power_loss),
            (Choice::Stop, knobs.stop),
            (Choice::Pause, knobs.pause),
            (Choice::Cut, knobs.cut),
            (Choice::ManagerRestart, knobs.manager_restart),
            (Choice::DiskError, knobs.disk_error),
            (Choice::Fence, knobs.fence),
            (Choice::Order, knobs.order),
        ];
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return None;
        }
        let mut left = self.random.between(0, u64::from(total)) as u32;
        for (choice, weight) in weights {
            if left < weight {
                return Some(choice);
            }
            left -= weight;
        }
        None
    }

    fn inject(&mut self, choice: Choice) {
        let count = self.nodes.len();
        let node = self.random.below(count);
        let fault = match choice {
            Choice::Crash => Fault::Crash { node, power: false },
            Choice::PowerLoss => Fault::Crash { node, power: true },
            Choice::AllCrash | Choice::AllPowerLoss => {
                let power = matches!(choice, Choice::AllPowerLoss);
                // One after another within a moment, as a failing rack does; at times all but one, at times
                // some with their power.
                let spared = self.random.chance(20.0).then_some(node);
                for node in (0..count).filter(|node| Some(*node) != spared) {
                    let delay = if power { 1 } else { self.random.between(1, 20_000) };
                    let power = power || (self.knobs.power_loss > 0 && self.random.chance(30.0));
                    self.schedule(delay, Event::Fault(Fault::Crash { node, power }));
                }
                return;
            }
            Choice::Stop => Fault::Stop { node },
            Choice::Pause => Fault::Pause { node, ms: self.random.between(1, 1 + self.knobs.pause_ms) },
            Choice::ManagerRestart => {
                let lease_ms = self.knobs.lease_ms;
                let longest = self.random.pick(&[50, 50, lease_ms, 2 * lease_ms]);
                if self.random.chance(self.knobs.restart_cuts) {
                    let ms = self.random.between(1, 1 + 2 * lease_ms);
                    self.cut_from_manager(node, ms);
                }
                Fault::ManagerStop { ms: self.random.between(1, 1 + longest) }
            }
            Choice::DiskError => Fault::DiskError { node },
            Choice::Fence => Fault::Fence { client: self.random.below(self.clients.len()) },
            Choice::Order => Fault::Order,
            Choice::Cut => return self.cut_somewhere(node),
        };
        self.fault(fault);
    }

    fn cut_somewhere(&mut self, node: usize) {
        let ms = self.random.between(1, 1 + self.knobs.cut_ms);
        let count = self.nodes.len();
        let here = Address::Node(node);
        if self.random.chance(self.knobs.manager_cuts) {
            return self.cut_from_manager(node, ms);
        }
        let other = match self.random.chance(30.0) {
            true => Address::Manager,
            false => Address::Node((node + 1 + self.random.below(count - 1)) % count),
        };
        match self.random.below(4) {
            0 => self.fault(Fault::Cut { from: here, to: other, ms }),
            1 => self.fault(Fault::Cut { from: other, to: here, ms }),
            _ => self.cut_both_ways(here, other, ms),
        }
    }

    /// A partition with a node and perhaps a client on one side, the manager on the other.
    fn cut_from_manager(&mut self, node: usize, ms: u64) {
        self.cut_both_ways(Address::Node(node), Address::Manager, ms);
        if self.random.chance(self.knobs.client_cuts) {
            let client = Address::Client(0);
            let longer = self.random.pick(&[1, 2]);
            self.cut_both_ways(client, Address::Manager, ms * longer);
        }
    }

    fn cut_both_ways(&mut self, one: Address, other: Address, ms: u64) {
        self.fault(Fault::Cut { from: one, to: other, ms });
        self.fault(Fault::Cut { from: other, to: one, ms });
    }

    fn heal(&mut self) {
        self.healed = true;
        self.network.mend_all();
        self.start_manager();
        for index in 0..self.nodes.len() {
            let offline = self.nodes[index]
                .replica
                .as_ref()
                .is_some_and(|replica| replica.report().0 == wire::message::LocalState::LocalOffline);
            self.nodes[index].disk_broken &= offline;
            self.start_node(index);
        }
    }
}
