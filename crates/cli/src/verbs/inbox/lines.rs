//! The inbox where there is no terminal, or JSON is wanted: a line for each change.

use std::collections::HashMap;

use anyhow::Result;
use countersign_model::ApprovalId;
use serde_json::Value;

use super::RECONNECT;
use crate::{
    api::{Api, ApiError, Page},
    cli::Common,
    output::{Paint, plain, short, style_of},
    sse::Events,
    verbs::approvals::{Approval, needs, what},
};

/// Tells every change, each approval once per version.
pub(super) async fn follow(common: &Common, api: &Api) -> Result<()> {
    let mut seen: HashMap<ApprovalId, u64> = HashMap::new();
    let mut is_first = true;
    loop {
        let mut events = match Events::open(api).await {
            Ok(events) => events,
            // The first failure is told; later ones are waited out.
            Err(error) if is_first || is_refusal(&error) => return Err(error),
            Err(_) => {
                tokio::time::sleep(RECONNECT).await;
                continue;
            }
        };
        while let Ok(Some(name)) = events.next().await {
            if name == "sync" || name == "approval" {
                tell_changes(common, api, &mut seen, is_first).await?;
                is_first = false;
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ApiError>(), Some(ApiError::Refused { .. }))
}

async fn tell_changes(
    common: &Common,
    api: &Api,
    seen: &mut HashMap<ApprovalId, u64>,
    is_first: bool,
) -> Result<()> {
    let page: Page<Value> = api.get("/api/v1/approvals", &[("limit", "100".to_owned())]).await?;
    let is_pending = |value: &Value| value.get("state").and_then(Value::as_str) == Some("pending");
    if is_first && !page.items.iter().any(is_pending) {
        eprintln!("nothing waits for a decision; what comes is shown here (Ctrl-C ends this)");
    }
    for value in page.items.iter().rev() {
        let approval: Approval = serde_json::from_value(value.clone())?;
        let is_known = seen.insert(approval.id, approval.version) == Some(approval.version);
        // What was over before is of no interest now.
        if is_known || (is_first && approval.state != "pending") {
            continue;
        }
        if common.json {
            println!("{value}");
            continue;
        }
        let state = Paint::stdout().paint(style_of(&approval.state), &format!("{:<10}", approval.state));
        println!(
            "{state} {} {} {} · {}",
            approval.id,
            plain(&approval.agent),
            short(&what(&approval.operation), 80),
            needs(&approval.requirements)
        );
    }
    Ok(())
}
