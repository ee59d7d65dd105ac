//! How long operations took: each is kept, so that the longest and every percentile are exact. Four bytes an
//! operation: an hour at ten thousand a second needs 144 MB.

use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub struct Latencies {
    microseconds: Vec<u32>,
    /// Of the longest: how long it took, and when it ended, in milliseconds since 1970; logs are searched for that.
    longest: (u64, u64),
}

impl Latencies {
    pub fn add(&mut self, ns: u64) {
        self.microseconds.push(u32::try_from(ns / 1_000).unwrap_or(u32::MAX));
        if ns > self.longest.0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.longest = (ns, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        }
    }

    pub fn merge(&mut self, other: Latencies) {
        self.microseconds.extend(other.microseconds);
        self.longest = self.longest.max(other.longest);
    }

    pub fn count(&self) -> usize {
        self.microseconds.len()
    }

    /// Members of a JSON object; milliseconds.
    pub fn json(&mut self) -> String {
        self.microseconds.sort_unstable();
        let at = |part: f64| {
            let index = (self.microseconds.len() as f64 * part) as usize;
            let last = self.microseconds.len().saturating_sub(1);
            f64::from(self.microseconds.get(index.min(last)).copied().unwrap_or(0)) / 1_000.0
        };
        // So that the runs of several programs can be judged as one: p99 over all is at most two seconds exactly
        // if at most a hundredth of all took longer.
        let over = self.microseconds.iter().filter(|&&took| took > 2_000_000).count();
        format!(
            "\"operations\": {}, \"overTwoSeconds\": {over}, \"p50Ms\": {}, \"p99Ms\": {}, \"longestMs\": {}, \
             \"longestEndedAtMs\": {}",
            self.count(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.longest.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let mut latencies = Latencies::default();
        for ms in (1_901..=2_000).rev().chain([2_001]) {
            latencies.add(ms * 1_000_000);
        }
        let expected = "\"operations\": 101, \"overTwoSeconds\": 1, \"p50Ms\": 1951, \"p99Ms\": 2000, \
                        \"longestMs\": 2001";
        assert!(latencies.json().starts_with(expected));
    }

    #[test]
    fn the_longest_says_when_it_ended() {
        let (mut first, mut second) = (Latencies::default(), Latencies::default());
        first.add(7_000_000);
        let ended = first.longest.1;
        second.add(5_000_000);
        second.longest.1 += 60_000;
        second.merge(first);
        assert!(ended > 1_700_000_000_000);
        assert!(second.json().ends_with(&format!("\"longestMs\": 7, \"longestEndedAtMs\": {ended}")));
    }
}
