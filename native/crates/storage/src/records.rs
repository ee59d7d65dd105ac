//! Small stored records: a file each, a checksum and a protobuf message. Old or new after a crash, never
//! torn.

use prost::Message;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use wire::{Code, Error, Result};

/// `None` if there is no such file.
///
/// # Errors
/// `Corrupt` if it is not what was written.
pub fn read<M: Message + Default>(path: &Path) -> Result<Option<M>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
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

/// On the medium when it returns.
pub fn write<M: Message>(path: &Path, record: &M) -> Result<()> {
    let message = record.encode_to_vec();
    let fresh = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&fresh)?;
        file.write_all(&crc32c::crc32c(&message).to_le_bytes())?;
        file.write_all(&message)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    })();
    written
        .map_err(|error: std::io::Error| Error::new(Code::Io, format!("write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::StorageTargetRecord;

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
