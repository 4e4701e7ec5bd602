//! `outputs.toml`: what an agent may not see in what a server answers.
//!
//! ```toml
//! [outputs.no-cloud-keys]
//! pattern = 'AKIA[0-9A-Z]{16}'
//! do = "redact"
//! reason = "Keys stay with the operator"
//! ```
//!
//! A rule looks at every text in a result, wherever it is, as a client would read it. It takes out what
//! fits its pattern, or refuses the result as a whole. The operation has run by then, so a rule protects
//! what the agent learns, never what it does.

use std::{borrow::Cow, ops::Range, sync::Arc};

use regex::{NoExpand, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    mapping::{OneOrMore, Pattern},
    problem::Problems,
    toml_reader::{Section, read_file},
};

/// What stands in the place of what was taken out.
pub const WITHHELD: &str = "[withheld by policy]";

/// The most rules of a bundle.
const MAX_RULES: usize = 64;
/// The most bytes that a compiled pattern may take. Matching takes time in proportion to the text, whatever
/// the pattern.
const MAX_PATTERN: usize = 1024 * 1024;

/// The rules of a bundle.
#[derive(Debug, Default)]
pub struct Outputs(Vec<Arc<Rule>>);

#[derive(Debug)]
struct Rule {
    name: String,
    server: Pattern,
    /// The tools that it is for; nothing when it is for whatever a server answers.
    tools: Option<Vec<Pattern>>,
    pattern: Regex,
    refuses: bool,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Do {
    Redact,
    Refuse,
}

/// What a result is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultOf<'a> {
    /// A call of this tool.
    Tool(&'a str),
    /// A call of a tool, and nobody knows any more of which.
    SomeTool,
    /// Anything else that a server is asked for.
    Other,
}

/// The rules that hold for one result.
#[derive(Debug, Clone, Default)]
pub struct OutputRules(Vec<Arc<Rule>>);

/// What rules did to a result, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// Whether nothing of it was let through.
    pub refused: bool,
    /// The names of the rules.
    pub rules: Vec<String>,
}

/// What becomes of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// It passes as it is.
    Pass,
    /// This goes in its place.
    Redacted(String, Ruled),
    /// It does not pass. The text says why.
    Refused(String, Ruled),
}

/// Reads `outputs.toml`.
pub(crate) fn read(file: &str, bytes: &[u8], problems: &mut Problems) -> Outputs {
    let mut rules = Vec::new();
    read_file(file, bytes, problems, |section, problems| {
        section.named_tables("outputs", problems, |name, section, problems| {
            if rules.len() == MAX_RULES {
                problems.add(
                    section.place(),
                    format!("more than {MAX_RULES} rules"),
                    "join some patterns with |",
                );
            }
            rules.extend(read_rule(name, section, problems).map(Arc::new));
        });
    });
    Outputs(rules)
}

fn read_rule(name: &str, section: &mut Section<'_, '_>, problems: &mut Problems) -> Option<Rule> {
    let server = section.get::<String>("server", problems).unwrap_or_else(|| "*".to_owned());
    let tools = section.get::<OneOrMore>("tools", problems);
    let pattern = section.require::<String>("pattern", problems);
    let what = section.require::<Do>("do", problems);
    let reason = section.get::<String>("reason", problems);
    let pattern = RegexBuilder::new(&pattern?).size_limit(MAX_PATTERN).build();
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(error) => {
            problems.add(section.place_of("pattern"), error.to_string(), "mend the regular expression");
            return None;
        }
    };
    if pattern.is_match("") {
        let hint = "use + in the place of *";
        problems.add(section.place_of("pattern"), "this pattern fits where there is nothing", hint);
    }
    Some(Rule {
        name: name.to_owned(),
        server: Pattern::new(&server),
        tools: tools.map(|tools| tools.all().iter().map(|tool| Pattern::new(tool)).collect()),
        pattern,
        refuses: matches!(what?, Do::Refuse),
        reason,
    })
}

