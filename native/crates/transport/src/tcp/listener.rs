//! Accepts TCP connections. An error while accepting never ends it: it goes on until it is closed.

use super::link::Link;
use super::resolve;
use crate::timer::Timer;
use crate::{Connection, Handler, Listener};
use parking_lot::Mutex;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use wire::{BufferPool, Code, Error, Result};

/// Connections at once: each costs a thread and a read buffer (80 KiB). More clients than this need more
/// servers.
const CONNECTIONS_MAX: usize = 4096;

/// After an error such as "too many open files": others may close theirs meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Accepted {
    closed: bool,
    links: Vec<(Arc<Link>, JoinHandle<()>)>,
}

struct Shared {
    socket: TcpListener,
    accepted: Mutex<Accepted>,
    handler: Arc<dyn Handler>,
    pool: BufferPool,
    timer: Arc<Timer>,
}

pub(super) struct TcpListening {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    address: String,
}

impl TcpListening {
    pub fn start(
        address: &str,
        handler: Arc<dyn Handler>,
        pool: BufferPool,
        timer: Arc<Timer>,
    ) -> Result<Self> {
        let taken =
            |error: std::io::Error| Error::new(Code::AlreadyRunning, format!("listen on {address}: {error}"));
        let socket = TcpListener::bind(&resolve(address)?[..]).map_err(taken)?;
        let bound = socket.local_addr().map_err(taken)?.to_string();
        let accepted = Mutex::new(Accepted { closed: false, links: Vec::new() });
        let shared = Arc::new(Shared { socket, accepted, handler, pool, timer });
        let accepting = shared.clone();
        let thread = std::thread::Builder::new()
            .name("frame-listener".into())
            .spawn(move || accepting.accept_all())
            .map_err(taken)?;
        Ok(TcpListening { shared, thread: Mutex::new(Some(thread)), address: bound })
    }
}

impl Shared {
    fn accept_all(&self) {
        loop {
            let accepted = self.socket.accept();
            if self.accepted.lock().closed {
                return;
            }
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer.to_string()),
                Err(error) => {
                    log::warn!(target: "transport", error:% = error; "connection.accept");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    fn admit(&self, socket: std::net::TcpStream, peer: String) {
        let mut accepted = self.accepted.lock();
        accepted.links.retain(|(_, thread)| !thread.is_finished());
        if accepted.closed || accepted.links.len() >= CONNECTIONS_MAX {
            log::warn!(target: "transport", peer = peer.as_str(), limit = CONNECTIONS_MAX; "connection.over_limit");
            return;
        }
        match Link::start(socket, peer, self.handler.clone(), self.pool.clone(), &self.timer) {
            Ok(link) => accepted.links.push(link),
            Err(error) => log::warn!(target: "transport", error:% = error; "connection.accept"),
        }
    }
}

impl Listener for TcpListening {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn close(&self) {
        let links = {
            let mut accepted = self.shared.accepted.lock();
            accepted.closed = true;
            std::mem::take(&mut accepted.links)
        };
        // Wakes `accept`. An error says that it is not listening any more.
        let _ = rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both);
        for (link, _) in &links {
            link.close();
        }
        let threads =
            self.thread.lock().take().into_iter().chain(links.into_iter().map(|(_, thread)| thread));
        for thread in threads {
            // A reader that panicked has closed its link.
            let _ = thread.join();
        }
    }
}

impl Drop for TcpListening {
    fn drop(&mut self) {
        self.close();
    }
}
