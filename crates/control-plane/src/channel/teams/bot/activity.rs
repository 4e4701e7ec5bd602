//! What the Bot Framework sends, as far as it is looked at.

use serde::Deserialize;
use serde_json::Value;

/// Something that happened.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Activity {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) channel_id: String,
    pub(super) service_url: String,
    pub(super) from: Option<Account>,
    pub(super) conversation: Option<Conversation>,
    pub(super) channel_data: Option<ChannelData>,
    pub(super) value: Option<Value>,
}

/// Who did it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    /// What Teams calls them.
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    /// The user's object id in Microsoft Entra.
    pub(super) aad_object_id: Option<String>,
}

/// Where.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conversation {
    pub(super) id: String,
    pub(super) tenant_id: Option<String>,
}

/// What Teams adds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ChannelData {
    pub(super) tenant: Option<Tenant>,
}

/// A tenant of Microsoft Entra.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tenant {
    pub(super) id: String,
}

/// A click on a card.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Click {
    pub(super) action: Action,
}

/// What was clicked.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Action {
    pub(super) verb: String,
    #[serde(default)]
    pub(super) data: ActionData,
}

/// What the card carried, and what was typed.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ActionData {
    #[serde(default)]
    pub(super) ticket: String,
    pub(super) reason: Option<String>,
}

impl Activity {
    /// The tenant in which it happened; `None` when it says none, or two.
    pub(super) fn tenant(&self) -> Option<&str> {
        let data = self.channel_data.as_ref().and_then(|data| Some(data.tenant.as_ref()?.id.as_str()));
        let conversation = self.conversation.as_ref().and_then(|place| place.tenant_id.as_deref());
        match (data, conversation) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => one.or(other),
        }
    }

    /// The room in which it happened: a conversation, without the thread in it.
    pub(super) fn room(&self) -> Option<&str> {
        self.conversation.as_ref()?.id.split(";messageid=").next()
    }

    /// The click that it is about, if it is one.
    pub(super) fn click(&self) -> Option<Click> {
        let is_click = self.kind == "invoke" && self.name == "adaptiveCard/action";
        serde_json::from_value(self.value.clone().filter(|_| is_click)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn activity(more: &Value) -> Activity {
        let mut activity = json!({
            "type": "invoke", "name": "adaptiveCard/action", "channelId": "msteams", "serviceUrl": "https://smba/",
            "from": {"id": "29:1", "aadObjectId": "o-1"},
        });
        for (name, value) in more.as_object().unwrap() {
            activity[name] = value.clone();
        }
        serde_json::from_value(activity).unwrap()
    }

    #[test]
    fn a_tenant_is_what_both_places_agree_on() {
        let tenant = |data: Value, conversation: Value| {
            let activity = activity(&json!({"channelData": data, "conversation": conversation}));
            activity.tenant().map(ToOwned::to_owned)
        };
        assert_eq!(tenant(json!({"tenant": {"id": "a"}}), json!({"id": "c"})).as_deref(), Some("a"));
        assert_eq!(tenant(json!({}), json!({"id": "c", "tenantId": "a"})).as_deref(), Some("a"));
        assert_eq!(tenant(json!({"tenant": {"id": "a"}}), json!({"id": "c", "tenantId": "b"})), None);
        assert_eq!(tenant(json!({}), json!({"id": "c"})), None);
    }

    #[test]
    fn only_an_invoke_of_a_card_is_a_click() {
        let value = json!({"action": {"type": "Action.Execute", "verb": "v", "data": {"ticket": "t"}}});
        assert_eq!(activity(&json!({"value": value})).click().unwrap().action.data.ticket, "t");
        assert!(activity(&json!({"value": value, "type": "message"})).click().is_none());
        assert!(activity(&json!({"value": value, "name": "task/fetch"})).click().is_none());
        assert!(activity(&json!({"value": "x"})).click().is_none());
        assert!(activity(&json!({})).click().is_none());
    }
}
