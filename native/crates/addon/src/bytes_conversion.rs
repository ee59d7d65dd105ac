//! Bytes between JavaScript and the client. Written bytes are never copied: the buffer stays with its caller,
//! who must not change it before the promise settles. Read bytes are copied once, on a native thread.

use bytes::Bytes;
use napi::bindgen_prelude::{BigInt, Buffer};
use wire::message::Layout;

struct Lent(Buffer);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The caller's buffer, for as long as it is needed.
pub fn lent(buffer: Buffer) -> Bytes {
    Bytes::from_owner(Lent(buffer))
}

/// On a native thread: one copy, out of pooled memory, which a buffer that waits for the garbage collector
/// must not hold.
pub fn joined(rope: &[Bytes]) -> Vec<u8> {
    rope.concat()
}

/// # Errors
/// If it is no unsigned 64-bit number.
pub fn unsigned(number: &BigInt) -> Result<u64, napi::Error<String>> {
    let (negative, value, exact) = number.get_u64();
    if negative || !exact {
        return Err(crate::error::invalid("a number does not fit into 64 bits"));
    }
    Ok(value)
}

/// # Errors
/// If the bytes are no layout.
pub fn layout(bytes: &[u8]) -> Result<Layout, napi::Error<String>> {
    prost::Message::decode(bytes).map_err(|error| crate::error::invalid(format!("layout: {error}")))
}
