//! What is to be done, from the canonical form that the digest binds (I12).

use countersign_approval::Label;
use countersign_model::Operation;
use serde::Serialize;
use serde_json::Value;

use super::{
    text::Untrusted,
    value::{Labelled, Reader, Shown},
};

/// The most parts of a shell line that are laid out.
const MOST_PARTS: usize = 64;

/// The action in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Headline {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub target: Untrusted,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Verb {
    /// In our words, for what the interceptors name themselves.
    Ours(&'static str),
    /// By the names that policy knows it by, which whoever calls gives.
    Named {
        /// The action's name.
        action: Untrusted,
        /// The type of what it is done to.
        kind: Untrusted,
    },
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its type.
    pub kind: Untrusted,
    /// Its id.
    pub id: Untrusted,
    /// What the operation says of it: its labels.
    pub labels: Vec<Labelled>,
    /// What policy's own entities say of it, whatever the operation says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Labelled>,
}

/// A command, for an operation that is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its words, each quoted so that it reads one way only; or one that is a whole shell line.
    pub words: Vec<Word>,
    /// The directory that it runs in; empty when that is not known.
    pub directory: Untrusted,
    /// The variables that are set for it.
    pub variables: Vec<Labelled>,
    /// What a shell line comes to, command by command.
    pub parts: Vec<Headline>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Word {
    /// The word.
    pub text: Untrusted,
    /// Whether the sidecar took a secret out of it.
    pub is_redacted: bool,
}

impl Headline {
    pub(super) fn of(operation: &Reader<'_>) -> Self {
        let action = operation.text("/action/name");
        let target = Untrusted::exact(operation.text("/resource/id"));
        Self { verb: verb(action, operation.text("/resource/type")), target }
    }

    /// The headline on one line of bounded length, for a title.
    #[must_use]
    pub fn one_line(&self) -> String {
        const MOST: usize = 120;
        let target = self.target.one_line(MOST);
        match &self.verb {
            Verb::Ours(verb) => format!("{verb} {target}"),
            Verb::Named { action, kind } => {
                format!("{} {} {target}", action.one_line(MOST), kind.one_line(MOST))
            }
        }
    }
}

fn verb(action: &str, kind: &str) -> Verb {
    Verb::Ours(match action {
        "Exec::run" => "Run the program",
        "Exec::unclear" => "Run a command that policy cannot read with certainty:",
        "Exec::opaque" => "Run a shell line that cannot be read with certainty:",
        "Exec::line" => "Run the shell line",
        "Exec::wrap" => "Run a command through",
        "Agent::read" => "Read the file",
        "Agent::write" => "Write the file",
        "Agent::edit" => "Edit the file",
        "Agent::delete" => "Delete the file",
        "Agent::search" => "Search in",
        "Agent::fetch" => "Fetch",
        "Agent::tool" => "Use the tool",
        "Mcp::tools/call" => "Call the tool",
        "Mcp::resources/read" => "Read the resource",
        "Mcp::prompts/get" => "Get the prompt",
        _ => return Verb::Named { action: Untrusted::exact(action), kind: Untrusted::exact(kind) },
    })
}

impl Target {
    pub(super) fn of(operation: &Reader<'_>) -> Self {
        Self {
            kind: Untrusted::exact(operation.text("/resource/type")),
            id: Untrusted::exact(operation.text("/resource/id")),
            labels: operation.labelled("/resource/properties"),
            known: Vec::new(),
        }
    }

    /// The same, with what policy's own entities say.
    pub(super) fn with(self, labels: &[Label]) -> Self {
        let known = |label: &Label| Labelled {
            name: Untrusted::exact(&label.name),
            value: Shown::Text(Untrusted::exact(&label.value)),
        };
        Self { known: labels.iter().map(known).collect(), ..self }
    }
}

/// What says where something belongs to.
const ENVIRONMENTS: [&str; 3] = ["environment", "env", "stage"];

