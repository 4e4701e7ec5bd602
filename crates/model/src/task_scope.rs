//! Task scopes: what one approval lets an agent do beyond the operation that was approved, and the budget for it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{amount::Amount, requirement::GrantShape, time::Seconds};

/// The longest prefix or argument, in bytes.
const MAX_TEXT: usize = 512;
/// The most prefixes, and the most arguments that stay the same.
const MAX_LIST: usize = 16;

/// What is wrong with a task scope. Each text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskScopeError {
    /// Too few or too many executions.
    #[error("the count of a task is from 2 to {}", GrantShape::MAX_USES)]
    Count,
    /// No time.
    #[error("a task needs a time, such as within = \"30m\"")]
    Within,
    /// A total of nothing, or single amounts beyond it.
    #[error("the total of a task is more than 0, and each amount more than 0 and no more than the total")]
    Amount,
    /// Too many entries.
    #[error("a task names at most {MAX_LIST} resources, and at most {MAX_LIST} arguments that stay the same")]
    List,
    /// Not a prefix.
    #[error(
        "{0:?} is no prefix of resources: 1 to {MAX_TEXT} printable ASCII characters, without \"..\", \"//\" (but \
         after a scheme), \"%\", \"\\\" or a port that is left open"
    )]
    Prefix(String),
    /// Not an argument.
    #[error("{0:?} is no argument: write its name, or a JSON Pointer such as \"/transfer/amount\"")]
    Argument(String),
}

/// One approval for several operations of the same action, by the same agent in the same session. What all of them
/// together may come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text")]
pub struct TaskScope {
    /// How many operations, the approved one included. From 2 to [`GrantShape::MAX_USES`].
    pub count: u32,
    /// For how long, from the approval.
    pub within: Seconds,
    /// How much they may come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<AmountLimit>,
    /// What the ids of their resources begin with. With none, the resource is always the approved one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourcePrefix>,
    /// The arguments that stay as they were approved. All others may differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<Argument>,
}

/// How much the operations of a task may come to, by one of their arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountLimit {
    /// The argument that says how much it is.
    pub argument: Argument,
    /// How much all of them may come to.
    pub total: Amount,
    /// How much each of them may come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Amount>,
}

/// A task scope as it is written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    count: u32,
    within: Seconds,
    amount: Option<AmountLimit>,
    #[serde(default)]
    resources: Vec<ResourcePrefix>,
    #[serde(default)]
    same: Vec<Argument>,
}

impl TryFrom<Text> for TaskScope {
    type Error = TaskScopeError;

    fn try_from(text: Text) -> Result<Self, TaskScopeError> {
        let Text { count, within, amount, resources, same } = text;
        if !(2..=GrantShape::MAX_USES).contains(&count) {
            return Err(TaskScopeError::Count);
        }
        if within == Seconds::new(0) {
            return Err(TaskScopeError::Within);
        }
        let makes_sense = |limit: &AmountLimit| {
            let each = limit.each.unwrap_or(limit.total);
            limit.total > Amount::ZERO && each > Amount::ZERO && each <= limit.total
        };
        if amount.as_ref().is_some_and(|limit| !makes_sense(limit)) {
            return Err(TaskScopeError::Amount);
        }
        if resources.len() > MAX_LIST || same.len() > MAX_LIST {
            return Err(TaskScopeError::List);
        }
        Ok(Self { count, within, amount, resources, same })
    }
}

impl TaskScope {
    /// What it lets run beyond the approved operation, in words: "up to 5 times in all within 30m, on resources
    /// under s3://reports/, at most 500 in total by the argument amount". `time` and `name` write what they are given
    /// as the reader is used to.
    pub fn words(&self, time: impl Fn(Seconds) -> String, name: impl Fn(&str) -> String) -> String {
        let list = |names: Vec<&str>| names.into_iter().map(&name).collect::<Vec<_>>().join(" or ");
        let mut words = format!("up to {} times in all within {}", self.count, time(self.within));
        words += &match self.resources.as_slice() {
            [] => ", always on this resource".to_owned(),
            prefixes => {
                format!(
                    ", on resources under {}",
                    list(prefixes.iter().map(ResourcePrefix::as_str).collect())
                )
            }
        };
        if let Some(AmountLimit { argument, total, each }) = &self.amount {
            let each = each.map(|each| format!(" and {each} each")).unwrap_or_default();
            words += &format!(", at most {total} in total{each} by the argument {}", name(argument.as_str()));
        }
        words += ", in the same session and with any other arguments";
        let same: Vec<_> = self.same.iter().map(|argument| name(argument.as_str())).collect();
        if !same.is_empty() {
            words += &format!(" but the same {}", same.join(", "));
        }
        words
    }
}

