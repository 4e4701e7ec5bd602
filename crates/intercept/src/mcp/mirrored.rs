//! What the definition of a tool says about headers: which of the arguments are repeated in them over HTTP.

use http::HeaderName;
use serde_json::Value;

/// What the names of such headers begin with.
pub(super) const PARAM_PREFIX: &str = "mcp-param-";

/// An argument of a tool that its callers repeat in a header (2026-07-28, `x-mcp-header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirrored {
    /// The header.
    pub(super) header: HeaderName,
    /// Where it is in the arguments.
    pub(super) path: Vec<String>,
}

/// The arguments that the definition of a tool wants repeated.
pub(super) fn mirrored(definition: &Value) -> Vec<Mirrored> {
    let mut found = Vec::new();
    if let Some(schema) = definition.get("inputSchema") {
        find_mirrored(schema, &mut Vec::new(), &mut found);
    }
    found
}

fn find_mirrored(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        path.push(name.clone());
        let header = property.get("x-mcp-header").and_then(Value::as_str);
        let header =
            header.and_then(|name| format!("{PARAM_PREFIX}{name}").to_ascii_lowercase().parse().ok());
        found.extend(header.map(|header| Mirrored { header, path: path.clone() }));
        find_mirrored(property, path, found);
        path.pop();
    }
}
