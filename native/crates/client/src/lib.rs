//! The file client: names over one metadata session, files → chunks → targets, retries across every change of
//! routing. One library under the mount, the Node SDK, the benchmark tool and the metadata service's own
//! chunk work.
//!
//! Threads: callers' threads, one reader thread per connection, one timer thread, one thread that talks to
//! the manager, one that keeps the metadata session. Completions run on reader or timer threads and must not
//! block.

mod budget;
mod caller;
mod chain_call;
mod chunks;
mod client;
mod config;
mod core;
mod done;
mod identity;
mod metadata;
mod nodes;
mod open;
mod retry;
mod routing;
mod timer;
mod waiter;

pub use caller::{Caller, Cancel};
pub use chunks::{Chunks, Located, Space};
pub use client::{Client, Figures};
pub use config::{Config, WRITE_BYTES_MAX};
pub use open::OpenFile;
pub use routing::RoutingTable;
