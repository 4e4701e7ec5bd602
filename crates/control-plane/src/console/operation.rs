//! What is to be done, as markup: the headline, the command, the arguments, what changes, and all of it.

use maud::{Markup, html};

use super::text::shown;
use crate::review::{
    Command, Difference, Fate, Headline, Labelled, Line, Review, Shown, Target, Verb, Whole, Word,
};

/// The action in words, and whether it touches production.
pub(crate) fn headline(review: &Review) -> Markup {
    html! {
        @if review.is_production { span.tag.production { "Production" } " " }
        (action(&review.headline))
    }
}

/// The action in words.
pub(crate) fn action(headline: &Headline) -> Markup {
    html! {
        @match &headline.verb {
            Verb::Ours(verb) => span { (verb) },
            Verb::Named { action, kind } => { span.named { (shown(action)) } " " span.kind { (shown(kind)) } }
        }
        " " span.target { (shown(&headline.target)) }
    }
}

/// What will run: the command line with its directory and variables, what changes, and the arguments.
pub(crate) fn summary(review: &Review) -> Markup {
    html! {
        @if let Some(line) = &review.command { (command(line)) }
        @for change in &review.differences { (difference(change)) }
        @if !review.arguments.is_empty() { (arguments(review)) }
        @if review.command.is_none() && review.arguments.is_empty() && review.differences.is_empty() {
            p.quiet { "No arguments." }
        }
    }
}

/// The arguments; folded away where a difference tells of them already.
fn arguments(review: &Review) -> Markup {
    html! {
        @if review.differences.is_empty() {
            (members(&review.arguments))
        } @else {
            details.fold { summary { "The arguments" } (members(&review.arguments)) }
        }
    }
}

/// What is known of what it is done to.
pub(crate) fn labels(target: &Target) -> Markup {
    let is_plain = |label: &&Labelled| !matches!(label.value, Shown::List(_) | Shown::Members(_));
    let (plain, nested): (Vec<_>, Vec<_>) = target.labels.iter().partition(is_plain);
    html! {
        @if !plain.is_empty() || !target.known.is_empty() {
            dl.chips {
                @for Labelled { name, value } in &target.known {
                    div.known title="Policy’s own entities say so." { dt { (shown(name)) } dd { (self::value(value)) } }
                }
                @for Labelled { name, value } in plain { div { dt { (shown(name)) } dd { (self::value(value)) } } }
            }
        }
        @if !nested.is_empty() { dl.members { @for label in nested { (member(label)) } } }
    }
}

fn command(command: &Command) -> Markup {
    html! {
        div.command tabindex="0" role="group" aria-label="Command line" {
            code {
                @for (index, word) in command.words.iter().enumerate() {
                    @if index > 0 { " " }
                    (self::word(word))
                }
            }
        }
        @if !command.directory.is_empty() {
            p.quiet.small { "in " code { (shown(&command.directory)) } }
        }
        @if !command.variables.is_empty() {
            details.fold {
                summary {
                    "with variables: "
                    @for (index, variable) in command.variables.iter().enumerate() {
                        @if index > 0 { ", " }
                        (shown(&variable.name))
                    }
                }
                (members(&command.variables))
            }
        }
        @if !command.parts.is_empty() {
            div {
                p.label { "What it comes to" }
                ol.items { @for part in &command.parts { li { (action(part)) } } }
            }
        }
    }
}

fn word(word: &Word) -> Markup {
    if word.is_redacted { redacted(&shown(&word.text)) } else { shown(&word.text) }
}

/// What stands where the sidecar took a secret out.
fn redacted(text: &Markup) -> Markup {
    html! { span.redacted title="The sidecar took a secret out here. The digest covers it." { (text) } }
}

/// What would be different afterwards.
pub(crate) fn difference(difference: &Difference) -> Markup {
    html! {
        figure.diff {
            figcaption {
                span.of { @match &difference.of { Some(of) => (shown(of)), None => "What changes" } }
                @if !difference.is_too_long {
                    span.added { "+" (difference.added) span.visually-hidden { " lines added" } }
                    span.removed { "−" (difference.removed) span.visually-hidden { " lines removed" } }
                }
            }
            @if difference.is_too_long {
                p.quiet.small { "Too long to be compared here. Both sides are in the whole operation." }
            } @else {
                div.lines tabindex="0" role="group" aria-label="Changed lines" {
                    @for line in &difference.lines { (self::line(line)) }
                }
            }
            @if difference.more > 0 {
                p.quiet.small { (difference.more) " more lines are in the whole operation." }
            }
        }
    }
}

fn line(line: &Line) -> Markup {
    let (class, sign, word) = match line.fate {
        Fate::Same => ("same", " ", ""),
        Fate::Removed => ("removed", "−", "removed: "),
        Fate::Added => ("added", "+", "added: "),
        Fate::Gap => {
            return html! { div.gap { "⋯" span.visually-hidden { " lines that stay are left out" } } };
        }
    };
    html! {
        div class=(class) {
            span.sign aria-hidden="true" { (sign) }
            code {
                @if !word.is_empty() { span.visually-hidden { (word) } }
                (shown(&line.text))
                @if line.is_unbroken { span.quiet { " (no line break at its end)" } }
            }
        }
    }
}

/// Everything, part by part.
pub(crate) fn whole(whole: &Whole) -> Markup {
    let id = |kind, id| html! { code { (shown(kind)) "::" (shown(id)) } };
    html! {
        dl.facts {
            dt { "Action" } dd { code { (shown(&whole.action)) } }
            dt { "Resource" } dd { (id(&whole.target.kind, &whole.target.id)) }
            dt { "Subject" } dd { (id(&whole.subject_kind, &whole.subject_id)) }
            @for (label, values) in [
                ("Arguments", &whole.arguments),
                ("Resource properties", &whole.target.labels),
                ("Subject properties", &whole.subject_labels),
                ("Context", &whole.context),
            ] {
                @if !values.is_empty() { dt { (label) } dd { (members(values)) } }
            }
            @if !whole.advisory.is_empty() {
                dt { "Not bound" }
                dd {
                    p.quiet { "These fields may change after the approval; policy says they do not matter." }
                    (items(&whole.advisory))
                }
            }
        }
    }
}

fn members(members: &[Labelled]) -> Markup {
    html! { dl.members { @for one in members { (member(one)) } } }
}

/// What has members of its own stands below its name, so that it has room.
fn member(Labelled { name, value }: &Labelled) -> Markup {
    let is_nested = matches!(value, Shown::List(_) | Shown::Members(_));
    html! { dt { (shown(name)) } dd.nested[is_nested] { (self::value(value)) } }
}

fn items(items: &[Shown]) -> Markup {
    html! { ol.items { @for item in items { li { (value(item)) } } } }
}

fn value(value: &Shown) -> Markup {
    match value {
        Shown::Text(text) if text.is_empty() => html! { span.quiet { "(empty)" } },
        Shown::Text(text) => shown(text),
        Shown::Redacted(text) => redacted(&shown(text)),
        Shown::Literal(literal) => html! { code.literal { (literal) } },
        Shown::List(list) => items(list),
        Shown::Members(inner) => members(inner),
    }
}
