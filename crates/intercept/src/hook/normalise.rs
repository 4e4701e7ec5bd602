//! From what a hook submits to what the gate decides about, on the sidecar's side.

use countersign_gate::{Act, Arguments, Intent, Interceptor};
use countersign_model::{Action, Object, Operation, Projection, Provenance, Resource, Subject};
use countersign_policy::mapping::{ACTION_UNCLEAR, CommandLine, PROGRAM_TYPE};
use http::Uri;
use serde_json::{Value, json};

use super::part::{Clarity, Part, SimpleCommand};
use crate::{exec::normalise::ProgramFolders, local::wire::HookCall};

/// The action of a program that runs a command which is asked about by itself.
const ACTION_WRAP: &str = "Exec::wrap";
/// The action of what cannot be read with certainty.
const ACTION_OPAQUE: &str = "Exec::opaque";
/// The action of a whole shell line. Policy is asked about its parts.
const ACTION_LINE: &str = "Exec::line";
/// The type of a shell line.
const LINE_TYPE: &str = "Exec::Line";
/// The action of a tool of the host.
const ACTION_TOOL: &str = "Agent::tool";
/// The most characters of a line that name it.
const MAX_NAME: usize = 200;

/// The intent of a tool call. One part is put to policy as it is; several run together or not at all.
#[must_use]
pub fn intent(
    agent: &Subject,
    call: HookCall,
    folders: &ProgramFolders,
    provenance: Provenance,
    trace: Option<String>,
) -> Intent {
    let HookCall { host, tool, line, cwd, input, parts } = call;
    let whole = json!({ "host": host, "tool": tool, "line": line, "cwd": cwd, "input": input });
    let desk = Desk { agent, folders, line: line.as_deref(), input: &input };
    let act = match <[Part; 1]>::try_from(parts) {
        Ok([part]) => desk.act(part, &facts(whole)),
        Err(parts) => {
            let brief = facts(json!({ "host": host, "tool": tool }));
            let parts = parts.into_iter().map(|part| desk.act(part, &brief)).collect();
            let (action, kind, id) = match &line {
                Some(line) => (ACTION_LINE, LINE_TYPE, name_of_line(line)),
                None => (ACTION_TOOL, "Agent::Tool", tool),
            };
            let whole = desk.operation(action, (kind, id, json!({})), facts(whole));
            Act::Several { whole: Box::new(whole), parts }
        }
    };
    Intent {
        interceptor: Interceptor::Hook,
        act,
        provenance,
        asserted_subject: None,
        trace,
        tool_pin: None,
        arguments: Arguments::AsGiven,
    }
}

/// What every operation of a hook says about where it comes from.
fn facts(mut hook: Value) -> Object {
    if let Value::Object(members) = &mut hook {
        members.retain(|_, value| !value.is_null());
    }
    Object::from_iter([("hook".to_owned(), hook)])
}

struct Desk<'d> {
    agent: &'d Subject,
    folders: &'d ProgramFolders,
    line: Option<&'d str>,
    input: &'d Object,
}

impl Desk<'_> {
    fn act(&self, part: Part, facts: &Object) -> Act {
        let facts = facts.clone();
        let (action, resource) = match part {
            Part::Command { command, clarity } => return self.command(command, clarity, facts),
            Part::Mcp { server, tool } => {
                let arguments = self.input.clone();
                return Act::Tool { server, tool, arguments, declared: None, facts };
            }
            Part::Opaque { why } => {
                let line = name_of_line(self.line.unwrap_or_default());
                (ACTION_OPAQUE, (LINE_TYPE, line, json!({ "why": why })))
            }
            Part::File { access, file } => {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                let properties = json!({ "path": file.path, "name": name, "inside": file.inside });
                (access.action(), ("Agent::File", file.path.clone(), properties))
            }
            Part::Fetch { url } => ("Agent::fetch", ("Agent::Url", url.clone(), address(&url))),
            Part::Tool { name } => (ACTION_TOOL, ("Agent::Tool", name.clone(), json!({ "name": name }))),
        };
        self.done(action, resource, facts)
    }

    fn command(&self, command: SimpleCommand, clarity: Clarity, facts: Object) -> Act {
        let SimpleCommand { mut argv, cwd, env, found } = command;
        if let (Some(name), Some(found)) = (argv.first_mut(), &found) {
            *name = self.folders.name_of(found);
        }
        let action = match clarity {
            Clarity::Clear => return Act::Command { command: CommandLine { argv, cwd, env }, facts },
            Clarity::Unclear => ACTION_UNCLEAR,
            Clarity::Wrap => ACTION_WRAP,
        };
        let id = argv.first().cloned().unwrap_or_default();
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        let located = if id.contains('/') { "elsewhere" } else { "path" };
        let command = json!({ "argv": argv, "cwd": cwd, "env": env, "program": name, "located": located });
        let mut context = facts;
        context.insert("command".to_owned(), command);
        self.done(action, (PROGRAM_TYPE, id, json!({ "name": name, "located": located })), context)
    }

    fn done(&self, action: &str, resource: (&str, String, Value), context: Object) -> Act {
        let operation = self.operation(action, resource, context);
        Act::Operation { operation: Box::new(operation), projection: Projection::default() }
    }

    fn operation(
        &self,
        action: &str,
        (kind, id, properties): (&str, String, Value),
        context: Object,
    ) -> Operation {
        let properties = match properties {
            Value::Object(properties) => properties,
            _ => Object::new(),
        };
        Operation {
            subject: self.agent.clone(),
            action: Action { name: action.to_owned(), properties: Object::new() },
            resource: Resource { kind: kind.to_owned(), id, properties },
            context,
        }
    }
}

