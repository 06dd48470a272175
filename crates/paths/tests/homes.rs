//! Tests the rules for homes and sockets, without a disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use myownllm_paths::camino::Utf8PathBuf;
use myownllm_paths::{
    ControlSocket, DaemonFiles, Env, HostApp, Layout, MYOWNLLM, Mode, PathResolver, PathsError, Platform,
    Resolver, Rule, Socket, check_socket,
};
use rstest::rstest;

fn resolve(env: &Env) -> Result<Layout, PathsError> {
    Resolver::default().for_platform(Platform::Linux).resolve(env)
}

/// Returns an absolute path of this platform: `/home/u` becomes `C:\home\u` on Windows, where a
/// path without a drive is not absolute. Any other text stays as it is.
fn native(path: &str) -> String {
    if cfg!(windows) && path.trim_start().starts_with('/') {
        path.replacen('/', "C:/", 1).replace('/', r"\")
    } else {
        path.to_owned()
    }
}

fn home(value: &str) -> Env {
    Env::system(Some(OsString::from(native(value))))
}

#[test]
fn every_path_of_the_layout_is_where_the_contract_says() {
    let l = resolve(&home("/home/u")).unwrap();
    let app = PathBuf::from(native("/home/u/.myownllm"));
    let daemon = app.join(".myownmesh");
    assert_eq!(l.app_home, app);
    assert_eq!(l.app_config, app.join("config.json"));
    assert_eq!(l.backups, app.join("config-backups"));
    assert_eq!(l.conversations, app.join("conversations"));
    assert_eq!(l.legacy_identity, app.join(".secrets/identity.json"));
    assert_eq!(l.legacy_custody, app.join(".secrets/custody.json"));
    assert_eq!(l.legacy_rosters, app.join("mesh/rosters"));
    assert_eq!(l.legacy_states, app.join("mesh/states"));
    assert_eq!(l.legacy_roster, app.join("mesh/roster.json"));
    assert_eq!(l.legacy_socket, app.join("daemon.sock"));
    assert_eq!(l.daemon_home, daemon);
    assert_eq!(l.daemon_config, daemon.join("config.json"));
    assert_eq!(l.daemon_identity, daemon.join(".secrets/identity.json"));
    assert_eq!(l.daemon_custody, daemon.join(".secrets/custody.json"));
    assert_eq!(l.daemon_rosters, daemon.join("mesh/rosters"));
    assert_eq!(l.daemon_states, daemon.join("mesh/states"));
    assert_eq!(l.daemon_updates, daemon.join("updates"));
    assert_eq!(l.shared_home, Path::new(&native("/home/u/.myownmesh")));
    let own = Socket::Path(native("/home/u/.myownllm/.myownmesh/daemon.sock").into());
    assert_eq!(l.socket_for_mode(Mode::OwnLlm, &ControlSocket::InHome), (own, Rule::InDaemonHome));
    let shared = Socket::Path(native("/home/u/.myownmesh/daemon.sock").into());
    assert_eq!(l.socket_for_mode(Mode::Shared, &ControlSocket::InHome), (shared, Rule::InSharedHome));
}

#[rstest]
#[case::plain("/home/u", "/home/u")]
#[case::trailing_slash("/home/u/", "/home/u")]
#[case::doubled_slashes("//home//u//", "/home/u")]
#[case::dot("/home/./u/.", "/home/u")]
#[case::dot_dot_stays("/home/x/../u", "/home/x/../u")]
#[case::root("/", "/")]
#[case::absent("/nowhere/at/all", "/nowhere/at/all")]
#[case::spaces_and_newline("/home/a b\nc", "/home/a b\nc")]
fn a_home_is_taken_as_the_system_would(#[case] given: &str, #[case] expected: &str) {
    let expected = native(expected);
    let l = resolve(&home(given)).unwrap();
    assert_eq!(l.user_home, *expected);
    assert_eq!(l.app_home, Path::new(&expected).join(".myownllm"));
    assert_eq!(l.user_home_rule, Rule::SystemHome);
    assert_eq!(resolve(&Env::explicit(native(given))).unwrap().user_home, *expected);
}

#[test]
fn an_unset_or_empty_home_says_so() {
    for env in [Env::system(None), home("")] {
        let error = resolve(&env).unwrap_err();
        assert_eq!(error.code(), "paths.no-home");
        assert!(error.to_string().contains("is not set, or empty"), "{error}");
        assert!(error.hint().unwrap().contains("--home"));
        assert!(!error.is_refusal());
    }
}

#[test]
fn a_relative_home_says_so() {
    for env in [home("home/u"), home("."), home(".."), Env::explicit("home/u"), Env::explicit("")] {
        let error = resolve(&env).unwrap_err();
        assert_eq!(error.code(), "paths.relative-home");
        assert!(error.to_string().contains("relative"), "{error}");
    }
}

/// The hint makes a second path for the home, which is UTF-8.
#[cfg(unix)]
#[test]
#[expect(clippy::disallowed_methods, reason = "a test sets its own scene")]
fn home_that_is_not_utf8_is_refused_with_a_path_that_works() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"it's 100% \"caf\xe9\" \\7$HOME"));
    std::fs::DirBuilder::new().create(&odd).unwrap();
    std::fs::File::create_new(odd.join("mine")).unwrap();
    for env in [Env::system(Some(odd.clone().into())), Env::explicit(&odd)] {
        let error = resolve(&env).unwrap_err();
        assert_eq!((error.code(), error.path()), ("paths.home-not-utf8", Some(odd.as_path())));
        assert!(error.is_refusal());
        assert!(error.to_string().ends_with(": its path is not UTF-8"), "{error}");
        let hint = error.hint().unwrap();
        let program = "myownllm-mesh --home \"$home\" status";
        assert!(hint.contains(&format!(" && {program}'")), "{hint}");
        let mut homes = Vec::new();
        for _ in 0..2 {
            let script = hint.replace(program, "printf %s \"$home\"");
            let done = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert!(done.status.success(), "{hint}: {done:?}");
            homes.push(String::from_utf8(done.stdout).unwrap());
        }
        assert_ne!(homes[0], homes[1]);
        for home in homes {
            assert!(resolve(&Env::explicit(&home)).unwrap().user_home.join("mine").metadata().is_ok());
            // The directory of the symlink is in /var/tmp, and not in `dir`.
            std::fs::remove_file(&home).unwrap();
            std::fs::remove_dir(Path::new(&home).parent().unwrap()).unwrap();
        }
    }
}

