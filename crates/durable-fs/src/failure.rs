//! The errors in the shape of the errors of the crates that build on this one.

use std::path::Path;

use myownllm_paths::{Class, Failure};

use crate::{DiskError, LockError};

impl Failure for DiskError {
    fn code(&self) -> &'static str {
        Self::code(self)
    }

    fn class(&self) -> Class {
        Class::Failed
    }

    fn path(&self) -> Option<&Path> {
        Some(Self::path(self))
    }

    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}

impl Failure for LockError {
    fn code(&self) -> &'static str {
        Self::code(self)
    }

    fn class(&self) -> Class {
        match self {
            Self::Held { .. } => Class::Locked,
            Self::Failed { .. } => Class::Failed,
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(self.home())
    }

    fn hint(&self) -> Option<String> {
        Self::hint(self)
    }
}
