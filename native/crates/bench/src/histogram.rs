//! Latencies in buckets that are 1/32 of their value wide: any percentile within 3.2 %, in 9 KiB, without
//! keeping samples.

/// Buckets per power of two.
const STEPS: usize = 32;
/// Longest latency told apart from longer ones: 2^41 ns, some 36 minutes, beyond any timeout.
const POWERS: usize = 36;

#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
    min_ns: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram { counts: vec![0; STEPS * (POWERS + 1)], total: 0, sum_ns: 0, max_ns: 0, min_ns: u64::MAX }
    }

    pub fn record(&mut self, ns: u64) {
        let last = self.counts.len() - 1;
        self.counts[bucket_of(ns).min(last)] += 1;
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
        self.min_ns = self.min_ns.min(ns);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
        self.min_ns = self.min_ns.min(other.min_ns);
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// 0 without samples.
    pub fn min_ns(&self) -> u64 {
        if self.total == 0 { 0 } else { self.min_ns }
    }

    /// 0 without samples.
    pub fn mean_ns(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum_ns as f64 / self.total as f64 }
    }

    /// The latency that `fraction` (0 ..= 1) of the samples do not exceed: the upper edge of its bucket, at
    /// most the maximum.
    pub fn percentile_ns(&self, fraction: f64) -> u64 {
        let wanted = ((self.total as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

fn bucket_of(ns: u64) -> usize {
    let steps = STEPS as u64;
    if ns < steps {
        return ns as usize;
    }
    let power = ns.ilog2() - STEPS.ilog2();
    (power as usize + 1) * STEPS + ((ns >> power) - steps) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS + 1) as u64) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_ends_at_or_after_it() {
        for shift in 0..40 {
            for value in [1u64 << shift, (1 << shift) + 1, (1 << (shift + 1)) - 1] {
                let bucket = bucket_of(value);
                assert!(upper_edge(bucket) >= value, "{value}");
                assert!(bucket == 0 || upper_edge(bucket - 1) < value, "{value}");
            }
        }
    }

    #[test]
    fn percentiles_are_within_a_bucket_of_the_truth() {
        let mut first = Histogram::new();
        let mut second = Histogram::new();
        for value in 1..=100_000u64 {
            if value % 2 == 0 { first.record(value) } else { second.record(value) }
        }
        first.merge(&second);
        for (fraction, truth) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = first.percentile_ns(fraction) as f64;
            assert!((found - truth).abs() / truth < 0.033, "{fraction}: {found}");
        }
        assert_eq!((first.min_ns(), first.max_ns(), first.count()), (1, 100_000, 100_000));
        assert_eq!(first.percentile_ns(1.0), 100_000);
    }

    #[test]
    fn no_samples_are_zeros() {
        let empty = Histogram::new();
        assert_eq!((empty.percentile_ns(0.99), empty.min_ns(), empty.max_ns()), (0, 0, 0));
    }
}
