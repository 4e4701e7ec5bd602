//! Offline verification of an export: line by line, with nothing but the ledger's public key.
//!
//! What is proved: the ledger's key signed a head; every event shown is in the tree under that head, in
//! its place and byte for byte; in a complete export nothing else is; and every earlier head shown is a
//! beginning of it. What is found out besides: where a source's own sequence has a gap or a break, which
//! the ledger can record but not mend (I8).

use std::collections::BTreeMap;

use countersign_model::{Digest, SpiffeId};
use serde::Serialize;

use crate::{
    chain::{Chain, ChainError},
    checkpoint::{Checkpoint, LogKey},
    event::CanonicalEvent,
    export::{Earlier, End, Header, Line},
    merkle::{Frontier, leaf_hash},
    proof::{TreeHead, check_consistency, check_inclusion},
};

/// The most gaps and breaks that are listed for one source; all are counted.
pub const MAX_LISTED: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The ledger's name.
    pub origin: String,
    /// The size of the tree that was signed.
    pub tree_size: u64,
    /// Its root.
    pub root: Option<Digest>,
    /// Whether the export has every event of it.
    pub complete: bool,
    /// How many events were verified.
    pub events: u64,
    /// How many earlier checkpoints are beginnings of this one.
    pub earlier: u64,
    /// What each source contributed, by name.
    pub sources: Vec<SourceReport>,
    /// The first thing that is wrong. Nothing after it was looked at.
    pub failure: Option<Failure>,
}

/// What one source contributed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its SPIFFE ID.
    pub source: SpiffeId,
    /// How many of its events were there.
    pub events: u64,
    /// The number of its last one.
    pub last_seq: u64,
    /// How many of its events are missing. Expected in a part of a ledger, not in a whole one.
    pub missing: u64,
    /// Which, up to [`MAX_LISTED`] stretches.
    pub gaps: Vec<Gap>,
    /// How many of its events do not follow on the one before.
    pub broken: u64,
    /// Which, up to [`MAX_LISTED`].
    pub breaks: Vec<Break>,
}

/// Events of a source that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The number of the first one.
    pub from: u64,
    /// The number of the last one.
    pub to: u64,
}

/// An event that does not follow on the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Its index in the ledger.
    pub index: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// The first thing that is wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The line, from 1.
    pub line: u64,
    /// The index of the event, if it is about one.
    pub index: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl Report {
    /// Whether the export is what the ledger's key signed.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether, moreover, no source's sequence has a break, nor, in a complete export, a gap.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let whole = |source: &SourceReport| source.broken == 0 && !(self.complete && source.missing > 0);
        self.is_authentic() && self.sources.iter().all(whole)
    }
}

/// Verifies a whole export at once. See [`Verifier`] for one that is too large to hold.
#[must_use]
pub fn verify(export: &[u8], log: &LogKey, known: &[TreeHead]) -> Report {
    let mut verifier = Verifier::new(log.clone(), known);
    let lines = export.strip_suffix(b"\n").unwrap_or(export);
    lines.split(|byte| *byte == b'\n').for_each(|line| verifier.line(line));
    verifier.finish()
}

/// Verifies an export line by line, in memory that does not grow with it.
#[derive(Debug)]
pub struct Verifier {
    log: LogKey,
    /// Heads that the auditor has seen before, smallest first, as far as they are not shown to be beginnings yet.
    known: Vec<TreeHead>,
    lines: u64,
    stage: Stage,
    head: TreeHead,
    complete: bool,
    frontier: Frontier,
    next_index: u64,
    events: u64,
    earlier: u64,
    sources: BTreeMap<SpiffeId, (Chain, SourceReport)>,
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Events,
    Earlier,
    Ended,
}

impl Verifier {
    /// Trusts one ledger's key, and demands that heads which the auditor has seen before, if any, are
    /// beginnings of the one that is shown.
    #[must_use]
    pub fn new(log: LogKey, known: &[TreeHead]) -> Self {
        let mut known = known.to_vec();
        known.sort_by_key(|head| head.size);
        let frontier = Frontier::default();
        Self {
            log,
            known,
            lines: 0,
            stage: Stage::Start,
            head: TreeHead { size: 0, root: frontier.root() },
            complete: false,
            frontier,
            next_index: 0,
            events: 0,
            earlier: 0,
            sources: BTreeMap::new(),
            failure: None,
        }
    }

