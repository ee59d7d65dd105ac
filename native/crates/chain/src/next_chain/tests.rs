//! The transition as a table: a chain of version 5, what is known of its targets, and the chain that follows.
//!
//! Members: `A serving 1` = target A, its state, the incarnation that the state speaks to. Facts: `A 1
//! uptodate complete` = the incarnation that reports, its local state, and flags; it is alive unless `gone`,
//! `silent` (no lease, not yet gone) or `unheard` is among them; the report saw version 5 unless `saw4` is.
//!
//! A chain may be `reordering`, or have `given_up` its preferred order for now; whoever is at rest has `rests` among
//! its flags.
//!
//! A member may be one that `leaves` or `stops`; an order is `+D` (it joins), `-A` (it leaves), `=A` (it stays),
//! `:CAB` (the order that is preferred).

use super::next_chain;
use wire::message::{
    Chain, ChainHold, ChainOrder, LocalState, Member, NextChainRequest, PublicState, TargetFact, Tenure,
};

const VERSION: u64 = 5;
pub(super) const REORDERING_MAX_MS: u64 = 3000;
pub(super) const REORDERING_PAUSE_MS: u64 = 60_000;

fn target(name: &str) -> u64 {
    u64::from(name.as_bytes()[0] - b'A' + 1)
}

fn members(text: &str) -> Vec<Member> {
    let member = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let state = PublicState::from_str_name(&format!("PUBLIC_{}", words[1].to_uppercase()));
        Member {
            target: target(words[0]),
            node: target(words[0]) as u32,
            state: state.expect("a state's name") as i32,
            incarnation: words[2].parse().expect("an incarnation"),
            tenure: match words.get(3) {
                None => Tenure::Stays,
                Some(&"leaves") => Tenure::Leaves,
                Some(&"stops") => Tenure::Stops,
                Some(other) => panic!("no tenure: {other}"),
            } as i32,
            ..Member::default()
        }
    };
    text.split(',').map(member).collect()
}

fn order(text: &str) -> Option<ChainOrder> {
    let named = |sign: char| text.split(' ').filter_map(move |word| word.strip_prefix(sign)).map(target);
    let join = |target: u64| Member { target, node: target as u32, disk: 2, ..Member::default() };
    let order = ChainOrder {
        joins: named('+').map(join).collect(),
        leaves: named('-').collect(),
        stays: named('=').collect(),
        preferred: text
            .split(' ')
            .filter_map(|word| word.strip_prefix(':'))
            .flat_map(|names| names.chars().map(|name| target(&name.to_string())))
            .collect(),
        adopt: false,
    };
    (!text.is_empty()).then_some(order)
}

fn facts(text: &str) -> Vec<TargetFact> {
    let incarnation = |text: &str| text.parse().expect("an incarnation");
    let fact = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let has = |flag: &str| words.contains(&flag);
        let state = match () {
            () if has("uptodate") => LocalState::LocalUptodate,
            () if has("online") => LocalState::LocalOnline,
            () => LocalState::LocalOffline,
        };
        TargetFact {
            target: target(words[0]),
            incarnation: incarnation(words[1]),
            alive: !has("gone") && !has("silent") && !has("unheard"),
            gone: has("gone"),
            state: state as i32,
            chain_version: if has("saw4") { VERSION - 1 } else { VERSION },
            complete: has("complete"),
            fresh: has("fresh"),
            disk_error: has("error"),
            stopped: has("stopped"),
            begun_by: words.iter().find_map(|word| word.strip_prefix("begun")).map_or(0, incarnation),
            at_rest: has("rests"),
            heard: true,
            ..TargetFact::default()
        }
    };
    text.split(',').map(fact).collect()
}

fn show(chain: &Chain) -> String {
    let name = |target: u64| char::from(b'A' + (target - 1) as u8);
    let member = |member: &Member| {
        let state = member.state().as_str_name().trim_start_matches("PUBLIC_").to_lowercase();
        let tenure = match member.tenure() {
            Tenure::Stays => "",
            Tenure::Leaves => " leaves",
            Tenure::Stops => " stops",
        };
        format!("{} {state} {}{tenure}", name(member.target), member.incarnation)
    };
    let members: Vec<String> = chain.members.iter().map(member).collect();
    let last: String = chain.last.iter().map(|target| name(*target)).collect();
    let reordering = if chain.reordering { "; reordering" } else { "" };
    let given_up = if chain.order_given_up { "; given up" } else { "" };
    format!("{}; last {last}; epoch {}{reordering}{given_up}", members.join(", "), chain.durability_epoch)
}

pub(super) struct Case {
    name: &'static str,
    chain: &'static str,
    last: &'static str,
    facts: &'static str,
    outage_ms: u64,
    order: &'static str,
    reordering: bool,
    given_up: bool,
    version_ms: u64,
    preferred: &'static str,
    /// `=`: nothing changes.
    next: &'static str,
}

