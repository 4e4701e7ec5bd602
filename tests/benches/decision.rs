//! Decision in process: JSON bytes in, decision out, at growing numbers of policies and entities,
//! beside Cedar's own time on the same slice.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on should stop"
)]

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write, hint::black_box};

use cedar_policy::{Authorizer, Context, Entities, PolicySet, Request};
use countersign_model::{Operation, Timestamp, strict_json};
use countersign_policy::{Bundle, BundleFiles, Call};
use countersign_tests::measure::{Contestant, compete, quick};
use serde_json::json;

const SLICE: usize = 10;

fn policies(actions: usize) -> String {
    let mut text = String::new();
    for action in 0..actions {
        for number in 0..SLICE - 1 {
            writeln!(
                text,
                "permit (principal, action == Action::\"act{action}\", resource is Service) \
                 when {{ resource.tier == {number} && context.region == \"eu\" }};"
            )
            .unwrap();
        }
        writeln!(
            text,
            "forbid (principal, action == Action::\"act{action}\", resource in Environment::\"sealed\");"
        )
        .unwrap();
    }
    text
}

fn entities(count: usize) -> serde_json::Value {
    let service = |number: usize| {
        json!({
            "uid": { "type": "Service", "id": format!("s{number}") },
            "attrs": { "tier": number % 9, "team": "payments" },
            "parents": [{ "type": "Environment", "id": "production" }],
        })
    };
    let production =
        json!({ "uid": { "type": "Environment", "id": "production" }, "attrs": {}, "parents": [] });
    std::iter::once(production).chain((1..count).map(service)).collect()
}

fn bundle(policy_count: usize, entity_count: usize) -> Bundle {
    let files = [
        ("bundle.toml", "name = \"bench\"\nlease = \"1h\"\n".to_owned()),
        ("policies/all.cedar", policies(policy_count / SLICE)),
        ("entities.json", entities(entity_count).to_string()),
    ];
    let files: BTreeMap<_, _> =
        files.into_iter().map(|(path, text)| (path.to_owned(), text.into_bytes())).collect();
    Bundle::load(&BundleFiles::new(files).unwrap()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn request() -> Vec<u8> {
    json!({
        "subject": { "type": "Agent", "id": "deploy-bot" },
        "action": { "name": "act0", "properties": { "version": "1.4.2" } },
        "resource": { "type": "Service", "id": "s4", "properties": { "replicas": 3 } },
        "context": { "region": "eu", "ticket": "OPS-7" },
    })
    .to_string()
    .into_bytes()
}

fn decide(bundle: &Bundle, bytes: &[u8]) {
    let operation: Operation = strict_json::parse_as(bytes).unwrap();
    let (agent, met) = ("deploy-bot".parse().unwrap(), BTreeSet::new());
    let call = Call {
        operation: &operation,
        agent: &agent,
        asserted_subject: None,
        met: &met,
        now: Timestamp::from_millis(1_772_000_000_000),
    };
    black_box(bundle.decide(&call));
}

/// Cedar alone: the slice's policies, the request's entities, everything built beforehand.
fn cedar() -> impl FnMut() {
    let slice: PolicySet = policies(1).parse().unwrap();
    let used = json!([
        { "uid": { "type": "Agent", "id": "deploy-bot" }, "attrs": {}, "parents": [] },
        { "uid": { "type": "Environment", "id": "production" }, "attrs": {}, "parents": [] },
        { "uid": { "type": "Service", "id": "s4" }, "attrs": { "tier": 4, "team": "payments", "replicas": 3 },
          "parents": [{ "type": "Environment", "id": "production" }] },
    ]);
    let entities = Entities::from_json_value(used, None).unwrap();
    let context = json!({
        "region": "eu", "ticket": "OPS-7", "action": { "version": "1.4.2" }, "approvals": [],
    });
    let context = Context::from_json_value(context, None).unwrap();
    let uid = |text: &str| text.parse().unwrap();
    let request = Request::new(
        uid("Agent::\"deploy-bot\""),
        uid("Action::\"act0\""),
        uid("Service::\"s4\""),
        context,
        None,
    )
    .unwrap();
    let authorizer = Authorizer::new();
    move || {
        black_box(authorizer.is_authorized(&request, &slice, &entities));
    }
}

fn main() {
    let bytes = request();
    let sizes = [(10, 10), (1_000, 10), (10_000, 10), (10, 1_000), (10, 10_000), (10_000, 10_000)];
    let bundles = sizes.map(|(policies, entities)| (policies, entities, bundle(policies, entities)));
    println!("\n### Decision in process\n\n| what | median |\n|---|---|");
    let mut contestants = vec![Contestant::new("Cedar alone on the slice of 10", cedar())];
    for (policies, entities, bundle) in &bundles {
        let name = format!("bytes → decision, {policies} policies, {entities} entities");
        let bytes = &bytes;
        contestants.push(Contestant::new(name, move || decide(bundle, bytes)));
    }
    let rounds = if quick() { 21 } else { 101 };
    let medians = compete(rounds, 1_000, contestants);
    let (cedar, ours) = medians.split_first().unwrap();
    let worst = ours.iter().copied().fold(0.0, f64::max);
    println!("\nflat within {:.2}× · {:.2}× Cedar alone at 10/10", worst / ours[0], ours[0] / cedar);
}
