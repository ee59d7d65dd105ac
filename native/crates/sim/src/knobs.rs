//! What one seed's world is like. Drawn per seed (swarm): a world with every fault at once hides the rare
//! ones, so most worlds have few kinds.

use crate::event::Kind;
use crate::profiles::Profile;
use crate::random::Random;
use wire::limits::CHANNELS_MAX;

/// Of one world. More would show nothing that three do not: another one, and one more that is neither.
pub const CHAINS_MAX: usize = 3;

#[derive(Clone, Debug, Default)]
pub struct Knobs {
    pub profile: Profile,
    /// Each node has a target of each of them.
    pub chains: usize,
    /// Of each chain.
    pub members: usize,
    /// Nodes beyond the first members: they join, and those that left join again with what they held.
    pub spares: usize,
    pub clients: usize,
    pub depth: usize,
    /// Of each client and chain.
    pub channels: u32,
    /// Of each chain.
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
    pub truncates: f64,
    /// Percent of all that ask whether a chunk is in a member's list.
    pub lists: f64,
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
    /// Percent of ends of a process of which its clients hear at once, and of requests to one that is not there.
    pub resets: f64,
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
    pub manager_pause: u32,
    /// Its state is put back from an older copy.
    pub set_back: u32,
    /// One member is to leave for another, or the last such order is taken back.
    pub order: u32,
    /// The administrator prefers another order of the members.
    pub rotate: u32,
    /// A member hears nothing from the one behind it, while the order changes and a third one may be away.
    pub estrange: u32,
    /// Percent of those in which a third one is away, and of these in which it only pauses, beyond its lease.
    pub estrange_away: f64,
    pub estrange_pauses: f64,
    /// How long a chain waits for rest, and then for another try.
    pub reordering_max_ms: u64,
    pub reordering_pause_ms: u64,
    /// How often the manager looks at its chains, and whether it also does so at each message.
    pub manager_tick_ms: u64,
    pub manager_eager: bool,
    pub disk_error: u32,
    pub fence: u32,
    pub flush_error: u32,
    /// A member comes back with an empty disk, at times first of all after an outage.
    pub wipe: u32,
    /// Percent of failing flushes that a blackout follows, when that member may serve again: it is back first.
    pub blackouts: f64,
    /// Percent of promotions that only the promoted member and some clients hear of at first, while its
    /// acknowledgements are late.
    pub quiet_promotions: f64,
    /// Percent of promotions that no member hears of before the power goes everywhere.
    pub unheard_promotions: f64,
    /// Percent of faults, while one member serves alone, that stop it in order with a flush that fails.
    pub last_stops: f64,
    /// Percent of losses at a stop or an opening before whose record the process dies.
    pub unrecorded: f64,
    pub disk_full: u32,
    pub disk_full_ms: u64,
    /// Percent of changes of the head by order after which the disk of the old one has hardly any room: who stands
    /// before it now has not heard of its room.
    pub head_fills: f64,
    /// What only assigned updates may take: so many of them (P8).
    pub reserve_updates: u64,
    pub bit_flip: u32,
    pub clog: u32,
    /// How often a target flushes by itself; 0 = never.
    pub flush_every_ms: u64,
    /// Age at which tombstones go; 0 = never.
    pub forget_tombstones_ms: u64,
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
        knobs.disturb(random);
        // From a copy: worlds without them stay what their seeds were before there were any.
        let mut aside = random.clone();
        knobs.punches = aside.pick(&[0.0, 0.0, 10.0, 30.0]);
        // For the checker a punch that was refused for want of room may take effect for ever.
        let refuses = knobs.disk_full > 0 && knobs.profile == Profile::Reordering;
        if refuses {
            knobs.punches = 0.0;
        }
        let sometimes = aside.pick(&[0, 0, 0, 0, 0, 2]);
        knobs.rotate = knobs.rotate.max(sometimes);
        let truncates = aside.pick(&[0.0, 10.0, 30.0]);
        knobs.truncates = if refuses { 0.0 } else { knobs.truncates.max(truncates) };
        // Only writes take room.
        if knobs.head_fills > 0.0 {
            (knobs.punches, knobs.truncates) = (0.0, 0.0);
        }
        let lists = aside.pick(&[0.0, 0.0, 10.0]);
        knobs.lists = knobs.lists.max(lists);
        knobs.resets = aside.pick(&[0.0, 50.0, 100.0]);
        let few = aside.pick(&[1, 2, CHANNELS_MAX, CHANNELS_MAX, CHANNELS_MAX]);
        if knobs.head_fills == 0.0 {
            knobs.channels = few;
        }
        knobs.chains = aside.pick(&[1, 1, 1, 1, 1, 1, 2, 3]);
        knobs
    }

    /// A world in which nothing goes wrong.
    pub fn quiet(profile: Profile, random: &mut Random) -> Knobs {
        let lease_ms = random.pick(&[600, 1000, 2000]);
        Knobs {
            profile,
            chains: 1,
            members: random.pick(&[2, 3, 3, 3, 4]),
            clients: random.pick(&[1, 2, 3]),
            depth: random.pick(&[1, 1, 2]),
            channels: CHANNELS_MAX,
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
            ordered: true,
            slow_disk_ms: 1,
            slow_read_ms: 1,
            client_cuts: 20.0,
            manager_cuts: 30.0,
            faults_ms: random.between(3000, 8000),
            estrange_away: 60.0,
            estrange_pauses: 50.0,
            reordering_max_ms: 2000,
            reordering_pause_ms: 2000,
            manager_tick_ms: random.pick(&[20, 50, 200]),
            manager_eager: random.chance(70.0),
            disk_full_ms: 2 * lease_ms,
            // More than all that can be in the air in one world.
            reserve_updates: 64,
            flush_every_ms: random.pick(&[0, 300, 1000]),
            forget_tombstones_ms: random.pick(&[0, 1]),
            core_first: random.chance(25.0),
            exit_reported: random.pick(&[0.0, 50.0, 100.0]),
            down_ms: random.pick(&[50, 300, 2000]),
            pause_ms: lease_ms * random.pick(&[1, 2, 3]),
            cut_ms: lease_ms * random.pick(&[1, 2, 4]),
            ..Knobs::default()
        }
    }
}
