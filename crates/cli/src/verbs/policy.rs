//! `countersign policy`: init, check, test, push, history, show, rollback.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{
    Args, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use countersign_model::Timestamp;
use countersign_policy::{Bundle, BundleFiles, Problems, Template, TestReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::PageArguments;
use crate::{
    api::{Api, ApiError},
    bundle_dir,
    cli::Common,
    exit,
    output::{Cell, Paint, Style, cell, distance, list, plain, print_json, short},
};

/// Writes, checks, tests, pushes and rolls back policy.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  countersign policy init policy --template coding-agent
  countersign policy test policy
  countersign policy push policy --note \"hold IAM changes\"
  countersign policy history
  countersign policy rollback 3"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes a bundle to start from into a new folder.
    Init {
        /// The folder.
        #[arg(default_value = "policy")]
        dir: PathBuf,
        /// Which bundle to start from.
        #[arg(long, default_value = Template::Starter.name(), value_parser = template())]
        template: Template,
    },
    /// Loads a bundle and reports everything that is wrong with it, at once. Asks nobody.
    Check {
        /// The bundle's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Runs a bundle's own tests. Asks nobody.
    Test {
        /// The bundle's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Checks, tests and stores a bundle as the next revision, and sends it to every sidecar.
    Push {
        /// The bundle's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Why, for the history.
        #[arg(long)]
        note: Option<String>,
    },
    /// Lists revisions, newest first.
    History(PageArguments),
    /// Shows one revision, or writes its files into a folder.
    Show {
        /// The revision's number.
        #[arg(default_value = "active")]
        revision: String,
        /// Writes its files there.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Brings the files of an earlier revision back, as the next revision.
    Rollback {
        /// The revision to bring back.
        revision: u64,
        /// Why, for the history.
        #[arg(long)]
        note: Option<String>,
    },
}

pub(crate) async fn run(common: &Common, arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::Init { dir, template } => init(&dir, template),
        What::Check { dir } => check(common, &bundle_dir::read(&dir)?),
        What::Test { dir } => test(common, &bundle_dir::read(&dir)?),
        What::Push { dir, note } => push(common, bundle_dir::read(&dir)?, note).await,
        What::History(page) => history(common, &page).await,
        What::Show { revision, out } => show(common, &revision, out).await,
        What::Rollback { revision, note } => {
            let path = format!("/api/v1/policy/revisions/{revision}/rollback");
            let made: Value = common.api()?.post(&path, &json!({"note": note})).await?;
            told(common, &made)
        }
    }
}

/// The templates by their names, with what each is for in the help.
fn template() -> impl TypedValueParser<Value = Template> {
    let choices = Template::ALL.map(|template| PossibleValue::new(template.name()).help(template.about()));
    PossibleValuesParser::new(choices).try_map(|name| name.parse::<Template>())
}

fn init(dir: &Path, template: Template) -> Result<ExitCode> {
    bundle_dir::write(dir, template.files().iter())?;
    println!(
        "wrote the {} bundle to {dir}\n\nNext:\n\
         1. read {dir}/README.md, and name your groups in {dir}/approvals.toml\n\
         2. countersign policy test {dir}\n\
         3. countersign policy push {dir} --note \"the first policy\"",
        template.name(),
        dir = dir.display()
    );
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Checked<'a> {
    valid: bool,
    problems: &'a Problems,
}

fn check(common: &Common, files: &BundleFiles) -> Result<ExitCode> {
    match Bundle::load(files) {
        Ok(bundle) => {
            if common.json {
                print_json(&Checked { valid: true, problems: &Problems::default() })?;
            } else {
                let requirements = bundle.requirements().count();
                println!(
                    "{}: {} policies, {requirements} requirements, {}",
                    plain(bundle.name()),
                    bundle.policy_count(),
                    bundle.digest()
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            if common.json {
                print_json(&Checked { valid: false, problems: &problems })?;
            } else {
                print_problems(&problems);
            }
            Ok(ExitCode::from(exit::FAILED))
        }
    }
}

fn print_problems(problems: &Problems) {
    let paint = Paint::stderr();
    for problem in problems.as_slice() {
        eprintln!("{} {}", paint.paint(Style::Bad, "✗"), plain(&problem.to_string()));
    }
    let count = problems.len();
    eprintln!("{count} {} to mend", if count == 1 { "problem" } else { "problems" });
}

fn test(common: &Common, files: &BundleFiles) -> Result<ExitCode> {
    let bundle = match Bundle::load(files) {
        Ok(bundle) => bundle,
        Err(problems) => {
            print_problems(&problems);
            return Ok(ExitCode::from(exit::FAILED));
        }
    };
    let report = bundle.run_tests();
    if common.json {
        print_json(&report)?;
    } else {
        print_tests(&report);
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn print_tests(report: &TestReport) {
    let paint = Paint::stdout();
    for result in &report.results {
        let name = plain(&result.name);
        match &result.failure {
            None => println!("{} {name}", paint.paint(Style::Good, "✓")),
            Some(failure) => println!(
                "{} {name} ({}:{})\n    {}",
                paint.paint(Style::Bad, "✗"),
                plain(&result.file),
                result.line,
                plain(failure)
            ),
        }
    }
    let failed = report.failures().count();
    println!("{} passed, {failed} failed", report.results.len() - failed);
}

async fn push(common: &Common, files: BundleFiles, note: Option<String>) -> Result<ExitCode> {
    // What is wrong can be told without a control plane.
    if let Err(problems) = Bundle::load(&files) {
        print_problems(&problems);
        return Ok(ExitCode::from(exit::FAILED));
    }
    let api = common.api()?;
    match push_to(&api, files, note).await {
        Ok(made) => told(common, &made),
        Err(error) => match error.downcast_ref::<ApiError>() {
            Some(ApiError::Refused { problem, .. }) if problem.validation.is_some() => {
                print_validation(problem.validation.as_ref());
                Ok(ExitCode::from(exit::FAILED))
            }
            _ => Err(error),
        },
    }
}

/// Pushes a bundle; the answer is the new revision.
pub(crate) async fn push_to(api: &Api, files: BundleFiles, note: Option<String>) -> Result<Value> {
    let text = |(path, bytes): (String, Vec<u8>)| match String::from_utf8(bytes) {
        Ok(text) => Ok((path, text)),
        Err(_) => anyhow::bail!("{path} is not UTF-8"),
    };
    let files = files.into_inner().into_iter().map(text).collect::<Result<BTreeMap<_, _>>>()?;
    api.post("/api/v1/policy/revisions", &json!({"files": files, "note": note})).await
}

fn print_validation(validation: Option<&Value>) {
    let paint = Paint::stderr();
    let list = |pointer| validation.and_then(|value| value.pointer(pointer)).and_then(Value::as_array);
    for problem in list("/problems").into_iter().flatten() {
        let text = |name| problem.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
        eprintln!("{} {}: {} {}", paint.paint(Style::Bad, "✗"), text("file"), text("message"), text("hint"));
    }
    for failure in list("/tests/failures").into_iter().flatten() {
        eprintln!("{} test: {}", paint.paint(Style::Bad, "✗"), plain(failure.as_str().unwrap_or_default()));
    }
    eprintln!("the control plane refused the bundle; the revision in force stays in force");
}

/// A revision, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Revision {
    revision: u64,
    name: String,
    active: bool,
    rollback_of: Option<u64>,
    by: String,
    at: Timestamp,
    note: Option<String>,
    enforced_by: usize,
}

fn told(common: &Common, made: &Value) -> Result<ExitCode> {
    if common.json {
        print_json(made)?;
    } else {
        let made: Revision = serde_json::from_value(made.clone())?;
        println!(
            "revision {} of {} is in force; see it arrive: countersign agents list",
            made.revision,
            plain(&made.name)
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn history(common: &Common, page: &PageArguments) -> Result<ExitCode> {
    let page = common.api()?.get("/api/v1/policy/revisions", &page.query()).await?;
    list(common.json, &page, &HEAD, "no policy yet; push one with `countersign policy push DIR`", row)?;
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 7] = ["REVISION", "NAME", "IN FORCE", "AT", "WHEN", "BY", "NOTE"];

fn row(revision: &Revision, now: Timestamp) -> Vec<Cell> {
    let note = match (revision.rollback_of, &revision.note) {
        (Some(of), Some(note)) => format!("back to {of}: {note}"),
        (Some(of), None) => format!("back to {of}"),
        (None, note) => note.clone().unwrap_or_default(),
    };
    vec![
        cell(&revision.revision.to_string()),
        cell(&revision.name),
        if revision.active { ("yes".to_owned(), Some(Style::Good)) } else { cell("") },
        cell(&format!("{} sidecars", revision.enforced_by)),
        cell(&distance(revision.at, now)),
        cell(&revision.by),
        cell(&short(&note, 60)),
    ]
}

async fn show(common: &Common, revision: &str, out: Option<PathBuf>) -> Result<ExitCode> {
    let shown: Value = common.api()?.get(&format!("/api/v1/policy/revisions/{revision}"), &[]).await?;
    let files: BTreeMap<String, String> =
        serde_json::from_value(shown.get("files").cloned().unwrap_or_default())
            .context("the revision's files")?;
    if let Some(dir) = out {
        // The paths come from elsewhere: only those that a bundle can have are written.
        let files = files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
        bundle_dir::write(&dir, BundleFiles::new(files)?.iter())?;
        println!("wrote {}", dir.display());
    } else if common.json {
        print_json(&shown)?;
    } else {
        let paint = Paint::stdout();
        for (path, text) in &files {
            println!("{}", paint.paint(Style::Bold, &format!("── {}", plain(path))));
            text.lines().for_each(|line| println!("{}", plain(&line.replace('\t', "    "))));
        }
    }
    Ok(ExitCode::SUCCESS)
}