#[rstest]
#[case::used("/srv/mesh", "/srv/mesh", Rule::MeshHomeVariable)]
#[case::used_without_slash("/srv/mesh/", "/srv/mesh", Rule::MeshHomeVariable)]
#[case::empty_counts_as_unset("", "/home/u/.myownmesh", Rule::InUserHome)]
#[case::white_space_counts_as_unset(" \t\n", "/home/u/.myownmesh", Rule::InUserHome)]
#[case::trimmed_as_the_daemon_does(" /srv/mesh\n", "/srv/mesh", Rule::MeshHomeVariable)]
#[case::the_apps_home_in_white_space(
    " /home/u/.myownllm ",
    "/home/u/.myownmesh",
    Rule::MeshHomeVariableInsideApp
)]
#[case::relative("mesh", "/home/u/.myownmesh", Rule::MeshHomeVariableRelative)]
#[case::the_apps_home("/home/u/.myownllm", "/home/u/.myownmesh", Rule::MeshHomeVariableInsideApp)]
#[case::the_apps_home_by_slash("/home/u//.myownllm/", "/home/u/.myownmesh", Rule::MeshHomeVariableInsideApp)]
#[case::the_apps_home_by_dots(
    "/home/u/x/../.myownllm",
    "/home/u/.myownmesh",
    Rule::MeshHomeVariableInsideApp
)]
#[case::inside("/home/u/.myownllm/.myownmesh", "/home/u/.myownmesh", Rule::MeshHomeVariableInsideApp)]
#[case::a_name_that_only_begins_alike("/home/u/.myownllm2", "/home/u/.myownllm2", Rule::MeshHomeVariable)]
#[case::above("/home/u", "/home/u", Rule::MeshHomeVariable)]
#[case::by_case_on_linux("/home/u/.MyOwnLLM", "/home/u/.MyOwnLLM", Rule::MeshHomeVariable)]
fn the_daemons_variable_decides_about_the_shared_home_alone(
    #[case] value: &str,
    #[case] shared: &str,
    #[case] rule: Rule,
) {
    let shared = native(shared);
    let env = home("/home/u").with_variable("MYOWNMESH_HOME", native(value));
    let l = resolve(&env).unwrap();
    assert_eq!(l.shared_home, *shared);
    assert_eq!(l.shared_home_rule, rule);
    assert_eq!(l.shared_socket, Path::new(&shared).join("daemon.sock"));
    // Own mode never reads the variable.
    assert_eq!(l.daemon_home, Path::new(&native("/home/u/.myownllm/.myownmesh")));
}

