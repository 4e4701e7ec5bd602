//! `/channels`: where reviewers are told besides the console, and whether that works.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::{Markup, html};

use super::{
    ConsoleState, PageError,
    forms::{Params, SignedForm, SignedIn},
    layout::{Frame, Place, csrf, moment, nothing},
    sign_in::Empty,
    text::{exact, prose},
};
use crate::{
    identity::{Right, Session},
    services::{ChannelError, ChannelState, ChannelView},
};

/// What has just happened.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct ChannelsQuery {
    /// The channel that has just taken a test message.
    tested: Option<String>,
}

/// The page.
pub(crate) async fn show(
    State(state): State<ConsoleState>,
    SignedIn(session): SignedIn,
    Params(query): Params<ChannelsQuery>,
) -> Result<Markup, PageError> {
    let told = query.tested.map(|name| {
        html! { div.flash.good role="status" { p { (exact(&name)) " took the test message." } } }
    });
    page(&state, &session, told.as_ref()).await
}

async fn page(state: &ConsoleState, session: &Session, flash: Option<&Markup>) -> Result<Markup, PageError> {
    let channels = state.services.channels.list(&session.actor).await?;
    let frame = Frame { title: "Channels", session: Some(session), now: state.identity.now(), live: false };
    Ok(frame.page_in(Place::Channels, &html! {
        div.head { h1 { "Channels" } span.count { "where reviewers are told, besides here" } }
        @if let Some(flash) = flash { (flash) }
        @if channels.is_empty() {
            (nothing("Only the console", "No other channel is configured. Whatever is asked, it is always here."))
        }
        div.groups { @for channel in &channels { (panel(channel, session)) } }
    }))
}

fn panel(channel: &ChannelView, session: &Session) -> Markup {
    html! {
        section.panel {
            h2.first {
                span { (exact(&channel.name)) " " span.quiet { (channel.kind) } }
                (state_tag(channel))
            }
            dl.facts.inset {
                @if let Some(since) = channel.degraded_since { dt { "Fails since" } dd { (moment(since)) } }
                @if let Some(error) = &channel.last_error { dt { "Last failure" } dd { (prose(error)) } }
                dt { "Last message taken" }
                dd { @match channel.last_success { Some(at) => (moment(at)), None => "none since the start" } }
                @if let Some(until) = channel.paused_until { dt { "Left alone until" } dd { (moment(until)) } }
                dt { "Still to be told" } dd { (channel.backlog) }
                dt { "Rooms" }
                dd {
                    @for (index, room) in channel.rooms.iter().enumerate() {
                        @if index > 0 { ", " }
                        @if room.is_empty() { "its own" } @else { (exact(room)) }
                    }
                    @if channel.rooms.is_empty() { span.quiet { "no route leads here" } }
                }
            }
            @if session.actor.may(Right::Admin) && !channel.rooms.is_empty() {
                form.inset method="post" action={ "/channels/" (channel.name) "/test" } {
                    (csrf(session))
                    button.small type="submit" { "Send a test message" }
                }
            }
        }
    }
}

fn state_tag(channel: &ChannelView) -> Markup {
    match channel.state {
        ChannelState::Healthy => html! { span.tag.good { "works" } },
        ChannelState::Degraded => html! { span.tag.bad { "fails; its fallbacks are told" } },
    }
}

/// Sends a test message.
pub(crate) async fn test(
    State(state): State<ConsoleState>,
    Path(name): Path<String>,
    SignedForm { session, .. }: SignedForm<Empty>,
) -> Result<Response, PageError> {
    match state.services.channels.test(&session.actor, &name, None).await {
        Ok(channel) => Ok(Redirect::to(&format!("/channels?tested={}", channel.name)).into_response()),
        Err(ChannelError::Failed(why)) => {
            let flash = html! { div.flash.bad role="alert" { p { "It was not taken: " (prose(&why)) } } };
            Ok((StatusCode::BAD_GATEWAY, page(&state, &session, Some(&flash)).await?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

impl From<ChannelError> for PageError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Right(missing) => Self::Forbidden(missing.to_string()),
            ChannelError::NotFound(_) => Self::NotFound,
            ChannelError::Store(error) => Self::Unavailable(error.to_string()),
            other @ (ChannelError::NoRoom | ChannelError::OtherRoom | ChannelError::Failed(_)) => {
                Self::BadForm(other.to_string())
            }
        }
    }
}
