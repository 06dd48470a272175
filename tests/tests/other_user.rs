//! A second user in a home that its group may write.

#![cfg(target_os = "linux")]

mod as_root;

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::testkit::{
    APP, Home, MESH, Ran, SHARED, can, can_be_root, eventually, program, root, run, set_mode, stand_in,
};
use rstest::rstest;

/// The owner of the home, the other user, and their common group.
const OWNER: u32 = 64_201;
const OTHER: u32 = 64_202;
const GROUP: u32 = 64_200;

/// The minimum number of rounds.
const ROUNDS: u32 = 24;

/// Collects everything below a directory.
fn walk(dir: &Path, all: &mut Vec<(PathBuf, std::fs::Metadata)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            walk(&path, all);
        }
        all.push((path, meta));
    }
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(GROUP)).unwrap();
}

/// Makes a home before the move, open to its group. In two rounds of three the destination exists,
/// with parts that are closed to the group.
fn home(round: u32) -> Home {
    let home = Home::legacy();
    for dir in [".secrets", "mesh/rosters", "mesh/states"] {
        let dir = home.path(&format!("{MESH}/{dir}"));
        if !round.is_multiple_of(3) {
            std::fs::create_dir_all(dir).unwrap();
        }
    }
    let mut all = Vec::new();
    walk(&home.path(""), &mut all);
    for (path, meta) in all {
        give(&path, OWNER);
        let closed = path.ends_with("rosters") || path.ends_with(".secrets");
        let open = if closed && round.is_multiple_of(2) { 0o700 } else { 0o775 };
        set_mode(&path, if meta.is_dir() { open } else { 0o600 });
    }
    for (dir, mode) in [(home.path(""), 0o775), (home.path("..").canonicalize().unwrap(), 0o755)] {
        give(&dir, OWNER);
        set_mode(&dir, mode);
    }
    home
}

/// Makes a directory that everybody may enter, and a function that copies a file into it: other
/// users may not be able to reach the work tree.
fn tools() -> (tempfile::TempDir, impl Fn(&Path) -> PathBuf) {
    let tools = tempfile::Builder::new().prefix("tools-").tempdir_in("/tmp").unwrap();
    set_mode(tools.path(), 0o755);
    let dir = tools.path().to_owned();
    let tool = move |from: &Path| {
        let to = dir.join(from.file_name().unwrap());
        std::fs::copy(from, &to).unwrap();
        set_mode(&to, 0o755);
        to
    };
    (tools, tool)
}

/// Runs `migrate` as the owner of the home.
fn migrate_as_owner(program: &Path, home: &Home) -> Command {
    let mut migrate = Command::new(program);
    migrate.arg("--home").arg(home.path("")).arg("migrate").uid(OWNER).gid(GROUP).current_dir("/");
    migrate.env_remove("MYOWNMESH_HOME").env("HOME", "/nonexistent");
    migrate
}

/// An unreadable directory is reported once, not once for each entry that may be in it.
#[rstest]
#[case::to_everything(0o000)]
#[case::to_entry(0o600)]
fn a_closed_dir_is_named_once(#[case] mode: u32) {
    if !can_be_root() {
        return;
    }
    let (_tools, tool) = tools();
    let program = tool(program());
    let home = home(1);
    set_mode(&home.path(MESH), mode);
    let ran = run(&mut migrate_as_owner(&program, &home));
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let closed = format!("error: cannot read ~/{MESH}");
    assert_eq!(errors, [closed], "{mode:o}: {}", ran.stderr);
    set_mode(&home.path(MESH), 0o700);
}

