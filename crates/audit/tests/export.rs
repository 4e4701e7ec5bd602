//! Exports and their offline verification: whatever is changed, dropped, repeated or moved is noticed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{collections::HashMap, convert::Infallible};

use countersign_audit::{
    Chain, EventDraft,
    checkpoint::{Checkpoint, LogKey},
    event::CanonicalEvent,
    export::{earlier_line, end_line, event_line, header_line},
    kind,
    merkle::{Frontier, Node, leaf_hash},
    proof::{HashReader, TreeHead, consistency, inclusion},
    verify::{Gap, Report, verify},
};
use countersign_model::{Digest, EventId, SpiffeId, Timestamp, signing::SigningKey};
use proptest::prelude::*;
use serde_json::json;

const ORIGIN: &str = "example.org/ledger";

/// A ledger as the control plane keeps one.
#[derive(Default)]
struct Ledger {
    events: Vec<Vec<u8>>,
    frontier: Frontier,
    hashes: HashMap<Node, Digest>,
}

impl HashReader for Ledger {
    type Error = Infallible;

    fn node(&self, node: Node) -> Result<Digest, Infallible> {
        Ok(self.hashes[&node])
    }
}

impl Ledger {
    fn add(&mut self, event: &CanonicalEvent) {
        self.hashes.extend(self.frontier.append(leaf_hash(event.bytes())));
        self.events.push(event.bytes().to_vec());
    }

    fn head(&self) -> TreeHead {
        TreeHead { size: self.frontier.size(), root: self.frontier.root() }
    }

    fn head_at(&self, size: u64) -> TreeHead {
        TreeHead { size, root: countersign_audit::proof::root(self, size).unwrap() }
    }

    fn note(&self, size: u64) -> String {
        Checkpoint { origin: ORIGIN.into(), head: self.head_at(size) }.sign(&key(1)).unwrap()
    }

    fn whole(&self) -> String {
        let mut export = header_line(&self.note(self.head().size), &log(), true);
        for (index, event) in self.events.iter().enumerate() {
            export += &event_line(index as u64, event, None);
        }
        export + &end_line(self.events.len() as u64)
    }

    /// Every event whose index the filter lets through, and the checkpoints at these sizes.
    fn part(&self, filter: impl Fn(u64) -> bool, earlier: &[u64]) -> String {
        let size = self.head().size;
        let mut export = header_line(&self.note(size), &log(), false);
        let mut count = 0;
        for index in (0..size).filter(|index| filter(*index)) {
            let proof = inclusion(self, index, size).unwrap();
            export += &event_line(index, &self.events[index as usize], Some(&proof));
            count += 1;
        }
        for old in earlier {
            export += &earlier_line(&self.note(*old), consistency(self, *old, size).unwrap());
        }
        export + &end_line(count)
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn log() -> LogKey {
    LogKey::new(ORIGIN, key(1).verifying_key()).unwrap()
}

fn source(name: &str) -> SpiffeId {
    format!("spiffe://example.org/agent/{name}").parse().unwrap()
}

fn draft(number: u64) -> EventDraft {
    let mut draft = EventDraft::new(Timestamp::from_millis(number as i64), kind::OPERATION_PERMITTED);
    draft.body.insert("number".into(), json!(number));
    draft.actor = Some("owner@example.com".into());
    draft
}

/// Events of three sources in turn.
fn events(count: u64) -> Vec<CanonicalEvent> {
    let mut chains: Vec<_> = ["a", "b", "c"].into_iter().map(|name| Chain::new(source(name))).collect();
    let id = |number: u64| EventId::new(Timestamp::from_millis(number as i64), [7; 10]);
    (0..count)
        .map(|number| chains[(number * number % 3) as usize].append(draft(number), id(number)))
        .collect()
}

fn ledger(count: u64) -> Ledger {
    let mut ledger = Ledger::default();
    events(count).iter().for_each(|event| ledger.add(event));
    ledger
}

fn check(export: &str) -> Report {
    verify(export.as_bytes(), &log(), &[])
}

fn failure(export: &str) -> String {
    check(export).failure.expect("a failure").reason
}

#[test]
fn a_whole_ledger_verifies() {
    for count in [0, 1, 2, 7, 20] {
        let report = check(&ledger(count).whole());
        assert!(report.is_intact(), "{report:?}");
        assert_eq!((report.events, report.tree_size, report.complete), (count, count, true));
        assert_eq!(report.sources.iter().map(|source| source.events).sum::<u64>(), count);
    }
}

#[test]
fn a_part_of_a_ledger_verifies_and_says_what_it_leaves_out() {
    let ledger = ledger(20);
    let report = check(&ledger.part(|index| index % 2 == 0, &[0, 1, 13, 20]));
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.events, report.earlier, report.complete), (10, 4, false));
    assert!(report.sources.iter().any(|source| source.missing > 0));
    assert!(check(&ledger.part(|_| false, &[])).is_intact());
}

