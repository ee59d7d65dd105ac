//! Which records and frames may be written (P27). A manager stores the level that its cluster writes: at most what
//! every member knows.

use crate::{Code, Error, Result};

/// The newest that this release reads and writes; raised when a record or frame changes in a way that older
/// releases cannot read. The same in `core/src/limits.ts`, which says what each of them brought.
pub const FEATURE_LEVEL: u32 = 2;

/// Whether this release may be a member of a cluster that writes `level`.
///
/// # Errors
/// `NewerData` if it cannot read that; `BadMessage` if no level was named.
pub fn require(level: u32) -> Result<()> {
    match level {
        0 => Err(Error::new(Code::BadMessage, "the manager names no feature level")),
        1..=FEATURE_LEVEL => Ok(()),
        _ => {
            let detail =
                format!("the cluster speaks feature level {level}, this release only {FEATURE_LEVEL}");
            Err(Error::new(Code::NewerData, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_spoken() {
        assert_eq!(require(0).map_err(|error| error.code), Err(Code::BadMessage));
        assert_eq!(require(1), Ok(()));
        assert_eq!(require(FEATURE_LEVEL), Ok(()));
        assert_eq!(require(FEATURE_LEVEL + 1).map_err(|error| error.code), Err(Code::NewerData));
    }

    #[test]
    fn both_languages_know_the_same() {
        let typescript = include_str!("../../../../core/src/limits.ts");
        assert!(typescript.contains(&format!("export const featureLevel = {FEATURE_LEVEL};")));
    }
}
