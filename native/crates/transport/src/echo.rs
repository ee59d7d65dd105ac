//! Protocol and nothing else: reads and drops the payload, answers as many zeros as were asked for. It is
//! what `noop` benchmarks and liveness probes talk to.

use crate::{Handler, Incoming};
use bytes::Bytes;
use wire::limits::PAYLOAD_BYTES_MAX;
use wire::message::{EchoReply, EchoRequest};
use wire::{BufferPool, Code, Error, MessageKind, Result};

pub struct EchoHandler {
    pool: BufferPool,
    zeros: Bytes,
}

impl EchoHandler {
    pub fn new() -> Self {
        // Two payloads of the usual size: one being filled, one being dropped.
        EchoHandler { pool: BufferPool::new(2 << 20), zeros: Bytes::from(vec![0; 1 << 20]) }
    }

    /// Takes the payload in; the payload of the answer, for servers that answer echoes among other requests.
    ///
    /// # Errors
    /// `BadMessage`, `InvalidArgument`, `ConnectionLost`.
    pub fn reply_to(&self, incoming: &mut Incoming<'_>) -> Result<Vec<Bytes>> {
        let request: EchoRequest = incoming.decode()?;
        incoming.pull(&self.pool)?;
        let mut left = request.reply_bytes as usize;
        if left > PAYLOAD_BYTES_MAX {
            return Err(Error::new(Code::InvalidArgument, format!("a reply of {left} bytes")));
        }
        let mut payload = Vec::new();
        while left > 0 {
            let piece = left.min(self.zeros.len());
            payload.push(self.zeros.slice(..piece));
            left -= piece;
        }
        Ok(payload)
    }
}

impl Default for EchoHandler {
    fn default() -> Self {
        EchoHandler::new()
    }
}

impl Handler for EchoHandler {
    fn handle(&self, mut incoming: Incoming<'_>) {
        if incoming.kind != MessageKind::KindEcho as u8 {
            return incoming.refuse_unknown();
        }
        let outcome = self.reply_to(&mut incoming);
        let replier = incoming.replier();
        match outcome {
            Ok(payload) => replier.send(EchoReply::default(), payload),
            Err(error) => replier.fail(&error),
        }
    }
}
