//! The same messages and frames as core/src/golden.test.ts, compared with the bytes in
//! native/proto/golden/messages.txt: what one side writes, the other reads.

#![allow(clippy::needless_update)] // messages gain fields; what is written here stays the same

use prost::Message;
use std::collections::HashMap;
use wire::message as m;
use wire::{Flags, FrameHeader};

const LARGE: u64 = 0xfedc_ba98_7654_3210;

fn golden() -> HashMap<String, Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/golden/messages.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, digits) = line.split_once(' ').unwrap();
            let bytes = (0..digits.len()).step_by(2);
            let bytes = bytes.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
            (name.to_owned(), bytes.collect())
        })
        .collect()
}

fn client() -> Vec<u8> {
    (0..16).collect()
}

fn request(request_id: u64) -> Option<m::RequestHeader> {
    Some(m::RequestHeader { request_id, ..Default::default() })
}

fn reply(request_id: u64) -> Option<m::ReplyHeader> {
    Some(m::ReplyHeader { request_id, ..Default::default() })
}

fn stat_request() -> m::StatRequest {
    let header = m::RequestHeader {
        request_id: 7,
        deadline_ms: 1500,
        priority: m::Priority::Metadata as u32,
        user: Some(m::User { uid: 1000, gid: 100, groups: vec![4, 300, 70000], pid: 4242 }),
        capability: vec![0xca, 0xfe].into(),
        client: client().into(),
        sequence: LARGE,
        answered_up_to: 300,
        ..Default::default()
    };
    m::StatRequest { header: Some(header), inode: 1 }
}

fn inode() -> m::Inode {
    m::Inode {
        record_version: 1,
        id: LARGE,
        r#type: m::FileType::FileSymlink as i32,
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        nlink: 2,
        length: 1 << 40,
        atime_ns: -1,
        mtime_ns: 1_700_000_000_123_456_789,
        ctime_ns: -(1 << 62),
        created_ns: 1,
        generation: 4,
        parent: 1,
        device: 0x801,
        flags: 16,
        blocks_bytes: 4096,
        symlink: "ziel/ä".as_bytes().to_vec().into(),
        layout: Some(m::Layout {
            table: 1,
            table_version: 2,
            chunk_size: 1 << 20,
            stripe: 16,
            first: 3,
            flush_each_write: true,
        }),
        entries: 5,
        change: 77,
        ..Default::default()
    }
}

fn routing() -> m::Routing {
    let member = |target, node, state: m::PublicState, disk| m::Member {
        target,
        node,
        state: state as i32,
        disk,
        ..Default::default()
    };
    let chain = m::Chain {
        id: 3,
        version: 9,
        members: vec![
            member(101, 1, m::PublicState::PublicServing, 0),
            member(201, 2, m::PublicState::PublicSyncing, 1),
            member(301, 3, m::PublicState::PublicOffline, 0),
        ],
        durability_epoch: 2,
        preferred: vec![101, 201, 301],
        last: vec![101],
        reordering: true,
        order_given_up: true,
        term: LARGE,
        follows: vec![
            m::ChainTerm { last_version: 5, ..Default::default() },
            m::ChainTerm { term: 77, last_version: 8, over: true },
        ],
    };
    let node = m::Node {
        id: 1,
        kind: m::NodeKind::NodeMeta as i32,
        address: "127.0.0.1:7401".into(),
        incarnation: LARGE,
        alive: true,
        ..Default::default()
    };
    m::Routing {
        version: 12,
        from_version: 11,
        cluster: "c1".into(),
        nodes: vec![node],
        chains: vec![chain],
        tables: vec![
            m::ChainTable { id: 1, version: 1, chains: vec![3, 4, 500], ..Default::default() },
            m::ChainTable { id: 2, version: 3, chains: vec![3, 4, 500], lengths: vec![1, 2] },
        ],
        clients_added: vec![client().into()],
        clients_removed: vec![vec![0xff; 16].into()],
        ..Default::default()
    }
}

fn update_request() -> m::UpdateRequest {
    m::UpdateRequest {
        header: request(1),
        chain: 3,
        chain_version: 9,
        chunk: Some(m::ChunkId { inode: LARGE, index: 5 }),
        tag: Some(m::Tag { client: client().into(), channel: 63, sequence: 1 }),
        kind: m::UpdateKind::UpdateTruncate as i32,
        offset: 4096,
        length: 1 << 20,
        crc: 0xdead_beef,
        version: Some(m::Version { chain: 9, number: 10 }),
        flush: true,
        chunk_size: 1 << 20,
        base: Some(m::Version { chain: 9, number: 9 }),
        ..Default::default()
    }
}

fn log_record() -> m::LogRecord {
    let change = |key: &[u8], value: Option<&[u8]>| m::KeyChange {
        key: key.to_vec().into(),
        value: value.map(|bytes| bytes.to_vec().into()),
    };
    m::LogRecord {
        record_version: 1,
        epoch: 2,
        number: 3,
        changes: vec![change(&[1, 0, 255], Some(b"")), change(b"gone", None), change(b"k", Some(b"v"))],
        ..Default::default()
    }
}

fn check<M: Message + Default + PartialEq>(name: &str, message: &M) {
    let bytes = &golden()[name];
    assert_eq!(&message.encode_to_vec(), bytes, "{name}");
    assert!(M::decode(bytes.as_slice()).unwrap() == *message, "{name} decodes to another message");
}

#[test]
fn messages_are_the_golden_bytes() {
    check("stat-request", &stat_request());
    let failure = m::ReplyHeader {
        request_id: 7,
        code: wire::Code::NoSpace as u32,
        detail: "target 7 ist voll: ü".into(),
        retry_after_ms: 250,
    };
    check("reply-header", &m::AnyReply { header: Some(failure) });
    check("empty-reply", &m::EmptyReply { header: reply(1) });
    check("inode", &inode());
    check(
        "open-reply",
        &m::OpenReply {
            header: reply(300),
            inode: Some(inode()),
            session: 6,
            created: true,
            ..Default::default()
        },
    );
    check("routing", &routing());
    check("update-request", &update_request());
    let set = m::SetAttributesRequest {
        header: request(1),
        inode: 2,
        mode: Some(0),
        mtime_ns: Some(-5),
        length: Some(0),
        ..Default::default()
    };
    check("set-attributes", &set);
    check("log-record", &log_record());
}

#[test]
fn frames_are_the_golden_bytes() {
    let frame = |name: &str, kind: m::MessageKind, flags, message: Vec<u8>| {
        let header = FrameHeader {
            kind: kind as u8,
            flags,
            message_bytes: u32::try_from(message.len()).unwrap(),
            payload_bytes: 0,
        };
        assert_eq!([header.encode().to_vec(), message].concat(), golden()[name], "{name}");
    };
    frame("frame-stat", m::MessageKind::KindStat, Flags::NONE, stat_request().encode_to_vec());
    let opened = m::OpenReply {
        header: reply(300),
        inode: Some(inode()),
        session: 6,
        created: true,
        ..Default::default()
    };
    frame("frame-open-reply", m::MessageKind::KindCreate, Flags::REPLY, opened.encode_to_vec());
}
