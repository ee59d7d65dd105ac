//! What a target's folder lies on, as the configuration says it.

use super::{DirectDisk, Disk, FileDisk};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// How bytes of chunks go to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Through the page cache: any file system.
    #[default]
    Buffered,
    /// Past it, with `O_DIRECT` and io_uring: fast disks whose bytes are seldom read twice from the same
    /// machine.
    Direct,
}

impl FromStr for Media {
    type Err = Error;
    fn from_str(text: &str) -> Result<Media> {
        match text {
            "buffered" => Ok(Media::Buffered),
            "direct" => Ok(Media::Direct),
            other => {
                let text = format!("unknown media {other:?}: it is \"buffered\" or \"direct\"");
                Err(Error::new(ErrorKind::InvalidInput, text))
            }
        }
    }
}

/// The files that hold chunks; all others are small, or grow by bytes.
fn holds_chunks(name: &str) -> bool {
    crate::segments::parse(name).is_some()
}

impl Media {
    /// Opens a folder, and makes it if it is missing. Where `Direct` cannot be, one line of the log says
    /// why, and the folder is buffered.
    pub fn open(self, path: &Path) -> Result<Arc<dyn Disk>> {
        let disk = FileDisk::open(path)?;
        Ok(match self {
            Media::Buffered => Arc::new(disk),
            Media::Direct => or_buffered(DirectDisk::new(disk, holds_chunks)),
        })
    }
}

fn or_buffered(disk: std::result::Result<DirectDisk, (FileDisk, Error)>) -> Arc<dyn Disk> {
    match disk {
        Ok(disk) => Arc::new(disk),
        Err((disk, reason)) => {
            let (folder, reason) = (disk.path().display().to_string(), reason.to_string());
            log::warn!(
                target: "chunk_engine", folder = folder.as_str(), reason = reason.as_str();
                "media_fallback: O_DIRECT with io_uring does not work here, the folder is buffered"
            );
            Arc::new(disk)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::suite;

    #[test]
    fn where_direct_cannot_be_the_folder_is_buffered() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let disk = or_buffered(Err((disk, Error::from(ErrorKind::PermissionDenied))));
        assert!(format!("{disk:?}").starts_with("FileDisk"));
        suite::run(&*disk);
    }

    #[test]
    fn media_have_names() {
        assert_eq!(
            ("buffered".parse().unwrap(), "direct".parse().unwrap()),
            (Media::Buffered, Media::Direct)
        );
        assert!("O_DIRECT".parse::<Media>().unwrap_err().to_string().contains("direct"));
        assert_eq!([holds_chunks("segment-000001-08"), holds_chunks("journal-000000000001")], [true, false]);
    }
}
