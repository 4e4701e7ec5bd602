//! Quorum: distinct people, each counted for one requirement only (I4).
//!
//! A person may be eligible for several requirements. Counting them for each would let one person
//! stand for two; counting them for the first that fits could leave a request unmet that is met. So
//! people are *matched* to the open places of the requirements, as many as can be (Kuhn's algorithm).

use std::collections::{BTreeMap, BTreeSet};

use countersign_model::{PersonId, Requirement, RequirementName};

use crate::vote::{Vote, VoteDecision};

/// Who counts for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// For every requirement, in order, the people who count for it.
    pub(crate) by_requirement: Vec<Vec<PersonId>>,
    /// Whether every requirement has all the people that it needs.
    pub(crate) complete: bool,
}

/// Matches the people who approved to the requirements, as many as can be.
pub(crate) fn assign(requirements: &[&Requirement], votes: &[Vote]) -> Assignment {
    match_up(requirements, &approvers(votes, None))
}

/// As [`assign`], of everybody but one person, whose rights nobody uses either.
pub(crate) fn assign_without(requirements: &[&Requirement], votes: &[Vote], person: &PersonId) -> Assignment {
    match_up(requirements, &approvers(votes, Some(person)))
}

fn match_up(requirements: &[&Requirement], approvers: &Approvers<'_>) -> Assignment {
    let mut matching = Matching::new(requirements, approvers);
    for person in 0..matching.people.len() {
        matching.seat(person, &mut BTreeSet::new());
    }
    matching.finish(requirements)
}

/// People, and what their word can count for.
type Approvers<'a> = BTreeMap<&'a PersonId, Vec<&'a RequirementName>>;

/// The people whose word is an approval, with what it can count for. A person who denied does not count.
///
/// A right counts once, whoever uses it: a stand-in's vote does not count by the right of somebody who has
/// voted themselves, nor by one that another stand-in used before (I4).
fn approvers<'a>(votes: &'a [Vote], without: Option<&'a PersonId>) -> Approvers<'a> {
    let spoken: BTreeSet<_> = votes.iter().map(|vote| &vote.person).chain(without).collect();
    let mut users: BTreeMap<&PersonId, &PersonId> = BTreeMap::new();
    for vote in votes {
        for delegated in &vote.delegated {
            users.entry(&delegated.from).or_insert(&vote.person);
        }
    }
    let counts = |vote: &Vote, name: &RequirementName| {
        let right = vote.right_of(name);
        *right == vote.person || (!spoken.contains(right) && users.get(right) == Some(&&vote.person))
    };
    let mut people = BTreeMap::new();
    for vote in votes.iter().filter(|vote| Some(&vote.person) != without) {
        let names = vote.eligible_for.iter().filter(|name| counts(vote, name)).collect();
        match vote.decision {
            VoteDecision::Approve => people.insert(&vote.person, names),
            VoteDecision::Deny => people.remove(&vote.person),
        };
    }
    people
}

struct Matching<'a> {
    people: Vec<(&'a PersonId, Vec<usize>)>,
    /// The person in each place of each requirement.
    seats: Vec<Vec<Option<usize>>>,
}

impl<'a> Matching<'a> {
    fn new(requirements: &[&Requirement], approvers: &Approvers<'a>) -> Self {
        let wants = |eligible: &[&RequirementName]| {
            let indexed = requirements.iter().enumerate();
            indexed.filter(|(_, r)| eligible.contains(&&r.name)).map(|(index, _)| index).collect()
        };
        // No requirement can seat more people than there are, whatever its quorum says.
        let places = |r: &&Requirement| usize::try_from(r.quorum).unwrap_or(usize::MAX).min(approvers.len());
        Self {
            seats: requirements.iter().map(|r| vec![None; places(r)]).collect(),
            people: approvers.iter().map(|(person, eligible)| (*person, wants(eligible))).collect(),
        }
    }

    /// Finds a place for a person, moving others to another of their places if that frees one.
    fn seat(&mut self, person: usize, tried: &mut BTreeSet<(usize, usize)>) -> bool {
        let wanted = self.people.get(person).map(|(_, wants)| wants.clone()).unwrap_or_default();
        for requirement in wanted {
            let places = self.seats.get(requirement).map_or(0, Vec::len);
            for place in 0..places {
                if !tried.insert((requirement, place)) {
                    continue;
                }
                let seated =
                    self.seats.get(requirement).and_then(|seats| seats.get(place)).copied().flatten();
                if seated.is_none_or(|other| self.seat(other, tried)) {
                    if let Some(seat) = self.seats.get_mut(requirement).and_then(|seats| seats.get_mut(place))
                    {
                        *seat = Some(person);
                    }
                    return true;
                }
            }
        }
        false
    }

