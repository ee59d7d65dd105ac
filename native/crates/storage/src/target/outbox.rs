//! Messages to other members in the order in which the replica wanted them sent, sent after its lock is
//! released. One thread at a time sends, also what others add meanwhile. Bounded by the replica's limits of
//! what is in the air.

use super::Target;
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) type Message = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Outbox {
    messages: VecDeque<Message>,
    sending: bool,
}

impl Target {
    /// Under the replica's lock.
    pub(super) fn post(&self, message: Message) {
        self.outbox.lock().messages.push_back(message);
    }

    pub(super) fn deliver(self: &Arc<Self>) {
        let mut outbox = self.outbox.lock();
        if outbox.sending {
            return;
        }
        outbox.sending = true;
        while let Some(message) = outbox.messages.pop_front() {
            drop(outbox);
            // May end at once, and then come back to this target: it finds `sending` set.
            message();
            outbox = self.outbox.lock();
        }
        outbox.sending = false;
    }
}
