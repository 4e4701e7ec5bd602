//! Whatever happens, in whatever order: I2 to I5, and what is over stays over.

use std::collections::BTreeSet;

use countersign_approval::{
    Approval, CancelReason, Delegator, Effect, GrantClaims, GrantScope, Input, Outcome, Phase, State, Vote,
    VoteDecision, Voter, transition,
};
use countersign_model::{
    Assurance, Escalation, GrantShape, PersonId, Provenance, Requirement, RequirementKind, ReviewerSelector,
    Seconds, TaskScope, Timestamp, VoteId, provenance::Initiator,
};
use proptest::prelude::*;

use crate::fixture::{INITIATOR, OWNER, at, confirmation, person, request, requirement, reviewer};

const PEOPLE: [&str; 6] = [
    OWNER,
    INITIATOR,
    "reviewer-1@example.com",
    "reviewer-2@example.com",
    "reviewer-3@example.com",
    "reviewer-4@example.com",
];
const ASSURANCES: [Assurance; 3] = [Assurance::Any, Assurance::Console, Assurance::Passkey];
const SELECTORS: [&str; 5] =
    ["*", "group:a", "group:b", "user:reviewer-1@example.com", "user:owner@example.com"];

fn task(count: u32, within: u32) -> TaskScope {
    let within = Seconds::new(within);
    TaskScope { count, within, amount: None, resources: Vec::new(), same: Vec::new() }
}

fn any_requirement(index: usize) -> impl Strategy<Value = Requirement> {
    let selectors = prop::sample::subsequence(SELECTORS.to_vec(), 1..3);
    let grant = prop_oneof![
        Just(GrantShape::Once),
        (1_u32..40).prop_map(|window| GrantShape::Window(Seconds::new(window))),
        (1_u32..4, 1_u32..900)
            .prop_map(|(uses, within)| GrantShape::Uses { uses, within: Seconds::new(within) }),
        (2_u32..5, 1_u32..900).prop_map(|(count, within)| GrantShape::Task(task(count, within))),
    ];
    let assurance = prop::sample::select(&ASSURANCES[..]);
    let plain = (prop::bool::weighted(0.2), 1_u32..3, selectors, 1_u32..900, 1_u32..900, grant, assurance)
        .prop_map(move |(confirm, quorum, selectors, decide, execute, grant, assurance)| {
            let name = format!("requirement-{index}");
            let base = if confirm { confirmation(&name) } else { requirement(&name, quorum, &selectors) };
            Requirement {
                decide_within: Seconds::new(decide),
                execute_within: Seconds::new(execute),
                grant,
                assurance,
                ..base
            }
        });
    (plain, any_asking()).prop_map(|(plain, asking)| Requirement {
        stage: asking.stage,
        deny_threshold: asking.deny_threshold,
        // Nobody else can be asked to confirm.
        escalate: asking.escalate.filter(|_| plain.kind == RequirementKind::Approval),
        remind_every: asking.remind_every,
        break_glass: asking.break_glass,
        ..plain
    })
}

/// How people are asked: half of the time in the plain way.
fn any_asking() -> impl Strategy<Value = Requirement> {
    let escalate =
        (1_u32..300, prop::sample::subsequence(SELECTORS.to_vec(), 1..3)).prop_map(|(after, to)| {
            let to = to.iter().map(|selector| selector.parse().unwrap()).collect();
            Escalation { after: Seconds::new(after), to }
        });
    let remind = (1_u32..300).prop_map(Seconds::new);
    let glass = prop::sample::subsequence(SELECTORS.to_vec(), 0..3)
        .prop_map(|glass| glass.iter().map(|selector| selector.parse().unwrap()).collect());
    let asking = (1_u32..4, 1_u32..3, prop::option::of(escalate), prop::option::of(remind), glass).prop_map(
        |(stage, deny_threshold, escalate, remind_every, break_glass)| Requirement {
            break_glass,
            stage,
            deny_threshold,
            escalate,
            remind_every,
            ..requirement("asking", 1, &["*"])
        },
    );
    prop_oneof![Just(requirement("plain", 1, &["*"])), asking]
}

fn any_approval() -> impl Strategy<Value = Approval> {
    let requirements = prop_oneof![
        any_requirement(0).prop_map(|one| vec![one]),
        (any_requirement(0), any_requirement(1)).prop_map(|(one, two)| vec![one, two]),
        (any_requirement(0), any_requirement(1), any_requirement(2)).prop_map(|(a, b, c)| vec![a, b, c]),
    ];
    (requirements, prop::option::of(any::<bool>()), 1_u32..2_000).prop_filter_map(
        "a request that can be put to people",
        |(requirements, verified, lease)| {
            let mut request = request(requirements);
            let initiator = verified.map(|verified| Initiator { person: person(INITIATOR), verified });
            request.submission.provenance = Provenance { initiator, ..Provenance::default() };
            request.requester_lease = Seconds::new(lease);
            Approval::open(request).ok().map(|(approval, _)| approval)
        },
    )
}

