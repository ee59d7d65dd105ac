//! What arrives: finds the target that a request is for and hands it on. Also opens the targets that the
//! routing assigns to this node, and brings every new routing to all of them.

use crate::directory::Directory;
use crate::metrics::add;
use crate::peers::Key;
use crate::requests;
use crate::shared::Shared;
use crate::target::{self, Target, TargetRecord};
use chain::{Time, View};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use transport::{EchoHandler, Handler, Incoming};
use wire::message::{Chain, MessageKind, Routing, TargetReport};
use wire::{Code, Error, Result, TargetId};

pub struct Service {
    pub shared: Arc<Shared>,
    pub node: u32,
    pub echo: EchoHandler,
    directories: Mutex<Vec<Directory>>,
    targets: RwLock<BTreeMap<u32, Arc<Target>>>,
    /// One routing at a time is brought to the targets; none any more once this is true.
    stopping: Mutex<bool>,
}

impl Service {
    /// Opens every target that lies in the data directories.
    pub fn open(shared: Arc<Shared>, node: u32, directories: Vec<Directory>) -> Result<Arc<Service>> {
        let mut targets = BTreeMap::new();
        for directory in &directories {
            for stored in directory.targets()? {
                let record = TargetRecord::opened(directory, stored, &shared.boot_id);
                let folder = directory.data_folder(record.target());
                let target = Target::open(&shared, &folder, record, false)?;
                if let Some(other) = targets.insert(target.chain, target) {
                    let detail = format!("two targets of chain {} on this node", other.chain);
                    return Err(Error::new(Code::Corrupt, detail));
                }
            }
        }
        let service = Service {
            shared,
            node,
            echo: EchoHandler::new(),
            directories: Mutex::new(directories),
            targets: RwLock::new(targets),
            stopping: Mutex::new(false),
        };
        Ok(Arc::new(service))
    }

    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.targets.read().values().cloned().collect()
    }

    /// # Errors
    /// `NoChain` if no member of it is here.
    pub fn target(&self, chain: u32) -> Result<Arc<Target>> {
        self.targets.read().get(&chain).cloned().ok_or_else(|| {
            Error::new(Code::NoChain, format!("node {} holds no target of chain {chain}", self.node))
        })
    }

    pub fn reports(&self) -> Vec<TargetReport> {
        self.targets().iter().map(|target| target.report()).collect()
    }

    /// A push, or the routing of a heartbeat's answer, whose lease counts only if the routing could be
    /// applied (R4).
    pub fn apply(&self, routing: Option<Routing>, lease_until: Option<Time>) {
        let stopping = self.stopping.lock();
        if *stopping {
            return;
        }
        let (held, chains, clients) = {
            let mut state = self.shared.routing.lock();
            let held = routing.is_none_or(|routing| state.apply(routing));
            (held, state.chains(), state.clients())
        };
        // Only what the manager says together with a lease is surely not yesterday's.
        if held && lease_until.is_some() {
            chains.iter().for_each(|chain| self.drop_removed(chain));
        }
        let own = |chain: Chain| self.own(&chain).map(|target| (target, chain));
        let own: Vec<(Arc<Target>, Chain)> = chains.into_iter().filter_map(own).collect();
        self.connect_peers(&own);
        for (target, chain) in own {
            // Before the view: who knows the chain's version knows every fence before it (P4).
            target.feed(chain::Input::Clients(clients.clone()));
            target.on_view(chain, lease_until.filter(|_| held));
        }
    }

    /// From now on views are ignored: one that names a target as serving would undo the mark of its clean
    /// stop.
    pub fn stop_applying(&self) {
        *self.stopping.lock() = true;
    }

    fn connect_peers(&self, own: &[(Arc<Target>, Chain)]) {
        let mut links = BTreeSet::new();
        for (target, chain) in own {
            let view = View::new(chain.clone(), target.id, self.shared.incarnation);
            links.extend(target::links(&view, target.id));
        }
        let routing = self.shared.routing.lock();
        let with_address = |key: Key| routing.address(key.0).map(|address| (key, address));
        let wanted: Vec<(Key, String)> = links.into_iter().filter_map(with_address).collect();
        drop(routing);
        self.shared.peers.want(&wanted);
    }

    /// This node's member of the chain; made if the chain names one that does not exist yet.
    fn own(&self, chain: &Chain) -> Option<Arc<Target>> {
        let member = chain.members.iter().find(|member| member.node == self.node)?;
        if let Some(target) = self.targets.read().get(&chain.id) {
            return (target.id.0 == member.target).then(|| target.clone());
        }
        match self.create(TargetId(member.target), chain.id, member.disk as usize) {
            Ok(target) => Some(target),
            Err(error) => {
                let (id, target) = (chain.id, member.target);
                log::error!(target: "storage", chain = id, target, error:% = error; "target.create");
                None
            }
        }
    }

    /// The stored chain goes on without the target that is here (P3: what a routing says is on the medium):
    /// its data go.
    fn drop_removed(&self, chain: &Chain) {
        let Some(target) = self.targets.read().get(&chain.id).cloned() else { return };
        if chain.members.iter().any(|member| member.target == target.id.0) {
            return;
        }
        let taken_out = self.take_out(target.id);
        let left = match taken_out {
            Ok(left) => left,
            Err(error) => {
                log::error!(target: "storage", target = target.id.0, error:% = error; "target.remove");
                return; // the next heartbeat tries again
            }
        };
        self.targets.write().remove(&chain.id);
        target.leave();
        log::info!(target: "storage", chain = chain.id, target = target.id.0; "target.removed");
        self.shared.flushers.push(target.id, move || {
            target.close();
            for path in left {
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    let path = path.display().to_string();
                    log::warn!(target: "storage", path = path.as_str(), error:% = error; "target.remove");
                }
            }
        });
    }

    /// It lies in one of the directories, or in none if its disk was replaced.
    fn take_out(&self, target: TargetId) -> Result<Vec<PathBuf>> {
        let directories = self.directories.lock();
        let taken: Result<Vec<Option<PathBuf>>> =
            directories.iter().map(|directory| directory.take_out(target)).collect();
        Ok(taken?.into_iter().flatten().collect())
    }

    fn create(&self, target: TargetId, chain: u32, disk: usize) -> Result<Arc<Target>> {
        let directories = self.directories.lock();
        let directory = directories.get(disk).ok_or_else(|| {
            Error::new(
                Code::BadConfig,
                format!("target {target} belongs on disk {disk}, which is not configured"),
            )
        })?;
        directory.create_folder(target)?;
        // A folder without a record is begun anew.
        let folder = directory.data_folder(target);
        let record = TargetRecord::create(directory, target, chain, &self.shared.boot_id)?;
        let target = Target::open(&self.shared, &folder, record, true)?;
        log::info!(target: "storage", chain = chain, target = target.id.0, disk = disk; "target.created");
        self.targets.write().insert(chain, target.clone());
        Ok(target)
    }

    fn refuse(&self, incoming: &mut Incoming<'_>, error: &Error) {
        add(&self.shared.metrics.requests_refused, 1);
        incoming.replier().fail(error);
    }
}

