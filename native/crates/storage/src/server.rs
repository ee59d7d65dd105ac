//! One storage server: opens its data directories, serves them, ends in order or at once.

use crate::Config;
use crate::directory::{Directory, require_mount_point};
use crate::disk::DiskShare;
use crate::disk::control::Controls;
use crate::disk::scrubber::Scrubbers;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::routing::RoutingState;
use crate::service::Service;
use crate::session::{Bell, Session, SessionConfig};
use crate::shared::Shared;
use pages::PagePool;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::SystemTime;
use transport::{Listener, TcpTransport, Transport};
use wire::message::TargetReport;
use wire::{Code, Error, Result};

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
        let controls = Controls::start(&service, &bell, config.flush_interval);
        let scrubbers = Scrubbers::start(&service, config.scrub_interval);
        let (node, listens) = (config.node, address.as_str());
        log::info!(target: "storage", node, address = listens, incarnation; "server.started");
        let stopped = Mutex::new(false);
        Ok(StorageServer { service, session, listener, controls, scrubbers, address, stopped })
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
        self.controls.stop();
        self.scrubbers.stop();
        self.service.shared.peers.close();
        disks.iter().filter(|disk| !disk.hangs()).for_each(|disk| disk.wait_idle());
        let mut failures: Vec<Error> = Vec::new();
        for target in self.service.targets() {
            let stopped = match target.is_hung() {
                true => Err(Error::new(Code::Io, format!("the disk of target {} hangs", target.id))),
                false => target.stop(),
            };
            failures.extend(stopped.err());
        }
        self.session.stop(true);
        log::info!(target: "storage", node = self.service.node; "server.stopped");
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

impl Drop for StorageServer {
    fn drop(&mut self) {
        let disks = self.service.disks();
        disks.iter().for_each(|disk| disk.lift_limits());
        self.listener.close();
        self.controls.stop();
        self.scrubbers.stop();
        self.session.stop(false);
        self.service.shared.peers.close();
        disks.iter().for_each(|disk| disk.close());
    }
}

/// Opens the data directories, and stores the incarnation of this process in each: above every earlier process
/// of this node, also if its directories were emptied in between. A disk that fails is left out, and the
/// others serve.
fn open_disks(config: &Config) -> Result<(u64, Vec<Arc<DiskShare>>)> {
    let mut failed = None;
    let mut failed_only = |disk: usize, error: Error| {
        if error.code != Code::Io {
            return Err(error);
        }
        log::error!(target: "storage", disk, error:% = error; "disk.failed");
        failed = Some(error);
        Ok(())
    };
    let mut opened = Vec::new();
    for (disk, path) in config.disks.iter().enumerate() {
        let mounted = if config.require_mounted_disks { require_mount_point(path) } else { Ok(()) };
        let directory = mounted.and_then(|()| Directory::open(path, &config.cluster, config.node));
        match directory {
            Ok(directory) => opened.push((disk, directory)),
            Err(error) => failed_only(disk, error)?,
        }
    }
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let last = opened.iter().map(|(_, directory)| directory.last_incarnation()).max().unwrap_or(0);
    let incarnation = (last + 1).max(u64::try_from(clock).unwrap_or(u64::MAX / 2));
    let mut disks = Vec::new();
    for (disk, mut directory) in opened {
        match directory.store_incarnation(incarnation).and_then(|()| directory.known_chains()) {
            Ok(known) => disks.push(Arc::new(DiskShare::new(disk, directory, known, config))),
            Err(error) => failed_only(disk, error)?,
        }
    }
    match (disks.is_empty(), failed) {
        (true, Some(error)) => Err(error),
        _ => Ok((incarnation, disks)),
    }
}
