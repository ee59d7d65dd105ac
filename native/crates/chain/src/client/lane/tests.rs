use super::*;
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    number: usize,
    index: u64,
    bytes: Range<u64>,
}

impl Ordered for Write {
    fn chunk(&self) -> ChunkId {
        ChunkId { inode: 1, index: self.index }
    }
    fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }
}

fn write(number: usize, index: u64, bytes: Range<u64>) -> Write {
    Write { number, index, bytes }
}

const CLIENT: ClientId = ClientId([7; 16]);

fn lane() -> Lane<Write> {
    Lane::new(CLIENT, CHANNELS_MAX)
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Applied,
    /// With an answer to each request, or never sent.
    Refused,
    /// After so many channels were closed for it.
    Doubtful,
}

fn started(lane: &mut Lane<Write>) -> Vec<Started<Write>> {
    let all: Vec<_> = std::iter::from_fn(|| lane.start()).collect();
    assert!(all.iter().all(|started| started.close.is_empty()));
    all
}

fn numbers(all: &[Started<Write>]) -> Vec<usize> {
    all.iter().map(|started| started.update.number).collect()
}

fn finish(lane: &mut Lane<Write>, started: &Started<Write>, outcome: Outcome) {
    let mut started = started.clone();
    if matches!(outcome, Outcome::Doubtful) {
        started.lost();
    }
    let applied = matches!(outcome, Outcome::Applied);
    assert!(!applied || started.applied());
    lane.finish(started, applied);
}

#[test]
fn overlapping_writes_wait_for_each_other_and_others_do_not() {
    let mut lane = lane();
    lane.submit(write(0, 0, 0..10));
    lane.submit(write(1, 0, 10..20));
    lane.submit(write(2, 0, 5..15));
    lane.submit(write(3, 0, 14..16));
    lane.submit(write(4, 0, 30..40));
    lane.submit(write(5, 1, 0..10));
    lane.submit(Write { number: 6, index: 1, bytes: WHOLE });
    lane.submit(write(7, 1, 50..60));
    let first = started(&mut lane);
    assert_eq!(numbers(&first), [0, 1, 5], "4 waits behind a queue, which costs a little time and no order");
    finish(&mut lane, &first[0], Outcome::Applied);
    assert_eq!(numbers(&started(&mut lane)), [4]);
    finish(&mut lane, &first[1], Outcome::Applied);
    let second = started(&mut lane);
    assert_eq!(numbers(&second), [2]);
    finish(&mut lane, &second[0], Outcome::Applied);
    assert_eq!(numbers(&started(&mut lane)), [3]);
    finish(&mut lane, &first[2], Outcome::Applied);
    let whole = started(&mut lane);
    assert_eq!(numbers(&whole), [6]);
    finish(&mut lane, &whole[0], Outcome::Applied);
    assert_eq!(numbers(&started(&mut lane)), [7]);
}

#[test]
fn at_most_64_in_the_air_and_sequences_rise_by_one() {
    let mut lane = lane();
    for number in 0..100 {
        lane.submit(write(number, number as u64, 0..1));
    }
    let first = started(&mut lane);
    assert_eq!(first.len(), CHANNELS_MAX as usize);
    let mut channels: Vec<u32> = first.iter().map(|start| start.tag.channel).collect();
    channels.sort_unstable();
    channels.dedup();
    assert_eq!(channels.len(), first.len(), "one update per channel");
    assert!(first.iter().all(|start| start.tag.sequence == 1));
    finish(&mut lane, &first[9], Outcome::Applied);
    let next = started(&mut lane);
    assert_eq!(next.len(), 1);
    assert_eq!(
        (next[0].update.number, next[0].tag.channel, next[0].tag.sequence),
        (64, first[9].tag.channel, 2)
    );
    assert!(!lane.is_idle());
}

