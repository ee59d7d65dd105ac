//! Drives an engine: keeps `depth` operations of each job in the air and records how long each took.

use crate::engine::{Engine, read_wait};
use crate::generations::Generations;
use crate::histogram::Histogram;
use crate::job::Job;
use crate::pattern::{self, Generation};
use crate::report::Report;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::{Code, Error, Result};

/// One job under way: what its completions write to.
struct Lane {
    state: Mutex<LaneState>,
    room: Condvar,
    /// Number of the next operation.
    next: AtomicU64,
}

struct LaneState {
    in_flight: u32,
    /// Of a job that writes and verifies.
    generations: Option<Generations>,
    latencies: Histogram,
    bytes: u64,
    verified_bytes: u64,
    errors: u64,
    first_error: String,
}

/// Runs the job to its end. An engine's errors are counted, not returned; only a job that cannot start is an
/// error.
///
/// # Errors
/// `InvalidArgument` for options out of bounds; what the engine says when it cannot prepare its files.
pub fn run(job: &Job, engine: &Arc<dyn Engine>) -> Result<Report> {
    job.check()?;
    engine.prepare(job)?;
    let cpu = cpu_time();
    let started = Instant::now();
    let lanes = all_jobs(job, engine, started);
    let elapsed = started.elapsed();
    let mut report = collect(&lanes, elapsed, cpu_time().saturating_sub(cpu));
    for (each, lane) in lanes.iter().enumerate() {
        let generations = lane.state.lock().generations.take();
        if let Some(generations) = generations {
            read_back(job, engine, each as u32, &generations, &mut report);
        }
    }
    Ok(report)
}

fn all_jobs(job: &Job, engine: &Arc<dyn Engine>, started: Instant) -> Vec<Arc<Lane>> {
    let threads = if engine.blocks() { job.depth } else { 1 };
    let mut lanes = Vec::new();
    std::thread::scope(|scope| {
        for each in 0..job.jobs {
            let lane = Arc::new(Lane::new(job));
            for _ in 0..threads {
                let lane = lane.clone();
                scope.spawn(move || issue(job, engine, each, &lane, started));
            }
            lanes.push(lane);
        }
    });
    if job.fsync_at_end && !job.pattern.reads() {
        for (each, lane) in lanes.iter().enumerate() {
            if let Err(error) = engine.fsync(each as u32) {
                lane.state.lock().fail(&error);
            }
        }
    }
    lanes
}

/// Issues operations of one job until it is over, then waits for the last of them.
fn issue(job: &Job, engine: &Arc<dyn Engine>, each: u32, lane: &Arc<Lane>, started: Instant) {
    let seed = job.content_seed(each);
    // Without verification every sequential write sends the same bytes, so that making them costs nothing.
    // Random ones leave most of their file as it was, and it stays good for reads.
    let made = job.verify || job.pattern.random();
    let shared = pattern::make(seed, 0, 0, job.block_bytes as usize);
    loop {
        let number = lane.next.fetch_add(1, Ordering::Relaxed);
        let over =
            if job.runtime.is_zero() { number >= job.blocks() } else { started.elapsed() >= job.runtime };
        if over {
            break;
        }
        let block = job.block(each, number);
        let (offset, len) = (job.offset_of(block), job.block_bytes);
        let generation = lane.enter(job.depth, block);
        let begun = Instant::now();
        let (reads, verify) = (job.pattern.reads(), job.verify);
        let finish = {
            let lane = lane.clone();
            move |result: Result<Vec<Bytes>>| {
                let ns = begun.elapsed().as_nanos() as u64;
                let verified = result.and_then(|got| {
                    if reads && verify { checked(seed, offset, None, len, &got) } else { Ok(0) }
                });
                lane.finish(ns, block, len, verified);
            }
        };
        if reads {
            engine.read(each, offset, len, Box::new(finish));
        } else {
            let data =
                if made { pattern::make(seed, offset, generation, len as usize) } else { shared.clone() };
            engine.write(each, offset, data, Box::new(move |result| finish(result.map(|()| Vec::new()))));
        }
        if job.fsync_every > 0 && !reads && (number + 1).is_multiple_of(job.fsync_every) {
            if !engine.blocks() {
                lane.drain();
            }
            if let Err(error) = engine.fsync(each) {
                lane.state.lock().fail(&error);
            }
        }
    }
    lane.drain();
}

