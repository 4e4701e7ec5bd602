//! The API and the console over a real control plane: its store, its link, a sidecar that submits.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod authenticator;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod console;
#[cfg(test)]
mod events;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod glass;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod passkeys;
#[cfg(test)]
mod problems;
#[cfg(test)]
mod provider;
#[cfg(test)]
#[path = "../common/receiver.rs"]
mod receiver;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod votes;
#[cfg(test)]
mod words;
#[cfg(test)]
mod writes;