impl Handler for Service {
    fn handle(&self, mut incoming: Incoming<'_>) {
        let Ok(kind) = MessageKind::try_from(i32::from(incoming.kind)) else {
            return incoming.refuse_unknown();
        };
        let outcome = match kind {
            MessageKind::KindRead => requests::read::handle(self, &mut incoming),
            MessageKind::KindUpdate => requests::update::handle(self, &mut incoming),
            MessageKind::KindCommitted => requests::committed::handle(self, &mut incoming),
            MessageKind::KindFlush => requests::flush::handle(self, &mut incoming),
            MessageKind::KindListChunks => requests::list_chunks::handle(self, &mut incoming),
            MessageKind::KindSyncStart => requests::sync::start(self, &mut incoming),
            MessageKind::KindSyncReplace => requests::sync::replace(self, &mut incoming),
            MessageKind::KindSyncClients => requests::sync::clients(self, &mut incoming),
            MessageKind::KindSyncDone => requests::sync::done(self, &mut incoming),
            MessageKind::KindSpace => requests::space::handle(self, &mut incoming),
            MessageKind::KindEcho => requests::echo::handle(self, &mut incoming),
            _ => return incoming.refuse_unknown(),
        };
        if let Err(error) = outcome {
            self.refuse(&mut incoming, &error);
        }
    }
}
