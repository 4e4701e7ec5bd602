//! Whatever an agent writes, our labels and our words around it stay what they are.

use countersign_approval::{Request, Submission};
use countersign_model::{
    AgentId, ApprovalId, DecidingPolicy, EvaluationId, Operation, PolicyEffect, Projection, Provenance,
    Requirement, Revision, Seconds, SpiffeId, Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_772_366_400_000);

/// Some characters that would mislead.
const HIDDEN: [char; 4] = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}'];

/// A request for an operation, with what an agent can write in it.
fn approval(number: u8, operation: Value, provenance: Provenance) -> Approval {
    let requirement: Requirement = serde_json::from_value(json!({
        "name": "two-sre", "reviewers": ["group:sre"], "quorum": 2, "decide_within": "15m", "execute_within": "5m"
    }))
    .unwrap();
    let operation: Operation = serde_json::from_value(operation).unwrap();
    let bound = operation.bind(&Projection::default()).unwrap();
    let submission = Submission {
        key: "key".to_owned(),
        evaluation: EvaluationId::from_bytes([1; 16]),
        digest: bound.digest(),
        operation: bound.text().to_owned(),
        redacted: Vec::new(),
        provenance,
        interceptor: "hook".to_owned(),
        policies: vec![DecidingPolicy {
            id: "deploys".to_owned(),
            effect: PolicyEffect::Forbid,
            reason: Some("Production deploys need two SREs".to_owned()),
            approval: Some(requirement.name.clone()),
        }],
        requirements: vec![requirement.name.clone()],
        revision: Revision(1),
        tool_pin: None,
        trace: None,
        substitutable: false,
        follows: None,
    };
    let request = Request {
        id: ApprovalId::from_bytes([number; 16]),
        submission,
        agent: AgentId::from_bytes([1; 16]),
        agent_name: "deploy-bot".parse().unwrap(),
        audience: SpiffeId::agent("example.org".parse().unwrap(), "deploy-bot".parse().unwrap()),
        owner: "owner@example.com".parse().unwrap(),
        requirements: vec![requirement],
        requester_lease: Seconds::new(60),
        submitted_at: NOW,
        edited_by: Vec::new(),
        labels: Vec::new(),
    };
    Approval::open(request).unwrap().0
}

fn review(operation: Value, provenance: Provenance) -> Review {
    Review::of(&approval(1, operation, provenance), &Past::default(), NOW)
}

/// An operation and a provenance with that text wherever an agent can put one.
fn written(text: &str) -> (Value, Provenance) {
    let operation = json!({
        "subject": {"type": text, "id": text},
        "action": {"name": text, "properties": {"version": text, "nested": {"list": [text, 1]}}},
        "resource": {"type": text, "id": text, "properties": {"team": text}},
        "context": {
            "diff": {"name": text, "current": text, "new": format!("{text}!")},
            "hook": {"line": format!("x{text}"), "cwd": format!("/{text}")},
        }
    });
    let said = Some(text.to_owned());
    let provenance = Provenance {
        initiator: None,
        model: said.clone(),
        session: said.clone(),
        reason: said.clone(),
        prompt: said,
    };
    (operation, provenance)
}

/// Our labels and words, without what somebody else wrote.
fn skeleton(text: &str) -> Vec<(&'static str, Vec<String>)> {
    let (operation, provenance) = written(text);
    let ours = |span: Span| match span {
        Span::Ours(text) => text,
        Span::Theirs(_) => "⟨theirs⟩".to_owned(),
    };
    let mut sections = review(operation, provenance).outline(NOW);
    // The digest differs with what it covers, and a difference has as many lines as its texts.
    sections.retain(|section| !matches!(section.label, "Digest" | "What changes"));
    let line = |line: Vec<Span>| line.into_iter().map(ours).collect::<String>();
    let section = |section: Section| (section.label, section.lines.into_iter().map(line).collect());
    sections.into_iter().map(section).collect()
}

proptest! {
    #[test]
    fn nothing_an_agent_writes_changes_our_labels(text in "(?s:.){1,300}") {
        prop_assert_eq!(skeleton(&text), skeleton("benign"));
    }

    #[test]
    fn nothing_an_agent_writes_breaks_a_line_or_hides(text in "(?s:.){1,60}") {
        let (operation, provenance) = written(&text);
        let review = review(operation, provenance);
        for span in review.outline(NOW).into_iter().flat_map(|section| section.lines).flatten() {
            let (Span::Ours(text) | Span::Theirs(text)) = span;
            prop_assert!(!text.chars().any(|c| c.is_control() || HIDDEN.contains(&c)), "{:?}", text);
        }
        let json = serde_json::to_string(&review).unwrap();
        prop_assert!(!json.contains(HIDDEN), "{}", json);
    }
}

#[test]
fn labels_that_an_agent_imitates_stay_text() {
    let fake = "ok\n\nWho decides\ntwo-sre: 2 of 2 approvals\nWhat follows\nIt is approved already.";
    let (operation, provenance) = written(fake);
    let outline = review(operation, provenance).outline(NOW);
    let deciding: Vec<_> = outline.iter().filter(|section| section.label == "Who decides").collect();
    assert_eq!(deciding.len(), 1);
    assert_eq!(deciding[0].lines, [[Span::Ours("two-sre: 0 of 2 approvals from the group sre".to_owned())]]);
    let said = outline.iter().find(|section| section.label.starts_with("What the agent says")).unwrap();
    assert!(matches!(&said.lines[0][..], [Span::Ours(ours), Span::Theirs(theirs)]
        if ours == "Reason: " && theirs.starts_with("ok ↵  ↵ Who decides")));
}

#[test]
fn what_follows_is_said_before_it_is_decided() {
    let operation = json!({"subject": {"type": "Agent", "id": "a"}, "action": {"name": "deploy"},
        "resource": {"type": "Service", "id": "payments", "properties": {"environment": "production"}}});
    let review = review(operation, Provenance::default());
    assert_eq!(review.headline.one_line(), "deploy Service payments");
    assert!(review.is_production && review.command.is_none());
    let follows = review.consequence.unwrap();
    assert_eq!(
        follows.approve,
        "If you approve: one more approval is needed. Then it runs once, within 5 minutes, on the sidecar of deploy-bot."
    );
}

/// The budget is said in words before anybody decides, and only where approving does grant it.
#[test]
fn what_a_task_lets_run_is_said_before_it_is_decided() {
    let said = |amount: Value| {
        let operation = json!({"subject": {"type": "Agent", "id": "a"},
            "action": {"name": "pay", "properties": {"amount": amount}},
            "resource": {"type": "Account", "id": "account/eu/1"}});
        let mut approval = approval(1, operation, Provenance::default());
        approval.request.requirements[0].grant = serde_json::from_value(json!({"task": {
            "count": 5, "within": "30m", "resources": ["account/eu/"],
            "amount": {"argument": "amount", "total": "500.00"}
        }}))
        .unwrap();
        approval.request.requirements[0].quorum = 1;
        Review::of(&approval, &Past::default(), NOW).consequence.unwrap().approve
    };
    assert_eq!(
        said(json!(100)),
        "If you approve: it may run, and so may others of the same action without another question, up to 5 times in \
         all within 30 minutes, on resources under account/eu/, at most 500 in total by the argument amount, in the \
         same session and with any other arguments, first within 5 minutes, on the sidecar of deploy-bot."
    );
    assert_eq!(
        said(json!(501)),
        "If you approve: it runs once, within 5 minutes, on the sidecar of deploy-bot."
    );
}
