//! One end of one TCP connection: its calls, its send queue and its reader thread. Whoever notices first
//! that it is broken closes it; the reader thread ends last and tells the handler.

use super::out_frame::OutFrame;
use super::reader::Reader;
use super::writer::Writer;
use crate::dispatch::{Core, Ending, dispatch};
use crate::incoming::AnswerPath;
use crate::slots::{Owed, Slots};
use crate::threads;
use crate::timer::Timer;
use crate::{Connection, Done, Handler, Outgoing};
use pages::{Part, in_memory};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use wire::{BufferPool, Code, Error, Flags, Result};

/// A peer that takes no byte for so long is dead or stopped. Longer than any lease, so that a stopped
/// storage server has left its chains before its connections break.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Socket buffers keep the kernel's own tuning: fixed sizes of 0.25-4 MiB measured no better, most of them
/// worse. Handlers decode, decide and hand over; they do not recurse.
const READER_STACK_BYTES: usize = 1 << 20;

pub(super) struct Link {
    pub core: Core,
    socket: Arc<TcpStream>,
    writer: Arc<Writer>,
    number: u64,
}

impl Link {
    pub fn start(
        socket: TcpStream,
        peer: String,
        handler: Arc<dyn Handler>,
        pool: BufferPool,
        timer: &Arc<Timer>,
    ) -> Result<(Arc<Link>, JoinHandle<()>)> {
        let configured =
            socket.set_nodelay(true).and_then(|()| socket.set_write_timeout(Some(WRITE_TIMEOUT)));
        configured.map_err(|error| Error::new(Code::Unreachable, format!("{peer}: {error}")))?;
        let socket = Arc::new(socket);
        let number = threads::next_link_number();
        let writer = Arc::new(Writer::new(socket.clone()));
        let link = Arc::new(Link { core: Core::new(peer, pool, timer.clone()), socket, writer, number });
        let reading = link.clone();
        let thread = std::thread::Builder::new()
            .name("frame-reader".into())
            .stack_size(READER_STACK_BYTES)
            .spawn(move || reading.read(&*handler))
            .map_err(|error| Error::new(Code::Overloaded, format!("no thread for a connection: {error}")))?;
        Ok((link, thread))
    }

    fn read(self: &Arc<Self>, handler: &dyn Handler) {
        threads::become_reader_of(self.number);
        let ending = Ending { link: &**self, handler };
        let mut reader = Reader::new(&self.socket, self.core.calls.lost());
        let error = loop {
            if let Err(error) = self.read_frame(&mut reader, handler) {
                break error;
            }
        };
        if error.code != Code::ConnectionLost {
            log::warn!(target: "transport", peer = self.core.peer.as_str(), error:% = error; "connection.refused");
        }
        drop(ending);
        threads::flush_held();
    }

    fn read_frame(self: &Arc<Self>, reader: &mut Reader<'_>, handler: &dyn Handler) -> Result<()> {
        let frame = reader.header()?;
        let message = reader.message(frame.message_bytes as usize)?;
        reader.expect_payload(frame.payload_bytes as usize);
        dispatch(&self.core, self, handler, frame, message, reader)
    }
}

impl Connection for Link {
    fn next_request_id(&self) -> u64 {
        self.core.next_request_id()
    }

    fn call(&self, request_id: u64, out: Outgoing, done: Done) {
        if !self.core.begin(request_id, &out, done) {
            return;
        }
        let frame = OutFrame::new(out.kind as u8, Flags::NONE, out.message, in_memory(out.payload));
        if !self.writer.send(frame) {
            // Closed in between: whoever closed it ended the calls, or is about to.
            self.close();
        }
    }

    fn send_one_way(&self, out: Outgoing) -> Result<()> {
        let frame = OutFrame::new(out.kind as u8, Flags::ONE_WAY, out.message, in_memory(out.payload));
        if self.writer.send(frame) { Ok(()) } else { Err(self.core.calls.lost()) }
    }

    fn is_open(&self) -> bool {
        self.core.calls.is_open()
    }

    fn close(&self) {
        // An error says that the peer closed it before.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.writer.close();
        self.core.slots.close();
        self.core.calls.close();
    }

    fn peer(&self) -> String {
        self.core.peer.clone()
    }
}

impl AnswerPath for Link {
    fn answer(&self, kind: u8, message: Vec<u8>, payload: Vec<Part>, owed: Option<Owed>) {
        // False: the caller is gone, and with it the interest in the answer.
        self.writer.send_answer(OutFrame::new(kind, Flags::REPLY, message, payload).owing(owed));
    }

    fn slots(&self) -> &Arc<Slots> {
        &self.core.slots
    }

    fn release(&self) {
        self.core.slots.give_back();
    }
}
