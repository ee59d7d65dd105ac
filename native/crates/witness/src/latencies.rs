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
        format!(
            "\"operations\": {}, \"p50Ms\": {}, \"p99Ms\": {}, \"longestMs\": {}",
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
        for ms in (1..=100).rev() {
            latencies.add(ms * 1_000_000);
        }
        let expected = "\"operations\": 100, \"p50Ms\": 51, \"p99Ms\": 100, \"longestMs\": 100";
        assert_eq!(latencies.json(), expected);
    }
}
