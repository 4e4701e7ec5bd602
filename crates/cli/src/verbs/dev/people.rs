//! The people of a development set-up, and their tokens, which stay valid over restarts.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use countersign_control_plane::identity::{Identity, LocalPerson, Role};
use countersign_model::{PersonId, Seconds};
use serde::{Deserialize, Serialize};

/// The owner of the agent, who is an admin.
pub(crate) const OWNER: &str = "owner@example.com";
/// Those who can approve what it does.
const REVIEWERS: [&str; 2] = ["reviewer-one@example.com", "reviewer-two@example.com"];
/// Who the audit log says made them.
const BY: &str = "countersign dev";
/// How long their tokens live: longer than anybody keeps a development set-up.
const TOKEN_LIFETIME: Seconds = Seconds::new(365 * 86_400);

/// Somebody with a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Someone {
    pub(crate) name: PersonId,
    pub(crate) token: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    admin: Someone,
    reviewers: Vec<Someone>,
}

/// Everybody, as kept in a file.
#[derive(Debug, Clone)]
pub(crate) struct People {
    kept: Kept,
    file: PathBuf,
}

impl People {
    /// Makes everybody known, and reads their tokens, or makes them at the first start.
    pub(super) async fn settle(identity: &Identity, file: &Path) -> Result<Self> {
        know(identity, OWNER, &[Role::Admin], &[]).await?;
        for reviewer in REVIEWERS {
            // Every group, so that any bundle's reviewers can be tried out.
            know(identity, reviewer, &[Role::Reviewer], &["*"]).await?;
        }
        let kept = match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut reviewers = Vec::new();
                for reviewer in REVIEWERS {
                    reviewers.push(token(identity, reviewer).await?);
                }
                let kept = Kept { admin: token(identity, OWNER).await?, reviewers };
                keep(file, &kept)?;
                kept
            }
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        Ok(Self { kept, file: file.to_owned() })
    }

    /// The agent's owner.
    pub(crate) fn admin(&self) -> &Someone {
        &self.kept.admin
    }

    /// Those who can approve.
    pub(crate) fn reviewers(&self) -> &[Someone] {
        &self.kept.reviewers
    }

    /// Where their tokens are.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

async fn know(identity: &Identity, person: &str, roles: &[Role], groups: &[&str]) -> Result<()> {
    let person = LocalPerson {
        person: person.parse()?,
        groups: groups.iter().map(ToString::to_string).collect(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
    };
    Ok(identity.put_local_person(person, BY).await?)
}

async fn token(identity: &Identity, person: &str) -> Result<Someone> {
    let name: PersonId = person.parse()?;
    let created = identity.bootstrap_token(name.clone(), "dev", TOKEN_LIFETIME, BY).await?;
    Ok(Someone { name, token: created.token })
}

fn keep(file: &Path, kept: &Kept) -> Result<()> {
    let fresh = file.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    serde_json::to_writer_pretty(&mut out, kept)?;
    out.flush()?;
    out.sync_all()?;
    fs::rename(&fresh, file).with_context(|| file.display().to_string())
}
