//! Chats over a real control plane, with the other side played in this process.

mod office;
mod sockets;
mod teams;
mod votes;