fn any_voter() -> impl Strategy<Value = Voter> {
    let groups = || prop::sample::subsequence(vec!["a", "b"], 0..3);
    let assurance = prop::sample::select(&ASSURANCES[..]);
    let delegator = (prop::sample::select(&PEOPLE[..]), groups(), prop::bool::weighted(0.9)).prop_map(
        |(name, groups, reviewer)| Delegator {
            person: person(name),
            also: Vec::new(),
            groups: groups.iter().map(ToString::to_string).collect(),
            reviewer,
            assurance: Assurance::Console,
        },
    );
    let delegators = prop_oneof![Just(Vec::new()), prop::collection::vec(delegator, 0..3)];
    (prop::sample::select(&PEOPLE[..]), groups(), 0..12, assurance, delegators).prop_map(
        |(name, groups, odd, assurance, delegators)| Voter {
            assurance,
            reviewer: odd != 0,
            machine: odd == 1,
            agent: odd == 2,
            delegators,
            ..reviewer(name, &groups)
        },
    )
}

fn any_input() -> impl Strategy<Value = Input> {
    let why = prop::sample::select(vec![
        CancelReason::Requester,
        CancelReason::RequesterGone,
        CancelReason::Superseded,
    ]);
    let outcome = prop::sample::select(vec![Outcome::Executed, Outcome::Failed, Outcome::OutcomeUnknown]);
    prop_oneof![
        12 => (any_voter(), prop::bool::weighted(0.9), any::<u8>()).prop_map(|(voter, yes, id)| Input::Vote {
            id: VoteId::from_bytes([id; 16]),
            voter,
            decision: if yes { VoteDecision::Approve } else { VoteDecision::Deny },
            reason: None,
        }),
        1 => any_voter().prop_map(|voter| Input::BreakGlass { voter, reason: "it burns".into() }),
        1 => any_voter().prop_map(|voter| Input::ReviewGlass { voter, comment: "it did".into() }),
        1 => why.prop_map(|why| Input::Cancel { why }),
        2 => Just(Input::RequesterHeartbeat),
        3 => Just(Input::Tick),
        1 => Just(Input::Revoke { by: "admin@example.com".into(), reason: None }),
        1 => Just(Input::Invalidate { why: "policy changed".into() }),
        6 => (0_u32..5, 0_i64..2_000).prop_map(|(use_number, seconds)| Input::Claim { use_number, at: at(seconds) }),
        6 => (0_u32..5, outcome).prop_map(|(use_number, outcome)| {
            Input::Outcome { use_number, outcome, at: at(0) }
        }),
    ]
}

/// Inputs, each with how many seconds pass before it.
pub(crate) fn any_story() -> impl Strategy<Value = Vec<(i64, Input)>> {
    let pause = prop_oneof![8 => 0_i64..5, 1 => 0_i64..1_000];
    prop::collection::vec((pause, any_input()), 0..40)
}

/// Whether a person may stand for a requirement, worked out anew from the words of I3, if they are sure enough.
fn may_stand(approval: &Approval, requirement: &Requirement, voter: &Voter) -> bool {
    let initiator = approval.request.submission.provenance.initiator.as_ref();
    let is_owner = voter.person == approval.request.owner;
    let is_initiator = initiator.is_some_and(|initiator| initiator.person == voter.person);
    if voter.machine || voter.agent {
        return false;
    }
    match requirement.kind {
        RequirementKind::Confirmation => {
            (is_initiator && initiator.is_some_and(|initiator| initiator.verified))
                || (is_owner && initiator.is_none())
        }
        RequirementKind::Approval => {
            let escalated = approval.escalated_at(&requirement.name).is_some();
            let others = requirement.escalate.iter().filter(|_| escalated).flat_map(|one| &one.to);
            let selectors: Vec<_> = requirement.reviewers.iter().chain(others).collect();
            let is_delegated = voter.delegators.iter().any(|one| {
                let is_party = one.person == approval.request.owner
                    || initiator.is_some_and(|initiator| initiator.person == one.person);
                let is_sure = one.assurance >= requirement.assurance;
                !is_party && one.reviewer && is_sure && is_named(&selectors, &one.person, &one.groups)
            });
            let is_named = is_named(&selectors, &voter.person, &voter.groups);
            !is_owner && !is_initiator && voter.reviewer && (is_named || is_delegated)
        }
    }
}

