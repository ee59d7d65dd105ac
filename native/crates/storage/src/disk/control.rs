//! What happens to the targets of one disk by time, and by news of the manager, on a thread of the disk's
//! own: their ticks, the periodic flush, failed targets, views. All of it may wait for the disk, so neither
//! the heartbeats nor other disks may wait for it.

use super::DiskShare;
use crate::metrics::add;
use crate::service::Service;
use crate::session::Bell;
use crate::target::{Standing, Target};
use chain::{Input, LiveClients, Time};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::Error;
use wire::message::Chain;

/// How often the disk is asked whether it takes writes, a target that failed tries to come back, one short of
/// space asks whether there is more, and damage is looked at again.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// News for the targets of a disk that were not brought to them yet: of each chain the newest view, and the
/// longest lease. Bounded by the number of chains, however long the disk hangs.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<News>,
    arrived: Condvar,
}

#[derive(Default)]
struct News {
    chains: BTreeMap<u32, (Chain, Option<Time>)>,
    /// Chains that go on without the target that is here.
    left: BTreeMap<u32, Chain>,
    /// Who may write, as of the newest routing (P4).
    clients: Arc<LiveClients>,
    closed: bool,
    stopped: bool,
}

impl Inbox {
    /// A lease came with a view that is not newer than `chain` (R4), and `clients` with the same routing.
    pub fn post(&self, chain: Chain, lease_until: Option<Time>, clients: &Arc<LiveClients>) {
        let mut news = self.state.lock();
        if news.closed {
            return;
        }
        if clients.version() > news.clients.version() {
            news.clients = clients.clone();
        }
        let held = news.chains.entry(chain.id).or_insert_with(|| (chain.clone(), None));
        if chain.version > held.0.version {
            held.0 = chain;
        }
        held.1 = held.1.max(lease_until);
        drop(news);
        self.arrived.notify_one();
    }

    pub fn post_removal(&self, chain: Chain) {
        let mut news = self.state.lock();
        if !news.closed {
            news.left.insert(chain.id, chain);
            drop(news);
            self.arrived.notify_one();
        }
    }

    /// From now on views are ignored: one that names a target as serving would undo the mark of its clean
    /// stop.
    pub fn close(&self) {
        let mut news = self.state.lock();
        news.closed = true;
        news.chains.clear();
        news.left.clear();
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.arrived.notify_one();
    }

    /// Waits until there is news or `until`; `None`: it is over.
    fn take(&self, until: Instant) -> Option<News> {
        let mut news = self.state.lock();
        while !news.stopped && news.chains.is_empty() && news.left.is_empty() {
            if self.arrived.wait_until(&mut news, until).timed_out() {
                break;
            }
        }
        (!news.stopped).then(|| News {
            chains: std::mem::take(&mut news.chains),
            left: std::mem::take(&mut news.left),
            clients: news.clients.clone(),
            ..News::default()
        })
    }
}

/// The threads of all disks.
pub struct Controls {
    disks: Vec<Arc<DiskShare>>,
    threads: Mutex<BTreeMap<usize, JoinHandle<()>>>,
}

impl Controls {
    pub fn start(service: &Arc<Service>, bell: &Arc<Bell>, flush_interval: Duration) -> Controls {
        let mut threads = BTreeMap::new();
        for disk in service.disks() {
            let (service, bell, index) = (service.clone(), bell.clone(), disk.index);
            let run = move || {
                let (standings, refused) = (Vec::new(), BTreeMap::new());
                Control { service, bell, disk, standings, refused }.run(flush_interval);
            };
            let builder = std::thread::Builder::new().name("disk-control".into());
            threads.insert(index, builder.spawn(run).expect("a thread can be started"));
        }
        Controls { disks: service.disks(), threads: Mutex::new(threads) }
    }

    /// Waits for none of them.
    pub fn stop(&self) {
        self.disks.iter().for_each(|disk| disk.inbox.stop());
    }

