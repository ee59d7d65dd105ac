//! Messages to other members of the chain, and their answers back to the replica. Each message has exactly
//! one answer, if only an error of the transport.

use super::{State, Target};
use crate::metrics::add;
use crate::peers::{Key, Purpose};
use bytes::Bytes;
use chain::{
    Acknowledged, Applied, Channel, ChunkRange, Committed, Input, Listed, Output, Role, Update, View,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::message::{self as m, PublicState};
use wire::{ChunkId, Code, NodeId, Result, TargetId, Version};

/// Longer than a lease: by then a member that does not answer has left the chain, and its messages with it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A flush waits for a disk that may have much to write.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// A copy that is not paid for lets others go first so often, and looks whether an update waits for it by now.
const PACE_SLICE: Duration = Duration::from_millis(25);

/// A chunk on its way to the successor in a resync.
struct Copy {
    key: Key,
    chain_version: u64,
    chunk: ChunkId,
    committed: Committed,
    /// When it is paid for.
    begins: Instant,
}

/// Where a member is: its node, and its position on the way of an update.
pub(super) fn place(view: &View, target: TargetId) -> Option<(NodeId, usize)> {
    let on_the_way = |member: &&m::Member| {
        matches!(member.state(), PublicState::PublicServing | PublicState::PublicSyncing)
    };
    let mut members = view.chain.members.iter().filter(on_the_way);
    members.position(|member| member.target == target.0).map(|position| {
        let member = view.chain.members.iter().find(|member| member.target == target.0);
        (NodeId(member.expect("just found").node), position)
    })
}

/// The connections that a member with this view needs.
pub fn links(view: &View, own: TargetId) -> Vec<Key> {
    let mut links = Vec::new();
    if let Some((node, position)) = view.successor.and_then(|successor| place(view, successor)) {
        links.extend([(node, Purpose::Forward(position)), (node, Purpose::Control)]);
        if view.successor_is_syncing {
            links.push((node, Purpose::Resync));
        }
    }
    // Who is out of the chain asks it how much there is to copy.
    let last = view.last_serving.filter(|last| *last != own && view.role != Role::Syncing);
    links.extend(last.and_then(|last| place(view, last)).map(|(node, _)| (node, Purpose::Control)));
    // A member that was just synced asks its predecessor whether it may serve.
    let predecessor = view.predecessor.filter(|_| view.role == Role::Serving);
    links.extend(predecessor.and_then(|one| place(view, one)).map(|(node, _)| (node, Purpose::Control)));
    links.extend(super::repair::links(view, own));
    links
}

impl Target {
    pub(super) fn post_to_peer(self: &Arc<Self>, state: &State, output: Output<Bytes>) {
        let view = state.replica.view();
        let place = |target: TargetId| place(view, target).unwrap_or((NodeId(0), 0));
        let (target, chain) = (self.clone(), self.chain);
        match output {
            Output::Forward { to, chain_version, version, base, update, payload } => {
                let (node, position) = place(to);
                let request = forwarded(chain, chain_version, version, base, &update);
                let chunk = update.chunk;
                let purpose = Purpose::Forward(position);
                let payload = if payload.is_empty() { Vec::new() } else { vec![payload] };
                self.post_call((node, purpose), request, payload, ANSWER_TIMEOUT, move |result| {
                    let result = result.map(|(reply, _)| acknowledged(&reply));
                    target.feed(Input::ForwardAnswer { from: to, chain_version, chunk, version, result });
                });
            }
            Output::AskCommitted { to, chain_version, chunk } => {
                let request =
                    m::CommittedRequest { header: None, chain, chain_version, chunk: Some(chunk.into()) };
                self.post_control(place(to).0, request, move |result| {
                    let result = result.map(|(reply, _)| reply.version.unwrap_or_default().into());
                    target.feed(Input::CommittedAnswer { chain_version, chunk, result });
                });
            }
            Output::ForwardFlush { to, chain_version, ticket } => {
                let request = m::FlushRequest { header: None, chain, chain_version, forwarded: true };
                self.post_call(
                    (place(to).0, Purpose::Control),
                    request,
                    Vec::new(),
                    FLUSH_TIMEOUT,
                    move |result| {
                        target.feed(Input::FlushAnswer { ticket, result: result.map(|_| ()) });
                    },
                );
            }
            Output::SendReplace { to, chain_version, chunk, committed, waited_for } => {
                let (key, bytes) = ((place(to).0, Purpose::Resync), u64::from(committed.length));
                let pace = &self.disk.resync_pace;
                if waited_for {
                    pace.charge(bytes);
                }
                let begins = if waited_for { Instant::now() } else { pace.grant_from(bytes) };
                self.post_replace(Copy { key, chain_version, chunk, committed, begins });
            }
            other => self.post_resync(place, other),
        }
    }

    fn post_resync(self: &Arc<Self>, place: impl Fn(TargetId) -> (NodeId, usize), output: Output<Bytes>) {
        let (target, chain) = (self.clone(), self.chain);
        match output {
            Output::StartSync { to, chain_version } => {
                let request = m::SyncStartRequest { header: None, chain, chain_version };
                self.post_control(place(to).0, request, move |result| {
                    target.feed(Input::SyncStarted { chain_version, result: result.map(|_| ()) });
                });
            }
            Output::DigestSuccessor { to, chain_version, from, chunks_per_range } => {
                let request = m::DigestChunksRequest {
                    chain,
                    chain_version,
                    target: to.0,
                    from: Some(from.into()),
                    chunks_per_range: u32::try_from(chunks_per_range).expect("a range is small"),
                    ..Default::default()
                };
                self.post_control(place(to).0, request, move |result| {
                    let result = result.map(|(reply, _)| reply.ranges.iter().map(range).collect());
                    target.feed(Input::DigestAnswer { chain_version, from, result });
                });
            }
            Output::ListSuccessor { to, chain_version, from, limit } => {
                let request = m::ListChunksRequest {
                    chain,
                    chain_version,
                    target: to.0,
                    from: Some(from.into()),
                    limit: u32::try_from(limit).expect("a page is small"),
                    ..Default::default()
                };
                self.post_control(place(to).0, request, move |result| {
                    let result =
                        result.map(|(reply, _)| (reply.chunks.iter().map(listed).collect(), reply.more));
                    target.feed(Input::ListAnswer { chain_version, from, result });
                });
            }
            Output::SendChannels { to, chain_version, page, channels } => {
                let channels = channels.into_iter().map(Into::into).collect();
                let request = m::SyncClientsRequest { header: None, chain, chain_version, channels };
                self.post_control(place(to).0, request, move |result| {
                    target.feed(Input::ChannelsAnswer { chain_version, page, result: result.map(|_| ()) });
                });
            }
            Output::FinishSync { to, chain_version } => {
                let request = m::SyncDoneRequest { header: None, chain, chain_version };
                self.post_call(
                    (place(to).0, Purpose::Control),
                    request,
                    Vec::new(),
                    FLUSH_TIMEOUT,
                    move |result| {
                        target.feed(Input::SyncFinished { chain_version, result: result.map(|_| ()) });
                    },
                );
            }
            _ => unreachable!("every other output is carried out here"),
        }
    }

    /// The bytes are read on a thread of the resync; few of these are under way at once (`SYNC_COPIES_MAX`).
    fn post_replace(self: &Arc<Self>, copy: Copy) {
        let target = self.clone();
        self.disk.resyncs.push(move || {
            let wait = copy.begins.saturating_duration_since(Instant::now());
            if wait.is_zero() || target.must_go(&copy) {
                return target.send_replace(copy);
            }
            std::thread::sleep(wait.min(PACE_SLICE));
            target.post_replace(copy);
        });
    }

    /// Before it is paid for: an update waits for it, or nobody wants it, which ends it.
    fn must_go(&self, copy: &Copy) -> bool {
        let waited_for = || {
            let state = self.state.lock();
            state.replica.copy_is_waited_for(copy.chain_version, copy.chunk).filter(|_| !state.stopped)
        };
        self.disk.resync_pace.is_lifted() || waited_for() != Some(false)
    }

    fn send_replace(self: &Arc<Self>, copy: Copy) {
        let Copy { key, chain_version, chunk, committed, .. } = copy;
        let answered = self.clone();
        let done = move |result: Result<()>| {
            answered.feed(Input::ReplaceAnswer { chain_version, chunk, result });
        };
        match self.replacement(chain_version, chunk, committed) {
            Err(error) => done(Err(error)),
            Ok((request, payload)) => {
                let metrics = self.shared.metrics.clone();
                let bytes = payload.len() as u64;
                let payload = if payload.is_empty() { Vec::new() } else { vec![payload] };
                self.shared.peers.call(key, request, payload, ANSWER_TIMEOUT, move |result| {
                    // Without a connection nothing was sent.
                    if !matches!(&result, Err(error) if error.code == Code::Unreachable) {
                        add(&metrics.resync_chunks, 1);
                        add(&metrics.resync_bytes, bytes);
                    }
                    done(result.map(|_| ()));
                });
            }
        }
    }

    /// The chunk as it is committed now, which may be newer than when the replica asked.
    fn replacement(
        self: &Arc<Self>,
        chain_version: u64,
        chunk: ChunkId,
        committed: Committed,
    ) -> Result<(m::SyncReplaceRequest, Bytes)> {
        let mut request = m::SyncReplaceRequest {
            header: None,
            chain: self.chain,
            chain_version,
            chunk: Some(chunk.into()),
            version: Some(committed.version.into()),
            removed: committed.is_absent(),
            chunk_size: committed.chunk_size,
            ..Default::default()
        };
        if committed.is_absent() {
            return Ok((request, Bytes::new()));
        }
        let (read, damaged_blocks) = self.read_for_resync(chunk)?;
        request.damaged_blocks = damaged_blocks;
        request.version = Some(read.version.into());
        request.length = read.chunk_length;
        request.crc = read.crc;
        Ok((request, read.payload))
    }

    /// How much room the members after this one have, while it is little (P8): a head that refuses every
    /// write would not hear it otherwise.
    pub fn ask_space(self: &Arc<Self>) {
        let (node, question) = {
            let mut state = self.state.lock();
            let Some(question) = state.replica.ask_space() else { return };
            let Some((node, _)) = place(state.replica.view(), question.of) else { return };
            (node, question)
        };
        let target = self.clone();
        let key = (node, Purpose::Control);
        let request = m::SpaceRequest::default();
        self.shared.peers.call(key, request, Vec::new(), ANSWER_TIMEOUT, move |result| {
            let Ok((reply, _)) = result else { return };
            if let Some(space) = reply.targets.iter().find(|space| space.target == question.of.0) {
                let mut state = target.state.lock();
                state.replica.learn_space(question, space.chain_version, space.allocatable);
                target.learn(&state.replica);
            }
        });
    }

    /// A head that does not know it gives no versions to updates that allocate.
    pub fn ask_unknown_space(self: &Arc<Self>) {
        let unknown = self.state.lock().replica.room_is_unknown();
        if unknown {
            self.ask_space();
        }
    }

    fn post_control<R: wire::Request + 'static>(
        self: &Arc<Self>,
        node: NodeId,
        request: R,
        done: impl FnOnce(Result<(R::Reply, Bytes)>) + Send + 'static,
    ) {
        self.post_call((node, Purpose::Control), request, Vec::new(), ANSWER_TIMEOUT, done);
    }

    fn post_call<R: wire::Request + 'static>(
        self: &Arc<Self>,
        key: (NodeId, Purpose),
        request: R,
        payload: Vec<Bytes>,
        timeout: Duration,
        done: impl FnOnce(Result<(R::Reply, Bytes)>) + Send + 'static,
    ) {
        let peers = self.shared.peers.clone();
        self.post(Box::new(move || peers.call(key, request, payload, timeout, done)));
    }
}

