//! The protocol and nothing behind it: own frames over loopback TCP to an echo server in this process. It is
//! the ceiling that every other engine is compared with.

use super::{Engine, ReadDone, WriteDone};
use crate::job::Job;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use transport::{Connection, EchoHandler, Listener, TcpTransport, Transport, call};
use wire::message::EchoRequest;
use wire::{Code, Error, Result};

const TIMEOUT: Duration = Duration::from_secs(30);

pub struct NoopEngine {
    connections: Vec<Arc<dyn Connection>>,
    _listener: Box<dyn Listener>,
}

impl NoopEngine {
    /// `connections`: as many as the client would hold to its servers, so that both are carried alike.
    ///
    /// # Errors
    /// When loopback refuses.
    pub fn start(connections: usize) -> Result<Self> {
        let tcp = TcpTransport::new();
        let listener = tcp.listen("127.0.0.1:0", Arc::new(EchoHandler::new()))?;
        let address = listener.address();
        let connect = || tcp.connect(&address, TIMEOUT, Arc::new(EchoHandler::new()));
        let connections = (0..connections.max(1)).map(|_| connect()).collect::<Result<_>>()?;
        Ok(NoopEngine { connections, _listener: listener })
    }

    fn connection(&self, offset: u64, len: u64) -> &dyn Connection {
        let index = (offset / len.max(1)) as usize % self.connections.len();
        self.connections[index].as_ref()
    }
}

impl Engine for NoopEngine {
    fn prepare(&self, job: &Job) -> Result<()> {
        if job.verify && job.pattern.reads() {
            return Err(Error::new(
                Code::InvalidArgument,
                "the noop engine stores nothing that could be verified",
            ));
        }
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }

    fn read(&self, _job: u32, offset: u64, len: u32, done: ReadDone) {
        let request = EchoRequest { reply_bytes: len, ..Default::default() };
        let connection = self.connection(offset, u64::from(len));
        call(connection, request, Vec::new(), TIMEOUT, move |result| {
            done(result.map(|(_, payload)| vec![payload]))
        });
    }

    fn write(&self, _job: u32, offset: u64, data: Bytes, done: WriteDone) {
        let connection = self.connection(offset, data.len() as u64);
        call(connection, EchoRequest::default(), vec![data], TIMEOUT, move |result| done(result.map(|_| ())));
    }

    fn fsync(&self, _job: u32) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::run;
    use crate::job::Pattern;

    #[test]
    fn moves_every_byte_both_ways() {
        let engine: Arc<dyn Engine> = Arc::new(NoopEngine::start(2).unwrap());
        let job = |pattern| Job {
            pattern,
            block_bytes: 1 << 16,
            depth: 8,
            jobs: 2,
            size_bytes: 4 << 20,
            runtime: Duration::ZERO,
            fsync_every: 0,
            fsync_at_end: true,
            verify: false,
            seed: 0,
        };
        for pattern in [Pattern::Read, Pattern::Write] {
            let report = run(&job(pattern), &engine).unwrap();
            assert_eq!((report.operations, report.bytes, report.errors), (128, 8 << 20, 0));
        }
    }
}
