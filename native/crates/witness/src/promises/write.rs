//! Makes promises until it is killed. Lines of the log: `begun|promised FILE BLOCK VERSION NS`.

use super::{BLOCKS_PER_FILE, block_of};
use crate::clock::boot_ns;
use crate::random::{Random, mix};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Promises in a file before the lane begins a new one: most blocks are written twice.
const PROMISES_PER_FILE: u64 = 60;

pub struct WriterOptions {
    pub folder: PathBuf,
    pub log: PathBuf,
    pub seed: u64,
    pub lanes: u32,
    pub duration: Duration,
}

/// The number of promises.
///
/// # Errors
/// Any: before a cut nothing may fail.
pub fn write(options: &WriterOptions) -> Result<u64> {
    let log = Mutex::new(File::create(&options.log)?);
    let end = Instant::now() + options.duration;
    let mut total = 0;
    std::thread::scope(|scope| {
        let run = |lane| {
            scope.spawn({
                let log = &log;
                move || run_lane(options, lane, end, log)
            })
        };
        let lanes: Vec<_> = (0..options.lanes).map(run).collect();
        for lane in lanes {
            total += lane.join().expect("a lane does not panic")?;
        }
        Ok(total)
    })
}

fn run_lane(options: &WriterOptions, lane: u32, end: Instant, log: &Mutex<File>) -> Result<u64> {
    let mut random = Random::new(mix(options.seed) ^ u64::from(lane));
    let mut promises = 0;
    for number in 0.. {
        let name = format!("lane-{lane}-{number}");
        let file = File::create(options.folder.join(&name))?;
        let mut versions = [0; BLOCKS_PER_FILE as usize];
        for _ in 0..PROMISES_PER_FILE {
            if Instant::now() >= end {
                return Ok(promises);
            }
            let block = random.below(BLOCKS_PER_FILE);
            versions[block as usize] += 1;
            let version = versions[block as usize];
            let data = block_of(&name, block, version);
            writeln!(log.lock(), "begun {name} {block} {version} {}", boot_ns())?;
            file.write_all_at(&data, block * data.len() as u64)?;
            file.sync_all()?;
            writeln!(log.lock(), "promised {name} {block} {version} {}", boot_ns())?;
            promises += 1;
        }
    }
    Ok(promises)
}