#[test]
fn a_doubtful_channel_goes_to_the_next_update_of_its_chunk() {
    let mut lane = lane();
    lane.submit(write(0, 5, 0..10));
    lane.submit(write(1, 6, 0..10));
    let first = started(&mut lane);
    finish(&mut lane, &first[1], Outcome::Doubtful);
    finish(&mut lane, &first[0], Outcome::Doubtful);
    lane.submit(write(2, 5, 0..10));
    let again = started(&mut lane);
    assert_eq!((again[0].tag.channel, again[0].tag.sequence), (first[0].tag.channel, 2));
    finish(&mut lane, &again[0], Outcome::Applied);
    lane.submit(write(3, 9, 0..10));
    let other = started(&mut lane);
    assert_eq!(other[0].tag.channel, first[1].tag.channel, "doubtful ones are used up first");
    // It was refused, so the lost request of chunk 6 may still arrive.
    finish(&mut lane, &other[0], Outcome::Refused);
    lane.submit(write(4, 7, 0..10));
    lane.submit(write(5, 6, 0..10));
    let last = started(&mut lane);
    assert_eq!(
        last.iter().map(|start| start.tag.channel).filter(|&channel| channel == first[1].tag.channel).count(),
        1
    );
}

#[test]
fn whatever_the_interleaving_overlapping_writes_apply_in_order() {
    // A small generator instead of a list of cases: the order in which answers arrive is what matters.
    let mut random = 42u64;
    let mut next = move |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for _ in 0..200 {
        let mut lane = lane();
        let (mut bytes, mut expected) = ([usize::MAX; 32], [usize::MAX; 32]);
        let mut air: Vec<Started<Write>> = Vec::new();
        let mut submitted = 0;
        while submitted < 60 || !air.is_empty() || !lane.is_idle() {
            if submitted < 60 && next(2) == 0 {
                let start = next(28);
                let update = write(submitted, 0, start..start + 1 + next(4));
                expected[update.bytes.start as usize..update.bytes.end as usize].fill(submitted);
                lane.submit(update);
                submitted += 1;
            }
            air.extend(std::iter::from_fn(|| lane.start()));
            if !air.is_empty() && next(2) == 0 {
                let started = air.swap_remove(next(air.len() as u64) as usize);
                let Write { bytes: range, number, .. } = &started.update;
                bytes[range.start as usize..range.end as usize].fill(*number);
                finish(&mut lane, &started, Outcome::Applied);
            }
        }
        assert_eq!(bytes, expected);
    }
}

/// Two writes of one chunk were given up: both lost requests may still arrive.
fn two_doubts() -> (Lane<Write>, [u32; 2]) {
    let mut lane = lane();
    lane.submit(write(0, 5, 0..10));
    lane.submit(write(1, 5, 10..20));
    let lost = started(&mut lane);
    lost.iter().for_each(|start| finish(&mut lane, start, Outcome::Doubtful));
    (lane, [lost[0].tag.channel, lost[1].tag.channel])
}

#[test]
fn of_several_doubts_of_a_chunk_the_one_that_overlaps_lends_its_channel() {
    let (mut lane, channels) = two_doubts();
    lane.submit(write(2, 5, 10..20));
    let again = started(&mut lane);
    assert_eq!((again[0].tag.channel, again[0].tag.sequence), (channels[1], 2));
}

#[test]
fn what_overlaps_with_a_doubt_waits_while_another_rides_on_its_channel() {
    let mut lane = lane();
    lane.submit(write(0, 5, 0..30));
    let lost = started(&mut lane);
    finish(&mut lane, &lost[0], Outcome::Doubtful);
    lane.submit(write(1, 5, 20..30));
    lane.submit(write(2, 5, 0..10));
    lane.submit(write(3, 5, 40..50));
    let first = started(&mut lane);
    assert_eq!(numbers(&first), [1, 3]);
    assert_eq!(first[0].tag.channel, lost[0].tag.channel);
    // It was refused, so the lost request may still arrive.
    finish(&mut lane, &first[0], Outcome::Refused);
    let second = started(&mut lane);
    assert_eq!((second[0].update.number, second[0].tag.channel), (2, lost[0].tag.channel));
    finish(&mut lane, &second[0], Outcome::Applied);
    lane.submit(write(4, 5, 0..10));
    lane.submit(write(5, 5, 10..20));
    assert_eq!(started(&mut lane).len(), 2, "nothing is in doubt any more");
}

