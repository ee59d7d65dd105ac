use super::*;
use crate::engine::{ReadDone, WriteDone};
use crate::job::Pattern;
use std::collections::{BTreeMap, BTreeSet};

/// A file in memory that may not keep its word. Writes are done on threads of their own, a moment later.
#[derive(Default)]
struct MemoryEngine {
    file: Arc<Mutex<Vec<u8>>>,
    /// The write of this block of this number (1: the first) is answered and not done.
    lost: Option<(u64, u32)>,
    seen: Mutex<BTreeMap<u64, u32>>,
    in_the_air: Arc<Mutex<BTreeSet<u64>>>,
}

impl Engine for MemoryEngine {
    fn prepare(&self, job: &Job) -> Result<()> {
        let mut file = self.file.lock();
        if file.is_empty() {
            file.resize(job.size_bytes as usize, 0);
            pattern::fill(job.content_seed(0), 0, 0, &mut file);
        }
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }

    fn read(&self, _: u32, offset: u64, len: u32, done: ReadDone) {
        let bytes = self.file.lock()[offset as usize..][..len as usize].to_vec();
        done(Ok(vec![bytes.into()]));
    }

    fn write(&self, _: u32, offset: u64, data: Bytes, done: WriteDone) {
        let block = offset / data.len() as u64;
        let number = {
            let mut seen = self.seen.lock();
            let number = seen.entry(block).or_default();
            *number += 1;
            *number
        };
        let is_lost = self.lost == Some((block, number));
        assert!(self.in_the_air.lock().insert(block), "two writes of block {block} at a time");
        let (file, in_the_air) = (self.file.clone(), self.in_the_air.clone());
        std::thread::spawn(move || {
            std::thread::yield_now();
            if !is_lost {
                file.lock()[offset as usize..][..data.len()].copy_from_slice(&data);
            }
            in_the_air.lock().remove(&block);
            done(Ok(()));
        });
    }

    fn fsync(&self, _: u32) -> Result<()> {
        Ok(())
    }
}

/// As many random writes as the file has blocks.
fn job() -> Job {
    Job {
        pattern: Pattern::RandomWrite,
        block_bytes: 4096,
        depth: 8,
        jobs: 1,
        size_bytes: 64 * 4096,
        runtime: Duration::ZERO,
        fsync_every: 0,
        fsync_at_end: true,
        verify: true,
        seed: 5,
    }
}

/// How often the job writes each of its blocks.
fn writes_of(job: &Job) -> BTreeMap<u64, u32> {
    let mut writes = BTreeMap::new();
    for number in 0..job.blocks() {
        *writes.entry(job.block(0, number)).or_default() += 1;
    }
    writes
}

fn outcome(engine: MemoryEngine) -> Report {
    let engine: Arc<dyn Engine> = Arc::new(engine);
    run(&job(), &engine).unwrap()
}

fn losing(block: u64, number: u32) -> MemoryEngine {
    MemoryEngine { lost: Some((block, number)), ..Default::default() }
}

fn assert_lost(report: &Report, block: u64) {
    assert_eq!(report.errors, 1);
    let (what, offset) = report.first_error.rsplit_once(' ').unwrap();
    assert!(what.ends_with("a write was lost: another one's byte at offset"), "{what}");
    // Of the first word.
    assert_eq!(offset.parse::<u64>().unwrap() / 8, block * 4096 / 8);
}

#[test]
fn a_lost_overwrite_is_found() {
    let writes = writes_of(&job());
    let well = outcome(MemoryEngine::default());
    assert_eq!((well.operations, well.errors), (64, 0), "{}", well.first_error);
    assert_eq!(well.verified_bytes, writes.len() as u64 * 4096);

    let (&block, &last) = writes.iter().max_by_key(|(_, writes)| **writes).unwrap();
    assert!(last >= 2);
    assert_lost(&outcome(losing(block, last)), block);
    // What a later write covers, nobody can find.
    assert_eq!(outcome(losing(block, last - 1)).errors, 0);

    let (&once, _) = writes.iter().find(|(_, writes)| **writes == 1).unwrap();
    assert_lost(&outcome(losing(once, 1)), once);
}

#[test]
fn what_an_earlier_run_left_is_no_write_of_this_one() {
    let (block, last) = writes_of(&job()).into_iter().max_by_key(|(_, writes)| *writes).unwrap();
    let first = MemoryEngine::default();
    let file = first.file.clone();
    assert_eq!(outcome(first).errors, 0);
    assert_eq!(outcome(MemoryEngine { file: file.clone(), ..Default::default() }).errors, 0);
    assert_lost(&outcome(MemoryEngine { file, ..losing(block, last) }), block);
}
