//! One metadata request until its answer: how it is encoded for each try, and who is told.

use crate::Caller;
use crate::done::Done;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use wire::message as m;
use wire::request::decode_reply;
use wire::{Code, Error, MessageKind, Request, Result};

/// Whether the request is numbered, so that its answer is kept and it is executed once (P17). The others may
/// be repeated.
pub(crate) fn changes_state(kind: MessageKind) -> bool {
    !matches!(
        kind,
        MessageKind::KindLookup
            | MessageKind::KindStat
            | MessageKind::KindReadDirectory
            | MessageKind::KindReadLink
            | MessageKind::KindStatFileSystem
            | MessageKind::KindSync
    )
}

/// Beside the request itself.
#[derive(Default)]
pub(crate) struct CallOptions {
    pub deadline: Option<Instant>,
    /// Before everything that is not urgent, which waits for it: opens that a new session must know first.
    pub urgent: bool,
    /// Nobody waits for it, so it may wait for others like it: one batch for the service instead of many.
    pub patient: bool,
    /// Gets the answer if nobody waits for it any more.
    pub late: Option<Late>,
}

/// What does the same whether a file is still open or not, and so may go past a patient close.
pub(crate) fn passes_closes(kind: MessageKind) -> bool {
    matches!(kind, MessageKind::KindCreate | MessageKind::KindOpen) || !changes_state(kind)
}

type Late = Box<dyn FnOnce(Bytes) + Send>;
type Encode = Box<dyn Fn(m::RequestHeader) -> Vec<u8> + Send + Sync>;

pub(crate) struct Pending {
    pub kind: MessageKind,
    pub numbered: bool,
    pub user: m::User,
    pub deadline: Option<Instant>,
    pub urgent: bool,
    pub patient: bool,
    encode: Encode,
    done: Mutex<Option<Done<Bytes>>>,
    late: Mutex<Option<Late>>,
}

impl Pending {
    /// `make` is called for each try: what it names (an open file's session) may have changed in between.
    pub fn new<R: Request>(
        caller: &Caller,
        options: CallOptions,
        make: impl Fn() -> R + Send + Sync + 'static,
        done: impl FnOnce(Result<R::Reply>) + Send + 'static,
    ) -> Arc<Pending> {
        let encode = Box::new(move |header| {
            let mut request = make();
            *request.header_mut() = header;
            request.encode_to_vec()
        });
        let typed = move |result: Result<Bytes>| done(result.and_then(decode_reply::<R::Reply>));
        let pending = Arc::new(Pending {
            kind: R::KIND,
            numbered: changes_state(R::KIND),
            user: caller.user(),
            deadline: options.deadline,
            urgent: options.urgent,
            patient: options.patient,
            encode,
            done: Mutex::new(Some(Done::new(typed))),
            late: Mutex::new(options.late),
        });
        if let Some(cancel) = &caller.cancel {
            let cancelled = Arc::downgrade(&pending);
            cancel.on_cancel(move || {
                if let Some(pending) = cancelled.upgrade() {
                    pending.tell(Err(Error::new(Code::Interrupted, "by the caller")));
                }
            });
        }
        pending
    }

    pub fn encode(&self, header: m::RequestHeader) -> Vec<u8> {
        (self.encode)(header)
    }

    /// Whether somebody still waits.
    pub fn is_wanted(&self) -> bool {
        self.done.lock().is_some()
    }

    /// Whether an answer that nobody waits for is still to be acted on.
    pub fn has_late(&self) -> bool {
        self.late.lock().is_some()
    }

    /// The first answer counts. A late one goes to `late`.
    pub fn tell(&self, result: Result<Bytes>) {
        let done = self.done.lock().take();
        match (done, result) {
            (Some(done), result) => done.tell(result),
            (None, Ok(answer)) => {
                let late = self.late.lock().take();
                if let Some(late) = late {
                    late(answer);
                }
            }
            (None, Err(_)) => {}
        }
    }
}
