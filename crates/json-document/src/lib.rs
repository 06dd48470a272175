#![doc = include_str!("../README.md")]

mod diagnostic;
mod document;
mod edit;
mod error;
mod fragment;
mod recover;
mod scan;
pub mod secrets;
pub mod shorten;
mod snippet;
mod text;
mod value;
mod warnings;
mod write;

pub use diagnostic::{Diagnostic, Severity};
pub use document::{Document, MAX_BYTES, MAX_DEPTH, Parsed};
pub use edit::Change;
pub use error::{ParseError, ParseErrorKind};
pub use fragment::{Fragment, ObjectText};
pub use recover::{Extent, Mend, Recovered, recover};
pub use snippet::{Place, Snippet};
pub use text::{push_pointer, trim_raw};
pub use value::{Kind, ValueRef};