    /// Takes the next line, without its line break.
    pub fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        if self.failure.is_some() {
            return;
        }
        let read = match Line::parse(line) {
            Ok(read) => read,
            Err(error) => return self.fail(None, error.to_string()),
        };
        match (self.stage, read) {
            (Stage::Start, Line::Header(header)) => self.header(&header),
            (Stage::Events, Line::Event { index, event, proof }) => {
                if let Err(reason) = self.event(index, &event, proof.as_deref()) {
                    self.fail(Some(index), reason);
                }
            }
            (Stage::Events | Stage::Earlier, Line::Earlier(earlier)) => self.earlier(&earlier),
            (Stage::Events | Stage::Earlier, Line::End(end)) => self.end(end),
            _ => self.fail(None, "this line does not belong here".to_owned()),
        }
    }

    /// Ends the verification and tells what was found.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.failure.is_none() && self.stage != Stage::Ended {
            self.fail(None, "the export is cut short: its last line is missing".to_owned());
        }
        Report {
            origin: self.log.origin().to_owned(),
            tree_size: self.head.size,
            root: (self.stage != Stage::Start).then_some(self.head.root),
            complete: self.complete,
            events: self.events,
            earlier: self.earlier,
            sources: self.sources.into_values().map(|(_, report)| report).collect(),
            failure: self.failure,
        }
    }

    fn fail(&mut self, index: Option<u64>, reason: String) {
        self.failure = Some(Failure { line: self.lines, index, reason });
    }

    fn header(&mut self, header: &Header) {
        if header.vkey != self.log.to_string() {
            let reason = format!("the export names the key {}, which is not the trusted one", header.vkey);
            return self.fail(None, reason);
        }
        match Checkpoint::verify(&header.checkpoint, &self.log) {
            Err(error) => self.fail(None, error.to_string()),
            Ok(checkpoint) => {
                self.head = checkpoint.head;
                self.complete = header.complete;
                self.stage = Stage::Events;
                if let Some(larger) = self.known.iter().find(|known| known.size > checkpoint.head.size) {
                    let reason = format!("the ledger had {} events before, and now has fewer", larger.size);
                    self.fail(None, reason);
                }
            }
        }
    }

    fn event(&mut self, index: u64, event: &CanonicalEvent, proof: Option<&[Digest]>) -> Result<(), String> {
        if index < self.next_index {
            return Err("events are out of order or repeated".to_owned());
        }
        let leaf = leaf_hash(event.bytes());
        if self.complete {
            self.check_known()?;
            if index > self.next_index || proof.is_some() {
                return Err(format!("event {} is missing from a complete export", self.next_index));
            }
            self.frontier.append(leaf);
        } else {
            let proof = proof.ok_or("the event has no inclusion proof")?;
            let TreeHead { size, root } = self.head;
            check_inclusion(&leaf, index, size, &root, proof)
                .map_err(|_| "the event is not in the ledger at that index, or was changed".to_owned())?;
        }
        self.next_index = index + 1;
        self.events += 1;
        self.follow(index, event);
        Ok(())
    }

    /// Compares the tree so far with what the auditor knows of it.
    fn check_known(&mut self) -> Result<(), String> {
        let so_far = TreeHead { size: self.frontier.size(), root: self.frontier.root() };
        while let Some(known) = self.known.first().filter(|known| known.size == so_far.size) {
            if *known != so_far {
                return Err(format!(
                    "the first {} events are not those of the earlier checkpoint",
                    so_far.size
                ));
            }
            self.known.remove(0);
            self.earlier += 1;
        }
        Ok(())
    }

    fn follow(&mut self, index: u64, event: &CanonicalEvent) {
        let source = &event.event().source;
        let (chain, report) = self
            .sources
            .entry(source.clone())
            .or_insert_with(|| (Chain::new(source.clone()), SourceReport::new(source.clone())));
        match chain.check(event) {
            Ok(()) => {}
            Err(ChainError::Gap { expected, got, .. }) => report.gap(Gap { from: expected, to: got - 1 }),
            Err(error) => report.break_at(index, &error),
        }
        report.events += 1;
        report.last_seq = event.event().seq;
        chain.resync(event);
    }

    fn earlier(&mut self, earlier: &Earlier) {
        self.stage = Stage::Earlier;
        let head = match Checkpoint::verify(&earlier.checkpoint, &self.log) {
            Ok(checkpoint) => checkpoint.head,
            Err(error) => return self.fail(None, error.to_string()),
        };
        if check_consistency(&head, &self.head, &earlier.proof).is_err() {
            let reason = format!("the checkpoint at size {} is not a beginning of this ledger", head.size);
            return self.fail(None, reason);
        }
        self.earlier += 1;
        self.known.retain(|known| *known != head);
    }

    fn end(&mut self, end: End) {
        self.stage = Stage::Ended;
        if end.events != self.events {
            let reason = format!("{} events were announced, {} are there", end.events, self.events);
            return self.fail(None, reason);
        }
        if self.complete {
            self.end_of_complete();
        } else {
            self.known.retain(|known| *known != self.head);
        }
        if let (None, Some(known)) = (&self.failure, self.known.first()) {
            let reason = format!(
                "nothing shows that the checkpoint at size {} is a beginning of this one",
                known.size
            );
            self.fail(None, reason);
        }
    }

    fn end_of_complete(&mut self) {
        if let Err(reason) = self.check_known() {
            return self.fail(None, reason);
        }
        if self.frontier.size() != self.head.size {
            let reason = format!("{} of {} events are there", self.frontier.size(), self.head.size);
            return self.fail(None, reason);
        }
        if self.frontier.root() != self.head.root {
            // A root does not say which event was changed; the chain of the event's source may.
            let breaks = self.sources.values().flat_map(|(_, report)| &report.breaks);
            let first = breaks.min_by_key(|one| one.index);
            let hint = first.map(|one| format!("; first sign: {}", one.reason)).unwrap_or_default();
            let reason = format!("the events are not those that the checkpoint was signed over{hint}");
            self.fail(first.map(|one| one.index), reason);
        }
    }
}

impl SourceReport {
    fn new(source: SpiffeId) -> Self {
        Self { source, events: 0, last_seq: 0, missing: 0, gaps: Vec::new(), broken: 0, breaks: Vec::new() }
    }

    fn gap(&mut self, gap: Gap) {
        self.missing = self.missing.saturating_add((gap.to - gap.from).saturating_add(1));
        if self.gaps.len() < MAX_LISTED {
            self.gaps.push(gap);
        }
    }

    fn break_at(&mut self, index: u64, error: &ChainError) {
        self.broken += 1;
        if self.breaks.len() < MAX_LISTED {
            self.breaks.push(Break { index, reason: error.to_string() });
        }
    }
}
