//! fsync of a chain, down its members (P11).

use crate::service::Service;
use crate::target::Waiting;
use chain::Input;
use transport::Incoming;
use wire::Result;
use wire::message::FlushRequest;

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: FlushRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let (chain_version, from_client) = (request.chain_version, !request.forwarded);
    target.ask(Waiting::Flush(incoming.replier()), |reply| Input::Flush {
        reply,
        chain_version,
        from_client,
    });
    Ok(())
}
