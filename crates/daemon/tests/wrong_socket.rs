//! A caller that puts the endpoint together by itself: no daemon is started at a socket at which it
//! would not listen. On Windows all daemons have one pipe, and no config names another.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

use std::time::Duration;

use myownllm_daemon::identity::start_permit;
use myownllm_daemon::{Candidate, Endpoint, HomeDaemons, Origin, SpawnError, SpawnRequest, spawn};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Homes, Migrator, MoveOutcome, Options};
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{CheckedLayout, Env, HostApp, MYOWNLLM, Mode, PathResolver, RealLookup, Resolver};
use rstest::rstest;

struct Home {
    _dir: tempfile::TempDir,
    layout: CheckedLayout,
}

impl Home {
    fn new(daemon_config: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::explicit(dir.path().canonicalize().unwrap());
        let layout = CheckedLayout::new(Resolver::default().resolve(&env).unwrap(), &RealLookup).unwrap();
        std::fs::create_dir_all(&layout.daemon_home).unwrap();
        if let Some(text) = daemon_config {
            std::fs::write(&layout.daemon_config, text).unwrap();
        }
        Self { _dir: dir, layout }
    }

    /// Tries a program that ends at once, and returns the reason why no daemon is up.
    fn start_at(&self, endpoint: Endpoint) -> SpawnError {
        let lock = RealDisk.lock(self.layout.app_home.as_ref(), Duration::from_secs(5)).unwrap();
        let permit = start_permit(&lock, &self.layout).unwrap();
        let program = Candidate::new("/bin/true", Origin::Beside);
        spawn(&SpawnRequest::new(permit, endpoint, vec![program])).unwrap_err()
    }

