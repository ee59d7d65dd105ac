//! A client's read of one chunk.

use crate::service::Service;
use crate::target::{ReadRange, Verified, Waiting};
use chain::Input;
use transport::Incoming;
use wire::limits::CHUNK_BYTES_MAX;
use wire::message::ReadRequest;
use wire::{Code, Error, Result};

/// Answers of one disk that a client may leave unread: several chunks under way, and far less than all its memory for
/// reads, so that a client that stopped does not hold up the others.
const UNREAD_BYTES_MAX: usize = 4 << 20;

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: ReadRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let Some(chunk) = request.chunk else { return Err(Error::new(Code::InvalidArgument, "read: no chunk")) };
    if request.length as usize > CHUNK_BYTES_MAX {
        return Err(Error::new(Code::InvalidArgument, "read: longer than any chunk"));
    }
    let range = ReadRange { offset: request.offset, length: request.length };
    let verified = if request.verify { Verified::Here } else { Verified::ByReader };
    let chain_version = request.chain_version;
    incoming.admit(target.disk_index(), request.length as usize, UNREAD_BYTES_MAX, move |replier| {
        target.ask(Waiting::Read(replier, range, verified), |reply| Input::Read {
            reply,
            chain_version,
            chunk: chunk.into(),
        });
    });
    Ok(())
}
