//! The control plane's state: ports and the embedded redb store.
