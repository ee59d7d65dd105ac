//! A metadata service for tests: one directory of files in memory, sessions, and answers kept by number
//! (P17), so that what a client repeats is executed once. It can lose answers, forget everybody, and stand
//! still.

use parking_lot::{Condvar, Mutex};
use prost::Message;
use rustix::fs::OFlags;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use transport::{Handler, Incoming, Listener, Transport};
use wire::message::{self as m, MessageKind};
use wire::request::{ReplyMessage, encode_reply};
use wire::{Code, Error, Request, Result};

pub const ROOT: u64 = 1;

#[derive(Default)]
pub struct State {
    pub inodes: BTreeMap<u64, m::Inode>,
    names: BTreeMap<Vec<u8>, u64>,
    /// Session number → (inode, flags).
    pub sessions: BTreeMap<u64, (u64, u32)>,
    clients: HashMap<Vec<u8>, Client>,
    next: u64,
    /// What was executed, in order: kind and inode.
    pub log: Vec<(MessageKind, u64)>,
    pub durable_reports: usize,
    /// Execute this many more requests, then answer none of them and close the connection.
    pub lose_answers: usize,
    /// Put off this many reports, as a service that has too much to do.
    pub busy_for_reports: usize,
    /// Called before an open truncates.
    pub before_truncation: Option<Box<dyn FnMut() + Send>>,
    /// Requests wait while it is set.
    pub still: bool,
}

#[derive(Default)]
struct Client {
    answers: BTreeMap<u64, Vec<u8>>,
    answered_up_to: u64,
}

pub struct TestMeta {
    pub state: Arc<Mutex<State>>,
    moved: Arc<Condvar>,
    pub address: String,
    _listener: Box<dyn Listener>,
}

struct Answers {
    state: Arc<Mutex<State>>,
    moved: Arc<Condvar>,
    layout: m::Layout,
}

impl TestMeta {
    pub fn start(transport: &dyn Transport, layout: m::Layout) -> TestMeta {
        let state = Arc::new(Mutex::new(State { next: 100, ..State::default() }));
        let moved = Arc::new(Condvar::new());
        let answers = Answers { state: state.clone(), moved: moved.clone(), layout };
        let listener = transport.listen("127.0.0.1:0", Arc::new(answers)).unwrap();
        TestMeta { state, moved, address: listener.address(), _listener: listener }
    }

    pub fn stand_still(&self, still: bool) {
        self.state.lock().still = still;
        self.moved.notify_all();
    }

    /// As a service that lost its sessions; files stay.
    pub fn forget_clients(&self) {
        let mut state = self.state.lock();
        state.clients.clear();
        state.sessions.clear();
    }

    pub fn inode(&self, id: u64) -> m::Inode {
        self.state.lock().inodes[&id].clone()
    }

    pub fn remove_inode(&self, id: u64) {
        self.state.lock().inodes.remove(&id);
    }

