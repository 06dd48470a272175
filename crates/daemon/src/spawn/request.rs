//! The request to start a daemon.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use myownllm_identity::StartPermit;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{Candidate, Endpoint, log::log_path, process::HOME_VARIABLE};

/// The programs to start, and the home that they shall serve, for which it takes a permit:
///
/// ```compile_fail,E0308
/// use myownllm_daemon::{Candidate, Endpoint, SpawnRequest};
///
/// fn request<'l>(home: &std::path::Path, own: Endpoint, programs: Vec<Candidate>) -> SpawnRequest<'l> {
///     // wanted: SpawnRequest::new(start_permit(&lock, &layout)?, …)
///     SpawnRequest::new(home, own, programs)
/// }
/// ```
///
/// The log has its one place: the start renames what lies there.
///
/// ```compile_fail,E0616
/// # use myownllm_daemon::SpawnRequest;
/// # fn start(mut request: SpawnRequest<'_>) {
/// request.log = request.home().join(".secrets/identity.json");
/// # }
/// ```
///
/// The lock of the permit is held until the start has ended:
///
/// ```compile_fail,E0505
/// # use myownllm_daemon::{Endpoint, SpawnRequest, spawn};
/// # use myownllm_daemon::identity::start_permit;
/// # use myownllm_durable_fs::LockedDir;
/// # use myownllm_paths::CheckedLayout;
/// fn start(lock: LockedDir, layout: &CheckedLayout, own: Endpoint) {
///     let request = SpawnRequest::new(start_permit(&lock, layout).unwrap(), own, Vec::new());
///     drop(lock);
///     spawn(&request).unwrap();
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnRequest<'lock> {
    /// Names the daemon's home, which is created, 0700, if it does not exist, and the Device ID
    /// that the daemon must have.
    pub(super) permit: StartPermit<'lock>,
    /// The address at which the daemon will listen: in its home, or where its config says.
    pub endpoint: Endpoint,
    /// The programs to try, in order.
    pub candidates: Vec<Candidate>,
    /// The name of the app in the log, in the lines that name a program; `launch` by default.
    pub app: String,
    /// [`log_path`] of the home. Four previous logs are kept beside it.
    pub(super) log: Utf8PathBuf,
    /// The longest wait for the first answer of a candidate; [`SpawnRequest::READY_WITHIN`] by
    /// default.
    pub ready_within: Duration,
    /// The variable that tells the child its home; `MYOWNMESH_HOME` by default, which the child
    /// gets beside any other: a daemon that reads another variable would make a new key in another
    /// home.
    pub home_variable: OsString,
    /// Further variables for the child. [`spawn`](crate::spawn) refuses one that names a home.
    pub env: Vec<(OsString, OsString)>,
    /// Set if dropping [`Spawned`](crate::Spawned) ends the daemon; `false` by default.
    pub kill_on_drop: bool,
}

impl<'lock> SpawnRequest<'lock> {
    /// The default of [`SpawnRequest::ready_within`].
    pub const READY_WITHIN: Duration = Duration::from_secs(8);

    /// Makes a request with the default of each field. The permit is checked again before each
    /// program is started.
    pub fn new(permit: StartPermit<'lock>, endpoint: Endpoint, candidates: Vec<Candidate>) -> Self {
        Self {
            log: log_path(permit.daemon_home()),
            permit,
            endpoint,
            candidates,
            app: "launch".to_owned(),
            ready_within: Self::READY_WITHIN,
            home_variable: OsString::from(HOME_VARIABLE),
            env: Vec::new(),
            kill_on_drop: false,
        }
    }

    /// Returns true if a daemon takes its home from this variable. Windows ignores the case of a
    /// name.
    pub(super) fn is_home_variable(&self, name: &OsStr) -> bool {
        let is = |other: &OsStr| match cfg!(windows) {
            true => name.eq_ignore_ascii_case(other),
            false => name == other,
        };
        is(&self.home_variable) || is(HOME_VARIABLE.as_ref())
    }

    /// Returns the daemon's home.
    pub fn home(&self) -> &Utf8Path {
        self.permit.daemon_home()
    }
}
