//! The frame around every page.

use countersign_model::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::{assets::PATHS, forms::form_encoded};
use crate::identity::{Right, Session};

/// How often a page without script is read anew, in seconds.
const RELOAD: u32 = 20;

/// What stands around a page's content.
pub(crate) struct Frame<'a> {
    /// The page's title, without the product's name.
    pub(crate) title: &'a str,
    /// Who is signed in.
    pub(crate) session: Option<&'a Session>,
    /// The time, for the countdowns.
    pub(crate) now: Timestamp,
    /// Whether the page changes while it is looked at.
    pub(crate) live: bool,
}

/// A part of the console that the bar at the top leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Inbox,
    History,
    Agents,
    Policies,
    Channels,
    Settings,
    /// The person's own page, which their name leads to.
    You,
    /// None of them.
    Elsewhere,
}

/// What the bar at the top leads to.
const PLACES: [(Place, &str, &str, Right); 6] = [
    (Place::Inbox, "/", "Inbox", Right::Read),
    (Place::History, "/history", "History", Right::Read),
    (Place::Agents, "/agents", "Agents", Right::Read),
    (Place::Policies, "/policies", "Policies", Right::Read),
    (Place::Channels, "/channels", "Channels", Right::Read),
    (Place::Settings, "/settings", "Settings", Right::Admin),
];

impl Frame<'_> {
    /// The whole page.
    pub(crate) fn page(&self, content: &Markup) -> Markup {
        self.page_in(Place::Elsewhere, content)
    }

    /// The whole page, which is in a part of the console.
    pub(crate) fn page_in(&self, place: Place, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (self.title) " · Countersign" }
                    link rel="icon" type="image/svg+xml" href=(PATHS.icon);
                    link rel="stylesheet" href=(PATHS.style);
                    @if self.live { noscript { meta http-equiv="refresh" content=(RELOAD); } }
                    script src=(PATHS.script) defer {}
                    @if self.session.is_some() { script src=(PATHS.passkey) defer {} }
                }
                body data-now=(self.now) {
                    a.skip href="#content" { "Skip to content" }
                    @if let Some(session) = self.session { (bar(session, self.live, place)) }
                    main id="content" tabindex="-1" { (content) }
                    @if self.live { (keys()) }
                }
            }
        }
    }
}

fn bar(session: &Session, live: bool, place: Place) -> Markup {
    html! {
        header.bar {
            div {
                (brand())
                nav.places aria-label="Console" {
                    ul {
                        @for (one, path, name, _) in PLACES.iter().filter(|place| session.actor.may(place.3)) {
                            li { a href=(path) aria-current=[(*one == place).then_some("page")] { (name) } }
                        }
                    }
                }
                @if live { span.live hidden role="status" {} }
                div.who {
                    a.person href="/you" title=(session.actor.person)
                        aria-current=[(place == Place::You).then_some("page")] { (session.actor.person) }
                    form method="post" action="/sign-out" {
                        (csrf(session))
                        button.plain type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

/// The product's name and mark, which lead to the inbox.
pub(crate) fn brand() -> Markup {
    html! {
        a.brand href="/" {
            (check_mark())
            span { "Countersign" }
        }
    }
}

/// Two check marks: signed, and countersigned.
pub(crate) fn check_mark() -> Markup {
    html! {
        svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"
            stroke-linejoin="round" aria-hidden="true" {
            path d="M2.5 12.8l4.6 4.6L14 7" {}
            path d="M11.6 16.4l1 1L21.5 7" {}
        }
    }
}

/// The hidden field that proves that a form is ours.
pub(crate) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

fn keys() -> Markup {
    html! {
        dialog id="keys" aria-labelledby="keys-title" {
            h2 id="keys-title" { "Keys" }
            dl {
                dt { kbd { "j" } " " kbd { "k" } } dd { "Next and previous request" }
                dt { kbd { "o" } } dd { "Open the request" }
                dt { kbd { "r" } } dd { "Write a reason" }
                dt { kbd { "x" } } dd { "Select, to decide on several together" }
                dt { kbd { "a" } " " kbd { "d" } } dd { "Go to Approve or Deny; Enter decides" }
                dt { kbd { "?" } } dd { "This list" }
            }
            form method="dialog" { button type="submit" { "Close" } }
        }
    }
}

/// A point in time, in UTC until the script shows it in the reader's zone.
pub(crate) fn moment(at: Timestamp) -> Markup {
    let text = at.to_string();
    let minutes = text.get(..16).unwrap_or(&text).replace('T', " ");
    html! { time datetime=(text) data-at="" { (minutes) " UTC" } }
}

/// A way to more of a list; nothing on its last page.
pub(crate) fn more(path: &str, query: &[(&str, &str)], next: Option<&str>) -> Markup {
    let Some(next) = next else { return html! {} };
    let kept = query.iter().filter(|(_, value)| !value.is_empty());
    let fields = kept.map(|(name, value)| format!("{name}={}&", form_encoded(value))).collect::<String>();
    html! { p.more { a.button href={ (path) "?" (fields) "cursor=" (next) } rel="next" { "Show more" } } }
}

/// A state of a page with nothing in it, designed as carefully as the others.
pub(crate) fn nothing(title: &str, explanation: &str) -> Markup {
    html! {
        div.panel.empty {
            (check_mark())
            h2 { (title) }
            p { (explanation) }
        }
    }
}

/// How long it is until a point in time.
pub(crate) fn countdown(until: Timestamp, now: Timestamp) -> Markup {
    let soon = until.millis_since(now) < 60_000;
    html! {
        time.countdown.soon[soon] datetime=(until) { (time_left(until, now)) }
    }
}

fn time_left(until: Timestamp, now: Timestamp) -> String {
    let seconds = (until.millis_since(now).max(0) + 999) / 1000;
    match (seconds / 3600, (seconds / 60) % 60, seconds % 60) {
        (0, 0, 0) => "time is over".to_owned(),
        (0, minutes, seconds) => format!("{minutes}:{seconds:02} left"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min left"),
    }
}

#[cfg(test)]
mod tests {
    use countersign_model::Seconds;

    use super::*;

    #[test]
    fn time_left_is_said_in_words_that_fit_it() {
        let now = Timestamp::from_millis(1_000_000);
        let left = |seconds| time_left(now.plus(Seconds::new(seconds)), now);
        assert_eq!(left(0), "time is over");
        assert_eq!(left(59), "0:59 left");
        assert_eq!(left(725), "12:05 left");
        assert_eq!(left(3_661), "1 h 01 min left");
        assert_eq!(time_left(now.minus(Seconds::new(5)), now), "time is over");
    }

    #[test]
    fn a_moment_says_its_zone() {
        let at = "2026-03-01T12:00:00.250Z".parse().unwrap();
        assert!(moment(at).into_string().contains(">2026-03-01 12:00 UTC<"));
    }
}
