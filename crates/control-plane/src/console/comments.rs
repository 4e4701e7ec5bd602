//! What people say about a request besides deciding it: the list on its page, and the form below.

use axum::{
    extract::{Path, State},
    response::Redirect,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    ConsoleState, PageError,
    approval::request_id,
    forms::SignedForm,
    layout::{csrf, moment},
    text::{exact, prose},
};
use crate::{
    api::MAX_REASON,
    identity::Session,
    review::{Review, Untrusted},
    services::CommentView,
};

/// The comments, and the form for another one.
pub(crate) fn panel(comments: &[CommentView], review: &Review, session: &Session) -> Markup {
    html! {
        section.panel.comments id="comments" aria-labelledby="comments-title" {
            h2 id="comments-title" { "Comments" }
            div data-region="comments" {
                @if comments.is_empty() {
                    p.quiet { "Nobody has said anything yet. A comment is for the others, and counts for nothing." }
                }
                ul.rows { @for comment in comments { li { (one(comment, review)) } } }
            }
            form.form.inset method="post" action={ "/approvals/" (review.id) "/comments" } {
                (csrf(session))
                div {
                    label for="comment" { "Add a comment" }
                    textarea id="comment" name="text" rows="2" maxlength=(MAX_REASON) required {}
                }
                div { button type="submit" { "Comment" } }
            }
        }
    }
}

fn one(comment: &CommentView, review: &Review) -> Markup {
    let person = Untrusted::exact(comment.person.as_str());
    let is_initiator = review.initiator.as_ref().is_some_and(|initiator| initiator.person == person);
    html! {
        div.second.small {
            strong { (exact(comment.person.as_str())) }
            @if person == review.owner { span.tag { "owner of the agent" } }
            @if is_initiator { span.tag { "the agent acts for them" } }
            @if comment.by_program { span.tag.unverified { "by a program of theirs" } }
            span.quiet { (moment(comment.at)) " · " (exact(&comment.channel)) }
        }
        p.words { (prose(&comment.text)) }
    }
}

/// A comment.
#[derive(Deserialize)]
pub(crate) struct CommentForm {
    text: String,
}

/// Keeps a comment, and leads back to the list.
pub(crate) async fn add(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
    SignedForm { session, form }: SignedForm<CommentForm>,
) -> Result<Redirect, PageError> {
    let id = request_id(&id)?;
    let text = required_words(&form.text, "A comment")?;
    state.services.approvals.comment(&session.actor, id, text, "console").await?;
    Ok(Redirect::to(&format!("/approvals/{id}#comments")))
}

/// Words that must be there, as they are kept: browsers send line ends in two ways.
pub(crate) fn required_words(text: &str, what: &str) -> Result<String, PageError> {
    let text = text.trim().replace("\r\n", "\n");
    if text.is_empty() || text.chars().count() > MAX_REASON {
        return Err(PageError::BadForm(format!("{what} has from 1 to {MAX_REASON} characters.")));
    }
    Ok(text)
}
