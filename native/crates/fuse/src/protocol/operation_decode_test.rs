//! Decoding against bytes laid out by hand, and against every shortened and damaged body.

use super::*;
use zerocopy::IntoBytes;

fn body(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn names_and_arguments_come_out() {
    let rename = abi::Rename2In { new_parent: 9, flags: 1, padding: 0 };
    let bytes = body(&[rename.as_bytes(), b"old\0new\0"]);
    assert_eq!(
        decode(Opcode::Rename2, &bytes),
        Ok(Operation::Rename { name: b"old", new_parent: 9, new_name: b"new", flags: 1 })
    );
    let create = abi::CreateIn { flags: 0o101, mode: 0o100644, umask: 0o22, open_flags: 1 };
    let bytes = body(&[create.as_bytes(), b"f\0"]);
    assert_eq!(
        decode(Opcode::Create, &bytes),
        Ok(Operation::Create { name: b"f", mode: 0o100644, flags: 0o101, kill_suid: true })
    );
    assert_eq!(
        decode(Opcode::Symlink, b"name\0a/b/c\0"),
        Ok(Operation::Symlink { name: b"name", target: b"a/b/c" })
    );
}

#[test]
fn bad_names_are_refused() {
    assert_eq!(decode(Opcode::Lookup, b"a/b\0"), Err(Errno::INVAL));
    assert_eq!(decode(Opcode::Lookup, b"\0"), Err(Errno::INVAL));
    assert_eq!(decode(Opcode::Lookup, b"unterminated"), Err(Errno::IO));
    let fits = body(&[&[b'a'; 255], b"\0"]);
    assert_eq!(decode(Opcode::Lookup, &fits), Ok(Operation::Lookup { name: &[b'a'; 255] }));
    assert_eq!(decode(Opcode::Lookup, &body(&[&[b'a'; 256], b"\0"])), Err(Errno::NAMETOOLONG));
}

#[test]
fn set_attributes_carries_only_what_is_valid() {
    use abi::set_attributes as bit;
    let set = abi::SetAttributesIn {
        valid: bit::MODE | bit::ATIME | bit::MTIME | bit::MTIME_NOW | bit::SIZE,
        mode: 0o100755,
        uid: 7,
        size: 12,
        atime: (-2i64).cast_unsigned(),
        atime_ns: 5,
        ..Default::default()
    };
    let expected = SetAttributes {
        mode: Some(0o755),
        size: Some(12),
        atime: Some(TimeChange::At(-1_999_999_995)),
        mtime: Some(TimeChange::Now),
        ..Default::default()
    };
    assert_eq!(decode(Opcode::SetAttributes, set.as_bytes()), Ok(Operation::SetAttributes(expected)));
}

#[test]
fn a_count_larger_than_the_body_allocates_nothing() {
    let head = abi::BatchForgetIn { count: u32::MAX, padding: 0 };
    let one = abi::ForgetOne { node: 3, lookups: 4 };
    assert_eq!(decode(Opcode::BatchForget, &body(&[head.as_bytes(), one.as_bytes()])), Err(Errno::IO));
    let head = abi::BatchForgetIn { count: 1, padding: 0 };
    assert_eq!(
        decode(Opcode::BatchForget, &body(&[head.as_bytes(), one.as_bytes()])),
        Ok(Operation::BatchForget { forgets: vec![one] })
    );
}

#[test]
fn a_write_whose_size_is_not_its_data_is_refused() {
    let write = abi::WriteIn { size: 3, offset: 8, ..Default::default() };
    assert_eq!(write_arguments(&body(&[write.as_bytes(), b"abc"])), Ok(write));
    assert_eq!(write_arguments(&body(&[write.as_bytes(), b"abcd"])), Err(Errno::IO));
    assert_eq!(write_arguments(&body(&[write.as_bytes(), b"ab"])), Err(Errno::IO));
}

/// No opcode may panic or read beyond its body, whatever the body is.
#[test]
fn every_opcode_stands_every_short_body() {
    let noise: Vec<u8> = (0..600u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for &opcode in Opcode::ALL {
        for length in 0..noise.len() {
            let _ = decode(opcode, &noise[..length]);
            let _ = write_arguments(&noise[..length]);
        }
        let fixed = decode(opcode, b"");
        let empty_is_enough = matches!(
            opcode,
            Opcode::Destroy | Opcode::ReadLink | Opcode::StatFileSystem | Opcode::SyncFileSystem
        );
        assert_eq!(fixed.is_ok(), empty_is_enough, "{}", opcode.name());
    }
}
