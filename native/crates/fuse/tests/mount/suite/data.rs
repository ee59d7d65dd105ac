//! Bytes of files.

use super::{Numbers, refused};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

fn read_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
}

/// Writes and truncations at random places, compared with the same done in memory, also after opening again.
pub fn random_writes_read_back(root: &Path) {
    let path = root.join("file");
    let mut file = read_write().open(&path).expect("it opens");
    let (mut model, mut numbers) = (Vec::new(), Numbers(0x9e37_79b9_7f4a_7c15));
    for step in 0..300 {
        if step % 50 == 49 {
            let length = numbers.next(3 << 20) as usize;
            file.set_len(length as u64).expect("it is truncated");
            model.resize(length, 0);
        } else {
            let size = [1, 100, 4096, 5000, 130_000][numbers.next(5) as usize];
            let bytes = numbers.bytes(size);
            let at = numbers.next(3 << 20) as usize;
            file.write_all_at(&bytes, at as u64).expect("it is written");
            model.resize(model.len().max(at + size), 0);
            model[at..at + size].copy_from_slice(&bytes);
        }
        if step % 60 == 59 {
            file = read_write().open(&path).expect("it opens");
        }
        let at = numbers.next(model.len() as u64) as usize;
        let mut buffer = vec![0; (model.len() - at).min(200_000)];
        file.read_exact_at(&mut buffer, at as u64).expect("it reads");
        assert!(buffer == model[at..at + buffer.len()], "step {step}, offset {at}");
    }
    assert_eq!(file.metadata().expect("it has attributes").len(), model.len() as u64);
    assert!(fs::read(&path).expect("it reads") == model);
}

pub fn a_large_file_reads_back(root: &Path) {
    let bytes = Numbers(7).bytes(10 << 20);
    fs::write(root.join("large"), &bytes).expect("it is written");
    fs::copy(root.join("large"), root.join("copy")).expect("it is copied");
    // Not from the page cache: the bytes of the file system itself.
    fs::write("/proc/sys/vm/drop_caches", "1").expect("dropping the page cache needs root");
    assert!(fs::read(root.join("large")).expect("it reads") == bytes);
    assert!(fs::read(root.join("copy")).expect("it reads") == bytes);
}

pub fn shrunk_then_grown_reads_zeros(root: &Path) {
    let path = root.join("file");
    fs::write(&path, vec![b'x'; 300_000]).expect("it is written");
    let file = read_write().open(&path).expect("it opens");
    file.set_len(100).expect("it shrinks");
    file.set_len(200_000).expect("it grows");
    let content = fs::read(&path).expect("it reads");
    assert_eq!(content.len(), 200_000);
    assert!(content[..100].iter().all(|&byte| byte == b'x'));
    assert!(content[100..].iter().all(|&byte| byte == 0), "old bytes came back");
}

pub fn append_goes_to_the_end(root: &Path) {
    let path = root.join("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path).expect("it opens");
    let (mut first, mut second) = (open(), open());
    for round in 0..50 {
        writeln!(first, "first {round}").expect("it is appended");
        writeln!(second, "second {round}").expect("it is appended");
    }
    let expected: String = (0..50).map(|round| format!("first {round}\nsecond {round}\n")).collect();
    assert_eq!(fs::read_to_string(&path).expect("it reads"), expected);
}

pub fn open_truncates(root: &Path) {
    let path = root.join("file");
    fs::write(&path, b"something long").expect("it is written");
    let held = File::open(&path).expect("it opens");
    fs::write(&path, b"new").expect("it is written");
    assert_eq!(fs::read(&path).expect("it reads"), b"new");
    assert_eq!(held.metadata().expect("it has attributes").len(), 3);
    let mut text = String::new();
    (&held).read_to_string(&mut text).expect("it reads");
    assert_eq!(text, "new");
}

pub fn holes_read_as_zeros(root: &Path) {
    let path = root.join("sparse");
    let mut file = read_write().open(&path).expect("it opens");
    file.seek(SeekFrom::Start(40 << 20)).expect("it seeks");
    file.write_all(b"end").expect("it is written");
    let mut buffer = [1; 8192];
    file.read_exact_at(&mut buffer, 17 << 20).expect("it reads");
    assert_eq!(buffer, [0; 8192]);
    assert_eq!(file.read_at(&mut buffer, (40 << 20) + 1).expect("it reads"), 2);
    assert_eq!(file.read_at(&mut buffer, (40 << 20) + 3).expect("it reads"), 0);
}

pub fn direct_and_cached_io_agree(root: &Path) {
    let path = root.join("file");
    let bytes = Numbers(11).bytes(1 << 20);
    fs::write(&path, &bytes).expect("it is written");
    let direct =
        read_write().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&path).expect("it opens");
    // O_DIRECT wants aligned memory: a piece of a larger buffer.
    let mut memory = vec![0u8; 8192 + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let page = &mut memory[start..start + 8192];
    direct.read_exact_at(page, 65536).expect("it reads");
    assert!(page == &bytes[65536..65536 + 8192]);
    page.fill(b'D');
    direct.write_all_at(page, 8192).expect("it is written");
    direct.write_all_at(page, 1 << 20).expect("it is extended");
    let mut expected = bytes;
    expected[8192..16384].fill(b'D');
    expected.resize((1 << 20) + 8192, b'D');
    assert!(fs::read(&path).expect("it reads") == expected, "cached reads see direct writes");
}

/// What it says it did, it did.
pub fn fallocate_is_honest(root: &Path) {
    let path = root.join("file");
    fs::write(&path, vec![b'x'; 10_000]).expect("it is written");
    let file = read_write().open(&path).expect("it opens");
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 50_000) {
        Ok(()) => assert_eq!(file.metadata().expect("it has attributes").len(), 50_000),
        Err(errno) => assert_eq!(errno, Errno::OPNOTSUPP),
    }
    let length = file.metadata().expect("it has attributes").len();
    match rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 1000, 5000) {
        Ok(()) => {
            let content = fs::read(&path).expect("it reads");
            assert!(content[..1000].iter().all(|&byte| byte == b'x'));
            assert!(content[1000..6000].iter().all(|&byte| byte == 0));
            assert!(content[6000..10_000].iter().all(|&byte| byte == b'x'));
        }
        Err(errno) => {
            assert_eq!(errno, Errno::OPNOTSUPP);
            assert!(fs::read(&path).expect("it reads")[..10_000].iter().all(|&byte| byte == b'x'));
        }
    }
    assert_eq!(file.metadata().expect("it has attributes").len(), length);
    refused(
        rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).map_err(std::io::Error::from),
        Errno::OPNOTSUPP,
    );
}

pub fn sync_succeeds(root: &Path) {
    let mut file = File::create(root.join("file")).expect("it is created");
    file.write_all(b"durable").expect("it is written");
    file.sync_all().expect("fsync");
    file.sync_data().expect("fdatasync");
    File::open(root).expect("a directory opens").sync_all().expect("fsync of a directory");
}
