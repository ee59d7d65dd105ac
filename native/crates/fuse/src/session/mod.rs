//! One mounted session: mounts, negotiates, runs the workers, and ends when the kernel says so. Order at the
//! start: mount, INIT, workers, read-ahead. At the end: unmount, workers end by ENODEV, then `ended`.

mod channel;
mod clone;
mod device;
mod dispatch;
mod handshake;
mod interrupts;
mod metrics;
mod notify;
mod pending;
mod reply;
#[cfg(test)]
mod scripted;
mod workers;

pub use channel::Channel;
pub use device::open_device;
pub use handshake::{Negotiated, REQUEST_BYTES_MAX};
pub use metrics::{Metrics, OperationMetrics};
pub use notify::Notifier;
pub use reply::{Reply, Request};

use crate::attach::{self, AttachOptions, Attached};
use crate::file_system::FileSystem;
use device::Device;
use dispatch::Dispatcher;
use interrupts::Interrupts;
use parking_lot::Mutex;
use pending::Table;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::{BufferPool, Code, Error, Result};
use workers::Workers;

#[derive(Clone, Debug)]
pub struct SessionOptions {
    pub attach: AttachOptions,
    /// Threads that may be blocked in the file system at once, plus a reader, and beside those that wait for chains.
    pub threads_max: usize,
    /// The kernel's read-ahead per file. Needs root; otherwise the kernel's own 128 KiB stays.
    pub readahead_bytes: u32,
}

impl SessionOptions {
    pub fn new(attach: AttachOptions) -> Self {
        // 64 blocked calls of the metadata service are more than it answers at a time; each costs a stack and
        // a buffer.
        SessionOptions { attach, threads_max: 64, readahead_bytes: 4 << 20 }
    }
}

/// Unused request buffers kept: one for each of the threads that usually stay, and room for writes in the
/// air.
const IDLE_BUFFER_BYTES: usize = 32 << 20;

/// How long the kernel may take to end a connection: it waits for other mount namespaces and for open files
/// of a lazy unmount.
const ENDING_PATIENCE: Duration = Duration::from_secs(2);

/// The kernel may have more requests, which come when those are answered that it gave us.
const BETWEEN_INTERRUPTS: Duration = Duration::from_millis(20);

pub struct Session {
    workers: Arc<Workers>,
    attached: Attached,
    /// Beside the workers; empty when they have ended.
    threads: Mutex<Vec<JoinHandle<()>>>,
    notifier: Notifier,
    negotiated: Negotiated,
}

impl Session {
    pub fn start(options: &SessionOptions, file_system: Arc<dyn FileSystem>) -> Result<Arc<Session>> {
        let (fd, attached) = attach::attach(&options.attach)?;
        let channel: Arc<dyn Channel> = Arc::new(Device::new(fd));
        match Session::run(options, file_system, channel, attached.clone()) {
            Ok(session) => Ok(session),
            Err(error) => {
                let _ = attached.detach_now();
                Err(error)
            }
        }
    }

    fn run(
        options: &SessionOptions,
        file_system: Arc<dyn FileSystem>,
        channel: Arc<dyn Channel>,
        attached: Attached,
    ) -> Result<Arc<Session>> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(Code::Io, format!("mount {}: {what}: {error}", attached.path().display()))
        };
        let negotiated = handshake::shake_hands(&*channel, options.readahead_bytes)
            .map_err(|errno| failed("the kernel's INIT", &errno))?;
        let notifier = Notifier::new(channel.clone());
        file_system.started(&negotiated, notifier.clone());
        let dispatcher = Dispatcher {
            file_system,
            table: Table::new(Arc::new(Metrics::new())),
            interrupts: Interrupts::default(),
            pool: BufferPool::new(IDLE_BUFFER_BYTES),
        };
        let workers = Workers::new(dispatcher, options.threads_max);
        let threads = start_threads(&workers, &notifier).map_err(|error| failed("threads", &error))?;
        workers.start(channel).map_err(|error| failed("threads", &error))?;
        attached.set_readahead(options.readahead_bytes);
        log::info!(target: "fuse", path = attached.path().display().to_string().as_str(),
            minor = negotiated.kernel_minor, features = negotiated.features; "session.started");
        let threads = Mutex::new(threads);
        Ok(Arc::new(Session { workers, attached, threads, notifier, negotiated }))
    }

    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.workers.dispatcher.table.metrics.clone()
    }

    /// Requests that wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.workers.dispatcher.table.in_flight()
    }

    /// Blocks until the session ends: by `unmount`, by umount(8), or because the kernel aborted it.
    pub fn wait(&self) {
        self.workers.wait(None);
        self.finish();
    }

    /// Unmounts: politely for `patience`, and then with force, which makes the files that are still open
    /// fail.
    pub fn unmount(&self, patience: Duration) -> Result<()> {
        self.detach(Instant::now() + patience)?;
        if !self.workers.wait(Some(Instant::now() + ENDING_PATIENCE)) {
            self.attached.abort();
            let deadline = Instant::now() + ENDING_PATIENCE;
            // Where nobody may abort, as `detach`, if it was umount(8) that waits.
            while !self.workers.wait(Some(Instant::now() + BETWEEN_INTERRUPTS)) {
                if Instant::now() >= deadline {
                    let path = self.attached.path().display();
                    let text = format!("{path} is unmounted here but still mounted or open elsewhere");
                    return Err(Error::new(Code::Busy, text));
                }
                self.workers.dispatcher.table.interrupt_all();
            }
        }
        self.finish();
        Ok(())
    }

    /// The kernel lets umount(2) wait for a notice under way, and that for pages which a read ahead holds until it is
    /// answered. If its reader is gone, the mount is not busy, and nobody wants the answer any more.
    fn detach(&self, deadline: Instant) -> Result<()> {
        let (detaching, detached) = mpsc::channel::<()>();
        let end_requests = move || {
            let mut patience = deadline.saturating_duration_since(Instant::now()) + ENDING_PATIENCE;
            while detached.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                self.workers.dispatcher.table.interrupt_all();
                patience = BETWEEN_INTERRUPTS;
            }
        };
        std::thread::scope(|scope| {
            let watching =
                std::thread::Builder::new().name("fuse-detach".into()).spawn_scoped(scope, end_requests);
            let result = self.attached.detach(deadline);
            drop((detaching, watching));
            result
        })
    }

    fn finish(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        self.workers.dispatcher.interrupts.stop();
        self.notifier.stop();
        for thread in threads {
            thread.join().expect("a thread of the session panicked");
        }
        self.workers.dispatcher.file_system.ended();
        log::info!(target: "fuse", path = self.attached.path().display().to_string().as_str(); "session.ended");
    }
}

fn start_threads(workers: &Arc<Workers>, notifier: &Notifier) -> std::io::Result<Vec<JoinHandle<()>>> {
    let watched = workers.clone();
    let interrupts = std::thread::Builder::new()
        .name("fuse-interrupts".into())
        .spawn(move || watched.dispatcher.interrupts.watch())?;
    Ok([interrupts].into_iter().chain(notifier.start()?).collect())
}
