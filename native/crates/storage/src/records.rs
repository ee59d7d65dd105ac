//! Small stored records: a file each, a checksum and a protobuf message. Old or new after a crash, never
//! torn.

use prost::Message;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use wire::{Code, Error, Result};

/// `None` if there is no such file.
///
/// # Errors
/// `Corrupt` if it is not what was written.
pub fn read<M: Message + Default>(path: &Path) -> Result<Option<M>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::new(Code::Io, format!("read {}: {error}", path.display()))),
    };
    let corrupt = || Error::new(Code::Corrupt, format!("{} is damaged", path.display()));
    let (crc, message) = bytes.split_first_chunk::<4>().ok_or_else(corrupt)?;
    if crc32c::crc32c(message) != u32::from_le_bytes(*crc) {
        return Err(corrupt());
    }
    M::decode(message).map(Some).map_err(|_| corrupt())
}

/// Beside each record: a block that is given up when a full disk has none for the record's next version. The old
/// version's block takes its place.
const SPARE: &str = "spare";
const SPARE_BYTES: u64 = 4096;

/// On the medium when it returns, also on a full disk: without its records a server could not start, and so let go
/// of nothing.
pub fn write<M: Message>(path: &Path, record: &M) -> Result<()> {
    let message = record.encode_to_vec();
    with_spare(&path.with_file_name(SPARE), || write_once(path, &message))
        .map_err(|error| Error::new(Code::Io, format!("write {}: {error}", path.display())))
}

/// Gives the spare up where it is full, once; whatever was written leaves one behind.
fn with_spare(spare: &Path, mut write: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    match write() {
        Err(error) if error.kind() == ErrorKind::StorageFull && std::fs::remove_file(spare).is_ok() => {
            write()?
        }
        written => written?,
    }
    keep_spare(spare);
    Ok(())
}

fn write_once(path: &Path, message: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&crc32c::crc32c(message).to_le_bytes())?;
    file.write_all(message)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Without one the next record may find no room: no reason to refuse this one.
fn keep_spare(spare: &Path) {
    if spare.exists() {
        return;
    }
    let kept = File::create(spare).and_then(|file| {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SPARE_BYTES)?;
        Ok(())
    });
    if kept.is_err() {
        let _ = std::fs::remove_file(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::StorageTargetRecord;

    #[test]
    fn beside_a_record_lies_the_room_for_its_next_version() {
        let folder = tempfile::tempdir().unwrap();
        let spare = folder.path().join(SPARE);
        for _ in 0..2 {
            write(&folder.path().join("record"), &StorageTargetRecord::default()).unwrap();
            assert_eq!(std::fs::metadata(&spare).unwrap().len(), SPARE_BYTES);
            std::fs::remove_file(&spare).unwrap();
        }
    }

    #[test]
    fn a_full_disk_takes_the_spare_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let spare = folder.path().join(SPARE);
        keep_spare(&spare);
        let failing = |kind: ErrorKind| with_spare(&spare, || Err(kind.into())).unwrap_err().kind();
        assert_eq!(failing(ErrorKind::PermissionDenied), ErrorKind::PermissionDenied);
        assert!(spare.exists());
        let mut tries = 0;
        let until_given_up = || {
            tries += 1;
            if spare.exists() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        with_spare(&spare, until_given_up).unwrap();
        assert!(tries == 2 && spare.exists(), "there is one again");
        assert_eq!(failing(ErrorKind::StorageFull), ErrorKind::StorageFull);
        assert!(!spare.exists(), "given up in vain");
        assert_eq!(failing(ErrorKind::StorageFull), ErrorKind::StorageFull);
    }

    #[test]
    fn a_record_is_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        assert_eq!(read::<StorageTargetRecord>(&path).unwrap(), None);
        let record = StorageTargetRecord { target: 7, boot_id: "a".into(), ..Default::default() };
        write(&path, &record).unwrap();
        let newer = StorageTargetRecord { clean: true, ..record };
        write(&path, &newer).unwrap();
        assert_eq!(read::<StorageTargetRecord>(&path).unwrap(), Some(newer));
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(read::<StorageTargetRecord>(&path).unwrap_err().code, Code::Corrupt);
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert_eq!(read::<StorageTargetRecord>(&path).unwrap_err().code, Code::Corrupt);
        }
    }
}
