//! Who may act at all: a full member of the app's own workspace, as Slack knows them now.

use countersign_model::Timestamp;
use serde::Deserialize;

use super::api::{Own, SlackError, WebApi};
use crate::channel::lately::Lately;

/// A user, as `users.info` tells of them. What it does not say counts against them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Member {
    id: String,
    /// Unique in its workspace, unlike the name that is displayed.
    #[serde(default)]
    name: String,
    #[serde(default)]
    profile: Profile,
    team_id: Option<String>,
    deleted: Option<bool>,
    is_bot: Option<bool>,
    is_restricted: Option<bool>,
    is_ultra_restricted: Option<bool>,
    // Slack leaves these out where they are not so.
    #[serde(default)]
    is_stranger: bool,
    #[serde(default)]
    is_invited_user: bool,
    #[serde(default)]
    is_workflow_bot: bool,
}

/// What a user tells of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Profile {
    /// Told to apps with the scope `users:read.email` alone.
    email: Option<String>,
}

/// Why a Slack user cannot act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotMember {
    /// Of another workspace, in a shared channel for instance.
    #[error("only members of the workspace that this app belongs to can decide")]
    Foreign,
    /// Deactivated, or not there yet.
    #[error("this Slack account is deactivated, or was never activated")]
    Inactive,
    /// A guest, of one channel or of several.
    #[error("guests of this workspace cannot decide")]
    Guest,
    /// A program.
    #[error("a bot cannot decide")]
    Bot,
    /// Slack did not say what it takes to know.
    #[error("Slack does not say whether this account is a full member")]
    Unknown,
}

impl Member {
    /// Whether they are a full member of this workspace.
    fn check(&self, user: &str, own: &Own) -> Result<(), NotMember> {
        if self.id != user {
            return Err(NotMember::Unknown);
        }
        if self.is_stranger || self.team_id.as_deref() != Some(own.team_id.as_str()) {
            return Err(NotMember::Foreign);
        }
        if self.deleted == Some(true) || self.is_invited_user {
            return Err(NotMember::Inactive);
        }
        if self.is_restricted == Some(true) || self.is_ultra_restricted == Some(true) {
            return Err(NotMember::Guest);
        }
        // Slackbot says of itself that it is no bot.
        if self.is_bot == Some(true) || self.is_workflow_bot || user == "USLACKBOT" || user == own.user_id {
            return Err(NotMember::Bot);
        }
        let said = [self.deleted, self.is_bot, self.is_restricted, self.is_ultra_restricted];
        if said.contains(&None) { Err(NotMember::Unknown) } else { Ok(()) }
    }
}

/// Why it cannot be told whether somebody may act, or why they may not.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum MemberError {
    /// They may not.
    #[error(transparent)]
    Refused(#[from] NotMember),
    /// Slack does not answer; then nobody may.
    #[error("Slack cannot be asked about this account now; try again")]
    Unanswered(#[source] SlackError),
}

/// Who may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Colleague {
    /// How they are called in the workspace.
    pub(super) name: String,
    /// The e-mail address that they confirmed there, when Slack tells it.
    pub(super) email: Option<String>,
}

/// Asks Slack about users, and remembers for a minute what it said.
#[derive(Default)]
pub(super) struct Members(Lately<Result<Colleague, NotMember>>);

impl Members {
    /// Who clicked, if they are a full member of this workspace now.
    pub(super) async fn check(
        &self,
        api: &WebApi,
        own: &Own,
        team: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Colleague, MemberError> {
        if team != own.team_id {
            return Err(NotMember::Foreign.into());
        }
        if let Some(known) = self.0.known(user, now) {
            return Ok(known?);
        }
        let member = api.member(user).await.map_err(MemberError::Unanswered)?;
        let colleague = |()| Colleague { name: member.name.clone(), email: member.profile.email.clone() };
        let found = member.check(user, own).map(colleague);
        self.0.remember(user, found.clone(), now);
        Ok(found?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn own() -> Own {
        Own { team_id: "T1".to_owned(), user_id: "UBOT".to_owned() }
    }

    fn check(more: &Value) -> Result<(), NotMember> {
        let mut user = json!({
            "id": "U1", "team_id": "T1", "deleted": false, "is_bot": false, "is_restricted": false,
            "is_ultra_restricted": false,
        });
        for (name, value) in more.as_object().unwrap() {
            user[name] = value.clone();
        }
        let member: Member = serde_json::from_value(user).unwrap();
        member.check("U1", &own())
    }

    #[test]
    fn only_full_members_of_this_workspace_act() {
        assert_eq!(check(&json!({})), Ok(()));
        for (more, refused) in [
            (json!({"deleted": true}), NotMember::Inactive),
            (json!({"is_invited_user": true}), NotMember::Inactive),
            (json!({"is_restricted": true}), NotMember::Guest),
            (json!({"is_ultra_restricted": true}), NotMember::Guest),
            (json!({"is_bot": true}), NotMember::Bot),
            (json!({"is_workflow_bot": true}), NotMember::Bot),
            (json!({"is_stranger": true}), NotMember::Foreign),
            (json!({"team_id": "T2"}), NotMember::Foreign),
            (json!({"team_id": null}), NotMember::Foreign),
            (json!({"id": "U2"}), NotMember::Unknown),
            (json!({"is_restricted": null}), NotMember::Unknown),
            (json!({"deleted": null}), NotMember::Unknown),
        ] {
            assert_eq!(check(&more), Err(refused), "{more}");
        }
    }

    #[test]
    fn the_bots_of_slack_itself_and_of_this_app_are_bots() {
        let member = |id: &str| {
            let user = json!({
                "id": id, "team_id": "T1", "deleted": false, "is_bot": false, "is_restricted": false,
                "is_ultra_restricted": false,
            });
            serde_json::from_value::<Member>(user).unwrap().check(id, &own())
        };
        assert_eq!(member("USLACKBOT"), Err(NotMember::Bot));
        assert_eq!(member("UBOT"), Err(NotMember::Bot));
    }
}
