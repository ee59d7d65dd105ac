//! What goes wrong, when, and how it is repaired. The choice comes from the seed's weights; a script may name
//! the faults instead.

use crate::event::{Address, Event, Fault};
use crate::manager_trace::end_step;
use crate::node::Node;
use crate::placement::{chain_place, target_id, target_place};
use crate::world::World;
use chain::museum::{Planted, planted};
use wire::TargetId;
use wire::message::{Chain, Member, PublicState, TargetReport};

/// Three times what the manager takes for a pause.
const MANAGER_PAUSE_MS: u64 = 3000;

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
    ManagerPause,
    SetBack,
    DiskError,
    Fence,
    Order,
    Rotate,
    Estrange,
    FlushError,
    Wipe,
    DiskFull,
    BitFlip,
    Clog,
}

impl World {
    pub fn fault(&mut self, fault: Fault) {
        if !matches!(fault, Fault::Next) {
            self.note(|| format!("{fault:?}"));
        }
        if self.now < self.manager.paused_until && fault.tells_manager() {
            let delay = self.manager.paused_until - self.now;
            return self.schedule(delay, Event::Fault(fault));
        }
        match fault {
            Fault::Next => self.next_fault(),
            Fault::Crash { node, power } => self.crash(node, power),
            Fault::Stop { node } => self.stop(node),
            Fault::Restart { node } if self.core.is_some_and(|core| core != node) => {}
            Fault::Restart { node } => self.start_node(node),
            Fault::Pause { node, ms } => {
                let until = self.now + ms * 1000;
                let node = &mut self.nodes[node];
                node.paused_until = node.paused_until.max(until);
            }
            Fault::Order { chain } => self.order(chain),
            Fault::Rotate { chain, preferred } => self.rotate(chain, preferred),
            Fault::Blackout { first } => self.blackout(first),
            Fault::WipeOut { first } => self.wipe_out(first),
            Fault::Wipe { node } => self.wipe(node),
            Fault::DiskError { target } => self.targets[target].disk_broken = true,
            Fault::FlushError { target } => self.targets[target].engine.flush_fails = true,
            Fault::DiskFull { target, ms } => {
                self.fill_disk(target);
                self.schedule(ms * 1000, Event::Fault(Fault::DiskRoomy { target }));
            }
            Fault::DiskRoomy { target } => self.empty_disk(target),
            Fault::BitFlip { target } => self.flip_a_bit(target),
            Fault::Clog { from, to, ms } => self.network.clog(from, to, self.now + ms * 1000),
            Fault::Cut { from, to, ms } => {
                self.network.cut(from, to);
                self.schedule(ms * 1000, Event::Fault(Fault::Mend { from, to }));
            }
            Fault::Mend { from, to } => self.network.mend(from, to),
            Fault::ManagerStop { ms } => {
                self.manager.running = None;
                self.manager.paused_until = 0;
                self.schedule(ms * 1000, Event::Fault(Fault::ManagerStart));
            }
            Fault::ManagerPause { ms } => self.pause_manager(ms),
            Fault::SetBack => self.set_back(),
            Fault::Fence { client } => self.take_for_dead(client),
            Fault::ManagerStart => self.start_manager(),
            Fault::ExitReport { node, incarnation } => self.report_end(node, incarnation, None),
            Fault::GiveBack { node, incarnation, reports } => {
                self.report_end(node, incarnation, Some(reports));
            }
            Fault::Heal => self.heal(),
        }
    }

    fn flip_a_bit(&mut self, target: usize) {
        let number = self.random.between(0, self.knobs.chunks);
        let target = &mut self.targets[target];
        let chunk = self.placement.chunk(target.chain, number);
        if let Some(stored) = target.engine.state.chunks.get_mut(&chunk) {
            stored.damaged = stored.content.length() > 0;
        }
    }

