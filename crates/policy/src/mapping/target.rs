//! What commands and tools have in common: the action, resource and context that a mapping makes.

use cedar_policy::Schema;
use countersign_model::{
    Action, Object, Projection, Resource, operation::RESERVED_CONTEXT, projection::AdvisoryField,
};
use serde_json::Value;

use super::{Mapped, MappingError, expression::Template};
use crate::{problem::Problems, request, toml_reader::Section};

/// The context members that say what is executed, filled in here or by the interceptors. They always
/// bind, and a mapping cannot set them.
pub(super) const OWN_CONTEXT: [&str; 7] =
    ["command", "direction", "execution", "files", "mcp", "params", "unbound_files"];
/// What may stand before a file's name in an option's value.
const FILE_PREFIXES: [&str; 2] = ["fileb://", "file://"];
/// The longest resource id.
const MAX_ID: usize = 4_096;

/// The compiled target of a mapping.
#[derive(Debug)]
pub(crate) struct Target {
    pub(super) action: String,
    pub(super) kind: String,
    pub(super) id: Template,
    pub(super) resource: Template,
    pub(super) action_properties: Option<Template>,
    pub(super) context: Template,
    pub(super) files: Option<Template>,
    pub(super) projection: Projection,
}

impl Target {
    /// Reads the target out of a mapping's table. `derived` says whether the mapping may give the action
    /// properties of its own.
    pub(crate) fn read(
        section: &mut Section<'_, '_>,
        variables: &[&str],
        derived: bool,
        schema: Option<&Schema>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let action = literal(section, "action", problems);
        let resource = section.table("resource", problems, |section, problems| {
            let kind = literal(section, "type", problems);
            let id = template(section, "id", variables, problems);
            if id.is_none() && !section.has("id") {
                problems.add(section.place(), "id is missing", "add id = \"…\" or id = \"$…\"");
            }
            let properties = object(section, "properties", variables, problems);
            Some((kind?, id?, properties))
        });
        if resource.is_none() && !section.has("resource") {
            let hint = "add resource = { type = \"…\", id = \"$…\" }";
            problems.add(section.place(), "resource is missing", hint);
        }
        let action_properties =
            if derived { template(section, "properties", variables, problems) } else { None };
        let context = object(section, "context", variables, problems);
        report_reserved(&context, section, problems);
        let files = template(section, "files", variables, problems);
        let projection = read_projection(section, problems);
        let (kind, id, resource) = resource??;
        let action = action?;
        report_unknown_to_schema(&action, &kind, section, schema, problems);
        Some(Self { action, kind, id, resource, action_properties, context, files, projection })
    }

    /// Whether a variable is used anywhere in it.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        let optional = [&self.action_properties, &self.files];
        let always = [&self.id, &self.resource, &self.context];
        always.into_iter().chain(optional.into_iter().flatten()).any(|template| template.uses(variable))
    }

    /// Works the target out. `properties` are the action's unless the mapping gives some itself, and
    /// `own` is the part of the context that is there whatever the mapping says.
    pub(crate) fn map(
        &self,
        variables: &Object,
        properties: Object,
        own: (&'static str, Value),
    ) -> Result<Mapped, MappingError> {
        let id = match self.id.evaluate(variables)? {
            Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID => id,
            Some(Value::String(id)) if id.len() > MAX_ID => {
                return Err(MappingError::TooLarge("resource id"));
            }
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(MappingError::Missing("resource id")),
        };
        let properties = match &self.action_properties {
            Some(template) => members(template, variables, "action properties")?,
            None => properties,
        };
        let mut context = members(&self.context, variables, "context")?;
        let (name, value) = own;
        context.insert(name.to_owned(), value);
        Ok(Mapped {
            action: Action { name: self.action.clone(), properties },
            resource: Resource {
                kind: self.kind.clone(),
                id,
                properties: members(&self.resource, variables, "resource properties")?,
            },
            context,
            projection: self.projection.clone(),
            files: self.files(variables)?,
            parts: Vec::new(),
        })
    }

    fn files(&self, variables: &Object) -> Result<Vec<String>, MappingError> {
        let Some(template) = &self.files else { return Ok(Vec::new()) };
        let one = |value: Value| match value {
            Value::String(path) => {
                let bare = FILE_PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix));
                Ok(bare.map_or_else(|| path.clone(), ToOwned::to_owned))
            }
            _ => Err(MappingError::Missing("file name")),
        };
        match template.evaluate(variables)? {
            None => Ok(Vec::new()),
            Some(Value::Array(paths)) => {
                // An option that was given more than once is a list itself.
                let flat = paths.into_iter().flat_map(|path| match path {
                    Value::Array(inner) => inner,
                    other => vec![other],
                });
                flat.map(one).collect()
            }
            Some(path) => Ok(vec![one(path)?]),
        }
    }
}