    pub fn executed(&self, kind: MessageKind) -> usize {
        self.state.lock().log.iter().filter(|(logged, _)| *logged == kind).count()
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn inode_mut(&mut self, id: u64) -> Result<&mut m::Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| Error::new(Code::NotFound, format!("inode {id}")))
    }

    fn apply(&mut self, id: u64, report: Option<m::LengthReport>) -> Result<m::Inode> {
        let inode = self.inode_mut(id)?;
        if let Some(report) = report.filter(|report| report.generation == inode.generation) {
            inode.length = inode.length.max(report.length);
            inode.blocks_bytes = inode.blocks_bytes.saturating_add_signed(report.allocated_delta);
            inode.change += 1;
        }
        Ok(inode.clone())
    }

    /// A new generation where something is cut off: what this client wrote, what others may have written.
    fn set_length(&mut self, id: u64, length: u64, written: u64) -> Result<()> {
        let others = self.sessions.values().filter(|(inode, _)| *inode == id).count() > 1;
        let inode = self.inode_mut(id)?;
        let cuts = others || length < inode.length.max(written);
        inode.length = length;
        inode.generation += u64::from(cuts);
        inode.change += 1;
        Ok(())
    }

    fn open(&mut self, id: u64, flags: u32, written: u64, created: bool) -> Result<m::OpenReply> {
        let truncates = flags & OFlags::TRUNC.bits() != 0;
        if truncates && let Some(look) = &mut self.before_truncation {
            look();
        }
        if truncates {
            self.set_length(id, 0, written)?;
        }
        let inode = self.inode_mut(id)?.clone();
        let session = self.number();
        self.sessions.insert(session, (id, flags));
        Ok(m::OpenReply { header: None, inode: Some(inode), session, created })
    }

    fn create(&mut self, request: &m::CreateRequest, layout: m::Layout) -> Result<m::OpenReply> {
        if let Some(&id) = self.names.get(&request.name[..]) {
            return self.open(id, request.flags, 0, false);
        }
        let id = self.number();
        let inode =
            m::Inode { id, mode: request.mode, layout: Some(layout), change: 1, ..Default::default() };
        self.inodes.insert(id, inode);
        self.names.insert(request.name.to_vec(), id);
        self.open(id, request.flags, 0, true)
    }

    fn session(&self, session: u64) -> Result<()> {
        let known = self.sessions.contains_key(&session);
        known.then_some(()).ok_or_else(|| Error::new(Code::BadHandle, format!("session {session}")))
    }

    fn is_writer(&self, session: u64) -> bool {
        let writes = (OFlags::WRONLY | OFlags::RDWR).bits();
        self.sessions.get(&session).is_some_and(|(_, flags)| flags & writes != 0)
    }

    fn execute(&mut self, kind: MessageKind, message: bytes::Bytes, layout: m::Layout) -> Result<Vec<u8>> {
        let body = |inode: m::Inode| encode(m::InodeReply { header: None, inode: Some(inode) });
        let (inode, answer) = match kind {
            MessageKind::KindCreate => {
                let reply = self.create(&decode(message)?, layout)?;
                (reply.inode.as_ref().unwrap().id, encode(reply))
            }
            MessageKind::KindOpen => {
                let request: m::OpenRequest = decode(message)?;
                (request.inode, encode(self.open(request.inode, request.flags, request.written, false)?))
            }
            MessageKind::KindLookup => {
                let request: m::LookupRequest = decode(message)?;
                let none = || Error::new(Code::NotFound, "");
                let id = *self.names.get(&request.name[..]).ok_or_else(none)?;
                (id, body(self.inodes[&id].clone()))
            }
            MessageKind::KindStat => {
                let request: m::StatRequest = decode(message)?;
                (request.inode, body(self.inode_mut(request.inode)?.clone()))
            }
            MessageKind::KindReport => {
                let request: m::ReportRequest = decode(message)?;
                self.session(request.session)?;
                if request.report.is_some() && !self.is_writer(request.session) {
                    return Err(Error::new(Code::BadHandle, "not open for writing"));
                }
                self.durable_reports += usize::from(request.durable);
                (request.inode, body(self.apply(request.inode, request.report)?))
            }
            MessageKind::KindClose => {
                let request: m::CloseRequest = decode(message)?;
                self.session(request.session)?;
                self.sessions.remove(&request.session);
                (request.inode, body(self.apply(request.inode, request.report)?))
            }
            MessageKind::KindSetAttributes => {
                let request: m::SetAttributesRequest = decode(message)?;
                if let Some(length) = request.length {
                    self.set_length(request.inode, length, request.written)?;
                }
                (request.inode, body(self.inode_mut(request.inode)?.clone()))
            }
            MessageKind::KindUnlink => {
                let request: m::UnlinkRequest = decode(message)?;
                let id =
                    self.names.remove(&request.name[..]).ok_or_else(|| Error::new(Code::NotFound, ""))?;
                (id, encode(m::EmptyReply::default()))
            }
            other => return Err(Error::new(Code::UnknownKind, other.as_str_name())),
        };
        self.log.push((kind, inode));
        Ok(answer)
    }

    /// What the answer is, once per number.
    fn answer(&mut self, kind: MessageKind, message: bytes::Bytes, layout: m::Layout) -> Result<Vec<u8>> {
        let header = decode::<m::AnyRequest>(message.clone())?.header.unwrap();
        let unknown = || Error::new(Code::SessionUnknown, "");
        let client = self.clients.get_mut(&header.client[..]).ok_or_else(unknown)?;
        client.answered_up_to = client.answered_up_to.max(header.answered_up_to);
        let up_to = client.answered_up_to;
        client.answers.retain(|&sequence, _| sequence > up_to);
        if header.sequence != 0 {
            assert!(header.sequence > up_to, "{} was said to be answered", header.sequence);
            assert!(header.sequence <= up_to + 256, "the window is kept");
            if let Some(answer) = client.answers.get(&header.sequence) {
                return Ok(answer.clone());
            }
        }
        let answer = self.execute(kind, message, layout)?;
        if header.sequence != 0 {
            let client = self.clients.get_mut(&header.client[..]).unwrap();
            client.answers.insert(header.sequence, answer.clone());
        }
        Ok(answer)
    }
}

fn decode<M: Message + Default>(message: bytes::Bytes) -> Result<M> {
    wire::request::decode(message)
}

fn encode<R: ReplyMessage>(reply: R) -> Vec<u8> {
    encode_reply(reply, 0)
}

impl Handler for Answers {
    fn handle(&self, mut incoming: Incoming<'_>) {
        let kind = MessageKind::try_from(i32::from(incoming.kind)).unwrap();
        let mut state = self.state.lock();
        if kind == MessageKind::KindHello {
            let request: m::HelloRequest = incoming.decode().unwrap();
            let client = state.clients.entry(request.header.unwrap().client.to_vec()).or_default();
            let highest = client.answers.keys().next_back().copied().unwrap_or(client.answered_up_to);
            let reply = m::HelloReply { root: ROOT, next_sequence: highest + 1, ..Default::default() };
            return incoming.replier().send(reply, Vec::new());
        }
        while state.still {
            self.moved.wait(&mut state);
        }
        if kind == MessageKind::KindReport && state.busy_for_reports > 0 {
            state.busy_for_reports -= 1;
            return send(kind, incoming.replier(), Err(Error::new(Code::Overloaded, "")));
        }
        let answer = state.answer(kind, incoming.message.clone(), self.layout);
        let replier = incoming.replier();
        if state.lose_answers > 0 {
            state.lose_answers -= 1;
            if state.lose_answers == 0 {
                incoming.connection().close();
            }
            return std::mem::forget(replier);
        }
        drop(state);
        send(kind, replier, answer);
    }
}

fn send(kind: MessageKind, replier: transport::ReplySender, answer: Result<Vec<u8>>) {
    fn typed<R: Request>(replier: transport::ReplySender, answer: Result<Vec<u8>>) {
        replier.respond(answer.map(|bytes| R::Reply::decode(&bytes[..]).unwrap()));
    }
    match kind {
        MessageKind::KindCreate => typed::<m::CreateRequest>(replier, answer),
        MessageKind::KindOpen => typed::<m::OpenRequest>(replier, answer),
        MessageKind::KindUnlink => typed::<m::UnlinkRequest>(replier, answer),
        _ => typed::<m::StatRequest>(replier, answer),
    }
}
