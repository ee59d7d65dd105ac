//! Which version of a chain follows which. A number alone does not say: a manager that came back with an old state
//! counts up from there, and reaches numbers that others have seen with another content. So each version names the
//! process that made it by a random term, and of the processes before it up to which version it follows theirs, as
//! a version vector does.

use wire::message::{Chain, ChainTerm};

/// Managers that a chain remembers: one more for each process under which it changed. Of more it says only that
/// whatever has no higher number than the oldest of them is behind it.
const TERMS_MAX: usize = 32;

/// Whether the chain is, or follows, the version that this term made. Version 0: nothing is known, and all follow it.
pub fn covers(chain: &Chain, term: u64, version: u64) -> bool {
    let own = chain.term == term && version <= chain.version;
    let before = |of: &ChainTerm| {
        (of.term == term && of.over) || (of.term == term || of.term == 0) && version <= of.last_version
    };
    version == 0 || own || chain.follows.iter().any(before)
}

/// The same of all that the other chain is.
pub(super) fn is_behind(chain: &Chain, of: &Chain) -> bool {
    covers(of, chain.term, chain.version)
}

/// What a version that this term makes next follows, after all of these.
pub(super) fn follows(term: u64, before: &[&Chain]) -> Vec<ChainTerm> {
    let mut terms: Vec<ChainTerm> = Vec::new();
    let own = |chain: &&Chain| ChainTerm { term: chain.term, last_version: chain.version, over: false };
    let all = before.iter().flat_map(|chain| chain.follows.iter().copied().chain([own(chain)]));
    for one in all.filter(|one| one.term != term && one.last_version != 0) {
        match terms.iter_mut().find(|known| known.term == one.term) {
            Some(known) => {
                known.last_version = known.last_version.max(one.last_version);
                known.over |= one.over;
            }
            None => terms.push(one),
        }
    }
    terms.sort_by_key(|one| (one.term != 0, one.last_version));
    if terms.len() > TERMS_MAX {
        // The oldest ones stand for any from now on, and so does what stood for any before.
        let any = terms[terms.len() - TERMS_MAX].last_version.max(terms[0].last_version);
        terms.drain(..=terms.len() - TERMS_MAX);
        terms.insert(0, ChainTerm { last_version: any, ..ChainTerm::default() });
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(term: u64, version: u64, follows: Vec<ChainTerm>) -> Chain {
        Chain { id: 1, term, version, follows, ..Chain::default() }
    }

    fn next(term: u64, before: &Chain) -> Chain {
        chain(term, before.version + 1, follows(term, &[before]))
    }

    #[test]
    fn a_number_that_was_reached_on_another_way_is_not_followed() {
        let five = chain(7, 5, Vec::new());
        let nine = chain(7, 9, Vec::new());
        let mut other = five.clone();
        for _ in 0..20 {
            other = next(8, &other);
        }
        assert!(covers(&nine, 7, 5) && covers(&nine, 7, 9) && !covers(&nine, 7, 10));
        assert!(covers(&other, 7, 5) && covers(&other, 8, 25));
        assert!((6..30).all(|version| !covers(&other, 7, version)), "whatever its own number is");
        assert!(!is_behind(&nine, &other) && !is_behind(&other, &nine));
        let both = chain(9, 26, follows(9, &[&other, &nine]));
        assert!(is_behind(&nine, &both) && is_behind(&other, &both));
        assert!(covers(&both, 0, 0) && !covers(&both, 3, 1));
    }

    #[test]
    fn what_was_made_before_there_were_terms_is_followed() {
        let old = chain(0, 40, Vec::new());
        let new = next(5, &old);
        assert_eq!(
            (new.version, new.follows.clone()),
            (41, vec![ChainTerm { last_version: 40, ..ChainTerm::default() }])
        );
        assert!(covers(&new, 0, 40) && !covers(&new, 0, 41));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_refuses_nothing_that_it_follows() {
        let mut now = chain(0, 1, Vec::new());
        let mut seen = vec![(0, 1)];
        for term in 1..200 {
            now = next(term, &now);
            seen.push((now.term, now.version));
            now = next(term, &now);
            seen.push((now.term, now.version));
        }
        assert_eq!(now.follows.len(), TERMS_MAX);
        assert!(seen.iter().all(|(term, version)| covers(&now, *term, *version)));
        let recent = now.version - 2 * (TERMS_MAX as u64 - 3);
        assert!((recent..now.version).all(|version| !covers(&now, 999, version)), "of a stranger's");
    }
}
