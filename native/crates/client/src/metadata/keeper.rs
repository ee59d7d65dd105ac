//! The thread that keeps the session: connects, says hello, ends requests whose time is over, reports lengths
//! that nobody asked for.

use super::session::{Ear, Session, State};
use super::window::Place;
use crate::core::Core;
use crate::retry::pause;
use parking_lot::MutexGuard;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transport::{Connection, call_wait};
use wire::feature_level::FEATURE_LEVEL;
use wire::message as m;
use wire::{Code, Error, Result};

/// How late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A service that replays its log answers late; until then nothing else can be done.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Other clients see a writer's length at most this late without asking (P20).
const REPORT_AGE: Duration = Duration::from_secs(1);

impl Session {
    pub fn start(self: &Arc<Self>, core: &Arc<Core>) -> JoinHandle<()> {
        self.state.lock().core = Arc::downgrade(core);
        let session = self.clone();
        std::thread::Builder::new()
            .name("client-metadata".into())
            .spawn(move || session.keep())
            .expect("a thread can be started")
    }

    fn keep(self: Arc<Self>) {
        let (mut failures, mut not_before) = (0u32, Instant::now());
        let mut reported = Instant::now();
        loop {
            let mut state = self.state.lock();
            if !state.stopped && (state.ready || Instant::now() < not_before) {
                let until =
                    if state.ready { Instant::now() + TICK } else { not_before.min(Instant::now() + TICK) };
                self.wake.wait_until(&mut state, until);
            }
            if state.stopped {
                return;
            }
            let (ready, core) = (state.ready, state.core.clone());
            self.sweep(state);
            if ready {
                if reported.elapsed() >= REPORT_AGE / 2 {
                    reported = Instant::now();
                    report(&core);
                }
            } else if Instant::now() >= not_before {
                match self.connect() {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        log::debug!(target: "client", error:%; "metadata.unavailable");
                        self.state.lock().trouble = Some(error);
                    }
                }
                not_before = Instant::now() + if failures == 0 { Duration::ZERO } else { pause(failures) };
            }
            self.pump();
        }
    }

    /// Ends what is over, brings back what waited for a busy service.
    fn sweep(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let due: Vec<Place> =
            state.later.extract_if(.., |(at, _)| *at <= now).map(|(_, place)| place).collect();
        for place in due {
            state.window.again(place);
        }
        let over = state.window.end_if(|pending| pending.deadline.is_some_and(|deadline| deadline <= now));
        let why = state
            .trouble
            .as_ref()
            .filter(|_| !state.ready)
            .map_or_else(String::new, |error| format!(": {error}"));
        drop(state);
        for pending in over {
            let detail =
                format!("{} was not answered by the metadata service{why}", pending.kind.as_str_name());
            pending.tell(Err(Error::new(Code::TimedOut, detail)));
        }
    }

    fn connect(self: &Arc<Self>) -> Result<()> {
        let table = self.routing.current();
        let node = table
            .metadata_node()
            .ok_or_else(|| Error::new(Code::Unreachable, "none is in the routing table"))?;
        let (generation, old) = {
            let mut state = self.state.lock();
            state.generation += 1;
            state.ready = false;
            (state.generation, state.connection.take())
        };
        if let Some(old) = old {
            old.close();
        }
        let ear = Arc::new(Ear(Arc::downgrade(self), generation));
        let connection = self.transport.connect(&node.address, CONNECT_TIMEOUT, ear)?;
        let reply = self.hello(&*connection)?;
        self.enter(connection, generation, &reply);
        Ok(())
    }

    fn hello(&self, connection: &dyn Connection) -> Result<m::HelloReply> {
        let host = self.state.lock().core.upgrade().map_or_else(String::new, |core| core.config.host.clone());
        let me = self.identity.current();
        let header = m::RequestHeader { client: me.bytes(), ..Default::default() };
        let request = m::HelloRequest { header: Some(header), host, feature_level: FEATURE_LEVEL };
        let (reply, _) = call_wait(connection, request, Vec::new(), HELLO_TIMEOUT).inspect_err(|error| {
            if error.code == Code::Fenced
                && let Some(core) = self.state.lock().core.upgrade()
            {
                core.fenced(me.client);
            }
        })?;
        Ok(reply)
    }

    /// The service knows us; goes on with what waits.
    fn enter(self: &Arc<Self>, connection: Arc<dyn Connection>, generation: u64, reply: &m::HelloReply) {
        let mut state = self.state.lock();
        if state.generation != generation || state.stopped {
            return;
        }
        // A session that has seen none of our numbers is not the one that we had.
        let forgotten = state.was_ready && reply.next_sequence <= 1 && state.window.used_sequences();
        let fresh = forgotten || std::mem::take(&mut state.renewed);
        let ambiguous = if fresh { state.window.take_ambiguous() } else { Vec::new() };
        if fresh {
            state.window.restart_numbers();
        }
        state.window.continue_from(reply.next_sequence);
        state.window.all_again();
        let again = std::mem::replace(&mut state.was_ready, true);
        state.root = reply.root;
        state.connection = Some(connection);
        let core = state.core.upgrade();
        drop(state);
        for pending in ambiguous {
            let detail = format!("{}: its outcome is not known", pending.kind.as_str_name());
            pending.tell(Err(Error::new(Code::Io, detail)));
        }
        // Before `ready`, so that they are ahead of everything that names an open file.
        if again && let Some(core) = core {
            core.reopen(fresh);
        }
        let mut state = self.state.lock();
        let open = state.connection.as_ref().is_some_and(|connection| connection.is_open());
        state.ready = state.generation == generation && open;
        log::info!(target: "client", fresh; "metadata.connected");
        self.wake.notify_all();
    }
}

fn report(core: &Weak<Core>) {
    if let Some(core) = core.upgrade() {
        core.report_older_than(REPORT_AGE);
    }
}
