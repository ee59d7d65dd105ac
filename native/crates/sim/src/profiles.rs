//! The kinds of worlds: each profile is what a world is biased to, and which faults aim at it.

use crate::event::Kind;
use crate::knobs::Knobs;
use crate::random::Random;

/// What a world is biased to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A bit of everything.
    #[default]
    General,
    /// Members leave and come back all the time; one kind of resync message is slow.
    Resync,
    /// Members are synced and promoted under load while only some hear of it.
    Promotion,
    /// Leases run out: pauses and cuts towards the manager.
    Leases,
    /// The manager restarts; heartbeats and pushes are slow.
    Manager,
    /// Whole chains die at once, by crashes or loss of power.
    Outage,
    /// Clients are taken for dead while they write on, and while heads leave.
    Fencing,
    /// No faults but a slow, lossy network: updates overtake each other.
    Network,
    /// Chunks are removed while acknowledgements are cut off and members are synced.
    Removals,
    /// Chunks are cut and extended while members die, are synced, and get updates late and twice.
    Truncations,
    /// The administrator changes who is a member, while members die and the manager restarts.
    Change,
    /// Power is lost everywhere just when a flush has failed or a member was promoted, and comes back to one first.
    Blackout,
    /// Members change places all the time, with removals and lists, while acknowledgements are lost, late and
    /// doubled, members are away, and disks are full.
    Reordering,
}

impl Profile {
    /// Each as often as it is worth.
    pub const WEIGHTED: &'static [Profile] = &[
        Profile::General,
        Profile::Resync,
        Profile::Resync,
        Profile::Promotion,
        Profile::Leases,
        Profile::Manager,
        Profile::Outage,
        Profile::Outage,
        Profile::Fencing,
        Profile::Network,
        Profile::Removals,
        Profile::Truncations,
        Profile::Change,
        Profile::Reordering,
        Profile::Blackout,
    ];

    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::WEIGHTED.iter().copied().find(|profile| format!("{profile:?}").to_lowercase() == name)
    }
}

impl Knobs {
    pub fn disturb(&mut self, random: &mut Random) {
        self.disturb_network(random);
        match self.profile {
            Profile::General => self.general(random),
            Profile::Resync => self.resync(random),
            Profile::Promotion => self.promotion(random),
            Profile::Leases => self.leases(random),
            Profile::Manager => self.manager(random),
            Profile::Outage => self.outage(random),
            Profile::Fencing => self.fencing(random),
            Profile::Network => {}
            Profile::Removals => self.removals(random),
            Profile::Truncations => self.truncations(random),
            Profile::Change => self.change(random),
            Profile::Reordering => self.reordering(random),
            Profile::Blackout => self.blackout(random),
        }
    }

    fn disturb_network(&mut self, random: &mut Random) {
        self.ordered = random.chance(60.0);
        self.drop = random.pick(&[0.0, 0.0, 1.0, 5.0, 10.0]);
        self.duplicate = random.pick(&[0.0, 0.0, 2.0, 10.0]);
        self.slow = random.pick(&[0.0, 2.0, 10.0]);
        self.slow_ms = random.pick(&[10, 100, 400]);
        self.slow_disk = random.pick(&[0.0, 0.0, 5.0, 20.0]);
        self.slow_disk_ms = random.pick(&[5, 50, 300]);
    }

    fn slow_one_of(&mut self, random: &mut Random, kinds: &[Kind]) {
        if random.chance(70.0) {
            self.slow_kind = Some(random.pick(kinds));
            self.slow_kind_percent = random.pick(&[5.0, 20.0, 50.0, 90.0]);
            self.slow_kind_ms = self.lease_ms * random.pick(&[1, 2, 4]);
        }
    }

