//! One call to a chain, made again until it is answered, its time is over, or it cannot succeed: to the head, or to any
//! serving member. All chunk operations are this, so that none has retries of its own.

use crate::core::Core;
use crate::retry::{Decision, Failure, decide};
use crate::routing::serving;
use crate::{Cancel, RoutingTable};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::message as m;
use wire::{Code, Error, Request, Result};

/// A call without an answer is made again after this time, in case the request was lost with a server that still lives.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// When an operation ends at the latest, whatever happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// `None`: never (`hard`).
    pub deadline: Option<Instant>,
    pub cancel: Option<Cancel>,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Head,
    /// Any serving member, beginning with this one modulo their number.
    Any(u64),
}

/// What one call is; the retries are here.
pub(crate) trait ChainOperation: Send + 'static {
    type Request: Request;

    fn chain(&self) -> u32;
    fn choice(&self) -> Choice;
    fn limits(&self) -> &Limits;
    /// The request under the sender's view of the chain. The same operation every time.
    fn request(&mut self, chain: &m::Chain) -> Self::Request;
    fn payload(&self) -> Vec<Bytes> {
        Vec::new()
    }
    /// Whether the answer can be believed; an error counts like one from the server.
    fn check(&mut self, _reply: &<Self::Request as Request>::Reply, _payload: &Bytes) -> Result<()> {
        Ok(())
    }
    fn finish(self, result: Result<(<Self::Request as Request>::Reply, Bytes)>);
    /// Something was sent and its outcome is not known.
    fn in_doubt(&mut self) {}
}

struct Attempts {
    failed: u32,
    /// Members asked since the last pause.
    asked: Vec<u64>,
    last: Option<Error>,
}

pub(crate) fn start<O: ChainOperation>(core: &Arc<Core>, operation: O) {
    attempt(core.clone(), operation, Attempts { failed: 0, asked: Vec::new(), last: None });
}

fn attempt<O: ChainOperation>(core: Arc<Core>, mut operation: O, mut attempts: Attempts) {
    let limits = operation.limits();
    if limits.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
        return operation.finish(Err(Error::new(Code::Interrupted, "by the caller")));
    }
    let left = limits.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        let why = attempts.last.map_or_else(String::new, |error| format!("; last: {error}"));
        let detail = format!("chain {}{why}", operation.chain());
        return operation.finish(Err(Error::new(Code::TimedOut, detail)));
    }
    let table = core.routing.current();
    let (chain, target, node) = match choose(&core, &table, &operation, &attempts.asked) {
        Ok(chosen) => chosen,
        Err(error) => return failed(core, operation, attempts, 0, error),
    };
    attempts.asked.push(target);
    let version = chain.version;
    let timeout = left.map_or(ATTEMPT_TIMEOUT, |left| left.min(ATTEMPT_TIMEOUT));
    let (nodes, to) = (core.nodes.clone(), node.clone());
    nodes.with_connection(&to, move |connection| {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return failed(core, operation, attempts, version, error),
        };
        let mut request = operation.request(&chain);
        request.header_mut().client = core.identity.current().bytes();
        let payload = operation.payload();
        transport::call(&*connection, request, payload, timeout, move |result| {
            let result = result.and_then(|(reply, payload)| {
                operation.check(&reply, &payload)?;
                Ok((reply, payload))
            });
            match result {
                Ok(answer) => operation.finish(Ok(answer)),
                Err(error) => {
                    if matches!(error.code, Code::ConnectionLost | Code::TimedOut) {
                        operation.in_doubt();
                    }
                    if error.code == Code::Corrupt {
                        core.report_corrupt(&node, target, &error);
                    }
                    failed(core, operation, attempts, version, error);
                }
            }
        });
    });
}

fn failed<O: ChainOperation>(
    core: Arc<Core>,
    operation: O,
    mut attempts: Attempts,
    version: u64,
    error: Error,
) {
    attempts.failed += 1;
    let table = core.routing.current();
    let chain = table.chain(operation.chain());
    let routing_moved = chain.is_some_and(|chain| version != 0 && chain.version != version);
    let others_left = match operation.choice() {
        Choice::Head => false,
        Choice::Any(_) => {
            chain.is_some_and(|chain| serving(chain).any(|member| !attempts.asked.contains(&member.target)))
        }
    };
    let failure = Failure { code: error.code, attempts: attempts.failed, routing_moved, others_left };
    if matches!(error.code, Code::WrongChainVersion | Code::NotServing | Code::NotHead | Code::NoChain)
        && !routing_moved
    {
        core.manager.refresh();
    }
    if error.code == Code::Fenced {
        core.fenced();
    }
    log::trace!(target: "client", chain = operation.chain(), error:%; "chain_call.failed");
    let decision = decide(&failure);
    attempts.last = Some(error);
    let timer = core.timer.clone();
    match decision {
        Decision::GiveUp => operation.finish(Err(attempts.last.expect("set above"))),
        // Through the timer in any case: a failure inside `call` must not recurse.
        Decision::Now => timer.after(Duration::ZERO, move || attempt(core, operation, attempts)),
        Decision::Pause(pause) => {
            attempts.asked.clear();
            timer.park(pause, move || attempt(core, operation, attempts));
        }
    }
}

type Chosen = (Arc<m::Chain>, u64, Arc<m::Node>);

fn choose<O: ChainOperation>(
    core: &Core,
    table: &RoutingTable,
    operation: &O,
    asked: &[u64],
) -> Result<Chosen> {
    let id = operation.chain();
    let none = |what: &str| Error::new(Code::NoChain, format!("chain {id}: {what}"));
    let chain = table.chain(id).ok_or_else(|| none("not in the routing table"))?;
    let members: Vec<&m::Member> = serving(chain).collect();
    let member = match operation.choice() {
        Choice::Head => members.first().copied(),
        Choice::Any(first) => {
            let count = members.len().max(1) as u64;
            let turned = (0..members.len()).map(|step| members[((first + step as u64) % count) as usize]);
            // `min_by_key` keeps the first of equals, so that a chunk's reads stay with one replica and its page cache.
            turned.min_by_key(|member| (asked.contains(&member.target), core.nodes.is_avoided(member.node)))
        }
    };
    let member = member.ok_or_else(|| none("no member serves"))?;
    let node = table.storage_node(member.node).ok_or_else(|| none("its node is not in the routing table"))?;
    Ok((chain.clone(), member.target, node.clone()))
}
