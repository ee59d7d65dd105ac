//! A client for tests: retries under one tag until it is answered, as the real one does; and a model of what
//! was acknowledged.

use crate::manager::TestManager;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::{Connection, EchoHandler, Transport, call_wait};
use wire::message::{
    self as m, FlushRequest, ListChunksRequest, Member, PublicState, ReadRequest, UpdateKind, UpdateReply,
    UpdateRequest,
};
use wire::{ChunkId, ClientId, Code, Error, Result, Tag};

pub const CHUNK_SIZE: u32 = 1 << 20;
/// Of one attempt; what a member that is stopped costs.
const ATTEMPT: Duration = Duration::from_millis(1000);
/// Only a fault of ours lasts longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct TestClient {
    id: ClientId,
    transport: Arc<dyn Transport>,
    manager: Arc<TestManager>,
    connections: Mutex<HashMap<String, Arc<dyn Connection>>>,
    sequences: Mutex<BTreeMap<(u32, u32), u64>>,
}

/// One change of one chunk.
#[derive(Clone, Debug)]
pub struct Change {
    pub kind: UpdateKind,
    pub offset: u32,
    pub length: u32,
    pub data: Bytes,
    /// On the medium of every member before the answer.
    pub flush: bool,
    pub chunk_size: u32,
}

impl Change {
    fn new(kind: UpdateKind, (offset, length): (u32, u32), data: Bytes) -> Change {
        Change { kind, offset, length, data, flush: false, chunk_size: CHUNK_SIZE }
    }
    pub fn write(offset: u32, data: impl Into<Bytes>) -> Change {
        let data = data.into();
        Change::new(UpdateKind::UpdateWrite, (offset, data.len() as u32), data)
    }
    pub fn truncate(length: u32) -> Change {
        Change::new(UpdateKind::UpdateTruncate, (0, length), Bytes::new())
    }
    pub fn punch(offset: u32, length: u32) -> Change {
        Change::new(UpdateKind::UpdatePunch, (offset, length), Bytes::new())
    }
    pub fn remove() -> Change {
        Change::new(UpdateKind::UpdateRemove, (0, 0), Bytes::new())
    }

    pub fn apply_to(&self, chunk: &mut Vec<u8>) {
        let (offset, length) = (self.offset as usize, self.length as usize);
        match self.kind {
            UpdateKind::UpdateWrite => {
                chunk.resize(chunk.len().max(offset + length), 0);
                chunk[offset..offset + length].copy_from_slice(&self.data);
            }
            UpdateKind::UpdateTruncate => chunk.truncate(length),
            UpdateKind::UpdatePunch => {
                let (from, to) = (offset.min(chunk.len()), (offset + length).min(chunk.len()));
                chunk[from..to].fill(0);
            }
            UpdateKind::UpdateRemove => chunk.clear(),
        }
    }
}

impl TestClient {
    pub fn new(number: u8, transport: Arc<dyn Transport>, manager: Arc<TestManager>) -> TestClient {
        TestClient {
            id: ClientId([number; 16]),
            transport,
            manager,
            connections: Mutex::default(),
            sequences: Mutex::default(),
        }
    }

    fn connection(&self, node: u32) -> Result<Arc<dyn Connection>> {
        let address = self
            .manager
            .address_of(node)
            .ok_or_else(|| Error::new(Code::Unreachable, format!("node {node} was never heard of")))?;
        if let Some(open) = self.connections.lock().get(&address).filter(|connection| connection.is_open()) {
            return Ok(open.clone());
        }
        let connection = self.transport.connect(&address, ATTEMPT, Arc::new(EchoHandler::new()))?;
        self.connections.lock().insert(address, connection.clone());
        Ok(connection)
    }

