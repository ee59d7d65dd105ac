//! One request as its handler sees it: the message at hand, the payload still with the caller, and a way to
//! answer. A request is answered exactly once: a dropped sender answers `Internal`.

use bytes::Bytes;
use pages::{Part, in_memory};
use std::sync::Arc;
use std::time::Duration;
use wire::request::{self, ReplyMessage};
use wire::{Buffer, BufferPool, Code, Error, Result};

use crate::Connection;
use crate::slots::{Owed, Slots};

/// The side of a connection that answers go to.
pub(crate) trait AnswerPath: Send + Sync {
    /// Errors are of no use to the handler: the caller is gone.
    fn answer(&self, kind: u8, message: Vec<u8>, payload: Vec<Part>, owed: Option<Owed>);
    fn slots(&self) -> &Arc<Slots>;
    /// The request no longer counts against the limit of unanswered ones.
    fn release(&self);
}

/// A payload that the peer still holds.
pub(crate) trait PayloadSource {
    /// Fills the front of `buffer` with the next bytes.
    fn read(&mut self, buffer: &mut [u8]) -> Result<()>;
    fn discard(&mut self, length_bytes: usize) -> Result<()>;
    /// Called before a wait for memory: answers queued by this thread must not wait with it.
    fn before_wait(&mut self);
}

pub struct Incoming<'a> {
    pub kind: u8,
    pub message: Bytes,
    pub one_way: bool,
    /// Not pulled yet; the reader skips it afterwards.
    pub(crate) payload_left: &'a mut usize,
    pub(crate) source: &'a mut dyn PayloadSource,
    pub(crate) replier: Option<ReplySender>,
    pub(crate) connection: Arc<dyn Connection>,
}

impl Incoming<'_> {
    /// Bytes of the payload that were not pulled yet.
    pub fn payload_bytes(&self) -> usize {
        *self.payload_left
    }

    /// Brings the payload into a buffer of `pool`. Waits while the pool's budget is used up. What a handler
    /// does not pull is skipped.
    ///
    /// # Errors
    /// `ConnectionLost`.
    pub fn pull(&mut self, pool: &BufferPool) -> Result<Bytes> {
        self.pull_into(pool, |length_bytes| Some(pool.take(length_bytes)))
    }

    /// As `pull`, but refuses what would wait for longer than `patience` without any buffer that comes back: whoever
    /// has them does not go on, and requests behind this one may be for others.
    ///
    /// # Errors
    /// `Overloaded`, `ConnectionLost`.
    pub fn pull_unless_stuck(&mut self, pool: &BufferPool, patience: Duration) -> Result<Bytes> {
        self.pull_into(pool, |length_bytes| pool.take_unless_stuck(length_bytes, patience))
    }

    fn pull_into(&mut self, pool: &BufferPool, wait: impl FnOnce(usize) -> Option<Buffer>) -> Result<Bytes> {
        let length_bytes = *self.payload_left;
        if length_bytes == 0 {
            return Ok(Bytes::new());
        }
        let taken = pool.try_take(length_bytes).or_else(|| {
            self.source.before_wait();
            wait(length_bytes)
        });
        let Some(mut buffer) = taken else {
            let detail = "the memory for such requests is used up, and none of it comes back";
            return Err(Error::new(Code::Overloaded, detail));
        };
        *self.payload_left = 0;
        self.source.read(&mut buffer)?;
        Ok(buffer.freeze())
    }

    /// Goes on with `then` when the caller leaves less than `limit_bytes` of answers of this source unread, so that
    /// a caller that stopped cannot hold the memory of others. The answer has this many bytes of payload. Nobody
    /// waits: requests behind this one are read. On this thread, or on one that writes an earlier answer.
    pub fn admit(
        &mut self,
        source: usize,
        payload_bytes: usize,
        limit_bytes: usize,
        then: impl FnOnce(ReplySender) + Send + 'static,
    ) {
        let mut replier = self.replier();
        let slots = replier.path.as_ref().expect("not answered yet").slots().clone();
        slots.owe(source, payload_bytes, limit_bytes, move |owed| {
            replier.owed = Some(owed);
            then(replier);
        });
    }

    /// The way to answer, for any thread. Of a one-way message its answers go nowhere.
    ///
    /// # Panics
    /// On the second call: there is one answer.
    pub fn replier(&mut self) -> ReplySender {
        self.replier.take().expect("a request has one answer")
    }

    /// The connection that brought this, for messages back to the peer.
    pub fn connection(&self) -> Arc<dyn Connection> {
        self.connection.clone()
    }

    /// Decodes the message.
    ///
    /// # Errors
    /// `BadMessage`.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M> {
        request::decode(self.message.clone())
    }

    /// Answers that this handler does not know the kind.
    pub fn refuse_unknown(&mut self) {
        let error = Error::new(Code::UnknownKind, format!("kind {}", self.kind));
        self.replier().fail(&error);
    }
}

/// Answers one request, from any thread.
pub struct ReplySender {
    path: Option<Arc<dyn AnswerPath>>,
    kind: u8,
    request_id: u64,
    one_way: bool,
    owed: Option<Owed>,
}

impl ReplySender {
    pub(crate) fn new(path: Arc<dyn AnswerPath>, kind: u8, request_id: u64, one_way: bool) -> Self {
        ReplySender { path: Some(path), kind, request_id, one_way, owed: None }
    }

    pub fn request_id(&self) -> u64 {
        self.request_id
    }

    /// Done, with this reply. The payload is pushed with it.
    pub fn send<R: ReplyMessage>(self, reply: R, payload: Vec<Bytes>) {
        self.send_parts(reply, in_memory(payload));
    }

    /// As `send`, of memory and of pages that leave without being copied.
    pub fn send_parts<R: ReplyMessage>(self, reply: R, payload: Vec<Part>) {
        let message = request::encode_reply(reply, self.request_id);
        self.finish(message, payload);
    }

    pub fn fail(self, error: &Error) {
        let message = request::encode_failure(error, self.request_id);
        self.finish(message, Vec::new());
    }

    /// The outcome of an operation that has no payload.
    pub fn respond<R: ReplyMessage>(self, outcome: Result<R>) {
        match outcome {
            Ok(reply) => self.send(reply, Vec::new()),
            Err(error) => self.fail(&error),
        }
    }

    fn finish(mut self, message: Vec<u8>, payload: Vec<Part>) {
        self.answer(message, payload);
    }

    fn answer(&mut self, message: Vec<u8>, payload: Vec<Part>) {
        let Some(path) = self.path.take() else { return };
        if !self.one_way {
            path.answer(self.kind, message, payload, self.owed.take());
            path.release();
        }
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        if self.path.is_some() && !self.one_way {
            let error =
                Error::new(Code::Internal, format!("a request of kind {} was not answered", self.kind));
            let message = request::encode_failure(&error, self.request_id);
            self.answer(message, Vec::new());
        }
    }
}
