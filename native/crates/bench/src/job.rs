//! What to measure: the options of a run, with fio's names and meaning, and the operations that follow from
//! them.

use crate::pattern::mix;
use std::time::Duration;
use wire::{Code, Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    Read,
    Write,
    RandomRead,
    RandomWrite,
}

impl Pattern {
    /// fio's names: read, write, randread, randwrite.
    ///
    /// # Errors
    /// `InvalidArgument` for any other.
    pub fn parse(name: &str) -> Result<Pattern> {
        match name {
            "read" => Ok(Pattern::Read),
            "write" => Ok(Pattern::Write),
            "randread" => Ok(Pattern::RandomRead),
            "randwrite" => Ok(Pattern::RandomWrite),
            other => {
                let detail = format!("rw={other}: expected read, write, randread or randwrite");
                Err(Error::new(Code::InvalidArgument, detail))
            }
        }
    }

    pub fn reads(self) -> bool {
        matches!(self, Pattern::Read | Pattern::RandomRead)
    }

    pub fn random(self) -> bool {
        matches!(self, Pattern::RandomRead | Pattern::RandomWrite)
    }
}

#[derive(Clone, Debug)]
pub struct Job {
    pub pattern: Pattern,
    /// Bytes of each operation.
    pub block_bytes: u32,
    /// Operations in the air per job.
    pub depth: u32,
    /// Jobs, each on a file of its own.
    pub jobs: u32,
    /// Bytes of each job's file.
    pub size_bytes: u64,
    /// Ends the run earlier, or makes it go over the file again and again; zero: each block once.
    pub runtime: Duration,
    /// Operations between two fsyncs; 0: none but the one at the end.
    pub fsync_every: u64,
    /// One fsync after the last write, inside the measured time.
    pub fsync_at_end: bool,
    /// Reads compare what they get with what was written; writes are read back afterwards.
    pub verify: bool,
    pub seed: u64,
}

/// Operations in the air over all jobs: each holds a block in memory.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;

/// Blocks of all jobs that a verifying writer remembers: 1 GiB of four bytes each.
const REMEMBERED_BLOCKS_MAX: u64 = 1 << 28;

impl Job {
    /// # Errors
    /// `InvalidArgument` naming the option that is out of bounds.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::new(Code::InvalidArgument, what));
        if !(512..=64 << 20).contains(&self.block_bytes) || !self.block_bytes.is_multiple_of(8) {
            return refuse("bs must be 512 bytes to 64 MiB, and a multiple of 8");
        }
        if !(1..=1024).contains(&self.depth) {
            return refuse("iodepth must be 1 to 1024");
        }
        if !(1..=256).contains(&self.jobs) {
            return refuse("numjobs must be 1 to 256");
        }
        if self.size_bytes < u64::from(self.block_bytes) {
            return refuse("size must be at least one block");
        }
        let in_flight = u64::from(self.block_bytes) * u64::from(self.depth) * u64::from(self.jobs);
        if in_flight > IN_FLIGHT_BYTES_MAX {
            return refuse(
                "bs x iodepth x numjobs must be at most 1 GiB: each block in the air is held in memory",
            );
        }
        let remembered = self.blocks().saturating_mul(u64::from(self.jobs));
        if self.verify && !self.pattern.reads() && remembered > REMEMBERED_BLOCKS_MAX {
            return refuse(
                "size / bs x numjobs must be at most 268,435,456 with verify: what was written last is \
                 remembered of each block",
            );
        }
        Ok(())
    }

    /// Whether the files must be there, whole and with the content of their seed, before the job begins: reads
    /// compare it, and random writes are to overwrite.
    pub fn expects_content(&self) -> bool {
        self.pattern.reads() || self.pattern.random()
    }

    pub fn blocks(&self) -> u64 {
        self.size_bytes / u64::from(self.block_bytes)
    }

    /// The seed of one job's content.
    pub fn content_seed(&self, job: u32) -> u64 {
        mix(self.seed ^ (u64::from(job) << 32))
    }

    /// Block of the n-th operation of a job.
    pub fn block(&self, job: u32, number: u64) -> u64 {
        if self.pattern.random() {
            mix(self.content_seed(job) ^ mix(number)) % self.blocks()
        } else {
            number % self.blocks()
        }
    }

    pub fn offset_of(&self, block: u64) -> u64 {
        block * u64::from(self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn job(pattern: Pattern) -> Job {
        let runtime = Duration::ZERO;
        Job {
            pattern,
            block_bytes: 4096,
            depth: 4,
            jobs: 2,
            size_bytes: 1 << 20,
            runtime,
            fsync_every: 0,
            fsync_at_end: true,
            verify: true,
            seed: 1,
        }
    }

    #[test]
    fn sequential_offsets_visit_each_block_in_order_and_wrap() {
        let job = job(Pattern::Read);
        let offsets: Vec<u64> = (0..257).map(|number| job.offset_of(job.block(0, number))).collect();
        assert_eq!((offsets[0], offsets[255], offsets[256]), (0, 255 * 4096, 0));
    }

    #[test]
    fn random_blocks_stay_inside_and_differ_between_jobs() {
        let job = job(Pattern::RandomRead);
        let of = |each: u32| -> Vec<u64> { (0..1000).map(|number| job.block(each, number)).collect() };
        assert!(of(0).iter().all(|block| job.offset_of(block + 1) <= job.size_bytes));
        assert_ne!(of(0), of(1));
        let mut distinct = of(0);
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 200, "1,000 draws of 256 blocks reach most of them");
    }

    #[test]
    fn wrong_options_are_named() {
        let wrong = Job { depth: 0, ..job(Pattern::Read) };
        assert!(wrong.check().unwrap_err().detail.contains("iodepth"));
        let wrong = Job { block_bytes: 100, ..job(Pattern::Read) };
        assert!(wrong.check().unwrap_err().detail.contains("bs"));
        assert!(job(Pattern::Write).check().is_ok());
        let large = Job { size_bytes: 1 << 40, ..job(Pattern::RandomWrite) };
        assert!(large.check().unwrap_err().detail.contains("with verify"));
        assert!(Job { verify: false, ..large }.check().is_ok());
    }
}