fn forwarded(
    chain: u32,
    chain_version: u64,
    version: Version,
    base: Version,
    update: &Update,
) -> m::UpdateRequest {
    m::UpdateRequest {
        header: None,
        chain,
        chain_version,
        chunk: Some(update.chunk.into()),
        tag: Some(update.tag.into()),
        kind: update.kind as i32,
        offset: update.offset,
        length: update.length,
        crc: update.crc,
        version: Some(version.into()),
        flush: update.flush,
        chunk_size: update.chunk_size,
        base: Some(base.into()),
    }
}

fn acknowledged(reply: &m::UpdateReply) -> Acknowledged {
    Acknowledged {
        version: reply.version.unwrap_or_default().into(),
        applied: Applied { chunk_length: reply.chunk_length, allocated_delta: reply.allocated_delta },
        durability_epoch: reply.durability_epoch,
        allocatable_bytes: reply.allocatable,
    }
}

pub(super) fn listed(row: &m::ChunkInfo) -> Listed {
    Listed {
        chunk: row.chunk.unwrap_or_default().into(),
        committed: Committed {
            version: row.version.unwrap_or_default().into(),
            length: row.length,
            removed: row.removed,
            chunk_size: row.chunk_size,
        },
    }
}

fn range(range: &m::ChunkRange) -> ChunkRange {
    ChunkRange { last: range.last.unwrap_or_default().into(), chunks: range.chunks, digest: range.digest }
}

/// One record of the exactly-once table as it came.
pub fn channels(records: &[m::ChannelRecord]) -> Result<Vec<Channel>> {
    records.iter().map(Channel::try_from).collect()
}
