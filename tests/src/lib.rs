//! Cross-crate and end-to-end tests, and the stand-in daemon.
