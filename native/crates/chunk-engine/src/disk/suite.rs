//! What every `Disk` must do. The engine relies on exactly this; a new medium runs it before anything else.

use super::{Block, Disk};
use pages::PagePool;
use std::io::{IoSlice, IoSliceMut};

/// Runs the whole suite on an empty disk.
///
/// # Panics
/// Where the disk does not keep the contract.
pub fn run(disk: &dyn Disk) {
    names(disk);
    bytes(disk);
    pieces(disk);
    many(disk);
    lengths(disk);
    shared(disk);
    medium(disk);
    blocks(disk);
}

fn read(disk: &dyn Disk, name: &str, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; length];
    let file = disk.open(name).unwrap().expect("the file is there");
    let count = file.read_at(&mut [IoSliceMut::new(&mut bytes)], offset).unwrap();
    bytes.truncate(count);
    bytes
}

fn names(disk: &dyn Disk) {
    assert!(disk.open("a").unwrap().is_none());
    disk.create("a").unwrap();
    assert_eq!(disk.create("a").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    disk.create("b").unwrap();
    disk.flush_names().unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    disk.remove("b").unwrap();
    assert_eq!(disk.remove("b").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(disk.list().unwrap(), ["a"]);
}

fn bytes(disk: &dyn Disk) {
    let file = disk.create("bytes").unwrap();
    file.write_at(&[IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo")], 10_000).unwrap();
    assert_eq!(file.length().unwrap(), 10_005);
    assert_eq!(read(disk, "bytes", 9_998, 100), b"\0\0hello");
    assert_eq!(read(disk, "bytes", 20_000, 10), b"");
    let (mut first, mut none, mut second) = ([0; 2], [0; 0], [0; 9]);
    let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut none), IoSliceMut::new(&mut second)];
    assert_eq!(file.read_at(&mut parts, 10_000).unwrap(), 5);
    assert_eq!((&first, &second[..3]), (b"he", &b"llo"[..]));
    // More parts than one system call takes.
    let many: Vec<[u8; 3]> = (0..3000u32).map(|part| [part as u8, (part >> 8) as u8, 7]).collect();
    let parts: Vec<IoSlice<'_>> = many.iter().map(|part| IoSlice::new(part)).collect();
    file.write_at(&parts, 1).unwrap();
    file.flush().unwrap();
    assert_eq!(read(disk, "bytes", 1, 9_000), many.concat());
}

/// What is shared is what is read, or nothing is.
fn shared(disk: &dyn Disk) {
    let file = disk.create("shared").unwrap();
    let content: Vec<u8> = (0..50_000u32).map(|place| (place >> 4) as u8).collect();
    file.write_at(&[IoSlice::new(&content)], 0).unwrap();
    let pool = PagePool::new(1);
    for (offset, length) in [(0, 50_000), (8192, 4096), (40_960, 20_000), (53_248, 4096)] {
        let mut pages = pool.try_take().unwrap();
        match file.share(offset, length, &mut pages) {
            Ok(count) => {
                assert_eq!(pages.copy_out().unwrap(), read(disk, "shared", offset, length));
                assert_eq!(count, 50_000usize.saturating_sub(offset as usize).min(length));
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
        }
    }
}

/// Whole blocks, written or not, flushed or not, also where the file ends within one.
fn medium(disk: &dyn Disk) {
    let file = disk.create("medium").unwrap();
    let content: Vec<u8> = (0..30_000u32).map(|place| (place >> 3) as u8).collect();
    file.write_at(&[IoSlice::new(&content)], 0).unwrap();
    file.flush().unwrap();
    file.punch(8192, 8192).unwrap();
    file.write_at(&[IoSlice::new(b"not flushed")], 4090).unwrap();
    file.write_at(&[IoSlice::new(b"far behind")], 2_000_000).unwrap();
    for (offset, blocks) in [(0, 8), (4096, 3), (28_672, 1), (28_672, 256), (1_998_848, 4), (4_096_000, 1)] {
        let mut into = Block::new_zeros(blocks);
        let count = file.read_medium(&mut into, offset).unwrap();
        assert!(Block::bytes_of(&into)[..count] == read(disk, "medium", offset, blocks * 4096), "{offset}");
    }
}

/// Ranges that begin and end anywhere, over each other, against a plain copy.
fn pieces(disk: &dyn Disk) {
    let file = disk.create("pieces").unwrap();
    let mut model = Vec::new();
    let ranges = [
        (0, 10),
        (10, 4086),
        (4000, 200),
        (8192, 4096),
        (5, 9000),
        (12_288, 1),
        (65_536 + 4095, 2),
        (100, 3_000_000),
        (1 << 20, 1 << 20),
        (4097, 4095),
        (2_999_000, 70_000),
    ];
    for (number, (offset, length)) in (1u8..).zip(ranges) {
        let bytes: Vec<u8> =
            (0..length).map(|at| (at as u8).wrapping_mul(7).wrapping_add(number.wrapping_mul(31))).collect();
        let (first, second) = bytes.split_at(length / 3);
        file.write_at(&[IoSlice::new(first), IoSlice::new(second)], offset as u64).unwrap();
        model.resize(model.len().max(offset + length), 0);
        model[offset..offset + length].copy_from_slice(&bytes);
        assert_eq!(file.length().unwrap(), model.len() as u64);
        assert!(read(disk, "pieces", 0, 4 << 20) == model, "after {length} bytes at {offset}");
        let from = offset.saturating_sub(3);
        assert!(
            read(disk, "pieces", from as u64, length + 1) == model[from..model.len().min(from + length + 1)]
        );
    }
    file.punch(4000, 9000).unwrap();
    model[4000..13_000].fill(0);
    file.write_at(&[IoSlice::new(&[3; 10])], 4090).unwrap();
    model[4090..4100].fill(3);
    assert!(read(disk, "pieces", 0, 4 << 20) == model, "after a punch");
    file.set_length(5001).unwrap();
    file.write_at(&[IoSlice::new(&[4; 10])], 5010).unwrap();
    model.truncate(5001);
    model.resize(5010, 0);
    model.extend([4; 10]);
    assert!(read(disk, "pieces", 0, 4 << 20) == model, "after a cut");
}

fn many(disk: &dyn Disk) {
    let file = disk.create("many").unwrap();
    let block = vec![1; 4096];
    let long: Vec<u8> = (0..1_500_000u32).map(|at| (at >> 3) as u8).collect();
    let parts: [Vec<IoSlice<'_>>; 4] = [
        vec![IoSlice::new(&block), IoSlice::new(&block)],
        vec![IoSlice::new(&block[..100])],
        vec![IoSlice::new(&long)],
        vec![IoSlice::new(&block)],
    ];
    let places = [40_960, 10_000, 1 << 20, 0];
    let writes: Vec<(u64, &[IoSlice<'_>])> =
        places.into_iter().zip(&parts).map(|(at, parts)| (at, &parts[..])).collect();
    file.write_many(&writes).unwrap();
    file.write_many(&[]).unwrap();
    let mut model = vec![0; (1 << 20) + long.len()];
    for (offset, parts) in places.iter().zip(&parts) {
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
        model[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(&bytes);
    }
    assert!(read(disk, "many", 0, 4 << 20) == model);
    // More places than a queue holds.
    let writes: Vec<(u64, &[IoSlice<'_>])> = (0..500).map(|place| (place * 12_288, &parts[3][..])).collect();
    file.write_many(&writes).unwrap();
    for (offset, _) in &writes {
        assert!(read(disk, "many", *offset, 4096) == block);
    }
}

fn lengths(disk: &dyn Disk) {
    let file = disk.create("lengths").unwrap();
    file.write_at(&[IoSlice::new(&[9; 5000])], 0).unwrap();
    file.set_length(100).unwrap();
    file.set_length(6000).unwrap();
    let content = read(disk, "lengths", 0, 9000);
    assert_eq!(content.len(), 6000);
    assert!(content[..100].iter().all(|byte| *byte == 9) && content[100..].iter().all(|byte| *byte == 0));
}

fn blocks(disk: &dyn Disk) {
    let free = disk.space().unwrap().free;
    let file = disk.create("blocks").unwrap();
    file.allocate(0, 8 << 20).unwrap();
    assert_eq!(file.length().unwrap(), 0);
    file.flush().unwrap();
    assert!(disk.space().unwrap().free < free, "allocated blocks are no longer free");
    assert!(file.allocated().unwrap().contains(&(8 << 20)), "{:?}", file.allocated());
    file.write_at(&[IoSlice::new(&[5; 3 * 4096])], 0).unwrap();
    // File systems take no blocks back from behind a file's end.
    file.set_length(8 << 20).unwrap();
    file.punch(12_288, (8 << 20) - 12_288).unwrap();
    assert!(file.allocated().unwrap().contains(&(3 * 4096)), "{:?}", file.allocated());
    file.punch(4096, 4096).unwrap();
    let content = read(disk, "blocks", 0, 3 * 4096);
    assert!(content[..4096].iter().chain(&content[8192..]).all(|byte| *byte == 5));
    assert!(content[4096..8192].iter().all(|byte| *byte == 0));
    file.punch(100, 50).unwrap();
    let content = read(disk, "blocks", 0, 200);
    assert!((0..200).all(|at| content[at] == if (100..150).contains(&at) { 0 } else { 5 }));
    disk.remove("blocks").unwrap();
}
