//! What one seed's world is like. Drawn per seed (swarm): a world with every fault at once hides the rare
//! ones, so most worlds have few kinds.

use crate::event::Kind;
use crate::random::Random;

/// What a world is biased to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A bit of everything.
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
    /// The administrator changes who is a member, while members die and the manager restarts.
    Change,
}

impl Profile {
    /// Each as often as it is worth.
    const WEIGHTED: &'static [Profile] = &[
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
        Profile::Change,
    ];

    pub fn from_name(name: &str) -> Option<Profile> {
        Profile::WEIGHTED.iter().copied().find(|profile| format!("{profile:?}").to_lowercase() == name)
    }
}

#[derive(Clone, Debug)]
pub struct Knobs {
    pub profile: Profile,
    pub members: usize,
    /// Nodes beyond the first members: they join, and those that left join again with what they held.
    pub spares: usize,
    pub clients: usize,
    pub depth: usize,
    pub chunks: u64,
    /// Longest page of a resync: a few chunks need several.
    pub page_max: usize,
    pub lease_ms: u64,
    pub heartbeat_ms: u64,
    pub outage_grace_ms: u64,
    pub call_timeout_ms: u64,
    pub io_timeout_ms: u64,
    pub think_ms: u64,
    /// Percent of operations.
    pub reads: f64,
    pub flushes: f64,
    pub removes: f64,
    pub punches: f64,
    /// Percent of messages.
    pub drop: f64,
    pub duplicate: f64,
    pub slow: f64,
    pub slow_ms: u64,
    /// One kind of message that is slow much more often.
    pub slow_kind: Option<Kind>,
    /// A second one, as slow.
    pub also_slow: Option<Kind>,
    pub slow_kind_percent: f64,
    pub slow_kind_ms: u64,
    pub ordered: bool,
    pub slow_disk: f64,
    pub slow_disk_ms: u64,
    /// Reads between the choice of a version and the answer.
    pub slow_read: f64,
    pub slow_read_ms: u64,
    /// Percent of cuts from the manager that also keep its pushes from one client: it goes on with the member
    /// that was cut off.
    pub client_cuts: f64,
    /// That client only reads: a writer among old members would wait for the head and see nothing.
    pub reader: bool,
    /// Percent of manager restarts that also cut a node off from it.
    pub restart_cuts: f64,
    /// Percent of cuts that are between a node and the manager, both ways.
    pub manager_cuts: f64,
    /// Percent of the other cuts that are between two nodes in one direction: a member's predecessor hears
    /// nothing of it, and all others do.
    pub one_way_cuts: f64,
    pub fault_every_ms: u64,
    pub faults_ms: u64,
    pub crash: u32,
    pub power_loss: u32,
    pub all_crash: u32,
    pub all_power_loss: u32,
    pub stop: u32,
    pub pause: u32,
    pub cut: u32,
    pub manager_restart: u32,
    /// One member is to leave for another, or the last such order is taken back.
    pub order: u32,
    /// How often the manager looks at its chains, and whether it also does so at each message.
    pub manager_tick_ms: u64,
    pub manager_eager: bool,
    pub disk_error: u32,
    pub fence: u32,
    pub flush_error: u32,
    pub disk_full: u32,
    pub bit_flip: u32,
    pub clog: u32,
    /// How often a target flushes by itself; 0 = never.
    pub flush_every_ms: u64,
    /// Age at which marks of removals go; 0 = never.
    pub forget_marks_ms: u64,
    /// At the end only one complete member comes back at first, and must go on alone.
    pub core_first: bool,
    pub exit_reported: f64,
    pub down_ms: u64,
    /// Nobody restarts by itself: a script says when.
    pub stays_down: bool,
    pub pause_ms: u64,
    pub cut_ms: u64,
}