#[test]
fn letter_case_does_not_count_where_the_file_system_ignores_it() {
    let env = home("/home/u").with_variable("MYOWNMESH_HOME", native("/HOME/u/.MyOwnLLM/x"));
    let l = Resolver::default().for_platform(Platform::MacOs).resolve(&env).unwrap();
    assert_eq!(l.shared_home_rule, Rule::MeshHomeVariableInsideApp);
}

#[cfg(unix)]
#[test]
fn a_variable_that_the_daemon_could_not_read_is_passed_over() {
    use std::os::unix::ffi::OsStringExt;
    let env = home("/home/u").with_variable("MYOWNMESH_HOME", OsString::from_vec(b"/srv/\xff".to_vec()));
    let l = resolve(&env).unwrap();
    assert_eq!(
        (l.shared_home.as_std_path(), l.shared_home_rule),
        (Path::new("/home/u/.myownmesh"), Rule::MeshHomeVariableNotText)
    );
}

#[test]
fn an_explicit_home_ignores_the_variable() {
    let user_home = native("/mnt/disk/home/u");
    let env = Env::explicit(&user_home).with_variable("MYOWNMESH_HOME", native("/srv/mesh"));
    let l = resolve(&env).unwrap();
    assert_eq!(l.user_home_rule, Rule::ExplicitHome);
    assert_eq!(l.shared_home, Path::new(&user_home).join(".myownmesh"));
    for entry in l.entries() {
        assert!(entry.path.starts_with(&user_home), "{} leads elsewhere", entry.name);
    }
}

#[test]
fn a_control_socket_of_the_daemons_config_wins_when_it_is_absolute() {
    let l = resolve(&home("/home/u")).unwrap();
    for mode in [Mode::OwnLlm, Mode::Shared] {
        let named = Utf8PathBuf::from(native("/run/m.sock"));
        let (socket, rule) = l.socket_for_mode(mode, &ControlSocket::Named(named.clone()));
        assert_eq!((socket, rule), (Socket::Path(named), Rule::ControlSocket));
        for ignored in ["m.sock", "", "./m.sock", "/run/", "/run/..", "/run/.", "/", "/run/m\0.sock"] {
            let got = l.socket_for_mode(mode, &ControlSocket::Named(native(ignored).into()));
            assert_eq!(got, l.socket_for_mode(mode, &ControlSocket::InHome), "{ignored:?}");
        }
    }
}

#[test]
fn windows_has_one_pipe_for_every_mode() {
    let l = Resolver::default().for_platform(Platform::Windows).resolve(&home("/home/u")).unwrap();
    for mode in [Mode::OwnLlm, Mode::Shared] {
        let (socket, rule) = l.socket_for_mode(mode, &ControlSocket::Named("/run/m.sock".into()));
        assert_eq!((&socket, rule), (&Socket::Pipe("myownmesh.sock".into()), Rule::Pipe));
        assert_eq!(socket.to_string(), r"\\.\pipe\myownmesh.sock");
        check_socket(&socket, Platform::Windows, "c".into()).unwrap();
    }
}

