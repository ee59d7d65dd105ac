//! Worlds whose members change places all the time, and what goes wrong meanwhile.

use crate::event::Kind;
use crate::knobs::Knobs;
use crate::random::Random;

impl Knobs {
    /// What a member before still has pending is committed behind it, and both change places.
    pub(super) fn reordering(&mut self, random: &mut Random) {
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
}
