//! One client: starts the parts and their threads, stops them in order.

use crate::budget::Budget;
use crate::chunks::{Chunks, Lanes};
use crate::core::Core;
use crate::identity::Identity;
use crate::metadata::Session;
use crate::nodes::Nodes;
use crate::open::Inodes;
use crate::routing::{ManagerLink, ManagerSettings, Routing};
use crate::timer::Timer;
use crate::{Config, RoutingTable};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transport::{TcpTransport, Transport};
use wire::{ClientId, Code, Error, Result};

/// Its files and chunks work as long as it lives: dropping it stops it.
pub struct Client {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A refusal like these does not change by waiting.
const REFUSALS: [Code; 3] = [Code::WrongCluster, Code::NewerData, Code::BadConfig];
/// How often `connect` looks for a refusal.
const LOOK: Duration = Duration::from_millis(50);

/// Figures for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub routing_version: u64,
    pub write_bytes_in_flight: usize,
    pub open_inodes: usize,
    pub corrupt_answers: u64,
    pub metadata_in_flight: usize,
}

impl Client {
    /// Over TCP. Returns when a manager has given the routing table, and the metadata service knows this
    /// client.
    ///
    /// # Errors
    /// `Unreachable` after `connect_timeout`, with the last reason.
    pub fn connect(config: Config) -> Result<Arc<Client>> {
        Client::connect_over(Arc::new(TcpTransport::new()), config)
    }

    /// # Errors
    /// See `connect`.
    pub fn connect_over(transport: Arc<dyn Transport>, config: Config) -> Result<Arc<Client>> {
        let deadline = Instant::now() + config.connect_timeout;
        let without_names = config.without_names;
        let core = build(transport, config);
        let threads = vec![core.timer.start(), core.manager.start()];
        let client = Arc::new(Client { core, threads: Mutex::new(threads) });
        let core = &client.core;
        let ready =
            |table: &RoutingTable| table.version > 0 && (without_names || table.metadata_node().is_some());
        while core.routing.wait_until(deadline.min(Instant::now() + LOOK), ready).is_none() {
            let trouble = core.manager.trouble();
            if let Some(error) = trouble.clone().filter(|error| REFUSALS.contains(&error.code)) {
                return Err(error);
            }
            if Instant::now() >= deadline {
                return Err(unanswered(core, trouble));
            }
        }
        if !without_names {
            client.threads.lock().push(core.session.start(core));
            core.session.wait_ready(deadline)?;
        }
        Ok(client)
    }

    /// The inode of the root directory; 0 without names.
    pub fn root(&self) -> u64 {
        self.core.session.root()
    }

    pub fn id(&self) -> ClientId {
        self.core.identity.current().client
    }

    pub fn routing(&self) -> Arc<RoutingTable> {
        self.core.routing.current()
    }

    pub fn config(&self) -> &Config {
        &self.core.config
    }

    pub fn chunks(&self) -> Chunks {
        Chunks { core: self.core.clone() }
    }

    pub fn figures(&self) -> Figures {
        Figures {
            routing_version: self.core.routing.current().version,
            write_bytes_in_flight: self.core.write_budget.used(),
            open_inodes: self.core.inodes.count(),
            corrupt_answers: self.core.corrupt_answers.load(Ordering::Relaxed),
            metadata_in_flight: self.core.session.in_flight(),
        }
    }

    /// Once: what is called, with the inodes that were open, when this client was fenced and has a new id (P4).
    /// It must not wait.
    pub fn listen_fenced(&self, listener: impl Fn(Vec<u64>) + Send + Sync + 'static) {
        let set = self.core.on_fenced.set(Box::new(listener));
        assert!(set.is_ok(), "one listener");
    }

    /// Reports what open files know, asks for the fence of this client's id, ends connections and threads.
    /// Operations in the air end with `Unreachable`. Also what dropping does.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        self.core.report_all();
        self.core.session.stop();
        self.core.manager.stop();
        self.core.nodes.stop();
        self.core.timer.stop();
        for thread in threads {
            // The last handle may be dropped in a completion, on one of these threads.
            if thread.thread().id() != std::thread::current().id() {
                let ended = thread.join();
                assert!(ended.is_ok(), "a client thread panicked");
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

fn unanswered(core: &Core, trouble: Option<Error>) -> Error {
    let managers = core.config.managers.join(", ");
    if core.routing.current().version > 0 {
        let detail = format!("the managers at {managers} know of no metadata service");
        return Error::new(Code::Unreachable, detail);
    }
    let why = trouble.map_or_else(String::new, |error| format!(": {}", error.detail));
    Error::new(Code::Unreachable, format!("no manager answered at {managers}{why}"))
}

fn build(transport: Arc<dyn Transport>, config: Config) -> Arc<Core> {
    let routing = Arc::new(Routing::default());
    let identity = Arc::new(Identity::new());
    Arc::new_cyclic(|weak: &Weak<Core>| {
        let settings = ManagerSettings {
            managers: config.managers.clone(),
            cluster: config.cluster.clone(),
            identity: identity.clone(),
            host: config.host.clone(),
        };
        let fenced = weak.clone();
        let on_fenced = move |client: ClientId| {
            if let Some(core) = fenced.upgrade() {
                core.fenced(client);
            }
        };
        let manager = ManagerLink::new(settings, transport.clone(), routing.clone(), on_fenced);
        let suspecting = manager.clone();
        let nodes =
            Nodes::new(transport.clone(), move |node, incarnation| suspecting.suspect(node, incarnation));
        let timer = Timer::default();
        let session = Session::new(transport, identity.clone(), routing.clone());
        // Weak: the table must not keep alive what holds the table.
        let (listening_nodes, listening_session) = (Arc::downgrade(&nodes), Arc::downgrade(&session));
        let listening_timer = timer.clone();
        routing.listen(move |table| {
            if let (Some(nodes), Some(session)) = (listening_nodes.upgrade(), listening_session.upgrade()) {
                nodes.apply(table);
                session.apply(table);
            }
            listening_timer.wake_parked();
        });
        let id = identity.current().client.0;
        let salt = u64::from_le_bytes(id[..8].try_into().expect("16 bytes"));
        Core {
            write_budget: Budget::new(config.write_bytes_max),
            config,
            identity,
            routing,
            manager,
            nodes,
            timer,
            lanes: Lanes::default(),
            session,
            inodes: Inodes::default(),
            salt,
            corrupt_answers: AtomicU64::new(0),
            suspects: Mutex::default(),
            on_fenced: OnceLock::new(),
        }
    })
}
