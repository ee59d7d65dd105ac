// Limits of the wire and of one connection, each with its reason. The wire's are the same as in
// native/crates/wire.

/** Longest protobuf message: control messages with whole routing tables fit. */
export const messageBytesMax = 4 << 20;

/** Longest payload of any frame: one whole chunk. Processes of Node take none, see `FrameParser`. */
export const payloadBytesMax = 64 << 20;

/** Calls that a server executes at once for one connection: twice the 512 that one mount keeps in the air. */
export const callsInFlightMax = 1024;

/**
 * Connections of one server: one of each of the 65,536 clients that a cluster may have, and as many again
 * while those that were lost are not yet noticed. Each costs a file descriptor, so the process needs a limit
 * of open files above this.
 */
export const connectionsMax = 131_072;

/**
 * Bytes of replies that wait for a slow reader before its requests are left in the socket: two messages of
 * the longest kind.
 */
export const outgoingBytesPause = 8 << 20;

/** Beyond this a reader is dead weight (pushes go on while requests wait), and its connection is closed. */
export const outgoingBytesMax = 32 << 20;

/** Longest name of a directory entry, as in every POSIX file system. */
export const nameBytesMax = 255;

/**
 * The newest records and frames that this release reads and writes (P27); the same as in native/crates/wire. Raised
 * when one changes in a way that older releases cannot read. Which level a cluster writes the manager decides: at most
 * what every member knows. 1: the first. 2: a chain table may have earlier versions, so whoever takes each table for
 * its only one would look for chunks in wrong places.
 */
export const featureLevel = 2;

/** Every release reads it: of data that no manager has been met with yet. */
export const featureLevelOldest = 1;
