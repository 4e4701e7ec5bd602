//! The people of a small installation, from a TOML file that is read at every start.
//!
//! ```toml
//! ["owner@example.com"]
//! roles = ["admin"]
//!
//! ["reviewer-one@example.com"]
//! roles = ["reviewer"]
//! groups = ["sre"]
//! ```
//!
//! Who is no longer in the file can no longer sign in. Whoever has no token gets a first one, in a file
//! that only the process's own user can read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use countersign_model::{PersonId, Seconds};
use countersign_settings::ConfigProblems;
use toml::{Table, Value};

use super::{Identity, LocalPerson, Role, SignInError, TokenError};
use crate::keys::{KeyError, private_file, private_folder};

/// How long a first token lives: long enough to sign in and make a better one.
const FIRST_TOKEN: Seconds = Seconds::new(30 * 86_400);
/// Who changes people at the start, in the log.
const BY: &str = "people file";
/// Who makes a first admin, in the log.
const COMMAND_LINE: &str = "command line";

/// Why the people of a file could not be made known.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file.
    #[error(transparent)]
    File(#[from] ConfigProblems),
    /// A first token's file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store, or no randomness for a token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The same for a link.
    #[error(transparent)]
    Link(#[from] SignInError),
}

/// Reads the people of a file's text.
///
/// # Errors
/// With every mistake there is.
pub fn parse(text: &str) -> Result<Vec<LocalPerson>, ConfigProblems> {
    let table: Table = text.parse().map_err(|error| ConfigProblems(vec![format!("people: {error}")]))?;
    let mut problems = Vec::new();
    let people: Vec<_> =
        table.iter().filter_map(|(name, entry)| person(name, entry, &mut problems)).collect();
    let distinct: BTreeSet<_> = people.iter().map(|person| &person.person).collect();
    if distinct.len() < people.len() {
        problems.push("people: one person stands there twice, in different letter case".to_owned());
    }
    if problems.is_empty() { Ok(people) } else { Err(ConfigProblems(problems)) }
}

fn person(name: &str, entry: &Value, problems: &mut Vec<String>) -> Option<LocalPerson> {
    let known: Result<PersonId, _> = name.parse();
    let mut problem = |text: String| problems.push(format!("people: [{name:?}] {text}"));
    let Some(entry) = entry.as_table() else {
        problem("must be a table with roles, and groups if any".to_owned());
        return None;
    };
    for key in entry.keys().filter(|key| !matches!(key.as_str(), "roles" | "groups")) {
        problem(format!("has no setting {key:?}; there are roles and groups"));
    }
    let mut roles = BTreeSet::new();
    for word in words(entry, "roles", &mut problem) {
        match word.parse::<Role>() {
            Ok(role) => drop(roles.insert(role)),
            Err(error) => problem(error.to_string()),
        }
    }
    let groups = words(entry, "groups", &mut problem);
    if groups.iter().any(|group| group == "*") {
        problem("group \"*\" would make them everybody's reviewer; name the groups".to_owned());
    }
    match known {
        Ok(person) => Some(LocalPerson { person, groups, roles }),
        Err(error) => {
            problem(error.to_string());
            None
        }
    }
}

fn words(entry: &Table, key: &str, problem: &mut impl FnMut(String)) -> Vec<String> {
    let Some(value) = entry.get(key) else { return Vec::new() };
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    if value.as_array().is_none_or(|list| list.len() != words.len()) {
        problem(format!("{key} must be a list of texts"));
    }
    words
}

impl Identity {
    /// Makes exactly these people known, and writes a first token for each who has none into `folder`.
    ///
    /// # Errors
    /// When the store does not answer, or a token cannot be written.
    pub async fn adopt_people(&self, people: Vec<LocalPerson>, folder: &Path) -> Result<(), PeopleError> {
        let known: BTreeSet<_> = people.iter().map(|person| person.person.clone()).collect();
        self.forget_others(&known, BY).await.map_err(TokenError::from)?;
        private_folder(folder)?;
        for person in people {
            let who = person.person.clone();
            self.put_local_person(person, BY).await.map_err(TokenError::from)?;
            if !self.has_live_token(&who).await? {
                let token = self.bootstrap_token(who.clone(), "first token", FIRST_TOKEN, BY).await?;
                let file = folder.join(file_name(&who, "token"));
                let _ = fs::remove_file(&file);
                private_file(&file, token.token.as_bytes())?;
                tracing::info!(person = %who, file = %file.display(), "wrote a first token; hand it over and remove it");
            }
        }
        Ok(())
    }
}

impl Identity {
    /// Makes a person an admin of this installation's own, and writes a link into `folder` that signs them in
    /// once. For whoever starts the process; no request leads here.
    ///
    /// # Errors
    /// When the store does not answer, or the link cannot be written.
    pub async fn bootstrap_admin(&self, person: PersonId, folder: &Path) -> Result<PathBuf, PeopleError> {
        let known = self.0.people.local_person(&person).await.map_err(TokenError::from)?;
        let (groups, roles) = known.map_or_else(Default::default, |known| (known.groups, known.roles));
        let roles = roles.iter().filter_map(|role| role.parse().ok()).chain([Role::Admin]).collect();
        let admin = LocalPerson { person: person.clone(), groups, roles };
        self.put_local_person(admin, COMMAND_LINE).await.map_err(TokenError::from)?;
        let path = self.bootstrap_link(person.clone(), COMMAND_LINE).await?;
        private_folder(folder)?;
        let file = folder.join(file_name(&person, "link"));
        private_file(&file, format!("{}{path}\n", self.0.providers.base()).as_bytes())?;
        Ok(file)
    }
}

/// A person's name as a file's: what could lead elsewhere is replaced.
fn file_name(person: &PersonId, ending: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '@' | '-' | '_') { c } else { '_' };
    person.as_str().chars().map(|c| if c == '.' { c } else { safe(c) }).collect::<String>() + "." + ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_valid() {
        let people = parse(include_str!("../../../../config/people.toml")).unwrap();
        assert!(people.iter().any(|person| person.roles.contains(&Role::Admin)));
    }

    #[test]
    fn every_mistake_is_reported_and_nobody_is_in_every_group() {
        let problems =
            parse("[\"two words\"]\nroles = [\"king\"]\n[\"a@b\"]\ngroups = [\"*\"]\ncolour = \"red\"\n")
                .unwrap_err();
        assert_eq!(problems.0.len(), 4, "{problems}");
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        assert_eq!(file_name(&"../../etc/x".parse().unwrap(), "token"), ".._.._etc_x.token");
    }
}
