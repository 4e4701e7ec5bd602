//! How people are asked: stages, denials, escalation, reminders, and the glass. What makes no sense is refused here,
//! because at the time of an emergency it would be too late to find out.

use std::collections::BTreeSet;

use countersign_model::{Requirement, RequirementKind, ReviewerSelector, Seconds};

use super::{LARGEST_QUORUM, named_people};
use crate::{problem::Problems, toml_reader::Section};

/// The most entries that all lists of people of one requirement have together: what the link carries.
const MOST_REVIEWERS: usize = 64;

/// Reports what is wrong with how people are asked.
pub(super) fn check(requirement: &Requirement, section: &Section<'_, '_>, problems: &mut Problems) {
    let mut refuse = |key: &str, why: &str, hint: &str| {
        problems.add(section.place_of(key), format!("{}: {why}", requirement.name), hint);
    };
    if !(1..=Requirement::LAST_STAGE).contains(&requirement.stage) {
        refuse("stage", "nobody can reach its stage", "stages are numbered from 1 to 16");
    }
    if requirement.everybody_asked().count() > MOST_REVIEWERS {
        refuse("reviewers", "it names more than 64 people and groups", "make a group of them");
    }
    if let Some(why) = unreachable_denial(requirement) {
        refuse("deny_threshold", why, "use deny_threshold = 1, or name more people");
    }
    if let Some(why) = pointless_escalation(requirement) {
        refuse("escalate", why, "write escalate = { after = \"10m\", to = [\"group:NAME\"] }");
    }
    if requirement.remind_every.is_some_and(|every| !is_within(every, requirement)) {
        refuse("remind_every", "no reminder comes in time", "remind sooner than decide_within, not at once");
    }
    if let Some(why) = unusable_glass(requirement) {
        refuse("break_glass", why, "name a group that others than its members can review");
    }
}

/// Whether there is such a moment between the question and the end of the time to decide.
fn is_within(span: Seconds, requirement: &Requirement) -> bool {
    span > Seconds::new(0) && span < requirement.decide_within
}

fn unreachable_denial(requirement: &Requirement) -> Option<&'static str> {
    let threshold = requirement.deny_threshold;
    if threshold == 0 || threshold > LARGEST_QUORUM {
        return Some("its deny_threshold is not from 1 to 100 people");
    }
    let people = match requirement.kind {
        RequirementKind::Approval => named_people(requirement.everybody_asked()),
        RequirementKind::Confirmation => Some(1),
    };
    let is_short = people.is_some_and(|people| people > 0 && people < u64::from(threshold));
    is_short.then_some("its deny_threshold is more people than can vote on it")
}

fn pointless_escalation(requirement: &Requirement) -> Option<&'static str> {
    let escalation = requirement.escalate.as_ref()?;
    let is_new = |one: &ReviewerSelector| {
        ![one, &ReviewerSelector::Anyone].iter().any(|known| requirement.reviewers.contains(known))
    };
    if requirement.kind == RequirementKind::Confirmation {
        Some("a confirmation is given by the initiating human alone")
    } else if !is_within(escalation.after, requirement) {
        Some("it never escalates: that has to be sooner than decide_within, and not at once")
    } else if !escalation.to.iter().any(is_new) {
        Some("it escalates to nobody who could not vote before")
    } else {
        None
    }
}

fn unusable_glass(requirement: &Requirement) -> Option<&'static str> {
    let names = |selectors: &[ReviewerSelector]| selectors.iter().cloned().collect::<BTreeSet<_>>();
    if requirement.break_glass.is_empty() {
        return None;
    }
    if requirement.kind == RequirementKind::Confirmation {
        return Some("nobody can confirm in the initiating human's place");
    }
    if requirement.break_glass.len() > MOST_REVIEWERS {
        return Some("it names more than 64 people and groups who may break the glass");
    }
    let reviewers: Vec<_> = requirement.everybody_asked().cloned().collect();
    let sole_reviewer = named_people(reviewers.iter()) == Some(1);
    let breaks_it = !names(&reviewers).is_disjoint(&names(&requirement.break_glass));
    (sole_reviewer && breaks_it).then_some("nobody but its one reviewer could review what they did alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let text = format!("[requirements.x]\n{body}\n");
        crate::requirements::read("approvals.toml", text.as_bytes(), &mut problems);
        problems.as_slice().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        let anyone = "reviewers = [\"*\"]\n";
        let group = "reviewers = [\"group:sre\"]\n";
        let one = "reviewers = [\"user:reviewer-one@example.com\"]\n";
        for (base, line, expected) in [
            (anyone, "stage = 0", "nobody can reach its stage"),
            (anyone, "stage = 17", "nobody can reach its stage"),
            (anyone, "deny_threshold = 0", "its deny_threshold is not from 1 to 100 people"),
            (one, "deny_threshold = 2", "more people than can vote"),
            (group, "escalate = { after = \"15m\", to = [\"group:managers\"] }", "it never escalates"),
            (group, "escalate = { after = \"0s\", to = [\"group:managers\"] }", "it never escalates"),
            (group, "escalate = { after = \"5m\", to = [] }", "nobody who could not vote before"),
            (
                group,
                "escalate = { after = \"5m\", to = [\"group:sre\"] }",
                "nobody who could not vote before",
            ),
            (
                anyone,
                "escalate = { after = \"5m\", to = [\"group:sre\"] }",
                "nobody who could not vote before",
            ),
            (anyone, "remind_every = \"15m\"", "no reminder comes in time"),
            (anyone, "remind_every = \"0s\"", "no reminder comes in time"),
            (one, "break_glass = [\"user:reviewer-one@example.com\"]", "nobody but its one reviewer"),
            ("kind = \"confirmation\"\n", "break_glass = [\"group:leads\"]", "nobody can confirm in"),
            ("kind = \"confirmation\"\n", "deny_threshold = 2", "more people than can vote"),
            (
                "kind = \"confirmation\"\n",
                "escalate = { after = \"5m\", to = [\"group:sre\"] }",
                "given by the initiating human alone",
            ),
        ] {
            let found = problems(&format!("{base}{line}"));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].starts_with("approvals.toml:3: x: "), "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn what_makes_sense_is_taken_as_it_is_written() {
        let mut problems = Problems::default();
        let text = br#"[requirements.x]
reviewers = ["group:sre"]
stage = 2
deny_threshold = 2
escalate = { after = "10m", to = ["group:managers"] }
remind_every = "5m"
reason = "required"
break_glass = ["group:oncall-leads"]
"#;
        let read = crate::requirements::read("approvals.toml", text, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        let requirement = &read[&"x".parse().unwrap()];
        assert_eq!((requirement.stage, requirement.deny_threshold), (2, 2));
        assert_eq!(requirement.escalate.as_ref().unwrap().after, Seconds::new(600));
        assert_eq!(requirement.remind_every, Some(Seconds::new(300)));
        assert_eq!(requirement.reason, countersign_model::ReasonRule::Required);
        assert_eq!(requirement.break_glass, ["group:oncall-leads".parse().unwrap()]);
    }

    /// One of two named people may still end a request whose other denier is only asked later.
    #[test]
    fn those_whom_it_escalates_to_count_as_people() {
        let two = "reviewers = [\"user:reviewer-one@example.com\"]\nquorum = 2\ndeny_threshold = 2\n";
        let later = "escalate = { after = \"1m\", to = [\"user:reviewer-two@example.com\"] }";
        assert_eq!(problems(&format!("{two}{later}")), [""; 0]);
    }
}
