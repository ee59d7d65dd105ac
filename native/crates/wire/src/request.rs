//! Which reply answers which request: one table, so that no caller can mix up kinds, messages and headers.
//! Encodes and decodes messages; it never sends, waits or retries.

use crate::message::{self as m, AnyReply, AnyRequest, MessageKind, ReplyHeader, RequestHeader};
use crate::{Code, Error, Result};
use bytes::Bytes;
use prost::Message;
use std::time::Duration;

/// A message that expects an answer.
pub trait Request: Message + Default {
    const KIND: MessageKind;
    type Reply: Message + Default + ReplyMessage;
    fn header(&self) -> Option<&RequestHeader>;
    /// Made if it was absent.
    fn header_mut(&mut self) -> &mut RequestHeader;
}

/// An answer: its header is field 1, so that the bytes of any failed reply decode as `AnyReply`.
pub trait ReplyMessage: Message + Default {
    fn header(&self) -> Option<&ReplyHeader>;
    fn set_header(&mut self, header: ReplyHeader);
}

/// A message that is never answered.
pub trait OneWay: Message + Default {
    const KIND: MessageKind;
}

macro_rules! replies {
    ($($reply:ident),* $(,)?) => { $(
        impl ReplyMessage for m::$reply {
            fn header(&self) -> Option<&ReplyHeader> {
                self.header.as_ref()
            }
            fn set_header(&mut self, header: ReplyHeader) {
                self.header = Some(header);
            }
        }
    )* };
}

macro_rules! requests {
    ($($kind:ident: $request:ident => $reply:ident;)*) => {
        $(
            impl Request for m::$request {
                const KIND: MessageKind = MessageKind::$kind;
                type Reply = m::$reply;
                fn header(&self) -> Option<&RequestHeader> {
                    self.header.as_ref()
                }
                fn header_mut(&mut self) -> &mut RequestHeader {
                    self.header.get_or_insert_default()
                }
            }
        )*
        /// Every kind that expects a reply.
        pub const REQUEST_KINDS: &[MessageKind] = &[$(MessageKind::$kind),*];
    };
}

requests! {
    KindEcho: EchoRequest => EchoReply;
    KindRead: ReadRequest => ReadReply;
    KindUpdate: UpdateRequest => UpdateReply;
    KindCommitted: CommittedRequest => CommittedReply;
    KindFlush: FlushRequest => FlushReply;
    KindListChunks: ListChunksRequest => ListChunksReply;
    KindSyncStart: SyncStartRequest => SyncStartReply;
    KindSyncReplace: SyncReplaceRequest => SyncReplaceReply;
    KindSyncClients: SyncClientsRequest => SyncClientsReply;
    KindSyncDone: SyncDoneRequest => SyncDoneReply;
    KindSpace: SpaceRequest => SpaceReply;
    KindScrub: ScrubRequest => ScrubReply;
    KindDigestChunks: DigestChunksRequest => DigestChunksReply;
    KindRegister: RegisterRequest => RegisterReply;
    KindHeartbeat: HeartbeatRequest => HeartbeatReply;
    KindGiveBack: GiveBackRequest => GiveBackReply;
    KindSuspect: SuspectRequest => SuspectReply;
    KindExitReport: ExitReportRequest => ExitReportReply;
    KindRouting: RoutingRequest => RoutingReply;
    KindChange: ChangeRequest => ChangeReply;
    KindHello: HelloRequest => HelloReply;
    KindLookup: LookupRequest => InodeReply;
    KindStat: StatRequest => InodeReply;
    KindOpen: OpenRequest => OpenReply;
    KindCreate: CreateRequest => OpenReply;
    KindClose: CloseRequest => InodeReply;
    KindReport: ReportRequest => InodeReply;
    KindSync: SyncRequest => EmptyReply;
    KindMakeDirectory: MakeDirectoryRequest => InodeReply;
    KindMakeNode: MakeNodeRequest => InodeReply;
    KindSymlink: SymlinkRequest => InodeReply;
    KindLink: LinkRequest => InodeReply;
    KindUnlink: UnlinkRequest => EmptyReply;
    KindRemoveDirectory: RemoveDirectoryRequest => EmptyReply;
    KindRename: RenameRequest => EmptyReply;
    KindReadDirectory: ReadDirectoryRequest => ReadDirectoryReply;
    KindSetAttributes: SetAttributesRequest => InodeReply;
    KindReadLink: ReadLinkRequest => ReadLinkReply;
    KindStatFileSystem: StatFileSystemRequest => StatFileSystemReply;
    KindSetLayout: SetLayoutRequest => InodeReply;
    KindJob: JobRequest => JobReply;
}

