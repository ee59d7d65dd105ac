//! What the disk does to requests now: `delay-ms N`, `fail`, or `none`, told by writing the word into the
//! disk's file `fault`.

use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Each request takes this long.
    Delay(Duration),
    /// Each request is answered with EIO.
    Fail,
}

impl Fault {
    pub fn parse(text: &str) -> Option<Fault> {
        match text.trim().split_once(' ') {
            Some(("delay-ms", ms)) => ms.parse().ok().map(|ms| Fault::Delay(Duration::from_millis(ms))),
            None if text.trim() == "fail" => Some(Fault::Fail),
            None if text.trim() == "none" => Some(Fault::None),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        assert_eq!(Fault::parse("delay-ms 200\n"), Some(Fault::Delay(Duration::from_millis(200))));
        assert_eq!(Fault::parse("fail"), Some(Fault::Fail));
        assert_eq!(Fault::parse("none\n"), Some(Fault::None));
        for bad in ["", "delay-ms", "delay-ms x", "fail now"] {
            assert_eq!(Fault::parse(bad), None, "{bad}");
        }
    }
}
