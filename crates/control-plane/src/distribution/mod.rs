//! Policy on its way to sidecars: validated, stored as an immutable revision, signed, activated, pushed.

mod catalogue;
mod edition;
mod push;

pub(crate) use self::{
    catalogue::Catalogue,
    edition::{Edition, EditionError, load_edition},
    push::{Distribution, PushError},
};
