//! Sidecars and control planes over real QUIC on the loopback interface.

#![cfg(test)]

mod abuse;
mod authentication;
mod enrolment;
mod fixture;
mod life;
