//! A bundle with rules for what agents may not see.

use countersign_policy::{Bundle, BundleFiles};
use countersign_testkit::world::REQUIREMENTS;

const OUTPUTS: &str = r#"
[outputs.keys]
tools = "list"
pattern = "AKIA[0-9A-Z]{16}"
do = "redact"
[outputs.private-keys]
tools = "secret"
pattern = "PRIVATE KEY"
do = "refuse"
reason = "Private keys stay where they are"
"#;

/// Some policies, with those rules.
pub(crate) fn bundle(policies: &str) -> Bundle {
    let files = [
        ("bundle.toml", "name = \"test\""),
        ("policies/mcp.cedar", policies),
        ("approvals.toml", REQUIREMENTS),
        ("outputs.toml", OUTPUTS),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Bundle::load(&BundleFiles::new(files.into()).unwrap()).unwrap()
}
