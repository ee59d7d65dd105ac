//! The journal: numbered, checksummed records in files that are replaced at checkpoints. A record is a
//! 32-byte head, a protobuf message, and the bytes of journaled blocks. Reading stops at the first bad
//! record. It never decides anything: what a record means is said in `open.rs`.

use crate::checksum::{checksum, combine};
use crate::disk::DiskFile;
use crate::museum::{Planted, planted};
use crate::volume::Volume;
use parking_lot::Mutex;
use prost::Message;
use std::io::{IoSlice, IoSliceMut};
use std::ops::RangeInclusive;
use std::sync::Arc;
use wire::Result;
use wire::message::JournalRecord;

const PREFIX: &str = "journal-";
const HEAD_BYTES: usize = 32;
const MAGIC: u32 = 0x314a_4543;
/// The format of the head; the message inside can grow by fields.
const FORMAT: u32 = 1;
/// Longest message of a record: a stage of a 64 MiB chunk has 16,384 checksums of 4 bytes; pages of channels
/// are cut below it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest data of a record: 64 KiB of overwritten bytes touch 17 blocks, and one tail block.
const DATA_BYTES_MAX: usize = 18 * 4096;
/// Records that wait for the next one are written at the latest when they are this long: some seventy
/// commits.
const WAITING_BYTES_MAX: usize = 4096;
/// Bytes read at once on opening.
const READ_BYTES: usize = 128 << 10;

pub(crate) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

pub(crate) fn parse(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

#[derive(Debug)]
struct Tail {
    file: Arc<dyn DiskFile>,
    number: u64,
    /// Where the next bytes go.
    offset: u64,
    /// Records that go out with the next one; they have their numbers.
    waiting: Vec<u8>,
    /// The first record of this file.
    first_record: u64,
    next_record: u64,
    /// The last record that says something about a chunk or a client.
    last_update: u64,
    /// Files that a flush must cover: earlier ones until their first flush after the rotation, and the
    /// current one.
    unflushed: Vec<Arc<dyn DiskFile>>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    volume: Arc<Volume>,
    tail: Mutex<Tail>,
}

/// Which journal began, and with which record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    pub journal: u64,
    pub first_record: u64,
}

fn head(number: u64, message: &[u8], data_bytes: usize, body_crc: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    head[16..20].copy_from_slice(&(message.len() as u32).to_le_bytes());
    head[20..24].copy_from_slice(&(data_bytes as u32).to_le_bytes());
    head[24..28].copy_from_slice(&body_crc.to_le_bytes());
    let crc = checksum(&head[..28]);
    head[28..32].copy_from_slice(&crc.to_le_bytes());
    head
}

impl Journal {
    /// Starts journal `number` in a new file; its first record will be `next_record`.
    pub fn start(volume: Arc<Volume>, number: u64, next_record: u64) -> Result<Journal> {
        let file = volume.create(&name_of(number))?;
        let last_update = next_record - 1;
        let unflushed = vec![file.clone()];
        let (waiting, first_record) = (Vec::new(), next_record);
        let tail =
            Tail { file, number, offset: 0, waiting, first_record, next_record, last_update, unflushed };
        Ok(Journal { volume, tail: Mutex::new(tail) })
    }

