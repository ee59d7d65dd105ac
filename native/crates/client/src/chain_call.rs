//! Calls to chains: all chunk operations are this, so that none has retries of its own. Whom a call goes to, and what
//! an error means for it, is decided in `chain::client`, where the simulator runs it too; here it is carried out.

use crate::core::Core;
use crate::{Cancel, RoutingTable};
use bytes::Bytes;
use chain::Time;
use chain::client::{Call, Choice, Next, leaves_doubt};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::message as m;
use wire::{ClientId, Code, Error, Request, Result, TargetId};

/// A call without an answer is made again after this time, in case the request was lost with a server that
/// still lives.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// When an operation ends at the latest, whatever happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// `None`: never (`hard`).
    pub deadline: Option<Instant>,
    pub cancel: Option<Cancel>,
    /// An update counts only while this is our epoch: what an open file was told to write before a fence must
    /// not go out under the next id (P4). `None`: under whichever id is ours.
    pub epoch: Option<u32>,
}

/// What one call is; the retries are here.
pub(crate) trait ChainOperation: Send + 'static {
    type Request: Request;

    fn chain(&self) -> u32;
    fn choice(&self) -> Choice;
    fn limits(&self) -> &Limits;
    /// Whose operation it is, if it counts for that id alone: once it is fenced there are no more tries (P4).
    fn client(&self) -> Option<ClientId> {
        None
    }
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

struct Course {
    call: Call,
    last: Option<Error>,
}

/// Now, on the clock of the decisions in `chain`.
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000)
}

pub(crate) fn start<O: ChainOperation>(core: &Arc<Core>, operation: O) {
    let deadline = operation.limits().deadline;
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_millis() as u64);
    let call = Call::new(operation.choice(), now(), left);
    attempt(core.clone(), operation, Course { call, last: None });
}

fn attempt<O: ChainOperation>(core: Arc<Core>, mut operation: O, mut course: Course) {
    if operation.limits().cancel.as_ref().is_some_and(Cancel::is_cancelled) {
        return operation.finish(Err(Error::new(Code::Interrupted, "by the caller")));
    }
    let me = core.identity.current();
    if operation.client().is_some_and(|client| client != me.client) {
        return operation.finish(Err(Error::new(Code::Fenced, "the client's id was fenced meanwhile")));
    }
    let now = now();
    let left = course.call.remaining_ms(now).map(Duration::from_millis);
    if left.is_some_and(|left| left.is_zero()) {
        let why = course.last.map_or_else(String::new, |error| format!("; last: {error}"));
        let detail = format!("chain {}{why}", operation.chain());
        return operation.finish(Err(Error::new(Code::TimedOut, detail)));
    }
    let table = core.routing.current();
    let (chain, target, node) = match choose(&core, &table, operation.chain(), &mut course.call, now) {
        Ok(chosen) => chosen,
        Err(error) => return failed(core, operation, course, error),
    };
    let timeout = left.map_or(ATTEMPT_TIMEOUT, |left| left.min(ATTEMPT_TIMEOUT));
    let (nodes, to) = (core.nodes.clone(), node.clone());
    nodes.with_connection(&to, move |connection| {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return failed(core, operation, course, error),
        };
        let mut request = operation.request(&chain);
        request.header_mut().client = me.bytes();
        let payload = operation.payload();
        transport::call(&*connection, request, payload, timeout, move |result| {
            let result = result.and_then(|(reply, payload)| {
                operation.check(&reply, &payload)?;
                Ok((reply, payload))
            });
            match result {
                Ok(answer) => operation.finish(Ok(answer)),
                Err(error) => {
                    if leaves_doubt(error.code) {
                        operation.in_doubt();
                    }
                    if error.code == Code::Corrupt && matches!(operation.choice(), Choice::Any(_)) {
                        core.report_corrupt(&node, target, &error);
                    }
                    failed(core, operation, course, error);
                }
            }
        });
    });
}

fn failed<O: ChainOperation>(core: Arc<Core>, operation: O, mut course: Course, error: Error) {
    log::trace!(target: "client", chain = operation.chain(), error:%; "chain_call.failed");
    if error.code == Code::Fenced
        && let Some(client) = operation.client()
    {
        core.fenced(client);
    }
    let table = core.routing.current();
    let chain = table.chain(operation.chain()).map(|chain| &**chain);
    let after_ms = match course.call.failed(now(), error.code, chain, core.salt) {
        Next::Fail => return operation.finish(Err(error)),
        Next::Again { after_ms, refresh_routing, suspect } => {
            if let Some(target) = suspect {
                core.suspects.lock().suspect(now(), target);
            }
            if refresh_routing {
                core.manager.refresh();
            }
            after_ms
        }
    };
    course.last = Some(error);
    let timer = core.timer.clone();
    // Through the timer in any case: a failure inside `call` must not recurse.
    if after_ms == 0 {
        timer.after(Duration::ZERO, move || attempt(core, operation, course));
    } else {
        timer.park(Duration::from_millis(after_ms), move || attempt(core, operation, course));
    }
}

type Chosen = (Arc<m::Chain>, TargetId, Arc<m::Node>);

fn choose(core: &Core, table: &RoutingTable, id: u32, call: &mut Call, now: Time) -> Result<Chosen> {
    let none = |what: &str| Error::new(Code::NoChain, format!("chain {id}: {what}"));
    let chain = table.chain(id).ok_or_else(|| none("not in the routing table"))?;
    let target = call.choose(now, chain, || core.suspects.lock());
    let member = target.and_then(|target| chain.members.iter().find(|member| member.target == target.0));
    let member = member.ok_or_else(|| none("no member serves"))?;
    let node = table.storage_node(member.node).ok_or_else(|| none("its node is not in the routing table"))?;
    Ok((chain.clone(), TargetId(member.target), node.clone()))
}
