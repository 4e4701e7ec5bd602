//! Which variables a command is given, and how they bind.
//!
//! Every variable falls in exactly one class:
//!
//! | class | given to the command | in the operation |
//! |---|---|---|
//! | injecting (`LD_PRELOAD`, `BASH_ENV`, …) | never | – |
//! | ambient (`TERM`, `LANG`, …) | yes | – |
//! | shown (`PATH`, `AWS_REGION`, … and `--env NAME`) | yes | name and value |
//! | everything else | yes | one digest over all of them |
//!
//! So a secret in the environment never leaves the client, and yet an approval does not carry over to
//! another environment.

use std::{collections::BTreeMap, ffi::OsString};

use countersign_model::Digest;

/// The name of the variable that carries the trace (OpenTelemetry's environment carrier).
pub const TRACEPARENT: &str = "TRACEPARENT";

/// Variables that make a dynamic loader or an interpreter run code from elsewhere, before or instead
/// of the program that was approved.
const INJECTING: [&str; 34] = [
    "BASH_ENV",
    "BASHOPTS",
    "CLASSPATH",
    "COR_PROFILER",
    "CORECLR_ENABLE_PROFILING",
    "CORECLR_PROFILER",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LOCPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MALLOC_TRACE",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
];

/// The same, by prefix.
const INJECTING_PREFIXES: [&str; 6] =
    ["LD_", "DYLD_", "BASH_FUNC_", "LUA_INIT_", "PYTHONINSPECT", "SHELLOPTS"];

/// Variables that say how output looks, where a shell has been and which trace this is. They change
/// from call to call.
const AMBIENT: [&str; 21] = [
    "_",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORFGBG",
    "COLORTERM",
    "COLUMNS",
    "FORCE_COLOR",
    "LANG",
    "LANGUAGE",
    "LINES",
    "NO_COLOR",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TERM_SESSION_ID",
    TRACEPARENT,
    "TRACESTATE",
    "TZ",
];

/// Variables whose value a reviewer wants to see: they say against what, and as whom, a command acts.
const SHOWN: [&str; 36] = [
    "AWS_CONFIG_FILE",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CONFIG_DIR",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_COMPUTE_REGION",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_CORE_PROJECT",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "GH_HOST",
    "GH_REPO",
    "GIT_CONFIG_GLOBAL",
    "GIT_DIR",
    "GIT_SSH_COMMAND",
    "GIT_WORK_TREE",
    "GOOGLE_CLOUD_PROJECT",
    "HELM_KUBECONTEXT",
    "HELM_NAMESPACE",
    "HOME",
    "KUBECONFIG",
    "PATH",
    "PGDATABASE",
    "PGHOST",
    "PGOPTIONS",
    "PGPORT",
    "PGSERVICE",
    "PGUSER",
    "TF_WORKSPACE",
    "VAULT_ADDR",
    "VAULT_NAMESPACE",
];

/// A variable that cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It was asked for by name, but is of a kind that is never handed on.
    #[error(
        "{0} makes other code run than what is approved, so it is never handed on to a command; leave out --env {0}"
    )]
    Injecting(String),
    /// Its value is not text, so it could not be shown.
    #[error("the value of {0} is not UTF-8, so it cannot be shown to anybody; unset it")]
    NotText(String),
}

/// The environment of a command, as it binds and as it is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Shown by name and value.
    pub shown: BTreeMap<String, String>,
    /// One digest over what is given, but neither shown nor ambient.
    pub digest: Digest,
    /// Everything the command is given, shown or not.
    pub given: BTreeMap<OsString, OsString>,
    /// The names of what is not handed on.
    pub stripped: Vec<String>,
}

