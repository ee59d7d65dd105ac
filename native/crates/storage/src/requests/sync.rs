//! The steps of a resync, from the predecessor to the syncing member (P9).

use super::check_crc;
use crate::service::Service;
use crate::target::{Waiting, channels};
use chain::{Committed, Input, Replacement};
use transport::Incoming;
use wire::message::{SyncClientsRequest, SyncDoneRequest, SyncReplaceRequest, SyncStartRequest};
use wire::{Code, Error, Result};

pub fn start(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: SyncStartRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let chain_version = request.chain_version;
    target.ask(Waiting::SyncStart(incoming.replier()), |reply| Input::SyncStart { reply, chain_version });
    Ok(())
}

pub fn replace(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: SyncReplaceRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let Some(chunk) = request.chunk else {
        return Err(Error::new(Code::InvalidArgument, "resync: no chunk"));
    };
    target.check_online()?;
    let payload = incoming.pull(&target.disk().buffers.resync_in)?;
    if payload.len() != request.length as usize {
        return Err(Error::new(Code::InvalidArgument, "resync: the payload is not the whole chunk"));
    }
    if !request.removed {
        check_crc(&payload, request.crc)?;
    }
    let committed = Committed {
        version: request.version.unwrap_or_default().into(),
        length: request.length,
        removed: request.removed,
        chunk_size: request.chunk_size,
    };
    let (crc, damaged_blocks) = (request.crc, request.damaged_blocks);
    let replacement = Replacement { chunk: chunk.into(), committed, crc, damaged_blocks };
    let chain_version = request.chain_version;
    target.ask(Waiting::SyncReplace(incoming.replier()), |reply| Input::SyncReplace {
        reply,
        chain_version,
        replacement,
        payload,
    });
    Ok(())
}

pub fn clients(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: SyncClientsRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let channels = channels(&request.channels)?;
    let chain_version = request.chain_version;
    target.ask(Waiting::SyncClients(incoming.replier()), |reply| Input::SyncChannels {
        reply,
        chain_version,
        channels,
    });
    Ok(())
}

pub fn done(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: SyncDoneRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let chain_version = request.chain_version;
    target.ask(Waiting::SyncDone(incoming.replier()), |reply| Input::SyncDone { reply, chain_version });
    Ok(())
}
