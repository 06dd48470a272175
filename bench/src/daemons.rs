//! Stand-in daemons, and the requests to them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use integration_tests::{Builder, StandIn};
use myownllm_daemon::identity::camino::{Utf8Path, Utf8PathBuf};
use myownllm_daemon::identity::{IdentityPaths, scan, start_permit};
use myownllm_daemon::reconcile::{SavedNetwork, execute, gather, plan};
use myownllm_daemon::{
    Candidate, Client, Decision, Endpoint, Expected, Origin, Role, SpawnRequest, Status, Target, attach,
    spawn,
};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_paths::{CheckedLayout, Env, HostApp, PathResolver as _, RealLookup, Resolver};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(10);

/// A home for a daemon that logs its requests; removed on drop.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
}

/// The requests to a daemon.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The number of requests.
    pub requests: usize,
    /// The number of connections.
    pub connections: usize,
}

impl Home {
    /// Creates the home in a temporary directory, because the path of a socket must be short.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).expect("a path in UTF-8")
    }

    fn path(&self) -> Utf8PathBuf {
        self.root().join("mesh-home")
    }

    fn trace(&self, end: &str) -> PathBuf {
        self.dir.path().join(format!("trace{end}"))
    }

    fn layout(&self) -> CheckedLayout {
        let app_dir = self.root().file_name().expect("a name").to_owned();
        let resolver = Resolver::new(HostApp::new("Bench", "bench-mesh", app_dir, "mesh-home"));
        let user_home = self.root().parent().expect("a parent");
        let layout = resolver.resolve(&Env::explicit(user_home)).expect("a layout");
        CheckedLayout::new(layout, &RealLookup).expect("two homes")
    }

    fn expected(&self) -> Expected {
        scan(&RealDisk, &IdentityPaths::of(&self.layout())).answer().expected().expect("a key, or none yet")
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.path().join("daemon.sock"))
    }

    /// Starts a daemon on the home; the daemon ends when the returned value is dropped.
    #[must_use]
    pub fn start(&self, program: &Path) -> StandIn {
        Builder::new(program, self.path()).trace(self.trace("")).start().expect("a daemon")
    }

    /// Returns the requests since the last call.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let lines = |end: &str| {
            let text = std::fs::read_to_string(self.trace(end)).unwrap_or_default();
            let _ = std::fs::remove_file(self.trace(end));
            text.lines().count()
        };
        Asked { requests: lines(""), connections: lines(".connections") }
    }

    /// Finds the daemon as a launch does: a shared daemon would come first, and there is none.
    #[must_use]
    pub fn attach(&self) -> (Status, Client) {
        let shared = Target::shared(Endpoint::unix(self.root().join("shared.sock")));
        let (found, client) = attach(&[shared, Target::own(self.endpoint(), self.expected())], WITHIN);
        match (found.decision, client) {
            (Decision::Attach { status, .. }, Some(client)) => (status, client),
            (decision, _) => panic!("no daemon was found: {decision:?}"),
        }
    }

    /// Makes the minimal request: a connection, one line there, one line back.
    #[must_use]
    pub fn ask(&self) -> String {
        let mut stream = UnixStream::connect(self.path().join("daemon.sock")).expect("a connection");
        stream.write_all(b"{\"op\":\"status\"}\n").expect("asked");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        line
    }

    /// Makes this network the one that the daemon has joined. The daemon is the home's own, so
    /// other joined networks stay.
    pub fn switch(&self, network: &str) {
        let (status, mut client) = self.attach();
        let saved = SavedNetwork::new(network, network);
        let input = gather(&mut client, status, Role::Own, Some(pushed(network)), vec![saved]);
        let outcome = execute(&mut client, &plan(&input.expect("a daemon")));
        assert!(outcome.is_complete(), "{outcome:?}");
    }

    /// Starts a daemon as a launch does, and stops it. Returns the time from its first listening
    /// until the launch noticed that it is ready.
    #[must_use]
    pub fn noticed(&self, program: &Path) -> Duration {
        let candidate = Candidate::new(program, Origin::Override { variable: "BENCH_STAND_IN".to_owned() });
        let lock = RealDisk.lock(self.dir.path(), WITHIN).expect("the lock");
        let permit = start_permit(&lock, &self.layout()).expect("a permit");
        let mut request = SpawnRequest::new(permit, self.endpoint(), vec![candidate]);
        request.env = vec![("STAND_IN_TRACE".into(), self.trace("").into())];
        let daemon = spawn(&request).expect("a daemon");
        let now = SystemTime::now();
        let ready = std::fs::read_to_string(self.trace(".ready")).expect("when it was ready");
        let ready = SystemTime::UNIX_EPOCH + Duration::from_nanos(ready.parse().expect("a time"));
        daemon.stop(WITHIN).expect("its end");
        now.duration_since(ready).unwrap_or_default()
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a network in the form that the app sends to the daemon.
fn pushed(network: &str) -> Value {
    json!({
        "id": network, "network_id": network, "label": "", "kind": "open",
        "topology": { "kind": "ring", "n_preferred": null },
        "signaling": { "strategy": "nostr", "servers": [] },
        "stun_servers": [], "turn_servers": [], "auto_approve": false,
    })
}
