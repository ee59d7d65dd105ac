//! The disk damages a block of a chunk: it is never shown, it is put right from a copy, and an update that changes it
//! in part is refused, or leaves it damaged. Or it damages the journal: then something may be missing, and the target
//! says so.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::id;
use super::model::{CHUNK, Step, World};
use chunk_engine::disk::{Crash, Dice};
use chunk_engine::{BLOCK_BYTES, Disk, Engine, MemoryDisk, StageRequest, Update};
use std::sync::Arc;
use wire::{Code, Version};

/// One bit in a block of it is another one.
struct Damaged {
    chunk: u64,
    version: Version,
    /// What is right.
    bytes: Vec<u8>,
    block: u32,
}

impl Damaged {
    fn from(&self) -> usize {
        self.block as usize * BLOCK_BYTES
    }

    /// Bytes of the block.
    fn stored(&self) -> usize {
        BLOCK_BYTES.min(self.bytes.len() - self.from())
    }
}

/// The damaged blocks of a chunk that should have these bytes; all others must have them.
fn damaged_blocks(engine: &Engine, chunk: u64, bytes: &[u8], what: &str) -> Vec<u32> {
    let mut buffer = [0; BLOCK_BYTES];
    let mut damaged = Vec::new();
    for (block, right) in (0..).zip(bytes.chunks(BLOCK_BYTES)) {
        match engine.read(id(chunk, 0), block * BLOCK_BYTES as u32, &mut buffer[..right.len()]) {
            Ok(read) => {
                let whole = read.length as usize == right.len() && buffer[..right.len()] == *right;
                assert!(whole, "block {block} of chunk {chunk} shows other bytes, {what}");
            }
            Err(error) if error.code == Code::Corrupt => damaged.push(block),
            Err(error) => panic!("{error}, {what}"),
        }
    }
    damaged
}

/// A script, or its beginning.
fn begin(script: &[Step], world: &mut World, dice: &mut Dice) {
    for step in &script[..1 + dice.roll(script.len() as u64) as usize] {
        world.step(step).unwrap();
    }
}

/// One bit of the journal is another one, after a flush of all that it says: whatever that hides, a target that calls
/// itself complete shows all of it. `false`: there is no journal.
pub fn journal(script: &[Step], world: &mut World, dice: &mut Dice) -> bool {
    begin(script, world, dice);
    world.step(&Step::Flush).unwrap();
    let journals = world.disk.list().unwrap().into_iter().filter(|name| name.starts_with("journal-"));
    let name = journals.max().expect("a target has a journal");
    let length = world.disk.open(&name).unwrap().expect("it is listed").length().unwrap();
    if length == 0 {
        return false;
    }
    let (offset, bit) = (dice.roll(length), dice.roll(8) as u8);
    let what = format!("bit {bit} at {offset} of {name}, after {:?}", world.trace);
    world.engine = None;
    let disk = world.disk.after(Crash::LoseAll);
    assert!(disk.flip_bit(&name, offset, bit));
    match Engine::open(Arc::new(disk), super::model::small()) {
        Ok((engine, opened)) if opened.complete => {
            for (chunk, version, bytes) in world.committed() {
                let found = engine.meta(id(chunk, 0)).map(|meta| meta.committed);
                assert_eq!(found, Some(version), "chunk {chunk}, {what}");
                assert!(damaged_blocks(&engine, chunk, &bytes, &what).is_empty(), "{what}");
            }
        }
        Ok((_, opened)) => assert_eq!(opened.losses, 1, "{what}"),
        Err(error) => assert_eq!(error.code, Code::Corrupt, "{what}"),
    }
    true
}

/// The case for these choices: a script, or its beginning, and then the damage. `false`: it left no block on the disk.
pub fn block(script: &[Step], world: &mut World, dice: &mut Dice) -> bool {
    begin(script, world, dice);
    let chunks: Vec<u64> = world.committed().iter().map(|(chunk, ..)| *chunk).collect();
    for chunk in &chunks {
        world.step(&Step::Commit { chunk: *chunk, all: true }).unwrap();
    }
    // Else the medium would get the right bytes later.
    world.step(&Step::Flush).unwrap();
    if let Some((chunk, _, bytes)) = world.committed().into_iter().next()
        && dice.roll(2) == 0
    {
        // What lies behind the new end may be wanted again, so that appends go through the journal.
        let length = dice.roll(bytes.len() as u64) as u32;
        world.step(&Step::Truncate { chunk, length, commit: true }).unwrap();
    }
    let what = format!("after {:?}", world.trace);
    let Some(damaged) = flip_a_bit(world, dice, &what) else { return false };
    let engine = world.engine.take().expect("an open engine");
    match dice.roll(4) {
        0 => mend(&engine, &damaged, &what),
        _ => change(engine, &world.disk, &damaged, dice, &what),
    }
    true
}

