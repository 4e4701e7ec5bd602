//! `approvals.toml`: the named requirements, and whether anybody could ever meet them.

mod asking;

use std::collections::BTreeMap;

use countersign_model::{
    Assurance, GrantShape, Requirement, RequirementKind, RequirementName, ReviewerSelector, Seconds,
};

use crate::{
    problem::Problems,
    toml_reader::{Section, read_file},
};

/// The most people that one requirement can ask for.
const LARGEST_QUORUM: u32 = 100;

/// Reads `approvals.toml`.
pub(crate) fn read(
    file: &str,
    bytes: &[u8],
    problems: &mut Problems,
) -> BTreeMap<RequirementName, Requirement> {
    let mut requirements = BTreeMap::new();
    read_file(file, bytes, problems, |section, problems| {
        section.named_tables("requirements", problems, |name, section, problems| {
            let requirement = read_requirement(name, section, problems);
            if let Some(requirement) = requirement {
                check(&requirement, section, problems);
                asking::check(&requirement, section, problems);
                requirements.insert(requirement.name.clone(), requirement);
            }
        });
    });
    requirements
}

fn read_requirement(
    name: &str,
    section: &mut Section<'_, '_>,
    problems: &mut Problems,
) -> Option<Requirement> {
    // Every key is read, so that all mistakes are reported, also when the name is one of them.
    let kind = section.get("kind", problems);
    let reviewers: Option<Vec<ReviewerSelector>> = section.get("reviewers", problems);
    let quorum: Option<u32> = section.get("quorum", problems);
    let decide_within: Option<Seconds> = section.get("decide_within", problems);
    let execute_within: Option<Seconds> = section.get("execute_within", problems);
    let grant: Option<GrantShape> = section.get("grant", problems);
    let assurance: Option<Assurance> = section.get("assurance", problems);
    let stage: Option<u32> = section.get("stage", problems);
    let deny_threshold: Option<u32> = section.get("deny_threshold", problems);
    let escalate = section.get("escalate", problems);
    let remind_every: Option<Seconds> = section.get("remind_every", problems);
    let reason = section.get("reason", problems);
    let break_glass: Option<Vec<ReviewerSelector>> = section.get("break_glass", problems);
    let name = match name.parse::<RequirementName>() {
        Ok(name) => name,
        Err(error) => {
            problems.add(section.place(), error.to_string(), "rename the requirement");
            return None;
        }
    };
    let usual = Requirement::new(name, reviewers.unwrap_or_default());
    Some(Requirement {
        kind: kind.unwrap_or(usual.kind),
        quorum: quorum.unwrap_or(usual.quorum),
        decide_within: decide_within.unwrap_or(usual.decide_within),
        execute_within: execute_within.unwrap_or(usual.execute_within),
        grant: grant.unwrap_or(usual.grant),
        assurance: assurance.unwrap_or(usual.assurance),
        stage: stage.unwrap_or(usual.stage),
        deny_threshold: deny_threshold.unwrap_or(usual.deny_threshold),
        escalate,
        remind_every,
        reason: reason.unwrap_or(usual.reason),
        break_glass: break_glass.unwrap_or(usual.break_glass),
        ..usual
    })
}

/// Reports why nobody could meet a requirement.
fn check(requirement: &Requirement, section: &Section<'_, '_>, problems: &mut Problems) {
    let name = &requirement.name;
    let mut refuse = |key: &str, why: String, hint: &str| {
        problems.add(section.place_of(key), format!("nobody can meet {name}: {why}"), hint);
    };
    if requirement.quorum == 0 || requirement.quorum > LARGEST_QUORUM {
        refuse("quorum", format!("its quorum is {}", requirement.quorum), "a quorum is from 1 to 100 people");
    }
    for (key, span) in
        [("decide_within", requirement.decide_within), ("execute_within", requirement.execute_within)]
    {
        if span.get() == 0 {
            refuse(key, format!("{key} leaves no time"), "give it at least a second");
        }
    }
    match requirement.kind {
        RequirementKind::Approval => {
            if let Some(people) = named_people(requirement.everybody_asked()) {
                if people == 0 && !section.has("reviewers") {
                    refuse("reviewers", "it has no reviewers".into(), "add reviewers = [\"group:NAME\"]");
                } else if people == 0 && requirement.reviewers.is_empty() {
                    refuse("reviewers", "it has no reviewers".into(), "name a group, a user, or \"*\"");
                } else if people < u64::from(requirement.quorum) {
                    let quorum = requirement.quorum;
                    let why = format!("it asks for {quorum} people but names {people}");
                    refuse("reviewers", why, "name more people, a group, or \"*\"");
                }
            }
        }
        RequirementKind::Confirmation => {
            if !requirement.reviewers.is_empty() {
                let why = "a confirmation is given by the initiating human alone".to_owned();
                refuse("reviewers", why, "remove reviewers, or make it an approval");
            }
            if requirement.quorum != 1 {
                let why = "a confirmation is one person's word".to_owned();
                refuse("quorum", why, "remove quorum, or make it an approval");
            }
        }
    }
}

