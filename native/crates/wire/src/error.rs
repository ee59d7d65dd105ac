//! One error type for every operating error. Our own bugs are assertions, not values of this type.

use crate::generated_errors::{Code, TABLE};
use crate::message::ReplyHeader;

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong (`code`), and where (`detail`, for people; never matched on, but see `primary`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub detail: String,
}

impl Error {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Error { code, detail: detail.into() }
    }

    /// Where to ask instead: the detail of `NotPrimary` is the address of the primary, if it is known (P3).
    pub fn primary(&self) -> Option<&str> {
        (self.code == Code::NotPrimary && !self.detail.is_empty()).then_some(&*self.detail)
    }

    /// The header of a reply that carries this error.
    pub fn to_reply_header(&self, request_id: u64) -> ReplyHeader {
        ReplyHeader { request_id, code: self.code as u32, detail: self.detail.clone(), retry_after_ms: 0 }
    }

    /// `Ok` if the reply says done; else the error it carries.
    pub fn from_reply_header(header: Option<&ReplyHeader>) -> Result<()> {
        match header {
            None => Err(Error::new(Code::BadMessage, "a reply without a header")),
            Some(header) if header.code == 0 => Ok(()),
            Some(header) => Err(Error::new(Code::from_number(header.code), header.detail.clone())),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({}): {}", self.code.text(), self.code.name(), self.detail)
    }
}

impl std::error::Error for Error {}

impl Code {
    fn row(self) -> &'static (Code, &'static str, &'static str, bool, &'static str) {
        TABLE.iter().find(|row| row.0 == self).expect("every code is in the table")
    }

    /// A number that this release does not know reads as `Internal`.
    pub fn from_number(number: u32) -> Code {
        TABLE.iter().find(|row| row.0 as u32 == number).map_or(Code::Internal, |row| row.0)
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The errno's name, as in errno(3).
    pub fn errno_name(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later or elsewhere.
    pub fn retryable(self) -> bool {
        self.row().3
    }

    pub fn text(self) -> &'static str {
        self.row().4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_a_reply_header() {
        let error = Error::new(Code::NoSpace, "target 7");
        assert_eq!(Error::from_reply_header(Some(&error.to_reply_header(3))), Err(error));
        assert_eq!(Error::from_reply_header(Some(&ReplyHeader::default())), Ok(()));
    }

    #[test]
    fn codes_and_names_are_unique() {
        let mut codes: Vec<u32> = TABLE.iter().map(|row| row.0 as u32).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }
}
