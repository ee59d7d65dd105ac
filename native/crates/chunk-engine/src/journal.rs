//! The journal: numbered, checksummed records in files that are replaced at checkpoints. A record is a
//! 32-byte head, a protobuf message, and the bytes of journaled blocks. Reading stops at the first bad
//! record. It never decides anything: what a record means is said in `open.rs`.

use crate::checksum::{checksum, combine};
use crate::disk::DiskFile;
use crate::museum::{Planted, planted};
use crate::volume::Volume;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
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
/// Bytes read at once on opening.
const READ_BYTES: usize = 128 << 10;

pub(crate) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

pub(crate) fn parse(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// The file that is written to. Its lock is held across the disk's writes.
#[derive(Debug)]
struct Tail {
    file: Arc<dyn DiskFile>,
    number: u64,
    /// Where the next bytes go.
    offset: u64,
    /// The first record of this file.
    first_record: u64,
    /// Records that waited and are being written; empty between writes.
    carried: Vec<u8>,
    /// Files that a flush must cover: earlier ones until their first flush after the rotation, and the
    /// current one.
    unflushed: Vec<Arc<dyn DiskFile>>,
}

/// Who comes next. Its lock is held for moments only, never while the disk works.
#[derive(Debug)]
struct Numbers {
    next_record: u64,
    /// The last record that says something about a chunk or a client.
    last_update: u64,
    /// The newest records, which go out with the next one; they have their numbers. Bounded by who commits: each
    /// of them commits a version whose own record took everything along that waited before.
    waiting: Vec<u8>,
    waiting_records: u64,
    /// Bytes of the current file.
    written: u64,
}

impl Numbers {
    /// What waits goes out now; how many records these are.
    fn hand_over(&mut self, carried: &mut Vec<u8>) -> u64 {
        std::mem::swap(&mut self.waiting, carried);
        std::mem::take(&mut self.waiting_records)
    }

    /// What could not be written waits again, before what came meanwhile. A record that was refused must never be
    /// read back; its number is free again, or, if a later one is given out already, that of a record which says
    /// nothing.
    fn take_back(&mut self, carried: &mut Vec<u8>, records: u64, refused: Option<u64>) {
        self.waiting_records += records;
        if let Some(number) = refused {
            if self.next_record == number + 1 {
                self.next_record = number;
            } else {
                carried.extend(head(number, &[], 0, checksum(&[])));
                self.waiting_records += 1;
            }
        }
        carried.append(&mut self.waiting);
        std::mem::swap(&mut self.waiting, carried);
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    volume: Arc<Volume>,
    tail: Mutex<Tail>,
    /// Held (shared) from the number of a record until its effect shows in memory; whoever switches files holds
    /// it alone.
    showing: RwLock<()>,
    numbers: Mutex<Numbers>,
}

/// As long as it lives the journal does not switch files: the effect of a record must show in memory by then.
/// Whoever has it waits neither for the disk nor for another one.
pub(crate) type Showing<'a> = RwLockReadGuard<'a, ()>;

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
        let unflushed = vec![file.clone()];
        let tail =
            Tail { file, number, offset: 0, first_record: next_record, carried: Vec::new(), unflushed };
        let last_update = next_record - 1;
        let numbers =
            Numbers { next_record, last_update, waiting: Vec::new(), waiting_records: 0, written: 0 };
        let (tail, numbers) = (Mutex::new(tail), Mutex::new(numbers));
        Ok(Journal { volume, tail, showing: RwLock::new(()), numbers })
    }

    /// Appends one record; it survives the process when this returns. Gives its number.
    pub fn append(&self, record: &JournalRecord, data: &[IoSlice<'_>]) -> Result<(u64, Showing<'_>)> {
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
        let (number, records) = {
            let mut numbers = self.numbers.lock();
            let records = match planted(Planted::WaitingLeftBehind) {
                true => 0,
                false => numbers.hand_over(&mut tail.carried),
            };
            numbers.next_record += 1;
            (numbers.next_record - 1, records)
        };
        let head = head(number, &message, data_bytes, crc);
        parts.extend([IoSlice::new(&tail.carried), IoSlice::new(&head), IoSlice::new(&message)]);
        parts.extend_from_slice(data);
        let written = self.volume.write(&*tail.file, &parts, tail.offset, "the journal");
        drop(parts);
        if let Err(error) = written {
            self.numbers.lock().take_back(&mut tail.carried, records, Some(number));
            return Err(error);
        }
        tail.offset += (tail.carried.len() + HEAD_BYTES + message.len() + data_bytes) as u64;
        tail.carried.clear();
        let mut numbers = self.numbers.lock();
        numbers.written = tail.offset;
        if record.flushed.is_none() {
            numbers.last_update = numbers.last_update.max(number);
        }
        drop(numbers);
        // Before the file can be switched.
        Ok((number, self.showing.read()))
    }

    pub fn showing(&self) -> Showing<'_> {
        self.showing.read()
    }

    /// Numbers a record that is written with the next one, or the next flush: the death of the process may
    /// lose it, but never a later one without it. Never waits for the disk, nor for whoever does.
    pub fn append_later(&self, record: &JournalRecord, _showing: &Showing<'_>) -> u64 {
        let message = record.encode_to_vec();
        let mut numbers = self.numbers.lock();
        let number = numbers.next_record;
        numbers.waiting.extend(head(number, &message, 0, checksum(&message)));
        numbers.waiting.extend(message);
        numbers.waiting_records += 1;
        numbers.next_record += 1;
        numbers.last_update = number;
        number
    }

    fn write_waiting(&self, tail: &mut Tail) -> Result<()> {
        let records = self.numbers.lock().hand_over(&mut tail.carried);
        if records == 0 {
            return Ok(());
        }
        let parts = [IoSlice::new(&tail.carried)];
        if let Err(error) = self.volume.write(&*tail.file, &parts, tail.offset, "the journal") {
            self.numbers.lock().take_back(&mut tail.carried, records, None);
            return Err(error);
        }
        tail.offset += tail.carried.len() as u64;
        tail.carried.clear();
        self.numbers.lock().written = tail.offset;
        Ok(())
    }

    pub fn last_update(&self) -> u64 {
        self.numbers.lock().last_update
    }

    pub fn bytes(&self) -> u64 {
        let numbers = self.numbers.lock();
        numbers.written + numbers.waiting.len() as u64
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
            if self.numbers.lock().next_record == tail.first_record {
                return Ok(None);
            }
            tail.number + 1
        };
        self.volume.create(&name_of(number)).map(Some)
    }

    /// Following records go to the prepared file, and those that wait: theirs are the only effects of its records
    /// that show in memory already. Without one the current file goes on, with what came since `prepare` found it
    /// empty.
    pub fn rotate(&self, prepared: Option<Arc<dyn DiskFile>>) -> Rotation {
        let mut tail = self.tail.lock();
        let _quiet = self.showing.write();
        let mut numbers = self.numbers.lock();
        if let Some(file) = prepared {
            tail.unflushed.push(file.clone());
            (tail.file, tail.number, tail.offset) = (file, tail.number + 1, 0);
            tail.first_record = numbers.next_record - numbers.waiting_records;
            numbers.written = 0;
        }
        Rotation { journal: tail.number, first_record: tail.first_record }
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
mod tests;
