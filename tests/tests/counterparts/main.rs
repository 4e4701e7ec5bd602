//! End-to-end tests with real counterparts. `cargo xtask e2e` installs them and runs this.