/// A daemon's socket admits only its owner, so only the owner of the socket file identifies the
/// other user.
#[rstest]
#[case::in_the_daemon_home(MESH)]
#[case::in_the_shared_home(SHARED)]
fn a_daemon_of_another_user_is_reported_by_its_socket(#[case] dir: &str) {
    if !can_be_root() {
        return;
    }
    let (_tools, tool) = tools();
    let program = tool(program());
    let (home, place) = (Home::settled(), format!("{dir}/daemon.sock"));
    std::fs::create_dir_all(home.path(&place).parent().unwrap()).unwrap();
    let _theirs = std::os::unix::net::UnixListener::bind(home.path(&place)).unwrap();
    give_with_parent(&home);
    give(&home.path(&place), OTHER);
    set_mode(&home.path(&place), 0o755);
    let as_owner = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--home").arg(home.path("")).args(args).uid(OWNER).gid(GROUP).current_dir("/");
        run(command.env_remove("MYOWNMESH_HOME").env("HOME", "/nonexistent"))
    };
    let said = as_owner(&["launch", "--once", "--json"]).ends_with(7).json();
    let found = &said["diagnostics"][0];
    assert_eq!(found["code"], "daemon.foreign-owner", "{said:#}");
    assert!(found["message"].as_str().unwrap().contains(&format!("uid {OTHER}")), "{said:#}");
    for args in [["status"], ["doctor"]] {
        let ran = as_owner(&args);
        assert!(ran.stdout.contains(&OTHER.to_string()), "{args:?}: {ran:?}");
    }
    let said = as_owner(&["doctor", "--json"]).json().to_string();
    assert!(said.contains(&format!("ls -ld {}", home.path(&place).display())), "{said}");
    // The user's own socket without permissions is not reported as another user's.
    give(&home.path(&place), OWNER);
    set_mode(&home.path(&place), 0o000);
    let said = as_owner(&["launch", "--once", "--json"]).ends_with(5);
    assert!(!said.stdout.contains("daemon.foreign-owner"), "{said:?}");
}

/// A user typed `sudo` before the daemon's command. Only root can stop that daemon.
#[rstest]
#[case::by_the_owner_of_the_home(OWNER)]
#[case::by_root(0)]
fn daemon_that_sudo_started_in_a_users_home_is_stopped_by_the_hint(#[case] user: u32) {
    if !can_be_root() || !can("fuser", &["-V"]) {
        return;
    }
    let (_tools, tool) = tools();
    let program = tool(program());
    let home = Home::settled();
    let mut daemon = home.daemon(MESH).start().unwrap();
    give_with_parent(&home);
    give(&home.own_socket(), 0);
    set_mode(&home.own_socket(), 0o755);
    let run_as = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--home").arg(home.path("")).args(args).uid(user).gid(user).current_dir("/");
        run(command.env_remove("MYOWNMESH_HOME").env("HOME", "/nonexistent"))
    };
    for args in [&["daemon", "stop", "--json"][..], &["launch", "--once", "--json"]] {
        let refused = run_as(args).ends_with(7).diagnostic("daemon.foreign-owner");
        let hint = refused["hint"].as_str().unwrap();
        assert!(hint.trim_start_matches("sudo ").starts_with("fuser -k -TERM "), "{refused:#}");
        assert_eq!(hint.starts_with("sudo "), user != 0, "{refused:#}");
    }
    let hint = run_as(&["doctor", "--json"]).ends_with(4).check("daemon.own")["hint"].clone();
    let command = hint.as_str().unwrap().trim_start_matches("sudo ");
    run(Command::new("sh").args(["-c", command])).ends_with(0);
    eventually("it is stopped", || !daemon.is_running());
    let stopped = run_as(&["daemon", "status", "--json"]).ends_with(5);
    assert_eq!(stopped.diagnostic("daemon.not-running")["severity"], "error", "{stopped:?}");
}