fn is_named(selectors: &[&ReviewerSelector], person: &PersonId, groups: &[String]) -> bool {
    selectors.iter().any(|selector| match selector {
        ReviewerSelector::Anyone => true,
        ReviewerSelector::Group(group) => groups.contains(group),
        ReviewerSelector::User(named) => person == named,
    })
}

/// Everything that holds of one step, whatever it was.
fn check_step(before: &Approval, input: &Input, now: Timestamp, after: &Approval, effects: &[Effect]) {
    assert_eq!(before.request, after.request, "what was asked is frozen");
    assert!(after.votes.starts_with(&before.votes), "votes are never taken back or rewritten");
    if before.phase().is_terminal() {
        assert_eq!(before.state, after.state, "what is over stays over");
    }
    if before.phase() != after.phase() {
        let is_recorded = effects.iter().any(|effect| matches!(effect, Effect::Record(_)));
        assert!(is_recorded, "no change without its audit event");
        assert!(effects.contains(&Effect::TellRequester));
    }
    if before.terms.is_some() {
        assert_eq!(before.terms, after.terms, "what was granted never grows");
    }
    check_version(before, after);
    check_voted(before, input, after);
    let is_approved_now = before.terms.is_none() && after.terms.is_some();
    assert_eq!(is_approved_now, effects.contains(&Effect::IssueGrant));
    if is_approved_now {
        let is_vote = matches!(input, Input::Vote { decision: VoteDecision::Approve, .. });
        let is_glass = matches!(input, Input::BreakGlass { .. });
        assert_eq!(is_glass, after.glass.is_some());
        assert!(is_vote || is_glass, "I5: only a vote approves, and {input:?} is none");
        assert!(now < before.request.decide_by(), "I5: not after the time to decide");
        assert_eq!(before.state, State::Pending);
    }
    if effects.contains(&Effect::WithdrawGrant) {
        assert!(matches!(before.phase(), Phase::Approved | Phase::Claimed));
    }
    check_denied(before, after);
    check_glass(before, after);
}

/// The glass is broken once, by nobody whose affair it is (I3), and reviewed once, by somebody else.
fn check_glass(before: &Approval, after: &Approval) {
    let Some(glass) = &after.glass else { return assert!(before.glass.is_none()) };
    let parties = |approval: &Approval| {
        let initiator = approval.request.submission.provenance.initiator.as_ref();
        let initiator = initiator.map(|initiator| initiator.person.clone());
        [Some(approval.request.owner.clone()), initiator]
    };
    assert!(!parties(after).contains(&Some(glass.by.clone())), "I3");
    assert!(!glass.reason.is_empty() && after.terms.is_some());
    if let Some(review) = &glass.review {
        assert!(review.by != glass.by && !parties(after).contains(&Some(review.by.clone())), "I3");
    }
    if let Some(earlier) = &before.glass {
        assert_eq!(earlier.by, glass.by);
        assert!(earlier.review.is_none() || earlier.review == glass.review, "a review stands");
        assert_eq!(before.state == after.state, before.phase() == after.phase());
    }
}

fn check_denied(before: &Approval, after: &Approval) {
    let State::Denied { by, .. } = &after.state else { return };
    let last = after.votes.last().unwrap();
    assert_eq!((&last.person, last.decision), (by, VoteDecision::Deny));
    let is_enough = |requirement: &Requirement| {
        let denials = after.votes.iter().filter(|vote| vote.decision == VoteDecision::Deny);
        let rights: BTreeSet<_> = denials
            .filter(|vote| vote.eligible_for.contains(&requirement.name))
            .map(|vote| vote.right_of(&requirement.name))
            .collect();
        rights.len() >= requirement.deny_threshold as usize
    };
    assert!(before.phase() == Phase::Denied || after.request.requirements.iter().any(is_enough));
}

fn check_version(before: &Approval, after: &Approval) {
    let escalations = |approval: &Approval| {
        let names = approval.request.requirements.iter().map(|requirement| &requirement.name);
        names.map(|name| approval.escalated_at(name)).collect::<Vec<_>>()
    };
    let visible = |approval: &Approval| {
        let seen = (approval.state.clone(), approval.votes.clone(), approval.terms.clone());
        (seen, approval.uses.clone(), escalations(approval), approval.glass.clone())
    };
    assert_eq!(after.version > before.version, visible(before) != visible(after));
    assert!(after.version >= before.version);
}

