//! Who may act at all: a full member of the bot's own tenant, as Teams knows them now. A call names the tenant of the
//! conversation, in which guests and people of other tenants can be, too.

use serde::Deserialize;

/// A member of a conversation, as the connector tells of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Member {
    aad_object_id: Option<String>,
    /// An older name of the same.
    object_id: Option<String>,
    tenant_id: Option<String>,
    user_role: Option<String>,
    user_principal_name: Option<String>,
    email: Option<String>,
}

/// Why somebody in Teams cannot act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotMember {
    /// Of another tenant, in a channel that both share for instance.
    #[error("only members of the tenant that this bot belongs to can decide")]
    Foreign,
    /// Invited into the tenant, or not signed in at all.
    #[error("guests of this tenant cannot decide")]
    Guest,
    /// Teams did not say what it takes to know.
    #[error("Microsoft Teams does not say whether this account is a full member")]
    Unknown,
}

impl Member {
    /// Whether they are the full member of the tenant with that object id. What is not said counts against them.
    pub(super) fn check(&self, object_id: &str, tenant: &str) -> Result<(), NotMember> {
        let ids = [self.aad_object_id.as_deref(), self.object_id.as_deref()];
        if !ids.contains(&Some(object_id)) || ids.iter().flatten().any(|id| *id != object_id) {
            return Err(NotMember::Unknown);
        }
        match self.tenant_id.as_deref() {
            Some(id) if id.eq_ignore_ascii_case(tenant) => {}
            Some(_) => return Err(NotMember::Foreign),
            None => return Err(NotMember::Unknown),
        }
        // A guest's principal name is made of their own address and this mark.
        let name = self.user_principal_name.as_deref();
        let is_guest = name.is_some_and(|name| name.to_ascii_uppercase().contains("#EXT#"));
        match self.user_role.as_deref() {
            _ if is_guest => Err(NotMember::Guest),
            Some("user" | "owner") => Ok(()),
            Some(_) => Err(NotMember::Guest),
            None if name.is_some() => Ok(()),
            None => Err(NotMember::Unknown),
        }
    }

    /// Their e-mail address; the name that they sign in with, which has an address's form, when they have none.
    pub(super) fn email(&self) -> Option<&str> {
        self.email.as_deref().filter(|email| !email.is_empty()).or(self.user_principal_name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(more: &Value) -> Result<(), NotMember> {
        let mut member = json!({"aadObjectId": "o-1", "tenantId": "T", "userRole": "user"});
        for (name, value) in more.as_object().unwrap() {
            member[name] = value.clone();
        }
        serde_json::from_value::<Member>(member).unwrap().check("o-1", "t")
    }

    #[test]
    fn only_full_members_of_this_tenant_act() {
        assert_eq!(check(&json!({})), Ok(()));
        assert_eq!(check(&json!({"userRole": "owner", "objectId": "o-1"})), Ok(()));
        assert_eq!(check(&json!({"aadObjectId": null, "objectId": "o-1"})), Ok(()));
        assert_eq!(check(&json!({"userRole": null, "userPrincipalName": "one@example.com"})), Ok(()));
        for (more, refused) in [
            (json!({"tenantId": "other"}), NotMember::Foreign),
            (json!({"tenantId": null}), NotMember::Unknown),
            (json!({"userRole": "guest"}), NotMember::Guest),
            (json!({"userRole": "anonymous"}), NotMember::Guest),
            (json!({"userPrincipalName": "one_example.com#EXT#@here.onmicrosoft.com"}), NotMember::Guest),
            (json!({"userRole": null}), NotMember::Unknown),
            (json!({"aadObjectId": "o-2"}), NotMember::Unknown),
            (json!({"objectId": "o-2"}), NotMember::Unknown),
            (json!({"aadObjectId": null}), NotMember::Unknown),
        ] {
            assert_eq!(check(&more), Err(refused), "{more}");
        }
    }
}
