//! `/history`: every request, searched by agent, state, reviewer, text and dates, page by page.

use axum::extract::State;
use countersign_approval::Phase;
use countersign_model::Seconds;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    card::state_tag,
    forms::{Params, SignedIn, day},
    layout::{Frame, Place, moment, more, nothing},
    operation::headline,
    text::shown,
};
use crate::{
    api::MAX_SEARCH,
    review::{Review, Standing},
    services::{ApprovalFilter, Page, PageRequest, Reviewed},
};

/// How many requests are on a page.
const ON_A_PAGE: usize = 40;
const DAY: Seconds = Seconds::new(86_400);

/// What is searched for, as the form sends it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct HistoryQuery {
    #[serde(default)]
    text: String,
    #[serde(default)]
    agent: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    reviewer: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    until: String,
    cursor: Option<String>,
}

impl HistoryQuery {
    fn fields(&self) -> [(&'static str, &str); 6] {
        [
            ("text", self.text.as_str()),
            ("agent", self.agent.as_str()),
            ("state", self.state.as_str()),
            ("reviewer", self.reviewer.as_str()),
            ("from", self.from.as_str()),
            ("until", self.until.as_str()),
        ]
    }

    fn is_narrow(&self) -> bool {
        self.fields().iter().any(|(_, value)| !value.is_empty())
    }

    /// What it asks for, or what to do about a field that says nothing that can be searched for.
    fn filter(&self) -> Result<ApprovalFilter, String> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let agent = given(&self.agent).map(|agent| agent.parse()).transpose();
        let reviewer = given(&self.reviewer).map(|person| person.parse()).transpose();
        if self.text.chars().count() > MAX_SEARCH {
            return Err(format!("A text to search for has at most {MAX_SEARCH} characters."));
        }
        let until = day(&self.until)?.map(|until| until.plus(DAY));
        Ok(ApprovalFilter {
            state: given(&self.state),
            agent: agent.map_err(|error: countersign_model::identity::IdentityError| error.to_string())?,
            reviewer: reviewer
                .map_err(|error: countersign_model::identity::IdentityError| error.to_string())?,
            text: given(&self.text),
            from: day(&self.from)?,
            until,
            is_decided: false,
            needs_review: false,
        })
    }
}

/// The page.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<HistoryQuery>,
) -> Result<Markup, PageError> {
    let page = PageRequest { limit: Some(ON_A_PAGE), cursor: query.cursor.clone() };
    let found = match query.filter() {
        Ok(filter) => Ok(state.services.approvals.reviews(&session.actor, &filter, &page).await?),
        Err(problem) => Err(problem),
    };
    let frame = Frame { title: "History", session: Some(&session), now: state.identity.now(), live: false };
    Ok(frame.page_in(
        Place::History,
        &html! {
            div.head { h1 { "History" } span.count { "every request, newest first" } }
            (search(&query))
            @match &found {
                Ok(page) => (results(&query, page)),
                Err(problem) => div.flash.bad role="alert" { p { (problem) } },
            }
        },
    ))
}

fn search(query: &HistoryQuery) -> Markup {
    html! {
        form.panel.pad.search method="get" action="/history" role="search" {
            div.wide {
                label for="text" { "Text" }
                input type="search" id="text" name="text" value=(query.text) maxlength=(MAX_SEARCH)
                    placeholder="in the operation, the agent’s words or the votes" autocomplete="off";
            }
            div {
                label for="agent" { "Agent" }
                input type="text" id="agent" name="agent" value=(query.agent) autocomplete="off";
            }
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "Any" }
                    @for phase in Phase::ALL {
                        option value=(phase.as_str()) selected[phase.as_str() == query.state] {
                            (Standing::of(phase).words)
                        }
                    }
                }
            }
            div {
                label for="reviewer" { "Reviewer" }
                input type="text" id="reviewer" name="reviewer" value=(query.reviewer) autocomplete="off";
            }
            div {
                label for="from" { "From" }
                input type="date" id="from" name="from" value=(query.from);
            }
            div {
                label for="until" { "Until" }
                input type="date" id="until" name="until" value=(query.until);
            }
            div.actions {
                button.primary type="submit" { "Search" }
                @if query.is_narrow() { a href="/history" { "Clear" } }
            }
        }
    }
}

fn results(query: &HistoryQuery, page: &Page<Reviewed>) -> Markup {
    html! {
        @if page.items.is_empty() && page.next.is_none() {
            @if query.is_narrow() {
                (nothing("Nothing matches", "Try fewer words, another state, or a longer time."))
            } @else {
                (nothing("No request yet", "Every operation that policy holds for people is kept here."))
            }
        } @else {
            ul.panel.rows { @for one in &page.items { li { (row(&one.review)) } } }
            @if page.items.is_empty() { p.quiet { "Nothing among these. There are older ones." } }
        }
        (more("/history", &query.fields(), page.next.as_deref()))
    }
}

fn row(review: &Review) -> Markup {
    html! {
        div.first {
            a.title href={ "/approvals/" (review.id) } { (headline(review)) }
            (state_tag(&review.standing))
        }
        div.second.quiet.small {
            span { (review.agent) }
            span { (moment(review.submitted_at)) }
            @for vote in &review.votes {
                span { @if vote.approved { "approved by " } @else { "denied by " } (shown(&vote.person)) }
            }
            @if let (true, Some(ended)) = (review.votes.is_empty(), &review.ended) { span { (shown(ended)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_asks_for_what_its_fields_say() {
        let query = HistoryQuery {
            text: " payments ".to_owned(),
            state: "denied".to_owned(),
            from: "2026-03-01".to_owned(),
            until: "2026-03-01".to_owned(),
            ..HistoryQuery::default()
        };
        let filter = query.filter().unwrap();
        assert_eq!((filter.text.as_deref(), filter.state.as_deref()), (Some("payments"), Some("denied")));
        // The last day counts as a whole.
        assert_eq!(filter.until.unwrap().millis_since(filter.from.unwrap()), DAY.as_millis());
        assert!(filter.agent.is_none() && filter.reviewer.is_none());
    }

    #[test]
    fn a_field_that_makes_no_sense_is_told() {
        for query in [
            HistoryQuery { from: "yesterday".to_owned(), ..HistoryQuery::default() },
            HistoryQuery { agent: "No Agent".to_owned(), ..HistoryQuery::default() },
            HistoryQuery { text: "x".repeat(MAX_SEARCH + 1), ..HistoryQuery::default() },
        ] {
            assert!(query.filter().is_err(), "{query:?}");
        }
    }
}