    /// Tries a program with a request that the caller changed.
    #[cfg(unix)]
    fn start_with(&self, program: &str, change: impl Fn(&mut SpawnRequest<'_>)) -> SpawnError {
        let lock = RealDisk.lock(self.layout.app_home.as_ref(), Duration::from_secs(5)).unwrap();
        let permit = start_permit(&lock, &self.layout).unwrap();
        let own = Endpoint::of(&self.layout, Mode::OwnLlm).unwrap();
        let mut request = SpawnRequest::new(permit, own, vec![Candidate::new(program, Origin::Beside)]);
        change(&mut request);
        spawn(&request).unwrap_err()
    }
}

const NAMED: &str = r#"{"version": 3, "daemon": {"control_socket": "/tmp/named-by-the-config.sock"}}"#;

#[cfg(unix)]
#[rstest]
#[case::config_names_a_socket(Some(NAMED), |layout: &CheckedLayout| layout.daemon_socket.clone())]
#[case::config_names_none(Some("{}"), |_: &CheckedLayout| "/tmp/elsewhere.sock".into())]
#[case::no_config(None, |_: &CheckedLayout| "/tmp/elsewhere.sock".into())]
fn start_at_a_socket_that_the_daemon_would_not_use_is_refused(
    #[case] config: Option<&str>,
    #[case] wrong: fn(&CheckedLayout) -> myownllm_paths::camino::Utf8PathBuf,
) {
    let home = Home::new(config);
    let error = home.start_at(Endpoint::unix(wrong(&home.layout)));
    assert!(matches!(error, SpawnError::OtherSocket { .. }), "{error}");
    assert_eq!(error.code(), "daemon.other-socket");
    assert!(!home.layout.daemon_home.join("daemon.log").exists(), "nothing is started");
}

#[cfg(unix)]
#[test]
fn permit_of_one_home_starts_no_daemon_for_another() {
    let (home, other) = (Home::new(None), Home::new(None));
    let error = home.start_at(Endpoint::of(&other.layout, Mode::OwnLlm).unwrap());
    assert!(matches!(error, SpawnError::OtherSocket { .. }), "{error}");
    assert!(!home.layout.daemon_home.join("daemon.log").exists(), "nothing is started");
}

/// In another home than the permit's the daemon would make a second key.
#[cfg(unix)]
#[rstest]
#[case::of_the_daemon("MYOWNMESH_HOME", "MYOWNMESH_HOME")]
#[case::of_the_app("NOTES_HOME", "NOTES_HOME")]
#[case::of_the_daemon_beside_the_apps("NOTES_HOME", "MYOWNMESH_HOME")]
fn start_with_a_home_in_the_environment_is_refused(#[case] home_variable: &str, #[case] set: &str) {
    let home = Home::new(None);
    let error = home.start_with("/bin/true", |request| {
        request.home_variable = home_variable.into();
        request.env.push((set.into(), "/elsewhere".into()));
    });
    assert!(matches!(&error, SpawnError::HomeVariable { variable } if variable == set), "{error}");
    assert_eq!(error.code(), "daemon.home-variable");
    assert!(!home.layout.daemon_home.join("daemon.log").exists(), "nothing is started");
}

#[cfg(unix)]
#[test]
fn daemon_gets_the_home_of_its_permit_by_both_variables() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new(None);
    let program = home.layout.user_home.join("program");
    std::fs::write(&program, "#!/bin/sh\necho \"$MYOWNMESH_HOME $NOTES_HOME\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = home.start_with(program.as_str(), |request| request.home_variable = "NOTES_HOME".into());
    let log = error.tried()[0].failure.as_ref().unwrap().log().join("\n");
    let daemon_home = &home.layout.daemon_home;
    assert!(log.contains(&format!("{daemon_home} {daemon_home}")), "{log}");
}

/// Another program puts another directory in the place of the app's home while the home is locked:
/// there the daemon would not find the key that its peers know.
#[cfg(unix)]
#[test]
fn start_in_another_directory_than_the_locked_one_is_refused() {
    let home = Home::new(None);
    let (app_home, rosters) = (&home.layout.app_home, &home.layout.daemon_rosters);
    let error = home.start_with("/bin/true", |_| {
        std::fs::rename(app_home, home.layout.user_home.join("former")).unwrap();
        std::fs::create_dir_all(rosters).unwrap();
        std::fs::write(rosters.join("home-mesh.json"), "{}").unwrap();
    });
    assert!(matches!(&error, SpawnError::Home { home, .. } if home.ends_with(".myownmesh")), "{error}");
    assert!(!home.layout.daemon_home.join("daemon.log").exists(), "nothing is started");
}

/// An app whose `HostApp` has a variable of its own: the daemon reads `MYOWNMESH_HOME` all the same.
#[cfg(target_os = "linux")]
#[test]
fn daemon_without_a_socket_is_found_under_any_variable_of_the_app() {
    let home = Home::new(None);
    let dir = &home.layout.user_home;
    // A shell under the daemon's name, which runs the script `serve`.
    std::fs::copy("/bin/sh", dir.join("myownmesh")).unwrap();
    std::fs::write(dir.join("serve"), "echo up\nread line\n").unwrap();
    let mut daemon = std::process::Command::new(dir.join("myownmesh"))
        .arg("serve")
        .current_dir(dir)
        .env("MYOWNMESH_HOME", &home.layout.app_home)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(daemon.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
    let mut daemons = HomeDaemons::of(&home.layout).unwrap();
    daemons.home_variable = "NOTES_HOME".to_owned();
    let found = daemons.running();
    assert!(found.len() == 1 && found[0].legacy && found[0].verified, "{found:?}");
    drop(daemon.stdin.take());
    daemon.wait().unwrap();
}

#[rstest]
#[case::named(Some(NAMED))]
#[case::in_home(None)]
fn endpoint_of_the_layout_is_the_right_one(#[case] config: Option<&str>) {
    let home = Home::new(config);
    let own = Endpoint::of(&home.layout, Mode::OwnLlm).unwrap();
    let wanted =
        config.map_or(&*home.layout.daemon_socket, |_| Utf8Path::new("/tmp/named-by-the-config.sock"));
    assert_eq!(own.path(), Some(wanted).filter(|_| cfg!(unix)));
    assert_eq!(HomeDaemons::of(&home.layout).unwrap().own, own);
    let error = home.start_at(own);
    assert!(!matches!(error, SpawnError::OtherSocket { .. }), "{error}");
}

/// A daemon that was started in the app's home listens where the overwritten config there says.
#[cfg(unix)]
#[test]
fn socket_that_an_overwritten_config_names_is_looked_at() {
    let home = Home::new(None);
    std::fs::write(&home.layout.app_config, NAMED).unwrap();
    let daemons = HomeDaemons::of(&home.layout).unwrap();
    let at: Vec<_> = daemons.legacy.iter().filter_map(Endpoint::path).collect();
    assert_eq!(at, [Utf8Path::new("/tmp/named-by-the-config.sock"), &home.layout.legacy_socket]);
}

const KEY: &str = r#"{"version":1,"created_at":"@1790000000","secret_key":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","public_key":"hnvcppgow2sc2yvdvdicu3ynonsteflxdxrehjr2ybekdc2z3iuq","label":""}"#;

/// The daemon of the moved home would go on writing there, unseen.
#[test]
fn move_that_looks_for_the_daemons_of_another_home_is_refused() {
    let (home, other) = (Home::new(None), Home::new(None));
    let identity = &home.layout.legacy_identity;
    std::fs::create_dir_all(identity.parent().unwrap()).unwrap();
    std::fs::write(identity, KEY).unwrap();
    let lock = RealDisk.lock(home.layout.app_home.as_ref(), Duration::ZERO).unwrap();
    let migrator = Migrator::new(&RealDisk, Homes::of(&home.layout));
    let run = |daemons: &HomeDaemons| migrator.run(&lock, &Options::forward(), daemons);
    let report = run(&HomeDaemons::of(&other.layout).unwrap());
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
    assert_eq!(report.refusals[0].code(), "migration.other-daemons");
    let mut blind = HomeDaemons::of(&home.layout).unwrap();
    blind.legacy.clear();
    let mut elsewhere = HomeDaemons::of(&home.layout).unwrap();
    elsewhere.own = HomeDaemons::of(&other.layout).unwrap().own;
    for daemons in [blind, elsewhere] {
        let refused = cfg!(windows) || run(&daemons).refusals[0].code() == "migration.other-daemons";
        assert!(refused && identity.exists());
    }
    assert_eq!(run(&HomeDaemons::of(&home.layout).unwrap()).outcome, MoveOutcome::Done);
}

/// A release of the app gives the daemon home another name.
#[test]
fn key_in_a_former_daemon_home_refuses_a_start() {
    let home = Home::new(None);
    let identity = &home.layout.daemon_identity;
    std::fs::create_dir_all(identity.parent().unwrap()).unwrap();
    std::fs::write(identity, KEY).unwrap();
    let lock = RealDisk.lock(home.layout.app_home.as_ref(), Duration::ZERO).unwrap();
    let resolver = Resolver::new(HostApp { daemon_dir: "mesh-two".into(), ..MYOWNLLM });
    let layout = resolver.resolve(&Env::explicit(home.layout.user_home.as_std_path())).unwrap();
    let refusal = start_permit(&lock, &CheckedLayout::new(layout, &RealLookup).unwrap()).unwrap_err();
    assert_eq!(refusal.code(), "identity.gone");
    assert!(start_permit(&lock, &home.layout).is_ok());
}
