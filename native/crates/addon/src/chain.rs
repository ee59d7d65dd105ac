//! The manager's chain transitions (P3): the pure function of `chain`, bytes in and bytes out.

use napi::bindgen_prelude::Buffer;
use napi::{Error, Result, Status};
use napi_derive::napi;
use prost::Message;
use wire::message::NextChainRequest;

/// `NextChainRequest` to `NextChainReply`.
#[napi]
pub fn next_chain(request: &[u8]) -> Result<Buffer> {
    let request = NextChainRequest::decode(request)
        .map_err(|error| Error::new(Status::InvalidArg, format!("no NextChainRequest: {error}")))?;
    Ok(::chain::next_chain(&request).encode_to_vec().into())
}