    fn general(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[200, 600, 1500]);
        for weight in [&mut self.crash, &mut self.pause, &mut self.cut, &mut self.manager_restart] {
            *weight = random.pick(&[0, 1, 3]);
        }
        for weight in
            [&mut self.power_loss, &mut self.stop, &mut self.disk_error, &mut self.all_crash, &mut self.fence]
        {
            *weight = random.pick(&[0, 0, 1]);
        }
        for weight in [&mut self.disk_full, &mut self.bit_flip, &mut self.clog] {
            *weight = random.pick(&[0, 0, 2]);
        }
        self.slow_one_of(random, Kind::ALL);
    }

    fn resync(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[200, 500, 1000]);
        self.crash = 3;
        self.stop = random.pick(&[0, 1, 3]);
        self.cut = random.pick(&[0, 1, 2]);
        self.pause = random.pick(&[0, 1]);
        self.power_loss = random.pick(&[0, 1, 3]);
        self.down_ms = random.pick(&[20, 100, 500]);
        self.duplicate = random.pick(&[0.0, 5.0, 20.0]);
        self.reads = random.pick(&[20.0, 40.0]);
        self.removes = random.pick(&[0.0, 5.0, 25.0]);
        self.forget_tombstones_ms = random.pick(&[0, 0, 0, 1]);
        self.chunks = random.pick(&[1, 2, 4, 9]);
        self.slow_one_of(
            random,
            &[
                Kind::SyncReplace,
                Kind::SyncReplace,
                Kind::SyncDone,
                Kind::SyncAnswer,
                Kind::Heartbeat,
                Kind::Forward,
                Kind::Acknowledgement,
            ],
        );
    }

    fn promotion(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[200, 400]);
        self.crash = 1;
        self.stop = random.pick(&[0, 1]);
        self.power_loss = random.pick(&[0, 0, 1]);
        self.all_crash = random.pick(&[0, 0, 1]);
        self.exit_reported = 100.0;
        self.down_ms = random.pick(&[20, 20, 500]);
        self.members = random.pick(&[2, 3, 4]);
        self.lease_ms = random.pick(&[600, 2000]);
        self.heartbeat_ms = self.lease_ms / 4;
        self.manager_eager = random.chance(50.0);
        self.chunks = 1;
        self.clients = 4;
        self.depth = random.pick(&[1, 2]);
        self.think_ms = 4;
        self.reads = random.pick(&[50.0, 70.0]);
        self.flushes = 0.0;
        self.drop = random.pick(&[2.0, 10.0]);
        self.call_timeout_ms = random.pick(&[30, 100]);
        self.faults_ms = 2500;
        self.removes = random.pick(&[0.0, 20.0, 50.0]);
        self.slow_kind = Some(random.pick(&[Kind::Push, Kind::Acknowledgement]));
        self.also_slow = random.pick(&[None, Some(Kind::Push)]);
        self.slow_kind_percent = random.pick(&[30.0, 60.0]);
        self.slow_kind_ms = random.pick(&[300, 1000]);
        // From a copy, as in `draw`.
        self.quiet_promotions = random.clone().pick(&[0.0, 0.0, 70.0]);
        self.reader |= self.quiet_promotions > 0.0;
    }

    fn leases(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[400, 1000, 2000]);
        self.pause = random.pick(&[0, 1, 2]);
        self.cut = 2;
        self.manager_cuts = 80.0;
        self.client_cuts = 70.0;
        self.reader = true;
        self.cut_ms = self.lease_ms * random.pick(&[2, 4]);
        self.drop = 0.0;
        self.slow_disk = random.pick(&[0.0, 0.0, 20.0]);
        self.slow_disk_ms = random.pick(&[100, 300]);
        self.reads = random.pick(&[60.0, 80.0]);
        self.flushes = 0.0;
        self.chunks = 1;
        self.think_ms = random.pick(&[5, 20]);
        self.slow_read = random.pick(&[0.0, 3.0]);
        self.slow_read_ms = 4 * self.lease_ms;
        self.call_timeout_ms = if self.slow_read > 0.0 { 8000 } else { random.pick(&[100, 400]) };
        self.clients = random.pick(&[3, 4]);
        self.slow_one_of(random, &[Kind::Push, Kind::Push, Kind::Push, Kind::Grant, Kind::Heartbeat]);
        self.also_slow = random.pick(&[None, None, Some(Kind::Acknowledgement)]);
    }

    fn manager(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[300, 800]);
        self.manager_restart = 3;
        self.restart_cuts = random.pick(&[0.0, 50.0]);
        self.manager_cuts = 80.0;
        self.client_cuts = 70.0;
        self.reader = true;
        self.crash = random.pick(&[0, 1]);
        self.cut = random.pick(&[0, 1]);
        self.pause = random.pick(&[0, 1]);
        self.reads = random.pick(&[50.0, 80.0]);
        self.chunks = random.pick(&[1, 1, 2]);
        self.clients = random.pick(&[2, 3, 4]);
        self.think_ms = random.pick(&[5, 20]);
        self.call_timeout_ms = random.pick(&[100, 400, 1000]);
        self.slow_one_of(random, &[Kind::Push, Kind::Push, Kind::Grant, Kind::Heartbeat]);
    }

    fn fencing(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[150, 400]);
        self.fence = 3;
        self.crash = random.pick(&[0, 1, 2]);
        self.pause = random.pick(&[0, 1]);
        self.cut = random.pick(&[0, 1, 2]);
        self.all_crash = random.pick(&[0, 0, 1]);
        self.manager_restart = random.pick(&[0, 0, 1]);
        self.manager_cuts = random.pick(&[30.0, 80.0]);
        self.client_cuts = 70.0;
        self.exit_reported = random.pick(&[0.0, 100.0]);
        self.down_ms = random.pick(&[50, 300]);
        self.chunks = random.pick(&[1, 2]);
        self.clients = random.pick(&[2, 3]);
        self.depth = random.pick(&[1, 2]);
        self.think_ms = 5;
        self.reads = 30.0;
        self.removes = random.pick(&[0.0, 0.0, 10.0]);
        self.call_timeout_ms = random.pick(&[100, 400, 1000]);
        self.slow_one_of(
            random,
            &[Kind::Push, Kind::Forward, Kind::Forward, Kind::Update, Kind::Acknowledgement],
        );
    }

    /// A removal pends at a member that hears no acknowledgement, while its successor has committed it and
    /// brings back a third one, that has nothing of the chunk.
    fn removals(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[100, 200]);
        self.members = 3;
        self.crash = 2;
        self.cut = 3;
        self.manager_cuts = 0.0;
        self.one_way_cuts = 100.0;
        self.cut_ms = random.pick(&[300, 1000]);
        self.exit_reported = 100.0;
        self.down_ms = random.pick(&[50, 200]);
        self.drop = 0.0;
        self.slow_disk = 0.0;
        self.clients = 4;
        self.depth = 1;
        self.chunks = random.pick(&[2, 4, 6]);
        self.think_ms = random.pick(&[5, 20]);
        self.reads = random.pick(&[50.0, 70.0]);
        self.removes = 50.0;
        self.flushes = 0.0;
        self.forget_tombstones_ms = random.pick(&[0, 3 * self.lease_ms]);
        self.call_timeout_ms = random.pick(&[50, 150]);
        self.manager_eager = true;
    }

    /// Short and long chunks in turn: whoever was away has another length than the others, and what was cut is
    /// soon extended again.
    fn truncations(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[200, 500]);
        self.members = random.pick(&[2, 3, 3]);
        self.crash = 2;
        self.stop = random.pick(&[0, 1]);
        self.power_loss = random.pick(&[0, 0, 1]);
        self.all_crash = random.pick(&[0, 0, 1]);
        self.cut = random.pick(&[0, 1]);
        self.down_ms = random.pick(&[50, 300]);
        self.exit_reported = 100.0;
        self.duplicate = random.pick(&[0.0, 10.0, 30.0]);
        self.clients = random.pick(&[2, 3, 4]);
        self.chunks = random.pick(&[1, 2, 4]);
        self.think_ms = random.pick(&[5, 20]);
        self.reads = random.pick(&[30.0, 50.0]);
        self.lists = random.pick(&[0.0, 20.0]);
        self.truncates = 60.0;
        self.removes = random.pick(&[0.0, 0.0, 5.0]);
        self.call_timeout_ms = random.pick(&[50, 150, 400]);
        self.slow_one_of(random, &[Kind::Acknowledgement, Kind::Forward, Kind::SyncReplace, Kind::Read]);
    }

    /// What a member before still has pending is committed behind it, and both change places.
    fn reordering(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[60, 150, 300]);
        self.members = random.pick(&[3, 3, 4]);
        self.lease_ms = 600;
        self.heartbeat_ms = 150;
        self.one_way_cuts = 100.0;
        self.manager_cuts = 0.0;
        self.exit_reported = 100.0;
        self.down_ms = random.pick(&[50, 200]);
        self.faults_ms = random.between(3000, 6000);
        self.reordering_max_ms = random.pick(&[200, 1000, 3000]);
        self.reordering_pause_ms = random.pick(&[100, 1000]);
        self.drop = 0.0;
        self.slow_disk = random.pick(&[0.0, 0.0, 10.0]);
        self.slow_disk_ms = random.pick(&[5, 50]);
        self.clients = random.pick(&[3, 4]);
        self.depth = random.pick(&[1, 2]);
        // While updates wait somebody must go on reading.
        self.reader = true;
        self.chunks = random.pick(&[1, 1, 2, 4]);
        self.think_ms = random.pick(&[4, 10]);
        self.reads = random.pick(&[30.0, 60.0]);
        self.lists = random.pick(&[0.0, 30.0]);
        self.removes = random.pick(&[10.0, 50.0]);
        self.flushes = 0.0;
        self.forget_tombstones_ms = 1;
        self.call_timeout_ms = random.pick(&[50, 150, 400]);
        match random.below(6) {
            0 => self.reordering_with_little_room(random),
            1 => self.reordering_with_full_heads(random),
            2 => self.reordering_with_late_copies(random),
            3 => self.reordering_with_heads_away(random),
            _ => self.reordering_while_strained(random),
        }
    }

    /// Nothing else fails: without acknowledgements nobody could know that a disk was filled by others.
    fn reordering_with_little_room(&mut self, random: &mut Random) {
        self.rotate = 4;
        self.disk_full = 1;
        self.faults_ms = 2500;
        self.disk_full_ms = 3000;
        self.slow = 0.0;
        self.removes = 0.0;
        self.think_ms = 1;
        self.fault_every_ms = random.pick(&[30, 60]);
        // All that may be in the air when a disk becomes full.
        self.reserve_updates = (self.clients * self.depth) as u64 + 2;
    }

    /// A new head has not heard of the room of the old one, and gives more versions than that one's reserve holds
    /// before the first acknowledgement says so.
    fn reordering_with_full_heads(&mut self, random: &mut Random) {
        self.rotate = 4;
        self.head_fills = 80.0;
        self.disk_full_ms = 400;
        self.fault_every_ms = 300;
        self.reader = false;
        (self.clients, self.depth, self.chunks) = (4, 3, 9);
        self.reserve_updates = (self.clients * self.depth) as u64 / 2;
        (self.reads, self.lists, self.removes) = (10.0, 0.0, 0.0);
        self.think_ms = 1;
        (self.slow, self.slow_disk) = (0.0, 0.0);
        self.slow_kind = Some(Kind::Acknowledgement);
        self.slow_kind_percent = 90.0;
        self.slow_kind_ms = random.pick(&[100, 300]);
        self.call_timeout_ms = 1000;
        self.reordering_max_ms = 3000;
        // The members hear of the new order late, and answer of the room behind them in the old one.
        self.also_slow = random.pick(&[None, Some(Kind::Push)]);
    }

    /// An update is sent again in a new version of the chain, and its second copy comes when the removal that
    /// followed it is forgotten.
    fn reordering_with_late_copies(&mut self, random: &mut Random) {
        self.rotate = 4;
        self.duplicate = 40.0;
        self.slow_kind = Some(Kind::Forward);
        self.also_slow = random.pick(&[Some(Kind::Acknowledgement), Some(Kind::Heartbeat)]);
        self.slow_kind_percent = random.pick(&[20.0, 50.0]);
        self.slow_kind_ms = random.pick(&[10, 40]);
        self.slow = 0.0;
        self.slow_disk = 0.0;
        self.removes = 50.0;
        self.depth = 2;
        self.chunks = random.pick(&[1, 2, 4]);
        self.reordering_max_ms = 200;
        self.fault_every_ms = 60;
    }

    /// The head has committed, by reads, removals that pend at the deaf member behind it. It is away for longer than
    /// its lease, its process is not, and it comes back behind that member, with what it knew. Few updates of many
    /// chunks: the removal has to be the last one of its chunk.
    fn reordering_with_heads_away(&mut self, random: &mut Random) {
        self.estrange = 1;
        (self.estrange_away, self.estrange_pauses) = (100.0, 100.0);
        self.fault_every_ms = 1500;
        self.faults_ms = 6000;
        self.members = 3;
        self.reordering_max_ms = random.pick(&[1000, 3000]);
        (self.clients, self.depth) = (4, 1);
        self.chunks = random.pick(&[4, 6, 9]);
        self.think_ms = 4;
        (self.reads, self.lists, self.removes) = (60.0, 0.0, 70.0);
        (self.slow, self.slow_disk, self.duplicate) = (0.0, 0.0, 0.0);
        (self.call_timeout_ms, self.io_timeout_ms) = (50, 60_000);
    }

    fn reordering_while_strained(&mut self, random: &mut Random) {
        (self.rotate, self.estrange) = random.pick(&[(4, 0), (2, 2), (1, 3)]);
        self.cut = random.pick(&[0, 0, 2]);
        self.cut_ms = random.pick(&[300, 1500]);
        self.pause = random.pick(&[0, 0, 1]);
        self.pause_ms = random.pick(&[300, 1000]);
        self.crash = random.pick(&[0, 0, 1]);
        self.drop = random.pick(&[0.0, 0.0, 3.0]);
        self.duplicate = random.pick(&[0.0, 20.0, 40.0]);
        let kinds = [None, Some(Kind::Forward), Some(Kind::Acknowledgement), Some(Kind::Committed)];
        self.slow_kind = random.pick(&kinds);
        self.also_slow = random.pick(&[None, None, Some(Kind::Heartbeat), Some(Kind::Push)]);
        self.slow_kind_percent = random.pick(&[10.0, 30.0, 60.0]);
        self.slow_kind_ms = random.pick(&[20, 100, 400]);
    }

    fn change(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[200, 400, 800]);
        self.members = random.pick(&[1, 2, 3, 3]);
        self.spares = random.pick(&[1, 2]);
        self.order = random.pick(&[3, 6]);
        self.crash = random.pick(&[0, 1, 2]);
        self.manager_restart = random.pick(&[0, 1]);
        self.all_crash = random.pick(&[0, 0, 1]);
        self.pause = random.pick(&[0, 1]);
        self.cut = random.pick(&[0, 0, 1]);
        self.down_ms = random.pick(&[20, 300]);
        self.exit_reported = random.pick(&[50.0, 100.0]);
        self.faults_ms = random.between(4000, 9000);
        self.reads = random.pick(&[50.0, 70.0]);
        self.removes = random.pick(&[0.0, 0.0, 10.0]);
        self.chunks = random.pick(&[1, 1, 4]);
        self.clients = random.pick(&[2, 4]);
        self.think_ms = random.pick(&[5, 20]);
        self.call_timeout_ms = random.pick(&[50, 150, 400]);
        self.slow_one_of(random, &[Kind::Push, Kind::Push, Kind::Heartbeat, Kind::Grant, Kind::SyncDone]);
    }

    /// Few updates of many chunks: what a flush did not write is not written again soon.
    fn blackout(&mut self, random: &mut Random) {
        self.lease_ms = 600;
        self.heartbeat_ms = 150;
        self.outage_grace_ms = 1000;
        self.members = random.pick(&[2, 3]);
        self.fault_every_ms = random.pick(&[300, 600]);
        self.flush_error = random.pick(&[0, 3]);
        self.blackouts = 70.0;
        self.stop = random.pick(&[1, 3]);
        self.all_crash = random.pick(&[0, 2]);
        self.unheard_promotions = random.pick(&[0.0, 30.0]);
        self.last_stops = random.pick(&[0.0, 50.0]);
        self.flush_every_ms = random.pick(&[100, 300]);
        self.down_ms = random.pick(&[50, 300]);
        self.faults_ms = random.between(4000, 8000);
        self.exit_reported = 100.0;
        self.manager_eager = true;
        self.drop = 0.0;
        self.slow_disk = random.pick(&[0.0, 5.0]);
        self.flushes = random.pick(&[10.0, 30.0]);
        self.reads = random.pick(&[10.0, 30.0]);
        self.removes = 0.0;
        (self.chunks, self.think_ms) = random.pick(&[(4, 10), (40, 60)]);
        self.clients = random.pick(&[2, 3]);
        self.depth = 1;
        self.call_timeout_ms = random.pick(&[150, 400]);
        // From a copy, as in `draw`.
        self.unrecorded = random.clone().pick(&[0.0, 50.0]);
        self.wipe = random.clone().pick(&[0, 0, 0, 1]);
    }

    fn outage(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[300, 600, 1200]);
        self.all_crash = random.pick(&[0, 1, 3]);
        self.all_power_loss = random.pick(&[0, 0, 2]);
        self.crash = random.pick(&[1, 2]);
        self.stop = random.pick(&[0, 1]);
        self.power_loss = random.pick(&[0, 1]);
        self.flush_error = random.pick(&[0, 0, 2]);
        // From a copy, as in `draw`.
        self.wipe = random.clone().pick(&[0, 0, 1]);
        self.down_ms = random.pick(&[50, 300, 1000]);
        self.flushes = random.pick(&[3.0, 15.0]);
        self.removes = 0.0;
        self.exit_reported = 100.0;
        self.chunks = random.pick(&[1, 2]);
        self.clients = random.pick(&[2, 3, 4]);
        self.think_ms = random.pick(&[5, 20]);
        self.call_timeout_ms = random.pick(&[150, 400]);
        self.slow_disk = random.pick(&[0.0, 20.0, 40.0]);
        self.slow_disk_ms = random.pick(&[20, 100]);
        self.slow_one_of(random, &[Kind::Forward, Kind::SyncReplace, Kind::Acknowledgement]);
    }
}