    fn crash(&mut self, index: usize, power: bool) {
        let ran = self.nodes[index].runs;
        if !ran && !power {
            return;
        }
        let incarnation = self.nodes[index].incarnation;
        self.end_node(index);
        self.nodes[index].boot += u64::from(power);
        for target in self.placement.targets_on(index) {
            let engine = &mut self.targets[target].engine;
            engine.lose_process();
            if power {
                engine.lose_power(self.random.chance(30.0));
            }
        }
        if !power && self.random.chance(self.knobs.exit_reported) {
            let delay = self.random.between(1000, 300_000);
            self.schedule(delay, Event::Fault(Fault::ExitReport { node: index, incarnation }));
        }
        self.restart_later(index);
    }

    /// An orderly stop: flush, then the lease goes back. Or it ends the process before it is through.
    fn stop(&mut self, index: usize) {
        let Node { runs, incarnation, boot, .. } = self.nodes[index];
        if !runs {
            return;
        }
        let targets = || self.placement.targets_on(index).map(|target| &self.targets[target]);
        let reports: Vec<TargetReport> = targets().map(|target| target.report(boot)).collect();
        self.end_node(index);
        let mut unflushed = Vec::new();
        for target in self.placement.targets_on(index) {
            let engine = &mut self.targets[target].engine;
            let snapshot = engine.snapshot();
            let flushed = engine.flush(snapshot);
            engine.clean = flushed && engine.served_boot == boot;
            unflushed.extend((!flushed).then_some(target));
        }
        let killed = !unflushed.is_empty() && self.dies_unrecorded();
        for target in unflushed {
            let engine = &mut self.targets[target].engine;
            engine.untold |= killed;
            // The system took for written what is not: the same boot says nothing any more (P11).
            if !killed && !planted(Planted::OfflineStaysComplete) {
                engine.lose();
            }
        }
        let delay = self.random.between(100, 5000);
        let news = match killed {
            true => Fault::ExitReport { node: index, incarnation },
            false => Fault::GiveBack { node: index, incarnation, reports },
        };
        self.schedule(delay, Event::Fault(news));
        self.restart_later(index);
    }

    fn restart_later(&mut self, node: usize) {
        if !self.knobs.stays_down {
            let down = self.random.between(1, 1 + self.knobs.down_ms * 1000);
            self.schedule(down, Event::Fault(Fault::Restart { node }));
        }
    }

    /// Repeated until a manager takes it (P28).
    fn report_end(&mut self, node: usize, incarnation: u64, last_words: Option<Vec<TargetReport>>) {
        let now = self.manager.time(self.now);
        let Some(manager) = &mut self.manager.running else {
            let again = match last_words {
                None => Fault::ExitReport { node, incarnation },
                Some(reports) => Fault::GiveBack { node, incarnation, reports },
            };
            return self.schedule(200_000, Event::Fault(again));
        };
        let step = end_step(node, incarnation, last_words.as_deref());
        manager.look(now);
        let news = match last_words {
            None => manager.exited(node as u32, incarnation),
            Some(reports) => {
                manager.give_back(node as u32, incarnation, reports);
                true
            }
        };
        if self.knobs.manager_eager && news {
            self.advance_by_facts();
        }
        self.trace_step(|| step);
    }

