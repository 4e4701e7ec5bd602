//! The bundles of `config/bundles`, as part of the program.
//!
//! What templates have in common exists once, in `config/bundles/common`: a template is a choice of its parts,
//! and the files in a folder of its own. A part has a name, and files of that name: `schema/aws.cedarschema`,
//! `mappings/aws.toml`, `policies/aws.cedar`, `entities/aws.json` and `tests/aws.toml`, as far as they exist.

use std::{collections::BTreeMap, str::FromStr};

use crate::files::BundleFiles;

type File = (&'static str, &'static str);

macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../config/bundles/", $folder, "/", $path)))),*]
    };
}

const COMMON: &[File] = files!["common":
    "entities/agent.json",
    "entities/mcp.json",
    "entities/programs.json",
    "entities/services.json",
    "mappings/aws.toml",
    "mappings/database.toml",
    "mappings/gcloud.toml",
    "mappings/git.toml",
    "mappings/github.toml",
    "mappings/kubernetes.toml",
    "mappings/mcp-files.toml",
    "mappings/mcp-sensitive.toml",
    "mappings/programs.toml",
    "mappings/stripe.toml",
    "mappings/terraform.toml",
    "policies/agent.cedar",
    "policies/database.cedar",
    "policies/effects.cedar",
    "policies/exec.cedar",
    "policies/git.cedar",
    "policies/infrastructure.cedar",
    "policies/mcp.cedar",
    "policies/ordinary.cedar",
    "policies/services.cedar",
    "policies/stripe.cedar",
    "schema/agent.cedarschema",
    "schema/aws.cedarschema",
    "schema/core.cedarschema",
    "schema/database.cedarschema",
    "schema/exec.cedarschema",
    "schema/gcloud.cedarschema",
    "schema/git.cedarschema",
    "schema/github.cedarschema",
    "schema/kubernetes.cedarschema",
    "schema/mcp-sensitive.cedarschema",
    "schema/mcp.cedarschema",
    "schema/services.cedarschema",
    "schema/stripe.cedarschema",
    "schema/terraform.cedarschema",
    "tests/agent.toml",
    "tests/aws.toml",
    "tests/database.toml",
    "tests/gcloud.toml",
    "tests/git.toml",
    "tests/github.toml",
    "tests/kubernetes.toml",
    "tests/mcp.toml",
    "tests/mcp-sensitive.toml",
    "tests/programs.toml",
    "tests/services.toml",
    "tests/stripe.toml",
    "tests/terraform.toml",
];

/// What one template is made of.
struct Composition {
    about: &'static str,
    own: &'static [File],
    parts: &'static [&'static str],
    /// Whether it takes only the schema and the mappings of its parts, and decides about them by itself.
    own_policies: bool,
}

const STARTER: Composition = Composition {
    about: "what `countersign dev` and `demo` enforce: a little of everything, for one reviewer",
    own: files!["starter":
        "README.md",
        "approvals.toml",
        "bundle.toml",
        "entities.json",
        "policies/aws.cedar",
        "policies/exec.cedar",
        "policies/git.cedar",
        "policies/infrastructure.cedar",
        "policies/mcp.cedar",
        "policies/services.cedar",
        "tests/aws.toml",
        "tests/commands.toml",
        "tests/infrastructure.toml",
        "tests/mcp.toml",
        "tests/services.toml",
    ],
    parts: &[
        "core",
        "exec",
        "programs",
        "services",
        "aws",
        "kubernetes",
        "terraform",
        "git",
        "mcp",
        "mcp-files",
    ],
    own_policies: true,
};

const CODING_AGENT: Composition = Composition {
    about: "coding agents: shells, files and tools (`countersign hook`, `exec`, `mcp`)",
    own: files!["coding-agent": "README.md", "approvals.toml", "bundle.toml"],
    parts: &[
        "core",
        "effects",
        "ordinary",
        "exec",
        "programs",
        "agent",
        "mcp",
        "mcp-files",
        "mcp-sensitive",
        "git",
        "github",
        "aws",
        "gcloud",
        "kubernetes",
        "terraform",
        "infrastructure",
        "database",
        "stripe",
    ],
    own_policies: false,
};

