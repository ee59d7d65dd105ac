//! Which member a client asks: updates go to the head, reads to any serving member, spread, and not to one
//! that just refused a connection (P1).

use crate::Time;
use std::collections::BTreeMap;
use wire::TargetId;
use wire::message::{Chain, Member, PublicState};

/// How long a target that did not answer is avoided: about the time in which the manager takes a dead one out
/// of its chains.
const AVOID_MS: u64 = 2000;

/// Targets remembered as suspected: beyond a whole cluster's worth the oldest suspicion goes.
const SUSPECTS_MAX: usize = 4096;

/// Suspicion is not death: it only changes whom this client asks first.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    until: BTreeMap<TargetId, Time>,
}

impl Suspects {
    pub fn suspect(&mut self, now: Time, target: TargetId) {
        self.until.retain(|_, until| now < *until);
        if self.until.len() >= SUSPECTS_MAX
            && let Some(oldest) =
                self.until.iter().min_by_key(|(_, until)| **until).map(|(target, _)| *target)
        {
            self.until.remove(&oldest);
        }
        self.until.insert(target, now.plus_ms(AVOID_MS));
    }

    pub fn is_suspected(&self, now: Time, target: TargetId) -> bool {
        self.until.get(&target).is_some_and(|until| now < *until)
    }
}

pub(super) fn serving(chain: &Chain) -> impl Iterator<Item = &Member> {
    chain.members.iter().filter(|member| member.state() == PublicState::PublicServing)
}

/// Where updates and flushes go. `None`: nobody serves; wait for new routing.
pub fn head(chain: &Chain) -> Option<TargetId> {
    serving(chain).next().map(|member| TargetId(member.target))
}

/// Where a read goes: `spread` (a counter, a hash of the chunk) picks among the serving members; suspected
/// ones and `avoid` (those that failed this very read) are asked only if no other is left.
pub fn read_target(
    chain: &Chain,
    suspects: &Suspects,
    now: Time,
    avoid: &[TargetId],
    spread: u64,
) -> Option<TargetId> {
    let pick = |targets: Vec<TargetId>| {
        let count = targets.len() as u64;
        (count > 0).then(|| targets[(spread % count) as usize])
    };
    let all: Vec<TargetId> = serving(chain).map(|member| TargetId(member.target)).collect();
    let unavoided: Vec<TargetId> = all.iter().copied().filter(|target| !avoid.contains(target)).collect();
    let trusted = unavoided.iter().copied().filter(|target| !suspects.is_suspected(now, *target)).collect();
    pick(trusted).or_else(|| pick(unavoided)).or_else(|| pick(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        let member = |target: u64, state: PublicState| Member {
            target,
            state: state as i32,
            node: target as u32,
            ..Member::default()
        };
        let members = vec![
            member(7, PublicState::PublicServing),
            member(8, PublicState::PublicServing),
            member(9, PublicState::PublicSyncing),
        ];
        Chain { members, ..Chain::default() }
    }

    #[test]
    fn reads_spread_over_serving_members_and_avoid_suspects() {
        let (mut suspects, now) = (Suspects::default(), Time(0));
        let read = |suspects: &Suspects, now, avoid: &[u64], spread| {
            let avoid: Vec<TargetId> = avoid.iter().map(|target| TargetId(*target)).collect();
            read_target(&chain(), suspects, now, &avoid, spread).expect("somebody serves").0
        };
        assert_eq!([0, 1, 2, 3].map(|spread| read(&suspects, now, &[], spread)), [7, 8, 7, 8]);
        suspects.suspect(now, TargetId(7));
        assert_eq!([0, 1].map(|spread| read(&suspects, now, &[], spread)), [8, 8]);
        assert_eq!(read(&suspects, now, &[8], 0), 7, "what failed this read is worse than suspicion");
        assert_eq!(read(&suspects, now.plus_ms(AVOID_MS), &[], 0), 7, "suspicion ends by itself");
        assert_eq!(head(&chain()), Some(TargetId(7)), "suspicion never changes the head");
        assert_eq!(head(&Chain::default()), None);
    }

    #[test]
    fn suspicions_are_bounded() {
        let mut suspects = Suspects::default();
        for target in 0..2 * SUSPECTS_MAX as u64 {
            suspects.suspect(Time(target), TargetId(target));
        }
        assert_eq!(suspects.until.len(), SUSPECTS_MAX);
        assert!(!suspects.is_suspected(Time(0), TargetId(0)));
    }
}
