//! One storage server: opens its data directories, serves them, ends in order or at once.

use crate::Config;
use crate::buffers::Buffers;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::routing::RoutingState;
use crate::service::Service;
use crate::session::{Bell, Session, SessionConfig};
use crate::shared::Shared;
use crate::workers::Workers;
use chain::Input;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use transport::{Listener, TcpTransport, Transport};
use wire::message::{LocalState, TargetReport};
use wire::{Error, Result};

/// How often a target that failed tries to come back, and one short of space asks whether there is more.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// One reads while the other waits for a buffer; more would only take the disk from clients.
const RESYNC_THREADS: usize = 2;

/// Dropping it ends it as the death of its process would: nothing is flushed, nobody is told.
pub struct StorageServer {
    service: Arc<Service>,
    session: Arc<Session>,
    listener: Box<dyn Listener>,
    ticker: Ticker,
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
        let mut directories = Vec::new();
        for path in &config.disks {
            directories.push(Directory::open(path, &config.cluster, config.node)?);
        }
        let incarnation = next_incarnation(&mut directories)?;
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
            buffers: Buffers::new(&config),
            peers,
            routing: Mutex::new(RoutingState::default()),
            lanes: Workers::lanes("chunk-store", config.store_threads),
            readers: Workers::pool("chunk-read", config.read_threads),
            resyncs: Workers::pool("chunk-resync", RESYNC_THREADS),
            flushers: Workers::pool("chunk-flush", config.disks.len().min(4)),
        });
        let service = Service::open(shared, config.node, directories)?;
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
        let ticker = Ticker::start(service.clone(), bell, config.flush_interval);
        let (node, listens) = (config.node, address.as_str());
        log::info!(target: "storage", node, address = listens, incarnation; "server.started");
        Ok(StorageServer { service, session, listener, ticker, address, stopped: Mutex::new(false) })
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
        let shared = &self.service.shared;
        shared.buffers.lift_budgets();
        self.listener.close();
        self.ticker.stop();
        self.service.stop_applying();
        shared.peers.close();
        shared.lanes.wait_idle();
        shared.readers.wait_idle();
        shared.resyncs.wait_idle();
        shared.flushers.wait_idle();
        let failures: Vec<Error> =
            self.service.targets().iter().filter_map(|target| target.stop().err()).collect();
        self.session.stop(true);
        log::info!(target: "storage", node = self.service.node; "server.stopped");
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

impl Drop for StorageServer {
    fn drop(&mut self) {
        let shared = &self.service.shared;
        shared.buffers.lift_budgets();
        self.listener.close();
        self.ticker.stop();
        self.session.stop(false);
        shared.peers.close();
        shared.lanes.close();
        shared.readers.close();
        shared.resyncs.close();
        shared.flushers.close();
    }
}

/// Above every earlier process of this node, also if its directories were emptied in between.
fn next_incarnation(directories: &mut [Directory]) -> Result<u64> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let last = directories.iter().map(Directory::last_incarnation).max().unwrap_or(0);
    let incarnation = (last + 1).max(u64::try_from(clock).unwrap_or(u64::MAX / 2));
    directories.iter_mut().try_for_each(|directory| directory.store_incarnation(incarnation))?;
    Ok(incarnation)
}

/// What happens by time alone: the replica's ticks, the periodic flush, failed targets, and reports that
/// changed.
struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Ticker {
    fn start(service: Arc<Service>, bell: Arc<Bell>, flush_interval: Duration) -> Ticker {
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let stopping = stop.clone();
        let run = move || {
            let mut flushed = Instant::now();
            let mut looked = Instant::now();
            let mut standings: Vec<(LocalState, u64, u64)> = Vec::new();
            let mut stopped = stopping.0.lock();
            while !*stopped {
                stopping.1.wait_for(&mut stopped, Duration::from_millis(chain::limits::TICK_MS));
                let targets = service.targets();
                for target in &targets {
                    target.refresh_space();
                    target.notice_failure();
                    target.feed(Input::Tick);
                }
                if flushed.elapsed() >= flush_interval {
                    flushed = Instant::now();
                    targets.iter().for_each(|target| target.flush_by_itself());
                }
                if looked.elapsed() >= LOOK_PAUSE {
                    looked = Instant::now();
                    for target in &targets {
                        target.reopen_if_offline();
                        target.ask_space();
                    }
                }
                let now: Vec<(LocalState, u64, u64)> =
                    targets.iter().map(|target| target.standing()).collect();
                if now != standings {
                    standings = now;
                    bell.kick();
                }
            }
        };
        let builder = std::thread::Builder::new().name("storage-ticker".into());
        let thread = builder.spawn(run).expect("a thread can be started");
        Ticker { stop, thread: Mutex::new(Some(thread)) }
    }

    fn stop(&self) {
        // The flag is held by the thread while it works: the wait for it ends with the current round.
        *self.stop.0.lock() = true;
        self.stop.1.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
