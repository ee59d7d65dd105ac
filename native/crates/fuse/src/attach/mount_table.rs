//! /proc/self/mountinfo: what is mounted where, without touching the mount itself (a dead one fails, a stuck
//! one blocks).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use wire::{Code, Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub path: PathBuf,
    /// "major:minor".
    pub device: String,
    pub kind: String,
}

impl Mounted {
    pub fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind.starts_with("fuse.")
    }
}

/// The topmost mount on `path`, which must be absolute and without links.
pub fn find(path: &Path) -> Result<Option<Mounted>> {
    let text = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| Error::new(Code::Io, format!("/proc/self/mountinfo: {error}")))?;
    Ok(parse(&text).into_iter().rfind(|mounted| mounted.path == path))
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext3 /dev/root rw`
fn parse_line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8(field.to_vec()).ok();
    Some(Mounted {
        path: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        device: text(fields.get(2)?)?,
        kind: text(fields.get(separator + 1)?)?,
    })
}

/// Blanks, tabs, newlines and backslashes are written in octal: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten();
        let number = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_any_number_of_optional_fields_parse() {
        let text = b"22 1 0:20 / /a\\040b rw,nosuid - fuse.catena catena rw,user_id=0\n\
            23 1 98:0 / /mnt rw shared:1 master:2 - ext4 /dev/vda rw\n24 1 0:3 / /x rw no-separator\n\n";
        let mounted = parse(text);
        assert_eq!(mounted.len(), 2);
        assert_eq!(mounted[0].path, Path::new("/a b"));
        assert_eq!((mounted[0].device.as_str(), mounted[0].is_fuse()), ("0:20", true));
        assert_eq!((mounted[1].kind.as_str(), mounted[1].is_fuse()), ("ext4", false));
    }
}