    fn next_fault(&mut self) {
        if self.healed || self.knobs.fault_every_ms == 0 {
            return;
        }
        let pause = self.random.between(1, 2 * self.knobs.fault_every_ms * 1000);
        self.schedule(pause, Event::Fault(Fault::Next));
        if let Some(choice) = self.choose().filter(|_| !self.is_quiet()) {
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
            (Choice::ManagerPause, knobs.manager_pause),
            (Choice::SetBack, knobs.set_back),
            (Choice::DiskError, knobs.disk_error),
            (Choice::Fence, knobs.fence),
            (Choice::Order, knobs.order),
            (Choice::Rotate, knobs.rotate),
            (Choice::Estrange, knobs.estrange),
            (Choice::FlushError, knobs.flush_error),
            (Choice::Wipe, knobs.wipe),
            (Choice::DiskFull, knobs.disk_full),
            (Choice::BitFlip, knobs.bit_flip),
            (Choice::Clog, knobs.clog),
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
        if self.knobs.last_stops > 0.0 && self.random.chance(self.knobs.last_stops) && self.stop_last() {
            return;
        }
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
            Choice::ManagerPause => Fault::ManagerPause { ms: self.random.between(1, MANAGER_PAUSE_MS) },
            Choice::SetBack => Fault::SetBack,
            Choice::DiskError => return self.strike(node, |target| Fault::DiskError { target }),
            Choice::FlushError => {
                if self.knobs.blackouts > 0.0 && self.random.chance(self.knobs.blackouts) {
                    let delay = self.random.between(800, 2500) * 1000;
                    self.schedule(delay, Event::Fault(Fault::Blackout { first: node }));
                }
                return self.strike(node, |target| Fault::FlushError { target });
            }
            Choice::DiskFull => {
                let ms = self.random.between(1, 1 + self.knobs.disk_full_ms);
                return self.strike(node, |target| Fault::DiskFull { target, ms });
            }
            Choice::BitFlip => return self.strike(node, |target| Fault::BitFlip { target }),
            Choice::Clog => {
                let ms = self.random.between(1, 1 + self.knobs.cut_ms);
                let (from, to) = (Address::Node(node), Address::Node((node + 1) % count));
                let (from, to) = if self.random.chance(50.0) { (from, to) } else { (to, from) };
                Fault::Clog { from, to, ms }
            }
            Choice::Fence => Fault::Fence { client: self.random.below(self.clients.len()) },
            Choice::Order => Fault::Order { chain: self.draw_chain() },
            Choice::Rotate => Fault::Rotate { chain: self.draw_chain(), preferred: None },
            Choice::Estrange => return self.estrange(),
            Choice::Wipe if self.random.chance(50.0) => Fault::WipeOut { first: node },
            Choice::Wipe => return self.lose_disk(node),
            Choice::Cut => return self.cut_somewhere(node),
        };
        self.fault(fault);
    }

    /// The targets of a node whose disk something happens to: of all of them, or one has a disk of its own.
    pub fn targets_on_a_disk(&mut self, node: usize) -> Vec<usize> {
        let targets: Vec<usize> = self.placement.targets_on(node).collect();
        if targets.len() > 1 && self.random.chance(50.0) {
            return vec![self.random.pick(&targets)];
        }
        targets
    }

    fn strike(&mut self, node: usize, fault: impl Fn(usize) -> Fault) {
        for target in self.targets_on_a_disk(node) {
            self.fault(fault(target));
        }
    }

    /// Whoever serves alone stops in order, and its flush fails. False: nobody does.
    fn stop_last(&mut self) -> bool {
        let chain = self.draw_chain();
        let serving: Vec<usize> = self.manager.serving(chain).collect();
        let [target] = serving[..] else { return false };
        self.fault(Fault::FlushError { target });
        self.fault(Fault::Stop { node: self.targets[target].node });
        true
    }

    /// The others start, and are not heard of before the grace of an outage is over.
    fn blackout(&mut self, first: usize) {
        if self.healed {
            return;
        }
        for node in 0..self.nodes.len() {
            self.crash(node, true);
            if node != first {
                self.fault(Fault::Pause { node, ms: self.knobs.outage_grace_ms + 3 * self.knobs.lease_ms });
            }
        }
    }

