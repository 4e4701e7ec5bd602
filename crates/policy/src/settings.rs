//! `bundle.toml`: the bundle's name, lease, redaction rules and audit durability.

use countersign_model::{Seconds, redaction::Redaction};
use serde::{Deserialize, Serialize};

use crate::{
    problem::Problems,
    toml_reader::{Section, read_file},
};

/// How soon a plain permit's event is on disk. (Held and denied operations are always durable first, I8.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditDurability {
    /// Within 50 ms, many at a time.
    #[default]
    Batched,
    /// Before the answer leaves the gate.
    Sync,
}

/// What `bundle.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) lease: Seconds,
    pub(crate) redaction: Redaction,
    pub(crate) durability: AuditDurability,
}

/// How long a bundle may be enforced without its control plane when it does not say.
const DEFAULT_LEASE: Seconds = Seconds::new(24 * 3600);
const LONGEST_LEASE: Seconds = Seconds::new(30 * 24 * 3600);

/// Reads `bundle.toml`. Something is returned even when problems were found, so that the rest can be checked.
pub(crate) fn read(file: &str, bytes: &[u8], problems: &mut Problems) -> Settings {
    let mut settings = Settings {
        name: String::new(),
        lease: DEFAULT_LEASE,
        redaction: Redaction::default(),
        durability: AuditDurability::default(),
    };
    read_file(file, bytes, problems, |section, problems| {
        settings.name = read_name(section, problems);
        if let Some(lease) = section.get::<Seconds>("lease", problems) {
            if lease < Seconds::new(1) || lease > LONGEST_LEASE {
                let message = format!("a lease of {lease} is not acceptable");
                problems.add(section.place_of("lease"), message, "from 1s to 720h");
            }
            settings.lease = lease;
        }
        section.table("redaction", problems, |section, problems| {
            read_redaction(&mut settings.redaction, section, problems);
        });
        section.table("audit", problems, |section, problems| {
            settings.durability = section.get("durability", problems).unwrap_or_default();
        });
    });
    settings
}

fn read_name(section: &mut Section<'_, '_>, problems: &mut Problems) -> String {
    let Some(name) = section.require::<String>("name", problems) else { return String::new() };
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        problems.add(
            section.place_of("name"),
            "this is no name for a bundle",
            "1 to 100 printable characters",
        );
    }
    name
}

fn read_redaction(redaction: &mut Redaction, section: &mut Section<'_, '_>, problems: &mut Problems) {
    if let Some(names) = section.get("names", problems) {
        redaction.names = names;
    }
    if let Some(except) = section.get("except", problems) {
        redaction.except = except;
    }
    if let Some(pointers) = section.get::<Vec<String>>("pointers", problems) {
        for pointer in pointers.iter().filter(|pointer| !pointer.starts_with('/')) {
            problems.add(
                section.place_of("pointers"),
                format!("{pointer:?} is not a JSON Pointer"),
                "write it like /action/properties/body",
            );
        }
        redaction.pointers = pointers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_gets_the_defaults() {
        let mut problems = Problems::default();
        let settings = read("bundle.toml", b"name = \"a\"", &mut problems);
        assert_eq!(problems, Problems::default());
        assert_eq!((settings.lease, settings.durability), (DEFAULT_LEASE, AuditDurability::Batched));
        assert_eq!(settings.redaction, Redaction::default());
    }

    #[test]
    fn everything_can_be_said() {
        let mut problems = Problems::default();
        let text = "name = \"a\"\nlease = \"2s\"\n[redaction]\nnames = [\"pin\"]\npointers = [\"/context/x\"]\n\
                    [audit]\ndurability = \"sync\"\n";
        let settings = read("bundle.toml", text.as_bytes(), &mut problems);
        assert_eq!(problems, Problems::default());
        assert_eq!((settings.lease, settings.durability), (Seconds::new(2), AuditDurability::Sync));
        assert_eq!(settings.redaction.names, ["pin"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut problems = Problems::default();
        let text =
            "name = \"\"\nlease = \"0s\"\n[redaction]\npointers = [\"x\"]\n[audit]\ndurability = \"never\"\n";
        read("bundle.toml", text.as_bytes(), &mut problems);
        assert_eq!(problems.len(), 4, "{problems}");
    }
}
