// Every rpc, one line each: the page to open first. A request that is not idempotent may be repeated only
// under the same sequence number (P17). The deadline is the one of a caller who names none. The pairs are
// those of native/crates/wire/src/request.rs.
import { FsError } from '../errors.ts';
import * as m from '../messages.ts';

/** A message type as the generator makes it. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
  fromPartial(object: object): T;
}
export interface RequestMessage {
  header: m.RequestHeader | undefined;
}
export interface ReplyMessage {
  header: m.ReplyHeader | undefined;
}

export interface Rpc<Request extends RequestMessage, Reply extends ReplyMessage> {
  readonly kind: m.MessageKind;
  readonly request: Codec<Request>;
  readonly reply: Codec<Reply>;
  readonly idempotent: boolean;
  readonly priority: m.Priority;
  readonly deadlineMs: number;
}
/** A message that is never answered. */
export interface OneWay<Message> {
  readonly kind: m.MessageKind;
  readonly message: Codec<Message>;
}

type Repetition = 'idempotent' | 'once';

function rpc<Request extends RequestMessage, Reply extends ReplyMessage>(
  kind: m.MessageKind,
  request: Codec<Request>,
  reply: Codec<Reply>,
  repetition: Repetition,
  priority: m.Priority,
  deadlineMs: number,
): Rpc<Request, Reply> {
  return { kind, request, reply, idempotent: repetition === 'idempotent', priority, deadlineMs };
}

/** The manager answers at once or is as good as away. */
function liveness<Request extends RequestMessage, Reply extends ReplyMessage>(
  kind: m.MessageKind,
  request: Codec<Request>,
  reply: Codec<Reply>,
): Rpc<Request, Reply> {
  return rpc(kind, request, reply, 'idempotent', m.Priority.LIVENESS, 2_000);
}

function metadata<Request extends RequestMessage, Reply extends ReplyMessage>(
  kind: m.MessageKind,
  request: Codec<Request>,
  reply: Codec<Reply>,
  repetition: Repetition,
  deadlineMs = 10_000,
): Rpc<Request, Reply> {
  return rpc(kind, request, reply, repetition, m.Priority.METADATA, deadlineMs);
}

const { SCRUB } = m.Priority;
const kind = m.MessageKind;

// biome-ignore format: one line each, to be read as a table
export const rpcs = {
  echo: liveness(kind.KIND_ECHO, m.EchoRequest, m.EchoReply),
  // cluster manager
  register: liveness(kind.KIND_REGISTER, m.RegisterRequest, m.RegisterReply),
  heartbeat: liveness(kind.KIND_HEARTBEAT, m.HeartbeatRequest, m.HeartbeatReply),
  giveBack: liveness(kind.KIND_GIVE_BACK, m.GiveBackRequest, m.GiveBackReply),
  suspect: liveness(kind.KIND_SUSPECT, m.SuspectRequest, m.SuspectReply),
  exitReport: liveness(kind.KIND_EXIT_REPORT, m.ExitReportRequest, m.ExitReportReply),
  routing: liveness(kind.KIND_ROUTING, m.RoutingRequest, m.RoutingReply),
  change: rpc(kind.KIND_CHANGE, m.ChangeRequest, m.ChangeReply, 'idempotent', m.Priority.METADATA, 30_000),
  // storage server: what tools ask; bytes of chunks move in native code only
  listChunks: rpc(kind.KIND_LIST_CHUNKS, m.ListChunksRequest, m.ListChunksReply, 'idempotent', SCRUB, 30_000),
  scrub: rpc(kind.KIND_SCRUB, m.ScrubRequest, m.ScrubReply, 'idempotent', SCRUB, 10_000),
  // metadata service
  hello: metadata(kind.KIND_HELLO, m.HelloRequest, m.HelloReply, 'idempotent', 5_000),
  lookup: metadata(kind.KIND_LOOKUP, m.LookupRequest, m.InodeReply, 'idempotent'),
  stat: metadata(kind.KIND_STAT, m.StatRequest, m.InodeReply, 'idempotent'),
  open: metadata(kind.KIND_OPEN, m.OpenRequest, m.OpenReply, 'once'),
  create: metadata(kind.KIND_CREATE, m.CreateRequest, m.OpenReply, 'once'),
  close: metadata(kind.KIND_CLOSE, m.CloseRequest, m.InodeReply, 'once'),
  report: metadata(kind.KIND_REPORT, m.ReportRequest, m.InodeReply, 'once'),
  sync: metadata(kind.KIND_SYNC, m.SyncRequest, m.EmptyReply, 'idempotent', 30_000),
  makeDirectory: metadata(kind.KIND_MAKE_DIRECTORY, m.MakeDirectoryRequest, m.InodeReply, 'once'),
  makeNode: metadata(kind.KIND_MAKE_NODE, m.MakeNodeRequest, m.InodeReply, 'once'),
  symlink: metadata(kind.KIND_SYMLINK, m.SymlinkRequest, m.InodeReply, 'once'),
  link: metadata(kind.KIND_LINK, m.LinkRequest, m.InodeReply, 'once'),
  unlink: metadata(kind.KIND_UNLINK, m.UnlinkRequest, m.EmptyReply, 'once'),
  removeDirectory: metadata(kind.KIND_REMOVE_DIRECTORY, m.RemoveDirectoryRequest, m.EmptyReply, 'once'),
  rename: metadata(kind.KIND_RENAME, m.RenameRequest, m.EmptyReply, 'once'),
  readDirectory: metadata(kind.KIND_READ_DIRECTORY, m.ReadDirectoryRequest, m.ReadDirectoryReply, 'idempotent'),
  setAttributes: metadata(kind.KIND_SET_ATTRIBUTES, m.SetAttributesRequest, m.InodeReply, 'once', 60_000),
  readLink: metadata(kind.KIND_READ_LINK, m.ReadLinkRequest, m.ReadLinkReply, 'idempotent'),
  statFileSystem: metadata(kind.KIND_STAT_FILE_SYSTEM, m.StatFileSystemRequest, m.StatFileSystemReply, 'idempotent'),
  setLayout: metadata(kind.KIND_SET_LAYOUT, m.SetLayoutRequest, m.InodeReply, 'once'),
} as const;

export const oneWays = {
  routingPush: { kind: kind.KIND_ROUTING_PUSH, message: m.RoutingPush } as OneWay<m.RoutingPush>,
} as const;

/** BAD_MESSAGE if the bytes are not this message. */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array): T {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new FsError('BAD_MESSAGE', error instanceof Error ? error.message : String(error));
  }
}

const requestIdTag = 0x08;
const headerTag = 0x0a;

/**
 * The request id of any request or reply, from its first bytes, without decoding the rest. 0 if there is
 * none.
 */
export function peekRequestId(bytes: Uint8Array): bigint {
  // Field 1 is the header (tag, length of one or more bytes), and the id is field 1 of that; all writers keep
  // this order.
  if (bytes[0] !== headerTag) return 0n;
  let at = 1;
  while ((bytes[at] ?? 0) >= 0x80) at++;
  at++;
  if (bytes[at] !== requestIdTag) return 0n;
  at++;
  let low = 0; // exact up to 49 bits: seven bytes of a varint
  for (let shift = 1, count = 0; count < 7; count++, shift *= 128) {
    const byte = bytes[at++] ?? 0;
    low += (byte & 0x7f) * shift;
    if (byte < 0x80) return BigInt(low);
  }
  let high = 0n;
  for (let shift = 0n; shift < 21n; shift += 7n) {
    const byte = bytes[at++] ?? 0;
    high |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return BigInt.asUintN(64, BigInt(low) + (high << 49n));
}
