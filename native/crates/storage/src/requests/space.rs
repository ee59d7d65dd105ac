//! How full this node's targets are.

use crate::service::Service;
use transport::Incoming;
use wire::Result;
use wire::message::SpaceReply;

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let targets = service.targets().iter().map(|target| target.space()).collect();
    incoming.replier().send(SpaceReply { header: None, targets }, Vec::new());
    Ok(())
}
