//! What a server says that its own tool means: `x-authzen-mapping` in the tool's input schema (COAZ-MCP).
//!
//! The server is the party whose calls are authorised, so by default its word counts for nothing and the
//! call stays what COAZ-MCP's default makes of it. An operator who trusts a server gives it a namespace:
//!
//! ```toml
//! [[server]]
//! name      = "crm"        # `*` stands for anything
//! namespace = "Crm"
//! ```
//!
//! Then a tool that declares the action `get_customer` on a `customer` is `Crm::get_customer` on a
//! `Crm::customer`. Whatever the server declares stays in that namespace, so it can reach only policies
//! that the operator wrote for it, and never look like a file that is read or a service that is inspected.
//!
//! The subject is the verified agent's, whatever the mapping says (COAZ calls this substitution), and so are the
//! context's reserved members. There is no validated token, so `token` is empty: `$token.?client_id` is
//! left out, `$token.sub` outside the subject is an error. Where it asks for several decisions (`evaluations`), each
//! of them must permit the call, and the call as a whole is what people approve. Whatever cannot be used is an
//! error, which denies (I6): a trusted server whose mapping is broken does not fall back to something milder.

use countersign_model::{Object, Projection, operation::RESERVED_CONTEXT};
use serde_json::{Value, json};

use super::{
    Mapped, MappingError,
    expression::{Template, size_of},
    pattern::Pattern,
    target::{OWN_CONTEXT, Target},
    tool::ToolCall,
};
use crate::{problem::Problems, request, toml_reader::Section};

/// The largest mapping that a tool can declare, in bytes of JSON.
const MAX_MAPPING: usize = 8 * 1024;
/// The most expressions in one.
const MAX_EXPRESSIONS: usize = 32;
/// The most decisions that one call can ask for.
const MAX_EVALUATIONS: usize = 16;
/// The members of an evaluation. Of several, each has those that it does not name from what they have in
/// common (AuthZEN §7.1.1).
const EVALUATION: [&str; 4] = ["subject", "action", "resource", "context"];
/// The longest name of an action or a type.
const MAX_NAME: usize = 128;
/// What expressions can refer to.
const VARIABLES: [&str; 2] = ["params", "token"];
/// The namespaces that Countersign lifts to by itself. A server that spoke in one could say anything.
const OWN_NAMESPACES: [&str; 5] = ["Agent", "Exec", "Http", "Mcp", "Postgres"];

/// A server whose declared mappings count, and the namespace that they stay in.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) server: Pattern,
    namespace: String,
}

impl Trusted {
    /// Adds the `[[server]]` tables of one file.
    pub(crate) fn read(known: &mut Vec<Self>, section: &mut Section<'_, '_>, problems: &mut Problems) {
        section.tables("server", problems, |section, problems| {
            let name = section.require::<String>("name", problems);
            let namespace = section.require::<String>("namespace", problems);
            let (Some(name), Some(namespace)) = (name, namespace) else { return };
            let outermost = namespace.split("::").next().unwrap_or_default();
            if request::uid(&format!("{namespace}::x"), "").is_err() {
                let hint = "write it like Crm: a name that Cedar takes";
                problems.add(section.place_of("namespace"), format!("{namespace:?} is no namespace"), hint);
            } else if OWN_NAMESPACES.contains(&outermost) {
                let hint = "give the server one of its own, so that it cannot pass for something else";
                problems.add(
                    section.place_of("namespace"),
                    format!("{outermost} is Countersign's own namespace"),
                    hint,
                );
            }
            let server = Pattern::new(&name);
            if known.iter().any(|earlier| earlier.server.covers(&server)) {
                let hint = "put the more particular one first";
                problems.add(
                    section.place_of("name"),
                    "an earlier server matches all that this one does",
                    hint,
                );
            }
            known.push(Self { server, namespace });
        });
    }

    /// Maps a call by what its tool declares.
    pub(crate) fn map(
        &self,
        mapping: &Value,
        call: &ToolCall<'_>,
        own: &Value,
    ) -> Result<Declared, MappingError> {
        let unusable = |why: String| MappingError::Declared { tool: call.tool.to_owned(), why };
        match evaluations(mapping).map_err(unusable)? {
            Evaluations::One(evaluation) => {
                let parts = Parts::read(evaluation).map_err(unusable)?;
                Ok(Declared::One(Box::new(self.map_one(parts, call, own.clone())?)))
            }
            Evaluations::Several(evaluations) => {
                let map = |evaluation: &Object| {
                    let parts = Parts::read(evaluation).map_err(unusable)?;
                    self.map_one(parts, call, own.clone())
                };
                Ok(Declared::Several(evaluations.iter().map(map).collect::<Result<_, _>>()?))
            }
        }
    }

    fn map_one(&self, parts: Parts, call: &ToolCall<'_>, mut own: Value) -> Result<Mapped, MappingError> {
        let declared = |why: String| MappingError::Declared { tool: call.tool.to_owned(), why };
        let params = json!({"name": call.tool, "arguments": call.arguments});
        let variables = Object::from_iter([
            ("params".to_owned(), params),
            ("token".to_owned(), Value::Object(Object::new())),
        ]);
        let action = self.name(&parts.action, &variables)?.ok_or_else(|| declared(no_name("action.name")))?;
        let kind = self.name(&parts.kind, &variables)?.ok_or_else(|| declared(no_name("resource.type")))?;
        if request::uid(&kind, "").is_err() {
            return Err(declared(no_name("resource.type")));
        }
        if parts.action_properties.is_some()
            && let Some(own) = own.as_object_mut()
        {
            // They take the arguments' place in the action; the arguments go on to bind.
            own.insert("arguments".to_owned(), json!(call.arguments));
        }
        let target = Target {
            action,
            kind,
            id: parts.id,
            resource: parts.resource,
            action_properties: parts.action_properties,
            context: parts.context,
            files: None,
            projection: Projection::default(),
        };
        target.map(&variables, call.arguments.clone(), ("mcp", own))
    }

