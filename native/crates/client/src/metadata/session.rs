//! The session with the metadata service: one connection with many requests in the air, numbered so that each
//! is executed once whatever happens to connections and the service (P17). Requests leave in the order of
//! submission, and again in that order after a reconnect, so that a length report is before the request that
//! depends on it. But for two: urgent ones go first, and a patient close may rest while requests pass it that do the
//! same whether the file is still open or not. So nothing may be sent in the name of a handle that was closed.

use super::pending::Pending;
use super::window::{Place, Sending, Submitted, Window};
use crate::core::Core;
use crate::identity::Identity;
use crate::routing::{Routing, RoutingTable};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use transport::{Connection, Handler, Incoming, Outgoing, Reply, Transport};
use wire::message as m;
use wire::request::decode;
use wire::{Code, Error, Result};

/// A request of `hard` mounts is sent again after this time, in case its answer was lost with a service that
/// still lives.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// A service that is busy is asked again after this time.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How long a patient request rests, in case nothing else is sent: too short for anybody to notice that a file
/// is still open.
const REST: Duration = Duration::from_millis(5);

pub(crate) struct State {
    pub window: Window,
    pub connection: Option<Arc<dyn Connection>>,
    /// Rises with each connection: answers of an older one do not count.
    pub generation: u64,
    /// Hello was answered on this connection.
    pub ready: bool,
    pub stopped: bool,
    pub was_ready: bool,
    /// A new id since the last hello.
    pub renewed: bool,
    pub root: u64,
    pub later: Vec<(Instant, Place)>,
    pub trouble: Option<Error>,
    pub core: Weak<Core>,
    sending: bool,
    send_again: bool,
}

pub(crate) struct Session {
    pub transport: Arc<dyn Transport>,
    pub identity: Arc<Identity>,
    pub routing: Arc<Routing>,
    pub state: Mutex<State>,
    pub wake: Condvar,
}

/// The service sends nothing on its own in this release; this hears that the connection ended.
pub(crate) struct Ear(pub Weak<Session>, pub u64);

impl Handler for Ear {
    fn handle(&self, mut incoming: Incoming<'_>) {
        incoming.refuse_unknown();
    }

    fn closed(&self, _peer: &str) {
        if let Some(session) = self.0.upgrade() {
            session.lost(self.1);
        }
    }
}

impl Session {
    pub fn new(
        transport: Arc<dyn Transport>,
        identity: Arc<Identity>,
        routing: Arc<Routing>,
    ) -> Arc<Session> {
        let state = State {
            window: Window::new(),
            connection: None,
            generation: 0,
            ready: false,
            stopped: false,
            was_ready: false,
            renewed: false,
            root: 0,
            later: Vec::new(),
            trouble: None,
            core: Weak::new(),
            sending: false,
            send_again: false,
        };
        Arc::new(Session { transport, identity, routing, state: Mutex::new(state), wake: Condvar::new() })
    }

    pub fn root(&self) -> u64 {
        self.state.lock().root
    }

    pub fn in_flight(&self) -> usize {
        self.state.lock().window.len()
    }

    /// # Errors
    /// `Unreachable` at the deadline, with the last reason.
    pub fn wait_ready(&self, deadline: Instant) -> Result<()> {
        let mut state = self.state.lock();
        while !state.ready {
            if self.wake.wait_until(&mut state, deadline).timed_out() {
                let why =
                    state.trouble.as_ref().map_or_else(String::new, |error| format!(": {}", error.detail));
                return Err(Error::new(Code::Unreachable, format!("no metadata service answered{why}")));
            }
        }
        Ok(())
    }

    /// Puts a request on its way. Its completion is told exactly once.
    pub fn submit(self: &Arc<Self>, pending: &Arc<Pending>) {
        let submitted = {
            let mut state = self.state.lock();
            (!state.stopped).then(|| state.window.submit(pending))
        };
        match submitted {
            Some(Submitted::ToSend) => self.pump(),
            Some(Submitted::Rests) => {}
            Some(Submitted::FirstToRest) => self.wake_later(),
            Some(Submitted::TooMany) => {
                pending.tell(Err(Error::new(Code::Overloaded, "too many metadata requests wait")));
            }
            None => pending.tell(Err(Error::new(Code::Unreachable, "the client was stopped"))),
        }
    }

    fn wake_later(self: &Arc<Self>) {
        let (session, core) = (self.clone(), self.state.lock().core.upgrade());
        let wake = move || {
            session.state.lock().window.wake_resting();
            session.pump();
        };
        match core {
            Some(core) => core.timer.after(REST, wake),
            None => wake(),
        }
    }

