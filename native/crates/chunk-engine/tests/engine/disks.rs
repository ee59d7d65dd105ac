//! Both disks pass one suite; the faulty one also forgets, tears and fails as it says.

use chunk_engine::disk::{Crash, Fault, suite};
use chunk_engine::{DirectDisk, Disk, DiskFile, FileDisk, MemoryDisk};
use std::io::{IoSlice, IoSliceMut};

fn read(disk: &dyn Disk, name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let file = disk.open(name).unwrap().unwrap();
    let count = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
    bytes.truncate(count);
    bytes
}

fn write(file: &dyn DiskFile, bytes: &[u8], offset: u64) {
    file.write_at(&[IoSlice::new(bytes)], offset).unwrap();
}

#[test]
fn a_folder_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    suite::run(&FileDisk::open(folder.path()).unwrap());
}

/// Not where the tests' folder has no `O_DIRECT` or io_uring is forbidden; that is said.
#[test]
fn a_direct_folder_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    match DirectDisk::new(FileDisk::open(folder.path()).unwrap(), |_| true) {
        Ok(disk) => suite::run(&disk),
        Err((_, reason)) => eprintln!("SKIPPED: {} has no direct I/O: {reason}", folder.path().display()),
    }
}

#[test]
fn memory_passes_the_suite() {
    suite::run(&MemoryDisk::new(1 << 30));
}

#[test]
fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = FileDisk::open(folder.path()).unwrap();
    assert_eq!(FileDisk::open(folder.path()).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    FileDisk::open(folder.path()).unwrap();
}

#[test]
fn a_folder_refuses_names_that_leave_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(folder.path()).unwrap();
    for name in ["", "..", "../x", "a/b", "/etc/passwd", "lock", ".hidden"] {
        assert!(disk.create(name).is_err(), "{name:?}");
    }
}

#[test]
fn unflushed_writes_are_lost_torn_or_kept() {
    let disk = MemoryDisk::new(1 << 30);
    let file = disk.create("a").unwrap();
    disk.flush_names().unwrap();
    write(&*file, &[1; 4096], 0);
    file.flush().unwrap();
    write(&*file, &[2; 4096], 0);
    write(&*file, &[3; 100], 5000);
    assert_eq!(read(&disk.after(Crash::LoseAll), "a", 9000), [1; 4096]);
    assert_eq!(read(&disk.after(Crash::KeepAll), "a", 9000), read(&disk, "a", 9000));
    let (mut torn, mut reordered) = (0, 0);
    for seed in 0..200 {
        let content = read(&disk.after(Crash::Random(seed)), "a", 9000);
        let sectors: Vec<u8> = content[..4096].chunks(512).map(|sector| sector[0]).collect();
        assert!(content[..4096].chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        torn += i32::from(sectors.contains(&1) && sectors.contains(&2));
        reordered += i32::from(content.len() == 5100 && !sectors.contains(&2));
    }
    assert!(torn > 10 && reordered > 10, "{torn} torn, {reordered} reordered");
}

#[test]
fn unflushed_changes_survive_in_part() {
    let disk = MemoryDisk::new(1 << 30);
    let file = disk.create("a").unwrap();
    disk.flush_names().unwrap();
    (0..4).for_each(|block| write(&*file, &[block as u8 + 1; 4096], block * 4096));
    assert_eq!(disk.unflushed(), 4);
    let firsts = |crash: Crash| -> Vec<u8> {
        let content = read(&disk.after(crash), "a", 16_384);
        content.chunks(2048).map(|half| half[0]).collect()
    };
    assert_eq!(firsts(Crash::First(0)), [1]);
    assert_eq!(firsts(Crash::First(2)), [1, 1, 2, 2, 3]);
    assert_eq!(firsts(Crash::First(4)), [1, 1, 2, 2, 3, 3, 4, 4]);
    assert_eq!(firsts(Crash::AllBut(1)), [1, 1, 0, 0, 3, 3, 4, 4]);
    file.flush().unwrap();
    assert_eq!((disk.unflushed(), disk.medium_bytes()), (0, 16_384));
    write(&*file, &[9; 10], 4090);
    write(&*file, &[9; 10], 4092);
    disk.ignore_flushes("b");
    file.flush().unwrap();
    assert_eq!((disk.unflushed(), disk.medium_bytes()), (0, 16_384 + 8192), "each page once");
    disk.ignore_flushes("a");
    write(&*file, &[7; 10], 0);
    file.flush().unwrap();
    assert_eq!(disk.unflushed(), 1);
    assert_eq!(read(&disk.after(Crash::LoseAll), "a", 1), [1]);
}

#[test]
fn names_need_a_flush_too() {
    let disk = MemoryDisk::new(1 << 30);
    disk.create("a").unwrap().flush().unwrap();
    assert!(disk.after(Crash::LoseAll).list().unwrap().is_empty());
    disk.flush_names().unwrap();
    disk.remove("a").unwrap();
    assert_eq!(disk.after(Crash::LoseAll).list().unwrap(), ["a"]);
    disk.flush_names().unwrap();
    assert!(disk.after(Crash::LoseAll).list().unwrap().is_empty());
}

#[test]
fn the_nth_operation_fails() {
    let disk = MemoryDisk::new(1 << 30);
    let file = disk.create("a").unwrap();
    disk.flush_names().unwrap();
    disk.fail_at(2, Fault::Io);
    write(&*file, &[1; 10], 0);
    assert_eq!(file.flush().unwrap_err().raw_os_error(), Some(5));
    // As on Linux: the next flush succeeds, and the bytes are gone all the same.
    file.flush().unwrap();
    assert_eq!(read(&disk.after(Crash::LoseAll), "a", 10), []);
    disk.fail_at(1, Fault::NoSpace);
    assert_eq!(file.write_at(&[IoSlice::new(&[1])], 0).unwrap_err().raw_os_error(), Some(28));
    disk.fail_at(1, Fault::Short);
    assert_eq!(file.write_at(&[IoSlice::new(&[8; 100])], 0).unwrap_err().raw_os_error(), Some(28));
    assert_eq!(read(&disk, "a", 60), [vec![8; 50]].concat(), "half of it is there");
    disk.fail_at(1, Fault::PowerOff);
    assert!(file.flush().is_err() && file.flush().is_err() && disk.list().is_err());
}

#[test]
fn a_full_disk_says_so() {
    let disk = MemoryDisk::new(10 * 4096);
    let file = disk.create("a").unwrap();
    write(&*file, &[1; 9 * 4096], 0);
    assert_eq!(disk.space().unwrap().free, 4096);
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 8192])], 9 * 4096).unwrap_err().raw_os_error(), Some(28));
    write(&*file, &[2; 9 * 4096], 0);
    file.set_length(4096).unwrap();
    write(&*file, &[1; 8192], 20 * 4096);
}