const MCP_GATEWAY: Composition = Composition {
    about: "MCP servers: a tool runs once you open it, others wait for the right people",
    own: files!["mcp-gateway": "README.md", "approvals.toml", "bundle.toml", "outputs.toml"],
    parts: &["core", "effects", "mcp", "mcp-files", "mcp-sensitive"],
    own_policies: false,
};

const CLOUD_OPS: Composition = Composition {
    about: "agents that operate clouds, clusters and services",
    own: files!["cloud-ops": "README.md", "approvals.toml", "bundle.toml"],
    parts: &[
        "core",
        "effects",
        "ordinary",
        "exec",
        "programs",
        "services",
        "git",
        "aws",
        "gcloud",
        "kubernetes",
        "terraform",
        "infrastructure",
    ],
    own_policies: false,
};

const DATA: Composition = Composition {
    about: "agents that work with databases and data sets",
    own: files!["data": "README.md", "approvals.toml", "bundle.toml"],
    parts: &["core", "effects", "ordinary", "exec", "programs", "services", "aws", "gcloud", "database"],
    own_policies: false,
};

const MINIMAL: Composition = Composition {
    about: "the least to start from: looking runs, everything else waits for a reviewer",
    own: files!["minimal":
        "README.md",
        "approvals.toml",
        "bundle.toml",
        "entities.json",
        "policies/minimal.cedar",
        "tests/minimal.toml",
    ],
    parts: &["core", "exec", "services", "mcp"],
    own_policies: true,
};

/// A bundle to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// What `countersign dev` and `countersign demo` enforce.
    Starter,
    /// For coding agents.
    CodingAgent,
    /// For MCP servers.
    McpGateway,
    /// For agents that operate clouds, clusters and services.
    CloudOps,
    /// For agents that work with databases and data sets.
    Data,
    /// The least to start from.
    Minimal,
}

impl Template {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starter, Self::CodingAgent, Self::McpGateway, Self::CloudOps, Self::Data, Self::Minimal];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::CodingAgent => "coding-agent",
            Self::McpGateway => "mcp-gateway",
            Self::CloudOps => "cloud-ops",
            Self::Data => "data",
            Self::Minimal => "minimal",
        }
    }

    /// What it is for, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.composition().about
    }

    /// Its files.
    #[must_use]
    pub fn files(self) -> BundleFiles {
        let composition = self.composition();
        let common = COMMON.iter().filter(|(path, _)| composition.takes(path));
        let all =
            common.chain(composition.own).map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        BundleFiles::trusted(all.collect::<BTreeMap<_, _>>())
    }

    const fn composition(self) -> &'static Composition {
        match self {
            Self::Starter => &STARTER,
            Self::CodingAgent => &CODING_AGENT,
            Self::McpGateway => &MCP_GATEWAY,
            Self::CloudOps => &CLOUD_OPS,
            Self::Data => &DATA,
            Self::Minimal => &MINIMAL,
        }
    }
}

impl Composition {
    fn takes(&self, path: &str) -> bool {
        let Some((folder, file)) = path.split_once('/') else { return false };
        let part = file.split_once('.').map_or(file, |(part, _)| part);
        self.parts.contains(&part) && (!self.own_policies || matches!(folder, "schema" | "mappings"))
    }
}

/// There is no template of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no template of that name")]
pub struct UnknownTemplate;

impl FromStr for Template {
    type Err = UnknownTemplate;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|template| template.name() == name).ok_or(UnknownTemplate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two files with one path, one would be a guard that is not there.
    #[test]
    fn no_template_has_two_files_of_one_path() {
        for template in Template::ALL {
            let composition = template.composition();
            for (path, _) in composition.own {
                let common = COMMON.iter().any(|(known, _)| known == path);
                assert!(!(common && composition.takes(path)), "{} {path}", template.name());
            }
        }
    }

    #[test]
    fn every_part_has_a_file() {
        for template in Template::ALL {
            for part in template.composition().parts {
                let of_part = |(path, _): &File| path.split(['/', '.']).nth(1) == Some(part);
                assert!(COMMON.iter().any(of_part), "{} {part}", template.name());
            }
        }
    }
}
