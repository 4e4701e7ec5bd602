//! `/policies/attention`: where reviewers' attention goes, and what would make asking needless. For those who write
//! policy; nothing is applied here.

use axum::extract::State;
use countersign_model::Seconds;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    forms::{Params, SignedIn},
    layout::nothing,
    policies::framed,
    text::{exact, prose},
};
use crate::{
    identity::Right,
    services::{AlwaysApproved, AttentionReport, PolicyAttention, ReportError, ReviewerAttention},
};

/// The periods that can be looked at, in days.
const PERIODS: [u32; 3] = [7, 30, 90];
const DAY: u32 = 24 * 60 * 60;

/// Which period.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct PeriodQuery {
    days: Option<u32>,
}

/// The report.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<PeriodQuery>,
) -> Result<Markup, PageError> {
    if !session.actor.may(Right::Policy) {
        return Err(PageError::Forbidden("This is for policy authors and admins.".to_owned()));
    }
    let days = query.days.filter(|days| PERIODS.contains(days)).unwrap_or(30);
    let since = state.identity.now().minus(Seconds::new(days * DAY));
    let report = state.services.reports.attention(&session.actor, Some(since)).await?;
    let content = html! {
        p.crumb { a href="/policies" { "← Policies" } }
        div.head { h1 { "Where attention goes" } span.count { (report.requests) " requests in the last " (days) " days" } }
        (choose(days))
        @if !report.is_complete {
            div.flash.note { p { "There are more requests than one report looks at. These are the latest, and no exception is proposed." } }
        }
        @if report.requests == 0 {
            (nothing("Nobody was asked", "No operation was held in this time."))
        } @else {
            (body(&report))
        }
    };
    Ok(framed(&state, &session, "Where attention goes", &content))
}

fn choose(days: u32) -> Markup {
    html! {
        form.filters method="get" action="/policies/attention" data-auto {
            label {
                span.visually-hidden { "Period" }
                select name="days" {
                    @for period in PERIODS { option value=(period) selected[period == days] { "Last " (period) " days" } }
                }
            }
            button.small type="submit" { "Show" }
        }
    }
}

fn body(report: &AttentionReport) -> Markup {
    html! {
        div.stack {
            section.panel {
                h2 { "By policy" }
                (policies(&report.policies))
            }
            section.panel {
                h2 { "By reviewer" }
                @if report.reviewers.is_empty() { p.quiet { "Nobody has voted in this time." } }
                @else { (reviewers(&report.reviewers)) }
            }
        }
        section.below {
            h2.plain { "Always approved" }
            p.quiet { "What nobody ever refuses, policy could permit by itself. Each exception below was tried on the record: it \
                permits all that was approved, and nothing that anybody refused. Nothing is applied." }
            @if report.always_approved.is_empty() {
                (nothing("Nothing to propose", "No requirement was approved at least five times without a refusal."))
            }
            div.stack { @for one in &report.always_approved { (always(one)) } }
        }
    }
}

fn policies(policies: &[PolicyAttention]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="By policy" {
            table {
                thead {
                    tr {
                        th scope="col" { "Policy" }
                        @for name in ["Requests", "Approved", "Denied", "Expired", "Approval rate", "Half within", "9 of 10 within"] {
                            th.number scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for one in policies {
                        tr {
                            th scope="row" { code { (exact(&one.policy)) } }
                            td.number { (one.requests) }
                            td.number { (one.approved) }
                            td.number { (one.denied) }
                            td.number { (one.expired) }
                            td.number { (share(one.approval_rate)) }
                            td.number { (span(one.median_seconds)) }
                            td.number { (span(one.p90_seconds)) }
                        }
                    }
                }
            }
        }
    }
}

fn reviewers(reviewers: &[ReviewerAttention]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label="By reviewer" {
            table {
                thead {
                    tr {
                        th scope="col" { "Reviewer" }
                        @for name in ["Votes", "Approvals", "Approval rate", "Within 5 seconds", "Half within"] {
                            th.number scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for one in reviewers {
                        tr {
                            th scope="row" { (exact(one.person.as_str())) }
                            td.number { (one.votes) }
                            td.number { (one.approvals) }
                            td.number { (share(one.approval_rate)) }
                            td.number {
                                @if one.glances > 0 { span.tag.unverified { (one.glances) } } @else { "0" }
                            }
                            td.number { (span(one.median_seconds)) }
                        }
                    }
                }
            }
        }
    }
}

fn always(one: &AlwaysApproved) -> Markup {
    html! {
        section.panel {
            h2.first {
                span { (one.requirement) }
                span.quiet.small { "approved " (one.approved) " times, never refused" }
            }
            div.inset.stack {
                @if let Some(why) = &one.no_proposal { p.quiet { "No exception is proposed: " (prose(why)) "." } }
                @for proposal in &one.proposal {
                    div {
                        p.label { "Policy " code { (exact(&proposal.policy)) } " in " code { (exact(&proposal.file)) } " would become" }
                        div.command.exact-text tabindex="0" role="group" aria-label={ "Proposed policy " (proposal.policy) } {
                            code { @for (number, line) in proposal.text.lines().enumerate() { @if number > 0 { "\n" } (exact(line)) } }
                        }
                    }
                }
            }
        }
    }
}

fn share(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.0} %", rate * 100.0))
}

fn span(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(seconds) if seconds < 60.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 3_600.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.1} h", seconds / 3_600.0),
    }
}

impl From<ReportError> for PageError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Right(missing) => Self::Forbidden(missing.to_string()),
            ReportError::Store(error) => Self::Unavailable(error),
        }
    }
}