/// A line as a name: whole if it is short.
fn name_of_line(line: &str) -> String {
    if line.chars().count() <= MAX_NAME {
        return line.to_owned();
    }
    line.chars().take(MAX_NAME).chain(['…']).collect()
}

/// What policy may want to know of an address. One that cannot be read has no host.
fn address(url: &str) -> Value {
    let uri = url.parse::<Uri>().unwrap_or_default();
    json!({
        "scheme": uri.scheme_str().unwrap_or_default(),
        "host": uri.host().unwrap_or_default().to_ascii_lowercase(),
        "path": uri.path(),
    })
}

#[cfg(test)]
mod tests {
    use countersign_gate::intent::agent_subject;

    use super::*;
    use crate::hook::part::{Access, NamedFile, Why};

    fn command(name: &str, found: Option<&str>, clarity: Clarity) -> Part {
        let command = SimpleCommand {
            argv: vec![name.to_owned(), "-l".to_owned()],
            cwd: "/p".to_owned(),
            found: found.map(str::to_owned),
            ..SimpleCommand::default()
        };
        Part::Command { command, clarity }
    }

    fn act(line: Option<&str>, parts: Vec<Part>) -> Act {
        let agent = agent_subject(&"coder".parse().unwrap());
        let call = HookCall {
            host: "codex".to_owned(),
            tool: "Bash".to_owned(),
            line: line.map(str::to_owned),
            cwd: "/p".to_owned(),
            input: Object::from_iter([("k".to_owned(), json!("v"))]),
            parts,
        };
        let folders = ProgramFolders::of_path("/usr/bin".as_ref());
        intent(&agent, call, &folders, Provenance::default(), None).act
    }

    fn asked(act: &Act) -> (String, String, String) {
        match act {
            Act::Operation { operation, .. } => {
                let Resource { kind, id, .. } = &operation.resource;
                (operation.action.name.clone(), kind.clone(), id.clone())
            }
            Act::Command { command, .. } => ("command".to_owned(), String::new(), command.argv[0].clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_put_to_policy_by_what_they_are() {
        let file = NamedFile { path: "/p/a".to_owned(), inside: true };
        for (part, action, kind, id) in [
            (command("ls", Some("/usr/bin/ls"), Clarity::Clear), "command", "", "ls"),
            (command("cd", None, Clarity::Clear), "command", "", "cd"),
            // Another file of that name is another program.
            (command("ls", Some("/tmp/evil/ls"), Clarity::Clear), "command", "", "/tmp/evil/ls"),
            (
                command("ls", Some("/tmp/evil/ls"), Clarity::Unclear),
                "Exec::unclear",
                "Exec::Program",
                "/tmp/evil/ls",
            ),
            (command("sudo", Some("/usr/bin/sudo"), Clarity::Wrap), "Exec::wrap", "Exec::Program", "sudo"),
            (Part::Opaque { why: Why::Eval }, "Exec::opaque", "Exec::Line", "the line"),
            (Part::File { access: Access::Write, file }, "Agent::write", "Agent::File", "/p/a"),
            (
                Part::Fetch { url: "https://a.test/x".to_owned() },
                "Agent::fetch",
                "Agent::Url",
                "https://a.test/x",
            ),
            (Part::Tool { name: "Task".to_owned() }, "Agent::tool", "Agent::Tool", "Task"),
        ] {
            let expected = (action.to_owned(), kind.to_owned(), id.to_owned());
            assert_eq!(asked(&act(Some("the line"), vec![part.clone()])), expected, "{part:?}");
        }
    }

    #[test]
    fn one_part_binds_the_whole_call_and_several_are_a_whole_of_their_own() {
        let one = act(Some("ls -l"), vec![command("ls", Some("/usr/bin/ls"), Clarity::Clear)]);
        let Act::Command { facts, .. } = one else { panic!("{one:?}") };
        let whole =
            json!({"host": "codex", "tool": "Bash", "line": "ls -l", "cwd": "/p", "input": {"k": "v"}});
        assert_eq!(facts["hook"], whole);
        let line = "ls -l; cd -l";
        let parts =
            vec![command("ls", Some("/usr/bin/ls"), Clarity::Clear), command("cd", None, Clarity::Clear)];
        let several = act(Some(line), parts);
        let Act::Several { whole, parts } = several else { panic!("{several:?}") };
        assert_eq!(
            (whole.action.name.as_str(), whole.resource.id.as_str(), parts.len()),
            ("Exec::line", line, 2)
        );
        assert_eq!(whole.context["hook"]["line"], line);
        assert!(matches!(act(None, Vec::new()), Act::Several { parts, .. } if parts.is_empty()));
    }

    #[test]
    fn an_address_has_the_host_that_is_asked() {
        assert_eq!(address("https://Docs.Example.com:8443/a?b")["host"], "docs.example.com");
        assert_eq!(address("https://docs.example.com@evil.test/a")["host"], "evil.test");
        assert_eq!(address("no address at all")["host"], "");
    }

    #[test]
    fn a_long_line_is_named_by_its_beginning() {
        assert_eq!(name_of_line("ls"), "ls");
        let name = name_of_line(&"é".repeat(300));
        assert_eq!(name.chars().count(), MAX_NAME + 1);
    }
}