impl fmt::Display for TaskScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(|time| time.to_string(), str::to_owned))
    }
}

/// What the id of a resource begins with. It ends where a part of the id ends: `prod` covers `prod` and
/// `prod/web`, not `production`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePrefix(String);

impl ResourcePrefix {
    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an id is below it, however whoever carries the operation out may read that id. One that could be
    /// read as leading elsewhere is not.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        let Some(rest) = id.strip_prefix(self.as_str()) else { return false };
        let below = if self.0.ends_with(['/', ':']) { Some(rest) } else { rest.strip_prefix('/') };
        rest.is_empty() || below.is_some_and(leads_nowhere_else)
    }
}

/// Whether a path stays below where it begins: plain segments, of which only the last may be empty.
fn leads_nowhere_else(path: &str) -> bool {
    let mut segments = path.split('/').rev();
    let last = segments.next().unwrap_or_default();
    is_plain(path) && (last.is_empty() || is_step_down(last)) && segments.all(is_step_down)
}

/// Whether a text has only characters that everyone reads alike. What is encoded, or not ASCII, may be read as
/// dots and slashes by whoever decodes or normalises it.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'%' | b'\\'))
}

/// Whether a segment is neither empty, nor the folder itself or one above it. Some servers cut off what follows a
/// semicolon, and some file systems the dots and blanks at the end.
fn is_step_down(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    name.bytes().any(|byte| !matches!(byte, b'.' | b' '))
}

impl FromStr for ResourcePrefix {
    type Err = TaskScopeError;

    fn from_str(text: &str) -> Result<Self, TaskScopeError> {
        let path = text.split_once("://").map_or(text, |(_, path)| path);
        // What follows `https://host:` may be a password, and the host is another one.
        let is_open = path.len() < text.len() && path.ends_with(':');
        let path = path.strip_prefix('/').unwrap_or(path);
        let fits = (1..=MAX_TEXT).contains(&text.len()) && !text.contains(' ') && is_plain(text);
        if fits && !is_open && leads_nowhere_else(path) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TaskScopeError::Prefix(text.chars().take(64).collect()))
        }
    }
}

/// An argument of an operation: its name, or a JSON Pointer (RFC 6901) below the arguments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Argument(String);

impl Argument {
    /// The argument as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The JSON Pointer below the arguments.
    #[must_use]
    pub fn pointer(&self) -> String {
        if self.0.starts_with('/') {
            self.0.clone()
        } else {
            format!("/{}", self.0.replace('~', "~0").replace('/', "~1"))
        }
    }
}

impl FromStr for Argument {
    type Err = TaskScopeError;