#[test]
fn only_the_trusted_key_counts() {
    let ledger = ledger(3);
    let stranger = LogKey::new(ORIGIN, key(2).verifying_key()).unwrap();
    let report = verify(ledger.whole().as_bytes(), &stranger, &[]);
    assert!(report.failure.unwrap().reason.contains("not the trusted one"));
    // Whoever forges the whole log cannot sign it, whatever key the header names.
    let note = Checkpoint { origin: ORIGIN.into(), head: ledger.head() }.sign(&key(2)).unwrap();
    let forged = header_line(&note, &log(), true) + &end_line(0);
    assert!(failure(&forged).contains("not signed by the trusted key"));
}

#[test]
fn a_ledger_that_was_rewritten_since_is_noticed() {
    let ledger = ledger(20);
    let known: Vec<_> = [0, 5, 5, 20].into_iter().map(|size| ledger.head_at(size)).collect();
    assert!(verify(ledger.whole().as_bytes(), &log(), &known).is_intact());
    assert!(verify(ledger.part(|_| true, &[0, 5]).as_bytes(), &log(), &known).is_intact());

    let reason = |export: String, known| verify(export.as_bytes(), &log(), &[known]).failure.unwrap().reason;
    let rewritten = TreeHead { size: 5, root: Digest::of(b"another history") };
    assert!(reason(ledger.whole(), rewritten).contains("not those of the earlier checkpoint"));
    assert!(reason(ledger.part(|_| true, &[]), known[1]).contains("nothing shows"));
    assert!(reason(ledger.part(|_| true, &[5]), rewritten).contains("nothing shows"));
    let larger = TreeHead { size: 21, root: Digest::of(b"cut off") };
    assert!(reason(ledger.whole(), larger).contains("had 21 events before"));
}

#[test]
fn a_gap_or_break_at_a_source_is_named_though_the_ledger_is_authentic() {
    let mut ledger = Ledger::default();
    let mut chain = Chain::new(source("a"));
    let id = |number: u8| EventId::from_bytes([number; 16]);
    let made: Vec<_> = (0..6).map(|n| chain.append(draft(u64::from(n)), id(n))).collect();
    for kept in [0, 3, 4] {
        ledger.add(&made[kept]);
    }
    let mut forked = Chain::resume(source("a"), 5, Digest::of(b"another history"));
    ledger.add(&forked.append(draft(9), id(9)));
    let report = check(&ledger.whole());
    assert!(report.is_authentic());
    assert!(!report.is_intact());
    assert_eq!(report.sources[0].gaps, [Gap { from: 2, to: 3 }]);
    assert_eq!((report.sources[0].missing, report.sources[0].broken), (2, 1));
    assert_eq!(report.sources[0].breaks[0].index, 3);
    assert!(report.sources[0].breaks[0].reason.contains("event 5 was changed"));
}

/// The attack: change an event and the one line that would give it away.
#[test]
fn a_changed_event_is_found_at_the_event_behind_it() {
    let ledger = ledger(9);
    let changed = ledger.whole().replacen("\"number\":4", "\"number\":5", 1);
    let failure = check(&changed).failure.unwrap();
    assert!(failure.reason.contains("first sign: "), "{failure:?}");
    assert!(failure.index.is_some_and(|index| index > 4));
}

#[test]
fn a_part_cannot_be_passed_off_as_the_whole() {
    let ledger = ledger(9);
    let part = ledger.part(|index| index < 9, &[]).replacen("\"complete\":false", "\"complete\":true", 1);
    assert!(failure(&part).contains("missing"));
    let short = ledger.whole().replacen("\"index\":8}", "\"index\":9}", 1);
    assert!(failure(&short).contains("event 8 is missing"));
}