    /// To be joined by whoever may wait for the disk.
    pub fn take_thread(&self, disk: usize) -> Option<JoinHandle<()>> {
        self.threads.lock().remove(&disk)
    }
}

struct Control {
    service: Arc<Service>,
    bell: Arc<Bell>,
    disk: Arc<DiskShare>,
    standings: Vec<Standing>,
    /// By chain, the version and term that was refused last: said once.
    refused: BTreeMap<u32, (u64, u64)>,
}

impl Control {
    fn run(mut self, flush_interval: Duration) {
        let tick = Duration::from_millis(chain::limits::TICK_MS);
        let (mut ticked, mut flushed, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        while let Some(news) = self.disk.inbox.take(ticked + tick) {
            self.bring(news);
            if ticked.elapsed() >= tick {
                ticked = Instant::now();
                let targets = self.targets();
                targets.iter().for_each(|target| target.tick());
                if flushed.elapsed() >= flush_interval {
                    flushed = Instant::now();
                    targets.iter().for_each(|target| target.flush_by_itself());
                }
                if looked.elapsed() >= LOOK_PAUSE {
                    looked = Instant::now();
                    if let Err(error) = self.disk.probe() {
                        self.fail(&error);
                    }
                    targets.iter().for_each(|target| target.look());
                }
            }
            self.report_changes();
        }
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        self.service.targets_on(&self.disk)
    }

    fn fail(&self, error: &Error) {
        for target in self.targets() {
            target.fail_unless_offline(error);
        }
    }

    fn bring(&mut self, news: News) {
        news.left.values().for_each(|chain| self.service.drop_removed(&self.disk, chain));
        let mut believed: Vec<(Chain, Option<Time>)> = news.chains.into_values().collect();
        believed.retain(|(chain, _)| self.believes(chain));
        let learned = self.disk.watched(|| self.disk.known.learn(believed.iter().map(|(chain, _)| chain)));
        if let Err(error) = learned {
            // What is offline may act on nothing, and is told, so that it can come back.
            self.fail(&error);
        }
        for (chain, lease_until) in believed {
            if let Some(target) = self.service.own(&self.disk, &chain) {
                // Before the view: who knows the chain's version knows every fence before it (P4).
                target.feed(Input::Clients(news.clients.clone()));
                target.on_view(chain, lease_until);
            }
        }
    }

    /// What does not follow the known version comes of a manager with an old state, which hears so in the reports, or
    /// was overtaken by a newer one.
    fn believes(&mut self, told: &Chain) -> bool {
        let believed = self.disk.known.believes(told);
        let refused = (told.version, told.term);
        if !believed && self.refused.insert(told.id, refused) != Some(refused) {
            let known = self.disk.known.get(told.id).map_or(0, |known| known.version);
            log::warn!(target: "storage", chain = told.id, version = told.version, known; "chain.refused");
            add(&self.service.shared.metrics.outdated_chains, 1);
        }
        believed
    }

    fn report_changes(&mut self) {
        let now: Vec<Standing> = self.targets().iter().map(|target| target.standing()).collect();
        if now != self.standings {
            self.standings = now;
            self.bell.kick();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(version: u64) -> Chain {
        Chain { id: 1, version, ..Chain::default() }
    }

    #[test]
    fn what_a_disk_missed_is_the_newest_view_and_the_longest_lease() {
        let inbox = Inbox::default();
        let clients: Arc<LiveClients> = Arc::default();
        inbox.post(chain(3), Some(Time(50)), &clients);
        inbox.post(chain(5), None, &clients);
        inbox.post(chain(4), Some(Time(20)), &clients);
        let news = inbox.take(Instant::now()).unwrap();
        assert_eq!(news.chains.into_values().collect::<Vec<_>>(), [(chain(5), Some(Time(50)))]);
        inbox.close();
        inbox.post(chain(6), None, &clients);
        assert!(inbox.take(Instant::now()).unwrap().chains.is_empty(), "closed");
        inbox.stop();
        assert!(inbox.take(Instant::now()).is_none());
    }
}
