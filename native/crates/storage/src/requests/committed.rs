//! A member with something pending asks the last serving one which version is committed (P6).

use crate::service::Service;
use crate::target::Waiting;
use chain::Input;
use transport::Incoming;
use wire::message::CommittedRequest;
use wire::{Code, Error, Result};

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: CommittedRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let Some(chunk) = request.chunk else { return Err(Error::new(Code::InvalidArgument, "no chunk")) };
    let chain_version = request.chain_version;
    target.ask(Waiting::Committed(incoming.replier()), |reply| Input::Committed {
        reply,
        chain_version,
        chunk: chunk.into(),
    });
    Ok(())
}
