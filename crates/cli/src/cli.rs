//! The command line as a whole: verbs, and what they have in common.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    api::Api,
    exit,
    verbs::{
        agents, approvals, audit, channels, completions, control, delegations, demo, dev, doctor, exec, hook,
        login, mcp, passkeys, people, policy, report, sidecar, tokens,
    },
};

/// Action-level approvals for AI agents.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = exit::HELP, max_term_width = 110)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The control plane's address.
    #[arg(long, global = true, env = "COUNTERSIGN_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Prints JSON instead of text; lists as {"items": […], "next": …}.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Common {
    /// The control plane, with a token.
    pub(crate) fn api(&self) -> Result<Api> {
        Api::connect(self.url.clone())
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows what Countersign does, end to end, in under a minute.
    Demo(demo::Arguments),
    /// Runs a control plane and one enrolled sidecar in one process, for development.
    Dev(dev::Arguments),
    /// Runs the control plane.
    #[command(after_help = control::EXAMPLES)]
    Control(control::Arguments),
    /// Runs a sidecar.
    #[command(after_help = sidecar::EXAMPLES)]
    Sidecar(sidecar::Arguments),
    /// Runs a command through the sidecar: at once, after approval, or not at all.
    Exec(exec::Arguments),
    /// Answers the hooks of coding agents, and puts itself there.
    Hook(hook::Arguments),
    /// Stands between an MCP client and an MCP server on stdio.
    Mcp(mcp::Arguments),
    /// Adds, lists, shows and revokes agents.
    Agents(agents::Arguments),
    /// Writes, checks, tests, pushes and rolls back policy.
    Policy(policy::Arguments),
    /// Lists, shows, decides and follows approvals.
    Approvals(approvals::Arguments),
    /// Says where reviewers' attention goes, and what is always approved.
    Report(report::Arguments),
    /// Shows where reviewers are told, and tests it.
    Channels(channels::Arguments),
    /// Follows, searches, exports and verifies the audit log.
    Audit(audit::Arguments),
    /// Shows and ends accounts and sessions; disables people.
    People(people::Arguments),
    /// Names, lists and takes back stand-ins.
    Delegations(delegations::Arguments),
    /// Makes, lists and revokes API tokens.
    Tokens(tokens::Arguments),
    /// Lists and removes passkeys.
    Passkeys(passkeys::Arguments),
    /// Keeps a token for a control plane.
    Login(login::Arguments),
    /// Checks this installation, and says what to do about what is wrong.
    Doctor(doctor::Arguments),
    /// Prints completions for a shell.
    Completions(completions::Arguments),
    /// The MCP server of the demo.
    #[command(hide = true)]
    DemoFiles(demo::files::Arguments),
}

impl Cli {
    /// Answers the hook of a coding agent, if that is what was asked.
    pub(crate) fn answer_hook(&self) -> Option<ExitCode> {
        match &self.verb {
            Verb::Hook(arguments) => arguments.answer(),
            _ => None,
        }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// When that fails, with what to do about it.
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let common = &self.common;
        match self.verb {
            Verb::Demo(arguments) => demo::run(arguments).await,
            Verb::Dev(arguments) => dev::run(common, arguments).await,
            Verb::DemoFiles(arguments) => demo::files::run(&arguments),
            Verb::Control(arguments) => control::run(arguments).await,
            Verb::Sidecar(arguments) => sidecar::run(arguments).await,
            Verb::Exec(arguments) => exec::run(arguments).await,
            Verb::Hook(arguments) => hook::run(common, arguments).await,
            Verb::Mcp(arguments) => mcp::run(arguments).await,
            Verb::Agents(arguments) => agents::run(common, arguments).await,
            Verb::Policy(arguments) => policy::run(common, arguments).await,
            Verb::Report(arguments) => report::run(common, arguments).await,
            Verb::Approvals(arguments) => approvals::run(common, arguments).await,
            Verb::Channels(arguments) => channels::run(common, arguments).await,
            Verb::Audit(arguments) => audit::run(common, arguments).await,
            Verb::People(arguments) => people::run(common, arguments).await,
            Verb::Delegations(arguments) => delegations::run(common, arguments).await,
            Verb::Tokens(arguments) => tokens::run(common, arguments).await,
            Verb::Passkeys(arguments) => passkeys::run(common, arguments).await,
            Verb::Login(arguments) => login::run(common, arguments).await,
            Verb::Doctor(arguments) => doctor::run(common, arguments).await,
            Verb::Completions(arguments) => completions::run(&arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_belongs_to_the_command() {
        let cli = Cli::try_parse_from(["countersign", "exec", "--reason", "why", "--", "ls", "--json", "-l"]);
        let cli = cli.unwrap();
        assert!(!cli.common.json);
        assert!(matches!(cli.verb, Verb::Exec(arguments) if arguments.command.len() == 3));
    }

    #[test]
    fn no_verb_takes_a_token_on_the_command_line() {
        fn visit(command: &clap::Command) {
            for argument in command.get_arguments() {
                let long = argument.get_long().unwrap_or_default();
                assert!(!matches!(long, "token" | "secret" | "password"), "{} --{long}", command.get_name());
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&Cli::command());
    }

    #[test]
    fn every_verb_explains_itself() {
        fn visit(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                visit(sub);
            }
        }
        visit(&Cli::command());
    }
}
