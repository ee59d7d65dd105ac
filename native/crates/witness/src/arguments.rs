//! `--name value` pairs of a command line; every one must be used.

use std::collections::BTreeMap;
use std::str::FromStr;

pub struct Arguments {
    values: BTreeMap<String, Vec<String>>,
}

impl Arguments {
    /// # Errors
    /// A word that is no option, or an option without a value.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut words = words;
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or(format!("'{word}' is no option"))?;
            let value = words.next().ok_or(format!("--{name} needs a value"))?;
            values.entry(name.into()).or_default().push(value);
        }
        Ok(Arguments { values })
    }

    /// An option that may be given several times, and must be once.
    ///
    /// # Errors
    /// It is missing.
    pub fn all(&mut self, name: &str) -> Result<Vec<String>, String> {
        self.values.remove(name).ok_or(format!("--{name} is missing"))
    }

    /// # Errors
    /// It is missing, or no such value.
    pub fn one<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or(format!("--{name} is missing"))
    }

    /// # Errors
    /// It is there, but no such value.
    pub fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(given) = self.values.remove(name) else { return Ok(None) };
        match given.as_slice() {
            [one] => one.parse().map(Some).map_err(|_| format!("--{name} {one}: not understood")),
            _ => Err(format!("--{name} is given twice")),
        }
    }

    /// # Errors
    /// An option that nobody asked for.
    pub fn end(self) -> Result<(), String> {
        match self.values.keys().next() {
            Some(name) => Err(format!("--{name} is unknown")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::parse(line.split(' ').map(String::from)).unwrap()
    }

    #[test]
    fn every_option_is_used_and_understood() {
        let mut given = arguments("--mount a --mount b --seed 7");
        assert_eq!(given.all("mount").unwrap(), ["a", "b"]);
        assert_eq!(given.one::<u64>("seed"), Ok(7));
        assert_eq!(given.optional::<u64>("seconds"), Ok(None));
        assert!(given.end().is_ok());
        assert_eq!(arguments("--sede 7").end(), Err("--sede is unknown".into()));
        assert!(arguments("--seed x").one::<u64>("seed").is_err());
        assert!(Arguments::parse(["stray".to_string()].into_iter()).is_err());
    }
}