/// Whether the resource belongs to production, by what the operation says of it or by policy's own entities. Neither
/// can deny what the other says.
pub(super) fn is_in_production(operation: &Reader<'_>, labels: &[Label]) -> bool {
    let is_production =
        |value: &str| ["production", "prod"].iter().any(|word| value.eq_ignore_ascii_case(word));
    let is_environment = |name: &str| ENVIRONMENTS.iter().any(|word| name.eq_ignore_ascii_case(word));
    let says = |name: &&str| is_production(operation.text(&format!("/resource/properties/{name}")));
    ENVIRONMENTS.iter().any(says)
        || labels.iter().any(|label| {
            // An entity's type may be in a namespace.
            let name = label.name.rsplit("::").next().unwrap_or_default();
            is_environment(name) && is_production(&label.value)
        })
}

impl Command {
    /// Of an interceptor that sees commands. What a caller of the check API puts into its context under such
    /// a name is an argument like any other.
    pub(super) fn of(operation: &Reader<'_>, interceptor: &str) -> Option<Self> {
        let sees_commands = matches!(interceptor, "exec" | "hook");
        let words = shell_line(operation).or_else(|| argv(operation)).filter(|_| sees_commands)?;
        let at = |line: &str, command: &str| {
            let text = operation.text(line);
            Untrusted::exact(if text.is_empty() { operation.text(command) } else { text })
        };
        Some(Self {
            words,
            directory: at("/context/hook/cwd", "/context/command/cwd"),
            variables: operation.labelled("/context/command/env"),
            parts: parts(operation),
        })
    }
}

fn argv(operation: &Reader<'_>) -> Option<Vec<Word>> {
    const ARGV: &str = "/context/command/argv";
    let words = operation.value(ARGV)?.as_array().filter(|words| !words.is_empty())?;
    let word = |(index, word): (usize, &Value)| {
        let text = Untrusted::exact(&shell_word(word.as_str()?));
        Some(Word { text, is_redacted: operation.is_redacted(&format!("{ARGV}/{index}")) })
    };
    words.iter().enumerate().map(word).collect()
}

/// The whole line of a shell, which a coding agent's host runs.
fn shell_line(operation: &Reader<'_>) -> Option<Vec<Word>> {
    const LINE: &str = "/context/hook/line";
    let text = operation.value(LINE)?.as_str().filter(|line| !line.is_empty())?;
    Some(vec![Word { text: Untrusted::exact(text), is_redacted: operation.is_redacted(LINE) }])
}

fn parts(operation: &Reader<'_>) -> Vec<Headline> {
    let parts = operation.value("/context/operations").and_then(Value::as_array);
    let headline = |part| Headline::of(&Reader::new(part, &[]));
    parts.into_iter().flatten().take(MOST_PARTS).map(headline).collect()
}

/// A word of a command line, quoted as a POSIX shell would need it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Everything that the digest binds, part by part: what the rest of the view may leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whole {
    /// The action's name.
    pub action: Untrusted,
    /// What it is done to.
    pub target: Target,
    /// The type of who does it.
    pub subject_kind: Untrusted,
    /// The id of who does it.
    pub subject_id: Untrusted,
    /// What is said of who does it.
    pub subject_labels: Vec<Labelled>,
    /// The action's arguments.
    pub arguments: Vec<Labelled>,
    /// Under which circumstances.
    pub context: Vec<Labelled>,
    /// JSON Pointers of what may change after the approval; policy says that it does not matter.
    pub advisory: Vec<Shown>,
    /// The canonical JSON (RFC 8785), with secrets taken out.
    pub text: Untrusted,
    /// How long that is, in bytes.
    pub length: usize,
}

impl Whole {
    pub(super) fn of(operation: &Reader<'_>, text: &str) -> Self {
        let advisory = match operation.value("/advisory") {
            None => Vec::new(),
            Some(value) => match operation.shown(value, "/advisory", 0) {
                Shown::List(items) => items,
                other => vec![other],
            },
        };
        Self {
            action: Untrusted::exact(operation.text("/action/name")),
            target: Target::of(operation),
            subject_kind: Untrusted::exact(operation.text("/subject/type")),
            subject_id: Untrusted::exact(operation.text("/subject/id")),
            subject_labels: operation.labelled("/subject/properties"),
            arguments: operation.labelled("/action/properties"),
            context: operation.labelled("/context"),
            advisory,
            text: Untrusted::exact(text),
            length: text.len(),
        }
    }
}