/// Bytes that were compared; without a generation they may be of any write.
fn checked(seed: u64, offset: u64, generation: Option<Generation>, len: u32, got: &[Bytes]) -> Result<u64> {
    let whole = got.concat();
    if whole.len() != len as usize {
        let detail = format!("{} bytes at offset {offset}, wanted {len}", whole.len());
        return Err(Error::new(Code::Corrupt, detail));
    }
    let Some(wrong) = pattern::first_wrong(seed, offset, generation, &whole) else {
        return Ok(whole.len() as u64);
    };
    let at = wrong.offset;
    let what = if wrong.of_another_write {
        format!("a write was lost: another one's byte at offset {at}")
    } else {
        format!("wrong byte at offset {at}")
    };
    Err(Error::new(Code::Corrupt, what))
}

/// Reads every block that the job wrote again, after the measured part: each holds the last write of it.
fn read_back(job: &Job, engine: &Arc<dyn Engine>, each: u32, generations: &Generations, report: &mut Report) {
    let seed = job.content_seed(each);
    for (block, generation) in generations.written() {
        let offset = job.offset_of(block);
        let got = read_wait(engine.as_ref(), each, offset, job.block_bytes);
        match got.and_then(|got| checked(seed, offset, Some(generation), job.block_bytes, &got)) {
            Ok(bytes) => report.verified_bytes += bytes,
            Err(error) => {
                report.errors += 1;
                if report.first_error.is_empty() {
                    report.first_error = format!("reading back job {each}: {error}");
                }
            }
        }
    }
}

impl Lane {
    fn new(job: &Job) -> Self {
        let verifies = job.verify && !job.pattern.reads();
        let state = LaneState {
            in_flight: 0,
            generations: verifies.then(|| Generations::new(job.blocks())),
            latencies: Histogram::new(),
            bytes: 0,
            verified_bytes: 0,
            errors: 0,
            first_error: String::new(),
        };
        Lane { state: Mutex::new(state), room: Condvar::new(), next: AtomicU64::new(0) }
    }

    /// Waits until fewer than `depth` operations are in the air, and none that would leave open what the block
    /// holds afterwards; then counts one in. The generation of what it writes.
    fn enter(&self, depth: u32, block: u64) -> Generation {
        let mut state = self.state.lock();
        while state.in_flight >= depth
            || state.generations.as_ref().is_some_and(|generations| generations.is_busy(block))
        {
            self.room.wait(&mut state);
        }
        state.in_flight += 1;
        state.generations.as_mut().map_or(0, |generations| generations.begin(block))
    }

    /// Waits until none is in the air.
    fn drain(&self) {
        let mut state = self.state.lock();
        while state.in_flight > 0 {
            self.room.wait(&mut state);
        }
    }

    fn finish(&self, ns: u64, block: u64, len: u32, result: Result<u64>) {
        let mut state = self.state.lock();
        state.in_flight -= 1;
        if let Some(generations) = &mut state.generations {
            generations.end(block, result.is_ok());
        }
        match result {
            Ok(verified) => {
                state.latencies.record(ns);
                state.bytes += u64::from(len);
                state.verified_bytes += verified;
            }
            Err(error) => state.fail(&error),
        }
        drop(state);
        self.room.notify_all();
    }
}

impl LaneState {
    fn fail(&mut self, error: &Error) {
        self.errors += 1;
        if self.first_error.is_empty() {
            self.first_error = error.to_string();
        }
    }
}

fn collect(lanes: &[Arc<Lane>], elapsed: Duration, cpu: Duration) -> Report {
    let mut report = Report {
        operations: 0,
        bytes: 0,
        elapsed,
        errors: 0,
        first_error: String::new(),
        verified_bytes: 0,
        cpu,
        latencies: Histogram::new(),
    };
    for lane in lanes {
        let state = lane.state.lock();
        report.operations += state.latencies.count();
        report.bytes += state.bytes;
        report.errors += state.errors;
        report.verified_bytes += state.verified_bytes;
        report.latencies.merge(&state.latencies);
        if report.first_error.is_empty() {
            report.first_error.clone_from(&state.first_error);
        }
    }
    report
}

/// User and system time of this process.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
