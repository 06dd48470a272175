//! Tests the check against overlapping homes, on a real disk and on a fake one for the cases that a
//! disk here cannot show.
//!
//! Tests that make symlinks run on Unix alone: on Windows that takes a privilege.
#![cfg_attr(not(unix), allow(unused_imports, reason = "the tests of symlinks use them"))]
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test sets its own scene")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{
    CheckedLayout, Env, FileInfo, HostApp, Kind, Layout, Lookup, MYOWNLLM, Mode, PathResolver, PathsError,
    Platform, RealLookup, Resolver, Rule, Socket, check_overlap,
};
use rstest::rstest;

fn layout(home: &Path) -> Layout {
    Resolver::default().for_platform(Platform::Linux).resolve(&Env::explicit(home)).unwrap()
}

fn with_variable(home: &Path, value: &Path) -> Layout {
    let env = Env::system(Some(home.into())).with_variable("MYOWNMESH_HOME", value);
    Resolver::default().for_platform(Platform::Linux).resolve(&env).unwrap()
}

/// Returns an absolute path of this platform, which needs a drive on Windows.
fn absolute(path: &str) -> PathBuf {
    if cfg!(windows) { PathBuf::from(format!("C:{path}")) } else { path.into() }
}

fn utf8(path: &Path) -> &Utf8Path {
    path.try_into().unwrap()
}

struct Home {
    _dir: tempfile::TempDir,
    user: PathBuf,
    app: PathBuf,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let user = dir.path().canonicalize().unwrap().join("u");
    let app = user.join(".myownllm");
    fs::create_dir_all(&app).unwrap();
    Home { _dir: dir, user, app }
}