#[rstest]
#[case::linux(Platform::Linux, 107)]
#[case::macos(Platform::MacOs, 103)]
fn a_socket_path_may_be_as_long_as_the_kernels_address(#[case] platform: Platform, #[case] limit: usize) {
    let of = |length: usize| Socket::Path(Utf8PathBuf::from(format!("/{}", "s".repeat(length - 1))));
    check_socket(&of(limit), platform, "/d/config.json".into()).unwrap();
    let error = check_socket(&of(limit + 1), platform, "/d/config.json".into()).unwrap_err();
    assert_eq!(error.code(), "paths.socket-too-long");
    assert!(error.is_refusal());
    let text = format!("{error} {}", error.hint().unwrap());
    for part in [(limit + 1).to_string(), limit.to_string(), "/d/config.json".into(), "control_socket".into()]
    {
        assert!(text.contains(&part), "{part} is missing in: {text}");
    }
}

#[test]
fn the_length_is_counted_in_bytes() {
    let socket = Socket::Path(Utf8PathBuf::from(format!("/{}", "ü".repeat(60))));
    let Err(PathsError::SocketTooLong { length, .. }) = check_socket(&socket, Platform::Linux, "c".into())
    else {
        panic!("121 bytes went through")
    };
    assert_eq!(length, 121);
}

#[test]
fn a_sibling_app_brings_its_own_names() {
    let other = HostApp::new("OtherApp", "otherapp-mesh", ".otherapp", "state/mesh");
    let l = Resolver::new(other).for_platform(Platform::Linux).resolve(&home("/home/u")).unwrap();
    assert_eq!(l.app_config, *native("/home/u/.otherapp/config.json"));
    assert_eq!(l.daemon_socket, *native("/home/u/.otherapp/state/mesh/daemon.sock"));
}

/// The rules of another crate: a portable edition keeps its files beside its program, and asks the
/// stand-alone daemon of the user.
struct Portable(Utf8PathBuf);

impl PathResolver for Portable {
    fn resolve(&self, env: &Env) -> Result<Layout, PathsError> {
        let names = Resolver::new(HostApp::new("Notes", "notes-mesh", ".notes", "mesh-home"));
        let of_user = names.resolve(env)?;
        names.layout(
            (self.0.clone(), Rule::ExplicitHome),
            (of_user.shared_home.clone(), of_user.shared_home_rule),
        )
    }
}

#[test]
fn resolver_of_another_crate_can_be_written() {
    let resolve = |at: &str| {
        let resolver: &dyn PathResolver = &Portable(native(at).into());
        resolver.resolve(&home("/home/u"))
    };
    let layout = resolve("/media/stick").unwrap();
    assert_eq!(layout.daemon_identity, *native("/media/stick/.notes/mesh-home/.secrets/identity.json"));
    assert_eq!(layout.shared_home, *native("/home/u/.myownmesh"));
    // A hint leads to the home that the caller named, and is short for the user's own.
    assert!(layout.program.starts_with("notes-mesh --home "), "{}", layout.program);
    assert!(layout.program.contains(&*native("/media/stick")), "{}", layout.program);
    assert_eq!(Resolver::default().resolve(&home("/home/u")).unwrap().program, "myownllm-mesh");
    assert_eq!((layout.user_home_rule, layout.shared_home_rule), (Rule::ExplicitHome, Rule::InUserHome));
    // The checks of the names and of the homes are not left to the other crate.
    let error = resolve("media/stick").unwrap_err();
    assert_eq!(error.code(), "paths.relative-home");
    assert!(error.to_string().ends_with("a relative path (from the resolver)"), "{error}");
    let taken = Resolver::new(HostApp::new("Notes", "notes-mesh", ".notes", "mesh"));
    let homes = (layout.user_home.clone(), Rule::ExplicitHome);
    let error = taken.layout(homes, (layout.shared_home.clone(), Rule::InUserHome)).unwrap_err();
    assert_eq!(error.code(), "paths.host-app");
}