impl Knobs {
    /// `profile`: none, and it is drawn too.
    pub fn draw(random: &mut Random, profile: Option<Profile>) -> Knobs {
        let drawn = random.pick(Profile::WEIGHTED);
        let mut knobs = Knobs::quiet(profile.unwrap_or(drawn), random);
        knobs.disturb_network(random);
        match knobs.profile {
            Profile::General => knobs.general(random),
            Profile::Resync => knobs.resync(random),
            Profile::Promotion => knobs.promotion(random),
            Profile::Leases => knobs.leases(random),
            Profile::Manager => knobs.manager(random),
            Profile::Outage => knobs.outage(random),
            Profile::Fencing => knobs.fencing(random),
            Profile::Network => {}
            Profile::Removals => knobs.removals(random),
            Profile::Change => knobs.change(random),
        }
        // From a copy: worlds without punches stay what their seeds were before there were any.
        knobs.punches = random.clone().pick(&[0.0, 0.0, 10.0, 30.0]);
        knobs
    }

    /// A world in which nothing goes wrong.
    pub fn quiet(profile: Profile, random: &mut Random) -> Knobs {
        let lease_ms = random.pick(&[600, 1000, 2000]);
        Knobs {
            profile,
            members: random.pick(&[2, 3, 3, 3, 4]),
            spares: 0,
            clients: random.pick(&[1, 2, 3]),
            depth: random.pick(&[1, 1, 2]),
            chunks: random.pick(&[1, 1, 2, 4]),
            page_max: random.pick(&[2, 3, 256]),
            lease_ms,
            heartbeat_ms: lease_ms / 4,
            outage_grace_ms: random.pick(&[1000, 4000]),
            call_timeout_ms: random.pick(&[150, 400, 1000, 4000]),
            io_timeout_ms: random.pick(&[2000, 60_000, 60_000]),
            think_ms: random.pick(&[5, 20, 60]),
            reads: random.pick(&[30.0, 50.0, 70.0]),
            flushes: random.pick(&[0.0, 3.0, 10.0]),
            removes: random.pick(&[0.0, 0.0, 5.0]),
            punches: 0.0,
            drop: 0.0,
            duplicate: 0.0,
            slow: 0.0,
            slow_ms: 0,
            slow_kind: None,
            also_slow: None,
            slow_kind_percent: 0.0,
            slow_kind_ms: 0,
            ordered: true,
            slow_disk: 0.0,
            slow_disk_ms: 1,
            slow_read: 0.0,
            slow_read_ms: 1,
            client_cuts: 20.0,
            reader: false,
            restart_cuts: 0.0,
            manager_cuts: 30.0,
            one_way_cuts: 0.0,
            fault_every_ms: 0,
            faults_ms: random.between(3000, 8000),
            crash: 0,
            power_loss: 0,
            all_crash: 0,
            all_power_loss: 0,
            stop: 0,
            pause: 0,
            cut: 0,
            manager_restart: 0,
            order: 0,
            manager_tick_ms: random.pick(&[20, 50, 200]),
            manager_eager: random.chance(70.0),
            disk_error: 0,
            fence: 0,
            flush_error: 0,
            disk_full: 0,
            bit_flip: 0,
            clog: 0,
            flush_every_ms: random.pick(&[0, 300, 1000]),
            forget_marks_ms: random.pick(&[0, 1]),
            core_first: random.chance(25.0),
            exit_reported: random.pick(&[0.0, 50.0, 100.0]),
            down_ms: random.pick(&[50, 300, 2000]),
            stays_down: false,
            pause_ms: lease_ms * random.pick(&[1, 2, 3]),
            cut_ms: lease_ms * random.pick(&[1, 2, 4]),
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
        self.forget_marks_ms = random.pick(&[0, 0, 0, 1]);
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
        self.forget_marks_ms = random.pick(&[0, 3 * self.lease_ms]);
        self.call_timeout_ms = random.pick(&[50, 150]);
        self.manager_eager = true;
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

    fn outage(&mut self, random: &mut Random) {
        self.fault_every_ms = random.pick(&[300, 600, 1200]);
        self.all_crash = random.pick(&[0, 1, 3]);
        self.all_power_loss = random.pick(&[0, 0, 2]);
        self.crash = random.pick(&[1, 2]);
        self.stop = random.pick(&[0, 1]);
        self.power_loss = random.pick(&[0, 1]);
        self.flush_error = random.pick(&[0, 0, 2]);
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
