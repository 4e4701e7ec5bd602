//! Commands: `[[program]]` says how a program's options look, `[[command]]` what a command means.
//!
//! ```toml
//! [[program]]
//! name   = "aws"
//! values = ["--profile", "--region"]          # options with a value; further spellings behind a space
//! flags  = ["--debug"]
//!
//! [[command]]
//! match    = "aws s3api put-bucket-policy"    # words, `*` in a word stands for anything
//! values   = ["--bucket", "--policy"]
//! action   = "Aws::put-bucket-policy"
//! resource = { type = "Aws::Bucket", id = "$options.bucket" }
//! ```
//!
//! `match` can be a list, when several commands come to the same. The first `[[command]]` that matches is
//! taken. One that *might* match, because an option that is
//! not known stands in the way, is not passed over: the command is then unclear, which is an action
//! of its own that policy can hold or deny. The same goes for an option that is not known and stands before
//! the command, and, where a command says `strict = true`, for any that is not known: what is harmless
//! only without certain options (`git log --output=FILE`) names those that it knows to be harmless.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::Schema;
use countersign_model::{Action, Object, Projection, Resource};
use serde_json::{Value, json};

use super::{
    CommandLine, Mapped, MappingError,
    pattern::{OneOrMore, Pattern},
    target::Target,
    words::{Options, Reading, Style, read},
};
use crate::{problem::Problems, toml_reader::Section};

/// The action of a command without a mapping.
pub const ACTION_RUN: &str = "Exec::run";
/// The action of a command whose program has mappings, but whose arguments cannot be read with certainty.
pub const ACTION_UNCLEAR: &str = "Exec::unclear";
/// The type of a program as a resource.
pub const PROGRAM_TYPE: &str = "Exec::Program";

/// The most words a command line can have.
const MAX_WORDS: usize = 4_096;
/// The most bytes that a command line, its directory and its environment can have together.
const MAX_BYTES: usize = 256 * 1024;
/// What expressions can refer to.
const VARIABLES: [&str; 8] = ["argv", "cwd", "env", "matched", "operands", "options", "program", "words"];
/// The directories whose programs are those that their names say.
const SYSTEM_DIRECTORIES: [&str; 7] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];

#[derive(Debug, Default)]
pub(crate) struct Commands(HashMap<String, Program>);

#[derive(Debug, Default)]
struct Program {
    described: bool,
    options: Options,
    commands: Vec<Command>,
}

#[derive(Debug)]
struct Command {
    words: Vec<Pattern>,
    options: Options,
    target: Arc<Target>,
    /// Whether the target depends on how every option was read.
    needs_clarity: bool,
    /// Whether every option must be one that is declared.
    strict: bool,
}

/// Whether a command's words are those of a mapping.
enum Match {
    Yes(Reading),
    No,
    Unclear,
}

impl Commands {
    /// Adds the commands of one file.
    pub(crate) fn read(
        &mut self,
        section: &mut Section<'_, '_>,
        schema: Option<&Schema>,
        problems: &mut Problems,
    ) {
        let programs = &mut self.0;
        section.tables("program", problems, |section, problems| {
            let name = section.require::<String>("name", problems);
            let style = Style {
                single_dash_long: section.get("single_dash_long", problems).unwrap_or_default(),
                options_first: section.get("options_first", problems).unwrap_or_default(),
            };
            let options = read_options(style, section, problems);
            let Some(name) = name else { return };
            let program = programs.entry(name.clone()).or_default();
            if program.described {
                problems.add(section.place(), format!("{name} is described twice"), "merge the two");
            }
            (program.described, program.options) = (true, options);
        });
        section.tables("command", problems, |section, problems| {
            let lines = section.require::<OneOrMore>("match", problems).map_or(Vec::new(), OneOrMore::all);
            for (name, command) in read_commands(&lines, section, schema, problems) {
                let program = programs.entry(name).or_default();
                if program.commands.iter().any(|earlier| earlier.covers(&command)) {
                    let hint = "put the more particular one first";
                    problems.add(
                        section.place_of("match"),
                        "an earlier command matches all that this one does",
                        hint,
                    );
                }
                program.commands.push(command);
            }
        });
    }

    pub(crate) fn map(&self, line: &CommandLine) -> Result<Mapped, MappingError> {
        check(line)?;
        let Some((named, arguments)) = line.argv.split_first() else { return Err(MappingError::NoProgram) };
        let called = Called::new(named)?;
        let own = ("command", called.context(line));
        let Some(program) = self.0.get(called.name).filter(|program| !program.commands.is_empty()) else {
            return Ok(called.default(ACTION_RUN, own));
        };
        for command in &program.commands {
            match command.matches(arguments, program) {
                Match::No => {}
                Match::Unclear => return Ok(called.default(ACTION_UNCLEAR, own)),
                Match::Yes(reading) => {
                    let variables = called.variables(line, reading, command.words.len());
                    return command.target.map(&variables, Object::new(), own);
                }
            }
        }
        Ok(called.default(ACTION_RUN, own))
    }
}

impl Command {
    fn matches(&self, arguments: &[String], program: &Program) -> Match {
        let depth = self.words.len();
        let reading = read(arguments, &program.options, &self.options, depth);
        let known = reading.words.iter().take(reading.certain);
        if !self.words.iter().zip(known).all(|(pattern, word)| pattern.matches(word)) {
            return Match::No;
        }
        if self.strict && !reading.known {
            return Match::Unclear;
        }
        match (reading.certain >= depth, reading.clear) {
            (true, clear) if clear || !self.needs_clarity => Match::Yes(reading),
            (false, true) => Match::No,
            (_, _) => Match::Unclear,
        }
    }