/// A sibling app that takes MyOwnLLM's names and forgets one would repair and move MyOwnLLM's
/// files.
#[rstest]
#[case::the_home(".myownllm")]
#[case::inside_the_home(".myownllm/notes")]
fn another_app_in_the_home_of_myownllm_is_refused(#[case] app_dir: &'static str) {
    let notes = HostApp { name: "Notes".into(), app_dir: app_dir.into(), ..MYOWNLLM };
    let error = Resolver::new(notes).resolve(&home("/home/u")).unwrap_err();
    assert_eq!(error.code(), "paths.host-app");
    assert!(error.to_string().contains("app_dir"), "{error}");
    // MyOwnLLM itself may ship another program. In a directory of its home it would get a second key.
    let ours = HostApp { program: "my".into(), app_dir: app_dir.into(), ..MYOWNLLM };
    assert_eq!(Resolver::new(ours).resolve(&home("/home/u")).is_ok(), app_dir == ".myownllm");
}

#[rstest]
#[case::empty("")]
#[case::absolute("/mesh")]
#[case::upwards("../mesh")]
#[case::upwards_inside("a/../..")]
#[case::itself(".")]
fn a_name_that_leads_elsewhere_is_refused(#[case] name: &'static str) {
    let odd = HostApp { daemon_dir: name.into(), ..MYOWNLLM };
    let error = Resolver::new(odd).resolve(&home("/home/u")).unwrap_err();
    assert_eq!(error.code(), "paths.host-app");
    assert!(error.to_string().contains("daemon_dir"), "{error}");
}

fn notes() -> HostApp {
    HostApp::new("Notes", "notes-mesh", ".notes", "mesh-home")
}

/// The daemon's files in the app's home could not move into themselves, and the app's files among
/// them would move too.
#[rstest]
#[case::the_daemons_mesh(HostApp { daemon_dir: "mesh".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::in_the_daemons_mesh(HostApp { daemon_dir: "mesh/home".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_daemons_rosters(HostApp { daemon_dir: "mesh/rosters".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_daemons_secrets(HostApp { daemon_dir: ".secrets".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_daemons_updates(HostApp { daemon_dir: "updates".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_daemons_socket(HostApp { daemon_dir: "daemon.sock".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_config(HostApp { daemon_dir: "config.json".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_backups(HostApp { daemon_dir: "config-backups/mesh".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::the_conversations(HostApp { daemon_dir: "conversations".into(), ..MYOWNLLM }, "daemon_dir")]
#[case::backups_among_the_rosters(HostApp { backups_dir: "mesh/rosters".into(), ..MYOWNLLM }, "backups_dir")]
#[case::config_among_the_states(HostApp { config_file: "mesh/states/app.json".into(), ..MYOWNLLM },
    "config_file")]
#[case::conversations_above_the_mesh(HostApp { conversations_dir: "mesh".into(), ..MYOWNLLM },
    "conversations_dir")]
#[case::shared_home_as_the_apps(HostApp::new("Notes", "notes-mesh", ".myownmesh", "home"), "app_dir")]
#[case::name_of_myownllm(HostApp { app_dir: ".notes".into(), ..MYOWNLLM }, "name")]
#[case::program_of_myownllm(HostApp::new("Notes", "myownllm-mesh", ".notes", "home"), "program")]
#[case::shared_home_in_the_apps(HostApp { shared_dir: ".myownllm/shared".into(), ..MYOWNLLM }, "app_dir")]
#[case::home_of_myownllm_as_the_shared_one(HostApp { shared_dir: ".myownllm".into(), ..notes() }, "shared_dir")]
#[case::daemon_home_of_myownllm_as_the_shared_one(
    HostApp { shared_dir: ".myownllm/.myownmesh".into(), ..notes() }, "shared_dir")]
#[case::own_home_as_the_shared_one(HostApp { shared_dir: ".notes".into(), ..notes() }, "app_dir")]
#[case::shared_home_of_myownllm_as_the_apps(
    HostApp { app_dir: ".myownmesh".into(), shared_dir: ".notes".into(), ..notes() }, "app_dir")]
#[case::run_log_as_the_config(HostApp { config_file: "notes-mesh.log".into(), ..notes() }, "config_file")]
#[case::run_log_elsewhere(HostApp { program: "/usr/bin/notes-mesh".into(), ..notes() }, "program")]
#[case::log_of_the_daemon_as_its_config(
    HostApp { daemon_files: DaemonFiles { config: "daemon.log".into(), ..MYOWNLLM.daemon_files }, ..notes() },
    "daemon_files.config")]