    /// Sends what may be sent. One thread at a time, so that requests leave in their order; another one
    /// leaves a note.
    pub fn pump(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.sending, true) {
            state.send_again = true;
            return;
        }
        loop {
            let next = if state.ready { state.window.next() } else { None };
            if let Some(sending) = next {
                let connection = state.connection.clone().expect("ready means connected");
                let generation = state.generation;
                drop(state);
                self.send(&*connection, generation, &sending);
                state = self.state.lock();
            } else if !std::mem::take(&mut state.send_again) {
                state.sending = false;
                return;
            }
        }
    }

    fn send(self: &Arc<Self>, connection: &dyn Connection, generation: u64, sending: &Sending) {
        let left =
            sending.pending.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.unwrap_or(ATTEMPT_TIMEOUT);
        let request_id = connection.next_request_id();
        let message = sending.pending.encode(m::RequestHeader {
            request_id,
            deadline_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            priority: m::Priority::Metadata as i32 as u32,
            user: Some(sending.pending.user.clone()),
            client: self.identity.current().bytes(),
            sequence: sending.sequence,
            answered_up_to: sending.answered_up_to,
            ..Default::default()
        });
        // Its caller is told at the deadline all the same, by the keeper.
        let timeout = if sending.pending.has_late() { timeout + ATTEMPT_TIMEOUT } else { timeout };
        let out = Outgoing { kind: sending.pending.kind, message, payload: Vec::new(), timeout };
        let (session, place) = (self.clone(), sending.place);
        connection.call(request_id, out, Box::new(move |result| session.answered(generation, place, result)));
    }

    fn answered(self: &Arc<Self>, generation: u64, place: Place, result: Result<Reply>) {
        let message = match result {
            Ok(reply) => reply.message,
            Err(error) if error.code == Code::TimedOut => return self.timed_out(place, error),
            Err(error) if error.code == Code::Overloaded => return self.retry_later(place, &error),
            Err(_) => return self.lost(generation),
        };
        let code = decode::<m::AnyReply>(message.clone())
            .map_or(Code::Ok, |reply| reply.header.map_or(Code::Ok, |header| Code::from_number(header.code)));
        match code {
            // It stays in the window; the next connection sends it again.
            Code::SessionUnknown | Code::NotOwner | Code::NotPrimary => {
                log::info!(target: "client", code = code.name(); "metadata.session_refused");
                self.hang_up(generation);
            }
            Code::Overloaded => self.retry_later(place, &Error::new(code, "")),
            _ => self.deliver(place, message),
        }
    }

    fn deliver(self: &Arc<Self>, place: Place, message: Bytes) {
        let pending = self.state.lock().window.remove(place);
        if let Some(pending) = pending {
            pending.tell(Ok(message));
        }
        self.pump();
    }

    fn timed_out(self: &Arc<Self>, place: Place, error: Error) {
        let mut state = self.state.lock();
        let hard = state.core.upgrade().is_some_and(|core| core.config.hard);
        if hard {
            state.window.again(place);
            drop(state);
        } else {
            let pending = state.window.remove(place);
            drop(state);
            if let Some(pending) = pending {
                pending.tell(Err(error));
            }
        }
        self.pump();
    }

    fn retry_later(self: &Arc<Self>, place: Place, error: &Error) {
        log::debug!(target: "client", error:%; "metadata.busy");
        let mut state = self.state.lock();
        state.later.push((Instant::now() + BUSY_PAUSE, place));
        self.wake.notify_all();
    }

    /// The connection of this generation is gone; the keeper makes another.
    pub fn lost(self: &Arc<Self>, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.ready = false;
            self.wake.notify_all();
        }
    }

    /// The service wants another hello, or is another one now: begin with a new connection.
    pub fn hang_up(self: &Arc<Self>, generation: u64) {
        self.lost(generation);
        let connection = {
            let mut state = self.state.lock();
            if state.generation == generation { state.connection.take() } else { None }
        };
        if let Some(connection) = connection {
            connection.close();
        }
    }

    /// The client goes on under a new id.
    pub fn renew(self: &Arc<Self>) {
        let generation = {
            let mut state = self.state.lock();
            state.renewed = true;
            state.generation
        };
        self.hang_up(generation);
    }

    /// Another metadata service than the one we talk to, or a restarted one: do not wait for it to time out.
    pub fn apply(self: &Arc<Self>, table: &RoutingTable) {
        let Some(node) = table.metadata_node() else { return };
        let (generation, moved) = {
            let state = self.state.lock();
            let moved = state.connection.as_ref().is_some_and(|connection| connection.peer() != node.address);
            (state.generation, moved)
        };
        if moved && node.alive {
            self.hang_up(generation);
        }
        self.wake.notify_all();
    }

    pub fn stop(self: &Arc<Self>) {
        let (pending, connection) = {
            let mut state = self.state.lock();
            state.stopped = true;
            state.ready = false;
            (state.window.take_if(|_| true), state.connection.take())
        };
        self.wake.notify_all();
        for pending in pending {
            pending.tell(Err(Error::new(Code::Unreachable, "the client was stopped")));
        }
        if let Some(connection) = connection {
            connection.close();
        }
    }
}
