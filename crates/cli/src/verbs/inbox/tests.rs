//! The inbox without a terminal: what keys decide, and what is shown.

use countersign_model::Timestamp;
use serde_json::json;

use super::{
    draw::draw,
    state::{Action, Decision, Inbox, Review, Screen},
    terminal::Key,
};
use crate::{output::Paint, verbs::approvals::Approval};

const ID: &str = "01990000-0000-7000-8000-00000000000";

fn approval(n: u8, version: u64) -> Approval {
    serde_json::from_value(json!({
        "id": format!("{ID}{n}"), "version": version, "state": "pending", "reason": null, "agent": "dev-agent",
        "owner": "owner@example.com", "interceptor": "exec", "digest": "sha256:00", "revision": 1,
        "operation": {"action": {"name": "run"}, "resource": {"type": "Program", "id": format!("rm-{n}\u{1b}[2J")}},
        "requirements": [], "votes": [], "decide_by": "2026-03-01T12:05:00Z", "trace_id": null, "may_vote": null
    }))
    .unwrap()
}

fn review(n: u8, version: u64, allowed: bool) -> Review {
    serde_json::from_value(json!({
        "id": format!("{ID}{n}"), "version": version, "state": "waiting", "production": true,
        "headline": [{"ours": "Run "}, {"theirs": "rm\u{202e}"}],
        "sections": [{"label": "Command", "lines": [[{"theirs": "rm -rf /srv\nDigest"}]]}],
        "may_vote": {"allowed": allowed, "reason": (!allowed).then_some("you own this agent")},
        "decide_by": "2026-03-01T12:05:00Z"
    }))
    .unwrap()
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn screen(inbox: &Inbox) -> String {
    draw(inbox, (60, 20), now(), Paint::none()).join("\n")
}

fn inbox() -> Inbox {
    let mut inbox = Inbox::new();
    inbox.take_waiting(vec![approval(1, 1), approval(2, 1)]);
    inbox
}

fn id(n: u8) -> countersign_model::ApprovalId {
    format!("{ID}{n}").parse().unwrap()
}

/// Every single key, and every two that are not meant: none of them decides.
#[test]
fn no_accidental_key_decides() {
    for key in ['a', 'd', 'y', 'n', 'q', ' ', 'A', 'Y'] {
        let mut inbox = inbox();
        let action = inbox.press(Key::Char(key));
        assert!(!matches!(action, Action::Vote { .. }), "{key}");
        if let Action::Open(_, decision) = action {
            inbox.open(review(1, 1, true), decision);
            for again in [Key::Char('a'), Key::Char('d'), Key::Char('y')] {
                assert_eq!(inbox.press(again), Action::None, "it belongs to the reason");
            }
        }
    }
}

#[test]
fn a_decision_is_begun_reasoned_shown_and_confirmed() {
    let mut inbox = inbox();
    assert_eq!(inbox.press(Key::Down), Action::None);
    assert_eq!(inbox.press(Key::Char('a')), Action::Open(id(2), Some(Decision::Approve)));
    inbox.open(review(2, 7, true), Some(Decision::Approve));
    "fine".chars().for_each(|c| drop(inbox.press(Key::Char(c))));
    assert_eq!(inbox.press(Key::Enter), Action::None);
    let shown = screen(&inbox);
    assert!(
        shown.contains("approve exactly this") && shown.contains("rm -rf /srv") && shown.contains("fine"),
        "{shown}"
    );
    let vote = inbox.press(Key::Char('y'));
    let (decision, reason) = (Decision::Approve, "fine".to_owned());
    assert_eq!(vote, Action::Vote { id: id(2), version: 7, decision, reason });
    assert_eq!(inbox.screen, Screen::List);
}

#[test]
fn any_other_key_than_y_goes_back() {
    for key in [Key::Enter, Key::Char('a'), Key::Char('Y'), Key::Escape, Key::Char('n')] {
        let mut inbox = inbox();
        inbox.open(review(1, 1, true), Some(Decision::Deny));
        inbox.press(Key::Enter);
        assert_eq!(inbox.press(key), Action::None);
        assert!(matches!(inbox.screen, Screen::Details { .. }));
    }
}

/// Whoever would lose a race against a change does not decide about what they have not seen.
#[test]
fn what_changes_under_the_fingers_is_not_decided() {
    let mut inbox = inbox();
    inbox.open(review(1, 1, true), Some(Decision::Approve));
    inbox.press(Key::Enter);
    inbox.take_waiting(vec![approval(1, 2), approval(2, 1)]);
    assert_eq!(inbox.press(Key::Char('y')), Action::None);
    assert_eq!(inbox.screen, Screen::List);
}

#[test]
fn the_choice_stays_with_its_request() {
    let mut inbox = inbox();
    inbox.press(Key::Down);
    inbox.take_waiting(vec![approval(3, 1), approval(1, 1), approval(2, 1)]);
    assert_eq!(inbox.chosen, Some(id(2)));
    inbox.take_waiting(vec![approval(1, 1)]);
    assert_eq!(inbox.chosen, Some(id(1)));
    inbox.take_waiting(Vec::new());
    assert_eq!(inbox.press(Key::Char('a')), Action::None);
}

#[test]
fn who_may_not_decide_is_told_why() {
    let mut inbox = inbox();
    inbox.open(review(1, 1, false), Some(Decision::Approve));
    assert!(matches!(inbox.screen, Screen::Details { .. }));
    assert!(screen(&inbox).contains("you own this agent"));
}

#[test]
fn nothing_that_is_shown_steers_the_terminal_or_looks_like_a_label() {
    let mut inbox = inbox();
    let list = screen(&inbox);
    inbox.open(review(1, 1, true), None);
    let details = screen(&inbox);
    for shown in [&list, &details] {
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
    }
    assert!(details.contains("PRODUCTION"));
    assert!(!details.lines().any(|line| line.starts_with("Digest")), "{details}");
    assert!(list.lines().all(|line| line.chars().count() <= 60), "{list}");
}