    /// Appends one record; it survives the process when this returns. Gives its number.
    pub fn append(&self, record: &JournalRecord, data: &[IoSlice<'_>]) -> Result<u64> {
        let message = record.encode_to_vec();
        let data_bytes = data.iter().map(|part| part.len()).sum::<usize>();
        assert!(
            message.len() <= MESSAGE_BYTES_MAX && data_bytes <= DATA_BYTES_MAX,
            "a journal record is too long"
        );
        let mut crc = checksum(&message);
        for part in data {
            crc = combine(crc, checksum(part), part.len());
        }
        let mut parts = Vec::with_capacity(data.len() + 3);
        let mut tail = self.tail.lock();
        let number = tail.next_record;
        let head = head(number, &message, data_bytes, crc);
        let carried = if planted(Planted::WaitingLeftBehind) { 0 } else { tail.waiting.len() };
        parts.extend([IoSlice::new(&tail.waiting[..carried]), IoSlice::new(&head), IoSlice::new(&message)]);
        parts.extend_from_slice(data);
        self.volume.write(&*tail.file, &parts, tail.offset, "the journal")?;
        tail.offset += (carried + HEAD_BYTES + message.len() + data_bytes) as u64;
        tail.waiting.drain(..carried);
        tail.next_record += 1;
        if record.flushed.is_none() {
            tail.last_update = number;
        }
        Ok(number)
    }

    /// Numbers a record that is written with the next one, or the next flush: the death of the process may
    /// lose it, but never a later one without it.
    pub fn append_later(&self, record: &JournalRecord) -> Result<u64> {
        let message = record.encode_to_vec();
        let mut tail = self.tail.lock();
        // Before this record is among them: a full disk refuses it, and then it must never be read back.
        if tail.waiting.len() + HEAD_BYTES + message.len() > WAITING_BYTES_MAX {
            self.write_waiting(&mut tail)?;
        }
        let number = tail.next_record;
        tail.waiting.extend(head(number, &message, 0, checksum(&message)));
        tail.waiting.extend(message);
        tail.next_record += 1;
        tail.last_update = number;
        Ok(number)
    }

    fn write_waiting(&self, tail: &mut Tail) -> Result<()> {
        if !tail.waiting.is_empty() {
            self.volume.write(&*tail.file, &[IoSlice::new(&tail.waiting)], tail.offset, "the journal")?;
            tail.offset += tail.waiting.len() as u64;
            tail.waiting.clear();
        }
        Ok(())
    }

    pub fn last_update(&self) -> u64 {
        self.tail.lock().last_update
    }

    pub fn bytes(&self) -> u64 {
        let tail = self.tail.lock();
        tail.offset + tail.waiting.len() as u64
    }

    /// Puts every file that may hold unflushed records on the medium.
    pub fn flush(&self) -> Result<()> {
        let (files, current) = {
            let mut tail = self.tail.lock();
            self.write_waiting(&mut tail)?;
            (tail.unflushed.clone(), tail.file.clone())
        };
        for file in &files {
            self.volume.flush(&**file, "the flush of the journal")?;
        }
        // Only files that were closed before this began are done with: the current one may have grown since,
        // and may even have been closed since.
        let done = |file: &Arc<dyn DiskFile>| {
            !Arc::ptr_eq(file, &current) && files.iter().any(|flushed| Arc::ptr_eq(file, flushed))
        };
        self.tail.lock().unflushed.retain(|file| !done(file));
        Ok(())
    }

    /// Makes the file that `rotate` will switch to; `None` if the current one is still empty. Only the
    /// checkpoint calls it.
    pub fn prepare(&self) -> Result<Option<Arc<dyn DiskFile>>> {
        let number = {
            let tail = self.tail.lock();
            if tail.next_record == tail.first_record {
                return Ok(None);
            }
            tail.number + 1
        };
        self.volume.create(&name_of(number)).map(Some)
    }

    /// Following records go to the prepared file. No append may be without its effect in memory meanwhile.
    /// Without one the current file goes on, with what came since `prepare` found it empty.
    pub fn rotate(&self, prepared: Option<Arc<dyn DiskFile>>) -> Result<Rotation> {
        let mut tail = self.tail.lock();
        if let Some(file) = prepared {
            self.write_waiting(&mut tail)?;
            tail.unflushed.push(file.clone());
            (tail.file, tail.number, tail.offset) = (file, tail.number + 1, 0);
            tail.first_record = tail.next_record;
        }
        Ok(Rotation { journal: tail.number, first_record: tail.first_record })
    }

    /// Removes the files before `journal`.
    pub fn remove_before(&self, journal: u64) -> Result<()> {
        for name in self.volume.list()? {
            if parse(&name).is_some_and(|number| number < journal) {
                self.volume.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// One record as read back.
#[derive(Debug)]
pub(crate) struct ReadRecord {
    pub number: u64,
    pub record: JournalRecord,
    pub data: Vec<u8>,
}

/// Reads one journal file from its start. `next` ends at the first record that is not whole, or not the
/// expected number.
#[derive(Debug)]
pub(crate) struct JournalReader {
    file: Arc<dyn DiskFile>,
    offset: u64,
    buffer: Vec<u8>,
    position: usize,
    next_record: u64,
}

impl JournalReader {
    pub fn new(file: Arc<dyn DiskFile>, next_record: u64) -> JournalReader {
        JournalReader { file, offset: 0, buffer: Vec::new(), position: 0, next_record }
    }

    /// The number that the next record must have.
    pub fn next_record(&self) -> u64 {
        self.next_record
    }

    pub fn next(&mut self) -> std::io::Result<Option<ReadRecord>> {
        let expected = self.next_record;
        let mut read = self.record_of(expected..=expected)?;
        while read.is_none() && planted(Planted::ReplayBehindTorn) && self.peek(HEAD_BYTES)?.is_some() {
            self.position += 1;
            read = self.record_of(expected..=u64::MAX)?;
        }
        self.next_record = read.as_ref().map_or(expected, |read| read.number + 1);
        Ok(read)
    }

    /// Where `next` found no more: whether a later record stands whole behind that. The death of a process leaves
    /// none, since records are written one after another: the medium lost what a later one was written after, or
    /// the power went while it was on its way there.
    pub fn is_followed(&mut self) -> std::io::Result<bool> {
        while self.peek(HEAD_BYTES)?.is_some() {
            if self.record_of(self.next_record + 1..=u64::MAX)?.is_some() {
                return Ok(!planted(Planted::EndUnquestioned));
            }
            self.position += 1;
        }
        Ok(false)
    }

    /// The record that begins here, if it is whole and has one of these numbers.
    fn record_of(&mut self, numbers: RangeInclusive<u64>) -> std::io::Result<Option<ReadRecord>> {
        let Some(head) = self.peek(HEAD_BYTES)? else { return Ok(None) };
        let field = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let number = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
        let (message_bytes, data_bytes) = (field(16) as usize, field(20) as usize);
        let whole = field(0) == MAGIC
            && field(4) == FORMAT
            && field(28) == checksum(&head[..28])
            && numbers.contains(&number)
            && message_bytes <= MESSAGE_BYTES_MAX
            && data_bytes <= DATA_BYTES_MAX;
        let body_crc = field(24);
        if !whole {
            return Ok(None);
        }
        let length = HEAD_BYTES + message_bytes + data_bytes;
        let Some(bytes) = self.peek(length)? else { return Ok(None) };
        if checksum(&bytes[HEAD_BYTES..]) != body_crc && !planted(Planted::RecordUnchecked) {
            return Ok(None);
        }
        let Ok(record) = JournalRecord::decode(&bytes[HEAD_BYTES..HEAD_BYTES + message_bytes]) else {
            return Ok(None);
        };
        let data = bytes[HEAD_BYTES + message_bytes..].to_vec();
        self.position += length;
        Ok(Some(ReadRecord { number, record, data }))
    }

    /// The next `length` bytes, or `None` if the file ends before.
    fn peek(&mut self, length: usize) -> std::io::Result<Option<&[u8]>> {
        while self.buffer.len() - self.position < length {
            self.buffer.drain(..self.position);
            self.position = 0;
            let have = self.buffer.len();
            self.buffer.resize(have + READ_BYTES, 0);
            let count = self.file.read_at(&mut [IoSliceMut::new(&mut self.buffer[have..])], self.offset)?;
            self.buffer.truncate(have + count);
            self.offset += count as u64;
            if count == 0 {
                return Ok(None);
            }
        }
        Ok(Some(&self.buffer[self.position..self.position + length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Crash, Disk, MemoryDisk};
    use wire::message::{JournalCommit, JournalFlushed};

    fn commit(number: u64) -> JournalRecord {
        let version = Some(wire::message::Version { chain: 1, number });
        JournalRecord { commit: Some(JournalCommit { chunk: None, version }), ..JournalRecord::default() }
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
            assert_eq!(journal.append(&commit(number), &[IoSlice::new(&data)]).unwrap(), number);
            ends.push(journal.bytes());
        }
        let flushed =
            JournalRecord { flushed: Some(JournalFlushed { number: 19 }), ..JournalRecord::default() };
        journal.append(&flushed, &[]).unwrap();
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
        assert_eq!(journal.append_later(&commit(10)).unwrap(), 10);
        assert_eq!(journal.append_later(&commit(11)).unwrap(), 11);
        assert_eq!(journal.last_update(), 11);
        assert_eq!(read_all(&disk, 10).len(), 0, "the death of the process loses both");
        assert_eq!(journal.append(&commit(12), &[]).unwrap(), 12);
        let numbers = |records: Vec<ReadRecord>| records.iter().map(|read| read.number).collect::<Vec<_>>();
        assert_eq!(numbers(read_all(&disk, 10)), [10, 11, 12]);
        assert_eq!(journal.bytes(), disk.open(&name_of(1)).unwrap().unwrap().length().unwrap());

        journal.append_later(&commit(13)).unwrap();
        let prepared = journal.prepare().unwrap();
        let rotation = journal.rotate(prepared).unwrap();
        assert_eq!((rotation.journal, rotation.first_record), (2, 14));
        assert_eq!(numbers(read_all(&disk, 10)), [10, 11, 12, 13]);

        for number in 14.. {
            journal.append_later(&commit(number)).unwrap();
            let mut reader = JournalReader::new(disk.open(&name_of(2)).unwrap().unwrap(), 14);
            if reader.next().unwrap().is_some() {
                assert!((100..200).contains(&number), "they wait for {number} records");
                break;
            }
        }
    }

    #[test]
    fn a_waiting_record_that_a_full_disk_refused_is_never_read_back() {
        let disk = MemoryDisk::new(1 << 30);
        let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
        disk.fail_at(1, crate::disk::Fault::NoSpace);
        let refused = (10..).find(|number| journal.append_later(&commit(*number)).is_err()).unwrap();
        assert!((100..200).contains(&refused), "they wait for {refused} records");
        disk.heal();
        assert_eq!(journal.append(&commit(1000), &[]).unwrap(), refused, "the number is free again");
        let said: Vec<JournalRecord> = read_all(&disk, 10).into_iter().map(|read| read.record).collect();
        assert_eq!(said, (10..refused).chain([1000]).map(commit).collect::<Vec<_>>());
    }

    #[test]
    fn a_journal_that_goes_on_keeps_what_came_since_it_was_found_empty() {
        let disk = MemoryDisk::new(1 << 30);
        let journal = Journal::start(Arc::new(Volume::new(Arc::new(disk.clone()))), 1, 10).unwrap();
        let prepared = journal.prepare().unwrap();
        assert!(prepared.is_none());
        journal.append(&commit(10), &[]).unwrap();
        let rotation = journal.rotate(prepared).unwrap();
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
}
