//! Commands by their programs: those of the shell itself, and those that run others.

use std::collections::BTreeMap;

use super::{
    assign,
    programs::{self, Inner, Wrapper, XARGS},
    walk::{Input, Reader},
    words::Word,
};
use crate::hook::part::{Clarity, Part, SimpleCommand, Why};

type Variables = BTreeMap<String, String>;

/// Options of `find` that write or delete.
const FIND_CHANGES: [&str; 5] = ["-delete", "-fprint", "-fprint0", "-fprintf", "-fls"];
/// Options of `find` that run a command.
const FIND_RUNS: [&str; 4] = ["-exec", "-execdir", "-ok", "-okdir"];
/// Options of a shell before `-c` that do not change what its text means.
const SHELL_OPTIONS: [&str; 7] = ["-e", "-u", "-x", "-l", "--login", "--norc", "--noprofile"];

impl Reader<'_> {
    /// A command with its words; the first one is its program.
    pub(super) fn run(&mut self, words: &[Word], env: &Variables, clear: bool, input: &Input) {
        let Some((program, arguments)) = words.split_first() else { return };
        let Some(path) = program.known().filter(|name| is_program_name(name)) else {
            return self.opaque(Why::Program);
        };
        let name = path.rsplit('/').next().unwrap_or(path);
        let command = Line { words, env, clear };
        match name {
            "cd" | "chdir" => {
                self.emit(&command, Clarity::Clear);
                self.change_folder(arguments);
            }
            "pushd" | "popd" => {
                self.emit(&command, Clarity::Clear);
                self.lose_folder();
            }
            "eval" => self.eval(&command, arguments),
            "." | "source" => self.opaque(Why::Source),
            "alias" | "unalias" if !arguments.is_empty() => self.opaque(Why::Alias),
            "trap" => self.trap(&command, arguments),
            "command" | "builtin" | "exec" => self.modifier(&command, arguments, input),
            "set" | "shopt" | "enable" | "bind" | "complete" | "fc" | "history" | "hash" | "setopt"
            | "unsetopt" => {
                self.option(&command, name, arguments);
            }
            "export" | "declare" | "typeset" | "local" | "readonly" | "unset" | "read" | "mapfile"
            | "readarray" | "getopts" | "printf" | "wait" | "let" | "test" | "[" => {
                self.variables(&command, name, arguments);
            }
            "xargs" => self.xargs(&command, arguments),
            "find" => self.find(&command, arguments),
            _ if programs::is_of_some_shell(name) => self.opaque(Why::Unparsed),
            _ if programs::runs_what_it_likes(name) => self.opaque(Why::Wrapper),
            _ if programs::is_shell(name) => self.shell(&command, arguments, input),
            _ => match programs::wrapper(name) {
                Some(wrapper) => self.wrapped(&command, wrapper, arguments, input),
                None => self.emit(&command, Clarity::Clear),
            },
        }
    }

    /// Adds a command. It is at most as clear as its words, variables and directory.
    fn emit(&mut self, line: &Line<'_>, clarity: Clarity) {
        let known =
            line.clear && self.folder.is_some() && line.words.iter().all(|word| word.known().is_some());
        let clarity = if known || clarity == Clarity::Wrap { clarity } else { Clarity::Unclear };
        let cwd = self.folder.as_ref().and_then(|folder| folder.to_str()).unwrap_or_default().to_owned();
        let argv = line.words.iter().map(|word| word.shown().to_owned()).collect();
        let command = SimpleCommand { argv, cwd, env: line.env.clone(), found: None };
        self.push(Part::Command { command, clarity });
    }

    /// A `cat` without arguments.
    pub(super) fn cat(&mut self) {
        let words = [Word::Known("cat".to_owned())];
        self.run(&words, &Variables::new(), true, &Input::Elsewhere);
    }

    fn eval(&mut self, line: &Line<'_>, arguments: &[Word]) {
        let text: Option<Vec<&str>> = arguments.iter().map(Word::known).collect();
        match text {
            Some(text) => {
                self.emit(line, Clarity::Wrap);
                self.nested(&text.join(" "));
                self.lose_folder();
            }
            None => self.opaque(Why::Eval),
        }
    }

    fn trap(&mut self, line: &Line<'_>, arguments: &[Word]) {
        match arguments.first().map(Word::known) {
            None | Some(Some("" | "-" | "-l" | "-p")) => self.emit(line, Clarity::Clear),
            Some(Some(action)) if !action.starts_with('-') => {
                self.emit(line, Clarity::Wrap);
                self.nested(action);
            }
            Some(_) => self.opaque(Why::Eval),
        }
    }

    /// `command`, `builtin` and `exec`: the command stands right behind them.
    fn modifier(&mut self, line: &Line<'_>, arguments: &[Word], input: &Input) {
        match arguments.first().map(Word::known) {
            None => self.emit(line, Clarity::Clear),
            Some(Some("-v" | "-V")) => self.emit(line, Clarity::Clear),
            Some(Some(option)) if option.starts_with('-') => self.opaque(Why::Wrapper),
            Some(_) => {
                self.emit(line, Clarity::Wrap);
                self.run(arguments, line.env, line.clear, input);
            }
        }
    }

    fn option(&mut self, line: &Line<'_>, name: &str, arguments: &[Word]) {
        let usual =
            ["-e", "-u", "-x", "-eu", "-ex", "-eux", "-euo", "-exo", "-euxo", "-o", "pipefail", "errexit"];
        let fine = match name {
            "set" => arguments.iter().all(|word| {
                word.known().is_some_and(|text| {
                    usual.contains(&text) || usual.contains(&text.replace('+', "-").as_str())
                })
            }),
            "hash" => arguments.iter().all(|word| word.known() == Some("-r")),
            "history" | "shopt" => arguments.is_empty(),
            _ => false,
        };
        if fine {
            self.emit(line, Clarity::Clear);
        } else {
            self.opaque(Why::Option);
        }
    }

    /// Commands of the shell that set variables, or evaluate something, by what their words say.
    fn variables(&mut self, line: &Line<'_>, name: &str, arguments: &[Word]) {
        let starts =
            |word: &Word, options: &[&str]| options.iter().any(|option| word.shown().starts_with(option));
        let first = arguments.first();
        let opaque = match name {
            "let" | "getopts" => true,
            // Where the first word is not known, it may be an option that names a variable.
            "printf" => first.is_some_and(|word| word.known().is_none() || starts(word, &["-v"])),
            "wait" => first.is_some_and(|word| word.known().is_none() || starts(word, &["-p"])),
            "test" | "[" => tests_a_variable(arguments),
            "mapfile" | "readarray" => arguments.iter().any(|word| starts(word, &["-C"])),
            _ => false,
        };
        if opaque {
            return self.opaque(Why::Variable);
        }
        if !matches!(name, "printf" | "wait" | "test" | "[") {
            self.names(name, arguments);
        }
        self.emit(line, Clarity::Clear);
    }

    fn names(&mut self, command: &str, arguments: &[Word]) {
        let exports = matches!(command, "export" | "declare" | "typeset");
        for word in arguments {
            match (word, assign::split(word.shown())) {
                // The name is known even where the value is not.
                (_, Some((name, _))) => self.assigned(name, exports),
                (Word::Known(text), None) if text.starts_with(['-', '+']) => {
                    let functions = text.contains(['f', 'F']) && command != "read" && command != "unset";
                    if functions || text.contains(['i', 'n']) && !matches!(command, "read" | "export") {
                        self.opaque(Why::Variable);
                    }
                }
                (Word::Known(text), None) if assign::is_name(text) => {
                    self.assigned(text, exports || command == "unset");
                }
                (Word::Known(text), None)
                    if command == "read" && text.bytes().all(|byte| byte.is_ascii_digit()) => {}
                _ => self.opaque(Why::Variable),
            }
        }
    }

    fn xargs(&mut self, line: &Line<'_>, arguments: &[Word]) {
        match XARGS.inner(arguments) {
            Inner::None => self.emit(line, Clarity::Clear),
            Inner::Unknown => self.opaque(Why::Wrapper),
            Inner::Command(_, command) => {
                self.emit(line, Clarity::Wrap);
                let options = arguments.get(..arguments.len() - command.len()).unwrap_or_default();
                // Anything may be put in the place of a text, and anywhere; without one, at the end.
                let replaced = replaced_text(options);
                let mut words: Vec<Word> = command
                    .iter()
                    .map(|word| match &replaced {
                        Some(text) if word.shown().contains(text) => word.unknown(),
                        _ => word.clone(),
                    })
                    .collect();
                if replaced.is_none() {
                    words.push(Word::Unknown("…".to_owned()));
                }
                self.run(&words, line.env, line.clear, &Input::Elsewhere);
            }
        }
    }

    fn find(&mut self, line: &Line<'_>, arguments: &[Word]) {
        let is = |word: &Word, options: &[&str]| word.known().is_some_and(|text| options.contains(&text));
        let runs = arguments.iter().any(|word| is(word, &FIND_RUNS));
        let changes = arguments.iter().any(|word| is(word, &FIND_CHANGES));
        self.emit(
            line,
            match (changes, runs) {
                (true, _) => Clarity::Unclear,
                (false, true) => Clarity::Wrap,
                (false, false) => Clarity::Clear,
            },
        );
        if runs && arguments.iter().any(|word| word.known().is_none()) {
            // Any of them may be one more `-exec`.
            self.opaque(Why::Wrapper);
        }
        let mut rest = arguments;
        while let Some(at) = rest.iter().position(|word| is(word, &FIND_RUNS)) {
            let command = rest.get(at + 1..).unwrap_or_default();
            let end = command.iter().position(|word| matches!(word.known(), Some(";" | "+")));
            let Some(end) = end else { return self.opaque(Why::Wrapper) };
            let words = command
                .iter()
                .take(end)
                .map(|word| if word.shown().contains("{}") { word.unknown() } else { word.clone() });
            let words: Vec<Word> = words.collect();
            // It may run in every directory that is found.
            let folder = self.folder.take();
            self.run(&words, line.env, line.clear, &Input::Elsewhere);
            self.folder = folder;
            rest = command.get(end + 1..).unwrap_or_default();
        }
    }

    fn wrapped(&mut self, line: &Line<'_>, wrapper: &Wrapper, arguments: &[Word], input: &Input) {
        match wrapper.inner(arguments) {
            Inner::None => self.emit(line, Clarity::Clear),
            Inner::Unknown => self.opaque(Why::Wrapper),
            Inner::Command(variables, command) => {
                self.emit(line, Clarity::Wrap);
                let mut env = line.env.clone();
                let mut clear = line.clear;
                for (name, value) in variables {
                    clear &= self.given(name, true);
                    env.insert(name.to_owned(), value.to_owned());
                }
                self.run(command, &env, clear, input);
            }
        }
    }

    /// A shell: its commands are in its arguments, in its input, or elsewhere.
    fn shell(&mut self, line: &Line<'_>, arguments: &[Word], input: &Input) {
        let mut rest = arguments;
        while let [first, others @ ..] = rest {
            match first.known() {
                Some(option) if SHELL_OPTIONS.contains(&option) => rest = others,
                Some("--version" | "--help") if arguments.len() == 1 => {
                    return self.emit(line, Clarity::Clear);
                }
                Some("-c" | "-lc" | "-ec" | "-xc" | "-uc" | "-euc" | "-exc" | "-cl" | "-lec") => {
                    return self.shell_text(line, others.first());
                }
                // A script, with its arguments: policy knows the shell by its name.
                Some(script) if !script.starts_with(['-', '+']) => return self.emit(line, Clarity::Clear),
                _ => return self.opaque(Why::Shell),
            }
        }
        match input {
            Input::Text(text) => {
                self.emit(line, Clarity::Wrap);
                self.nested(text);
            }
            Input::Elsewhere => self.opaque(Why::Shell),
        }
    }

    fn shell_text(&mut self, line: &Line<'_>, text: Option<&Word>) {
        match text.map(|text| (text.known(), line.clear)) {
            Some((Some(text), _)) if !text.starts_with('-') => {
                self.emit(line, Clarity::Wrap);
                self.nested(text);
            }
            _ => self.opaque(Why::Shell),
        }
    }
}