impl Rule {
    fn is_for(&self, server: &str, what: ResultOf<'_>) -> bool {
        let of_tool = match (&self.tools, what) {
            (None, _) | (Some(_), ResultOf::SomeTool) => true,
            (Some(tools), ResultOf::Tool(name)) => tools.iter().any(|tool| tool.matches(name)),
            (Some(_), ResultOf::Other) => false,
        };
        of_tool && self.server.matches(server)
    }
}

impl Outputs {
    /// The rules that hold for a result.
    #[must_use]
    pub fn of(&self, server: &str, what: ResultOf<'_>) -> OutputRules {
        OutputRules(self.0.iter().filter(|rule| rule.is_for(server, what)).cloned().collect())
    }
}

impl OutputRules {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the rules to a result, as raw JSON. What is not taken out keeps its bytes.
    #[must_use]
    pub fn apply(&self, json: &str) -> Output {
        let (mut ruled, mut refused) = (Vec::<&Rule>::new(), None);
        let mut redacted = String::new();
        let mut copied = 0;
        for place in strings(json) {
            let Some(raw) = json.get(place.clone()) else { continue };
            let Ok(text) = serde_json::from_str::<String>(raw) else {
                return self.refuse("it holds text that cannot be read");
            };
            let mut changed = Cow::Borrowed(text.as_str());
            for rule in self.0.iter().filter(|rule| rule.pattern.is_match(&text)) {
                if !ruled.iter().any(|known| known.name == rule.name) {
                    ruled.push(rule);
                }
                if rule.refuses {
                    refused = refused.or(Some(rule));
                }
                changed = Cow::Owned(rule.pattern.replace_all(&changed, NoExpand(WITHHELD)).into_owned());
            }
            if let Cow::Owned(changed) = changed {
                redacted.push_str(json.get(copied..place.start).unwrap_or_default());
                redacted.push_str(&serde_json::Value::from(changed).to_string());
                copied = place.end;
            }
        }
        let names = |rules: &[&Rule]| rules.iter().map(|rule| rule.name.clone()).collect();
        match refused {
            Some(rule) => {
                let reason = rule.reason.as_deref().unwrap_or("it holds what agents may not see");
                Output::Refused(
                    format!("{} ({reason})", rule.name),
                    Ruled { refused: true, rules: names(&ruled) },
                )
            }
            None if ruled.is_empty() => Output::Pass,
            None => {
                redacted.push_str(json.get(copied..).unwrap_or_default());
                Output::Redacted(redacted, Ruled { refused: false, rules: names(&ruled) })
            }
        }
    }

    /// Refuses a result to which the rules cannot be applied.
    #[must_use]
    pub fn refuse(&self, why: &str) -> Output {
        let rules = self.0.iter().map(|rule| rule.name.clone()).collect();
        Output::Refused(why.to_owned(), Ruled { refused: true, rules })
    }
}

