//! See the examples folder.
