//! Chain replication without I/O: no clock, socket, disk, randomness or thread. The storage server and the client
//! run these state machines, and the simulator runs exactly the same ones. Of the manager that is true of
//! [`next_chain`] alone: which facts it is asked with, leases and fences are decided in TypeScript in the product
//! and by [`manager`] in the simulator, and a test compares the two, decision by decision
//! (`cluster-manager/src/twin.test.ts`).
//!
//! # [`Replica`]: one target's member of its chain
//! The executor (storage server, simulator) owns the engine and the connections. It keeps one `Replica` per
//! target behind one lock and
//!
//! 1. calls [`Replica::handle`] with the time, one [`Input`] and a [`Chunks`] (pure in-memory look-ups of the
//!    engine);
//! 2. carries the [`Output`]s out **in their order, before the next `handle` of this replica**.
//!    [`Output::Commit`] must be visible to [`Chunks`] and to reads when that next call comes; its journal record
//!    may follow. No output has to wait for a disk before that: `Store`, `Replace`, `StoreChannels`, `Discard`,
//!    `Flush` start work and are answered later by an input; of one chunk the engine
//!    does them in order. After `Discard` no store that was started before it may begin; what one did that ran
//!    already is discarded too, and its `Stored` is ignored. `DropChannels` and what the record of the target
//!    says after `TakeOffline` follow when the disk lets them.
//! 3. answers each request that it sends (`Forward`, `AskCommitted`, `ForwardFlush`, `SendReplace`, …) with
//!    exactly one input: the peer's reply,
//!    or an error of the transport (no answer in time, connection lost). To one target they go through **one
//!    ordered connection**; updates that arrive out of
//!    order are held or re-driven, so this is for speed, not for safety.
//! 4. calls `Input::Tick` every [`limits::TICK_MS`]: only there are refused or lost requests sent again.
//! 5. gives a heartbeat's reply as **one** `Input::View` {chain, lease_until} (R4), pushes as `View` without
//!    a lease. `lease_until` = the boot clock when the
//!    heartbeat was *sent* + `lease_ms` (P2). Of one routing message `Input::Clients` comes before the views:
//!    a member that knows the version of its chain knows every fence that was published before it (P4).
//!    The first list that a process hands in is one that it asked for: older than nothing that it recovered.
//!
//! A **read** is two steps (P2): `Input::Read` → [`Output::ReadCommitted`]: read the committed bytes from the
//! engine, take a *new* `now`, ask [`Replica::read_still_valid`], and only then answer. The bytes may be of a
//! newer committed version than the one chosen.
//!
//! Payload bytes never pass through: `P` is the executor's handle (`Bytes`). [`ReplyTo`] is the executor's
//! name for "whom to answer"; every `ReplyTo` handed in is used by exactly one answering output
//! (`ReplyUpdate`, `ReadCommitted`/`ReplyRead`, `ReplyCommitted`, `ReplyFlush`, `ReplySync`).
//!
//! At **start**: open the engine, then `Replica::new(identity, Recovered { pending, channels })` with what
//! was staged and never committed (in the order of versions per chunk) and the exactly-once table. A new
//! process has a new `incarnation`: it serves only after the manager names it.
//!
//! The exactly-once record ([`Channel`] + what the engine knows: length, allocation) must be in the same
//! journal record as the staged update (P7); it enters the engine's table at `Commit`.
//!
//! # [`next_chain`]: the manager's transition, pure.
//! # [`manager`], [`ClientLeases`]: which facts it needs, leases and fences, as the product's manager decides them.
//! # [`client`]: replica choice, retries, channels of the client.

pub mod client;
mod client_leases;
pub mod limits;
mod live_clients;
pub mod manager;
#[cfg(test)]
mod manager_tests;
pub mod museum;
mod next_chain;
mod replica;
mod time;
mod update;
mod view;

pub use client_leases::ClientLeases;
pub use live_clients::{LiveClients, Standing};
pub use next_chain::{covers, next_chain};
pub use replica::{Identity, Input, Output, Recovered, RecoveredUpdate, Replica, ReplyTo, SpaceQuestion};
pub use time::Time;
pub use update::{
    Acknowledged, Applied, Channel, ChunkRange, Chunks, Committed, Listed, Replacement, Update, range_digest,
};
pub use view::{Role, View};
