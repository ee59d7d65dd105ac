use super::*;

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

fn started(lane: &mut Lane<Write>) -> Vec<(usize, Ticket, Tag)> {
    std::iter::from_fn(|| lane.start()).map(|(write, ticket, tag)| (write.number, ticket, tag)).collect()
}

#[test]
fn overlapping_writes_wait_for_each_other_and_others_do_not() {
    let mut lane = Lane::new(ClientId([7; 16]));
    lane.submit(write(0, 0, 0..10));
    lane.submit(write(1, 0, 10..20));
    lane.submit(write(2, 0, 5..15));
    lane.submit(write(3, 0, 14..16));
    lane.submit(write(4, 0, 30..40));
    lane.submit(write(5, 1, 0..10));
    lane.submit(Write { number: 6, index: 1, bytes: WHOLE });
    lane.submit(write(7, 1, 50..60));
    let first = started(&mut lane);
    let numbers: Vec<usize> = first.iter().map(|start| start.0).collect();
    assert_eq!(numbers, [0, 1, 5], "4 waits behind a queue, which costs a little time and no order");
    lane.finish(first[0].1, Outcome::Applied);
    assert_eq!(started(&mut lane).iter().map(|start| start.0).collect::<Vec<_>>(), [4]);
    lane.finish(first[1].1, Outcome::Applied);
    let second = started(&mut lane);
    assert_eq!(second.iter().map(|start| start.0).collect::<Vec<_>>(), [2]);
    lane.finish(second[0].1, Outcome::Applied);
    assert_eq!(started(&mut lane).iter().map(|start| start.0).collect::<Vec<_>>(), [3]);
    lane.finish(first[2].1, Outcome::Applied);
    let whole = started(&mut lane);
    assert_eq!(whole.iter().map(|start| start.0).collect::<Vec<_>>(), [6]);
    lane.finish(whole[0].1, Outcome::Applied);
    assert_eq!(started(&mut lane).iter().map(|start| start.0).collect::<Vec<_>>(), [7]);
}

#[test]
fn at_most_64_in_the_air_and_sequences_rise_by_one() {
    let mut lane = Lane::new(ClientId([7; 16]));
    for number in 0..100 {
        lane.submit(write(number, number as u64, 0..1));
    }
    let first = started(&mut lane);
    assert_eq!(first.len(), CHANNELS_MAX as usize);
    let mut channels: Vec<u32> = first.iter().map(|start| start.2.channel).collect();
    channels.sort_unstable();
    channels.dedup();
    assert_eq!(channels.len(), first.len(), "one update per channel");
    assert!(first.iter().all(|start| start.2.sequence == 1));
    lane.finish(first[9].1, Outcome::Applied);
    let next = started(&mut lane);
    assert_eq!(next.len(), 1);
    assert_eq!((next[0].0, next[0].2.channel, next[0].2.sequence), (64, first[9].2.channel, 2));
    assert!(!lane.is_idle());
}

#[test]
fn a_doubtful_channel_goes_to_the_next_update_of_its_chunk() {
    let mut lane = Lane::new(ClientId([7; 16]));
    lane.submit(write(0, 5, 0..10));
    lane.submit(write(1, 6, 0..10));
    let first = started(&mut lane);
    lane.finish(first[1].1, Outcome::Doubtful);
    lane.finish(first[0].1, Outcome::Doubtful);
    lane.submit(write(2, 5, 0..10));
    let again = started(&mut lane);
    assert_eq!((again[0].2.channel, again[0].2.sequence), (first[0].2.channel, 2));
    lane.finish(again[0].1, Outcome::Applied);
    lane.submit(write(3, 9, 0..10));
    let other = started(&mut lane);
    assert_eq!(other[0].2.channel, first[1].2.channel, "doubtful ones are used up first");
    // It was refused, so the lost request of chunk 6 may still arrive.
    lane.finish(other[0].1, Outcome::Refused);
    lane.submit(write(4, 7, 0..10));
    lane.submit(write(5, 6, 0..10));
    let last = started(&mut lane);
    assert_eq!(
        last.iter().map(|start| start.2.channel).filter(|&channel| channel == first[1].2.channel).count(),
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
        let mut lane = Lane::new(ClientId([7; 16]));
        let (mut bytes, mut expected) = ([usize::MAX; 32], [usize::MAX; 32]);
        let mut air: Vec<(Write, Ticket)> = Vec::new();
        let mut submitted = 0;
        while submitted < 60 || !air.is_empty() || !lane.is_idle() {
            if submitted < 60 && next(2) == 0 {
                let start = next(28);
                let update = write(submitted, 0, start..start + 1 + next(4));
                expected[update.bytes.start as usize..update.bytes.end as usize].fill(submitted);
                lane.submit(update);
                submitted += 1;
            }
            air.extend(std::iter::from_fn(|| lane.start()).map(|(write, ticket, _)| (write, ticket)));
            if !air.is_empty() && next(2) == 0 {
                let (update, ticket) = air.swap_remove(next(air.len() as u64) as usize);
                bytes[update.bytes.start as usize..update.bytes.end as usize].fill(update.number);
                lane.finish(ticket, Outcome::Applied);
            }
        }
        assert_eq!(bytes, expected);
    }
}
