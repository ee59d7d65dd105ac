//! Typed calls on top of any connection: encodes the request under a fresh id, decodes the reply, turns a
//! reply that says "failed" into an error.

use crate::{Connection, Outgoing, Reply};
use bytes::Bytes;
use std::sync::mpsc;
use std::time::Duration;
use wire::request::{decode_reply, encode_request};
use wire::{Code, Error, OneWay, Request, Result};

/// `done` runs once; it must not block (see `Done`).
pub fn call<R: Request>(
    connection: &dyn Connection,
    request: R,
    payload: Vec<Bytes>,
    timeout: Duration,
    done: impl FnOnce(Result<(R::Reply, Bytes)>) + Send + 'static,
) {
    let request_id = connection.next_request_id();
    let message = encode_request(request, request_id, timeout);
    let decode = |reply: Reply| Ok((decode_reply::<R::Reply>(reply.message)?, reply.payload));
    let out = Outgoing { kind: R::KIND, message, payload, timeout };
    connection.call(request_id, out, Box::new(move |result| done(result.and_then(decode))));
}

/// Waits for the answer. Never to be called on a transport's thread.
///
/// # Errors
/// What the peer answered, or why there is no answer.
pub fn call_wait<R: Request>(
    connection: &dyn Connection,
    request: R,
    payload: Vec<Bytes>,
    timeout: Duration,
) -> Result<(R::Reply, Bytes)>
where
    R::Reply: 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    call(connection, request, payload, timeout, move |result| {
        // The receiver waits for as long as this callback exists.
        let _ = sender.send(result);
    });
    // The request itself may be held back.
    crate::flush_held();
    receiver.recv().unwrap_or_else(|_| Err(Error::new(Code::ConnectionLost, connection.peer())))
}

/// Sends a message that has no answer.
///
/// # Errors
/// `ConnectionLost`.
pub fn push<M: OneWay>(connection: &dyn Connection, message: &M) -> Result<()> {
    let message = message.encode_to_vec();
    connection.send_one_way(Outgoing { kind: M::KIND, message, payload: Vec::new(), timeout: Duration::MAX })
}