/// How many different people are named, when only people are named.
fn named_people<'a>(reviewers: impl Iterator<Item = &'a ReviewerSelector>) -> Option<u64> {
    let mut people = std::collections::BTreeSet::new();
    for reviewer in reviewers {
        match reviewer {
            ReviewerSelector::User(person) => people.insert(person),
            ReviewerSelector::Anyone | ReviewerSelector::Group(_) => return None,
        };
    }
    u64::try_from(people.len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        read("approvals.toml", text.as_bytes(), &mut problems);
        problems.as_slice().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_requirement_has_sensible_defaults() {
        let mut problems = Problems::default();
        let read = read("a", b"[requirements.x]\nreviewers = [\"*\"]\n", &mut problems);
        assert!(problems.is_empty(), "{problems}");
        let requirement = &read[&"x".parse().unwrap()];
        assert_eq!((requirement.quorum, &requirement.grant), (1, &GrantShape::Once));
        assert_eq!(requirement.assurance, Assurance::Any);
        assert_eq!(requirement.decide_within, Seconds::new(900));
    }

    /// A requirement that nobody can meet would hold operations until they expire.
    #[test]
    fn a_requirement_that_nobody_can_meet_is_refused() {
        for body in [
            "",
            "reviewers = []",
            "reviewers = [\"*\"]\nquorum = 0",
            "reviewers = [\"*\"]\nquorum = 101",
            "reviewers = [\"user:a@example.com\"]\nquorum = 2",
            "reviewers = [\"user:a@example.com\", \"user:A@Example.com\"]\nquorum = 2",
            "reviewers = [\"*\"]\ndecide_within = \"0s\"",
            "reviewers = [\"*\"]\nexecute_within = \"0s\"",
            "kind = \"confirmation\"\nreviewers = [\"*\"]",
            "kind = \"confirmation\"\nquorum = 2",
        ] {
            let found = problems(&format!("[requirements.x]\n{body}\n"));
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            assert!(found[0].contains("nobody can meet x"), "{found:?}");
        }
        for body in [
            "reviewers = [\"user:a@example.com\", \"user:b@example.com\"]\nquorum = 2",
            "reviewers = [\"user:a@example.com\", \"group:sre\"]\nquorum = 5",
            "kind = \"confirmation\"",
        ] {
            assert_eq!(problems(&format!("[requirements.x]\n{body}\n")), [""; 0], "{body}");
        }
    }

    #[test]
    fn a_task_says_its_budget_and_what_is_wrong_with_it() {
        let text = |task: &str| format!("[requirements.x]\nreviewers = [\"*\"]\ngrant.task = {task}\n");
        let amount = "amount = { argument = \"/sum/value\", total = \"499.95\", each = 200 }";
        let whole = format!("{{ count = 5, within = \"30m\", resources = [\"s3://reports/\"], {amount} }}");
        assert_eq!(problems(&text(&whole)), [""; 0]);
        for (task, says) in [
            ("{ count = 1, within = \"30m\" }", "from 2 to 1000"),
            ("{ count = 5 }", "within"),
            ("{ count = 5, within = \"0s\" }", "needs a time"),
            ("{ count = 5, within = \"30m\", resources = [\"prod/../\"] }", "no prefix of resources"),
            ("{ count = 5, within = \"30m\", resource = [\"prod/\"] }", "unknown field `resource`"),
            ("{ count = 5, within = \"30m\", amount = { argument = \"a\", total = 499.95 } }", "499.95"),
        ] {
            let found = problems(&text(task));
            assert!(found.len() == 1 && found[0].contains(says), "{task}: {found:?}");
        }
    }

    #[test]
    fn an_assurance_is_one_of_three() {
        let text = |word| format!("[requirements.x]\nreviewers = [\"*\"]\nassurance = \"{word}\"\n");
        for assurance in [Assurance::Any, Assurance::Console, Assurance::Passkey] {
            let mut problems = Problems::default();
            let read = read("a", text(assurance.as_str()).as_bytes(), &mut problems);
            assert_eq!(read[&"x".parse().unwrap()].assurance, assurance);
        }
        assert!(problems(&text("phone"))[0].contains("passkey"), "{:?}", problems(&text("phone")));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let found = problems(
            "[requirements.\"a b\"]\nreviewers = [\"sre\"]\n[requirements.y]\nreveiwers = [\"*\"]\n",
        );
        assert!(found.iter().any(|p| p.starts_with("approvals.toml:1: \"a b\" is not a requirement name")));
        assert!(
            found.iter().any(|p| p.starts_with("approvals.toml:2: reviewers: \"sre\" names no reviewers"))
        );
        assert!(found.iter().any(|p| p.contains("did you mean reviewers?")), "{found:?}");
    }
}
