//! The connecting side's handle: the reader thread keeps the link itself alive, so dropping the handle must
//! close it.

use crate::{Connection, Done, Outgoing};
use std::sync::Arc;
use wire::Result;

pub(crate) struct Owned<L: Connection>(pub Arc<L>);

impl<L: Connection> Drop for Owned<L> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<L: Connection> Connection for Owned<L> {
    fn next_request_id(&self) -> u64 {
        self.0.next_request_id()
    }
    fn call(&self, request_id: u64, out: Outgoing, done: Done) {
        self.0.call(request_id, out, done);
    }
    fn send_one_way(&self, out: Outgoing) -> Result<()> {
        self.0.send_one_way(out)
    }
    fn is_open(&self) -> bool {
        self.0.is_open()
    }
    fn close(&self) {
        self.0.close();
    }
    fn peer(&self) -> String {
        self.0.peer()
    }
}
