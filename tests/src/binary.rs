//! The binaries under test, built once by whoever asks first.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The path of one of our binaries: in the folder that `COUNTERSIGN_BINARIES` names, else in the profile
/// that the tests were built in.
///
/// # Panics
/// When the binaries do not build.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| env::var_os("COUNTERSIGN_BINARIES").map_or_else(build, PathBuf::from)).join(name)
}

/// A bundle folder of the tests.
#[must_use]
pub fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(name)
}

/// `cargo test` builds binaries only for the package that is tested, so they are built here.
fn build() -> PathBuf {
    let test = env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").to_owned();
    let target = folder.parent().expect("target/PROFILE");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("release") => "release",
        _ => "dev",
    };
    // Nor are the features others than those that the tests themselves were built with.
    let features = if cfg!(feature = "counterparts") { "countersign-tests/counterparts" } else { "" };
    let built = Command::new(env!("CARGO"))
        // With the tests, so that features are unified as `cargo test --workspace` has them, and what it
        // has built serves here, too.
        .args(["build", "--quiet", "--offline", "--workspace", "--bins", "--tests", "--profile", profile])
        .args(["--features", features, "--target-dir"])
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the binaries under test do not build");
    folder
}