impl Environment {
    /// Sorts variables into their classes. `also_shown` are the caller's own additions (`--env NAME`).
    ///
    /// # Errors
    /// When a shown variable is not text, or a variable that is never handed on was asked for.
    pub fn of(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        also_shown: &[String],
    ) -> Result<Self, EnvironmentError> {
        if let Some(name) = also_shown.iter().find(|name| is_injecting(name)) {
            return Err(EnvironmentError::Injecting(name.clone()));
        }
        let (mut shown, mut bound, mut given) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut stripped = Vec::new();
        for (name, value) in variables {
            let readable = name.to_string_lossy().into_owned();
            if is_injecting(&readable) {
                stripped.push(readable);
                continue;
            }
            given.insert(name.clone(), value.clone());
            if is_shown(&readable) || also_shown.contains(&readable) {
                let Some(text) = value.to_str() else {
                    return Err(EnvironmentError::NotText(readable));
                };
                shown.insert(readable, text.to_owned());
            } else if !is_ambient(&readable) {
                bound.insert(name, value);
            }
        }
        stripped.sort();
        Ok(Self { shown, digest: digest(&bound), given, stripped })
    }
}

/// Every name and value with its length before it, so that no two environments share a digest.
fn digest(variables: &BTreeMap<OsString, OsString>) -> Digest {
    let mut bytes = Vec::new();
    for part in variables.iter().flat_map(|(name, value)| [name, value]) {
        let part = part.as_encoded_bytes();
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Digest::of(&bytes)
}

pub(crate) fn is_injecting(name: &str) -> bool {
    INJECTING.contains(&name) || INJECTING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_ambient(name: &str) -> bool {
    AMBIENT.contains(&name) || name.starts_with("LC_")
}

fn is_shown(name: &str) -> bool {
    SHOWN.contains(&name) || name.starts_with("AWS_ENDPOINT_URL_") || name.starts_with("TF_CLI_ARGS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())), &[]).unwrap()
    }

    #[test]
    fn what_would_run_other_code_is_never_handed_on() {
        let environment = environment(&[
            ("LD_PRELOAD", "/tmp/evil.so"),
            ("LD_LIBRARY_PATH", "/tmp"),
            ("BASH_ENV", "/tmp/evil.sh"),
            ("BASH_FUNC_ls%%", "() { evil; }"),
            ("NODE_OPTIONS", "--require /tmp/evil.js"),
            ("DYLD_INSERT_LIBRARIES", "/tmp/evil"),
            ("PATH", "/usr/bin"),
        ]);
        assert_eq!(environment.given.len(), 1);
        assert_eq!(environment.stripped.len(), 6);
        let asked = Environment::of([], &["LD_PRELOAD".to_owned()]);
        assert_eq!(asked, Err(EnvironmentError::Injecting("LD_PRELOAD".to_owned())));
    }

    #[test]
    fn a_secret_binds_without_being_shown() {
        let with = |secret: &str| environment(&[("PATH", "/usr/bin"), ("AWS_SECRET_ACCESS_KEY", secret)]);
        let shown = format!("{:?}", with("hunter2").shown);
        assert!(!shown.contains("hunter2") && shown.contains("PATH"));
        assert_ne!(with("hunter2").digest, with("hunter3").digest);
        assert_eq!(with("hunter2").given.len(), 2);
    }

    #[test]
    fn moving_bytes_from_a_name_to_its_value_changes_the_digest() {
        assert_ne!(environment(&[("AB", "C")]).digest, environment(&[("A", "BC")]).digest);
        assert_ne!(environment(&[("A", "1"), ("B", "2")]).digest, environment(&[("A", "1B2")]).digest);
    }

    #[test]
    fn how_a_terminal_looks_does_not_make_another_operation() {
        let wide = environment(&[("COLUMNS", "200"), ("SHLVL", "1"), ("LC_ALL", "C"), ("X", "1")]);
        let narrow = environment(&[("COLUMNS", "80"), ("SHLVL", "2"), ("X", "1")]);
        assert_eq!(wide.digest, narrow.digest);
        assert_eq!(wide.shown, narrow.shown);
    }
}