/// What makes two operations ask the same: the action, and what it is done to.
pub(super) fn same_matter(canonical: &str) -> Option<[String; 3]> {
    let Operation { action, resource, .. } = serde_json::from_str(canonical).ok()?;
    Some([action.name, resource.kind, resource.id])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(operation: &Value, redacted: &[String]) -> Command {
        Command::of(&Reader::new(operation, redacted), "hook").unwrap()
    }

    #[test]
    fn a_command_line_reads_one_way_only() {
        for (word, shown) in
            [("ls", "ls"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(shell_word(word), shown);
        }
        let operation = json!({"context": {"command": {
            "argv": ["rm", "-rf", "a b; c", "--key=[redacted]"], "cwd": "/srv", "env": {"LANG": "C"}}}});
        let command = command(&operation, &["/context/command/argv/3".to_owned()]);
        let words: Vec<_> = command.words.iter().map(|word| word.text.one_line(99)).collect();
        assert_eq!(words, ["rm", "-rf", "'a b; c'", "'--key=[redacted]'"]);
        assert_eq!(command.words.iter().filter(|word| word.is_redacted).count(), 1);
        assert_eq!(command.directory.one_line(99), "/srv");
        assert_eq!(command.variables.len(), 1);
    }

    #[test]
    fn a_shell_line_is_shown_as_it_is_with_what_it_comes_to() {
        let part = |id: &str| json!({"action": {"name": "Exec::run"}, "resource": {"id": id}});
        let operation = json!({"context": {
            "hook": {"line": "cd /srv && make 'all of it'", "cwd": "/p"}, "operations": [part("cd"), part("make")]}});
        let command = command(&operation, &[]);
        assert_eq!(command.words[0].text.one_line(99), "cd /srv && make 'all of it'");
        assert_eq!(command.directory.one_line(99), "/p");
        let parts: Vec<_> = command.parts.iter().map(Headline::one_line).collect();
        assert_eq!(parts, ["Run the program cd", "Run the program make"]);
    }

    #[test]
    fn only_what_was_redacted_is_marked_as_such() {
        let operation =
            json!({"action": {"properties": {"a/b": {"password": "[redacted]"}, "note": "[redacted]"}}});
        let redacted = ["/action/properties/a~1b/password".to_owned()];
        let shown = Reader::new(&operation, &redacted).labelled("/action/properties");
        let text = serde_json::to_string(&shown).unwrap();
        assert_eq!(text.matches(r#""is":"redacted""#).count(), 1, "{text}");
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
        let shown = serde_json::to_string(&Whole::of(&Reader::new(&operation, &[]), "")).unwrap();
        for leaf in ["leaf-1", "leaf-2", "leaf-3", "leaf-4", "leaf-5", "42", "true", "null", "deploy-bot"] {
            assert!(shown.contains(leaf), "{leaf} in {shown}");
        }
    }

    #[test]
    fn nesting_without_end_is_shown_without_end() {
        let mut deep = json!("the bottom");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let operation = json!({"action": {"name": "x", "properties": {"deep": deep}}, "resource": {}});
        let whole = Whole::of(&Reader::new(&operation, &[]), "");
        assert!(serde_json::to_string(&whole).unwrap().contains("the bottom"));
    }

    #[test]
    fn production_is_what_the_resource_says() {
        let says = |environment: &str| {
            let operation = json!({"resource": {"properties": {"environment": environment}}});
            is_in_production(&Reader::new(&operation, &[]), &[])
        };
        assert!(says("Production") && says("prod") && !says("staging"));
        // What the operation says of its resource does not outweigh what policy knows of it.
        let harmless = json!({"resource": {"properties": {"environment": "staging"}}});
        let knows = |name: &str, value: &str| {
            let label = Label { name: name.to_owned(), value: value.to_owned() };
            is_in_production(&Reader::new(&harmless, &[]), &[label])
        };
        assert!(knows("environment", "production") && knows("Acme::Environment", "Prod"));
        assert!(!knows("environment", "test") && !knows("team", "production"));
    }
}
