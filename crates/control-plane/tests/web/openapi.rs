//! The OpenAPI document says what the router does.

use std::collections::BTreeSet;

use countersign_control_plane::api::{self, Access};
use serde_json::Value;

use crate::stage::Stage;

#[tokio::test]
async fn the_document_lists_every_route_and_nothing_else() {
    let stage = Stage::new().await;
    let document = stage.get("/openapi.json", "").await.is(200).json();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            documented.insert((method.to_uppercase(), path.clone(), is_open(operation)));
            assert!(
                operation["summary"].is_string() || operation["description"].is_string(),
                "{method} {path}"
            );
        }
    }
    let routes = api::routes(stage.running.services().clone(), stage.running.identity().clone());
    let served: BTreeSet<_> = routes
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned(), route.access == Access::Open))
        .collect();
    assert_eq!(documented, served);
}

/// Whether the document says that no credential is needed.
fn is_open(operation: &Value) -> bool {
    operation["security"].as_array().is_some_and(|list| list == &[Value::Object(serde_json::Map::new())])
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let stage = Stage::new().await;
    let document = stage.get("/openapi.json", "").await.json();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn operation_ids_are_unique() {
    let stage = Stage::new().await;
    let document = stage.get("/openapi.json", "").await.json();
    let mut seen = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} is there twice");
        }
    }
}