/// Where the texts of some JSON are, its members' names left out. The text must be JSON.
fn strings(json: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = json.as_bytes();
    let mut position = 0;
    std::iter::from_fn(move || {
        loop {
            let start = position + bytes.get(position..)?.iter().position(|byte| *byte == b'"')?;
            let mut escaped = false;
            let length = bytes.get(start + 1..)?.iter().position(|byte| {
                let ends = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                ends
            })?;
            position = start + length + 2;
            let is_name = bytes.get(position..)?.trim_ascii_start().first() == Some(&b':');
            if !is_name {
                return Some(start..position);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: &str = r#"
[outputs.keys]
pattern = 'AKIA[0-9A-Z]{16}'
do = "redact"
[outputs.private]
server = "vault*"
tools = "read_*"
pattern = 'BEGIN [A-Z ]*PRIVATE KEY'
do = "refuse"
reason = "Private keys stay where they are"
"#;

    fn outputs(text: &str) -> (Outputs, Vec<String>) {
        let mut problems = Problems::default();
        let outputs = read("outputs.toml", text.as_bytes(), &mut problems);
        (outputs, problems.as_slice().iter().map(ToString::to_string).collect())
    }

    fn apply(server: &str, what: ResultOf<'_>, json: &str) -> Output {
        let (outputs, problems) = outputs(RULES);
        assert_eq!(problems, [""; 0]);
        outputs.of(server, what).apply(json)
    }

    const KEY: &str = "AKIAABCDEFGHIJKLMNOP";

    #[test]
    fn a_secret_is_taken_out_wherever_it_is_and_nothing_else_changes() {
        let json = format!(
            r#"{{"content": [ {{"type":"text","text":"id: {KEY}, \"x\""}} ],"AKIA":1.0e0,"deep":{{"a":["\u0041{}"]}}}}"#,
            &KEY[1..]
        );
        let expected = format!(
            r#"{{"content": [ {{"type":"text","text":"id: {WITHHELD}, \"x\""}} ],"AKIA":1.0e0,"deep":{{"a":["{WITHHELD}"]}}}}"#
        );
        let ruled = Ruled { refused: false, rules: vec!["keys".to_owned()] };
        assert_eq!(apply("any", ResultOf::Other, &json), Output::Redacted(expected, ruled));
        assert_eq!(apply("any", ResultOf::Other, r#"{"content":["nothing here"]}"#), Output::Pass);
    }

    #[test]
    fn a_rule_holds_for_its_servers_and_tools() {
        let json = format!(r#"["-----BEGIN RSA PRIVATE KEY-----","{KEY}"]"#);
        let refused = |what| match apply("vault-eu", what, &json) {
            Output::Refused(why, ruled) => (why, ruled.rules),
            other => panic!("{other:?}"),
        };
        let expected = vec!["private".to_owned(), "keys".to_owned()];
        let why = "private (Private keys stay where they are)".to_owned();
        assert_eq!(refused(ResultOf::Tool("read_key")), (why.clone(), expected.clone()));
        assert_eq!(refused(ResultOf::SomeTool), (why, expected));
        for (server, what) in [
            ("vault", ResultOf::Tool("list")),
            ("vault", ResultOf::Other),
            ("files", ResultOf::Tool("read_key")),
        ] {
            assert!(matches!(apply(server, what, &json), Output::Redacted(..)), "{server} {what:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_pass() {
        assert!(matches!(apply("any", ResultOf::Other, r#"["\ud800"]"#), Output::Refused(..)));
    }

    #[test]
    fn mistakes_are_told() {
        let (_, problems) = outputs(
            "[outputs.a]\npattern = '('\ndo = 'redact'\n[outputs.b]\npattern = 'x*'\ndo = 'redact'\n\
             [outputs.c]\npatern = 'x'\ndo = 'hide'\n",
        );
        for expected in
            ["outputs.toml:2", "fits where there is nothing", "pattern is missing", "unknown variant"]
        {
            assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            "[a-z\"\\\\:{ ]{0,6}(AKIAABCDEFGHIJKLMNOP)?.{0,4}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-z\":]{0,3}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => found.push(text.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            serde_json::Value::Object(members) => members.values().for_each(|item| texts(item, found)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn no_text_is_overlooked(value in json(), spaced: bool) {
            let raw = if spaced { format!("{value:#}") } else { value.to_string() };
            let (mut before, mut after) = (Vec::new(), Vec::new());
            texts(&value, &mut before);
            let passed = match apply("any", ResultOf::Other, &raw) {
                Output::Pass => raw,
                Output::Redacted(text, _) => text,
                Output::Refused(why, _) => return Err(TestCaseError::fail(why)),
            };
            texts(&serde_json::from_str(&passed).unwrap(), &mut after);
            let expected: Vec<String> = before.iter().map(|text| text.replace(KEY, WITHHELD)).collect();
            prop_assert_eq!(after, expected);
        }
    }
}
