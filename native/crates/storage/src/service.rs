//! What arrives: finds the target that a request is for and hands it on. Also opens the targets that the
//! routing assigns to this node, and brings every new routing to all of them.

use crate::disk::DiskShare;
use crate::disk::errand::Errand;
use crate::metrics::add;
use crate::peers::Key;
use crate::requests;
use crate::shared::Shared;
use crate::target::{self, Target, TargetRecord};
use chain::{Time, View, covers};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use transport::{EchoHandler, Handler, Incoming};
use wire::message::{Chain, LocalState, MessageKind, Routing, TargetReport};
use wire::{Code, Error, Result, TargetId};

pub struct Service {
    pub shared: Arc<Shared>,
    pub node: u32,
    pub echo: EchoHandler,
    /// Those that could be opened.
    disks: Vec<Arc<DiskShare>>,
    targets: RwLock<BTreeMap<u32, Arc<Target>>>,
    /// What could not be opened, as heartbeats say it: offline, until an operator replaces it.
    unopened: Vec<TargetReport>,
}

impl Service {
    /// Opens every target that lies on the disks, beside each other. A disk that fails or hangs is left out, and a
    /// target that cannot be opened is offline; the others serve.
    pub fn open(shared: Arc<Shared>, node: u32, disks: Vec<Arc<DiskShare>>) -> Result<Arc<Service>> {
        let open = |disk: Arc<DiskShare>| {
            let (shared, own) = (shared.clone(), disk.clone());
            (disk, Errand::start(move || open_targets(&shared, &own)))
        };
        let opening: Vec<_> = disks.into_iter().map(open).collect();
        let (mut disks, mut targets, mut unopened) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut failed = None;
        for (disk, errand) in opening {
            let (opened, without) =
                match errand.finish(|| disk.hangs()).unwrap_or_else(|| Err(disk.no_answer())) {
                    Err(error) if error.code == Code::Io => {
                        log::error!(target: "storage", disk = disk.index, error:% = error; "disk.failed");
                        failed = Some(error);
                        continue;
                    }
                    opened => opened?,
                };
            for target in opened {
                if let Some(other) = targets.insert(target.chain, target) {
                    let detail = format!("two targets of chain {} on this node", other.chain);
                    return Err(Error::new(Code::Corrupt, detail));
                }
            }
            unopened.extend(without);
            disks.push(disk);
        }
        if let Some(error) = failed.filter(|_| disks.is_empty()) {
            return Err(error);
        }
        let targets = RwLock::new(targets);
        Ok(Arc::new(Service { shared, node, echo: EchoHandler::new(), disks, targets, unopened }))
    }

