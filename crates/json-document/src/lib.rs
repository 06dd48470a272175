#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

mod bytes;
mod diagnostic;
mod document;
mod edit;
mod error;
mod fragment;
mod mask_text;
pub mod masking;
mod place;
mod recover;
mod scanner;
mod secret_names;
pub mod shorten;
mod snippet;
mod source;
mod text;
mod tree;
mod value;
mod write;

pub use diagnostic::{Diagnostic, Severity};
pub use document::{Document, Parsed};
pub use edit::{Blocked, Change, SetOutcome};
pub use error::{MAX_BYTES, MAX_DEPTH, ParseError, ParseErrorKind};
pub use fragment::Fragment;
pub use place::Place;
pub use recover::{Correction, Extent, Recovered, recover, recover_all};
pub use snippet::Snippet;
pub use text::{push_pointer, trim_raw};
pub use value::{Kind, ValueRef};
