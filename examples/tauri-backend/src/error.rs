//! The one error of the back end, which a command may return to the web view as it is.

use std::fmt;

use myownllm_launch::Diagnostic;
use serde::Serialize;

pub type Result<T> = std::result::Result<T, MeshError>;

/// `{code, message, hint, path, causes, …}` in JSON. The code is stable; the hint is a command to
/// copy.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct MeshError(pub Box<Diagnostic>);

/// Converts the error of any of the crates: `.map_err(to_mesh_error)?`.
pub fn to_mesh_error<E>(error: E) -> MeshError
where
    for<'e> Diagnostic: From<&'e E>,
{
    MeshError(Box::new(Diagnostic::from(&error)))
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for MeshError {}