fn check_voted(before: &Approval, input: &Input, after: &Approval) {
    let Some(vote) = after.votes.get(before.votes.len()) else { return };
    let Input::Vote { voter, decision, .. } = input else { panic!("{input:?} is no vote") };
    assert_eq!((&vote.person, vote.assurance), (&voter.person, voter.assurance));
    // Time may have had more people asked just before the vote, and no vote of this moment opened its stage.
    let asked = Approval { votes: before.votes.clone(), ..after.clone() };
    let counts = |one: &&Requirement| {
        let is_sure = *decision == VoteDecision::Deny || voter.assurance >= one.assurance;
        may_stand(&asked, one, voter) && is_sure && asked.is_open(one)
    };
    let frozen = after.request.requirements.iter();
    let expected: Vec<_> = frozen.filter(counts).map(|r| r.name.clone()).collect();
    assert!(!expected.is_empty(), "I3");
    assert_eq!(vote.eligible_for, expected, "I3");
    check_stage(before, vote);
}

/// Whoever votes in a later stage votes after as many people as all stages before it need (I4).
fn check_stage(before: &Approval, vote: &Vote) {
    let requirements = &before.request.requirements;
    let votes_in = |one: &&Requirement| vote.eligible_for.contains(&one.name);
    let Some(stage) = requirements.iter().filter(votes_in).map(|one| one.stage).max() else { return };
    let earlier: Vec<_> = requirements.iter().filter(|one| one.stage < stage).collect();
    let counts = |person: &PersonId| {
        let last = before.votes.iter().rfind(|vote| vote.person == *person).unwrap();
        last.decision == VoteDecision::Approve
            && earlier.iter().any(|one| last.eligible_for.contains(&one.name))
    };
    let people: BTreeSet<_> = before.votes.iter().map(|vote| &vote.person).collect();
    let have = people.into_iter().filter(|person| counts(person)).count();
    assert!(have >= earlier.iter().map(|one| one.quorum as usize).sum(), "a stage was skipped");
}

/// Everything that holds of an approval at any time.
fn check_state(approval: &Approval) {
    let Some(terms) = &approval.terms else {
        assert!(!matches!(
            approval.phase(),
            Phase::Approved
                | Phase::Claimed
                | Phase::Executed
                | Phase::Failed
                | Phase::OutcomeUnknown
                | Phase::Lapsed
                | Phase::Revoked
        ));
        assert!(approval.uses.is_empty(), "I2: nothing is used without an approval");
        return;
    };
    check_quorum(approval);
    assert!(approval.uses.len() <= terms.uses as usize, "I2: never more uses than granted");
    let numbers: BTreeSet<_> = approval.uses.iter().map(|one| one.number).collect();
    assert_eq!(numbers.len(), approval.uses.len(), "I2: each use once");
    for one in &approval.uses {
        assert!((1..=terms.uses).contains(&one.number));
        assert!(one.claimed_at < if one.number == 1 { terms.execute_by } else { terms.not_after });
    }
    let scope = GrantScope::of(&approval.request);
    let finest = approval.request.requirements.iter().map(|requirement| match &requirement.grant {
        GrantShape::Task(task) if scope.is_some() => task.count,
        GrantShape::Once | GrantShape::Task(_) => 1,
        GrantShape::Uses { uses, .. } => *uses,
        GrantShape::Window(_) => GrantShape::MAX_USES,
    });
    let alone = approval.glass.is_some().then_some(1);
    assert_eq!(Some(terms.uses), finest.chain(alone).min());
    assert_eq!(terms.scope, scope.filter(|_| alone.is_none()));
    if matches!(approval.phase(), Phase::Executed | Phase::Failed | Phase::OutcomeUnknown) {
        let known = approval.uses.iter().filter(|one| one.outcome.is_some());
        assert!(known.count() > 0);
    }
}

/// I4: every requirement has its people, each of them approved, each for one requirement only.
fn check_quorum(approval: &Approval) {
    let met = &approval.terms.as_ref().unwrap().met;
    assert_eq!(met.len(), approval.request.requirements.len());
    let (mut counted, mut rights) = (BTreeSet::new(), BTreeSet::new());
    if let Some(glass) = &approval.glass {
        counted.insert(&glass.by);
        rights.insert(&glass.by);
    }
    for (met, requirement) in met.iter().zip(&approval.request.requirements) {
        assert_eq!(met.name, requirement.name);
        if met.break_glass {
            assert_eq!(met.by, [approval.glass.as_ref().unwrap().by.clone()]);
            assert!(!requirement.break_glass.is_empty(), "policy lets nobody do this alone");
            continue;
        }
        assert_eq!(met.by.len(), requirement.quorum as usize, "I4");
        for person in &met.by {
            let vote = approval.votes.iter().rfind(|vote| vote.person == *person).unwrap();
            assert!(counted.insert(person), "I4: {person} counts twice");
            assert!(rights.insert(vote.right_of(&met.name)), "I4: a right counts twice");
            assert_eq!(vote.decision, VoteDecision::Approve);
            assert!(vote.eligible_for.contains(&met.name));
            assert!(vote.assurance >= requirement.assurance, "{person} was not sure enough for {}", met.name);
        }
    }
    check_rights(approval, &rights);
}

