//! Reads everything that the targets of one disk hold, at a bounded rate, so that damage is found while other
//! copies are still good. One thread per disk; where each target stands is in the target.

use super::DiskShare;
use crate::service::Service;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a disk without anything to scrub is looked at.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

pub struct Scrubbers {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    threads: Mutex<BTreeMap<usize, JoinHandle<()>>>,
}

impl Scrubbers {
    /// A pass begins by itself `interval` after the last one ended; zero: only when asked for.
    pub fn start(service: &Arc<Service>, interval: Duration) -> Scrubbers {
        let stopped: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let mut threads = BTreeMap::new();
        for disk in service.disks() {
            let (service, stopping, index) = (service.clone(), stopped.clone(), disk.index);
            let builder = std::thread::Builder::new().name("disk-scrub".into());
            let run = move || run(&service, &disk, interval, &stopping);
            threads.insert(index, builder.spawn(run).expect("a thread can be started"));
        }
        Scrubbers { stopped, threads: Mutex::new(threads) }
    }

    /// Waits for none of them.
    pub fn stop(&self) {
        *self.stopped.0.lock() = true;
        self.stopped.1.notify_all();
    }

    /// To be joined by whoever may wait for the disk.
    pub fn take_thread(&self, disk: usize) -> Option<JoinHandle<()>> {
        self.threads.lock().remove(&disk)
    }
}

/// False: it is over.
fn pause(stopping: &(Mutex<bool>, Condvar), time: Duration) -> bool {
    let mut stopped = stopping.0.lock();
    if !*stopped && !time.is_zero() {
        stopping.1.wait_for(&mut stopped, time);
    }
    !*stopped
}

fn run(service: &Service, disk: &DiskShare, interval: Duration, stopping: &(Mutex<bool>, Condvar)) {
    while pause(stopping, IDLE_PAUSE) {
        let targets = service.targets_on(disk);
        let mut working = true;
        // In turn, a piece of each.
        while working {
            working = false;
            for target in &targets {
                target.begin_scrub_if_due(interval);
                let Some(bytes) = target.scrub_next() else { continue };
                working = true;
                if !pause(stopping, disk.scrub_pace.grant(bytes)) {
                    return targets.iter().for_each(|target| target.remember_scrub());
                }
            }
        }
    }
}
