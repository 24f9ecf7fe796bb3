//! Models for microcontrollers.

pub mod micro;
