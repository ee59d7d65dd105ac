use super::*;
use crate::disk::{Crash, Disk, MemoryDisk};
use wire::message::{JournalCommit, JournalFlushed};

fn commit(number: u64) -> JournalRecord {
    let version = Some(wire::message::Version { chain: 1, number });
    JournalRecord { commit: Some(JournalCommit { chunk: None, version }), ..JournalRecord::default() }
}

fn later(journal: &Journal, number: u64) -> u64 {
    journal.append_later(&commit(number), &journal.showing())
}

fn read_to_the_end(disk: &MemoryDisk, first: u64) -> (Vec<ReadRecord>, bool) {
    let mut reader = JournalReader::new(disk.open(&name_of(1)).unwrap().unwrap(), first);
    let records = std::iter::from_fn(|| reader.next().unwrap()).collect();
    (records, reader.is_followed().unwrap())
}

fn read_all(disk: &MemoryDisk, first: u64) -> Vec<ReadRecord> {
    read_to_the_end(disk, first).0
}

#[test]
fn records_come_back_until_the_first_bad_one() {
    let disk = MemoryDisk::new(1 << 30);
    let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
    let data = vec![9u8; 4096];
    let mut ends = Vec::new();
    for number in 10..20 {
        assert_eq!(journal.append(&commit(number), &[IoSlice::new(&data)]).unwrap().0, number);
        ends.push(journal.bytes());
    }
    let flushed = JournalRecord { flushed: Some(JournalFlushed { number: 19 }), ..JournalRecord::default() };
    drop(journal.append(&flushed, &[]).unwrap());
    assert_eq!(journal.last_update(), 19);
    let records = read_all(&disk, 10);
    assert_eq!(records.len(), 11);
    assert!(records.iter().take(10).all(|read| read.record == commit(read.number) && read.data == data));
    assert!(read_all(&disk, 11).is_empty(), "a journal that begins with another record is not read");
    for (index, end) in ends.iter().enumerate() {
        let damaged = disk.after(Crash::KeepAll);
        assert!(damaged.flip_bit(&name_of(1), end - 1, 3));
        let (records, followed) = read_to_the_end(&damaged, 10);
        assert_eq!(records.len(), index, "the record with the flipped bit and all after it are cut");
        assert!(followed, "which shows by those");
    }
    let file = disk.open(&name_of(1)).unwrap().unwrap();
    for length in (0..journal.bytes()).rev().step_by(1000) {
        file.set_length(length).unwrap();
        assert!(!read_to_the_end(&disk, 10).1, "the last one is not whole, and nothing is behind it");
    }
}

#[test]
fn what_waits_is_written_before_the_next_record() {
    let disk = MemoryDisk::new(1 << 30);
    let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
    assert_eq!(later(&journal, 10), 10);
    assert_eq!(later(&journal, 11), 11);
    assert_eq!(journal.last_update(), 11);
    assert_eq!(read_all(&disk, 10).len(), 0, "the death of the process loses both");
    assert_eq!(journal.append(&commit(12), &[]).unwrap().0, 12);
    let numbers = |records: Vec<ReadRecord>| records.iter().map(|read| read.number).collect::<Vec<_>>();
    assert_eq!(numbers(read_all(&disk, 10)), [10, 11, 12]);
    assert_eq!(journal.bytes(), disk.open(&name_of(1)).unwrap().unwrap().length().unwrap());

    later(&journal, 13);
    let prepared = journal.prepare().unwrap();
    let rotation = journal.rotate(prepared);
    assert_eq!((rotation.journal, rotation.first_record), (2, 13), "what waits goes to the next file");
    assert_eq!(journal.append(&commit(14), &[]).unwrap().0, 14);
    later(&journal, 15);
    journal.flush().unwrap();
    assert_eq!(numbers(read_all(&disk, 10)), [10, 11, 12]);
    let mut reader = JournalReader::new(disk.open(&name_of(2)).unwrap().unwrap(), 13);
    let second = std::iter::from_fn(|| reader.next().unwrap()).collect();
    assert_eq!(numbers(second), [13, 14, 15]);
    assert_eq!(journal.bytes(), disk.open(&name_of(2)).unwrap().unwrap().length().unwrap());
}

/// What happens while a file is written to.
type Meanwhile = Mutex<Option<Box<dyn FnOnce() -> std::io::Result<()> + Send>>>;

struct Interrupted {
    file: Arc<dyn DiskFile>,
    meanwhile: Arc<Meanwhile>,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(formatter)
    }
}

