//! Reading a command line: which words are options, which are their values, and which are left.
//!
//! `aws --profile x s3api put-bucket-policy` and `aws s3api --profile=x put-bucket-policy` are the same
//! command, and a mapping must see that. A reader that does not know an option cannot know whether
//! the next word is its value. It then says so instead of guessing.

use countersign_model::Object;
use serde_json::Value;

/// The options that a program takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Options with a value: every spelling, and the name that the value is filed under.
    values: Vec<(String, String)>,
    /// Options without one (a value may still be attached with `=`).
    flags: Vec<(String, String)>,
    style: Style,
}

/// How a program reads its options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether `-name` is one long option (`terraform -chdir=x`), not a cluster of short ones.
    pub(crate) single_dash_long: bool,
    /// Whether its own options stand before its first word only: `git -C x diff` is a folder, `git diff
    /// -C` is not.
    pub(crate) options_first: bool,
}

impl Options {
    /// Options as a mapping declares them: spellings separated by spaces, the first giving the name.
    pub(crate) fn new(values: &[String], flags: &[String], style: Style) -> Result<Self, String> {
        Ok(Self { values: spellings(values)?, flags: spellings(flags)?, style })
    }

    fn find(options: &[(String, String)], spelling: &str) -> Option<String> {
        options.iter().find(|(known, _)| known == spelling).map(|(_, name)| name.clone())
    }
}

/// The options that can stand at one place: the program's and, behind a command's words, the command's.
#[derive(Clone, Copy)]
struct Known<'o> {
    style: Style,
    program: Option<&'o Options>,
    command: Option<&'o Options>,
}

impl<'o> Known<'o> {
    /// What can stand behind so many words.
    fn behind(words: usize, program: &'o Options, command: &'o Options, depth: usize) -> Self {
        let over = program.style.options_first && words > 0;
        Self {
            style: program.style,
            program: (!over).then_some(program),
            command: (words >= depth).then_some(command),
        }
    }

    fn kind(&self, spelling: &str) -> Kind {
        // Go's flag package takes one dash or two for the same option.
        let one_dash = self.style.single_dash_long.then(|| spelling.replacen("--", "-", 1));
        let spelling = one_dash.as_deref().unwrap_or(spelling);
        let both = || [self.program, self.command].into_iter().flatten();
        if let Some(name) = both().find_map(|options| Options::find(&options.values, spelling)) {
            return Kind::Value(name);
        }
        both().find_map(|options| Options::find(&options.flags, spelling)).map_or(Kind::Unknown, Kind::Flag)
    }
}

enum Kind {
    Value(String),
    Flag(String),
    Unknown,
}

fn spellings(declared: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for option in declared {
        let mut names = option.split_whitespace().peekable();
        let name = names.peek().map(|first| first.trim_start_matches('-').to_owned()).unwrap_or_default();
        for spelling in names {
            let bare = spelling.trim_start_matches('-');
            if bare.is_empty() || bare.len() == spelling.len() || bare.contains('=') {
                return Err(format!("{spelling:?} is not an option; write it like \"--namespace -n\""));
            }
            all.push((spelling.to_owned(), name.clone()));
        }
    }
    Ok(all)
}

/// What the words of a command line are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    /// The words that are neither options nor their values.
    pub(crate) words: Vec<String>,
    /// Options by name: their value, `true` without one, a list when given more than once.
    pub(crate) options: Object,
    /// How many of `words` stand before the first option that is not known, and so are certainly words.
    pub(crate) certain: usize,
    /// Whether it is certain which words are options' values.
    pub(crate) clear: bool,
    /// Whether every option is one that was declared.
    pub(crate) known: bool,
}

/// Reads the words after a program's name. The program's own options may stand anywhere, unless it wants
/// them first; those of
/// `command` only behind its `depth` words, as a program learns its command before it can know them.
///
/// An option that is not known and stands before the command (`git --exec-path=/tmp/x status`) can
/// change what the command is, so nothing behind it is certain, even where it is clear where it ends.
pub(crate) fn read(arguments: &[String], program: &Options, command: &Options, depth: usize) -> Reading {
    let mut reading = Reading { clear: true, known: true, ..Reading::default() };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let options = Known::behind(reading.words.len(), program, command, depth);
        if word == "--" {
            reading.words.extend(rest.by_ref().cloned());
        } else if word == "-" || !word.starts_with('-') {
            reading.words.push(word.clone());
        } else {
            let ended = read_option(word, &mut rest, options, &mut reading);
            let certain = ended && (reading.known || reading.words.len() >= depth);
            if reading.clear && !certain {
                reading.clear = false;
                reading.certain = reading.words.len();
            }
        }
    }
    if reading.clear {
        reading.certain = reading.words.len();
    }
    reading
}

/// Reads one option and its value. Says whether it is certain where the option ends.
fn read_option<'w>(
    word: &str,
    rest: &mut impl Iterator<Item = &'w String>,
    options: Known<'_>,
    reading: &mut Reading,
) -> bool {
    let long = word.starts_with("--") || options.style.single_dash_long;
    if !long {
        return read_cluster(word, rest, options, reading);
    }
    let (spelling, attached) = match word.split_once('=') {
        Some((spelling, value)) => (spelling, Some(value)),
        None => (word, None),
    };
    match (options.kind(spelling), attached) {
        (Kind::Value(name) | Kind::Flag(name), Some(value)) => file(reading, name, Value::from(value)),
        (Kind::Flag(name), None) => file(reading, name, Value::Bool(true)),
        (Kind::Value(name), None) => match rest.next() {
            Some(value) => file(reading, name, Value::from(value.as_str())),
            None => return false,
        },
        // It ends where the word ends, whatever it means.
        (Kind::Unknown, Some(value)) => {
            reading.known = false;
            file(reading, spelling.trim_start_matches('-').to_owned(), Value::from(value));
        }
        (Kind::Unknown, None) => {
            reading.known = false;
            return false;
        }
    }
    true
}

