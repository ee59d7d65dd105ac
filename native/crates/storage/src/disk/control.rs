//! What happens to the targets of one disk by time, and by news of the manager, on a thread of the disk's
//! own: their ticks, the periodic flush, failed targets, views. All of it may wait for the disk, so neither
//! the heartbeats nor other disks may wait for it.

use super::DiskShare;
use super::progress::WATCH_PAUSE;
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

/// And the disk that it works for: none for the watchdog.
type DiskThread = (Option<Arc<DiskShare>>, JoinHandle<()>);

/// The threads of all disks, and the watchdog over them.
pub struct Controls {
    service: Arc<Service>,
    threads: Mutex<Vec<DiskThread>>,
    stopped: Arc<(Mutex<bool>, Condvar)>,
}

impl Controls {
    pub fn start(service: &Arc<Service>, bell: &Arc<Bell>, flush_interval: Duration) -> Controls {
        let mut threads = Vec::new();
        let mut spawn = |name: &str, disk: Option<Arc<DiskShare>>, run: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.into());
            threads.push((disk, builder.spawn(run).expect("a thread can be started")));
        };
        for disk in service.disks() {
            let (service, bell, own) = (service.clone(), bell.clone(), disk.clone());
            let run = move || {
                let (standings, refused) = (Vec::new(), BTreeMap::new());
                Control { service, bell, disk: own, standings, refused }.run(flush_interval);
            };
            spawn("disk-control", Some(disk), Box::new(run));
        }
        let stopped: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (watched, bell, stopping) = (service.clone(), bell.clone(), stopped.clone());
        spawn("disk-watchdog", None, Box::new(move || watch(&watched, &bell, &stopping)));
        Controls { service: service.clone(), threads: Mutex::new(threads), stopped }
    }

    /// Does not wait for a disk that hangs.
    pub fn stop(&self) {
        *self.stopped.0.lock() = true;
        self.stopped.1.notify_one();
        self.service.disks().iter().for_each(|disk| disk.inbox.stop());
        for (disk, thread) in std::mem::take(&mut *self.threads.lock()) {
            if !disk.is_some_and(|disk| disk.hangs()) {
                // A panic there is a bug of ours that was reported already.
                let _ = thread.join();
            }
        }
    }
}

fn watch(service: &Service, bell: &Bell, stopping: &(Mutex<bool>, Condvar)) {
    let mut stopped = stopping.0.lock();
    while !*stopped {
        stopping.1.wait_for(&mut stopped, WATCH_PAUSE);
        for disk in service.disks() {
            if disk.watch() {
                let on_it = service.targets().into_iter().filter(|target| target.disk_index() == disk.index);
                let told = on_it.filter(|target| target.declare_hung()).count();
                if told > 0 {
                    bell.kick();
                }
            }
        }
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
                        targets.iter().for_each(|target| target.fail_unless_offline(&error));
                    }
                    targets.iter().for_each(|target| target.look());
                }
            }
            self.report_changes();
        }
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        self.service.targets().into_iter().filter(|target| target.disk_index() == self.disk.index).collect()
    }

    fn bring(&mut self, news: News) {
        news.left.values().for_each(|chain| self.service.drop_removed(&self.disk, chain));
        let mut believed: Vec<(Chain, Option<Time>)> = news.chains.into_values().collect();
        believed.retain(|(chain, _)| self.believes(chain));
        let learned = {
            let _running = self.disk.operations.begin();
            self.disk.known.learn(believed.iter().map(|(chain, _)| chain))
        };
        if let Err(error) = learned {
            // What is offline may act on nothing, and is told, so that it can come back.
            self.targets().iter().for_each(|target| target.fail_unless_offline(&error));
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
