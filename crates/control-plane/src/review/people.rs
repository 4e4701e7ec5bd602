//! Who decides, who has, and what follows, in words.

use countersign_approval::{Approval, GrantScope, Phase, Request, VoteDecision};
use countersign_model::{Assurance, GrantShape, PersonId, Requirement, RequirementKind, Seconds, Timestamp};
use serde::Serialize;

use super::text::Untrusted;

/// Where an approval stands, in the words that every channel has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The state, as the API names it.
    pub state: &'static str,
    /// In words.
    pub words: &'static str,
    /// How it is meant.
    pub tone: Tone,
}

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// It waits for somebody.
    Open,
    /// It went as its people wanted.
    Good,
    /// It was refused, or went wrong.
    Bad,
    /// Nobody knows how it went.
    Doubtful,
    /// It is over.
    Neutral,
}

impl Standing {
    /// The words for a phase.
    #[must_use]
    pub const fn of(phase: Phase) -> Self {
        let (words, tone) = match phase {
            Phase::Pending => ("waiting", Tone::Open),
            Phase::Approved => ("approved", Tone::Good),
            Phase::Claimed => ("running", Tone::Good),
            Phase::Executed => ("approved and executed", Tone::Good),
            Phase::Failed => ("approved, then failed", Tone::Bad),
            Phase::OutcomeUnknown => ("approved, outcome unknown", Tone::Doubtful),
            Phase::Denied => ("denied", Tone::Bad),
            Phase::Expired => ("not decided in time", Tone::Neutral),
            Phase::Lapsed => ("approved, not used in time", Tone::Neutral),
            Phase::Cancelled => ("cancelled", Tone::Neutral),
            Phase::Revoked => ("taken back", Tone::Bad),
            Phase::Invalidated => ("no longer valid", Tone::Neutral),
        };
        Self { state: phase.as_str(), words, tone }
    }
}

/// What must be met, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The requirement's name.
    pub name: String,
    /// How many people it takes.
    pub quorum: u32,
    /// How many there are.
    pub have: u32,
    /// What it takes and from whom, and what it has, in words: “1 of 2 approvals from the group sre”.
    pub words: String,
    /// Whether its people are asked already; it waits for the stages before it otherwise.
    pub is_open: bool,
}

/// One person's vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cast {
    /// Who.
    pub person: Untrusted,
    /// Whether they approved; they denied otherwise.
    pub approved: bool,
    /// Why.
    pub reason: Option<Untrusted>,
    /// Through which channel.
    pub channel: String,
    /// Whether they used their passkey for this one decision.
    pub with_passkey: bool,
    /// When.
    pub at: Timestamp,
}

/// What follows from a vote, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consequence {
    /// Of an approval.
    pub approve: String,
    /// Of a denial.
    pub deny: String,
}

pub(super) fn person(person: &PersonId) -> Untrusted {
    Untrusted::exact(person.as_str())
}

pub(super) fn needs(approval: &Approval) -> Vec<Need> {
    let progress = approval.progress();
    let need = |requirement: &Requirement| {
        let found = progress.iter().find(|one| one.requirement == requirement.name);
        let have = found.map_or(0, |one| one.have);
        let reviewers = found.map(|one| one.reviewers.as_slice()).unwrap_or_default();
        Need {
            name: requirement.name.to_string(),
            quorum: requirement.quorum,
            have,
            words: match &approval.glass {
                Some(_) if have < requirement.quorum => "met by breaking the glass".to_owned(),
                _ => still_needed(requirement, have, reviewers) + &later(approval, requirement),
            },
            is_open: approval.is_open(requirement),
        }
    };
    approval.request.requirements.iter().map(need).collect()
}

fn still_needed(requirement: &Requirement, have: u32, reviewers: &[String]) -> String {
    match (requirement.kind, have) {
        (RequirementKind::Confirmation, 0) => "the initiating person has to confirm".to_owned(),
        (RequirementKind::Confirmation, _) => "confirmed".to_owned(),
        (RequirementKind::Approval, have) => {
            let from = reviewers.iter().map(|reviewer| who(reviewer)).collect::<Vec<_>>().join(" or ");
            let noun = if requirement.quorum == 1 { "approval" } else { "approvals" };
            let how = match requirement.assurance {
                Assurance::Any => "",
                Assurance::Console => ", given in the console",
                Assurance::Passkey => ", each with a passkey",
            };
            format!("{have} of {} {noun} from {from}{how}", requirement.quorum)
        }
    }
}

/// What a requirement waits for, and who else is asked when nobody answers.
fn later(approval: &Approval, requirement: &Requirement) -> String {
    let mut later = String::new();
    if !approval.is_open(requirement) {
        later.push_str("; asked once the stages before it are met");
    }
    if let Some(escalation) = requirement.escalate.as_ref()
        && approval.escalated_at(&requirement.name).is_none()
    {
        let to = escalation.to.iter().map(|to| who(&to.to_string())).collect::<Vec<_>>().join(" or ");
        later.push_str(&format!("; after {} also from {to}", span(escalation.after)));
    }
    later
}

