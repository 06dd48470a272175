#![doc = include_str!("../README.md")]

mod bundle;
mod draw;
mod picture;
mod screen;
mod text;

pub use bundle::{Report, Section};
pub use draw::{Line, Tone};
pub use picture::{HomeView, Picture, SHOWN};
pub use screen::{Page, Screen, indented, spelled, wrap};
pub use text::{diagnostic_text, rfc3339};
