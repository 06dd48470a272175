//! The permit to start a daemon.

use std::sync::Arc;

use myownllm_durable_fs::{DiskLookup, LockedDir};
use myownllm_paths::{CheckedLayout, camino::Utf8Path, check_overlap};

use crate::{
    paths::IdentityPaths,
    refusal::{Problem, Refusal, WayOut},
    scan::scan,
};

/// The key that the daemon of a home must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// A public key or a Device ID; `None` if the home has no key yet, so that the daemon creates
    /// one.
    device: Option<String>,
}

impl Expected {
    /// Expects this public key or Device ID.
    pub fn key(device_id: &str) -> Self {
        Self { device: Some(device_id.to_owned()) }
    }

    /// Expects a key that the daemon creates. Only a scan that found no key constructs this value.
    pub(crate) fn new_key() -> Self {
        Self { device: None }
    }

    /// Returns the public key; `None` if the daemon may create one.
    pub fn public_key(&self) -> Option<&str> {
        self.device.as_deref().map(key_of)
    }

    /// Returns the key as the caller passed it: with the checksum, if the caller knew it.
    pub fn device_id(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// Returns true if a daemon with this Device ID may serve the home. The five characters after
    /// the dash are a checksum for people; the key before the dash decides.
    #[must_use]
    pub fn admits(&self, device_id: &str) -> bool {
        match self.public_key() {
            None => true,
            Some(expected) => !expected.is_empty() && expected.eq_ignore_ascii_case(key_of(device_id)),
        }
    }
}

/// Returns the key of a Device ID in either form.
fn key_of(device_id: &str) -> &str {
    device_id.split_once('-').map_or(device_id, |(key, _)| key).trim()
}

/// The right to start a daemon in a home while the lock is held.
///
/// No permit exists if the identity file has not arrived, is not sound, or is missing while a
/// roster or state knows it: a daemon would create a new key. None exists either if the daemon home
/// is, by a symlink or a mount, the app's home or outside of it: the daemon would overwrite the
/// `config.json` there. Only [`start_permit`] creates a permit, and only while the lock is held:
///
/// ```compile_fail,E0451
/// # use myownllm_durable_fs::LockedDir;
/// # use myownllm_identity::{Expected, IdentityPaths, StartPermit};
/// fn permit(lock: &LockedDir, places: IdentityPaths) -> StartPermit<'_> {
///     StartPermit { places, expected: Expected::key("mine"), lock } // wanted: start_permit(lock, &layout)?
/// }
/// ```
///
/// ```compile_fail,E0505
/// # use myownllm_durable_fs::LockedDir;
/// # use myownllm_identity::start_permit;
/// # use myownllm_paths::CheckedLayout;
/// fn start(lock: LockedDir, layout: &CheckedLayout) {
///     let permit = start_permit(&lock, layout).unwrap();
///     drop(lock);
///     println!("{permit:?}"); // wanted: the lock is held until the daemon has answered
/// }
/// ```
///
/// A layout that nobody has checked may give the daemon the app's home:
///
/// ```compile_fail,E0308
/// # use myownllm_durable_fs::LockedDir;
/// # use myownllm_identity::start_permit;
/// # use myownllm_paths::Layout;
/// fn start(lock: &LockedDir, layout: &Layout) {
///     start_permit(lock, layout).unwrap(); // wanted: start_permit(lock, &CheckedLayout::new(…)?)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a permit is there to be used"]
pub struct StartPermit<'lock> {
    places: IdentityPaths,
    expected: Expected,
    lock: &'lock LockedDir,
}

/// Looks for the identity file, under the lock of the app's home. Also checks that the daemon home
/// is still a directory of its own.
///
/// # Errors
/// Returns the reason why no daemon may be started, with the ways out.
pub fn start_permit<'lock>(
    lock: &'lock LockedDir,
    layout: &CheckedLayout,
) -> Result<StartPermit<'lock>, Refusal> {
    permit(lock, IdentityPaths::of(layout))
}

fn permit(lock: &LockedDir, places: IdentityPaths) -> Result<StartPermit<'_>, Refusal> {
    lock.ensure_locks(places.app.path.as_std_path())
        .map_err(|error| Refusal::new(Problem::OutsideLock(error), Vec::new()))?;
    let expected = expected(lock, &places)?;
    Ok(StartPermit { places, expected, lock })
}

fn expected(lock: &LockedDir, places: &IdentityPaths) -> Result<Expected, Refusal> {
    let daemon_home = &places.daemon.path;
    // Looks through the lock, so that the homes that are compared are those that the daemon gets.
    check_overlap(&places.app.path, daemon_home, &DiskLookup(lock)).map_err(|error| {
        let path = daemon_home.into();
        let way_out = error.hint().map(|command| WayOut::SetAside { path, command });
        Refusal::new(Problem::Homes(Arc::new(error)), way_out.into_iter().collect())
    })?;
    scan(lock, places).answer().expected()
}

#[cfg(feature = "testing")]
impl<'lock> StartPermit<'lock> {
    /// Looks as [`start_permit`] does, in places that no layout has. This is for tests alone.
    ///
    /// # Errors
    /// As [`start_permit`].
    pub fn for_places(lock: &'lock LockedDir, places: &IdentityPaths) -> Result<Self, Refusal> {
        permit(lock, places.clone())
    }
}

impl StartPermit<'_> {
    /// Returns the paths of the files in the homes.
    pub fn places(&self) -> &IdentityPaths {
        &self.places
    }

    /// Returns the home of the daemon that may be started.
    pub fn daemon_home(&self) -> &Utf8Path {
        &self.places.daemon.path
    }

    /// Returns the config of the daemon, which may name the socket at which the daemon listens.
    pub fn daemon_config(&self) -> &Utf8Path {
        &self.places.daemon.config
    }

    /// Returns the lock of the app's home, which the start of a daemon changes.
    pub fn lock(&self) -> &LockedDir {
        self.lock
    }

    /// Returns the key that the daemon must have.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Looks again, right before a daemon is started. Accepts a key that was created meanwhile by a
    /// daemon that started and failed.
    ///
    /// # Errors
    /// Returns the reason why no daemon may be started any more.
    pub fn check(&self) -> Result<(), Refusal> {
        let now = expected(self.lock, &self.places)?;
        if self.expected.device.is_none() || now == self.expected {
            return Ok(());
        }
        Err(Refusal::new(Problem::Changed { path: self.places.daemon.identity.clone() }, Vec::new()))
    }
}
