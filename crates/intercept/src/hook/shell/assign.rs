//! Variables: which ones may be set without changing what runs.

use crate::exec::environment::is_injecting;

/// Variables that the shell itself goes by, besides those that make programs run other code.
const OF_THE_SHELL: [&str; 17] = [
    "PATH",
    "IFS",
    "HOME",
    "PWD",
    "OLDPWD",
    "CDPATH",
    "FPATH",
    "ZDOTDIR",
    "SHELL",
    "BASH",
    "BASH_ALIASES",
    "BASH_CMDS",
    "BASH_LOADABLES_PATH",
    "GLOBIGNORE",
    "POSIXLY_CORRECT",
    "NULLCMD",
    "READNULLCMD",
];

/// Variables that a command may be given: none of them makes it run other code.
const HARMLESS: [&str; 35] = [
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "CARGO_INCREMENTAL",
    "CARGO_TERM_COLOR",
    "CGO_ENABLED",
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "DEBIAN_FRONTEND",
    "FORCE_COLOR",
    "GOARCH",
    "GOOS",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LINES",
    "NODE_ENV",
    "NO_COLOR",
    "PGDATABASE",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERM",
    "TF_WORKSPACE",
    "TZ",
    "UV_NO_PROGRESS",
];

/// Whether setting it, anywhere in a line, can change which program a name stands for.
pub(super) fn changes_what_runs(name: &str) -> bool {
    OF_THE_SHELL.contains(&name) || is_injecting(name)
}

/// Whether a command may be given it.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

/// Splits `NAME=value`, as the shell would.
pub(super) fn split(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    is_name(name).then_some((name, value))
}

/// Whether it can be a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
