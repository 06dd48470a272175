use std::io::ErrorKind;

use camino::Utf8Path;
use myownllm_json_document::Document;

use crate::{ControlSocket, Lookup, PathsError};

impl ControlSocket {
    /// Reads the control socket from a daemon's config.
    ///
    /// # Errors
    /// [`PathsError::Lookup`] if the config exists and cannot be read. A config that is not a
    /// regular file, or not JSON, names no socket: the daemon then listens in its home.
    pub fn read(config: &Utf8Path, lookup: &dyn Lookup) -> Result<Self, PathsError> {
        match lookup.read(config.as_ref()) {
            Ok(bytes) => Ok(Self::of_config(&bytes)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
                | ErrorKind::IsADirectory => Ok(Self::InHome),
                _ => Err(PathsError::Lookup { path: config.into(), source: error }),
            },
        }
    }

    /// Returns the control socket in the bytes of a daemon's config.
    pub fn of_config(config: &[u8]) -> Self {
        Document::parse(config).map_or(Self::InHome, |parsed| Self::of_document(&parsed.document))
    }

    /// Returns the control socket in a parsed config.
    pub fn of_document(config: &Document) -> Self {
        let value = config.get(&["daemon", "control_socket"]);
        match value.as_ref().and_then(|value| value.as_str()) {
            Some(path) => Self::Named(path.as_ref().into()),
            None => Self::InHome,
        }
    }
}
