//! One target's store on one disk: versions of chunks, each committed or pending, that survive the death of
//! the process at once and the loss of power after `flush`. It keeps what the chain decides; it decides no
//! version itself.
//!
//! # For the storage server
//! - [`Engine::stage`] holds an update as the newest *pending* version (P5); [`Engine::commit`] makes it
//!   readable, [`Engine::commit_soon`] without a write of its own; [`Engine::discard_pending`] is for resync
//!   only. `StageRequest::commit` does both with one journal record (the tail).
//! - [`Engine::read`] gives the committed version, verified, with the CRC32C of what it returns;
//!   [`Engine::read_version`] also a pending one (to re-drive it); [`Engine::meta`] and [`Engine::list`]
//!   answer
//!   from memory.
//! - [`Engine::channel`], [`Engine::channels`], [`Engine::install_channels`], [`Engine::forget_client`]: the
//!   exactly-once table (P7), written by the journal record of the update itself.
//! - [`Engine::flush`] returns when everything before it is on the medium; many callers share one round.
//! - After any failed flush or write-back every call gives `TargetOffline` ([`Engine::failure`]); nothing is
//!   retried (P11). `NoSpace` from `stage` means that the reserve is used up too: the caller takes the target
//!   offline (P8).
//! - Calls of one chunk wait for each other while they change it; readers never wait. All other calls go in
//!   parallel.
//!
//! `docs/storage-engine.md` has the format and the argument why a crash at any point leaves old or new, never
//! torn.

// The planted bugs are found by the cases of the other tests, which name this crate as everybody does.
#[cfg(test)]
extern crate self as chunk_engine;
#[cfg(test)]
#[path = "../tests/engine/support/mod.rs"]
mod support;

mod catalog;
mod channels;
mod check;
mod checkpoint;
mod checksum;
mod chunk;
mod commit;
pub mod disk;
mod engine;
mod flush;
mod index;
mod journal;
mod layout;
mod list;
mod museum;
mod open;
mod options;
mod read;
mod read_pages;
mod reclaim;
mod repair;
mod segments;
mod stage;
mod throttle;
mod volume;

pub use channels::Channel;
pub use check::CheckReport;
pub use checksum::{BLOCK_BYTES, checksum, combine};
pub use disk::{DirectDisk, Disk, DiskFile, FileDisk, Media, MemoryDisk};
pub use engine::{ChunkMeta, Engine, ListedChunk, PendingVersion, Space};
pub use open::Opened;
pub use options::Options;
pub use read::ReadInfo;
pub use read_pages::PagesRead;
pub use repair::{Damage, PIECE_BYTES};
pub use stage::{ChannelUpdate, StageRequest, Staged, Update};