/// A connection that the system refuses proves no daemon: the daemon may be gone and its socket
/// left behind.
#[rstest]
#[case::of_root(0, 0o755, false)]
#[case::of_another_user(OTHER, 0o755, false)]
#[case::without_permissions(OWNER, 0, false)]
#[case::in_a_sticky_directory(0, 0o755, true)]
fn a_socket_that_another_user_left_behind_is_no_daemon(
    #[case] owner: u32,
    #[case] mode: u32,
    #[case] sticky: bool,
    #[values(APP, MESH, SHARED)] dir: &str,
) {
    if !can_be_root() {
        return;
    }
    let (_tools, tool) = tools();
    let program = tool(program());
    let stand_in = tool(stand_in().as_ref());
    let home = Home::settled();
    let socket = home.path(&format!("{dir}/daemon.sock"));
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    give_with_parent(&home);
    give(&socket, owner);
    set_mode(&socket, mode);
    if sticky {
        // In a sticky directory another user's file cannot be removed.
        give(socket.parent().unwrap(), 0);
        set_mode(socket.parent().unwrap(), 0o1777);
    }
    // Separate namespaces keep out the daemons of other tests: a daemon with a relative
    // path may listen anywhere.
    let as_owner = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--net", "--fork", "--mount-proc", "--kill-child", "setpriv"]);
        command.args([format!("--reuid={OWNER}"), format!("--regid={GROUP}"), "--clear-groups".to_owned()]);
        command.arg(&program).arg("--home").arg(home.path("")).args(args).current_dir("/");
        command.env("MYOWNMESH_BIN", &stand_in).env_remove("MYOWNMESH_HOME");
        run(command.env("HOME", "/nonexistent"))
    };
    let rm = format!("{}rm -f {}", if sticky { "sudo " } else { "" }, socket.display());
    // No daemon is reported as running. In a sticky directory the home itself belongs to
    // another user, so the checks end there.
    let doctor = as_owner(&["doctor", "--json"]).json();
    let checks = doctor["data"]["checks"].as_array().unwrap();
    let reported = checks.iter().find(|check| check["id"] == "daemon.sockets");
    let reported = reported.unwrap_or_else(|| panic!("{doctor:#}"));
    assert_eq!(
        (&reported["result"], &reported["hint"]),
        (&"warning".into(), &rm.as_str().into()),
        "{reported:#}"
    );
    let said = as_owner(&["migrate", "--undo", "--dry-run", "--json"]).json();
    assert!(!said["diagnostics"].to_string().contains("daemon."), "{said:#}");
    if sticky {
        return;
    }
    as_owner(&["launch", "--no-daemon"]).ends_with(0);
    // A daemon starts, and removes a socket at its own path.
    let said = as_owner(&["launch", "--once", "--json"]).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "spawned", "{said:#}");
    let found = said["diagnostics"].as_array().unwrap();
    let is_left = dir != MESH;
    assert_eq!(found.iter().any(|found| found["hint"] == rm.as_str()), is_left, "{said:#}");
    let status = Command::new("sh").args(["-c", &rm]).uid(OWNER).gid(GROUP).status().unwrap();
    assert!(status.success(), "{rm}");
    let said = as_owner(&["launch", "--once", "--json"]).ends_with(0).json();
    assert_eq!(said["diagnostics"], serde_json::json!([]), "{said:#}");
}

