//! One storage server: opens its data directories, serves them, ends in order or at once.

use crate::Config;
use crate::disk::DiskShare;
use crate::disk::control::Controls;
use crate::disk::errand::Errand;
use crate::disk::opening::open_disks;
use crate::disk::scrubber::Scrubbers;
use crate::disk::watchdog::Watchdog;
use crate::metrics::{Metrics, add};
use crate::peers::Peers;
use crate::routing::RoutingState;
use crate::service::Service;
use crate::session::{Bell, Session, SessionConfig};
use crate::shared::Shared;
use pages::PagePool;
use parking_lot::Mutex;
use std::sync::Arc;
use transport::{Listener, TcpTransport, Transport};
use wire::message::TargetReport;
use wire::{Error, Result};

/// Answers of pages under way at once, a MiB each: they fill the links of a node, and three servers of one user stay
/// below what a host grants it (64 MiB, `pipe-user-pages-soft`). Further reads are copied.
const PIPES_MAX: usize = 16;

/// Dropping it ends it as the death of its process would: nothing is flushed, nobody is told.
pub struct StorageServer {
    service: Arc<Service>,
    session: Arc<Session>,
    listener: Box<dyn Listener>,
    controls: Controls,
    scrubbers: Scrubbers,
    watchdog: Watchdog,
    address: String,
    stopped: Mutex<bool>,
}

impl StorageServer {
    /// Over TCP.
    ///
    /// # Errors
    /// One sentence about the configuration, a data directory, or the address.
    pub fn start(config: Config) -> Result<StorageServer> {
        StorageServer::start_on(config, Arc::new(TcpTransport::new()))
    }

    /// # Errors
    /// As `start`.
    pub fn start_on(config: Config, transport: Arc<dyn Transport>) -> Result<StorageServer> {
        config.check()?;
        let (incarnation, disks) = open_disks(&config)?;
        let metrics = Arc::new(Metrics::default());
        let bell = Arc::new(Bell::default());
        let ringing = bell.clone();
        let suspect = Box::new(move |node| ringing.suspect(node));
        let peers = Peers::start(transport.clone(), metrics.clone(), suspect);
        let shared = Arc::new(Shared {
            incarnation,
            boot_id: config.boot_id.clone(),
            engine_options: config.engine.clone(),
            open_disk: config.open_disk.clone(),
            metrics,
            pages: PagePool::new(PIPES_MAX),
            peers,
            routing: Mutex::new(RoutingState::default()),
        });
        let watchdog = Watchdog::start(disks.clone());
        let service = Service::open(shared, config.node, disks)?;
        let listener = transport.listen(&config.address, service.clone())?;
        let address = listener.address();
        let advertised = if config.advertise.is_empty() { address.clone() } else { config.advertise.clone() };
        let session_config = SessionConfig {
            managers: config.managers.clone(),
            address: advertised,
            cluster: config.cluster.clone(),
            disks: config.disks.iter().map(|disk| disk.display().to_string()).collect(),
            domain: config.domain.clone(),
        };
        let session = Session::start(service.clone(), transport, bell.clone(), session_config);
        watchdog.tell(hang(&service, &bell));
        let controls = Controls::start(&service, &bell, config.flush_interval);
        let scrubbers = Scrubbers::start(&service, config.scrub_interval);
        let (node, listens) = (config.node, address.as_str());
        log::info!(target: "storage", node, address = listens, incarnation; "server.started");
        let stopped = Mutex::new(false);
        Ok(StorageServer { service, session, listener, controls, scrubbers, watchdog, address, stopped })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn incarnation(&self) -> u64 {
        self.service.shared.incarnation
    }

    /// What heartbeats say of each target.
    pub fn targets(&self) -> Vec<TargetReport> {
        self.service.reports()
    }

    /// Name, help and value of each counter.
    pub fn metrics(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.service.shared.metrics.snapshot()
    }

    /// In order: serves nothing any more, flushes, then gives its lease back (P1). Afterwards it may be
    /// dropped.
    ///
    /// # Errors
    /// The first target that could not be flushed; the others are.
    pub fn stop(&self) -> Result<()> {
        if std::mem::replace(&mut *self.stopped.lock(), true) {
            return Ok(());
        }
        let disks = self.service.disks();
        for disk in &disks {
            disk.lift_limits();
            disk.inbox.close();
        }
        self.listener.close();
        self.service.shared.peers.close();
        let stopped = self.end_disks(|service, disk| {
            disk.wait_idle();
            service.targets_on(disk).iter().filter_map(|target| target.stop().err()).collect::<Vec<Error>>()
        });
        let failures: Vec<Error> = stopped
            .into_iter()
            .flat_map(|(disk, failures)| failures.unwrap_or_else(|| vec![disk.no_answer()]))
            .collect();
        self.session.stop(true);
        log::info!(target: "storage", node = self.service.node; "server.stopped");
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Ends the threads of each disk, then does `work`, beside each other; `None` for a disk that hangs, whose threads
    /// are left behind.
    fn end_disks<T: Send + 'static>(
        &self,
        work: fn(&Service, &DiskShare) -> T,
    ) -> Vec<(Arc<DiskShare>, Option<T>)> {
        self.controls.stop();
        self.scrubbers.stop();
        let end = |disk: Arc<DiskShare>| {
            let threads = [self.controls.take_thread(disk.index), self.scrubbers.take_thread(disk.index)];
            let (service, own) = (self.service.clone(), disk.clone());
            let ending = move || {
                for thread in threads.into_iter().flatten() {
                    // A panic there is a bug of ours that was reported already.
                    let _ = thread.join();
                }
                work(&service, &own)
            };
            (disk, Errand::start(ending))
        };
        let ending: Vec<_> = self.service.disks().into_iter().map(end).collect();
        let finish = |(disk, errand): (Arc<DiskShare>, Errand<T>)| {
            let done = errand.finish(|| disk.hangs());
            (disk, done)
        };
        ending.into_iter().map(finish).collect()
    }
}

impl Drop for StorageServer {
    fn drop(&mut self) {
        self.service.disks().iter().for_each(|disk| disk.lift_limits());
        self.listener.close();
        self.session.stop(false);
        self.service.shared.peers.close();
        self.end_disks(|_, disk| disk.close());
        self.watchdog.stop();
    }
}

/// What becomes of the targets of a disk that hangs.
fn hang(service: &Arc<Service>, bell: &Arc<Bell>) -> impl Fn(&DiskShare) + Send + 'static {
    let (service, bell) = (Arc::downgrade(service), bell.clone());
    move |disk| {
        let Some(service) = service.upgrade() else { return };
        for target in service.targets_on(disk) {
            if target.fail_unless_offline(&disk.no_answer()) {
                add(&service.shared.metrics.targets_hung, 1);
                bell.kick();
            }
        }
    }
}
