//! The 16 bytes before every message. Lengths are checked here, before anything is allocated for them.
//!
//! ```text
//! 0 magic 0xCA · 1 version · 2 kind · 3 flags · 4..8 message bytes · 8..12 payload bytes
//! 12..16 CRC32C of bytes 0..12
//! ```
//! Numbers are little-endian. The message follows the header, the payload follows the message.

use crate::limits::{MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::{Code, Error, Result};

pub const FRAME_HEADER_BYTES: usize = 16;
const MAGIC: u8 = 0xCA;
const VERSION: u8 = 1;

/// Bits of a frame's flags byte. Unknown bits are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    pub const NONE: Flags = Flags(0);
    /// The frame answers a request.
    pub const REPLY: Flags = Flags(1);
    /// No reply is expected.
    pub const ONE_WAY: Flags = Flags(2);

    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: u8,
    pub flags: Flags,
    pub message_bytes: u32,
    pub payload_bytes: u32,
}

impl FrameHeader {
    /// # Panics
    /// If a length is over its limit: the sender's bug.
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        assert!(self.message_bytes as usize <= MESSAGE_BYTES_MAX, "message of {} bytes", self.message_bytes);
        assert!(self.payload_bytes as usize <= PAYLOAD_BYTES_MAX, "payload of {} bytes", self.payload_bytes);
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&[MAGIC, VERSION, self.kind, self.flags.0]);
        bytes[4..8].copy_from_slice(&self.message_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// # Errors
    /// `BadFrame` for a wrong magic, version, flag, checksum or length: the connection is to be closed.
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<FrameHeader> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[0] != MAGIC || bytes[1] != VERSION {
            return Err(bad(format!("magic and version are {:#04x} {}", bytes[0], bytes[1])));
        }
        if crc32c::crc32c(&bytes[..12]) != word(12) {
            return Err(bad("the header's checksum does not match".into()));
        }
        let header = FrameHeader {
            kind: bytes[2],
            flags: Flags(bytes[3]),
            message_bytes: word(4),
            payload_bytes: word(8),
        };
        if header.flags.0 > 3 {
            return Err(bad(format!("unknown flags {:#04x}", header.flags.0)));
        }
        if header.message_bytes as usize > MESSAGE_BYTES_MAX {
            return Err(bad(format!("a message of {} bytes", header.message_bytes)));
        }
        if header.payload_bytes as usize > PAYLOAD_BYTES_MAX {
            return Err(bad(format!("a payload of {} bytes", header.payload_bytes)));
        }
        Ok(header)
    }
}

fn bad(detail: String) -> Error {
    Error::new(Code::BadFrame, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(kind: u8, flags in 0u8..4, message in 0u32..(4 << 20), payload in 0u32..(64 << 20)) {
            let header = FrameHeader { kind, flags: Flags(flags), message_bytes: message, payload_bytes: payload };
            prop_assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_flipped_bit_is_refused(bit in 0usize..128, payload in 0u32..1024) {
            let header = FrameHeader { kind: 9, flags: Flags::REPLY, message_bytes: 77, payload_bytes: payload };
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FrameHeader::decode(&bytes).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes: [u8; 16]) {
            let _ = FrameHeader::decode(&bytes);
        }
    }
}
