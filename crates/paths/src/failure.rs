//! The data that every error of these crates has besides its message.

use std::{error::Error, iter, path::Path};

use serde::Serialize;

/// The kind of a failure, in ascending order of gravity. A program maps it to its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// An operation failed. The next run may succeed.
    Failed,
    /// The caller asked for something that makes no sense.
    Usage,
    /// The daemon is unreachable, busy, or dead.
    Daemon,
    /// Another process holds the lock.
    Locked,
    /// The user must decide, or correct something by hand.
    Refused,
    /// A newer version wrote the data, which this one must not change.
    Newer,
}

/// An error that a program shows. [`impl_failure`](crate::impl_failure) implements it, for an error
/// of the app too.
pub trait Failure: Error {
    /// Returns a stable code, for programs.
    fn code(&self) -> &'static str;

    /// Returns the class of the error.
    fn class(&self) -> Class;

    /// Returns the path that the error is about.
    fn path(&self) -> Option<&Path>;

    /// Returns the remedy: a command that can be copied if there is one, else a sentence.
    fn hint(&self) -> Option<String>;
}

/// A [`Failure`] as data: the one shape in which the errors of these crates serialise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FailureData {
    /// The stable code.
    pub code: &'static str,
    /// The class.
    pub class: Class,
    /// The message for a person.
    pub message: String,
    /// The path that the error is about. Bytes that are not UTF-8 are replaced.
    pub path: Option<String>,
    /// The remedy.
    pub hint: Option<String>,
    /// The causes, outermost first.
    pub causes: Vec<String>,
}

impl FailureData {
    /// Returns the data of an error.
    pub fn of(failure: &impl Failure) -> Self {
        let causes = iter::successors(failure.source(), |&cause| cause.source());
        Self {
            code: failure.code(),
            class: failure.class(),
            message: failure.to_string(),
            path: failure.path().map(|path| path.to_string_lossy().into_owned()),
            hint: failure.hint(),
            causes: causes.map(ToString::to_string).collect(),
        }
    }
}

/// Implements [`Failure`](crate::Failure) for an error by its own methods `code`, `class`, `path`
/// and `hint`; and, with `serialize`, [`Serialize`] by [`FailureData`](crate::FailureData). An
/// error of a crate that knows neither classes nor files gives its class as a function, and has no
/// path.
#[macro_export]
macro_rules! impl_failure {
    ($error:ty) => {
        $crate::impl_failure!($error, <$error>::class, |error| <$error>::path(error).into());
    };
    ($error:ty, class: $class:expr) => {
        $crate::impl_failure!($error, $class, |_| None);
    };
    ($error:ty, $class:expr, $path:expr) => {
        impl $crate::Failure for $error {
            fn code(&self) -> &'static str {
                <$error>::code(self)
            }
            fn class(&self) -> $crate::Class {
                let class: fn(&Self) -> $crate::Class = $class;
                class(self)
            }
            fn path(&self) -> Option<&std::path::Path> {
                let path: for<'e> fn(&'e Self) -> Option<&'e std::path::Path> = $path;
                path(self)
            }
            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }
        }
    };
    ($error:ty, serialize) => {
        $crate::impl_failure!($error);

        impl serde::Serialize for $error {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::FailureData::of(self), serializer)
            }
        }
    };
}

// The crate of this error comes below this one.
#[cfg(feature = "control-socket")]
crate::impl_failure!(myownllm_json_document::ParseError, class: |_| Class::Failed);