/// During the moves, the other user puts symlinks and directories of their own in the place of the
/// home, its parts and the parts of the destination, as fast as possible. `MYOWNLLM_SWAP_SECONDS`
/// sets the minimum duration (60 for the long form).
#[test]
fn a_second_user_who_swaps_dirs_gains_nothing() {
    if !can_be_root() {
        return;
    }
    let seconds = std::env::var("MYOWNLLM_SWAP_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let decoy = root().join("tests/fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    let decoy_bytes = std::fs::read(&decoy).unwrap();
    let (_tools, tool) = tools();
    let program = tool(program());
    let second_process = tool(env!("CARGO_BIN_EXE_second-process").as_ref());
    let decoy = tool(&decoy);
    let started = Instant::now();
    let mut round = 0;
    while round < ROUNDS || started.elapsed() < Duration::from_secs(seconds) {
        let home = home(round);
        let ours: Vec<Vec<u8>> = home.contents().into_iter().filter(|bytes| !bytes.is_empty()).collect();
        // Keeps the app's home open, whatever path it gets later.
        let app = std::fs::File::open(home.path(APP)).unwrap();
        let targets = [
            APP.to_owned(),
            format!("{APP}/.secrets"),
            format!("{APP}/mesh"),
            format!("{APP}/mesh/states"),
            MESH.to_owned(),
            format!("{MESH}/.secrets"),
            format!("{MESH}/mesh"),
            format!("{MESH}/mesh/rosters"),
        ];
        let mut other = Command::new(&second_process);
        other.arg("swap").arg(&decoy).args(targets.iter().map(|target| home.path(target)));
        let mut other = other.uid(OTHER).gid(GROUP).current_dir("/").spawn().unwrap();
        // In every other round the swaps begin before the move, otherwise both begin at once.
        let set = home.path(&format!("{APP}/.swapped.link..secrets"));
        while round.is_multiple_of(2)
            && set.symlink_metadata().is_err()
            && other.try_wait().unwrap().is_none()
        {
            std::thread::yield_now();
        }
        let mut ran = Vec::new();
        for _ in 0..3 {
            ran.push(run(&mut migrate_as_owner(&program, &home)));
        }
        other.kill().unwrap();
        other.wait().unwrap();

        let mut all = Vec::new();
        walk(&home.path(""), &mut all);
        let bytes_of = |path: &Path| std::fs::read(path).unwrap();
        let parent = |path: &Path| path.parent().unwrap().metadata().unwrap();
        for (path, meta) in &all {
            let at = || format!("round {round}: {}: {ran:#?}", path.display());
            if parent(path).uid() == OTHER {
                assert_eq!(meta.uid(), OTHER, "something of ours landed in their directory, {}", at());
            }
            if meta.is_file() && parent(path).uid() == OWNER {
                assert_ne!(bytes_of(path), decoy_bytes, "something of theirs was taken for ours, {}", at());
            }
        }
        let files: Vec<Vec<u8>> =
            all.iter().filter(|(_, meta)| meta.is_file()).map(|(path, _)| bytes_of(path)).collect();
        for file in &ours {
            assert!(files.contains(file), "round {round}: something of ours is lost: {ran:#?}");
        }
        if ran.iter().any(|ran| ran.code == Some(0)) && !ran.iter().any(|ran| ran.code == Some(7)) {
            let here = PathBuf::from(format!("/proc/self/fd/{}", app.as_raw_fd()));
            let key = here.join(".myownmesh/.secrets/identity.json");
            assert!(key.metadata().is_ok_and(|meta| meta.uid() == OWNER), "round {round}: {ran:#?}");
        }
        round += 1;
    }
}

/// The program and a daemon, in a directory where every user can run them.
struct Tools {
    _dir: tempfile::TempDir,
    program: PathBuf,
    daemon: PathBuf,
}

impl Tools {
    fn new() -> Self {
        let (dir, tool) = tools();
        let (program, daemon) = (tool(program()), tool(stand_in().as_ref()));
        Self { _dir: dir, program, daemon }
    }

    /// Runs the program on a home, as a user.
    fn on(&self, home: &Path, uid: u32, args: &[&str]) -> Ran {
        let mut command = self.command(uid);
        command.arg("--home").arg(home).args(args);
        run(&mut command)
    }

    fn command(&self, uid: u32) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
        command.env("MYOWNMESH_BIN", &self.daemon).current_dir("/");
        if uid != 0 {
            command.uid(uid).gid(GROUP);
        }
        command
    }
}

/// Gives a home, its parent and all that is in them to the owner, and lets everybody look into
/// both.
fn give_with_parent(home: &Home) {
    let parent = home.path("..").canonicalize().unwrap();
    let mut all = Vec::new();
    walk(&parent, &mut all);
    all.iter().for_each(|(path, _)| give(path, OWNER));
    for dir in [home.path(""), parent] {
        give(&dir, OWNER);
        set_mode(&dir, 0o755);
    }
}

/// Gives a home and its content to this user, and opens its parent to everybody.
fn of(uid: u32, home: Home) -> Home {
    let mut all = Vec::new();
    walk(&home.path(""), &mut all);
    all.iter().for_each(|(path, _)| std::os::unix::fs::lchown(path, Some(uid), Some(GROUP)).unwrap());
    give(&home.path(""), uid);
    set_mode(&home.path("..").canonicalize().unwrap(), 0o755);
    home
}