    /// Any request to a node.
    pub fn ask<R: wire::Request + 'static>(&self, node: u32, request: R) -> Result<R::Reply> {
        call_wait(&*self.connection(node)?, request, Vec::new(), ATTEMPT * 10).map(|(reply, _)| reply)
    }

    pub fn serving(&self, chain: u32) -> (u64, Vec<Member>) {
        let chain = self.manager.chain(chain);
        let members = chain.members.iter().filter(|member| member.state() == PublicState::PublicServing);
        (chain.version, members.cloned().collect())
    }

    /// Repeats until it is answered with anything but "try again".
    fn again<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(error) if error.code.retryable() && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    pub fn tag(&self, chain: u32, channel: u32) -> Tag {
        let mut sequences = self.sequences.lock();
        let sequence = sequences.entry((chain, channel)).or_default();
        *sequence += 1;
        Tag { client: self.id, channel, sequence: *sequence }
    }

    pub fn update(&self, chain: u32, channel: u32, chunk: ChunkId, change: &Change) -> Result<UpdateReply> {
        let tag = self.tag(chain, channel);
        self.update_as(tag, chain, chunk, change)
    }

    pub fn update_as(&self, tag: Tag, chain: u32, chunk: ChunkId, change: &Change) -> Result<UpdateReply> {
        self.again(|| self.try_update(tag, chain, chunk, change))
    }

    pub fn try_update(&self, tag: Tag, chain: u32, chunk: ChunkId, change: &Change) -> Result<UpdateReply> {
        let (chain_version, serving) = self.serving(chain);
        let head = serving.first().ok_or_else(|| Error::new(Code::NotServing, "no member serves"))?;
        let request = UpdateRequest {
            chain,
            chain_version,
            chunk: Some(chunk.into()),
            tag: Some(tag.into()),
            kind: change.kind as i32,
            offset: change.offset,
            length: change.length,
            crc: crc32c::crc32c(&change.data),
            chunk_size: change.chunk_size,
            flush: change.flush,
            ..Default::default()
        };
        let payload = if change.data.is_empty() { Vec::new() } else { vec![change.data.clone()] };
        let (reply, _) = call_wait(&*self.connection(head.node)?, request, payload, ATTEMPT)?;
        Ok(UpdateReply { header: None, ..reply })
    }

    /// The whole chunk from one member, verified end to end; again while the routing changes, never after
    /// damage.
    pub fn read_from(&self, member: usize, chain: u32, chunk: ChunkId) -> Result<(m::ReadReply, Bytes)> {
        self.read_range_from(member, chain, chunk, (0, CHUNK_SIZE))
    }

    /// As `read_from`, of a part: offset and length.
    pub fn read_range_from(
        &self,
        member: usize,
        chain: u32,
        chunk: ChunkId,
        range: (u32, u32),
    ) -> Result<(m::ReadReply, Bytes)> {
        let begun = Instant::now();
        loop {
            match self.try_read_from(member, chain, chunk, range) {
                Err(error)
                    if error.code.retryable()
                        && error.code != Code::Corrupt
                        && begun.elapsed() < PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    /// Once.
    pub fn try_read_from(
        &self,
        member: usize,
        chain: u32,
        chunk: ChunkId,
        (offset, length): (u32, u32),
    ) -> Result<(m::ReadReply, Bytes)> {
        let (chain_version, serving) = self.serving(chain);
        let member =
            serving.get(member).ok_or_else(|| Error::new(Code::NotServing, "too few members serve"))?;
        for verify in [false, true] {
            let request = ReadRequest {
                chain,
                chain_version,
                chunk: Some(chunk.into()),
                offset,
                length,
                verify,
                ..Default::default()
            };
            let (reply, payload) = call_wait(&*self.connection(member.node)?, request, Vec::new(), ATTEMPT)?;
            if crc32c::crc32c(&payload) == reply.crc && payload.len() == reply.length as usize {
                return Ok((reply, payload));
            }
        }
        Err(Error::new(Code::Corrupt, "on the way"))
    }

    /// From any member, moving on when one fails.
    pub fn read(&self, chain: u32, chunk: ChunkId) -> Result<Bytes> {
        let mut member = 0;
        let begun = Instant::now();
        loop {
            match self.try_read_from(member, chain, chunk, (0, CHUNK_SIZE)) {
                Ok((_, payload)) => return Ok(payload),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    member = (member + 1) % 3;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    pub fn flush(&self, chain: u32) -> Result<u64> {
        self.again(|| {
            let (chain_version, serving) = self.serving(chain);
            let head = serving.first().ok_or_else(|| Error::new(Code::NotServing, "no member serves"))?;
            let request = FlushRequest { chain, chain_version, ..Default::default() };
            let (reply, _) = call_wait(&*self.connection(head.node)?, request, Vec::new(), ATTEMPT * 10)?;
            Ok(reply.durability_epoch)
        })
    }

    /// What one member holds of a chain, with checksums of the bytes.
    pub fn copy(&self, chain: u32, member: usize) -> Result<Vec<m::ChunkInfo>> {
        self.again(|| {
            let (chain_version, serving) = self.serving(chain);
            let member =
                serving.get(member).ok_or_else(|| Error::new(Code::NotServing, "too few members serve"))?;
            let request = ListChunksRequest {
                chain,
                chain_version,
                target: member.target,
                with_checksum: true,
                ..Default::default()
            };
            let connection = self.connection(member.node)?;
            let (reply, _) = call_wait(&*connection, request, Vec::new(), ATTEMPT * 10)?;
            assert!(!reply.more);
            Ok(reply.chunks.into_iter().filter(|chunk| !chunk.removed).collect())
        })
    }
}