pub(super) const fn case(
    name: &'static str,
    chain: &'static str,
    last: &'static str,
    facts: &'static str,
    next: &'static str,
) -> Case {
    Case {
        name,
        chain,
        last,
        facts,
        outage_ms: 0,
        order: "",
        reordering: false,
        given_up: false,
        version_ms: 0,
        preferred: "ABCD",
        next,
    }
}

impl Case {
    pub(super) const fn after(self, outage_ms: u64) -> Case {
        Case { outage_ms, ..self }
    }

    pub(super) const fn ordered(self, order: &'static str) -> Case {
        Case { order, ..self }
    }

    pub(super) const fn reordering(self) -> Case {
        Case { reordering: true, ..self }
    }

    pub(super) const fn given_up(self) -> Case {
        Case { given_up: true, ..self }
    }

    pub(super) const fn prefers(self, preferred: &'static str) -> Case {
        Case { preferred, ..self }
    }

    /// So long the manager has known this version.
    pub(super) const fn known_for(self, version_ms: u64) -> Case {
        Case { version_ms, ..self }
    }

    fn check(&self) {
        let chain = Chain {
            id: 3,
            version: VERSION,
            members: members(self.chain),
            preferred: self.preferred.chars().map(|name| target(&name.to_string())).collect(),
            last: self.last.chars().map(|name| target(&name.to_string())).collect(),
            durability_epoch: 7,
            reordering: self.reordering,
            order_given_up: self.given_up,
            ..Chain::default()
        };
        let request = NextChainRequest {
            chain: Some(chain.clone()),
            facts: facts(self.facts),
            outage_ms: self.outage_ms,
            outage_grace_ms: 30_000,
            order: order(self.order),
            version_ms: self.version_ms,
            reordering_max_ms: REORDERING_MAX_MS,
            reordering_pause_ms: REORDERING_PAUSE_MS,
            ..NextChainRequest::default()
        };
        let reply = next_chain(&request);
        let next = reply.chain.clone().expect("a chain comes back");
        if self.next == "=" {
            assert_eq!(next, chain, "{}: {}", self.name, reply.reason);
            let explained = reply.reason.is_empty() || reply.hold() != ChainHold::HoldNone;
            assert!(!reply.changed && explained, "{}", self.name);
            return;
        }
        assert_eq!(show(&next), self.next, "{}", self.name);
        assert!(reply.changed && !reply.reason.is_empty(), "{}", self.name);
        assert_eq!(next.version, VERSION + 1, "{}", self.name);
    }
}

pub(super) const SERVING: &str = "A serving 1, B serving 1, C serving 1";
pub(super) const LASTSRV: &str = "A lastsrv 1, B lastsrv 1, C offline 1";

pub(super) fn check_all(cases: &[Case]) {
    cases.iter().for_each(Case::check);
}

#[test]
fn members_leave_only_when_they_are_gone() {
    let well = "A 1 uptodate, B 1 uptodate, C 1 uptodate";
    check_all(&[
        case("all well", SERVING, "ABC", well, "="),
        case(
            "a report that did not see the version yet",
            SERVING,
            "ABC",
            "A 1 uptodate saw4, B 1 online saw4, C 1 uptodate",
            "=",
        ),
        case("silence is not death", SERVING, "ABC", "A 1 silent uptodate, B 1 uptodate, C 1 uptodate", "="),
        case("a new manager heard nobody yet", SERVING, "ABC", "A 0 unheard, B 0 unheard, C 1 uptodate", "="),
        case("no fact at all", SERVING, "ABC", "C 1 uptodate", "="),
        case(
            "the head is gone",
            SERVING,
            "ABC",
            "A 1 gone, B 1 uptodate, C 1 uptodate",
            "B serving 1, C serving 1, A offline 1; last BC; epoch 7",
        ),
        case(
            "a lease that ran out for a node that was never heard of",
            SERVING,
            "ABC",
            "A 1 uptodate, B 0 gone, C 1 uptodate",
            "A serving 1, C serving 1, B offline 1; last AC; epoch 7",
        ),
        case(
            "a disk error that the server itself reports",
            SERVING,
            "ABC",
            "A 1 uptodate, B 1 offline error, C 1 uptodate",
            "A serving 1, C serving 1, B offline 1; last AC; epoch 7",
        ),
        case(
            "a new process took over: the old one is gone, the new one is synced",
            SERVING,
            "ABC",
            "A 2 online complete, B 1 uptodate, C 1 uptodate",
            "B serving 1, C serving 1, A syncing 2; last BC; epoch 7",
        ),
    ]);
}

