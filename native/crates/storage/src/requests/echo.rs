//! Protocol and nothing else, for liveness probes and `noop` benchmarks.

use crate::service::Service;
use transport::Incoming;
use wire::Result;

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let payload = service.echo.reply_to(incoming)?;
    incoming.replier().send(wire::message::EchoReply::default(), payload);
    Ok(())
}