#[case::no_variable(HostApp { home_variable: "A=B".into(), ..MYOWNLLM }, "home_variable")]
fn a_name_with_another_meaning_is_refused(#[case] odd: HostApp, #[case] field: &str) {
    for platform in [Platform::Linux, Platform::MacOs, Platform::Windows] {
        let error = Resolver::new(odd.clone()).for_platform(platform).resolve(&home("/home/u")).unwrap_err();
        assert_eq!(error.code(), "paths.host-app");
        assert!(
            error.to_string().starts_with(&format!("cannot use the description of the app: {field} is")),
            "{error}"
        );
    }
}

#[test]
fn a_name_that_differs_in_case_alone_is_another_where_the_system_says_so() {
    let odd = HostApp { daemon_dir: "Mesh".into(), ..MYOWNLLM };
    let on = |platform| Resolver::new(odd.clone()).for_platform(platform).resolve(&home("/home/u"));
    assert!(on(Platform::Linux).is_ok());
    assert!(on(Platform::MacOs).is_err() && on(Platform::Windows).is_err());
}

/// Every description of an app in the documents works.
#[test]
fn every_documented_app_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = [
        "crates/paths/README.md",
        "crates/paths/src/host.rs",
        "crates/paths/examples/sibling_app.rs",
        "examples/sibling-app/src/main.rs",
    ];
    let mut found = 0;
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for arguments in text.split("HostApp::new(").skip(1) {
            let strings: Vec<_> = arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            let [name, program, app_dir, daemon_dir, ..] = &strings[..] else {
                panic!("{file}: {strings:?}")
            };
            let app = HostApp::new(name.clone(), program.clone(), app_dir.clone(), daemon_dir.clone());
            Resolver::new(app).resolve(&home("/home/u")).unwrap_or_else(|error| panic!("{file}: {error}"));
            found += 1;
        }
    }
    assert!(found >= files.len(), "{found}");
}

#[path = "../examples/sibling_app.rs"]
#[allow(dead_code, reason = "its main")]
mod sibling_app;

#[test]
fn the_example_of_a_sibling_app_runs() {
    let dir = tempfile::tempdir().unwrap();
    let report = sibling_app::report(sibling_app::other_app(), &Env::explicit(dir.path())).unwrap();
    assert!(report.contains("the homes are apart; the daemon listens at"), "{report}");
}

#[test]
fn each_path_is_reported_with_the_rule_that_chose_it() {
    let l = resolve(&home("/home/u")).unwrap();
    let json = serde_json::to_value(&l).unwrap();
    assert_eq!(json.as_object().unwrap().len(), l.entries().len());
    assert_eq!(json["daemon_home"]["path"], native("/home/u/.myownllm/.myownmesh"));
    // One separator, also in names of several parts.
    assert_eq!(
        json["daemon_identity"]["path"],
        native("/home/u/.myownllm/.myownmesh/.secrets/identity.json")
    );
    assert_eq!(json["daemon_home"]["rule"], "in-app-home");
    assert_eq!(json["daemon_home"]["why"], "in the app's home");
}

#[test]
fn the_process_is_read_in_one_place() {
    // A test cannot set HOME, but reading it must not panic.
    let from_process = Resolver::default().resolve(&Env::from_process());
    match std::env::home_dir() {
        // If HOME names nothing, the password database does.
        Some(home) if cfg!(unix) && home.is_absolute() => assert_eq!(from_process.unwrap().user_home, home),
        _ => drop(from_process),
    }
}

#[cfg(feature = "serde")]
#[test]
fn paths_error_serialises_as_every_failure() {
    let error = PathsError::SocketTooLong {
        socket: "/h/s".into(),
        length: 200,
        limit: 107,
        daemon_config: "/h/config.json".into(),
    };
    let expected = serde_json::json!({
        "code": "paths.socket-too-long", "class": "refused", "path": "/h/s", "message": error.to_string(),
        "hint": "mkdir -p -m 700 /h && sh -c '${EDITOR:-vi} \"$0\"' /h/config.json", "causes": [],
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
}