#[test]
fn what_overlaps_with_doubts_of_several_channels_closes_all_but_its_own() {
    let (mut lane, channels) = two_doubts();
    let whole = |number| Write { number, index: 5, bytes: WHOLE };
    lane.submit(whole(2));
    lane.submit(write(3, 6, 0..10));
    let mut first = lane.start().unwrap();
    assert_eq!(first.update.number, 2);
    let taken = |started: &Started<Write>| {
        let tags = started.close.iter().chain([&started.tag]);
        let mut tags: Vec<_> = tags.map(|tag| (tag.channel, tag.sequence)).collect();
        tags.sort_unstable();
        tags
    };
    let mut all = channels;
    all.sort_unstable();
    assert_eq!(taken(&first), all.map(|channel| (channel, 2)));
    assert_eq!(first.request(), Request::Close(first.close[0]));
    let other = lane.start().unwrap();
    assert!(other.update.number == 3 && !channels.contains(&other.tag.channel), "both are taken");
    // The other channel could not be closed: nothing was sent, and the next one tries again.
    first.lost();
    lane.finish(first, false);
    lane.submit(whole(4));
    let mut second = lane.start().unwrap();
    assert_eq!(taken(&second), all.map(|channel| (channel, 3)));
    // It was closed, and then the update itself got lost: only its own channel is in doubt.
    let tag = second.tag;
    assert!(!second.applied() && second.request() == Request::Update(tag));
    second.lost();
    lane.finish(second, false);
    lane.submit(write(5, 5, 3..4));
    let last = lane.start().unwrap();
    assert!(last.close.is_empty() && last.tag.channel == tag.channel);
    // And when it is applied nothing is in doubt: its channel is given back like any other.
    finish(&mut lane, &last, Outcome::Applied);
    assert!(lane.doubtful.is_empty() && lane.running.len() == 1);
}

#[test]
fn who_needs_several_channels_is_not_kept_from_them_by_others_that_fail() {
    let (mut lane, channels) = two_doubts();
    // One of the two is taken by what has nothing to do with it.
    lane.submit(write(2, 6, 0..10));
    let mut air = started(&mut lane);
    assert_eq!(air[0].tag.channel, channels[0]);
    lane.submit(Write { number: 3, index: 5, bytes: WHOLE });
    for number in 4..40 {
        lane.submit(write(number, 7, number as u64..number as u64 + 1));
        if let Some(start) = lane.start() {
            assert_ne!(start.update.number, 3, "the other one is still in the air");
            assert_ne!(start.tag.channel, channels[1], "it is left to who waits for it");
            air.push(start);
        }
        let failed = air.pop().filter(|_| air.len() > 1);
        failed.into_iter().for_each(|start| finish(&mut lane, &start, Outcome::Refused));
    }
    finish(&mut lane, &air[0], Outcome::Doubtful);
    let start = lane.start().unwrap();
    assert_eq!((start.update.number, start.close.len()), (3, 1));
}

struct InAir {
    started: Started<Write>,
    /// The head has the next request of it, and the answer is on its way.
    arrived: bool,
}

/// A head with the rule of its channel table: what is older than the last applied sequence has no effect.
#[derive(Default)]
struct Head {
    last: HashMap<u32, u64>,
    lost: Vec<(Tag, Write)>,
    /// Last acknowledged write of each byte.
    acknowledged: HashMap<(u64, u64), usize>,
    overtaken: usize,
    /// What just ended was.
    applied: bool,
}

const CHUNKS: u64 = 3;
const BYTES: u64 = 24;

