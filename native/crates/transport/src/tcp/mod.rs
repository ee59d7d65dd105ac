//! Frames over TCP. Payloads go from the socket straight into the buffer that the handler chose, and out of
//! the caller's buffers with one vectored write.

mod link;
mod listener;
mod out_frame;
mod reader;
mod watermark;
mod writer;

use crate::owned::Owned;
use crate::timer::Timer;
use crate::{Connection, Handler, Listener, Transport};
use link::Link;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use wire::{BufferPool, Code, Error, Result};

/// Unused reply buffers kept by a transport: 64 chunks of the default size, about what one busy client has in
/// flight.
const IDLE_REPLY_BYTES_MAX: usize = 64 << 20;

pub struct TcpTransport {
    timer: Arc<Timer>,
    pool: BufferPool,
}

impl TcpTransport {
    pub fn new() -> Self {
        TcpTransport { timer: Arc::new(Timer::default()), pool: BufferPool::new(IDLE_REPLY_BYTES_MAX) }
    }
}

impl Default for TcpTransport {
    fn default() -> Self {
        TcpTransport::new()
    }
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>> {
    let unreachable = |detail: String| Error::new(Code::Unreachable, format!("{address}: {detail}"));
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|error| unreachable(error.to_string()))?.collect();
    if addresses.is_empty() { Err(unreachable("no such host".into())) } else { Ok(addresses) }
}

impl Transport for TcpTransport {
    fn connect(
        &self,
        address: &str,
        timeout: Duration,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Connection>> {
        let mut last = None;
        for socket_address in resolve(address)? {
            match TcpStream::connect_timeout(&socket_address, timeout) {
                Ok(socket) => {
                    let link =
                        Link::start(socket, address.to_string(), handler, self.pool.clone(), &self.timer)?;
                    return Ok(Arc::new(Owned(link.0)));
                }
                Err(error) => last = Some(error),
            }
        }
        let detail = last.map_or_else(String::new, |error| error.to_string());
        Err(Error::new(Code::Unreachable, format!("{address}: {detail}")))
    }

    fn listen(&self, address: &str, handler: Arc<dyn Handler>) -> Result<Box<dyn Listener>> {
        let listener =
            listener::TcpListening::start(address, handler, self.pool.clone(), self.timer.clone())?;
        Ok(Box::new(listener))
    }
}
