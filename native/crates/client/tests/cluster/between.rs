//! A network on which a test stands between the client and the servers.

use std::sync::Arc;
use std::time::Duration;
use transport::{Connection, Done, Handler, Listener, Outgoing, Transport};
use wire::Result;

/// Carries a call, or does with it what it likes.
pub type Carry = dyn Fn(&Arc<dyn Connection>, u64, Outgoing, Done) + Send + Sync;

pub struct Between {
    pub inner: Arc<dyn Transport>,
    pub carry: Arc<Carry>,
}

struct BetweenConnection {
    inner: Arc<dyn Connection>,
    carry: Arc<Carry>,
}

impl Transport for Between {
    fn connect(
        &self,
        address: &str,
        timeout: Duration,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Connection>> {
        let inner = self.inner.connect(address, timeout, handler)?;
        Ok(Arc::new(BetweenConnection { inner, carry: self.carry.clone() }))
    }

    fn listen(&self, address: &str, handler: Arc<dyn Handler>) -> Result<Box<dyn Listener>> {
        self.inner.listen(address, handler)
    }
}

impl Connection for BetweenConnection {
    fn next_request_id(&self) -> u64 {
        self.inner.next_request_id()
    }

    fn call(&self, request_id: u64, out: Outgoing, done: Done) {
        (self.carry)(&self.inner, request_id, out, done);
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
