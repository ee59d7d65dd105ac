//! A network that holds back what a test names.

use parking_lot::Mutex;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use transport::{Connection, Done, Handler, Listener, Outgoing, Transport};
use wire::{Code, Error, MessageKind, Result};

/// What is held back from now on.
#[derive(Clone, Copy, Default)]
pub enum Hold {
    #[default]
    Nothing,
    /// Requests of this kind: told to the client as lost, and not arrived yet.
    Requests(MessageKind),
    /// Answers to requests of this kind, which arrive.
    Answers(MessageKind),
}

type Then = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    hold: Hold,
    held: Vec<Then>,
}

pub struct HoldingTransport {
    inner: Arc<dyn Transport>,
    state: Arc<Mutex<State>>,
}

struct HoldingConnection {
    inner: Arc<dyn Connection>,
    state: Arc<Mutex<State>>,
}

impl HoldingTransport {
    pub fn over(inner: Arc<dyn Transport>) -> Arc<HoldingTransport> {
        Arc::new(HoldingTransport { inner, state: Arc::default() })
    }

    /// What is held already stays so.
    pub fn hold(&self, hold: Hold) {
        self.state.lock().hold = hold;
    }

    pub fn wait_held(&self, count: usize) {
        while self.state.lock().held.len() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All that is held goes on its way, in order; waits until requests are carried out or refused. How many.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.state.lock().held);
        held.into_iter().map(|then| then()).count()
    }
}

impl Transport for HoldingTransport {
    fn connect(
        &self,
        address: &str,
        timeout: Duration,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Connection>> {
        let inner = self.inner.connect(address, timeout, handler)?;
        Ok(Arc::new(HoldingConnection { inner, state: self.state.clone() }))
    }

    fn listen(&self, address: &str, handler: Arc<dyn Handler>) -> Result<Box<dyn Listener>> {
        self.inner.listen(address, handler)
    }
}

impl Connection for HoldingConnection {
    fn next_request_id(&self) -> u64 {
        self.inner.next_request_id()
    }

    fn call(&self, request_id: u64, out: Outgoing, done: Done) {
        let hold = self.state.lock().hold;
        match hold {
            Hold::Requests(kind) if kind == out.kind => {
                let inner = self.inner.clone();
                let late = move || {
                    let (sender, answered) = mpsc::channel();
                    inner.call(request_id, out, Box::new(move |_| sender.send(()).unwrap()));
                    answered.recv().unwrap();
                };
                self.state.lock().held.push(Box::new(late));
                done(Err(Error::new(Code::ConnectionLost, "held back")));
            }
            Hold::Answers(kind) if kind == out.kind => {
                let state = self.state.clone();
                let held = move |result| state.lock().held.push(Box::new(move || done(result)));
                self.inner.call(request_id, out, Box::new(held));
            }
            _ => self.inner.call(request_id, out, done),
        }
    }

    fn send_one_way(&self, out: Outgoing) -> Result<()> {
        self.inner.send_one_way(out)
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn peer(&self) -> String {
        self.inner.peer()
    }
}
