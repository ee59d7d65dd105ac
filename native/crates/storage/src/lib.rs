//! The storage server: transport, chain and chunk engine joined. One per node; a target per disk and chain.
//!
//! ```text
//! reader thread: decode, pull payload (P24) ──► Target::ask ──► Replica (short lock) ──► outputs in order
//!   Store ──► lane of the chunk: engine.stage ──► Stored ──► Replica ──► Forward (outbox) ──► successor
//!   answer of the successor (its reader thread) ──► Replica ──► Commit (engine) ──► ReplyUpdate
//!   Read ──► reader pool: engine.read, then lease and version are tested, then the answer
//! manager session: its own thread, waits for no disk; per disk: control (ticks, views), scrub, and its own pools
//! ```
//! ```text
//! let mut config = storage::Config::new(node, "cluster");   // then address, managers, disks
//! let server = storage::StorageServer::start(config)?;
//! server.address(); server.metrics(); server.targets(); server.stop()?;    // drop without stop = kill -9
//! ```
//! It keeps the rules of `chain` by carrying out what replicas say, and decides nothing about chains itself.

mod buffers;
mod clock;
mod config;
mod directory;
mod disk;
mod lanes;
mod metrics;
mod peers;
mod records;
mod requests;
mod routing;
mod server;
mod service;
mod session;
mod shared;
mod target;
mod threads;
mod workers;

pub use chunk_engine::Media;
pub use config::{Config, DiskOpener, boot_id};
pub use server::StorageServer;