#[test]
fn the_last_ones_stay_the_last() {
    check_all(&[
        case(
            "the only one dies",
            "B serving 1, A offline 1",
            "B",
            "A 1 gone, B 1 gone",
            "B lastsrv 1, A offline 1; last B; epoch 7",
        ),
        case(
            "all die at once",
            SERVING,
            "ABC",
            "A 1 gone, B 1 gone, C 1 gone",
            "A lastsrv 1, B lastsrv 1, C lastsrv 1; last ABC; epoch 7",
        ),
        case(
            "nobody who was removed before may serve",
            "B lastsrv 1, A offline 1, C offline 1",
            "B",
            "A 2 online complete, B 1 gone, C 2 online complete",
            "=",
        )
        .after(1_000_000),
        case(
            "a complete one resumes alone, the others through a resync",
            LASTSRV,
            "AB",
            "A 1 gone, B 2 online complete, C 1 gone",
            "B serving 2, A offline 1, C offline 1; last B; epoch 7",
        ),
        case(
            "both are complete: one resumes, the other is synced",
            LASTSRV,
            "AB",
            "A 2 online complete, B 2 online complete, C 2 online",
            "A serving 2, B syncing 2, C waiting 1; last A; epoch 7",
        ),
        case(
            "the same process had only lost its lease",
            "A lastsrv 1, B offline 1",
            "A",
            "A 1 uptodate complete saw4, B 1 gone",
            "A serving 1, B offline 1; last A; epoch 7",
        ),
        case(
            "a process that takes over from the only one resumes at once",
            "A serving 1, B offline 1",
            "A",
            "A 2 online complete, B 1 gone",
            "A serving 2, B offline 1; last A; epoch 7",
        ),
        case(
            "a disk error is not complete",
            "A lastsrv 1, B offline 1",
            "A",
            "A 1 offline error complete, B 1 gone",
            "=",
        )
        .after(1_000_000),
    ]);
}

#[test]
fn a_synced_member_serves_only_for_what_it_synced() {
    let chain = "A serving 1, B serving 1, C syncing 2";
    check_all(&[
        case("still copying", chain, "AB", "A 1 uptodate, B 1 uptodate, C 2 online", "="),
        case(
            "done",
            chain,
            "AB",
            "A 1 uptodate, B 1 uptodate, C 2 uptodate",
            "A serving 1, B serving 1, C serving 2; last ABC; epoch 7",
        ),
        case(
            "R3: done under another version",
            chain,
            "AB",
            "A 1 uptodate, B 1 uptodate, C 2 uptodate saw4",
            "=",
        ),
        case("R3: another process says so", chain, "AB", "A 1 uptodate, B 1 uptodate, C 1 uptodate", "="),
        case(
            "it restarted: its session is void",
            chain,
            "AB",
            "A 1 uptodate, B 1 uptodate, C 3 online",
            "A serving 1, B serving 1, C syncing 3; last AB; epoch 7",
        ),
        case(
            "R5: the only serving one dies in the moment of its success",
            "A serving 1, C syncing 2",
            "A",
            "A 1 gone, C 2 uptodate",
            "C serving 2, A offline 1; last C; epoch 7",
        ),
        case(
            "the only serving one dies before that",
            "A serving 1, C syncing 2",
            "A",
            "A 1 gone, C 2 online",
            "A lastsrv 1, C waiting 2; last A; epoch 7",
        ),
        case(
            "R1: it is up to date, and waits: it is synced again",
            "A serving 1, C waiting 2",
            "A",
            "A 1 uptodate, C 2 uptodate",
            "A serving 1, C syncing 2; last A; epoch 7",
        ),
        case(
            "one at a time, the preferred first",
            "C serving 1, D offline 1, B waiting 1, A offline 1",
            "C",
            "A 2 online, B 2 online, C 1 uptodate, D 2 online",
            "C serving 1, A syncing 2, B waiting 1, D waiting 1; last C; epoch 7",
        ),
    ]);
}

#[test]
fn a_new_chain_starts_when_all_members_are_fresh() {
    let new = "C offline 0, A offline 0, B offline 0";
    let in_order = "A offline 0, B offline 0, C offline 0";
    check_all(&[
        case(
            "all are there",
            new,
            "",
            "A 1 online fresh, B 1 online fresh, C 1 online fresh",
            "A serving 1, B serving 1, C serving 1; last ABC; epoch 7",
        ),
        case("one is missing", in_order, "", "A 1 online fresh, B 1 online fresh, C 0 unheard", "=")
            .after(10),
        case(
            "one is missing for longer than the grace",
            new,
            "",
            "A 1 online fresh, B 1 online fresh, C 0 gone",
            "A serving 1, B serving 1, C offline 0; last AB; epoch 7",
        )
        .after(30_000),
        case(
            "one has old bytes: they are not this chain's",
            in_order,
            "",
            "A 1 online, B 1 online fresh, C 1 online fresh",
            "=",
        )
        .after(10),
    ]);
}
