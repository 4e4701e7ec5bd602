//! The corpus, and what must hold for lines that nobody has written down.

use proptest::prelude::*;

use super::*;
use crate::hook::part::{Access, Clarity};

fn surroundings() -> Surroundings {
    Surroundings {
        cwd: PathBuf::from("/w"),
        home: Some("/home/u".to_owned()),
        exported: ["PATH", "HOME", "EDITOR"].map(str::to_owned).into(),
    }
}

fn told(part: &Part) -> String {
    match part {
        Part::Command { command, clarity } => {
            let how = match clarity {
                Clarity::Clear => "run",
                Clarity::Unclear => "unclear",
                Clarity::Wrap => "wrap",
            };
            let moved = !["/w", ""].contains(&command.cwd.as_str());
            let place = if moved { format!(" @{}", command.cwd) } else { String::new() };
            format!("{how} {}{place}", command.argv.join(" ").replace('\n', "\\n"))
        }
        Part::Opaque { why } => {
            format!("opaque {}", serde_json::to_value(why).unwrap().as_str().unwrap())
        }
        Part::File { access, file } => {
            let access = match access {
                Access::Read => "read",
                Access::Write => "write",
                other => panic!("{other:?}"),
            };
            format!("{access} {}", file.path)
        }
        other => panic!("{other:?}"),
    }
}

fn read_all(line: &str) -> Vec<String> {
    read(line, &surroundings()).iter().map(told).collect()
}

#[test]
fn every_line_of_the_corpus_comes_to_what_is_written_there() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for block in include_str!("corpus.txt").split("\n\n") {
        let lines = block.lines().filter(|line| !line.starts_with("# "));
        let (shell, parts): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('>'));
        let shell: Vec<&str> = shell.iter().map(|line| line.get(2..).unwrap_or_default()).collect();
        if shell.is_empty() {
            continue;
        }
        count += 1;
        let (line, found) = (shell.join("\n"), read_all(&shell.join("\n")));
        if found != parts {
            wrong.push(format!("> {line}\n{}\n   instead of\n{}\n", found.join("\n"), parts.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "only {count} lines were found in the corpus");
}

#[test]
fn characters_that_mislead_are_not_read() {
    for line in [
        "ls\u{a0}-la",
        "ls\r\nrm a",
        "ls\0",
        "ls \u{202e}a",
        "l\u{200b}s",
        "ls\u{2028}rm",
        "ls\u{1b}[2K",
        "ls\u{feff}",
        "ls \u{e0041}",
    ] {
        assert_eq!(read_all(line), ["opaque characters"], "{line:?}");
    }
    assert_eq!(read_all("git commit -m 'Größe 🎉'"), ["run git commit -m Größe 🎉"]);
}

#[test]
fn lines_that_would_be_too_much_to_read_are_not_read() {
    let long = format!("echo {}", "a".repeat(70_000));
    let many = vec!["ls"; 200].join(";");
    for line in [long, "(".repeat(3_000), "$(".repeat(3_000), "if ".repeat(3_000), many] {
        assert_eq!(read_all(&line), ["opaque too-large"], "{}", &line[..20]);
    }
}

#[test]
fn nesting_to_the_limit_neither_ends_the_process_nor_hangs() {
    for (open, close, times) in [
        ("(", ")", 1_900),
        ("{ ", "; }", 1_900),
        ("$(", ")", 900),
        ("`", "`", 900),
        ("if ", "", 1_900),
        ("! ", "", 1_900),
        ("((", "))", 900),
        ("[[ ( ", "", 600),
        ("${x:-", "}", 1_900),
        ("\"$(", ")\"", 600),
        ("case x in (x) ", "", 900),
        ("sh -c '", "'", 20),
    ] {
        let line = format!("{}rm a{}", open.repeat(times), close.repeat(times));
        let parts = read_all(&line);
        assert!(
            parts.iter().any(|part| part.starts_with("opaque") || part == "run rm a"),
            "{open}: {parts:?}"
        );
    }
}

/// Ways to run a command from within another line.
const CONSTRUCTS: [&str; 30] = [
    "@",
    "ls; @",
    "@ && ls",
    "false || @",
    "ls | @",
    "@ &",
    "(@)",
    "{ @; }",
    "if @; then ls; fi",
    "if ls; then @; fi",
    "while @; do ls; done",
    "for i in 1 2; do @; done",
    "echo $(@)",
    "echo \"x $(@)\"",
    "cat <(@)",
    "nohup @",
    "timeout 5 @",
    "env LANG=C @",
    "xargs @",
    "sudo @",
    "command @",
    "! @",
    "time @",
    "case a in b) @;; esac",
    "f() { @; }",
    "@ > out",
    "LANG=C @",
    "ls\n@",
    "ls # @\n@",
    "find . -exec @ \\;",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_strange(line in ".{0,200}") {
        prop_assert!(!read(&line, &surroundings()).is_empty());
    }

    #[test]
    fn no_mixture_of_signs_is_too_strange(pieces in prop::collection::vec(
        prop::sample::select(vec!["ls ", "$(", ")", "(", "`", "'", "\"", "\\", "{", "}", ";", "&&", "|", "<<E\n", "E\n", "<(",
            "> ", "$x", "${", "[[ ", " ]]", "case x in ", "esac", "if ", "then ", "fi", "do ", "done", "\n", " # ", "$((", "))", "a=", "eval ", "sh -c "]), 0..40)
    ) {
        prop_assert!(!read(&pieces.concat(), &surroundings()).is_empty());
    }

    #[test]
    fn no_construct_loses_a_command(constructs in prop::collection::vec(prop::sample::select(CONSTRUCTS.to_vec()), 1..5)) {
        let line = constructs.iter().fold("rm -rf precious".to_owned(), |line, construct| construct.replace('@', &line));
        let parts = read_all(&line);
        let found = parts.iter().any(|part| part.contains("rm -rf precious") || part.starts_with("opaque"));
        prop_assert!(found, "{line}: {parts:?}");
    }

    #[test]
    fn quoting_hides_nothing(word in "[a-z$`\"'\\\\ ;|&(){}*?#~=!-]{1,12}") {
        let quoted = format!("echo '{}'", word.replace('\'', "'\\''"));
        prop_assert_eq!(read_all(&quoted), [format!("run echo {word}")]);
    }
}