    /// A name that the mapping gives, within the server's namespace; `None` if it would be outside, or no name.
    fn name(&self, template: &Template, variables: &Object) -> Result<Option<String>, MappingError> {
        let Some(Value::String(name)) = template.evaluate(variables)? else { return Ok(None) };
        let odd = |c: char| c == ':' || c.is_control();
        let fits = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(odd);
        Ok(fits.then(|| format!("{}::{name}", self.namespace)))
    }
}

fn no_name(member: &str) -> String {
    format!("{member} does not come to a name")
}

/// What a declared mapping makes of a call.
pub(crate) enum Declared {
    One(Box<Mapped>),
    Several(Vec<Mapped>),
}

/// The decisions that a mapping asks for.
enum Evaluations<'v> {
    One(&'v Object),
    Several(Vec<Object>),
}

fn evaluations(mapping: &Value) -> Result<Evaluations<'_>, String> {
    if size_of(mapping) > MAX_MAPPING {
        return Err(format!("it has more than {MAX_MAPPING} bytes"));
    }
    if expressions(mapping) > MAX_EXPRESSIONS {
        return Err(format!("it has more than {MAX_EXPRESSIONS} expressions"));
    }
    let mapping = members(mapping, "the mapping", &["evaluation", "evaluations"])?;
    match (mapping.get("evaluation"), mapping.get("evaluations")) {
        (Some(one), None) => Ok(Evaluations::One(members(one, "evaluation", &EVALUATION)?)),
        (None, Some(several)) => Ok(Evaluations::Several(several_of(several)?)),
        _ => Err("it needs either `evaluation` or `evaluations`".to_owned()),
    }
}

fn several_of(several: &Value) -> Result<Vec<Object>, String> {
    let [subject, action, resource, context] = EVALUATION;
    let common = members(several, "evaluations", &[subject, action, resource, context, "evaluations"])?;
    let list = common.get("evaluations").and_then(Value::as_array);
    let list = list.filter(|list| (1..=MAX_EVALUATIONS).contains(&list.len()));
    let list =
        list.ok_or_else(|| format!("evaluations.evaluations must have 1 to {MAX_EVALUATIONS} items"))?;
    let complete = |evaluation: &Value| {
        let own = members(evaluation, "an evaluation", &EVALUATION)?;
        let given = |name: &str| own.get(name).or_else(|| common.get(name)).cloned();
        Ok(EVALUATION.iter().filter_map(|name| Some(((*name).to_owned(), given(name)?))).collect())
    };
    list.iter().map(complete).collect()
}

/// The parts of one evaluation, compiled.
struct Parts {
    action: Template,
    action_properties: Option<Template>,
    kind: Template,
    id: Template,
    resource: Template,
    context: Template,
}

impl Parts {
    fn read(evaluation: &Object) -> Result<Self, String> {
        let required = |name: &str| evaluation.get(name).ok_or_else(|| format!("{name} is missing"));
        let action = members(required("action")?, "action", &["name", "properties"])?;
        let resource = members(required("resource")?, "resource", &["type", "id", "properties"])?;
        let nothing = Object::new();
        let context = match evaluation.get("context") {
            None => &nothing,
            Some(context) => context.as_object().ok_or("context must be an object")?,
        };
        if let Some(name) = OWN_CONTEXT.iter().find(|name| context.contains_key(**name)) {
            return Err(format!("context.{name} is set by Countersign itself"));
        }
        // The agent and the other reserved members are what Countersign has verified.
        let free = context.iter().filter(|(name, _)| !RESERVED_CONTEXT.contains(&name.as_str()));
        let free: Object = free.map(|(name, value)| (name.clone(), value.clone())).collect();
        let compile = |value: Option<&Value>, name: &str| match value {
            None => Err(format!("{name} is missing")),
            Some(value) => {
                Template::compile(value.clone(), &VARIABLES).map_err(|why| format!("{name}: {why}"))
            }
        };
        let properties = |value: Option<&Value>, name: &str| match value {
            None => Ok(None),
            Some(value) => compile(Some(value), name).map(Some),
        };
        Ok(Self {
            action: compile(action.get("name"), "action.name")?,
            action_properties: properties(action.get("properties"), "action.properties")?,
            kind: compile(resource.get("type"), "resource.type")?,
            id: compile(resource.get("id"), "resource.id")?,
            resource: properties(resource.get("properties"), "resource.properties")?
                .unwrap_or(Template::Object(Vec::new())),
            context: compile(Some(&Value::Object(free)), "context")?,
        })
    }
}

/// The members of an object, of which all must be known.
fn members<'v>(value: &'v Value, name: &str, known: &[&str]) -> Result<&'v Object, String> {
    let members = value.as_object().ok_or_else(|| format!("{name} must be an object"))?;
    match members.keys().find(|member| !known.contains(&member.as_str())) {
        Some(unknown) => Err(format!("{name} has no member {:?}", short(unknown))),
        None => Ok(members),
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn expressions(value: &Value) -> usize {
    match value {
        Value::String(text) => usize::from(text.starts_with('$') && !text.starts_with("$$")),
        Value::Array(items) => items.iter().map(expressions).sum(),
        Value::Object(members) => members.values().map(expressions).sum(),
        _ => 0,
    }
}
