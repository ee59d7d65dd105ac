//! The kinds of worlds: each profile is what a world is biased to, and which faults aim at it.

mod reordering;

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
    /// No faults: clients give updates up that are on their way, and go on with the same bytes.
    Doubts,
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
        Profile::Doubts,
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
            Profile::Doubts => self.doubts(random),
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
        // From a copy, as in `draw`. At times for longer than a member that has no room stays.
        self.disk_full = random.clone().pick(&[0, 0, 0, 6]);
        self.disk_full_ms = 4 * chain::limits::SYNC_ROOM_PATIENCE_MS;
        if self.disk_full > 0 {
            // And time for that, between faults that end a resync.
            self.fault_every_ms *= 6;
            self.faults_ms = 4 * chain::limits::SYNC_ROOM_PATIENCE_MS;
        }
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
        // From a copy, as in `draw`. Whoever is not heard in time counts as gone, whatever it knows.
        self.set_back = random.clone().pick(&[0, 1, 2]);
        if self.set_back > 0 && self.slow_kind == Some(Kind::Heartbeat) {
            self.slow_kind = None;
        }
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

    /// One try of an update is all that there is time for. Few are late, or nobody could say what became of so many.
    fn doubts(&mut self, random: &mut Random) {
        self.io_timeout_ms = random.pick(&[200, 500]);
        self.call_timeout_ms = 1000;
        self.slow_kind = Some(Kind::Update);
        self.also_slow = random.pick(&[None, None, Some(Kind::Acknowledgement)]);
        self.slow_kind_percent = random.pick(&[2.0, 5.0]);
        self.slow_kind_ms = random.pick(&[1000, 2000]);
        self.ordered = false;
        (self.drop, self.duplicate, self.slow, self.slow_disk) = (0.0, 0.0, 0.0, 0.0);
        (self.clients, self.depth) = (2, random.pick(&[2, 3]));
        self.chunks = 1;
        self.think_ms = random.pick(&[10, 20]);
        self.reads = 50.0;
        self.flushes = 0.0;
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