/// I3, I4: whoever counts by somebody else's right counts by that of no party, and of nobody who spoke themselves.
fn check_rights(approval: &Approval, used: &BTreeSet<&PersonId>) {
    let spoke = |person: &PersonId| approval.votes.iter().any(|vote| vote.person == *person);
    for vote in &approval.votes {
        for delegated in &vote.delegated {
            let initiator = approval.request.submission.provenance.initiator.as_ref();
            assert!(delegated.from != approval.request.owner, "I3");
            assert!(initiator.is_none_or(|initiator| initiator.person != delegated.from), "I3");
            assert!(vote.eligible_for.contains(&delegated.requirement));
        }
    }
    let met = &approval.terms.as_ref().unwrap().met;
    let counted: BTreeSet<_> = met.iter().flat_map(|met| &met.by).collect();
    for right in used.iter().filter(|right| !counted.contains(**right)) {
        assert!(!spoke(right), "I4: {right} has spoken, and their stand-in counts");
    }
}

/// Lives a story through, checks every step, and returns how it ends and when.
fn live(mut approval: Approval, story: &[(i64, Input)]) -> (Approval, i64) {
    let (mut clock, mut granted) = (0, 0);
    for (pause, input) in story {
        clock += pause;
        let Ok((after, effects)) = transition(&approval, input, at(clock)) else { continue };
        check_step(&approval, input, at(clock), &after, &effects);
        check_state(&after);
        // A vote that moved to another requirement can leave one whose time to escalate is over.
        let settled =
            transition(&after, &Input::Tick, at(clock)).map_or_else(|_| after.clone(), |(next, _)| next);
        if let Ok((again, _)) = transition(&settled, input, at(clock)) {
            assert_eq!(again.version, settled.version, "a repeated {input:?} changes nothing");
        }
        granted += effects.iter().filter(|effect| **effect == Effect::IssueGrant).count();
        approval = after;
    }
    assert!(granted <= 1, "one approval, one grant");
    (approval, clock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn whatever_happens_the_invariants_hold(approval in any_approval(), story in any_story()) {
        let (end, _) = live(approval, &story);
        let stored = serde_json::to_vec(&end).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Approval>(&stored).unwrap(), &end);
        let issuer = "spiffe://example.org/control-plane".parse().unwrap();
        prop_assert_eq!(GrantClaims::of(&end, issuer).is_some(), end.terms.is_some());
    }

    /// I5: whatever has been said, time alone only ends it; and it does end it.
    #[test]
    fn time_alone_never_approves_and_always_ends(approval in any_approval(), story in any_story()) {
        let (mut approval, _) = live(approval, &story);
        let was_approved = approval.terms.is_some();
        let mut ticks = 0;
        while let Some(wake) = approval.wake_at() {
            let (after, effects) = transition(&approval, &Input::Tick, wake).unwrap();
            check_step(&approval, &Input::Tick, wake, &after, &effects);
            prop_assert!(after != approval, "a clock that runs out changes something");
            approval = after;
            ticks += 1;
            prop_assert!(ticks < 4 + 3 * (1 + Requirement::MAX_REMINDERS));
        }
        prop_assert_eq!(approval.terms.is_some(), was_approved);
        let runs = approval.phase() == Phase::Claimed && approval.uses.iter().any(|one| one.outcome.is_none());
        prop_assert!(approval.phase().is_terminal() || runs);
    }

    /// I4: fewer distinct people than the quorums add up to are never enough, however often they vote.
    #[test]
    fn too_few_people_are_never_enough(approval in any_approval(), story in any_story(), few in any::<prop::sample::Index>()) {
        let need: u32 = approval.request.requirements.iter().map(|requirement| requirement.quorum).sum();
        let some: BTreeSet<_> = PEOPLE.iter().skip(2).take(few.index(need as usize)).map(|name| person(name)).collect();
        let story: Vec<_> = story
            .into_iter()
            .filter(|(_, input)| match input {
                Input::Vote { voter, .. } => some.contains(&voter.person),
                Input::BreakGlass { .. } => false,
                _ => true,
            })
            .collect();
        prop_assert!(live(approval, &story).0.terms.is_none());
    }
}