#[test]
fn an_export_that_is_cut_short_or_goes_on_is_noticed() {
    let export = ledger(4).whole();
    let lines: Vec<_> = export.lines().collect();
    for count in 0..lines.len() {
        assert!(!check(&lines[..count].join("\n")).is_authentic());
    }
    assert!(failure(&(export + "{\"end\":{\"events\":4}}\n")).contains("does not belong here"));
    assert!(check("").failure.is_some());
    assert!(check(&"x".repeat(200_000)).failure.unwrap().reason.contains("longer"));
}

/// Bytes that do not matter to a lenient reader's meaning matter here.
#[test]
fn there_is_one_way_to_write_an_export() {
    let export = ledger(3).part(|_| true, &[1]);
    for (written, otherwise) in [
        ("{\"header\":", "{ \"header\":"),
        ("{\"header\":", "{\"h\\u0065ader\":"),
        ("\"complete\":false,", "\"complete\": false,"),
        (",\"index\":1", ", \"index\":1"),
        ("\"index\":1,", "\"index\":1.0,"),
        ("\"index\":1,", "\"index\":1,\"index\":1,"),
        ("\"proof\":[", "\"proof\":[ "),
        ("{\"earlier\":", "{\"earlier\" :"),
        ("{\"events\":3}", "{\"events\":3,\"more\":1}"),
        ("}\n{\"end\"", "}\r\n{\"end\""),
        ("{\"end\":", "{\"index\":null,\"end\":"),
        ("{\"end\":", "\n{\"end\":"),
    ] {
        let changed = export.replacen(written, otherwise, 1);
        assert_ne!(changed, export, "{written}");
        assert!(!check(&changed).is_authentic(), "{otherwise}");
    }
}

fn exports(whole: bool) -> String {
    let ledger = ledger(12);
    if whole { ledger.whole() } else { ledger.part(|index| index % 3 != 1, &[3, 7]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_changed_byte_is_noticed(whole: bool, at in any::<prop::sample::Index>(), to: u8) {
        let export = exports(whole).into_bytes();
        // The very last line break may be missing.
        let position = at.index(export.len() - 1);
        let mut changed = export.clone();
        changed[position] = to;
        prop_assume!(changed != export);
        prop_assert!(!verify(&changed, &log(), &[]).is_authentic());
    }

    #[test]
    fn any_removed_or_added_byte_is_noticed(whole: bool, at in any::<prop::sample::Index>(), byte: u8, add: bool) {
        let mut changed = exports(whole).into_bytes();
        let position = at.index(changed.len() - 1);
        if add { changed.insert(position, byte) } else { changed.remove(position); }
        prop_assert!(!verify(&changed, &log(), &[]).is_authentic());
    }

    #[test]
    fn any_dropped_repeated_or_moved_line_is_noticed(whole: bool, from in any::<prop::sample::Index>(),
                                                     to in any::<prop::sample::Index>(), change in 0..3) {
        let export = exports(whole);
        let mut lines: Vec<_> = export.lines().collect();
        let (from, to) = (from.index(lines.len()), to.index(lines.len()));
        match change {
            0 => { lines.remove(from); }
            1 => lines.insert(to, lines[from]),
            _ => lines.swap(from, to),
        }
        prop_assume!(lines != export.lines().collect::<Vec<_>>());
        // Earlier checkpoints are each a proof of its own: their order and number do not matter.
        let others = |lines: &[&str]| {
            lines.iter().filter(|line| !line.starts_with("{\"earlier")).map(ToString::to_string).collect::<Vec<_>>()
        };
        let original: Vec<_> = export.lines().collect();
        let is_misplaced = lines.iter().position(|line| line.starts_with("{\"earlier")).is_some_and(|first| {
            lines[first..lines.len() - 1].iter().any(|line| !line.starts_with("{\"earlier"))
        });
        let ends_with_end = lines.last().is_some_and(|line| line.starts_with("{\"end"));
        let harmless = others(&lines) == others(&original) && !is_misplaced && ends_with_end;
        prop_assert_eq!(check(&(lines.join("\n") + "\n")).is_authentic(), harmless);
    }

    #[test]
    fn reading_garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!verify(&garbage, &log(), &[]).is_authentic());
    }
}
