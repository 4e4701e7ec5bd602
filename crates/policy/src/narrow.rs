//! The narrowest condition, in Cedar's words, that operations which people decided about have in common: what
//! was the same in all of them must be the same again. For a person to read, and to take into a policy or not.
//!
//! Nothing is guessed. Texts that differ are listed when they are few, and otherwise have to be below the
//! folder that they share; numbers stay between the least and the greatest; what was redacted, or was not
//! there each time, says nothing.

use std::{collections::BTreeMap, fmt::Write as _};

use cedar_policy_core::ast::{EntityUID, Policy};
use countersign_model::{Object, Operation, operation::RESERVED_CONTEXT};
use serde_json::Value;

use crate::{
    bundle::Bundle,
    files::BundleFiles,
    request::{action_uid, uid},
};

/// The most different values that are listed.
const MAX_LISTED: usize = 8;
/// The most different kinds of operations that one condition speaks of.
const MAX_KINDS: usize = 8;
/// The most members that are compared.
const MAX_MEMBERS: usize = 64;
/// How deep members of members are looked into.
const MAX_DEPTH: usize = 4;

/// An operation as it is on record, without its secrets.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The operation.
    pub operation: Operation,
    /// The JSON Pointers of what was redacted in it.
    pub redacted: Vec<String>,
}

/// Why there is no such condition, or no policy that it fits into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowError {
    /// No operations.
    #[error("there is no operation to go by")]
    Nothing,
    /// Too many kinds of operations.
    #[error("the operations have too little in common")]
    TooDiverse,
    /// What policy is asked about is not what is on record.
    #[error("the operations are several commands of one line each, which are decided about one by one")]
    Several,
    /// A name that policy cannot have.
    #[error("an operation has a name that policy cannot speak of: {0}")]
    Name(String),
    /// No such policy.
    #[error("there is no policy {0:?} any more")]
    NoPolicy(String),
}

/// The condition that all of these operations fulfil, and as little else as can be said.
///
/// # Errors
/// When they have too little in common.
pub fn condition(recorded: &[Recorded]) -> Result<String, NarrowError> {
    let mut kinds: BTreeMap<[String; 3], Vec<&Recorded>> = BTreeMap::new();
    for one in recorded {
        let Operation { subject, action, resource, context } = &one.operation;
        if context.contains_key("operations") {
            return Err(NarrowError::Several);
        }
        let subject = entity(uid(&subject.kind, &subject.id), &subject.id)?;
        let action = entity(action_uid(&action.name), &action.name)?;
        kinds.entry([subject, action, resource.kind.clone()]).or_default().push(one);
    }
    match kinds.len() {
        0 => Err(NarrowError::Nothing),
        1..=MAX_KINDS => {
            let kinds: Result<Vec<_>, _> = kinds.iter().map(|(kind, all)| of_kind(kind, all)).collect();
            Ok(kinds?.join(" ||\n"))
        }
        _ => Err(NarrowError::TooDiverse),
    }
}

fn entity(uid: Result<EntityUID, impl Sized>, name: &str) -> Result<String, NarrowError> {
    let unspeakable = |_| NarrowError::Name(name.chars().take(64).collect());
    uid.map(|uid| uid.to_string()).map_err(unspeakable)
}

/// Which members of an operation are compared.
type MembersOf = fn(&Operation) -> &Object;

