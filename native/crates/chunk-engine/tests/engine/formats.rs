//! Stored records are these bytes. A change here is a new format: it needs a number and a migration.

use prost::Message;
use wire::message::{
    BlockRun, BlockRunKind, ChannelRecord, ChunkId, JournalRecord, JournalStage, StoredBlocks, StoredChunk,
    StoredImage, StoredPending, StoredPlane, StoredTarget, Tag, Version,
};

fn hex(message: &impl Message) -> String {
    message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
}

const GOLDEN_STAGE: &str = "0a7a0a0a088080808080804010051205080310ac021a05080310ab0220808040288060380140014a12080110021801\
    20012a0801000000efbeadde52070801100218c8015a360a160a10abababababababababababababababab10071809120a0880808080808040\
    10051a05080310ac0220804028ff3f3504030201";
const GOLDEN_CHUNK: &str = "0a05080310ac02108827188080402802304d3a070801100218c80140014801";
const GOLDEN_BLOCKS: &str = "0a02017f120806000000070000001a300a05080310ac021001188080402a0180320405000000384642160a10abababababab\
    abababababababababab10071809220510461a017a2845";
const GOLDEN_TARGET: &str = "0801100418e80720012a05080310ac023080808080403802";

const VERSION: Version = Version { chain: 3, number: 300 };
const CHUNK: ChunkId = ChunkId { inode: 1 << 48, index: 5 };

fn tag() -> Tag {
    Tag { client: bytes::Bytes::from_static(&[0xab; 16]), channel: 7, sequence: 9 }
}

fn plane() -> StoredPlane {
    StoredPlane { plane: 1, segment: 2, extent: 200 }
}

#[test]
fn a_staged_update() {
    let run = BlockRun {
        first: 1,
        count: 2,
        kind: BlockRunKind::RunDirect as i32,
        plane: 1,
        crcs: vec![1, 0xdead_beef],
    };
    let channel = ChannelRecord {
        tag: Some(tag()),
        chunk: Some(CHUNK),
        version: Some(VERSION),
        chunk_length: 8192,
        allocated_delta: -4096,
        request_crc: 0x0102_0304,
    };
    let stage = JournalStage {
        chunk: Some(CHUNK),
        version: Some(VERSION),
        base: Some(Version { chain: 3, number: 299 }),
        chunk_size: 1 << 20,
        length: 12_288,
        removed: false,
        fresh: true,
        commit: true,
        runs: vec![run],
        planes: vec![plane()],
        channel: Some(channel),
    };
    let record = JournalRecord { stage: Some(stage), ..JournalRecord::default() };
    assert_eq!(hex(&record), GOLDEN_STAGE);
    let bytes = record.encode_to_vec();
    assert_eq!(JournalRecord::decode(&bytes[..]).unwrap(), record);
}

#[test]
fn a_chunk_in_the_catalogue() {
    let chunk = StoredChunk {
        version: Some(VERSION),
        length: 5000,
        chunk_size: 1 << 20,
        removed: false,
        stored_blocks: 2,
        last_record: 77,
        planes: vec![plane()],
        exists: true,
        unsettled: true,
    };
    let pending = StoredPending {
        version: Some(VERSION),
        length: 1,
        chunk_size: 1 << 20,
        removed: false,
        slots: bytes::Bytes::from_static(&[0x80]),
        crcs: vec![5],
        record: 70,
        tag: Some(tag()),
    };
    let image = StoredImage { block: 0, record: 70, data: bytes::Bytes::from_static(b"z") };
    let blocks = StoredBlocks {
        slots: bytes::Bytes::from_static(&[1, 0x7f]),
        crcs: vec![6, 7],
        pending: vec![pending],
        images: vec![image],
        record: 69,
    };
    assert_eq!(hex(&chunk), GOLDEN_CHUNK);
    assert_eq!(hex(&blocks), GOLDEN_BLOCKS);
}

#[test]
fn the_target_itself() {
    let target = StoredTarget {
        format: 1,
        first_journal: 4,
        next_record: 1000,
        clean: true,
        forgotten: Some(VERSION),
        segment_bytes: 16 << 30,
        losses: 2,
    };
    assert_eq!(hex(&target), GOLDEN_TARGET);
}