    /// Whether whatever matches `later` matches this one.
    fn covers(&self, later: &Self) -> bool {
        let covers = |(mine, theirs): (&Pattern, &Pattern)| mine.covers(theirs);
        self.words.len() <= later.words.len() && self.words.iter().zip(&later.words).all(covers)
    }
}

/// A program as it was called.
struct Called<'a> {
    named: &'a str,
    name: &'a str,
    located: &'static str,
}

impl<'a> Called<'a> {
    fn new(named: &'a str) -> Result<Self, MappingError> {
        let (directory, name) = match named.rsplit_once('/') {
            None => (None, named),
            Some((directory, name)) => (Some(directory), name),
        };
        if name.is_empty() {
            return Err(MappingError::NoProgram);
        }
        let located = match directory {
            None => "path",
            Some(directory) if SYSTEM_DIRECTORIES.contains(&directory) => "system",
            Some(_) => "elsewhere",
        };
        Ok(Self { named, name, located })
    }

    /// What the program is to policy. `./ls` is not `ls`: only a program that is found by its name, or
    /// that a system directory has, goes by the name alone.
    fn id(&self) -> &str {
        if self.located == "elsewhere" { self.named } else { self.name }
    }

    fn context(&self, line: &CommandLine) -> Value {
        json!({
            "argv": line.argv,
            "cwd": line.cwd,
            "env": line.env,
            "program": self.name,
            "located": self.located,
        })
    }

    fn variables(&self, line: &CommandLine, reading: Reading, depth: usize) -> Object {
        let (matched, operands) = reading.words.split_at_checked(depth).unwrap_or((&reading.words, &[]));
        let variables = [
            ("argv", json!(line.argv)),
            ("cwd", json!(line.cwd)),
            ("env", json!(line.env)),
            ("matched", json!(matched)),
            ("operands", json!(operands)),
            ("program", json!(self.name)),
            ("words", json!(reading.words)),
            ("options", Value::Object(reading.options)),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn default(&self, action: &str, own: (&str, Value)) -> Mapped {
        let properties = json!({"name": self.name, "located": self.located});
        let (name, value) = own;
        Mapped {
            action: Action { name: action.to_owned(), properties: Object::new() },
            resource: Resource {
                kind: PROGRAM_TYPE.to_owned(),
                id: self.id().to_owned(),
                properties: into_object(properties),
            },
            context: Object::from_iter([(name.to_owned(), value)]),
            projection: Projection::default(),
            files: Vec::new(),
            parts: Vec::new(),
        }
    }
}

fn into_object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

fn check(line: &CommandLine) -> Result<(), MappingError> {
    if line.argv.len() > MAX_WORDS {
        return Err(MappingError::TooLarge("command line"));
    }
    let environment = line.env.iter().flat_map(|(name, value)| [name, value]);
    let texts = || line.argv.iter().chain([&line.cwd]).chain(environment.clone());
    if texts().map(String::len).fold(0, usize::saturating_add) > MAX_BYTES {
        return Err(MappingError::TooLarge("command line"));
    }
    if texts().any(|text| text.contains('\0')) { Err(MappingError::Nul) } else { Ok(()) }
}

fn read_options(style: Style, section: &mut Section<'_, '_>, problems: &mut Problems) -> Options {
    let values: Vec<String> = section.get("values", problems).unwrap_or_default();
    let flags: Vec<String> = section.get("flags", problems).unwrap_or_default();
    Options::new(&values, &flags, style).unwrap_or_else(|error| {
        problems.add(section.place(), error, "");
        Options::default()
    })
}

/// Reads one table: a command for each line that it matches.
fn read_commands(
    lines: &[String],
    section: &mut Section<'_, '_>,
    schema: Option<&Schema>,
    problems: &mut Problems,
) -> Vec<(String, Command)> {
    let options = read_options(Style::default(), section, problems);
    let strict = section.get("strict", problems).unwrap_or_default();
    let Some(target) = Target::read(section, &VARIABLES, true, schema, problems).map(Arc::new) else {
        return Vec::new();
    };
    let needs_clarity = ["options", "operands", "words"].iter().any(|variable| target.uses(variable));
    let command = |words| Command {
        words,
        options: options.clone(),
        target: Arc::clone(&target),
        needs_clarity,
        strict,
    };
    let read = lines.iter().filter_map(|line| read_match(line, section, problems));
    read.map(|(program, words)| (program, command(words))).collect()
}

/// The program and the words of one line that a table matches.
fn read_match(
    line: &str,
    section: &Section<'_, '_>,
    problems: &mut Problems,
) -> Option<(String, Vec<Pattern>)> {
    let mut words = line.split_whitespace().map(Pattern::new);
    let Some(program) = words.next() else {
        let hint = "begin with the program's name";
        problems.add(section.place_of("match"), "this matches no program", hint);
        return None;
    };
    if !program.is_literal() || program.as_str().contains('/') {
        let hint = "write the program's name alone; it is found whatever path it is called by";
        problems.add(section.place_of("match"), format!("{:?} is no program name", program.as_str()), hint);
        return None;
    }
    Some((program.as_str().to_owned(), words.collect()))
}
