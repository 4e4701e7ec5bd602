//! What every end-to-end test does with an installation: ask, vote, redeem, look.

use serde_json::{Value, json};

use crate::{
    http::{Answer, Http},
    process::eventually,
};

/// The addresses and credentials of a running installation.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// The control plane's API.
    pub api: String,
    /// The sidecar's check API.
    pub check: String,
    /// The check API's bearer token.
    pub check_token: String,
    /// Where MCP servers are reached.
    pub mcp: String,
    /// The bearer token for that.
    pub mcp_token: String,
    /// The token of the administrator, who owns the agent.
    pub admin_token: String,
    /// Name and token of each reviewer.
    pub reviewers: Vec<(String, String)>,
}

impl Story {
    /// The API as the administrator, who owns the agent.
    #[must_use]
    pub fn admin(&self) -> Http {
        Http::new(&self.api, &self.admin_token)
    }

    /// The API as the reviewer of that number, from 0.
    #[must_use]
    pub fn reviewer(&self, number: usize) -> Http {
        Http::new(&self.api, &self.reviewers[number].1)
    }

    /// The name of the reviewer of that number.
    #[must_use]
    pub fn reviewer_name(&self, number: usize) -> String {
        self.reviewers[number].0.clone()
    }

    /// The sidecar's check API.
    #[must_use]
    pub fn check(&self) -> Http {
        Http::new(&self.check, &self.check_token)
    }

    /// One AuthZEN evaluation of an action on `Service::"payments"` by a caller of that name.
    pub async fn evaluate(&self, action: &str, context: &Value) -> Value {
        self.check().post("/access/v1/evaluation", &operation(action, context)).await.ok()
    }

    /// Asks for an approval of a denied evaluation; returns the task's id, which is the approval's.
    pub async fn request(&self, action: &str) -> String {
        self.request_with(action, &json!({})).await
    }

    /// The same for an operation that this person has set going.
    pub async fn request_for(&self, action: &str, initiator: &str) -> String {
        self.request_with(action, &json!({ "provenance": { "initiator": initiator } })).await
    }

    async fn request_with(&self, action: &str, context: &Value) -> String {
        let denial = self.evaluate(action, context).await;
        assert_eq!(denial["decision"], false, "{denial}");
        let answer = self.try_request_with(action, context, &denial).await;
        let id = answer.ok()["task"]["id"].clone();
        id.as_str().unwrap_or_else(|| panic!("a task id in {}", answer.text)).to_owned()
    }

    /// Asks for an approval of a denied evaluation, which may be refused.
    pub async fn try_request(&self, action: &str, denial: &Value) -> Answer {
        self.try_request_with(action, &json!({}), denial).await
    }

    async fn try_request_with(&self, action: &str, context: &Value, denial: &Value) -> Answer {
        let mut body = operation(action, context);
        let denied = &denial["context"];
        body["denial"] = json!({
            "evaluation_id": denied["evaluation_id"],
            "expires_at": denied["access_request"]["expires_at"],
        });
        self.check().post("/access/v1/requests", &body).await
    }

    /// The task's status, with the approval object once it is approved.
    pub async fn task(&self, id: &str) -> Value {
        self.check().get(&format!("/access/v1/requests/{id}")).await.ok()
    }

    /// Evaluates again with the approval that a task ended in, as ARAP wants it.
    pub async fn redeem(&self, action: &str, task: &Value) -> Value {
        let context = json!({ "approval": task["result"]["approval"] });
        self.evaluate(action, &context).await
    }

    /// Waits until a task has that status.
    pub async fn until_task(&self, id: &str, status: &str) -> Value {
        eventually(&format!("task {id} is {status}"), || async {
            let task = self.task(id).await;
            (task["task"]["status"] == status).then_some(task)
        })
        .await
    }

    /// The audit events of that kind, oldest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.admin().get(&format!("/api/v1/audit/events?kind={kind}&limit=200")).await.ok();
        page["items"].as_array().cloned().unwrap_or_default()
    }

    /// A vote over the API.
    pub async fn vote(&self, voter: &Http, approval: &str, decision: &str) -> Answer {
        let body = json!({ "decision": decision, "reason": "looked at it" });
        voter.post(&format!("/api/v1/approvals/{approval}/votes"), &body).await
    }

    /// Waits for the next pending approval.
    pub async fn next_pending(&self) -> Value {
        let admin = self.admin();
        eventually("an approval is asked for", || async {
            let page = admin.get("/api/v1/approvals?state=pending").await.ok();
            page["items"].get(0).cloned()
        })
        .await
    }

    /// Waits for the next pending approval and lets the reviewers of those numbers vote on it.
    pub async fn decide_next(&self, voters: &[usize], decision: &str) -> Value {
        let approval = self.next_pending().await;
        let id = approval["id"].as_str().unwrap_or_default();
        for number in voters {
            self.vote(&self.reviewer(*number), id, decision).await.ok();
        }
        approval
    }

    /// Waits until an approval is in that state.
    pub async fn until(&self, approval: &str, state: &str) -> Value {
        let admin = self.admin();
        eventually(&format!("{approval} is {state}"), || async {
            let approval = admin.get(&format!("/api/v1/approvals/{approval}")).await.ok();
            (approval["state"] == state).then_some(approval)
        })
        .await
    }

    /// Waits until the sidecar, too, knows that an approval was revoked.
    pub async fn until_revoked_at_sidecar(&self, approval: &str) {
        eventually("the sidecar knows of the revocation", || async {
            let task = self.task(approval).await;
            (task["task"]["status"] != "approved").then_some(())
        })
        .await;
    }
}

/// An AuthZEN operation.
#[must_use]
pub fn operation(action: &str, context: &Value) -> Value {
    json!({
        "subject": { "type": "Agent", "id": "some-caller" },
        "action": { "name": action },
        "resource": { "type": "Service", "id": "payments" },
        "context": context,
    })
}