/// Flips bits until one is a committed chunk's; none but that one stays.
fn flip_a_bit(world: &World, dice: &mut Dice, what: &str) -> Option<Damaged> {
    let engine = world.engine.as_ref().expect("an open engine");
    let names = world.disk.list().unwrap();
    let segments = names.iter().filter(|name| name.starts_with("segment-"));
    let pages: Vec<(&String, u64)> = segments
        .flat_map(|name| world.disk.written_pages(name).into_iter().map(move |page| (name, page)))
        .collect();
    for _ in 0..if pages.is_empty() { 0 } else { 30 } {
        let (name, page) = *dice.pick(&pages);
        let (offset, bit) = (page + dice.roll(BLOCK_BYTES as u64) / (1 << dice.roll(6)), dice.roll(8) as u8);
        assert!(world.disk.flip_bit(name, offset, bit));
        for (chunk, version, bytes) in world.committed() {
            let blocks = damaged_blocks(engine, chunk, &bytes, what);
            if let Some(block) = blocks.first().copied() {
                assert_eq!(blocks.len(), 1, "one bit in several blocks, {what}");
                assert_eq!(engine.damage(id(chunk, 0)).unwrap().blocks, [block], "{what}");
                return Some(Damaged { chunk, version, bytes: bytes.to_vec(), block });
            }
        }
        world.disk.flip_bit(name, offset, bit);
    }
    None
}

fn mend(engine: &Engine, damaged: &Damaged, what: &str) {
    let mended = engine.mend(id(damaged.chunk, 0), damaged.version, 0, &damaged.bytes).unwrap();
    assert_eq!(mended, 1, "{what}");
    assert!(damaged_blocks(engine, damaged.chunk, &damaged.bytes, what).is_empty(), "{what}");
}

/// An update that touches the damaged block, and what it and a restart make of that.
fn change(engine: Engine, disk: &MemoryDisk, damaged: &Damaged, dice: &mut Dice, what: &str) {
    let (from, stored) = (damaged.from(), damaged.stored());
    let mut bytes = damaged.bytes.clone();
    let appends = from + stored == bytes.len() && bytes.len() < CHUNK as usize && dice.roll(2) == 0;
    let within = if appends { stored } else { dice.roll(stored as u64) as usize };
    let (offset, room) =
        (from + within, if appends { CHUNK as usize - bytes.len() } else { stored - within });
    let length = 1 + dice.roll(room.min(6000) as u64) as usize;
    let data = [super::pattern(dice.roll(1 << 30), length)];
    let (update, healed) = match if appends { 0 } else { dice.roll(3) } {
        0 => {
            bytes.resize(bytes.len().max(offset + length), 0);
            bytes[offset..offset + length].copy_from_slice(&data[0]);
            (Update::Write { offset: offset as u32, data: &data }, !appends && length == stored)
        }
        1 => {
            bytes.truncate(offset);
            (Update::Truncate { length: offset as u32 }, within == 0)
        }
        _ => {
            bytes[offset..offset + length].fill(0);
            (Update::Punch { offset: offset as u32, length: length as u32 }, length == stored)
        }
    };
    check_change((engine, disk), damaged, (update, healed), &bytes, what);
}

fn check_change(
    (engine, disk): (Engine, &MemoryDisk),
    damaged: &Damaged,
    (update, healed): (Update<'_>, bool),
    bytes: &[u8],
    what: &str,
) {
    let what = format!("{update:?} over block {}, {what}", damaged.block);
    let chunk = id(damaged.chunk, 0);
    let version = Version { chain: 9, number: 1 };
    let request = StageRequest {
        chunk,
        version,
        base: Some(damaged.version),
        update,
        chunk_size: CHUNK,
        channel: None,
        crc: None,
        commit: true,
    };
    if let Err(error) = engine.stage(&request) {
        assert_eq!(error.code, Code::Corrupt, "{what}");
        engine.stage_damaged(&request, &[]).unwrap();
    }
    let expected = if healed { vec![] } else { vec![damaged.block] };
    assert_eq!(damaged_blocks(&engine, damaged.chunk, bytes, &what), expected, "{what}");
    engine.flush().unwrap();
    let options = super::model::small();
    drop(engine);
    let (engine, opened) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options).unwrap();
    assert!(opened.complete, "{opened:?}, {what}");
    assert_eq!(damaged_blocks(&engine, damaged.chunk, bytes, &what), expected, "again, {what}");
}