/// Reads short options: `-n prod`, `-nprod`, `-n=prod`, `-Rf file`.
fn read_cluster<'w>(
    word: &str,
    rest: &mut impl Iterator<Item = &'w String>,
    options: Known<'_>,
    reading: &mut Reading,
) -> bool {
    let mut letters = word.strip_prefix('-').unwrap_or(word).chars();
    while let Some(letter) = letters.next() {
        match options.kind(&format!("-{letter}")) {
            Kind::Flag(name) => file(reading, name, Value::Bool(true)),
            Kind::Value(name) => {
                let attached = letters.as_str();
                let value = match attached.strip_prefix('=').unwrap_or(attached) {
                    "" => rest.next().map(String::as_str),
                    attached => Some(attached),
                };
                let Some(value) = value else { return false };
                file(reading, name, Value::from(value));
                return true;
            }
            Kind::Unknown => {
                reading.known = false;
                return false;
            }
        }
    }
    true
}

fn file(reading: &mut Reading, name: String, value: Value) {
    match reading.options.get_mut(&name) {
        None => {
            reading.options.insert(name, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(before) => *before = Value::Array(vec![before.take(), value]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(values: &[&str], flags: &[&str], single_dash_long: bool) -> Options {
        let style = Style { single_dash_long, options_first: false };
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Options::new(&own(values), &own(flags), style).unwrap()
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn options_are_found_wherever_they_stand() {
        let program = options(&["--namespace -n", "--context"], &["--verbose -v"], false);
        let command = options(&["--filename -f"], &["--recursive -R"], false);
        for line in [
            "-n prod apply -f a",
            "apply -n prod -f a",
            "--namespace=prod apply -f a",
            "--namespace prod apply --filename a",
            "-nprod apply -fa",
            "-n=prod apply -f=a",
            "apply -f a -n prod",
            "apply --filename=a --namespace=prod",
        ] {
            let reading = read(&words(line), &program, &command, 1);
            assert_eq!(reading.words, ["apply"], "{line}");
            assert_eq!(
                Value::Object(reading.options),
                json!({"namespace": "prod", "filename": "a"}),
                "{line}"
            );
            assert!(reading.clear, "{line}");
        }
        let reading = read(&words("-v apply -Rf a -f b"), &program, &command, 1);
        let expected = json!({"verbose": true, "recursive": true, "filename": ["a", "b"]});
        assert_eq!(Value::Object(reading.options), expected);
    }

    #[test]
    fn an_unknown_option_makes_what_follows_uncertain() {
        let program = options(&["--profile"], &[], false);
        let none = Options::default();
        for (line, certain) in [
            ("--unknown s3 ls", 0),
            ("s3 --unknown ls", 1),
            ("s3 ls --unknown x", 2),
            ("-x s3 ls", 0),
            ("s3 ls --profile", 2),
        ] {
            let reading = read(&words(line), &program, &none, 2);
            assert_eq!((reading.clear, reading.certain), (false, certain), "{line}");
        }
    }

    /// It is clear where `--exec-path=/tmp/evil` ends, but not what it makes of the command behind it.
    #[test]
    fn an_unknown_option_before_the_command_leaves_nothing_certain() {
        let none = Options::default();
        for (line, certain) in
            [("--unknown=1 s3 ls", 0), ("s3 --unknown=1 ls", 1), ("s3 ls --known=1 --unknown", 2)]
        {
            let reading = read(&words(line), &none, &none, 2);
            assert_eq!((reading.clear, reading.known, reading.certain), (false, false, certain), "{line}");
        }
        let behind = read(&words("s3 ls --unknown=1"), &none, &none, 2);
        assert_eq!((behind.clear, behind.known, behind.certain), (true, false, 2));
    }

    #[test]
    fn a_commands_options_are_not_known_before_it() {
        let command = options(&["--bucket"], &[], false);
        let reading = read(&words("--bucket s3api put"), &Options::default(), &command, 2);
        assert_eq!((reading.clear, reading.certain), (false, 0));
    }

    #[test]
    fn go_style_options_have_one_dash_or_two() {
        let program = options(&["-chdir"], &["-auto-approve"], true);
        for line in ["-chdir=x apply -auto-approve", "--chdir x apply --auto-approve"] {
            let reading = read(&words(line), &program, &Options::default(), 1);
            assert_eq!(reading.words, ["apply"], "{line}");
            assert_eq!(Value::Object(reading.options), json!({"chdir": "x", "auto-approve": true}), "{line}");
        }
    }

    /// `git diff -C --output=x`: were `-C` git's own here, it would hide the option behind it.
    #[test]
    fn options_that_stand_first_mean_nothing_behind_a_word() {
        let style = Style { options_first: true, ..Style::default() };
        let program = Options::new(&["-C".to_owned()], &[], style).unwrap();
        let first = read(&words("-C folder diff a"), &program, &Options::default(), 1);
        assert_eq!((first.words, first.known), (words("diff a"), true));
        let behind = read(&words("diff -C --output=x"), &program, &Options::default(), 1);
        assert_eq!((behind.clear, behind.known, behind.certain), (false, false, 1));
    }

    #[test]
    fn two_dashes_end_the_options() {
        let reading = read(&words("a -- --b -c"), &Options::default(), &Options::default(), 1);
        assert_eq!(reading.words, ["a", "--b", "-c"]);
        assert!(reading.clear);
    }
}