    fn finish(self, requirements: &[&Requirement]) -> Assignment {
        let name = |index: &usize| self.people.get(*index).map(|(person, _)| (*person).clone());
        let by_requirement: Vec<Vec<PersonId>> =
            self.seats.iter().map(|seats| seats.iter().flatten().filter_map(name).collect()).collect();
        let met = |(requirement, people): (&&Requirement, &Vec<PersonId>)| {
            u32::try_from(people.len()).is_ok_and(|have| have >= requirement.quorum)
        };
        // Nothing to meet is not the same as everything met (I5).
        let complete = !requirements.is_empty() && requirements.iter().zip(&by_requirement).all(met);
        Assignment { by_requirement, complete }
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::{Assurance, ReviewerSelector, Timestamp, VoteId};
    use proptest::prelude::*;

    use super::*;

    fn requirement(index: usize, quorum: u32) -> Requirement {
        let name = format!("r{index}").parse().unwrap();
        Requirement { quorum, ..Requirement::new(name, vec![ReviewerSelector::Anyone]) }
    }

    fn each(requirements: &[Requirement]) -> Vec<&Requirement> {
        requirements.iter().collect()
    }

    fn vote(person: usize, decision: VoteDecision, eligible_for: &[usize]) -> Vote {
        Vote {
            id: VoteId::from_bytes([0; 16]),
            person: format!("reviewer-{person}@example.com").parse().unwrap(),
            decision,
            reason: None,
            at: Timestamp::from_millis(0),
            channel: "test".into(),
            method: "test".into(),
            assurance: Assurance::Any,
            eligible_for: eligible_for.iter().map(|index| format!("r{index}").parse().unwrap()).collect(),
            delegated: Vec::new(),
        }
    }

    #[test]
    fn one_person_never_stands_for_two() {
        let requirements = [requirement(0, 1), requirement(1, 1)];
        let one = [vote(0, VoteDecision::Approve, &[0, 1])];
        assert!(!assign(&each(&requirements), &one).complete);
        let repeated = [one[0].clone(), one[0].clone()];
        assert!(!assign(&each(&requirements), &repeated).complete);
    }

    #[test]
    fn whoever_can_move_makes_room_for_who_cannot() {
        let requirements = [requirement(0, 1), requirement(1, 1)];
        let votes = [vote(0, VoteDecision::Approve, &[0, 1]), vote(1, VoteDecision::Approve, &[0])];
        let assignment = assign(&each(&requirements), &votes);
        assert!(assignment.complete);
        assert_eq!(assignment.by_requirement[0][0].as_str(), "reviewer-1@example.com");
    }

    #[test]
    fn nothing_to_meet_is_not_met() {
        assert!(!assign(&[], &[vote(0, VoteDecision::Approve, &[])]).complete);
    }

    /// Hall's theorem, tried out: complete exactly when every set of requirements has enough people of its own.
    fn enough_people(quorums: &[u32], people: &[BTreeSet<usize>]) -> bool {
        (1_u32..1 << quorums.len()).all(|set| {
            let inside = |index: &usize| set & (1 << index) != 0;
            let need: u32 = (0..quorums.len()).filter(inside).map(|index| quorums[index]).sum();
            let have = people.iter().filter(|eligible| eligible.iter().any(&inside)).count();
            have >= need as usize
        })
    }

    proptest! {
        #[test]
        fn a_quorum_is_complete_exactly_when_distinct_people_can_fill_it(
            quorums in prop::collection::vec(1_u32..4, 1..4),
            people in prop::collection::vec(prop::collection::btree_set(0_usize..4, 0..4), 0..8),
        ) {
            let requirements: Vec<_> =
                quorums.iter().enumerate().map(|(index, quorum)| requirement(index, *quorum)).collect();
            let votes: Vec<_> = people.iter().enumerate().map(|(person, eligible)| {
                vote(person, VoteDecision::Approve, &eligible.iter().copied().collect::<Vec<_>>())
            }).collect();
            let assignment = assign(&each(&requirements), &votes);
            prop_assert_eq!(assignment.complete, enough_people(&quorums, &people));
            let counted: Vec<_> = assignment.by_requirement.iter().flatten().collect();
            prop_assert_eq!(counted.iter().collect::<BTreeSet<_>>().len(), counted.len());
        }
    }
}
