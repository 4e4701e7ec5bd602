//! Microsoft Teams: cards by a Workflows webhook, which lead to the console, and a bot whose cards take votes.

mod bot;
mod card;
mod workflow;

pub use self::{bot::TeamsBotConfig, workflow::TeamsWorkflowConfig};
pub(crate) use self::{
    bot::{Bot, router},
    workflow::Workflow,
};