/// Commands that would change something in a home before the repair.
const WRITERS: [&[&str]; 5] = [
    &["launch", "--no-daemon", "--json"],
    &["launch", "--once", "--json"],
    &["migrate", "--json"],
    &["salvage", "--json"],
    &["network", "add", "one-more", "--json"],
];

/// Checks that every command that writes refuses with this code, for this path, and changes
/// nothing, and that `status` and `doctor` predict it.
#[track_caller]
fn refuses(tools: &Tools, (at, uid): (&Path, u32), home: &Home, code: &str, path: &Path) {
    let before = home.snapshot();
    let has = |ran: &Ran| {
        let said = ran.json();
        let list = [&said["diagnostics"], &said["data"]["checks"]];
        let mut all = list.into_iter().filter_map(serde_json::Value::as_array).flatten();
        all.any(|one| one["code"] == code && (one["path"].is_null() || one["path"] == path.to_str().unwrap()))
    };
    for args in WRITERS {
        let ran = tools.on(at, uid, args).ends_with(7);
        assert!(has(&ran), "{args:?}: {ran:?}");
        assert!(home.snapshot() == before, "{args:?} changed something");
    }
    let ran = tools.on(at, uid, &["status", "--json"]).ends_with(0);
    assert!(has(&ran) && ran.stdout.contains("start no daemon"), "{ran:?}");
    let ran = tools.on(at, uid, &["doctor", "--json"]).ends_with(4);
    assert!(has(&ran), "{ran:?}");
    assert!(home.snapshot() == before, "a look changed something");
}

/// If the home lies elsewhere, the directories on the way must be closed to others too.
#[test]
fn a_home_behind_a_symlink_into_an_open_directory_is_not_trusted() {
    if !can_be_root() {
        return;
    }
    let tools = Tools::new();
    let home = Home::after_the_bug();
    let open = home.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::rename(home.path(APP), open.join("app")).unwrap();
    std::os::unix::fs::symlink("open/app", home.path(APP)).unwrap();
    let home = of(OWNER, home);
    // Another user's symlink, in a user home that is open to its group.
    set_mode(&home.path(""), 0o2770);
    std::os::unix::fs::lchown(home.path(APP), Some(OTHER), Some(GROUP)).unwrap();
    refuses(&tools, (&home.path(""), OWNER), &home, "homes.unsafe-permissions", &home.path(APP));
    std::os::unix::fs::lchown(home.path(APP), Some(OWNER), Some(GROUP)).unwrap();
    for mode in [0o777, 0o757] {
        set_mode(&open, mode);
        for args in [&["migrate"][..], &["launch", "--once"]] {
            let refused = tools.on(&home.path(""), OWNER, args).ends_with(7);
            let mend = format!("chmod o-w {}", open.display());
            assert!(refused.stderr.contains(&mend), "{args:?}: {refused:?}");
        }
        assert!(!home.has(&format!("{MESH}/.secrets")), "{mode:o}: the key has moved");
        assert!(!home.has(&format!("{MESH}/daemon.log")), "{mode:o}: a daemon was started");
        let doctor = tools.on(&home.path(""), OWNER, &["doctor"]).ends_with(4);
        assert!(doctor.stdout.contains("problem  homes.private"), "{mode:o}: {doctor:?}");
    }
    set_mode(&open, 0o755);
    tools.on(&home.path(""), OWNER, &["launch", "--once"]).ends_with(0);
}