impl Head {
    fn arrives(&mut self, tag: Tag, write: Option<&Write>) {
        let last = self.last.entry(tag.channel).or_default();
        if tag.sequence <= *last {
            self.overtaken += usize::from(tag.sequence < *last);
            return;
        }
        *last = tag.sequence;
        let Some(write) = write else { return };
        for byte in write.bytes.start..write.bytes.end.min(BYTES) {
            let known = self.acknowledged.get(&(write.index, byte));
            assert!(known.is_none_or(|known| *known < write.number), "{write:?} lands over {known:?}");
        }
    }

    fn acknowledges(&mut self, write: &Write) {
        for byte in write.bytes.start..write.bytes.end.min(BYTES) {
            self.acknowledged.insert((write.index, byte), write.number);
        }
    }
}

/// One thing happens to something in the air. False: it is over, and an answer or none is known of it.
fn goes_on(head: &mut Head, flight: &mut InAir, what: u64, failing: bool) -> bool {
    let started = &mut flight.started;
    let (sent, write) = match started.request() {
        Request::Close(tag) => (tag, None),
        Request::Update(tag) => (tag, Some(&started.update)),
    };
    match what {
        // It is refused, or its time is over before it is sent.
        0 if failing && !flight.arrived => false,
        // It is given up without an answer, whether it has arrived or not.
        1 | 2 if failing => {
            head.lost.extend(write.map(|write| (sent, write.clone())));
            started.lost();
            false
        }
        _ if !flight.arrived => {
            head.arrives(sent, write);
            flight.arrived = true;
            true
        }
        _ => {
            flight.arrived = false;
            let over = started.applied();
            if over {
                head.acknowledges(&started.update);
                head.applied = true;
            }
            !over
        }
    }
}

#[test]
fn no_late_request_lands_over_a_later_acknowledged_update() {
    let mut random = 42u64;
    let mut next = move |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let (mut overtaken, mut closed) = (0, 0);
    for round in 0..300 {
        // Few channels are as good as many updates.
        let mut lane = Lane::new(CLIENT, if round % 6 == 1 { 1 + round / 6 % 4 } else { CHANNELS_MAX });
        let mut head = Head::default();
        let mut air: Vec<InAir> = Vec::new();
        // Some rounds have so many that channels are short, and so many failures that doubts are too many to name.
        let (total, depth) = if round % 6 == 0 { (3000, 90) } else { (120, 8) };
        let mut submitted = 0;
        while submitted < total || !lane.is_idle() {
            if submitted < total && air.len() < depth && next(2) == 0 {
                let start = next(BYTES);
                let bytes = if next(8) == 0 { WHOLE } else { start..start + 1 + next(6) };
                lane.submit(write(submitted, next(CHUNKS), bytes));
                submitted += 1;
            }
            air.extend(std::iter::from_fn(|| lane.start()).map(|started| {
                closed += started.close.len();
                InAir { started, arrived: false }
            }));
            assert!(!air.is_empty() || lane.is_idle(), "something waits for nothing");
            if !head.lost.is_empty() && next(4) == 0 {
                let at = next(head.lost.len() as u64) as usize;
                let (tag, write) =
                    if next(2) == 0 { head.lost[at].clone() } else { head.lost.swap_remove(at) };
                head.arrives(tag, Some(&write));
            }
            if !air.is_empty() && next(2) == 0 {
                let at = next(air.len() as u64) as usize;
                // Troubles come and go.
                let failing = (submitted / 40).is_multiple_of(2);
                if !goes_on(&mut head, &mut air[at], next(6), failing) {
                    lane.finish(air.swap_remove(at).started, std::mem::take(&mut head.applied));
                }
            }
        }
        std::mem::take(&mut head.lost).iter().for_each(|(tag, write)| head.arrives(*tag, Some(write)));
        overtaken += head.overtaken;
    }
    assert!(overtaken > 1000 && closed > 1000, "{overtaken} late requests, {closed} channels closed");
}
