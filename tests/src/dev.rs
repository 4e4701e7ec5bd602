//! `countersign dev`: control plane and sidecar in one process, over real QUIC.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    binary::{binary, bundle},
    http::{Answer, Http},
    process::{Process, eventually},
};

/// How to start it.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// The bundle folder; the tests' own `story` when not given.
    pub bundle: Option<PathBuf>,
    /// Take the starter bundle that ships with the command instead.
    pub starter: bool,
    /// The data folder of an earlier run; a new one when not given.
    pub data: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

/// A running `countersign dev`.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    ready: Value,
    // Held so that the folder lives as long as the process.
    folder: Option<tempfile::TempDir>,
}

impl Dev {
    /// Starts it on free ports and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(options: DevOptions) -> Self {
        let folder = options.data.is_none().then(|| tempfile::tempdir().expect("a folder"));
        let data = options.data.clone().or_else(|| folder.as_ref().map(|folder| folder.path().join("data")));
        let mut command = Command::new(binary("countersign"));
        command
            .args(["dev", "--json", "--api", "0", "--link", "0", "--check", "0", "--data"])
            .arg(data.expect("a data folder"))
            .args(options.args)
            .envs(options.env);
        if !options.starter {
            command.arg("--bundle").arg(options.bundle.unwrap_or_else(|| bundle("story")));
        }
        let (process, first) = Process::start(&mut command);
        let ready: Value = serde_json::from_str(&first).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{ready}");
        Self { process, ready, folder }
    }

    /// The line it printed when it was ready.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// A text of the ready line.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap_or_default().to_owned()
    }

    /// The API as the administrator, who owns the agent.
    #[must_use]
    pub fn admin(&self) -> Http {
        Http::new(&self.text("api"), &self.text("admin_token"))
    }

    /// The API as the reviewer of that number, from 0.
    #[must_use]
    pub fn reviewer(&self, number: usize) -> Http {
        let token = self.ready["reviewers"][number]["token"].as_str().unwrap_or_default();
        Http::new(&self.text("api"), token)
    }

    /// The name of the reviewer of that number.
    #[must_use]
    pub fn reviewer_name(&self, number: usize) -> String {
        self.ready["reviewers"][number]["name"].as_str().unwrap_or_default().to_owned()
    }

    /// The sidecar's check API.
    #[must_use]
    pub fn check(&self) -> Http {
        Http::new(&self.text("check"), &self.text("check_token"))
    }

    /// One AuthZEN evaluation of an action on `Service::"payments"` by a caller of that name.
    pub async fn evaluate(&self, action: &str, context: &Value) -> Value {
        self.check().post("/access/v1/evaluation", &operation(action, context)).await.ok()
    }

    /// Asks for an approval of a denied evaluation; returns the task's id, which is the approval's.
    pub async fn request(&self, action: &str) -> String {
        let denial = self.evaluate(action, &json!({})).await;
        assert_eq!(denial["decision"], false, "{denial}");
        let mut body = operation(action, &json!({}));
        body["denial"] = json!({ "evaluation_id": denial["context"]["evaluation_id"] });
        let key = denial["context"]["evaluation_id"].as_str().unwrap_or_default().to_owned();
        let answer = self
            .check()
            .post_with("/access/v1/requests", &[("Idempotency-Key", &format!("\"{key}\""))], &body)
            .await;
        let id = answer.ok()["task"]["id"].clone();
        id.as_str().unwrap_or_else(|| panic!("a task id in {}", answer.text)).to_owned()
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

    /// `countersign` as the agent's host would run it: it knows where the sidecar's socket is.
    #[must_use]
    pub fn countersign(&self) -> Command {
        let mut command = Command::new(binary("countersign"));
        command.env("COUNTERSIGN_SOCKET", self.text("check_socket"));
        command
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

    /// SIGKILL, as a crash would be. Returns the folder, to start again in.
    #[must_use]
    pub fn kill(self) -> (PathBuf, Option<tempfile::TempDir>) {
        let data = PathBuf::from(self.text("data"));
        self.process.kill();
        (data, self.folder)
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