impl DiskFile for Interrupted {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(parts, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> std::io::Result<()> {
        let meanwhile = self.meanwhile.lock().take();
        meanwhile.map_or(Ok(()), |happens| happens())?;
        self.file.write_at(parts, offset)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.file.flush()
    }
    fn allocate(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.file.allocate(offset, length)
    }
    fn punch(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.file.punch(offset, length)
    }
    fn set_length(&self, length: u64) -> std::io::Result<()> {
        self.file.set_length(length)
    }
    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }
    fn allocated(&self) -> std::io::Result<std::ops::RangeInclusive<u64>> {
        self.file.allocated()
    }
}

/// A journal, and what happens at its next write.
fn interrupted(disk: &MemoryDisk) -> (Arc<Journal>, Arc<Meanwhile>) {
    let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
    let meanwhile: Arc<Meanwhile> = Arc::default();
    let mut tail = journal.tail.lock();
    tail.file = Arc::new(Interrupted { file: tail.file.clone(), meanwhile: meanwhile.clone() });
    drop(tail);
    (Arc::new(journal), meanwhile)
}

fn full() -> std::io::Error {
    std::io::Error::from_raw_os_error(28)
}

#[test]
fn a_record_that_waits_is_numbered_while_another_is_written_and_while_a_switch_waits_for_that() {
    let disk = MemoryDisk::new(1 << 30);
    let (journal, meanwhile) = interrupted(&disk);
    let (other, switching) = (journal.clone(), journal.clone());
    let (send, switched) = std::sync::mpsc::channel();
    *meanwhile.lock() = Some(Box::new(move || {
        std::thread::spawn(move || {
            let prepared = switching.volume.create(&name_of(2)).unwrap();
            send.send(switching.rotate(Some(prepared)).first_record).unwrap();
        });
        assert_eq!(later(&other, 11), 11);
        assert!(other.last_update() == 11 && other.bytes() > 0);
        Ok(())
    }));
    let written = journal.append(&commit(10), &[]).unwrap();
    assert!(switched.try_recv().is_err(), "its effect does not show yet");
    drop(written);
    assert_eq!(later(&journal, 12), 12);
    assert_eq!(switched.recv(), Ok(11));
    journal.flush().unwrap();
    assert_eq!(read_all(&disk, 10).len(), 1);
    let mut reader = JournalReader::new(disk.open(&name_of(2)).unwrap().unwrap(), 11);
    let second = std::iter::from_fn(|| reader.next().unwrap().map(|read| read.record));
    assert_eq!(second.collect::<Vec<_>>(), [11, 12].map(commit));
}

#[test]
fn a_record_that_a_full_disk_refused_is_never_read_back_whoever_was_numbered_meanwhile() {
    let said = |disk: &MemoryDisk| -> Vec<JournalRecord> {
        read_all(disk, 10).into_iter().map(|read| read.record).collect()
    };
    let disk = MemoryDisk::new(1 << 30);
    let (journal, meanwhile) = interrupted(&disk);
    later(&journal, 10);
    *meanwhile.lock() = Some(Box::new(|| Err(full())));
    journal.append(&commit(666), &[]).unwrap_err();
    let bytes = journal.bytes();
    assert_eq!(later(&journal, 11), 11, "the number is free again");
    assert!(journal.bytes() > bytes);
    let other = journal.clone();
    *meanwhile.lock() = Some(Box::new(move || {
        assert_eq!(later(&other, 13), 13);
        Err(full())
    }));
    journal.append(&commit(666), &[]).unwrap_err();
    let other = journal.clone();
    *meanwhile.lock() = Some(Box::new(move || {
        assert_eq!(later(&other, 14), 14);
        Err(full())
    }));
    journal.flush().unwrap_err();
    assert_eq!(said(&disk).len(), 0);
    assert_eq!(journal.append(&commit(15), &[]).unwrap().0, 15);
    let nothing = JournalRecord::default();
    assert_eq!(said(&disk), [commit(10), commit(11), nothing, commit(13), commit(14), commit(15)]);
    assert_eq!(journal.bytes(), disk.open(&name_of(1)).unwrap().unwrap().length().unwrap());
}

#[test]
fn a_journal_that_goes_on_keeps_what_came_since_it_was_found_empty() {
    let disk = MemoryDisk::new(1 << 30);
    let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
    let prepared = journal.prepare().unwrap();
    assert!(prepared.is_none());
    drop(journal.append(&commit(10), &[]).unwrap());
    let rotation = journal.rotate(prepared);
    assert_eq!((rotation.journal, rotation.first_record), (1, 10), "else it would not be read again");
}

#[test]
fn a_record_has_these_bytes() {
    let message = commit(7).encode_to_vec();
    assert_eq!(message, [0x12, 6, 0x12, 4, 8, 1, 16, 7]);
    let head = head(5, &message, 3, 0x0102_0304);
    assert_eq!(&head[..4], b"CEJ1");
    assert_eq!(head[4..28], [1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 4, 3, 2, 1]);
}