    fn from_str(text: &str) -> Result<Self, TaskScopeError> {
        let is_escaped = |text: &str| text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let fits = (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits && text != "/" && (!text.starts_with('/') || is_escaped(text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TaskScopeError::Argument(text.chars().take(64).collect()))
        }
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

serde_as_text!(ResourcePrefix, Argument);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn prefix(text: &str) -> ResourcePrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_ends_where_a_part_of_the_id_ends() {
        for (text, id) in [
            ("prod", "prod"),
            ("prod", "prod/web"),
            ("prod/", "prod/web"),
            ("s3://reports/", "s3://reports/2026/q1.pdf"),
            ("s3://reports", "s3://reports/2026/"),
            ("arn:aws:s3:::reports/", "arn:aws:s3:::reports/a b.pdf"),
            ("arn:aws:sns:", "arn:aws:sns:eu-west-1:1:topic"),
            ("/srv/data", "/srv/data/.hidden/a..b"),
            ("https://api.example.com", "https://api.example.com/v1/a?b=c"),
        ] {
            assert!(prefix(text).covers(id), "{text} {id}");
        }
        for (text, id) in [
            ("prod", "production-eu"),
            ("prod", "prod-eu"),
            ("prod", "prod.evil.example"),
            ("prod", "prod:web"),
            ("prod", "PROD/web"),
            ("prod", ""),
            ("prod/", "prod"),
            ("https://api.example.com", "https://api.example.com:x@evil.example/"),
            ("https://api.example.com", "https://api.example.com@evil.example/"),
            ("https://api.example.com", "https://api.example.com.evil.example/"),
        ] {
            assert!(!prefix(text).covers(id), "{text} {id}");
        }
    }

    /// What might be read as leading out of the prefix is not below it.
    #[test]
    fn nothing_leads_out_of_a_prefix() {
        for tail in [
            "..",
            "../x",
            "a/../../x",
            "a/..",
            ".",
            "./x",
            "/x",
            "a//b",
            "//",
            "%2e%2e/x",
            "a%2fb",
            "%252e",
            "..%00",
            "..\\x",
            "a\\..\\..\\x",
            "..;/x",
            "..;a=b/x",
            ". ./x",
            ".. /x",
            " /x",
            "...",
            "a/\u{ff0e}\u{ff0e}/x",
            "a\u{2215}..",
            "a\0",
            "a\n",
            "a\u{202e}b",
            "?q=/../x",
            ";/x",
        ] {
            for base in ["s3://reports/", "s3://reports", "/srv/data", "prod:"] {
                let id = if base.ends_with(['/', ':']) {
                    format!("{base}{tail}")
                } else {
                    format!("{base}/{tail}")
                };
                assert!(!prefix(base).covers(&id), "{id:?}");
            }
        }
    }

    #[test]
    fn a_prefix_that_leads_elsewhere_is_none() {
        for text in [
            "",
            "a b",
            "prod/../",
            "..",
            "a//b",
            "s3:///x/..",
            "%2e",
            "a\\b",
            "prod\u{ff0f}",
            "https://host:",
            "https://u@h:",
        ] {
            assert!(text.parse::<ResourcePrefix>().is_err(), "{text}");
        }
        for text in ["https://", "file:///srv/", "/", "/srv", "urn:", "a"] {
            assert!(text.parse::<ResourcePrefix>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_task_has_a_count_a_time_and_a_budget() {
        let read = |value| serde_json::from_value::<TaskScope>(value);
        let full = json!({
            "count": 5, "within": "30m", "resources": ["s3://reports/"], "same": ["currency"],
            "amount": {"argument": "amount", "total": "500", "each": "200"}
        });
        let scope = read(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(&scope).unwrap(), full);
        assert_eq!(
            scope.to_string(),
            "up to 5 times in all within 30m, on resources under s3://reports/, at most 500 in total and 200 each by the \
             argument amount, in the same session and with any other arguments but the same currency"
        );
        let least = json!({"count": 2, "within": "1s"});
        assert_eq!(serde_json::to_value(read(least.clone()).unwrap()).unwrap(), least);
        let amount = |amount| json!({"count": 2, "within": "1s", "amount": amount});
        for refused in [
            json!({"count": 1, "within": "1h"}),
            json!({"count": 1_001, "within": "1h"}),
            json!({"count": 2, "within": "0s"}),
            json!({"count": 2}),
            json!({"within": "1h"}),
            json!({"count": 2, "within": "1h", "forever": true}),
            json!({"count": 2, "within": "1h", "resources": ["../"]}),
            json!({"count": 2, "within": "1h", "resources": vec!["a"; 17]}),
            json!({"count": 2, "within": "1h", "same": ["/a~2"]}),
            amount(json!({"argument": "a", "total": "0"})),
            amount(json!({"argument": "a", "total": 0.5})),
            amount(json!({"argument": "", "total": 1})),
            amount(json!({"argument": "a", "total": 1, "each": 2})),
            amount(json!({"argument": "a", "total": 1, "each": 0})),
            amount(json!({"argument": "a", "total": 1, "currency": "EUR"})),
        ] {
            assert!(read(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_argument_is_a_name_or_a_pointer() {
        for (text, pointer) in
            [("amount", "/amount"), ("/a/b", "/a/b"), ("a/b", "/a~1b"), ("a~b", "/a~0b"), ("/a~1b", "/a~1b")]
        {
            assert_eq!(text.parse::<Argument>().unwrap().pointer(), pointer);
        }
    }

    proptest! {
        /// Resolving an id that is covered, as any file system or server would, stays below the prefix.
        #[test]
        fn what_is_covered_stays_below(tail in "[a./;: ~]{0,12}") {
            let id = format!("/srv/data{tail}");
            if prefix("/srv/data").covers(&id) {
                let mut folders: Vec<&str> = Vec::new();
                for segment in id.split('/') {
                    match segment.split(';').next().unwrap().trim_end_matches([' ', '.']) {
                        "" if segment.starts_with("..") => { folders.pop(); }
                        "" => {}
                        name => folders.push(name),
                    }
                }
                prop_assert_eq!(folders.get(..2), Some(&["srv", "data"][..]), "{}", id);
            }
        }
    }
}
