//! Reads everything that the targets of one disk hold, at a bounded rate, so that damage is found while other
//! copies are still good. One thread per disk; where each target stands is in the target.

use super::DiskShare;
use crate::service::Service;
use crate::target::Target;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a disk without anything to scrub is looked at.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

pub struct Scrubbers {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    threads: Mutex<Vec<(Arc<DiskShare>, JoinHandle<()>)>>,
}

impl Scrubbers {
    /// A pass begins by itself `interval` after the last one ended; zero: only when asked for.
    pub fn start(service: &Arc<Service>, interval: Duration) -> Scrubbers {
        let stopped: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let mut threads = Vec::new();
        for disk in service.disks() {
            let (service, own, stopping) = (service.clone(), disk.clone(), stopped.clone());
            let builder = std::thread::Builder::new().name("disk-scrub".into());
            let run = move || run(&service, &own, interval, &stopping);
            threads.push((disk, builder.spawn(run).expect("a thread can be started")));
        }
        Scrubbers { stopped, threads: Mutex::new(threads) }
    }

    /// Does not wait for a disk that hangs.
    pub fn stop(&self) {
        *self.stopped.0.lock() = true;
        self.stopped.1.notify_all();
        for (disk, thread) in std::mem::take(&mut *self.threads.lock()) {
            if !disk.hangs() {
                let _ = thread.join();
            }
        }
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
        let on_it = service.targets().into_iter().filter(|target| target.disk_index() == disk.index);
        let targets: Vec<Arc<Target>> = on_it.collect();
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
