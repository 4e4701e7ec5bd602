//! Redaction: secrets are taken out at the sidecar, before anything is shipped or shown (I10).
//!
//! The digest is taken over the unredacted form, so what was approved is what runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Member names that are redacted when a bundle does not say otherwise.
const DEFAULT_NAMES: [&str; 12] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*secret*",
    "*token*",
    "*api_key*",
    "*apikey*",
    "authorization",
    "*private_key*",
    "*privatekey*",
    "*credential*",
    "cookie",
];

/// Member names that look secret but only name one.
const DEFAULT_EXCEPT: [&str; 8] = [
    "secret_id",
    "secretid",
    "secret_name",
    "token_type",
    "max_tokens",
    "*_tokens",
    "progresstoken",
    "client_token",
];

/// Which values are secrets. Names are matched without regard to case or to `-`/`_`, with `*` at either end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redaction {
    /// Members, command-line options and `NAME=value` words of these names are redacted.
    #[serde(default = "default_names")]
    pub names: Vec<String>,
    /// Except those.
    #[serde(default = "default_except")]
    pub except: Vec<String>,
    /// Whatever stands at these JSON Pointers is redacted, too.
    #[serde(default)]
    pub pointers: Vec<String>,
}

fn default_names() -> Vec<String> {
    DEFAULT_NAMES.iter().map(ToString::to_string).collect()
}

fn default_except() -> Vec<String> {
    DEFAULT_EXCEPT.iter().map(ToString::to_string).collect()
}

impl Default for Redaction {
    fn default() -> Self {
        Self { names: default_names(), except: default_except(), pointers: Vec::new() }
    }
}

impl Redaction {
    /// Replaces every secret in a value. Returns the JSON Pointers of what was replaced.
    pub fn apply(&self, value: &mut Value) -> Vec<String> {
        let mut found = Vec::new();
        for pointer in &self.pointers {
            if let Some(secret) = value.pointer_mut(pointer) {
                *secret = REDACTED.into();
                found.push(pointer.clone());
            }
        }
        self.walk(value, &mut String::new(), &mut found);
        found.sort();
        found.dedup();
        found
    }

    /// Whether a member, option or variable of that name holds a secret.
    #[must_use]
    pub fn is_secret_name(&self, name: &str) -> bool {
        let name = fold(name);
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(&fold(pattern), &name));
        listed(&self.names) && !listed(&self.except)
    }

    fn walk(&self, value: &mut Value, path: &mut String, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let length = path.len();
                    path.push('/');
                    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    if self.is_secret_name(name) && !member.is_null() && !member.is_object() {
                        *member = REDACTED.into();
                        found.push(path.clone());
                    } else {
                        self.walk(member, path, found);
                    }
                    path.truncate(length);
                }
            }
            Value::Array(items) => self.walk_array(items, path, found),
            Value::String(text) => {
                if looks_like_a_secret(text) {
                    *text = REDACTED.into();
                    found.push(path.clone());
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// An array of words may be a command line: `--password hunter2`, `--password=hunter2`, `PASSWORD=hunter2`.
    fn walk_array(&self, items: &mut [Value], path: &mut String, found: &mut Vec<String>) {
        let mut secret_follows = false;
        for (index, item) in items.iter_mut().enumerate() {
            let length = path.len();
            path.push_str(&format!("/{index}"));
            match item {
                Value::String(word) if secret_follows && !word.starts_with("--") => {
                    *word = REDACTED.into();
                    found.push(path.clone());
                    secret_follows = false;
                }
                Value::String(word) => {
                    let option = word.starts_with('-');
                    match word.split_once('=') {
                        Some((name, secret))
                            if !secret.is_empty() && self.is_secret_name(name.trim_start_matches('-')) =>
                        {
                            *word = format!("{name}={REDACTED}");
                            found.push(path.clone());
                            secret_follows = false;
                        }
                        _ => {
                            secret_follows = option && self.is_secret_name(word.trim_start_matches('-'));
                            if looks_like_a_secret(word) {
                                *word = REDACTED.into();
                                found.push(path.clone());
                            }
                        }
                    }
                }
                other => {
                    secret_follows = false;
                    self.walk(other, path, found);
                }
            }
            path.truncate(length);
        }
    }
}

/// Values that give themselves away, whatever they are called.
fn looks_like_a_secret(text: &str) -> bool {
    const PREFIXES: [&str; 9] =
        ["ghp_", "gho_", "github_pat_", "sk-", "xoxb-", "xoxp-", "AKIA", "glpat-", "Bearer "];
    (text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----"))
        || (text.len() >= 20
            && !text.trim().contains(['\n', '/'])
            && PREFIXES.iter().any(|prefix| text.starts_with(prefix)))
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_by_name_in_members_options_and_variables() {
        let mut value = json!({
            "db": {"Password": "hunter2", "user": "app"},
            "argv": ["tool", "--secret-string", "s3cret", "--token=abc", "DB_PASSWORD=x", "--verbose", "plain"],
            "max_tokens": 100,
            "secret_id": "prod/db",
            "key": "-----BEGIN EC PRIVATE KEY-----\nabc"
        });
        let found = Redaction::default().apply(&mut value);
        assert_eq!(found, ["/argv/2", "/argv/3", "/argv/4", "/db/Password", "/key"]);
        assert_eq!(
            value["argv"],
            json!([
                "tool",
                "--secret-string",
                REDACTED,
                "--token=[redacted]",
                "DB_PASSWORD=[redacted]",
                "--verbose",
                "plain"
            ])
        );
        assert_eq!(value["db"], json!({"Password": REDACTED, "user": "app"}));
        assert_eq!(value["secret_id"], "prod/db");
    }

    #[test]
    fn pointers_redact_what_names_do_not() {
        let redaction = Redaction { pointers: vec!["/a/b".into()], ..Redaction::default() };
        let mut value = json!({"a": {"b": {"deep": 1}}});
        assert_eq!(redaction.apply(&mut value), ["/a/b"]);
        assert_eq!(value, json!({"a": {"b": REDACTED}}));
    }
}
