//! An operation as reviewers see it, from the canonical form that its digest binds (I12).

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::text::{exact, plain};

/// The deepest nesting that is laid out; what lies deeper is shown as JSON text.
const MAX_DEPTH: usize = 6;

/// An operation, read for display. Parts that are missing stay empty; nothing is made up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperationView<'a> {
    operation: &'a Value,
    /// JSON Pointers of what was redacted. A value that only says so is not marked as redacted.
    redacted: &'a [String],
}

impl<'a> OperationView<'a> {
    /// The view of a canonical operation.
    pub(crate) fn new(operation: &'a Value, redacted: &'a [String]) -> Self {
        Self { operation, redacted }
    }

    fn text(&self, pointer: &str) -> &'a str {
        self.operation.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn members(&self, pointer: &str) -> Option<&'a Map<String, Value>> {
        self.operation.pointer(pointer).and_then(Value::as_object).filter(|members| !members.is_empty())
    }

    /// The action's name.
    pub(crate) fn action(&self) -> &'a str {
        self.text("/action/name")
    }

    /// The action in words, and whether it touches production.
    pub(crate) fn headline(&self) -> Markup {
        html! {
            (self.name())
            @if self.in_production() { " " span.tag.production { "production" } }
        }
    }

    /// The action in words, for what the interceptors name themselves; otherwise the name as policy has it.
    pub(crate) fn name(&self) -> Markup {
        let resource = self.text("/resource/id");
        let (verb, thing) = match self.action() {
            "Exec::run" => ("Run the program", ""),
            "Exec::unclear" => ("Run a command that policy cannot read with certainty:", ""),
            "Mcp::tools/call" => ("Call the tool", ""),
            "Mcp::resources/read" => ("Read the resource", ""),
            "Mcp::prompts/get" => ("Get the prompt", ""),
            name => (name, self.text("/resource/type")),
        };
        html! {
            @if thing.is_empty() { span { (verb) } } @else { span.named { (exact(verb)) } " " span.kind { (exact(thing)) } }
            " " span.target { (exact(resource)) }
        }
    }

    /// The headline without markup, for a page's title.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", plain(self.action()), plain(self.text("/resource/id")))
    }

    /// Whether the resource itself says that it belongs to production.
    fn in_production(&self) -> bool {
        ["environment", "env", "stage"].iter().any(|name| {
            let value = self.text(&format!("/resource/properties/{name}"));
            matches!(value.to_ascii_lowercase().as_str(), "production" | "prod")
        })
    }

    /// The command line, for an operation that is one: each word quoted so that it reads one way only.
    fn command_line(&self) -> Option<Markup> {
        const ARGV: &str = "/context/command/argv";
        let words = self.operation.pointer(ARGV)?.as_array().filter(|words| !words.is_empty())?;
        let words: Vec<&str> = words.iter().map(Value::as_str).collect::<Option<_>>()?;
        Some(html! {
            @for (index, word) in words.iter().enumerate() {
                @if index > 0 { " " }
                (self.leaf(&format!("{ARGV}/{index}"), exact(&shell_word(word))))
            }
        })
    }

    /// What will run: the command line with its directory and environment, and the arguments.
    pub(crate) fn summary(&self) -> Markup {
        const ARGUMENTS: &str = "/action/properties";
        const ENVIRONMENT: &str = "/context/command/env";
        let (command, arguments) = (self.command_line(), self.members(ARGUMENTS));
        html! {
            @if let Some(line) = &command {
                div.command tabindex="0" role="group" aria-label="Command line" { code { (line) } }
                p.quiet.small { "in " code { (exact(self.text("/context/command/cwd"))) } }
                @if let Some(variables) = self.members(ENVIRONMENT) {
                    p.quiet.small { "with these variables" }
                    (self.object(variables, ENVIRONMENT, 0))
                }
            }
            @if let Some(arguments) = arguments { (self.object(arguments, ARGUMENTS, 0)) }
            @if command.is_none() && arguments.is_none() { p.quiet { "No arguments." } }
        }
    }

    /// Everything that the summary may leave out, folded away.
    pub(crate) fn rest(&self) -> Markup {
        html! {
            details.fold {
                summary { "The whole operation" }
                (self.full())
            }
        }
    }

    /// Everything, part by part.
    pub(crate) fn full(&self) -> Markup {
        html! {
            dl.facts {
                dt { "Action" } dd { code { (exact(self.action())) } }
                dt { "Resource" }
                dd { code { (exact(self.text("/resource/type"))) "::" (exact(self.text("/resource/id"))) } }
                dt { "Subject" }
                dd { code { (exact(self.text("/subject/type"))) "::" (exact(self.text("/subject/id"))) } }
                @for (label, pointer) in [
                    ("Arguments", "/action/properties"),
                    ("Resource properties", "/resource/properties"),
                    ("Subject properties", "/subject/properties"),
                    ("Context", "/context"),
                ] {
                    @if let Some(members) = self.members(pointer) {
                        dt { (label) } dd { (self.object(members, pointer, 0)) }
                    }
                }
                @if let Some(Value::Array(advisory)) = self.operation.get("advisory") {
                    dt { "Not bound" }
                    dd {
                        p.quiet { "These fields may change after the approval; policy says they do not matter." }
                        (self.array(advisory, "/advisory", 0))
                    }
                }
            }
        }
    }

    fn object(&self, members: &Map<String, Value>, path: &str, depth: usize) -> Markup {
        html! {
            dl.members {
                @for (name, member) in members {
                    dt { (exact(name)) }
                    dd { (self.value(member, &below(path, name), depth)) }
                }
            }
        }
    }

    fn array(&self, items: &[Value], path: &str, depth: usize) -> Markup {
        html! {
            ol.items {
                @for (index, item) in items.iter().enumerate() {
                    li { (self.value(item, &format!("{path}/{index}"), depth)) }
                }
            }
        }
    }

    fn value(&self, value: &Value, path: &str, depth: usize) -> Markup {
        if depth >= MAX_DEPTH {
            return html! { code { (exact(&value.to_string())) } };
        }
        match value {
            Value::Object(members) if !members.is_empty() => self.object(members, path, depth + 1),
            Value::Array(items) if !items.is_empty() => self.array(items, path, depth + 1),
            Value::String(text) if text.is_empty() => html! { span.quiet { "(empty)" } },
            Value::String(text) => self.leaf(path, exact(text)),
            // Numbers, booleans, null, {} and [] read as JSON, which tells them from words.
            other => html! { code.literal { (other.to_string()) } },
        }
    }

    /// A value, marked when the sidecar took a secret out of it.
    fn leaf(&self, path: &str, shown: Markup) -> Markup {
        if self.redacted.iter().any(|pointer| pointer == path) {
            return html! {
                span.redacted title="The sidecar took a secret out here. The digest covers it." { (shown) }
            };
        }
        shown
    }
}

