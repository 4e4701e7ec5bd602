//! `countersign approvals watch` at a terminal: what waits, live, and decisions by keys.

mod draw;
mod lines;
mod state;
mod terminal;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use anyhow::Result;
use countersign_model::ApprovalId;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{
    state::{Action, Decision, Inbox, Review, Screen},
    terminal::Terminal,
};
use super::approvals::Approval;
use crate::{
    api::{Api, Page},
    cli::Common,
    output::{Paint, now, plain},
    sse::Events,
};

/// How long to wait before following anew when the stream broke off.
const RECONNECT: Duration = Duration::from_secs(2);
/// How often the time that is left is shown anew.
const TICK: Duration = Duration::from_secs(1);
/// Keys that come sooner after the question to confirm were not meant as its answer: they were typed ahead, or
/// pasted.
const TYPED_AHEAD: Duration = Duration::from_millis(400);

/// What comes from the event stream.
enum News {
    Changed,
    Lost,
}

/// Shows what waits until that is left: live at a terminal, line by line elsewhere.
pub(crate) async fn run(common: &Common, api: &Api) -> Result<()> {
    if common.json || !Terminal::is_there() {
        return lines::follow(common, api).await;
    }
    show(api).await
}

async fn show(api: &Api) -> Result<()> {
    let mut inbox = Inbox::new();
    // Before the terminal is taken over, so that a refusal is shown as any other.
    inbox.take_waiting(waiting(api).await?);
    let mut news = follow(api.clone());
    let mut terminal = Terminal::open()?;
    let (mut resized, mut ended) = (signal(SignalKind::window_change())?, signal(SignalKind::terminate())?);
    let mut tick = tokio::time::interval(TICK);
    let mut asked_at = Instant::now();
    let paint = Paint::stdout();
    loop {
        terminal.show(&draw::draw(&inbox, terminal.size(), now(), paint))?;
        tokio::select! {
            key = terminal.key() => {
                let Some(key) = key else { return Ok(()) };
                let is_confirming = matches!(inbox.screen, Screen::Confirm { .. });
                if is_confirming && asked_at.elapsed() < TYPED_AHEAD {
                    continue;
                }
                match inbox.press(key) {
                    Action::None => {}
                    Action::Quit => return Ok(()),
                    Action::Open(id, decision) => open(api, &mut inbox, id, decision).await,
                    Action::Vote { id, version, decision, reason } => {
                        inbox.note = vote(api, id, version, decision, &reason).await;
                        refresh(api, &mut inbox).await;
                    }
                }
                if !is_confirming && matches!(inbox.screen, Screen::Confirm { .. }) {
                    asked_at = Instant::now();
                    terminal.forget_keys();
                }
            }
            news = news.recv() => match news {
                Some(News::Changed) => refresh(api, &mut inbox).await,
                Some(News::Lost) | None => inbox.note = "the control plane cannot be reached; trying again".to_owned(),
            },
            _ = resized.recv() => {}
            _ = tick.tick() => {}
            _ = ended.recv() => return Ok(()),
        }
    }
}

/// Follows the event stream in the background, and connects again when it breaks off.
fn follow(api: Api) -> mpsc::Receiver<News> {
    let (tell, news) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            if let Ok(mut events) = Events::open(&api).await {
                while let Ok(Some(_)) = events.next().await {
                    // When one is waiting already it says the same.
                    if let Err(mpsc::error::TrySendError::Closed(_)) = tell.try_send(News::Changed) {
                        return;
                    }
                }
            }
            if tell.send(News::Lost).await.is_err() {
                return;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    });
    news
}

async fn waiting(api: &Api) -> Result<Vec<Approval>> {
    let query = [("state", "pending".to_owned()), ("limit", "200".to_owned())];
    let page: Page<Approval> = api.get("/api/v1/approvals", &query).await?;
    // Longest waiting first: new ones come at the end and move nothing.
    Ok(page.items.into_iter().rev().collect())
}

async fn refresh(api: &Api, inbox: &mut Inbox) {
    match waiting(api).await {
        Ok(waiting) => inbox.take_waiting(waiting),
        Err(error) => inbox.note = plain(&error.to_string()),
    }
}

async fn open(api: &Api, inbox: &mut Inbox, id: ApprovalId, decision: Option<Decision>) {
    match api.get::<Review>(&format!("/api/v1/approvals/{id}/outline"), &[]).await {
        Ok(review) => inbox.open(review, decision),
        Err(error) => inbox.note = plain(&error.to_string()),
    }
}

/// Votes on the version that was shown. Answers what came of it.
async fn vote(api: &Api, id: ApprovalId, version: u64, decision: Decision, reason: &str) -> String {
    let reason = (!reason.is_empty()).then_some(reason);
    let ballot = json!({"decision": decision.as_str(), "reason": reason});
    match api.post_if::<Value, _>(&format!("/api/v1/approvals/{id}/votes"), &ballot, version).await {
        Ok(approval) => {
            let state = approval.get("state").and_then(Value::as_str).unwrap_or_default();
            format!("your vote to {} counts; it is {} now", decision.as_str(), plain(state))
        }
        Err(error) => format!("not counted: {}", plain(&error.to_string())),
    }
}
