//! Searching and proving, behind the writer.

use std::{fs, os::unix::fs::PermissionsExt};

use countersign_audit::{
    EventDraft, kind,
    merkle::leaf_hash,
    proof::{TreeHead, check_consistency, check_inclusion},
};
use proptest::prelude::*;

use super::{sidecar::Sidecar, *};
use crate::{
    CheckpointRecord, CommandError, CursorError, EventFilter, IndexProgress, OutOfRange, PageError,
    PageRequest,
};

/// Events that differ in everything that can be searched for.
fn drafts(count: u64) -> Vec<EventDraft> {
    let kinds = [kind::APPROVAL_VOTED, kind::APPROVAL_DENIED, kind::AGENT_ADDED];
    (0..count)
        .map(|n| EventDraft {
            trace_id: (n % 5 == 0).then(|| format!("{n:032x}")),
            approval: (n % 2 == 0).then(|| approval_id((n % 7) as u8)),
            actor: Some(format!("person-{}@example.com", n % 4)),
            // Not in the order of time, as sidecars ship late.
            ..EventDraft::new(later(((n * 7) % 100) as u32), kinds[(n % 3) as usize])
        })
        .collect()
}

fn matches(filter: &EventFilter, event: &CanonicalEvent) -> bool {
    let event = event.event();
    let text = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    filter
        .kind
        .as_ref()
        .is_none_or(|kind| event.kind == *kind || kind.ends_with('.') && event.kind.starts_with(kind))
        && filter.approval.is_none_or(|id| event.approval == Some(id))
        && text(&filter.trace_id, &event.trace_id)
        && text(&filter.actor, &event.actor)
        && filter.source.as_ref().is_none_or(|source| event.source.to_string() == *source)
        && filter.from.is_none_or(|from| event.at >= from)
        && filter.until.is_none_or(|until| event.at < until)
}

fn filter() -> impl Strategy<Value = EventFilter> {
    let kinds = [kind::APPROVAL_VOTED, "approval.", "agent.", "approval.voted.", "nothing.like_it"];
    let kind = prop::option::weighted(0.4, prop::sample::select(kinds.to_vec()));
    let approval = prop::option::weighted(0.3, 0_u8..8);
    let trace = prop::option::weighted(0.1, 0_u64..10);
    let actor = prop::option::weighted(0.3, 0_u64..5);
    let source = prop::option::weighted(0.3, any::<bool>());
    let times = (prop::option::of(0_u32..110), prop::option::of(0_u32..110));
    (kind, approval, trace, actor, source, times, any::<bool>()).prop_map(
        |(kind, approval, trace, actor, source, (from, until), ascending)| EventFilter {
            kind: kind.map(ToOwned::to_owned),
            approval: approval.map(approval_id),
            trace_id: trace.map(|n| format!("{n:032x}")),
            actor: actor.map(|n| format!("person-{n}@example.com")),
            source: source.map(|own| if own { control_plane() } else { sidecar_of("agent-1") }.to_string()),
            from: from.map(later),
            until: until.map(later),
            ascending,
        },
    )
}

async fn all_pages(store: &EmbeddedStore, filter: &EventFilter, limit: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let mut page = PageRequest::first(limit);
    loop {
        let answer = store.query_events(filter.clone(), page.clone()).await.unwrap();
        assert!(answer.items.len() <= limit);
        found.extend(answer.items.iter().map(|event| event.index));
        let Some(next) = answer.next else { return found };
        page.after = Some(next.to_string().parse().unwrap());
    }
}