    pub fn disks(&self) -> Vec<Arc<DiskShare>> {
        self.disks.clone()
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

    pub fn targets_on(&self, disk: &DiskShare) -> Vec<Arc<Target>> {
        self.targets().into_iter().filter(|target| target.disk_index() == disk.index).collect()
    }

    pub fn reports(&self) -> Vec<TargetReport> {
        let opened = self.targets();
        let unopened = self.unopened.iter().map(|report| {
            let known = self.newest_known(report.chain).unwrap_or_default();
            TargetReport { known_version: known.version, known_term: known.term, ..*report }
        });
        unopened.chain(opened.iter().map(|target| target.report())).collect()
    }

    /// Of each target here, its chain as it knows it: what a manager needs whose state is older (P3).
    pub fn known_chains(&self) -> Vec<Chain> {
        let unopened = self.unopened.iter().filter_map(|report| self.newest_known(report.chain));
        let opened = self.targets().into_iter().map(|target| target.known_chain());
        let unopened = unopened.map(|known| Chain::clone(&known));
        opened.filter(|known| known.version != 0).chain(unopened).collect()
    }

    /// A disk that a target of the chain left may still know the chain as it was then.
    fn newest_known(&self, chain: u32) -> Option<Arc<Chain>> {
        let known = self.disks.iter().filter_map(|disk| disk.known.get(chain));
        known.reduce(|newest, other| if covers(&other, newest.term, newest.version) { other } else { newest })
    }

    /// A push, or the routing of a heartbeat's answer, whose lease counts only if the routing could be
    /// applied (R4), and not for `held_chains`. Each disk's own thread brings it to the targets there.
    pub fn apply(&self, routing: Option<Routing>, lease_until: Option<Time>, held_chains: &[u32]) {
        let (held, chains, clients) = {
            let mut state = self.shared.routing.lock();
            let held = routing.is_none_or(|routing| state.apply(routing));
            (held, state.chains(), state.clients())
        };
        let mut links = BTreeSet::new();
        for chain in chains {
            let lease_until = lease_until.filter(|_| held && !held_chains.contains(&chain.id));
            // Only what the manager says together with a lease is surely not yesterday's.
            if lease_until.is_some() {
                self.post_removal(&chain);
            }
            let Some((disk, target)) = self.place(&chain) else { continue };
            links.extend(target::links(&View::new(chain.clone(), target, self.shared.incarnation), target));
            disk.inbox.post(chain, lease_until, &clients);
        }
        self.connect_peers(links);
    }

    fn post_removal(&self, chain: &Chain) {
        let held = self.targets.read().get(&chain.id).cloned();
        let left = |target: &Arc<Target>| chain.members.iter().all(|member| member.target != target.id.0);
        if let Some(target) = held.filter(left) {
            target.disk().inbox.post_removal(chain.clone());
        }
    }

    fn connect_peers(&self, links: BTreeSet<Key>) {
        let routing = self.shared.routing.lock();
        let with_address = |key: Key| routing.address(key.0).map(|address| (key, address));
        let wanted: Vec<(Key, String)> = links.into_iter().filter_map(with_address).collect();
        drop(routing);
        self.shared.peers.want(&wanted);
    }

    /// The disk of this node's member of the chain, and the member.
    fn place(&self, chain: &Chain) -> Option<(&Arc<DiskShare>, TargetId)> {
        let member = chain.members.iter().find(|member| member.node == self.node)?;
        let held = self.targets.read().get(&chain.id).cloned();
        if held.as_ref().is_some_and(|target| target.id.0 != member.target) {
            return None;
        }
        let index = held.map_or(member.disk as usize, |target| target.disk_index());
        let disk = self.disks.iter().find(|disk| disk.index == index);
        if disk.is_none() {
            let (chain, target) = (chain.id, member.target);
            log::debug!(target: "storage", chain, target, disk = index; "target.no_disk");
        }
        disk.map(|disk| (disk, TargetId(member.target)))
    }

    /// This node's member of the chain, on this disk; made if the chain names one that does not exist yet.
    pub fn own(&self, disk: &Arc<DiskShare>, chain: &Chain) -> Option<Arc<Target>> {
        if let Some(target) = self.targets.read().get(&chain.id) {
            return Some(target.clone());
        }
        let member = chain.members.iter().find(|member| member.node == self.node)?;
        if self.unopened.iter().any(|report| report.target == member.target) {
            return None;
        }
        match self.create(TargetId(member.target), chain.id, disk) {
            Ok(target) => Some(target),
            Err(error) => {
                let (id, target) = (chain.id, member.target);
                log::error!(target: "storage", chain = id, target, error:% = error; "target.create");
                None
            }
        }
    }

    /// The stored chain goes on without the target that is here (P3: what a routing says is on the medium):
    /// its data go. But not on the word of a manager whose state is older than what the target knows.
    pub fn drop_removed(&self, disk: &Arc<DiskShare>, chain: &Chain) {
        let Some(target) = self.targets.read().get(&chain.id).cloned() else { return };
        if !disk.known.is_newer(chain) || !disk.known.believes(chain) {
            return;
        }
        if chain.members.iter().any(|member| member.target == target.id.0) {
            return;
        }
        // Nothing lies there if the disk was replaced.
        let taken_out = disk.watched(|| disk.directory.lock().take_out(target.id));
        let left = match taken_out {
            Ok(left) => left,
            Err(error) => {
                log::error!(target: "storage", target = target.id.0, error:% = error; "target.remove");
                return; // the next heartbeat tries again
            }
        };
        self.targets.write().remove(&chain.id);
        disk.known.forget(chain.id);
        target.leave();
        log::info!(target: "storage", chain = chain.id, target = target.id.0; "target.removed");
        let own = disk.clone();
        // Closing it writes what it has left to write, for which no flush of the others is to wait.
        disk.repairs.push(move || {
            target.close();
            left.into_iter().for_each(|path| own.remove_left(path));
        });
    }

    fn create(&self, target: TargetId, chain: u32, disk: &Arc<DiskShare>) -> Result<Arc<Target>> {
        let record = disk.watched(|| {
            let directory = disk.directory.lock();
            if directory.record_file(target).exists() {
                let detail = format!("target {target} is there already, and of another chain than {chain}");
                return Err(Error::new(Code::OutdatedState, detail));
            }
            directory.create_folder(target)?;
            // A folder without a record is begun anew.
            TargetRecord::create(&directory, target, chain, (&self.shared.boot_id, self.shared.incarnation))
        })?;
        let target = Target::open(&self.shared, disk, record)?;
        log::info!(target: "storage", chain = chain, target = target.id.0, disk = disk.index; "target.created");
        self.targets.write().insert(chain, target.clone());
        Ok(target)
    }

    fn refuse(&self, incoming: &mut Incoming<'_>, error: &Error) {
        add(&self.shared.metrics.requests_refused, 1);
        incoming.replier().fail(error);
    }
}

/// And what could not be opened. What is left of targets that were taken out goes later.
fn open_targets(
    shared: &Arc<Shared>,
    disk: &Arc<DiskShare>,
) -> Result<(Vec<Arc<Target>>, Vec<TargetReport>)> {
    let stored = disk.watched(|| disk.directory.lock().targets())?;
    let (mut opened, mut unopened) = (Vec::new(), Vec::new());
    for stored in stored {
        let (target, chain) = (stored.target, stored.chain);
        let record = TargetRecord::opened(&disk.directory.lock(), stored, &shared.boot_id);
        match Target::open(shared, disk, record) {
            Ok(target) => opened.push(target),
            Err(error) if error.code == Code::NewerData => return Err(error),
            Err(error) => {
                log::error!(target: "storage", chain, target, error:% = error; "target.unopened");
                let state = LocalState::LocalOffline as i32;
                unopened.push(TargetReport { target, chain, state, disk_error: true, ..Default::default() });
            }
        }
    }
    for path in disk.watched(|| disk.directory.lock().left())? {
        disk.remove_left(path);
    }
    Ok((opened, unopened))
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
            MessageKind::KindScrub => requests::scrub::handle(self, &mut incoming),
            MessageKind::KindDigestChunks => requests::digest_chunks::handle(self, &mut incoming),
            MessageKind::KindEcho => requests::echo::handle(self, &mut incoming),
            _ => return incoming.refuse_unknown(),
        };
        if let Err(error) = outcome {
            self.refuse(&mut incoming, &error);
        }
    }
}