/// What operations of one subject, one action and one type of resource have in common.
fn of_kind([subject, action, kind]: &[String; 3], all: &[&Recorded]) -> Result<String, NarrowError> {
    let mut clauses = vec![format!("principal == {subject}"), format!("action == {action}")];
    let mut ids: Vec<&str> = all.iter().map(|one| one.operation.resource.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let resources: Result<Vec<_>, _> = ids.iter().map(|id| entity(uid(kind, id), id)).collect();
    clauses.push(match resources?.as_slice() {
        [one] => format!("resource == {one}"),
        some if some.len() <= MAX_LISTED => format!("[{}].contains(resource)", some.join(", ")),
        _ => format!("resource is {kind}"),
    });
    let roots: [(&str, &str, MembersOf); 3] = [
        ("context.action", "/action/properties", |operation| &operation.action.properties),
        ("resource", "/resource/properties", |operation| &operation.resource.properties),
        ("context", "/context", |operation| &operation.context),
    ];
    for (root, pointer, members) in roots {
        let members: Vec<&Object> = all.iter().map(|one| members(&one.operation)).collect();
        let is_redacted = |pointer: &str| {
            let within = |secret: &String| secret == pointer || secret.starts_with(&format!("{pointer}/"));
            all.iter().any(|one| one.redacted.iter().any(within))
        };
        common(root, pointer, &members, &is_redacted, 0, &mut clauses);
    }
    clauses.truncate(MAX_MEMBERS);
    let mut text = String::from("(\n");
    let _ = write!(text, "  {}", clauses.join(" &&\n  "));
    text.push_str("\n)");
    Ok(text)
}

/// Adds what the members of all have in common.
fn common(
    expression: &str,
    pointer: &str,
    all: &[&Object],
    is_redacted: &impl Fn(&str) -> bool,
    depth: usize,
    clauses: &mut Vec<String>,
) {
    let Some(first) = all.first() else { return };
    for name in first.keys() {
        if depth == 0 && expression == "context" && RESERVED_CONTEXT.contains(&name.as_str()) {
            continue;
        }
        let values: Vec<&Value> = all.iter().filter_map(|members| members.get(name)).collect();
        let place = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        if values.len() != all.len() {
            continue;
        }
        let member = format!("{expression}[{}]", text(name));
        let mut inner = Vec::new();
        let objects: Vec<&Object> = values.iter().filter_map(|value| value.as_object()).collect();
        if objects.len() == values.len() && depth < MAX_DEPTH {
            common(&member, &place, &objects, is_redacted, depth + 1, &mut inner);
        } else if !is_redacted(&place) {
            inner.extend(alike(&member, &values));
        }
        if !inner.is_empty() {
            clauses.push(format!("{expression} has {}", text(name)));
            clauses.append(&mut inner);
        }
    }
}

/// What values have in common; `None` when that is nothing that Cedar can say.
fn alike(member: &str, values: &[&Value]) -> Option<String> {
    let mut distinct: Vec<&Value> = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(value);
        }
    }
    if let [one] = distinct.as_slice() {
        return Some(format!("{member} == {}", literal(one)?));
    }
    let numbers: Option<Vec<i64>> = distinct.iter().map(|value| value.as_i64()).collect();
    if let Some((least, most)) = numbers.and_then(|all| Some((*all.iter().min()?, *all.iter().max()?))) {
        return Some(format!("{member} >= {least} &&\n  {member} <= {most}"));
    }
    let mut texts: Vec<&str> = distinct.iter().map(|value| value.as_str()).collect::<Option<_>>()?;
    texts.sort_unstable();
    if texts.len() <= MAX_LISTED {
        let listed: Vec<_> = texts.iter().map(|one| text(one)).collect();
        return Some(format!("[{}].contains({member})", listed.join(", ")));
    }
    let folder = folder(&texts)?;
    let pattern = folder.escape_default().to_string().replace('*', "\\*");
    // A name below the folder can lead out of it again.
    Some(format!("{member} like \"{pattern}*\" &&\n  !({member} like \"*..*\")"))
}

/// The folder that all of these paths are in; `None` when some climb, or it is no folder.
fn folder<'a>(texts: &[&'a str]) -> Option<&'a str> {
    let (first, rest) = texts.split_first()?;
    let shared = |shared: usize, other: &&str| {
        first.bytes().zip(other.bytes()).take(shared).take_while(|(a, b)| a == b).count()
    };
    let shared = rest.iter().fold(first.len(), shared);
    let end = first.get(..shared).unwrap_or_default().rfind('/')? + 1;
    let climbs = texts.iter().any(|text| text.contains(".."));
    first.get(..end).filter(|folder| !climbs && folder.len() > 1)
}

fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        Value::String(one) => Some(text(one)),
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<_>> = items.iter().map(literal).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn text(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// One policy as it would be with an exception.
#[derive(Debug, Clone)]
pub struct Excepted {
    /// The file that it is in.
    pub file: String,
    /// Its text.
    pub text: String,
    /// All files, with it.
    pub files: BundleFiles,
}

impl Bundle {
    /// What a policy of this bundle would be if it left out what fulfils a condition. `files` are the files
    /// that the bundle was made of, perhaps with other exceptions already.
    ///
    /// # Errors
    /// When there is no such policy.
    pub fn except(files: &BundleFiles, id: &str, condition: &str) -> Result<Excepted, NarrowError> {
        let missing = || NarrowError::NoPolicy(id.to_owned());
        let bundle = Self::load(files).map_err(|_| missing())?;
        let found = bundle.policies.iter().find(|policy| policy.id == id).ok_or_else(missing)?;
        let mut contents = files.clone().into_inner();
        let source = contents.get(&found.file).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
        let source = source.ok_or_else(missing)?;
        let (start, end) = span(&found.policy, &source).ok_or_else(missing)?;
        let before = source.get(..start).ok_or_else(missing)?;
        let (policy, after) = (source.get(start..end).ok_or_else(missing)?, source.get(end..));
        let text = format!("{}\nunless {{\n{condition}\n}};", policy.trim_end());
        let changed =
            format!("{before}{text}{}", after.unwrap_or_default().trim_start().trim_start_matches(';'));
        contents.insert(found.file.clone(), changed.into_bytes());
        let files = BundleFiles::new(contents).map_err(|_| missing())?;
        Ok(Excepted { file: found.file.clone(), text, files })
    }
}

/// Where a policy stands in its file, without the semicolon at its end.
fn span(policy: &Policy, source: &str) -> Option<(usize, usize)> {
    let at = policy.loc()?;
    let (start, end) = (at.start(), at.end());
    let text = source.get(start..end)?;
    Some((start, start + text.trim_end().trim_end_matches(';').len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(action: &str, id: &str, properties: &Value) -> Recorded {
        let operation = json!({
            "subject": {"type": "Agent", "id": "bot"},
            "action": {"name": action, "properties": properties},
            "resource": {"type": "Service", "id": id},
            "context": {"region": "eu", "time": "set by the gate"},
        });
        Recorded { operation: serde_json::from_value(operation).unwrap(), redacted: Vec::new() }
    }

    #[test]
    fn what_is_the_same_stays_and_what_differs_is_bounded() {
        let all = [
            recorded("pay", "a", &json!({"amount": 5, "currency": "EUR", "note": "x"})),
            recorded("pay", "b", &json!({"amount": 40, "currency": "EUR"})),
        ];
        let text = condition(&all).unwrap();
        for expected in [
            "principal == Agent::\"bot\"",
            "action == Action::\"pay\"",
            "[Service::\"a\", Service::\"b\"].contains(resource)",
            "context.action[\"amount\"] >= 5",
            "context.action[\"amount\"] <= 40",
            "context.action[\"currency\"] == \"EUR\"",
            "context[\"region\"] == \"eu\"",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("note") && !text.contains("time"), "{text}");
    }

    #[test]
    fn many_paths_share_a_folder_or_nothing() {
        let of = |names: &[&str]| {
            let all: Vec<_> =
                names.iter().map(|name| recorded("write", "x", &json!({"path": name}))).collect();
            condition(&all).unwrap()
        };
        let names: Vec<String> = (0..9).map(|number| format!("web/page*{number}.html")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(of(&names).contains("like \"web/*\" &&\n  !(context.action[\"path\"] like \"*..*\")"));
        names.push("web/../secret");
        assert!(!of(&names).contains("like"));
        names.pop();
        names.push("docs/x");
        assert!(!of(&names).contains("like"));
    }

    #[test]
    fn what_was_redacted_says_nothing_and_texts_cannot_break_out() {
        let mut one =
            recorded("pay", "a", &json!({"to": {"iban": "[redacted]", "name": "\" || true || \"*"}}));
        one.redacted = vec!["/action/properties/to/iban".to_owned()];
        let text = condition(&[one]).unwrap();
        assert!(!text.contains("iban"), "{text}");
        assert!(text.contains("== \"\\\" || true || \\\"*\""), "{text}");
        assert_eq!(condition(&[]), Err(NarrowError::Nothing));
    }
}
