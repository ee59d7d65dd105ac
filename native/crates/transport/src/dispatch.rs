//! What happens with a frame that arrived, the same on every transport: an answer ends its call, a request
//! goes to the handler, and what nobody pulls is skipped.

use crate::calls::Calls;
use crate::incoming::{AnswerPath, PayloadSource, ReplySender};
use crate::slots::Slots;
use crate::timer::Timer;
use crate::{Connection, Done, Handler, Incoming, Outgoing, Reply};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::request::{request_id_of_reply, request_id_of_request};
use wire::{BufferPool, Flags, FrameHeader, Result};

/// The part of a connection's end that does not depend on what carries it.
pub(crate) struct Core {
    pub calls: Arc<Calls>,
    pub slots: Arc<Slots>,
    pub peer: String,
    /// Payloads of replies: bounded by what the calls in flight asked for.
    pool: BufferPool,
    timer: Arc<Timer>,
    next_request_id: AtomicU64,
}

impl Core {
    pub fn new(peer: String, pool: BufferPool, timer: Arc<Timer>) -> Self {
        Core {
            calls: Arc::new(Calls::new(peer.clone())),
            slots: Arc::default(),
            peer,
            pool,
            timer,
            next_request_id: AtomicU64::new(1),
        }
    }

    pub fn next_request_id(&self) -> u64 {
        self.next_request_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers a call; `false` if it ended already.
    pub fn begin(&self, request_id: u64, out: &Outgoing, done: Done) -> bool {
        match self.calls.begin(request_id, out.timeout, done) {
            Ok(Some(at)) => {
                self.timer.arm(at, &self.calls);
                true
            }
            Ok(None) => true,
            Err((error, done)) => {
                done(Err(error));
                false
            }
        }
    }
}

/// Closes the link however its reader ends, also by a panic in the handler.
pub(crate) struct Ending<'a, L: Connection> {
    pub link: &'a L,
    pub handler: &'a dyn Handler,
}

impl<L: Connection> Drop for Ending<'_, L> {
    fn drop(&mut self) {
        self.link.close();
        self.handler.closed(&self.link.peer());
    }
}

/// # Errors
/// The connection cannot go on.
pub(crate) fn dispatch<L: Connection + AnswerPath + 'static>(
    core: &Core,
    link: &Arc<L>,
    handler: &dyn Handler,
    frame: FrameHeader,
    message: Bytes,
    source: &mut dyn PayloadSource,
) -> Result<()> {
    let payload_bytes = frame.payload_bytes as usize;
    if frame.flags.contains(Flags::REPLY) {
        return accept_reply(core, message, payload_bytes, source);
    }
    let one_way = frame.flags.contains(Flags::ONE_WAY);
    let request_id = if one_way { 0 } else { request_id_of_request(&message)? };
    if !one_way && !core.slots.try_take() {
        source.before_wait();
        core.slots.take();
    }
    let replier = ReplySender::new(link.clone(), frame.kind, request_id, one_way);
    let mut left = payload_bytes;
    handler.handle(Incoming {
        kind: frame.kind,
        message,
        one_way,
        payload_left: &mut left,
        source,
        replier: Some(replier),
        connection: link.clone(),
    });
    source.discard(left)
}

fn accept_reply(
    core: &Core,
    message: Bytes,
    payload_bytes: usize,
    source: &mut dyn PayloadSource,
) -> Result<()> {
    let Some(done) = core.calls.finish(request_id_of_reply(&message)?) else {
        return source.discard(payload_bytes);
    };
    if payload_bytes == 0 {
        done(Ok(Reply { message, payload: Bytes::new() }));
        return Ok(());
    }
    let mut buffer = core.pool.take(payload_bytes);
    if let Err(error) = source.read(&mut buffer) {
        done(Err(error.clone()));
        return Err(error);
    }
    done(Ok(Reply { message, payload: buffer.freeze() }));
    Ok(())
}