/// A directory that a group member makes in somebody's user home is closed to that person.
#[rstest]
#[case::of_an_empty_home(Home::empty)]
#[case::of_a_home_after_the_bug(Home::after_the_bug)]
fn a_member_of_the_group_does_not_lock_the_owner_out(#[case] make: fn() -> Home) {
    if !can_be_root() {
        return;
    }
    let tools = Tools::new();
    let home = of(OWNER, make());
    set_mode(&home.path(""), 0o2770);
    let is_there = home.has(APP);
    if is_there {
        set_mode(&home.path(APP), 0o770);
    }
    let at = if is_there { home.path(APP) } else { home.path("") };
    let before = home.snapshot();
    for args in WRITERS {
        // Without a config there is nothing to move or to repair.
        if is_there || !matches!(args[0], "migrate" | "salvage") {
            let ran = tools.on(&home.path(""), OTHER, args).ends_with(7);
            assert_eq!(ran.json()["diagnostics"][0]["path"], at.to_str().unwrap(), "{ran:?}");
            let hint = format!("sudo -u '#{OWNER}' myownllm-mesh --home {}", home.path("").display());
            assert!(ran.json()["diagnostics"][0]["hint"].as_str().unwrap().starts_with(&hint), "{ran:?}");
        }
        assert!(home.snapshot() == before, "{args:?} changed something");
    }
    tools.on(&home.path(""), OWNER, &["launch", "--once"]).ends_with(0);
    // A directory that the other user made with an older version is reported, with the command
    // that gives it to the owner.
    give(&home.path(APP), OTHER);
    let ran = tools.on(&home.path(""), OWNER, &["launch", "--no-daemon"]).ends_with(7);
    let mend = format!("sudo chown -RH {OWNER}:{GROUP} {}", home.path(APP).display());
    assert!(ran.stderr.contains(&mend), "{ran:?}");
}

/// Whoever can write to the directory of the target can put another key in its place.
#[rstest]
#[case::in_a_directory_that_everybody_may_write(OWNER, 0o777)]
#[case::in_a_directory_of_the_other_user(OTHER, 0o755)]
fn no_daemon_is_started_with_a_key_behind_a_symlink_that_another_user_can_replace(
    #[case] owner: u32,
    #[case] mode: u32,
) {
    if !can_be_root() || run(Command::new("setpriv").arg("--help")).code != Some(0) {
        return;
    }
    let tools = Tools::new();
    let home = Home::legacy();
    let elsewhere = tempfile::tempdir().unwrap();
    let (key, target) = (home.path(APP).join(".secrets/identity.json"), elsewhere.path().join("k"));
    std::fs::copy(&key, &target).unwrap();
    std::fs::remove_file(&key).unwrap();
    std::os::unix::fs::symlink(&target, &key).unwrap();
    let home = of(OWNER, home);
    give(&target, OWNER);
    give(elsewhere.path(), owner);
    set_mode(elsewhere.path(), mode);
    let ran = tools.on(&home.path(""), OWNER, &["launch", "--once"]).ends_with(7);
    assert!(ran.stderr.contains(elsewhere.path().to_str().unwrap()), "{ran:?}");
    give(elsewhere.path(), OWNER);
    set_mode(elsewhere.path(), 0o700);
    tools.on(&home.path(""), OWNER, &["launch", "--once"]).ends_with(0);
}

/// `doctor` reports a problem if the app's home cannot be made.
#[test]
fn doctor_foresees_that_the_apps_home_cannot_be_made() {
    if !can_be_root() {
        return;
    }
    let tools = Tools::new();
    let home = of(OWNER, Home::empty());
    set_mode(&home.path(""), 0o555);
    let on = |args: &[&str]| tools.on(&home.path(""), OWNER, args);
    let ran = on(&["launch", "--no-daemon"]).ends_with(1);
    let hint = format!("chmod u+rwx {}", home.path("").display());
    assert!(ran.stderr.contains(&hint), "{ran:?}");
    let ran = on(&["doctor"]).ends_with(4);
    assert!(ran.stdout.contains("problem  homes.writable") && ran.stdout.contains(&hint), "{ran:?}");
    let ran = on(&["status"]).ends_with(0);
    assert!(ran.stdout.contains("fail to change") && ran.stdout.contains("start no daemon"), "{ran:?}");
    // Root would work as the owner, so it gets the same answer.
    tools.on(&home.path(""), 0, &["doctor"]).ends_with(4);
    tools.on(&home.path(""), 0, &["launch", "--no-daemon"]).ends_with(1);
    set_mode(&home.path(""), 0o755);
    on(&["doctor"]).ends_with(0);
    on(&["launch", "--once"]).ends_with(0);
}
