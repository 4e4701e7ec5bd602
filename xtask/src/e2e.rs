//! `cargo xtask e2e`: end-to-end tests with real counterparts, which it installs.
//!
//! Everything goes to target/e2e but the browser and Go, which are Debian's packages. What the tests drive is
//! told to them in environment variables; the tests themselves are in tests/tests/counterparts/.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{self, cargo, has, output, root};

#[derive(Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Install the counterparts and stop.
    #[arg(long)]
    install_only: bool,
    /// Leave out the release build and the unattended demo.
    #[arg(long)]
    no_demo: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = install()?;
    if options.install_only {
        return Ok(());
    }
    // The whole workspace is selected, so that what `cargo test --workspace` has built serves here, too.
    let mut tests = cargo(&["test", "--workspace", "--features", "countersign-tests/counterparts"]);
    tests.args(["--test", "counterparts", "--"]).args(&options.filter).args(["--test-threads", "1"]);
    command::run("counterparts", tests.env("COUNTERSIGN_COUNTERPARTS", &folder))?;
    if !options.no_demo && options.filter.is_none() {
        command::run("demo", &mut cargo(&["run", "--release", "--", "demo", "--yes"]))?;
    }
    Ok(())
}

/// Installs what is missing, and returns the folder that holds it.
pub(crate) fn install() -> Result<PathBuf> {
    let folder = root().join("target/e2e");
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let wanted = root().join("tests/counterparts");
    python(&folder, &wanted.join("requirements.txt"))?;
    node(&folder, &wanted.join("package.json"))?;
    debian()?;
    Ok(folder)
}

fn python(folder: &Path, requirements: &Path) -> Result<()> {
    let venv = folder.join("venv");
    if is_current(requirements, &venv.join("installed.txt"))? {
        return Ok(());
    }
    let create = ["-m", "venv", "--clear"];
    command::run("python environment", Command::new("python3").args(create).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    command::run("pip install", pip.args(["install", "--quiet", "--requirement"]).arg(requirements))?;
    mark(requirements, &venv.join("installed.txt"))
}

fn node(folder: &Path, package: &Path) -> Result<()> {
    let marker = folder.join("node_modules/installed.json");
    if is_current(package, &marker)? {
        return Ok(());
    }
    fs::copy(package, folder.join("package.json")).context("copy package.json")?;
    let mut npm = Command::new("npm");
    let quiet = ["install", "--no-audit", "--no-fund", "--loglevel", "error"];
    command::run("npm install", npm.args(quiet).current_dir(folder))?;
    mark(package, &marker)
}

/// The browser, and Go with its own implementation of transparency logs.
fn debian() -> Result<()> {
    let packages = [
        ("/usr/bin/chromium", ["chromium", "fonts-dejavu-core"]),
        ("/usr/share/gocode/src/golang.org/x/mod", ["golang-go", "golang-golang-x-mod-dev"]),
    ];
    let missing: Vec<&str> =
        packages.iter().filter(|(file, _)| !Path::new(file).exists()).flat_map(|(_, names)| *names).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let names = missing.join(" ");
    let is_root = output("id", Command::new("id").arg("-u"))?.trim() == "0";
    if !has("apt-get") || !is_root {
        bail!("Debian's packages {names} are missing; install them and run this again");
    }
    command::run("apt-get update", &mut apt(&["update", "-qq"]))?;
    let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    command::run(&format!("apt-get install {names}"), install.args(missing))
}

fn is_current(wanted: &Path, marker: &Path) -> Result<bool> {
    let wanted = fs::read(wanted).with_context(|| format!("{}", wanted.display()))?;
    Ok(fs::read(marker).is_ok_and(|installed| installed == wanted))
}

fn mark(wanted: &Path, marker: &Path) -> Result<()> {
    fs::copy(wanted, marker).map(drop).with_context(|| format!("{}", marker.display()))
}