/// A command as it was written.
struct Line<'l> {
    words: &'l [Word],
    env: &'l Variables,
    /// Whether its variables leave it clear.
    clear: bool,
}

/// Whether `test` may be asked about a variable, whose subscript it would evaluate: by an option, or by
/// words that are not known and may become one.
fn tests_a_variable(arguments: &[Word]) -> bool {
    let unknown = |word: &Word| word.known().is_none();
    let open = |word: &Word| unknown(word) && !(word.shown().starts_with('"') && word.shown().ends_with('"'));
    arguments.iter().any(|word| matches!(word.known(), Some("-v" | "-R")) || open(word))
        || arguments.windows(2).any(|pair| pair.iter().all(unknown))
}

/// The text that `xargs` replaces, if it is told to replace one.
fn replaced_text(options: &[Word]) -> Option<&str> {
    let mut words = options.iter().map(Word::shown);
    while let Some(word) = words.next() {
        match word {
            "-I" => return words.next(),
            "--replace" => return Some("{}"),
            _ => {
                let joined = word.strip_prefix("-I").or_else(|| word.strip_prefix("--replace="));
                if joined.is_some() {
                    return joined;
                }
            }
        }
    }
    None
}

/// Whether a name can be that of a program that people would recognise.
fn is_program_name(name: &str) -> bool {
    !name.is_empty() && name.is_ascii() && !name.contains([' ', '\n', '\t', '\\']) && !name.ends_with('/')
}
