//! An update: from a client to the head, or from the member before, with its version.

use super::check_crc;
use crate::metrics::add;
use crate::service::Service;
use crate::target::Waiting;
use chain::{Input, Update};
use std::time::Duration;
use transport::Incoming;
use wire::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use wire::message::{UpdateKind, UpdateRequest};
use wire::{Code, Error, Result, Tag};

/// A disk that gives back none of its memory for so long may hang: what its clients want goes no further, but they
/// also have requests for other disks behind that. Members wait for each other for as long as it takes (P24).
const STUCK: Duration = Duration::from_secs(1);

pub fn handle(service: &Service, incoming: &mut Incoming<'_>) -> Result<()> {
    let request: UpdateRequest = incoming.decode()?;
    let target = service.target(request.chain)?;
    let update = checked(&request, incoming.payload_bytes())?;
    // Not for memory that a disk that hangs may hold.
    target.check_online()?;
    let metrics = &service.shared.metrics;
    let buffers = &target.disk().buffers;
    let payload = match request.version {
        None => incoming.pull_unless_stuck(&buffers.client, STUCK)?,
        Some(_) => incoming.pull(buffers.forwarded(target.position()))?,
    };
    if let Err(error) = check_crc(&payload, request.crc) {
        add(&metrics.payload_corrupt, 1);
        return Err(error);
    }
    let chain_version = request.chain_version;
    let waiting = Waiting::Update(incoming.replier(), request.version.is_none());
    match request.version {
        None => target.ask(waiting, |reply| Input::Update { reply, chain_version, update, payload }),
        Some(version) => {
            add(&metrics.forwarded, 1);
            let (version, base) = (version.into(), request.base.unwrap_or_default().into());
            target.ask(waiting, |reply| Input::Forwarded {
                reply,
                chain_version,
                version,
                base,
                update,
                payload,
            });
        }
    }
    Ok(())
}

fn checked(request: &UpdateRequest, payload_bytes: usize) -> Result<Update> {
    let bad = |what: &str| Err(Error::new(Code::InvalidArgument, format!("update: {what}")));
    let Some(chunk) = request.chunk else { return bad("no chunk") };
    let Some(tag) = &request.tag else { return bad("no tag") };
    let Ok(kind) = UpdateKind::try_from(request.kind) else { return bad("unknown kind") };
    let size = request.chunk_size as usize;
    if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&size) || !size.is_power_of_two() {
        return bad("a chunk size that no layout has");
    }
    let range_end = u64::from(request.offset) + u64::from(request.length);
    let (expected_bytes, end) = match kind {
        UpdateKind::UpdateWrite => (request.length as usize, range_end),
        UpdateKind::UpdatePunch => (0, range_end),
        UpdateKind::UpdateTruncate => (0, u64::from(request.length)),
        UpdateKind::UpdateRemove => (0, 0),
    };
    if payload_bytes != expected_bytes {
        return bad("the payload is not as long as the message says");
    }
    if end > size as u64 {
        return bad("it reaches beyond its chunk");
    }
    if matches!(kind, UpdateKind::UpdateWrite | UpdateKind::UpdatePunch) && request.length == 0 {
        return bad("a write or a punch of no bytes");
    }
    Ok(Update {
        chunk: chunk.into(),
        tag: Tag::try_from(tag)?,
        kind,
        offset: request.offset,
        length: request.length,
        crc: request.crc,
        chunk_size: request.chunk_size,
        flush: request.flush,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::ChunkId;

    #[test]
    fn what_no_client_may_send_is_refused() {
        let tag = Tag { sequence: 1, ..Tag::default() };
        let good = UpdateRequest {
            chunk: Some(ChunkId { inode: 1, index: 0 }),
            tag: Some(tag.into()),
            offset: 65_000,
            length: 536,
            chunk_size: 65_536,
            ..Default::default()
        };
        assert_eq!(checked(&good, 536).unwrap().offset, 65_000);
        let punch = UpdateRequest { kind: 3, ..good.clone() };
        assert_eq!(checked(&punch, 0).unwrap().kind, UpdateKind::UpdatePunch);
        let cases = [
            (UpdateRequest { chunk: None, ..good.clone() }, 536),
            (UpdateRequest { tag: None, ..good.clone() }, 536),
            (UpdateRequest { kind: 9, ..good.clone() }, 536),
            (UpdateRequest { length: 537, ..good.clone() }, 537),
            (UpdateRequest { offset: u32::MAX, ..good.clone() }, 536),
            (UpdateRequest { length: 0, ..good.clone() }, 0),
            (UpdateRequest { chunk_size: 4096, ..good.clone() }, 536),
            (UpdateRequest { chunk_size: 70_000, ..good.clone() }, 536),
            (UpdateRequest { kind: 1, length: 65_537, ..good.clone() }, 0),
            (UpdateRequest { kind: 1, ..good.clone() }, 1),
            (UpdateRequest { kind: 3, ..good.clone() }, 536),
            (UpdateRequest { kind: 3, length: 537, ..good.clone() }, 0),
            (UpdateRequest { kind: 3, length: 0, ..good.clone() }, 0),
            (good.clone(), 535),
        ];
        for (request, payload_bytes) in cases {
            assert!(checked(&request, payload_bytes).is_err(), "{request:?} with {payload_bytes}");
        }
    }
}
