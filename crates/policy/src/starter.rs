//! The starter bundle of `config/bundles/starter`, as part of the program.

use crate::files::BundleFiles;

macro_rules! starter_files {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../config/bundles/starter/", $path)))),*]
    };
}

const FILES: [(&str, &str); 17] = starter_files![
    "README.md",
    "approvals.toml",
    "bundle.toml",
    "entities.json",
    "mappings.toml",
    "policies/aws.cedar",
    "policies/exec.cedar",
    "policies/git.cedar",
    "policies/infrastructure.cedar",
    "policies/mcp.cedar",
    "policies/services.cedar",
    "schema.cedarschema",
    "tests/aws.toml",
    "tests/commands.toml",
    "tests/infrastructure.toml",
    "tests/mcp.toml",
    "tests/services.toml",
];

/// The files of the starter bundle: what `countersign dev` enforces and `countersign policy init` writes.
#[must_use]
pub fn starter() -> BundleFiles {
    BundleFiles::trusted(
        FILES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect(),
    )
}
