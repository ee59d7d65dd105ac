//! How long operations took: each is kept, so that the longest and every percentile are exact. Four bytes an
//! operation: an hour at ten thousand a second needs 144 MB.

#[derive(Default)]
pub struct Latencies {
    microseconds: Vec<u32>,
}

impl Latencies {
    pub fn add(&mut self, ns: u64) {
        self.microseconds.push(u32::try_from(ns / 1_000).unwrap_or(u32::MAX));
    }

    pub fn merge(&mut self, other: Latencies) {
        self.microseconds.extend(other.microseconds);
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
            "\"operations\": {}, \"overTwoSeconds\": {over}, \"p50Ms\": {}, \"p99Ms\": {}, \"longestMs\": {}",
            self.count(),
            at(0.5),
            at(0.99),
            at(1.0)
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
        assert_eq!(latencies.json(), expected);
    }
}
