//! One approval in several places: Slack, Microsoft Teams, the console, the API, played against each other and
//! against crashes of the control plane.

mod crashes;
mod office;
mod races;
mod sockets;
