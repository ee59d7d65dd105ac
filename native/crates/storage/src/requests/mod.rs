//! One file per request: decodes it, checks what needs no state, brings its payload in, asks the target. An
//! error that is returned is the request's answer.

pub mod committed;
pub mod digest_chunks;
pub mod echo;
pub mod flush;
pub mod list_chunks;
pub mod read;
pub mod scrub;
pub mod space;
pub mod sync;
pub mod update;

use bytes::Bytes;
use wire::{Code, Error, Result};

/// The payload must be what its sender had.
fn check_crc(payload: &Bytes, crc: u32) -> Result<()> {
    if crc32c::crc32c(payload) == crc {
        return Ok(());
    }
    Err(Error::new(Code::Corrupt, "the payload does not match its checksum"))
}
