//! What crosses a wire or a disk: ids, frames, messages, error codes. No I/O, no clock, no threads.

pub mod buffer;
mod error;
pub mod feature_level;
mod frame;
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic)]
mod generated;
#[rustfmt::skip]
mod generated_errors;
mod ids;
pub mod limits;
pub mod request;

pub use buffer::{Buffer, BufferPool};
pub use error::{Error, Result};
pub use frame::{FRAME_HEADER_BYTES, Flags, FrameHeader};
pub use generated_errors::Code;
pub use ids::*;
pub use request::{OneWay, ReplyMessage, Request};

/// Every message of `native/proto`, as generated.
pub mod message {
    pub use super::generated::*;
}
pub use message::MessageKind;
