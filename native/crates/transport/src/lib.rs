//! Moves frames and buffers between processes: one interface, several ways to carry it, one contract suite
//! over all of them (`tests/contract`). Threads, not an async runtime: a reader thread per connection,
//! completions by callback. It knows no message but echo, decides nothing, and never retries.
//!
//! A request may carry a payload that stays where it is until the server pulls it into a buffer of its own
//! choice: RDMA READ on verbs; on TCP the bytes wait in the socket, so that a server without buffers holds
//! back its callers (P24).

mod calls;
mod dispatch;
mod echo;
mod incoming;
mod interface;
mod memory;
mod owned;
mod slots;
mod tcp;
mod threads;
mod timer;
mod typed;

pub use echo::EchoHandler;
pub use incoming::{Incoming, ReplySender};
pub use interface::{CALLS_IN_FLIGHT_MAX, Connection, Done, Handler, Listener, Outgoing, Reply, Transport};
pub use memory::InProcessTransport;
pub use tcp::TcpTransport;
pub use threads::{flush_held, never_wait, together};
pub use typed::{call, call_wait, push};