/// The JSON Pointer (RFC 6901) of a member.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A word of a command line, quoted as a POSIX shell would need it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_line_reads_one_way_only() {
        for (word, shown) in
            [("ls", "ls"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(shell_word(word), shown);
        }
        let operation = json!({"context": {"command": {
            "argv": ["rm", "-rf", "a b; c", "--key=[redacted]"], "cwd": "/srv", "env": {"LANG": "C"}}}});
        let redacted = ["/context/command/argv/3".to_owned()];
        let shown = OperationView::new(&operation, &redacted).summary().into_string();
        let text: String =
            shown.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect();
        assert_eq!(text, "rm -rf 'a b; c' '--key=[redacted]'in /srvwith these variablesLANGC");
        assert_eq!(shown.matches("class=\"redacted\"").count(), 1);
    }

    #[test]
    fn every_leaf_of_an_operation_is_shown() {
        let operation = json!({
            "v": 1,
            "subject": {"type": "Agent", "id": "deploy-bot", "properties": {"team": "leaf-1"}},
            "action": {"name": "deploy", "properties": {"deep": [{"x": "leaf-2"}, 42, true, null]}},
            "resource": {"type": "Service", "id": "payments", "properties": {"env": "leaf-3"}},
            "context": {"ticket": "leaf-4"},
            "advisory": ["/context/leaf-5"]
        });
        let shown = OperationView::new(&operation, &[]).full().into_string();
        for leaf in
            ["leaf-1", "leaf-2", "leaf-3", "leaf-4", "leaf-5", ">42<", ">true<", ">null<", "deploy-bot"]
        {
            assert!(shown.contains(leaf), "{leaf} in {shown}");
        }
    }

    #[test]
    fn only_what_was_redacted_is_marked_as_such() {
        let operation =
            json!({"action": {"properties": {"a/b": {"password": "[redacted]"}, "note": "[redacted]"}}});
        let redacted = ["/action/properties/a~1b/password".to_owned()];
        let shown = OperationView::new(&operation, &redacted).summary().into_string();
        assert_eq!(shown.matches("class=\"redacted\"").count(), 1, "{shown}");
    }

    #[test]
    fn nesting_without_end_is_shown_without_end() {
        let mut deep = json!("the bottom");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let operation = json!({"action": {"name": "x", "properties": {"deep": deep}}, "resource": {}});
        assert!(OperationView::new(&operation, &[]).full().into_string().contains("the bottom"));
    }

    #[test]
    fn production_is_named_as_such() {
        let operation = json!({"action": {"name": "deploy"},
            "resource": {"type": "Service", "id": "payments", "properties": {"environment": "Production"}}});
        assert!(OperationView::new(&operation, &[]).headline().into_string().contains("tag production"));
    }
}