#[cfg(unix)]
fn refused(layout: Layout) -> PathsError {
    let error = CheckedLayout::new(layout, &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.overlap", "{error}");
    assert!(error.is_refusal());
    error
}

#[cfg(unix)]
fn follow(hint: &str) {
    assert!(std::process::Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{hint}");
}

/// A resolver of another crate may name any shared home but one in the home of an app: the
/// stand-alone daemon would rewrite the config there.
#[rstest]
#[case::home_of_the_app(".notes", false)]
#[case::daemon_home(".notes/mesh-home", false)]
#[case::by_dots("x/../.notes/mesh-home", false)]
#[case::home_of_myownllm(".myownllm", false)]
#[case::in_the_home_of_myownllm(".myownllm/.myownmesh", false)]
#[case::longer_name(".notes-mesh", true)]
#[case::home_of_a_third_app(".myownllm2/mesh", true)]
#[case::home_of_the_user("", true)]
fn shared_home_in_the_home_of_an_app_is_refused(#[case] shared: &str, #[case] is_fine: bool) {
    let home = home();
    let (user, notes) = (utf8(&home.user), HostApp::new("Notes", "notes-mesh", ".notes", "mesh-home"));
    let shared = user.join(shared);
    let homes = |rule| ((user.to_path_buf(), Rule::ExplicitHome), (shared.clone(), rule));
    let layout = |rule| {
        let (user, shared) = homes(rule);
        Resolver::new(notes.clone()).layout(user, shared).unwrap()
    };
    let checked = CheckedLayout::new(layout(Rule::InUserHome), &RealLookup);
    assert_eq!(checked.as_ref().err().map(PathsError::code), (!is_fine).then_some("paths.host-app"));
    // As a wish of the user's, it does not count.
    let wished = CheckedLayout::new(layout(Rule::MeshHomeVariable), &RealLookup).unwrap();
    assert_eq!(wished.shared_home == shared, is_fine);
    let env = Env::system(Some(user.as_str().into())).with_variable("MYOWNMESH_HOME", shared.as_std_path());
    let layout = Resolver::new(notes).resolve(&env).unwrap();
    assert_eq!(layout.shared_home_rule == Rule::MeshHomeVariable, is_fine);
}

#[test]
fn a_home_that_does_not_exist_yet_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    CheckedLayout::new(layout(&dir.path().join("nobody")), &RealLookup).unwrap();
    CheckedLayout::new(layout(&absolute("/nowhere/at/all")), &RealLookup).unwrap();
}

#[test]
fn an_ordinary_home_is_fine() {
    let h = home();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
    fs::create_dir(h.app.join(".myownmesh")).unwrap();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
    fs::create_dir(h.user.join(".myownmesh")).unwrap();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
}

#[cfg(unix)]
#[test]
fn a_home_reached_by_links_and_dots_is_fine() {
    let h = home();
    fs::create_dir(h.app.join(".myownmesh")).unwrap();
    symlink(&h.user, h.user.parent().unwrap().join("link")).unwrap();
    CheckedLayout::new(layout(&h.user.parent().unwrap().join("link")), &RealLookup).unwrap();
    CheckedLayout::new(layout(&h.user.join("../u")), &RealLookup).unwrap();
    let elsewhere = h.user.join("data");
    fs::rename(&h.app, &elsewhere).unwrap();
    symlink(&elsewhere, &h.app).unwrap();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_to_the_apps_home_is_refused_and_both_are_named() {
    for target in ["..", ".", "../.myownllm", "../.myownllm/"] {
        let h = home();
        if target == ".." {
            symlink(&h.app, h.app.join(".myownmesh")).unwrap();
        } else {
            symlink(target, h.app.join(".myownmesh")).unwrap();
        }
        let error = refused(layout(&h.user));
        let text = error.to_string();
        assert!(text.contains("is the same directory as"), "{text}");
        for path in [h.app.clone(), h.app.join(".myownmesh")] {
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
        assert!(error.hint().is_some());
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_a_dir_above_is_refused() {
    for (target, relation) in [("..", "lies above"), ("/", "lies above"), ("../../u", "lies above")] {
        let h = home();
        symlink(target, h.app.join(".myownmesh")).unwrap();
        assert!(refused(layout(&h.user)).to_string().contains(relation));
    }
}

/// The identity file of a daemon that uses it is not copied: two daemons would appear as one
/// device. That of a moved home, or of the stand-alone daemon's home, may be the app's.
#[cfg(unix)]
#[test]
fn symlink_to_the_home_of_another_daemon_gives_way_to_an_empty_directory() {
    let served = |h: &Home, dir: &str| {
        fs::create_dir_all(h.user.join(dir)).unwrap();
        std::os::unix::net::UnixListener::bind(h.user.join(dir).join("daemon.sock")).unwrap()
    };
    let (another, stand_alone) = ("the home of another daemon", "the home of the stand-alone daemon");
    for (target, whose) in [
        (".myownmesh", stand_alone),
        (".myownmesh/below", stand_alone),
        (".other/.myownmesh", another),
        ("served", another),
        ("moved/.myownmesh", "leads out of"),
        ("backup/.myownllm/.myownmesh", "leads out of"),
    ] {
        let is_another = whose == another;
        let h = home();
        let _served = served(&h, "served");
        fs::create_dir_all(h.user.join(target).join(".secrets")).unwrap();
        fs::write(h.user.join(target).join(".secrets/identity.json"), b"theirs").unwrap();
        let link = h.app.join(".myownmesh");
        symlink(h.user.join(target), &link).unwrap();
        let error = refused(layout(&h.user));
        assert!(error.to_string().contains(whose), "{target}: {error}");
        // The message names the other way.
        assert_eq!(error.to_string().contains("cp -RLpn"), is_another, "{target}: {error}");
        assert_eq!(error.to_string().contains("mkdir -m 700"), whose == stand_alone, "{target}: {error}");
        let hint = error.hint().unwrap();
        for round in 0..2 {
            let status = std::process::Command::new("sh").args(["-c", &hint]).status().unwrap();
            assert!(status.success() || round > 0, "{hint}");
            CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
            assert_eq!(link.join(".secrets/identity.json").exists(), !is_another, "{target}: {hint}");
            assert_eq!(fs::read(h.user.join(target).join(".secrets/identity.json")).unwrap(), b"theirs");
        }
    }
}

/// A terminal does not show a control character, and a line break ends a command that is copied.
#[cfg(unix)]
#[test]
fn hint_about_a_path_with_control_characters_is_one_line_that_works() {
    let h = home();
    let user = h.user.join("it's\n100%\t\\");
    let link = user.join(".myownllm/.myownmesh");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    fs::create_dir(user.join("out")).unwrap();
    symlink("../out", &link).unwrap();
    let hint = refused(layout(&user)).hint().unwrap();
    assert!(!hint.contains(char::is_control), "{hint:?}");
    assert!(std::process::Command::new("sh").args(["-c", &hint]).status().unwrap().success(), "{hint}");
    CheckedLayout::new(layout(&user), &RealLookup).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_apps_home_is_refused_also_when_nothing_is_there() {
    for (dir, exists) in [("", true), ("", false), ("missing disk", false), ("mount point", false)] {
        let h = home();
        fs::create_dir(h.user.join("mount point")).unwrap();
        let out = h.user.join(dir).join("out");
        if exists {
            fs::create_dir(&out).unwrap();
        }
        symlink(&out, h.app.join(".myownmesh")).unwrap();
        let error = refused(layout(&h.user));
        assert!(error.to_string().contains("leads out of"), "{error}");
        assert!(error.to_string().contains(out.to_str().unwrap()), "{error:?}");
        // An existing target is copied, with its identity file. A missing target is not given up while
        // its disk may be missing.
        let link = h.app.join(".myownmesh");
        let hint = error.hint().unwrap();
        let way_out = if exists {
            format!("test -L {} && sh -c 'c=$0.copy-$$ && cp -RLpn ", link.display())
        } else if dir.is_empty() {
            format!("mv -n {0} {0}.aside", link.display())
        } else {
            format!("ls -ld {}", link.display())
        };
        let both = format!("gone for good: mv -n {0} {0}.aside", link.display());
        assert_eq!(error.to_string().contains(&both), !exists, "{error}");
        assert!(hint.starts_with(&way_out), "{hint}");
    }
}

/// If the app's home is the symlink, its target is not moved away.
#[cfg(unix)]
#[test]
fn a_stand_alone_home_that_the_apps_home_leads_to_is_copied() {
    let h = home();
    let stand_alone = h.user.join(".myownmesh");
    fs::rename(&h.app, &stand_alone).unwrap();
    fs::write(stand_alone.join("config.json"), b"theirs").unwrap();
    symlink(".myownmesh", &h.app).unwrap();
    let error = refused(layout(&h.user));
    assert!(error.to_string().contains("give the app an empty home instead: test -L "), "{error}");
    follow(&error.hint().unwrap());
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
    for home in [&h.app, &stand_alone] {
        assert_eq!(fs::read(home.join("config.json")).unwrap(), b"theirs");
        assert!(home.symlink_metadata().unwrap().is_dir());
    }
}

/// A stand-alone daemon without a home has no key that a disk might bring back.
#[cfg(unix)]
#[test]
fn symlink_to_a_stand_alone_home_that_is_gone_gives_way_to_a_directory() {
    let h = home();
    let link = h.app.join(".myownmesh");
    symlink("../.myownmesh", &link).unwrap();
    let error = refused(layout(&h.user));
    assert!(!error.to_string().contains("copy"), "{error}");
    follow(&error.hint().unwrap());
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
    assert!(link.symlink_metadata().unwrap().is_dir());

    // The home may be on a disk that is not there.
    let h = home();
    symlink("../.myownmesh", h.app.join(".myownmesh")).unwrap();
    symlink("/no/such/disk", h.user.join(".myownmesh")).unwrap();
    let hint = refused(layout(&h.user)).hint().unwrap();
    assert!(hint.starts_with("ls -ld "), "{hint}");
}

#[cfg(unix)]
#[rstest]
#[case::the_home(".myownllm")]
#[case::in_the_home(".myownllm/notes")]
fn home_of_another_app_that_leads_to_myownllms_is_refused(#[case] target: &str) {
    let h = home();
    fs::create_dir(h.app.join("notes")).unwrap();
    symlink(target, h.user.join(".notes")).unwrap();
    let notes = Resolver::new(HostApp::new("Notes", "notes-mesh", ".notes", "mesh-home"));
    let error = CheckedLayout::new(notes.resolve(&Env::explicit(&h.user)).unwrap(), &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.host-app");
    assert!(error.to_string().contains("leads to the home of MyOwnLLM"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_through_a_link_is_followed_to_its_end() {
    let h = home();
    symlink(h.user.join("b"), h.user.join("a")).unwrap();
    symlink(&h.app, h.user.join("b")).unwrap();
    symlink(h.user.join("a"), h.app.join(".myownmesh")).unwrap();
    assert!(refused(layout(&h.user)).to_string().contains("is the same directory as"));
}

#[cfg(unix)]
#[test]
fn a_link_inside_the_apps_home_is_fine_unless_it_leads_to_nothing() {
    let h = home();
    symlink("daemon", h.app.join(".myownmesh")).unwrap();
    let error = CheckedLayout::new(layout(&h.user), &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.not-a-folder");
    fs::create_dir(h.app.join("daemon")).unwrap();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
}

#[cfg(unix)]
#[test]
fn symlink_loop_is_an_error_and_not_a_hang() {
    let h = home();
    symlink("b", h.app.join(".myownmesh")).unwrap();
    symlink(".myownmesh", h.app.join("b")).unwrap();
    assert_eq!(CheckedLayout::new(layout(&h.user), &RealLookup).unwrap_err().code(), "paths.lookup");
}

#[test]
fn something_else_under_the_daemons_name_is_refused() {
    let h = home();
    fs::write(h.app.join(".myownmesh"), "x").unwrap();
    let error = CheckedLayout::new(layout(&h.user), &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.not-a-folder");
    assert!(error.is_refusal());
    assert!(error.hint().unwrap().starts_with("mv -n "));
}

#[test]
fn an_apps_home_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".myownllm"), "x").unwrap();
    let error = CheckedLayout::new(layout(dir.path()), &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.not-a-folder");
    assert_eq!(error.path(), Some(dir.path().join(".myownllm").as_path()));
}

#[cfg(unix)]
#[test]
fn dirs_on_the_way_count_for_a_daemons_home_of_several_parts() {
    let h = home();
    let app = HostApp { daemon_dir: "state/mesh".into(), ..MYOWNLLM };
    let layout = || Resolver::new(app.clone()).resolve(&Env::explicit(&h.user)).unwrap();
    CheckedLayout::new(layout(), &RealLookup).unwrap();
    symlink("..", h.app.join("state")).unwrap();
    assert_eq!(CheckedLayout::new(layout(), &RealLookup).unwrap_err().code(), "paths.overlap");
}

#[test]
fn any_two_dirs_can_be_compared() {
    let h = home();
    let check = |daemon: &Path| check_overlap(utf8(&h.app), utf8(daemon), &RealLookup);
    check(&h.app.join("x")).unwrap();
    check(&h.app.join("y/../x")).unwrap();
    for bad in ["", "x/..", "..", "../..", "../other", "../.myownllm"] {
        let error = check(&h.app.join(bad)).unwrap_err();
        assert_eq!(error.code(), "paths.overlap", "{bad}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_leads_to_the_apps_home_by_a_link_is_passed_over() {
    let h = home();
    symlink(&h.app, h.user.join("alias")).unwrap();
    for value in
        [h.user.join("alias"), h.user.join("alias/.myownmesh"), h.user.join("alias/new/../.myownmesh")]
    {
        let checked = CheckedLayout::new(with_variable(&h.user, &value), &RealLookup).unwrap();
        assert_eq!(checked.shared_home, h.user.join(".myownmesh"), "{value:?}");
        assert_eq!(checked.shared_socket, h.user.join(".myownmesh/daemon.sock"));
        assert_eq!(checked.shared_config, h.user.join(".myownmesh/config.json"));
        assert_eq!(checked.shared_home_rule, Rule::MeshHomeVariableInsideApp);
    }
    let other = h.user.join("mesh");
    let checked = CheckedLayout::new(with_variable(&h.user, &other), &RealLookup).unwrap();
    assert_eq!(checked.shared_home, other);
    assert_eq!(checked.shared_home_rule, Rule::MeshHomeVariable);
}

#[cfg(unix)]
#[test]
fn a_shared_home_that_is_the_apps_home_by_a_link_is_refused() {
    let h = home();
    symlink(".myownllm", h.user.join(".myownmesh")).unwrap();
    assert!(refused(layout(&h.user)).to_string().contains("is the same directory as"));

    let h = home();
    fs::rename(&h.app, h.user.join(".myownmesh")).unwrap();
    symlink(".myownmesh", &h.app).unwrap();
    refused(layout(&h.user));
}

#[cfg(unix)]
#[test]
fn a_shared_home_that_is_the_daemons_own_home_is_fine() {
    let h = home();
    fs::create_dir(h.app.join(".myownmesh")).unwrap();
    symlink(".myownllm/.myownmesh", h.user.join(".myownmesh")).unwrap();
    CheckedLayout::new(layout(&h.user), &RealLookup).unwrap();
}

#[cfg(unix)]
#[test]
fn the_socket_is_checked_for_its_length() {
    let h = home();
    let long = h.user.join("n".repeat(100));
    fs::create_dir_all(&long).unwrap();
    let checked = CheckedLayout::new(layout(&long), &RealLookup).unwrap();
    let socket = |config: &str| {
        fs::create_dir_all(&checked.daemon_home).unwrap();
        fs::write(&checked.daemon_config, config).unwrap();
        checked.socket(Mode::OwnLlm, &RealLookup)
    };
    let too_long = checked.socket(Mode::OwnLlm, &RealLookup).unwrap_err();
    assert_eq!(too_long.code(), "paths.socket-too-long");
    // The way out works as printed, also before its directory exists.
    let hint = too_long.hint().unwrap();
    let editor = r#"sh -c 'echo "{\"daemon\":{\"control_socket\":\"/run/s\"}}" > "$0"'"#;
    let script = h.user.join("editor");
    fs::write(&script, format!("#!/bin/sh\n{editor} \"$1\"\n")).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let done =
            std::process::Command::new("sh").args(["-c", &hint]).env("EDITOR", &script).status().unwrap();
        assert!(done.success(), "{hint}");
        let (socket, rule) = checked.socket(Mode::OwnLlm, &RealLookup).unwrap();
        assert_eq!((socket, rule), (Socket::Path("/run/s".into()), Rule::ControlSocket));
    }
    for says_nothing in ["{}", "no JSON", "", r#"{"daemon":{"control_socket":null}}"#, r#"{"daemon":1}"#] {
        assert_eq!(socket(says_nothing).unwrap_err().code(), "paths.socket-too-long", "{says_nothing}");
    }
    let error = socket(r#"{"daemon":{"control_socket":"m.sock"}}"#).unwrap_err();
    assert!(error.is_refusal());
    assert_eq!(
        (error.code(), error.path()),
        ("paths.control-socket", Some(checked.daemon_config.as_std_path()))
    );
    assert!(error.to_string().contains("cannot use the control socket \"m.sock\", which "), "{error}");
}

/// A disk of plain directories, each with an identity, that can fail and counts its calls.
#[derive(Default)]
struct Fake {
    nodes: BTreeMap<PathBuf, FileInfo>,
    fails: BTreeMap<PathBuf, ErrorKind>,
    asked: Mutex<Vec<PathBuf>>,
}

impl Fake {
    fn dir(mut self, path: &str, id: Option<(u64, u64)>) -> Self {
        self.nodes.insert(absolute(path), FileInfo { kind: Kind::Dir, id });
        self
    }
}

impl Lookup for Fake {
    fn stat(&self, path: &Path) -> io::Result<FileInfo> {
        self.asked.lock().unwrap().push(path.into());
        if let Some(kind) = self.fails.get(path) {
            return Err((*kind).into());
        }
        self.nodes.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
    fn stat_follow(&self, path: &Path) -> io::Result<FileInfo> {
        self.stat(path)
    }
    fn read_link(&self, _: &Path) -> io::Result<PathBuf> {
        Err(ErrorKind::InvalidInput.into())
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.stat(path).map(|_| Vec::new())
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.stat(path).map(|_| path.into())
    }
}

fn ordinary() -> Fake {
    Fake::default()
        .dir("/", Some((1, 2)))
        .dir("/home", Some((1, 3)))
        .dir("/home/u", Some((1, 4)))
        .dir("/home/u/.myownllm", Some((1, 5)))
}

#[test]
fn one_dir_under_two_plain_names_is_refused() {
    // A mount, or a file system that treats both names as the same.
    for (id, relation) in
        [((1, 5), "is the same directory as"), ((1, 4), "lies above"), ((1, 3), "lies above")]
    {
        let disk = ordinary().dir("/home/u/.myownllm/.myownmesh", Some(id));
        let error = CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap_err();
        assert_eq!(error.code(), "paths.overlap");
        assert!(error.to_string().contains(relation), "{error}");
    }
    let disk = ordinary().dir("/home/u/.myownllm/.myownmesh", Some((1, 6)));
    CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap();
}

#[test]
fn the_ordinary_case_asks_little() {
    let disk = ordinary().dir("/home/u/.myownllm/.myownmesh", Some((1, 6)));
    CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap();
    let asked = disk.asked.lock().unwrap();
    let in_home = asked.iter().filter(|p| p.starts_with(absolute("/home/u"))).count();
    assert!(in_home <= 6, "{in_home} questions about the home: {asked:?}");
    assert!(asked.len() <= 8, "{asked:?}");
}

#[test]
fn a_platform_without_inodes_compares_spellings() {
    let disk = Fake::default().dir("/home/u/.myownllm", None).dir("/home/u/.myownllm/.myownmesh", None);
    CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap();
}

#[test]
fn path_that_cannot_be_inspected_is_an_error_and_not_absent() {
    let mut disk = ordinary();
    disk.fails.insert(absolute("/home/u/.myownllm/.myownmesh"), ErrorKind::PermissionDenied);
    let error = CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap_err();
    assert_eq!(error.code(), "paths.lookup");
    assert!(!error.is_refusal());
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_shared_home_that_cannot_be_looked_at_does_not_keep_the_app_from_starting() {
    let mut disk = ordinary();
    disk.fails.insert(absolute("/home/u/.myownmesh"), ErrorKind::PermissionDenied);
    CheckedLayout::new(layout(&absolute("/home/u")), &disk).unwrap();
    disk.fails.insert(absolute("/srv/x"), ErrorKind::PermissionDenied);
    let checked =
        CheckedLayout::new(with_variable(&absolute("/home/u"), &absolute("/srv/x")), &disk).unwrap();
    assert_eq!(checked.shared_home, absolute("/srv/x"));
}

/// One level too deep, everything would be searched for, and created, in the wrong place.
#[cfg(unix)]
#[rstest]
#[case::app_home(".myownllm", Some(""))]
#[case::daemon_home(".myownllm/.myownmesh", Some(""))]
#[case::shared_home(".myownmesh", Some(""))]
#[case::symlink_to_the_app_home("link", Some(""))]
#[case::copy_of_the_app_home("copy", None)]
#[case::key_alone("key", None)]
#[case::peers_alone("peers", None)]
fn an_apps_home_is_no_users_home(#[case] name: &str, #[case] user_home: Option<&str>) {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    for home in [".myownllm", "copy"] {
        fs::create_dir_all(root.join(home).join(".secrets")).unwrap();
        for file in ["config.json", ".secrets/identity.json"] {
            fs::write(root.join(home).join(file), "{}").unwrap();
        }
    }
    for directory in ["key/.secrets", "peers/mesh/rosters", "peers/mesh/states"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("key/.secrets/identity.json"), "{}").unwrap();
    symlink(".myownllm", root.join("link")).unwrap();
    let layout = |home: PathBuf| Resolver::default().resolve(&Env::explicit(home)).unwrap();
    let error = CheckedLayout::new(layout(root.join(name)), &RealLookup).unwrap_err();
    assert_eq!((error.code(), error.is_refusal()), ("paths.app-home", true), "{error}");
    assert_eq!(error.path(), Some(root.join(name).as_path()));
    let hint = error.hint().unwrap();
    match user_home {
        Some(_) => assert_eq!(hint, format!("myownllm-mesh --home {} status", root.display())),
        None => {
            // All commands but the last, which runs the program, create a home in which the copy
            // has its proper name.
            let (make, _) = hint.rsplit_once(" && ").unwrap();
            for works in [true, false] {
                let status = std::process::Command::new("sh").args(["-c", make]).status().unwrap();
                assert_eq!(status.success(), works, "{make}");
            }
            CheckedLayout::new(layout(root.join(format!("{name}.home"))), &RealLookup).unwrap();
        }
    }
    CheckedLayout::new(layout(root.clone()), &RealLookup).unwrap();
}

/// A user's home may hold the config of any program, and may be the home of a stand-alone daemon.
#[test]
fn a_users_home_is_not_taken_for_an_apps() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("home");
    fs::create_dir_all(home.join("mesh/rosters")).unwrap();
    let plain = Resolver::default().resolve(&Env::explicit(&home)).unwrap();
    CheckedLayout::new(plain.clone(), &RealLookup).unwrap();
    fs::write(home.join("config.json"), "{}").unwrap();
    assert_eq!(CheckedLayout::new(plain.clone(), &RealLookup).unwrap_err().code(), "paths.app-home");
    let shared =
        Env::system(Some(home.clone().into_os_string())).with_variable("MYOWNMESH_HOME", home.clone());
    CheckedLayout::new(Resolver::default().resolve(&shared).unwrap(), &RealLookup).unwrap();
    fs::create_dir(home.join(".myownllm")).unwrap();
    CheckedLayout::new(plain, &RealLookup).unwrap();
}

/// The target may be on a disk that is unplugged now.
#[cfg(unix)]
#[test]
fn an_app_home_that_is_a_link_to_nothing_is_refused_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().canonicalize().unwrap();
    symlink("/mnt/not/there", home.join(".myownllm")).unwrap();
    let layout = Resolver::default().resolve(&Env::explicit(&home)).unwrap();
    let error = CheckedLayout::new(layout, &RealLookup).unwrap_err();
    assert_eq!(error.code(), "paths.not-a-folder");
    assert_eq!(error.path(), Some(home.join(".myownllm").as_path()));
    assert_eq!(error.hint().unwrap(), format!("ls -ld {}", home.join(".myownllm").display()));
    // A file in the place of a home is not moved aside either.
    fs::write(home.join("file"), "").unwrap();
    let layout = Resolver::default().resolve(&Env::explicit(home.join("file"))).unwrap();
    let error = CheckedLayout::new(layout, &RealLookup).unwrap_err();
    assert_eq!(error.path(), Some(home.join("file").as_path()), "{error}");
    assert_eq!(error.hint().unwrap(), format!("ls -ld {}", home.join("file").display()));
}

/// A program must not put a file of its own where a launch or a daemon looks for theirs.
#[rstest]
#[case::identity_file(".myownllm/.myownmesh/.secrets/identity.json", true)]
#[case::config(".myownllm/config.json", true)]
#[case::file_that_only_a_launch_reads(".myownllm/config.json.brought-back", true)]
#[case::place_of_the_app_home(".myownllm", true)]
#[case::by_dots("x/../.myownllm/r.txt", true)]
#[case::shared_identity_file(".myownmesh/.secrets/identity.json", true)]
#[case::longer_name(".myownllm-report.txt", false)]
#[case::beside_the_homes("report.txt", false)]
#[case::dir_of_the_user("x/.secrets/identity.json", false)]
fn path_where_a_home_has_its_files_is_reserved(#[case] path: &str, #[case] is_reserved: bool) {
    let home = home();
    fs::create_dir(home.user.join("x")).unwrap();
    assert_eq!(layout(&home.user).reserves(home.user.join(path), &RealLookup), is_reserved);
    fs::remove_dir(&home.app).unwrap();
    assert_eq!(layout(&home.user).reserves(home.user.join(path), &RealLookup), is_reserved);
}

/// A stand-alone daemon in the user's home itself reserves the names of its own files alone.
#[rstest]
#[case::config("config.json", true)]
#[case::report("report.txt", false)]
fn shared_home_that_is_the_users_reserves_its_own_files(#[case] path: &str, #[case] is_reserved: bool) {
    let home = home();
    let layout = with_variable(&home.user, &home.user);
    assert_eq!(layout.reserves(home.user.join(path), &RealLookup), is_reserved);
}

#[cfg(unix)]
#[test]
fn symlink_into_a_home_leads_to_a_reserved_path() {
    let home = home();
    symlink(&home.app, home.user.join("desk")).unwrap();
    assert!(layout(&home.user).reserves(home.user.join("desk/report.txt"), &RealLookup));
}

/// Nothing can be created through a broken symlink, and the app's home may lie behind it, on a disk
/// that is not there.
#[cfg(unix)]
#[rstest]
#[case::app_home("vendor/app", "missing", Some("vendor/app"))]
#[case::directory_above("vendor", "missing", Some("vendor"))]
#[case::of_another_disk("vendor", "disk", None)]
#[case::directory_beside("vendor2", "missing", None)]
fn broken_symlink_on_the_way_to_the_app_home_is_refused(
    #[case] symlink_at: &str,
    #[case] target: &str,
    #[case] refused: Option<&str>,
) {
    let home = home();
    let link = home.user.join(symlink_at);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    fs::create_dir(home.user.join("disk")).unwrap();
    symlink(home.user.join(target), &link).unwrap();
    let app = HostApp::new("App", "app-mesh", "vendor/app", "node");
    let layout = Resolver::new(app).resolve(&Env::explicit(&home.user)).unwrap();
    match (CheckedLayout::new(layout, &RealLookup), refused) {
        (Ok(_), None) => {}
        (Err(error), Some(at)) => {
            assert_eq!(
                (error.code(), error.path()),
                ("paths.not-a-folder", Some(&*home.user.join(at))),
                "{error}"
            );
        }
        (checked, _) => panic!("{checked:?}"),
    }
}
