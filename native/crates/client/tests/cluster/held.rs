//! A network that holds back what a test names.

use crate::between::Between;
use parking_lot::Mutex;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use transport::{Connection, Done, Outgoing, Transport};
use wire::{Code, Error, MessageKind};

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

/// The hand on the network.
#[derive(Clone, Default)]
pub struct Holder(Arc<Mutex<State>>);

impl Holder {
    /// And the network that it holds.
    pub fn over(inner: Arc<dyn Transport>) -> (Holder, Arc<dyn Transport>) {
        let holder = Holder::default();
        let held = holder.clone();
        let carry = move |inner: &Arc<dyn Connection>, request_id, out: Outgoing, done| {
            held.carry(inner, request_id, out, done);
        };
        (holder, Arc::new(Between { inner, carry: Arc::new(carry) }))
    }

    /// What is held already stays so.
    pub fn hold(&self, hold: Hold) {
        self.0.lock().hold = hold;
    }

    pub fn wait_held(&self, count: usize) {
        while self.0.lock().held.len() < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All that is held goes on its way, in order; waits until requests are carried out or refused. How many.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.0.lock().held);
        held.into_iter().map(|then| then()).count()
    }

    fn carry(&self, inner: &Arc<dyn Connection>, request_id: u64, out: Outgoing, done: Done) {
        let hold = self.0.lock().hold;
        match hold {
            Hold::Requests(kind) if kind == out.kind => {
                let inner = inner.clone();
                let late = move || {
                    let (sender, answered) = mpsc::channel();
                    inner.call(request_id, out, Box::new(move |_| sender.send(()).unwrap()));
                    answered.recv().unwrap();
                };
                self.0.lock().held.push(Box::new(late));
                done(Err(Error::new(Code::ConnectionLost, "held back")));
            }
            Hold::Answers(kind) if kind == out.kind => {
                let holder = self.clone();
                let held = move |result| holder.0.lock().held.push(Box::new(move || done(result)));
                inner.call(request_id, out, Box::new(held));
            }
            _ => inner.call(request_id, out, done),
        }
    }
}
