//! What every `Disk` must do. The engine relies on exactly this; a new medium runs it before anything else.

use super::Disk;
use std::io::{IoSlice, IoSliceMut};

/// Runs the whole suite on an empty disk.
///
/// # Panics
/// Where the disk does not keep the contract.
pub fn run(disk: &dyn Disk) {
    names(disk);
    bytes(disk);
    lengths(disk);
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
    file.write_at(&[IoSlice::new(&[5; 3 * 4096])], 0).unwrap();
    file.punch(4096, 4096).unwrap();
    let content = read(disk, "blocks", 0, 3 * 4096);
    assert!(content[..4096].iter().chain(&content[8192..]).all(|byte| *byte == 5));
    assert!(content[4096..8192].iter().all(|byte| *byte == 0));
    file.punch(100, 50).unwrap();
    let content = read(disk, "blocks", 0, 200);
    assert!((0..200).all(|at| content[at] == if (100..150).contains(&at) { 0 } else { 5 }));
    disk.remove("blocks").unwrap();
}