replies! {
    AnyReply, EchoReply, ReadReply, UpdateReply, CommittedReply, FlushReply, ListChunksReply, SyncStartReply,
    SyncReplaceReply, SyncClientsReply, SyncDoneReply, SpaceReply, ScrubReply,
    DigestChunksReply, RegisterReply, HeartbeatReply, GiveBackReply,
    SuspectReply, ExitReportReply, RoutingReply, ChangeReply, HelloReply, InodeReply, OpenReply, EmptyReply, ReadDirectoryReply,
    ReadLinkReply, StatFileSystemReply, JobReply,
}

impl OneWay for m::RoutingPush {
    const KIND: MessageKind = MessageKind::KindRoutingPush;
}

/// The bytes of a request under this id. The time left travels with it (P17); at least 1 ms, because 0 says
/// "none".
pub fn encode_request<R: Request>(mut request: R, request_id: u64, timeout: Duration) -> Vec<u8> {
    let header = request.header_mut();
    header.request_id = request_id;
    header.deadline_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
    request.encode_to_vec()
}

/// The bytes of a successful reply.
pub fn encode_reply<R: ReplyMessage>(mut reply: R, request_id: u64) -> Vec<u8> {
    reply.set_header(ReplyHeader { request_id, ..ReplyHeader::default() });
    reply.encode_to_vec()
}

/// The bytes of a failed reply; they decode as the reply of every kind.
pub fn encode_failure(error: &Error, request_id: u64) -> Vec<u8> {
    AnyReply { header: Some(error.to_reply_header(request_id)) }.encode_to_vec()
}

/// # Errors
/// `BadMessage` if the bytes are not this message.
pub fn decode<M: Message + Default>(message: Bytes) -> Result<M> {
    M::decode(message).map_err(|error| Error::new(Code::BadMessage, error.to_string()))
}

/// # Errors
/// The error that the reply carries, or `BadMessage`.
pub fn decode_reply<R: ReplyMessage>(message: Bytes) -> Result<R> {
    let reply: R = decode(message)?;
    Error::from_reply_header(reply.header())?;
    Ok(reply)
}

/// The id of a request, whatever its kind.
///
/// # Errors
/// `BadMessage` if there is no header.
pub fn request_id_of_request(message: &Bytes) -> Result<u64> {
    let any: AnyRequest = decode(message.clone())?;
    any.header
        .map(|header| header.request_id)
        .ok_or_else(|| Error::new(Code::BadMessage, "a request without a header"))
}

/// The id of the request that this reply answers, whatever its kind.
///
/// # Errors
/// `BadMessage` if there is no header.
pub fn request_id_of_reply(message: &Bytes) -> Result<u64> {
    let any: AnyReply = decode(message.clone())?;
    any.header
        .map(|header| header.request_id)
        .ok_or_else(|| Error::new(Code::BadMessage, "a reply without a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_request_and_fits_the_frame() {
        let mut numbers: Vec<i32> = REQUEST_KINDS.iter().map(|&kind| kind as i32).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REQUEST_KINDS.len());
        assert!(numbers.iter().all(|number| (1..256).contains(number)));
        let unpaired = [MessageKind::KindNone, MessageKind::KindRoutingPush];
        for number in 0..256 {
            if let Ok(kind) = MessageKind::try_from(number) {
                assert_ne!(REQUEST_KINDS.contains(&kind), unpaired.contains(&kind), "{}", kind.as_str_name());
            }
        }
    }

    #[test]
    fn ids_and_deadlines_travel() {
        let bytes =
            encode_request(m::ReadRequest { chain: 3, ..Default::default() }, 9, Duration::from_micros(5));
        let bytes = Bytes::from(bytes);
        assert_eq!(request_id_of_request(&bytes), Ok(9));
        let read: m::ReadRequest = decode(bytes).unwrap();
        assert_eq!((read.chain, read.header.unwrap().deadline_ms), (3, 1));
    }

    #[test]
    fn a_failure_decodes_as_any_reply() {
        let error = Error::new(Code::NotHead, "chain 3");
        let bytes = Bytes::from(encode_failure(&error, 77));
        assert_eq!(request_id_of_reply(&bytes), Ok(77));
        assert_eq!(decode_reply::<m::UpdateReply>(bytes.clone()), Err(error.clone()));
        assert_eq!(decode_reply::<m::InodeReply>(bytes), Err(error));
        let done = Bytes::from(encode_reply(m::UpdateReply { allocatable: 5, ..Default::default() }, 8));
        assert_eq!(decode_reply::<m::UpdateReply>(done).unwrap().allocatable, 5);
        assert!(request_id_of_reply(&Bytes::new()).is_err());
    }
}