/// A selector in words. Its name comes from the bundle, and is shown as exactly its characters.
fn who(selector: &str) -> String {
    let name = |name: &str| Untrusted::exact(name).one_line(usize::MAX);
    match selector.split_once(':') {
        Some(("group", group)) => format!("the group {}", name(group)),
        Some(("user", person)) => name(person),
        _ if selector == "*" => "any reviewer".to_owned(),
        _ => name(selector),
    }
}

pub(super) fn votes(approval: &Approval) -> Vec<Cast> {
    let cast = |vote: &countersign_approval::Vote| Cast {
        person: person(&vote.person),
        approved: vote.decision == VoteDecision::Approve,
        reason: vote.reason.as_deref().map(Untrusted::prose),
        channel: vote.channel.clone(),
        with_passkey: vote.assurance == Assurance::Passkey,
        at: vote.at,
    };
    approval.votes.iter().map(cast).collect()
}

/// What follows from a vote; nothing while there is none to be cast.
pub(super) fn consequence(approval: &Approval, needs: &[Need]) -> Option<Consequence> {
    if approval.phase() != Phase::Pending {
        return None;
    }
    let missing: u32 = needs.iter().map(|need| need.quorum.saturating_sub(need.have)).sum();
    let request = &approval.request;
    let runs = format!("{} on the sidecar of {}", runs(request), request.agent_name);
    let approve = match missing.saturating_sub(1) {
        0 => format!("If you approve: it {runs}."),
        1 => format!("If you approve: one more approval is needed. Then it {runs}."),
        more => format!("If you approve: {more} more approvals are needed. Then it {runs}."),
    };
    let deny = match denials_left(approval).saturating_sub(1) {
        0 => "If you deny: it does not run, and the agent is told so.".to_owned(),
        1 => "If you deny: one more denial is needed to refuse it.".to_owned(),
        more => format!("If you deny: {more} more denials are needed to refuse it."),
    };
    Some(Consequence { approve, deny })
}

/// How many denials refuse it, from here on.
fn denials_left(approval: &Approval) -> u32 {
    let left = |requirement: &Requirement| {
        let denied = u32::try_from(approval.denials(&requirement.name)).unwrap_or(u32::MAX);
        requirement.deny_threshold.saturating_sub(denied)
    };
    let open = approval.request.requirements.iter().filter(|requirement| approval.is_open(requirement));
    open.map(left).min().unwrap_or(1)
}

/// How often and how soon, as the narrowest of the requirements has it.
fn runs(request: &Request) -> String {
    let requirements = &request.requirements;
    let start = requirements.iter().map(|requirement| requirement.execute_within).min().unwrap_or_default();
    if let Some(scope) = GrantScope::of(request) {
        return task(&scope, start);
    }
    let narrowest =
        requirements.iter().map(|requirement| &requirement.grant).min_by_key(|grant| match grant {
            GrantShape::Once | GrantShape::Task(_) => 1,
            GrantShape::Uses { uses, .. } => *uses,
            GrantShape::Window(_) => GrantShape::MAX_USES,
        });
    match narrowest {
        Some(GrantShape::Uses { uses, within }) if *uses > 1 => {
            format!("may run up to {uses} times within {}, first within {}", span(*within), span(start))
        }
        Some(GrantShape::Window(within)) => {
            format!("may run as often as it is wanted within {}, first within {}", span(*within), span(start))
        }
        _ => format!("runs once, within {},", span(start)),
    }
}

/// What a task lets run. Its names come from the bundle, and are shown as exactly their characters.
fn task(scope: &GrantScope, start: Seconds) -> String {
    let name = |name: &str| Untrusted::exact(name).one_line(usize::MAX);
    let budgets: Vec<_> = scope.budgets.iter().map(|budget| budget.words(span, name)).collect();
    format!(
        "may run, and so may others of the same action without another question, {}, first within {},",
        budgets.join(", and no more than "),
        span(start)
    )
}

/// A span of time in words.
pub(super) fn span(span: Seconds) -> String {
    let seconds = span.as_millis() / 1_000;
    let counted = |count: i64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    match seconds {
        0..60 => counted(seconds, "second"),
        _ if seconds % 86_400 == 0 => counted(seconds / 86_400, "day"),
        _ if seconds % 3_600 == 0 => counted(seconds / 3_600, "hour"),
        _ if seconds % 60 == 0 => counted(seconds / 60, "minute"),
        _ => format!("{} {}", counted(seconds / 60, "minute"), counted(seconds % 60, "second")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_words() {
        for phase in Phase::ALL {
            let standing = Standing::of(phase);
            assert_eq!(standing.state, phase.as_str());
            assert_eq!(standing.tone == Tone::Open, phase == Phase::Pending);
        }
    }

    #[test]
    fn reviewers_are_named_in_words() {
        for (selector, words) in [
            ("*", "any reviewer"),
            ("group:sre", "the group sre"),
            ("user:reviewer-one@example.com", "reviewer-one@example.com"),
            ("group:sr\u{435}", "the group sr\u{435}[U+0435]"),
        ] {
            assert_eq!(who(selector), words);
        }
    }

    #[test]
    fn spans_are_said_as_people_do() {
        for (seconds, words) in [
            (1, "1 second"),
            (90, "1 minute 30 seconds"),
            (300, "5 minutes"),
            (3_600, "1 hour"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(Seconds::new(seconds)), words);
        }
    }
}