    /// Somebody was promoted, and it takes a while before everybody has heard of it.
    pub fn disturb_promotion(&mut self, promoted: usize, predecessor: Option<usize>) {
        if self.knobs.quiet_promotions > 0.0 && self.random.chance(self.knobs.quiet_promotions) {
            let until = self.now + self.random.between(20, 400) * 1000;
            for node in (0..self.nodes.len()).filter(|node| *node != promoted) {
                self.network.clog(Address::Manager, Address::Node(node), until);
            }
            self.network.clog(Address::Manager, Address::Client(0), until);
            if let Some(predecessor) = predecessor {
                self.network.clog(Address::Node(promoted), Address::Node(predecessor), until);
            }
        }
        if self.knobs.unheard_promotions > 0.0 && self.random.chance(self.knobs.unheard_promotions) {
            let nodes = (0..self.nodes.len()).map(Address::Node);
            for to in nodes.chain((0..self.clients.len()).map(Address::Client)) {
                self.network.clog(Address::Manager, to, self.now + 500_000);
            }
            let delay = self.random.between(50, 400) * 1000;
            self.schedule(delay, Event::Fault(Fault::Blackout { first: promoted }));
        }
    }

    /// The members changed places, so nothing is in the air, and nobody was before the one that was the head.
    pub fn fill_old_head(&mut self, before: &Chain) {
        let chain = &self.manager.chains()[chain_place(before.id)];
        let (Some(old), Some(new)) = (before.members.first(), chain.members.first()) else { return };
        let changed = before.reordering && !chain.reordering && old.target != new.target;
        let serves = |member: &Member| member.state() == PublicState::PublicServing;
        let all_serve = chain.members.len() == before.members.len() && chain.members.iter().all(serves);
        let target = target_place(TargetId(old.target));
        if changed && all_serve && self.knobs.head_fills > 0.0 && self.random.chance(self.knobs.head_fills) {
            self.fault(Fault::DiskFull { target, ms: self.knobs.disk_full_ms });
        }
    }

    /// A member hears nothing from the one behind it: what that one has committed pends here, for as long as it
    /// takes to change the order, and perhaps to lose a third one and to bring it back.
    fn estrange(&mut self) {
        let chain = self.draw_chain();
        let nodes: Vec<usize> = self.manager.serving(chain).map(|target| self.targets[target].node).collect();
        if nodes.len() < 2 {
            return;
        }
        let place = self.random.below(nodes.len() - 1);
        let (deaf, behind) = (nodes[place], nodes[place + 1]);
        let lease_ms = self.knobs.lease_ms;
        let ms = self.random.between(lease_ms, 6 * lease_ms);
        self.fault(Fault::Cut { from: Address::Node(behind), to: Address::Node(deaf), ms });
        let soon = self.random.between(20, 200) * 1000;
        let others: Vec<usize> = nodes.into_iter().filter(|node| *node != deaf && *node != behind).collect();
        // At times just so that whoever was before it comes to decide behind it.
        let turned = [deaf, behind].into_iter().chain(others.iter().rev().copied());
        let turned: Vec<u64> = turned.map(|node| target_id(self.placement.target(chain, node)).0).collect();
        let preferred = self.random.chance(60.0).then_some(turned);
        self.schedule(soon, Event::Fault(Fault::Rotate { chain, preferred }));
        if !others.is_empty() && self.random.chance(self.knobs.estrange_away) {
            let node = self.random.pick(&others);
            let later = soon + self.random.between(10, 300) * 1000;
            let away = if self.random.chance(self.knobs.estrange_pauses) {
                Fault::Pause { node, ms: self.random.between(lease_ms, 2 * lease_ms) }
            } else {
                Fault::Crash { node, power: false }
            };
            self.schedule(later, Event::Fault(away));
        }
    }

    fn cut_somewhere(&mut self, node: usize) {
        let ms = self.random.between(1, 1 + self.knobs.cut_ms);
        let count = self.nodes.len();
        let here = Address::Node(node);
        if self.random.chance(self.knobs.manager_cuts) {
            return self.cut_from_manager(node, ms);
        }
        if self.random.chance(self.knobs.one_way_cuts) {
            let other = Address::Node((node + 1 + self.random.below(count - 1)) % count);
            return self.fault(Fault::Cut { from: here, to: other, ms });
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
}
