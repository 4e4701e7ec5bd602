//! MCP: `[[tool]]` mappings for tool calls, and COAZ-MCP's default mappings for everything.
//!
//! The operator's `[[tool]]` goes before what a server declares about its own tool, and that goes before the
//! default. A server's word counts only where a `[[server]]` gives it a namespace to speak in
//! (see [`super::declared`]).

use std::sync::Arc;

use cedar_policy::Schema;
use countersign_model::{Action, Object, Projection, Resource};
use serde_json::{Value, json};

use super::{
    Mapped, MappingError,
    declared::{self, Declared},
    pattern::{OneOrMore, Pattern},
    target::Target,
};
use crate::{problem::Problems, toml_reader::Section};

/// The action of a tool call without a mapping.
pub const ACTION_TOOL: &str = "Mcp::tools/call";
/// The type of a tool as a resource. Its id is `SERVER/TOOL`.
pub const TOOL_TYPE: &str = "Mcp::Tool";

/// The longest name of a server, tool or method.
const MAX_NAME: usize = 128;
/// What expressions can refer to.
const VARIABLES: [&str; 4] = ["arguments", "params", "server", "tool"];

#[derive(Debug, Default)]
pub(crate) struct Tools {
    tools: Vec<Tool>,
    trusted: Vec<declared::Trusted>,
}

#[derive(Debug)]
struct Tool {
    server: Pattern,
    tool: Pattern,
    target: Arc<Target>,
}

impl Tools {
    /// Adds the tools and servers of one file.
    pub(crate) fn read(
        &mut self,
        section: &mut Section<'_, '_>,
        schema: Option<&Schema>,
        problems: &mut Problems,
    ) {
        let tools = &mut self.tools;
        section.tables("tool", problems, |section, problems| {
            let server = section.get::<String>("server", problems).unwrap_or_else(|| "*".to_owned());
            let names = section.require::<OneOrMore>("match", problems).map_or(Vec::new(), OneOrMore::all);
            // The action's properties are the arguments, all of them, so that the digest binds them all.
            let target = Target::read(section, &VARIABLES, false, schema, problems).map(Arc::new);
            let Some(target) = target else { return };
            for name in &names {
                let (server, target) = (Pattern::new(&server), Arc::clone(&target));
                let tool = Tool { server, tool: Pattern::new(name), target };
                if tools.iter().any(|earlier| earlier.covers(&tool)) {
                    let hint = "put the more particular one first";
                    problems.add(
                        section.place_of("match"),
                        "an earlier tool matches all that this one does",
                        hint,
                    );
                }
                tools.push(tool);
            }
        });
        declared::Trusted::read(&mut self.trusted, section, problems);
    }

    pub(crate) fn map(&self, call: &ToolCall<'_>) -> Result<Mapped, MappingError> {
        let ToolCall { server, tool, arguments, declared } = *call;
        check_names(server, tool)?;
        let own = json!({"server": server, "method": "tools/call", "tool": tool});
        let matches = |known: &&Tool| known.server.matches(server) && known.tool.matches(tool);
        if let Some(known) = self.tools.iter().find(matches) {
            let variables = variables(server, tool, arguments, &known.target);
            return known.target.map(&variables, arguments.clone(), ("mcp", own));
        }
        let properties = json!({"server": server, "name": tool});
        let resource = (TOOL_TYPE, format!("{server}/{tool}"), properties);
        let trusted = self.trusted.iter().find(|trusted| trusted.server.matches(server));
        let (Some(mapping), Some(trusted)) = (declared, trusted) else {
            return Ok(mapped("tools/call", arguments, resource, own));
        };
        match trusted.map(mapping, call, &own)? {
            Declared::One(mapped) => Ok(*mapped),
            // The call as it is binds them all, whatever the server makes of it.
            Declared::Several(parts) => {
                Ok(Mapped { parts, ..mapped("tools/call", arguments, resource, own) })
            }
        }
    }
}

/// A call of an MCP tool.
#[derive(Debug, Clone, Copy)]
pub struct ToolCall<'a> {
    /// The server's name, as the operator gave it.
    pub server: &'a str,
    /// The tool's name.
    pub tool: &'a str,
    /// Its arguments.
    pub arguments: &'a Object,
    /// The `x-authzen-mapping` in the tool's input schema, as the server declares it.
    pub declared: Option<&'a Value>,
}

impl Tool {
    fn covers(&self, later: &Self) -> bool {
        self.server.covers(&later.server) && self.tool.covers(&later.tool)
    }
}

/// The variables that a target uses; a large message is not copied for nothing.
fn variables(server: &str, tool: &str, arguments: &Object, target: &Target) -> Object {
    let mut variables = Object::new();
    if target.uses("arguments") {
        variables.insert("arguments".to_owned(), Value::Object(arguments.clone()));
    }
    if target.uses("params") {
        variables.insert("params".to_owned(), json!({"name": tool, "arguments": arguments}));
    }
    variables.insert("server".to_owned(), json!(server));
    variables.insert("tool".to_owned(), json!(tool));
    variables
}

/// The default mapping of an MCP request that is no tool call.
pub(crate) fn map_method(server: &str, method: &str, params: &Object) -> Result<Mapped, MappingError> {
    check_names(server, method)?;
    let text = |parameter: &'static str, value: Option<&Value>| {
        let text = value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        text.ok_or_else(|| MappingError::Parameter { method: method.to_owned(), parameter })
    };
    let (kind, id) = match method {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            ("Mcp::Resource", text("uri", params.get("uri"))?)
        }
        "prompts/get" => ("Mcp::Prompt", format!("{server}/{}", text("name", params.get("name"))?)),
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => {
            ("Mcp::Task", text("taskId", params.get("taskId"))?)
        }
        "completion/complete" => {
            let reference = params.get("ref").unwrap_or(&Value::Null);
            if reference.get("type").and_then(Value::as_str) == Some("ref/prompt") {
                ("Mcp::Prompt", format!("{server}/{}", text("ref.name", reference.get("name"))?))
            } else {
                ("Mcp::Resource", text("ref.uri", reference.get("uri"))?)
            }
        }
        // A method that is not known is asked about, too, and no policy permits it by accident.
        _ => ("Mcp::Server", server.to_owned()),
    };
    let own = json!({"server": server, "method": method});
    Ok(mapped(method, params, (kind, id, json!({"server": server})), own))
}

fn mapped(method: &str, properties: &Object, resource: (&str, String, Value), own: Value) -> Mapped {
    let (kind, id, attributes) = resource;
    let attributes = match attributes {
        Value::Object(members) => members,
        _ => Object::new(),
    };
    Mapped {
        action: Action { name: format!("Mcp::{method}"), properties: properties.clone() },
        resource: Resource { kind: kind.to_owned(), id, properties: attributes },
        context: Object::from_iter([("mcp".to_owned(), own)]),
        projection: Projection::default(),
        files: Vec::new(),
        parts: Vec::new(),
    }
}

fn check_names(server: &str, name: &str) -> Result<(), MappingError> {
    let odd = |text: &str| text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control);
    if odd(server) || server.contains('/') {
        return Err(MappingError::Server(server.chars().take(MAX_NAME).collect()));
    }
    if odd(name) { Err(MappingError::Missing("name of 1 to 128 printable characters")) } else { Ok(()) }
}
