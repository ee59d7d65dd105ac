//! The background scrub: how far it is, and "begin now".

use crate::service::Service;
use transport::Incoming;
use wire::Result;
use wire::message::{ScrubReply, ScrubRequest};

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: ScrubRequest = incoming.decode()?;
    if request.start {
        service.targets().iter().for_each(|target| target.begin_scrub());
    }
    incoming.replier().send(ScrubReply { header: None, targets: service.reports() }, Vec::new());
    Ok(())
}
