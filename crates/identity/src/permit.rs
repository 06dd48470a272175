//! The permit to start a daemon.

use std::path::Path;

use myownllm_durable_fs::LockedDir;

use crate::{
    look::look,
    places::Places,
    refusal::{Problem, Refusal},
};

/// Which key a daemon of this home has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// As a public key or a Device ID; `None`: the home has no key yet, so the daemon makes one.
    device: Option<String>,
}

impl Expected {
    /// This one, as a public key or a Device ID.
    #[must_use]
    pub fn key(device_id: &str) -> Self {
        Self { device: Some(device_id.to_owned()) }
    }

    /// One that the daemon makes: to be had from a look alone, which found that there is none.
    pub(crate) fn new_key() -> Self {
        Self { device: None }
    }

    /// The public key; `None` where the daemon may make one.
    #[must_use]
    pub fn public_key(&self) -> Option<&str> {
        self.device.as_deref().map(key_of)
    }

    /// The same as it was given; with the checksum, where that was known.
    #[must_use]
    pub fn device_id(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// Whether a daemon with this Device ID may serve the home. The five characters behind the dash are a checksum for people's
    /// eyes; the key before it decides.
    #[must_use]
    pub fn admits(&self, device_id: &str) -> bool {
        match self.public_key() {
            None => true,
            Some(expected) => !expected.is_empty() && expected.eq_ignore_ascii_case(key_of(device_id)),
        }
    }
}

/// The key in a Device ID of either form.
fn key_of(device_id: &str) -> &str {
    device_id.split_once('-').map_or(device_id, |(key, _)| key).trim()
}

/// The right to start a daemon in a home, as long as the lock is held.
///
/// There is none beside an identity file that has not arrived, is not sound, or is missing while somebody knows it: a daemon
/// that is started there would make a new key. [`start_permit`] alone makes one.
#[derive(Clone, Debug)]
#[must_use = "a permit is there to be used"]
pub struct StartPermit<'lock> {
    places: Places,
    expected: Expected,
    lock: &'lock LockedDir,
}

/// Looks for the identity file, under the lock of the app's home.
///
/// # Errors
///
/// Why no daemon may be started, with the ways out.
pub fn start_permit<'lock>(lock: &'lock LockedDir, places: &Places) -> Result<StartPermit<'lock>, Refusal> {
    lock.ensure_locks(&places.app.path)
        .map_err(|error| Refusal::new(Problem::OutsideLock(error), Vec::new()))?;
    let expected = look(lock, places).answer().expected()?;
    Ok(StartPermit { places: places.clone(), expected, lock })
}

impl StartPermit<'_> {
    /// The home of the daemon that may be started.
    #[must_use]
    pub fn daemon_home(&self) -> &Path {
        &self.places.daemon.path
    }

    /// The lock of the app's home, which a start of the daemon changes.
    pub fn lock(&self) -> &LockedDir {
        self.lock
    }

    /// Which key it has to have.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Looks again, right before a daemon is started. A key that a daemon which came up and failed has made meanwhile is sound.
    ///
    /// # Errors
    ///
    /// Why none may be started any more.
    pub fn check(&self) -> Result<(), Refusal> {
        let answer = look(self.lock, &self.places).answer();
        let now = answer.expected()?;
        if self.expected.device.is_none() || now == self.expected {
            return Ok(());
        }
        Err(Refusal::new(Problem::Changed { path: self.places.daemon.identity.clone() }, Vec::new()))
    }
}