#[test]
fn the_pages_of_a_search_are_what_a_look_at_every_event_finds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (store, events) = runtime.block_on(async {
        let store = new_store();
        let events = Sidecar::new(&sidecar_of("agent-1")).events(40);
        store.record(drafts(400)).await.unwrap();
        store.ingest(sidecar_of("agent-1"), events, NOW).await.unwrap();
        store.record(drafts(300)).await.unwrap();
        store.wait_indexed(740).await.unwrap();
        let events = whole_ledger(&store, None).await;
        (store, events)
    });
    proptest!(ProptestConfig::with_cases(96), |(filter in filter(), limit in 1_usize..60)| {
        let found = runtime.block_on(all_pages(&store, &filter, limit));
        let mut expected: Vec<_> = (0..).zip(&events).filter(|(_, event)| matches(&filter, event)).collect();
        if !filter.ascending {
            expected.reverse();
        }
        prop_assert_eq!(found, expected.into_iter().map(|(index, _)| index).collect::<Vec<u64>>());
    });
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let store = new_store();
    store.record(drafts(3)).await.unwrap();
    let page = PageRequest { limit: 1, after: Some("abcd".parse().unwrap()) };
    let refused = store.query_events(EventFilter::default(), page).await;
    assert_eq!(refused, Err(PageError::Cursor(CursorError)));
    for text in ["", "x", "0", "zz", &"00".repeat(300)] {
        assert!(text.parse::<crate::Cursor>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn every_event_is_proved_to_be_in_every_later_tree() {
    let store = new_store();
    store.record(drafts(300)).await.unwrap();
    let early = store.head().await.unwrap();
    store.record(drafts(300)).await.unwrap();
    let head = store.head().await.unwrap();
    let events = whole_ledger(&store, None).await;
    for index in [0, 1, 255, 256, 299, 599] {
        let proof = store.inclusion_proof(index, head.size).await.unwrap();
        let leaf = leaf_hash(events[index as usize].bytes());
        check_inclusion(&leaf, index, head.size, &head.root, &proof).unwrap();
    }
    let proof = store.consistency_proof(early.size, head.size).await.unwrap();
    let old = TreeHead { size: early.size, root: early.root };
    check_consistency(&old, &TreeHead { size: head.size, root: head.root }, &proof).unwrap();
    assert_eq!(store.root_at(early.size).await.unwrap(), early.root);
    assert_eq!(store.tile(0, 0).await.unwrap().len(), 256 * 32);
    assert_eq!(store.tile(1, 0).await.unwrap().len(), 2 * 32);
    assert!(store.tile(2, 0).await.unwrap().is_empty());
    let beyond = store.inclusion_proof(600, 600).await;
    assert_eq!(beyond, Err(CommandError::Refused(OutOfRange { size: 600, wanted: 601 })));
    let beyond = store.root_at(601).await;
    assert_eq!(beyond, Err(CommandError::Refused(OutOfRange { size: 600, wanted: 601 })));
}

#[tokio::test]
async fn checkpoints_are_found_by_what_they_cover() {
    let store = new_store();
    assert_eq!(store.latest_checkpoint().await.unwrap(), None);
    let checkpoint = |size| CheckpointRecord { size, note: format!("signed over {size}"), at: NOW };
    for size in [5, 300] {
        store.save_checkpoint(checkpoint(size)).await.unwrap();
    }
    assert_eq!(store.latest_checkpoint().await.unwrap(), Some(checkpoint(300)));
    assert_eq!(store.checkpoint_covering(5).await.unwrap(), Some(checkpoint(5)));
    assert_eq!(store.checkpoint_covering(6).await.unwrap(), Some(checkpoint(300)));
    assert_eq!(store.checkpoint_covering(301).await.unwrap(), None);
}

fn open_folder(folder: &std::path::Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &control_plane(), Settings::default(), entropy()).unwrap()
}

#[tokio::test]
async fn an_index_that_is_lost_damaged_or_another_ledgers_is_built_anew() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let index = folder.path().join("index.redb");
    let store = open_folder(folder.path());
    store.record(drafts(50)).await.unwrap();
    store.wait_indexed(50).await.unwrap();
    assert_eq!(store.index_progress().await.unwrap(), IndexProgress { indexed: 50, size: 50 });
    store.close().await;
    let another = open_folder(other.path());
    another.record(drafts(60)[10..].to_vec()).await.unwrap();
    another.wait_indexed(50).await.unwrap();
    another.close().await;
    let voted = EventFilter { kind: Some(kind::APPROVAL_VOTED.into()), ..Default::default() };
    let spoil: [&dyn Fn(); 4] = [
        &|| {},
        &|| fs::remove_file(&index).unwrap(),
        &|| fs::write(&index, "not a database").unwrap(),
        &|| assert!(fs::copy(other.path().join("index.redb"), &index).unwrap() > 0),
    ];
    for spoil in spoil {
        spoil();
        let store = open_folder(folder.path());
        store.wait_indexed(50).await.unwrap();
        let found = store.query_events(voted.clone(), PageRequest::first(100)).await.unwrap();
        assert_eq!(found.items.len(), 17);
        assert_eq!(store.root_at(50).await.unwrap(), store.head().await.unwrap().root);
        for file in ["store.redb", "index.redb"] {
            let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_folder_belongs_to_one_process_and_one_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path());
    store.record(drafts(1)).await.unwrap();
    let second = EmbeddedStore::open(folder.path(), &control_plane(), Settings::default(), entropy());
    assert!(matches!(second, Err(OpenError::InUse)));
    store.close().await;
    let other = "spiffe://example.com/control-plane".parse().unwrap();
    let other = EmbeddedStore::open(folder.path(), &other, Settings::default(), entropy());
    assert!(matches!(other, Err(OpenError::Source { .. })));
}