fn members(template: &Template, variables: &Object, what: &'static str) -> Result<Object, MappingError> {
    match template.evaluate(variables)? {
        Some(Value::Object(members)) => Ok(members),
        _ => Err(MappingError::Missing(what)),
    }
}

/// A text that must not be an expression: which action and type a mapping leads to is the author's to
/// say, never the message's.
fn literal(section: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems) -> Option<String> {
    let text = section.require::<String>(key, problems)?;
    if text.is_empty() || text.starts_with('$') {
        problems.add(section.place_of(key), format!("{key} must be a fixed name"), "write it without $");
        return None;
    }
    if key == "type" && request::uid(&text, "").is_err() {
        problems.add(
            section.place_of(key),
            format!("{text:?} is not an entity type"),
            "write it like Aws::Bucket",
        );
        return None;
    }
    Some(text)
}

fn template(
    section: &mut Section<'_, '_>,
    key: &'static str,
    variables: &[&str],
    problems: &mut Problems,
) -> Option<Template> {
    let value: Value = section.get(key, problems)?;
    let compiled = Template::compile(value, variables);
    compiled.map_err(|error| problems.add(section.place_of(key), format!("{key}: {error}"), "")).ok()
}

fn object(
    section: &mut Section<'_, '_>,
    key: &'static str,
    variables: &[&str],
    problems: &mut Problems,
) -> Template {
    match template(section, key, variables, problems) {
        None => Template::Object(Vec::new()),
        Some(template @ (Template::Object(_) | Template::Expression(_))) => template,
        Some(_) => {
            problems.add(section.place_of(key), format!("{key} must be a table"), "write { name = value }");
            Template::Object(Vec::new())
        }
    }
}

fn report_reserved(context: &Template, section: &Section<'_, '_>, problems: &mut Problems) {
    let Template::Object(members) = context else {
        let hint = "name its members, so that it is clear what policy sees";
        problems.add(section.place_of("context"), "context cannot be one expression", hint);
        return;
    };
    for (name, _) in members {
        if RESERVED_CONTEXT.contains(&name.as_str()) || OWN_CONTEXT.contains(&name.as_str()) {
            let message = format!("context.{name} is set by Countersign itself");
            problems.add(section.place_of("context"), message, "use another name");
        }
    }
}

fn read_projection(section: &mut Section<'_, '_>, problems: &mut Problems) -> Projection {
    let fields: Vec<AdvisoryField> = section.get("advisory", problems).unwrap_or_default();
    for field in &fields {
        let text = field.to_string();
        let member = text.strip_prefix("/context/").and_then(|path| path.split('/').next());
        if member.is_some_and(|member| OWN_CONTEXT.contains(&member)) {
            let message = format!("{text} says what is executed and always binds");
            problems.add(section.place_of("advisory"), message, "remove it from advisory");
        }
    }
    fields.into_iter().collect()
}

fn report_unknown_to_schema(
    action: &str,
    kind: &str,
    section: &Section<'_, '_>,
    schema: Option<&Schema>,
    problems: &mut Problems,
) {
    let Some(schema) = schema else { return };
    let Ok(uid) = request::action_uid(action) else { return };
    if !schema.actions().any(|known| known.to_string() == uid.to_string()) {
        let hint = "declare it there, or mend the name";
        problems.add(section.place_of("action"), format!("the schema knows no action {uid}"), hint);
    }
    if !schema.entity_types().any(|known| known.to_string() == kind) {
        let hint = "declare it there, or mend the name";
        problems.add(section.place_of("resource"), format!("the schema knows no entity type {kind}"), hint);
    }
}
