//! The program under faults of its environment: permissions, limits, file systems, other users, odd
//! files under the program's names.
//!
//! Tests that need root (mounts, other owners) or a Linux tool run only where these are available,
//! and print a line when they are skipped.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod support;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{APP, Home, MESH, Ran, run, set_mode};

const KEY: &str = ".myownllm/.secrets/identity.json";
const NEW_KEY: &str = ".myownllm/.myownmesh/.secrets/identity.json";
const CONFIG: &str = ".myownllm/config.json";

/// Returns true if the tool works with these arguments on this machine.
fn can(tool: &str, args: &[&str]) -> bool {
    let works = Command::new(tool).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `{tool} {}` does not work here", args.join(" "));
    }
    works
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Runs the program as a user without privileges: root passes every permission check. Under root,
/// the home is given to that user.
struct Unprivileged {
    program: PathBuf,
    drop: bool,
}

const NOBODY: &str = "65534";

/// Gives a tree to this user and group, without following symlinks.
fn give(path: &Path, user: &str) {
    let owner = format!("{user}:{user}");
    assert!(Command::new("chown").args(["-hR", &owner]).arg(path).status().unwrap().success());
}

impl Unprivileged {
    fn new(home: &Home) -> Option<Self> {
        if !is_root() {
            return Some(Self { program: support::program().to_owned(), drop: false });
        }
        if !can("setpriv", &["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "true"]) {
            return None;
        }
        let root = home.path("..").canonicalize().unwrap();
        // That user may not be able to reach the work tree.
        let program = root.join("program");
        std::fs::copy(support::program(), &program).unwrap();
        give(&root, NOBODY);
        Some(Self { program, drop: true })
    }

    fn run(&self, home: &Home, args: &[&str]) -> Ran {
        let mut command = if self.drop {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.arg("--home").arg(home.path("")).args(args).current_dir("/").env("HOME", "/nonexistent");
        command.env_remove("MYOWNMESH_HOME").env_remove("MYOWNLLM_MESH_BIN");
        run(command.env("MYOWNMESH_BIN", env!("CARGO_BIN_EXE_stand-in-daemon")))
    }
}

/// Runs the program in a shell that runs `before` first; `$1` is the home.
fn within(home: &Home, before: &str, args: &[&str]) -> Ran {
    let script = format!("{before}\nhome=$1; shift; exec \"$@\"");
    let inner = home.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(home.path("")).arg(inner.get_program()).args(inner.get_args());
    shell.env_remove("MYOWNMESH_HOME").env("HOME", "/nonexistent").current_dir("/");
    run(&mut shell)
}

/// Runs the program in a mount namespace of its own, after `mounts`.
fn with_mounts(home: &Home, mounts: &str, args: &[&str]) -> Ran {
    let script = format!("set -e\n{mounts}\nset +e; home=$1; shift; exec \"$@\"");
    let inner = home.command(args);
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(home.path(""));
    unshare.arg(inner.get_program()).args(inner.get_args());
    unshare.env_remove("MYOWNMESH_HOME").env("HOME", "/nonexistent").current_dir("/");
    run(&mut unshare)
}

fn can_mount() -> bool {
    is_root() && can("unshare", &["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
}

/// Returns the bytes of every file of the daemon.
fn state(home: &Home) -> Vec<Vec<u8>> {
    let files = home.snapshot().into_iter().filter(|(path, (_, bytes))| {
        !bytes.is_empty()
            && !path.starts_with(home.path(&format!("{APP}/config-backups")))
            && !path.ends_with("config.json")
            && !path.ends_with("myownllm-mesh.log")
    });
    let mut all: Vec<_> = files.map(|(_, (_, bytes))| bytes).collect();
    all.sort();
    all
}

/// Checks that nothing panicked and that the exit code is one of the contract.
#[track_caller]
fn sound(ran: &Ran) {
    assert!(
        ran.code.is_some_and(|code| (0..=8).contains(&code)) && !ran.all().contains("panicked"),
        "{ran:?}"
    );
}

/// Checks that the next run finishes the work, and that the run after that changes nothing.
#[track_caller]
fn converges(home: &Home, before: &[Vec<u8>]) {
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(state(home), before, "something of the daemon's is lost or doubled");
    assert!(home.has(NEW_KEY) && !home.has(KEY));
    let settled = home.snapshot();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.snapshot() == settled, "the run after that wrote");
}

/// Joins the directory and the name in a line of strace: `<dir>, "name"` becomes `<dir>,
/// "dir/name"`.
fn with_whole_paths(line: &str) -> String {
    let (mut whole, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once(">, \"") {
        whole += before;
        whole += ">, \"";
        if let Some((_, dir)) = before.rsplit_once('<').filter(|_| !after.starts_with('/')) {
            whole += dir;
            whole += "/";
        }
        rest = after;
    }
    whole + rest
}

/// The program's syncs reach the kernel: before a new file gets its name, before the sources move,
/// and after every rename.
#[test]
fn what_is_flushed_is_flushed_by_the_kernel() {
    if !cfg!(target_os = "linux") || !can("strace", &["-o", "/dev/null", "true"]) {
        return;
    }
    let home = Home::after_the_bug();
    let log = home.path("../strace.log");
    let launch = home.command(&["launch", "--no-daemon"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "4096", "-e", "trace=fsync,fdatasync,syncfs,/^rename", "-o"]).arg(&log);
    strace.arg(launch.get_program()).args(launch.get_args()).env_remove("MYOWNMESH_HOME").current_dir("/");
    run(&mut strace).ends_with(0);
    let log: Vec<String> = std::fs::read_to_string(log).unwrap().lines().map(with_whole_paths).collect();
    let lines: Vec<&str> = log.iter().map(String::as_str).filter(|line| line.ends_with("= 0")).collect();
    let log = log.join("\n");
    let at = |what: &dyn Fn(&str) -> bool| lines.iter().position(|line| what(line));
    let flushed = |path: &Path, range: &[&str]| {
        let held = format!("<{}>)", path.display());
        range.iter().any(|line| line.contains("sync(") && line.contains(&held))
    };
    let mut published = 0;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(".part\"")) {
        let temp = line.split('"').find(|word| word.ends_with(".part")).unwrap();
        published += usize::from(line.contains("rename"));
        assert!(flushed(Path::new(temp), &lines[..index]), "{temp} gets its name unflushed:\n{log}");
    }
    assert!(published >= 3, "copies, the daemon's half, the config:\n{log}");
    let moved = at(&|line| line.contains("rename") && line.contains("/mesh/states\"")).unwrap();
    assert!(
        lines[..moved].iter().any(|line| line.contains("syncfs(")),
        "the sources are not flushed:\n{log}"
    );
    let key = at(&|line| line.contains("rename") && line.contains(NEW_KEY)).unwrap();
    for dir in [format!("{MESH}/.secrets"), format!("{APP}/.secrets")] {
        assert!(flushed(&home.path(&dir), &lines[key..]), "{dir} is not flushed behind the key:\n{log}");
    }
    let config = lines.iter().rposition(|line| line.contains("EXCHANGE")).unwrap();
    assert!(flushed(&home.path(APP), &lines[config..]), "the config's directory is not flushed:\n{log}");
}

/// Twelve launches start at once, with a slow daemon: one daemon starts, with one key, and all use
/// it.
#[test]
fn of_many_launches_at_once_one_starts_the_daemon() {
    let home = Home::settled();
    let launches: Vec<_> = (0..12)
        .map(|_| {
            let mut command = home.with_daemon(&["launch", "--detach", "--json"]);
            command.env("STAND_IN_MODE", "slow-start:400");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ended: Vec<_> = launches.into_iter().map(|launch| launch.wait_with_output().unwrap()).collect();
    let mut started = Vec::new();
    let mut attached = 0;
    for output in &ended {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let daemon = &answer["data"]["daemon"];
        match daemon["state"].as_str() {
            Some("spawned") => started.push(daemon["pid"].to_string()),
            Some("attached") => attached += 1,
            _ => {}
        }
    }
    for pid in &started {
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }
    // A daemon unlinks its socket as it ends, and the walk below must not meet a name that goes.
    let begun = std::time::Instant::now();
    while home.has(&format!("{MESH}/daemon.sock")) && begun.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
    assert_eq!((started.len(), attached), (1, 11), "{ended:?}");
    // No second daemon was started and ended again: each start writes a line, and an earlier log
    // would be a file of its own.
    let logs = home.snapshot().into_iter().filter(|(path, _)| path.to_string_lossy().contains("daemon.log"));
    let logs: Vec<_> = logs.map(|(_, (_, bytes))| String::from_utf8_lossy(&bytes).into_owned()).collect();
    let starts: usize = logs.iter().map(|log| log.matches("[myownllm] ").count()).sum();
    assert_eq!((logs.len(), starts), (1, 1), "{logs:?}");
}

#[test]
fn what_may_not_be_read_is_not_absent() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    let before = state(&home);
    set_mode(&home.path(KEY), 0);
    for args in [&["migrate"][..], &["launch", "--once"]] {
        let ran = user.run(&home, args).ends_with(1);
        assert!(
            ran.stderr.contains("migration.unreadable") && ran.stderr.contains(".secrets/identity.json"),
            "{ran:?}"
        );
        assert!(home.has(KEY) && !home.has(NEW_KEY), "the key stays, and no other is made");
        assert!(home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")), "the rest goes on");
    }
    set_mode(&home.path(KEY), 0o600);
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(state(&home), before);

    // A directory cannot be read: the key waits for the files that belong to it.
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(&format!("{APP}/mesh")), 0);
    let ran = user.run(&home, &["migrate"]).ends_with(1);
    assert!(ran.stderr.contains("migration.identity-held-back"), "{ran:?}");
    assert!(home.has(KEY) && !home.has(NEW_KEY));
    // An unreadable roster can still be renamed.
    set_mode(&home.path(&format!("{APP}/mesh")), 0o700);
    set_mode(&home.path(&format!("{APP}/mesh/rosters/home-mesh.json")), 0);
    user.run(&home, &["migrate"]).ends_with(0);

    let home = Home::after_the_bug();
    let Some(user) = Unprivileged::new(&home) else { return };
    let config = home.bytes(CONFIG);
    set_mode(&home.path(CONFIG), 0);
    for args in [&["launch", "--no-daemon"][..], &["salvage"], &["network", "add", "garden"]] {
        let ran = user.run(&home, args).ends_with(1);
        assert!(ran.stderr.contains("Permission denied"), "{args:?}: {ran:?}");
    }
    set_mode(&home.path(CONFIG), 0o600);
    assert_eq!(home.bytes(CONFIG), config, "what cannot be read is not replaced");
}

/// Another user's directory in root's home holds a symlink to a file that only root can read. Root
/// must not write through the symlink, nor back up its target.
#[test]
fn a_link_of_another_users_leads_root_nowhere() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let home = Home::empty();
    let secret = b"root:$6$hunter2:1:0::";
    home.put("shadow", secret, 0o600);
    std::fs::create_dir_all(home.path(APP)).unwrap();
    symlink(home.path("shadow"), home.path(CONFIG)).unwrap();
    give(&home.path(APP), NOBODY);
    for args in [&["launch", "--no-daemon"][..], &["salvage"]] {
        let ran = home.run(args).ends_with(7);
        assert!(ran.stderr.contains("store.foreign-link"), "{args:?}: {ran:?}");
    }
    assert_eq!(home.bytes("shadow"), secret);
    let holds_it =
        |(_, (_, bytes)): &(&PathBuf, &(Vec<i64>, Vec<u8>))| bytes.windows(secret.len()).any(|w| w == secret);
    let places: Vec<_> = home.snapshot().iter().filter(holds_it).map(|(path, _)| path.clone()).collect();
    assert!(
        places.iter().all(|path| path.ends_with("shadow") || path.ends_with("config.json")),
        "{places:?}"
    );
}

/// The app ran once as root. Directories of root are no attack, but the program cannot change them
/// either.
#[test]
fn what_root_left_in_the_home_is_named_with_the_command_that_gives_it_back() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home).filter(|user| user.drop) else { return };
    let mesh = home.path(&format!("{APP}/mesh"));
    for mode in [0o755, 0o700] {
        give(&mesh, "0");
        set_mode(&mesh, mode);
        let ran = user.run(&home, &["migrate"]);
        assert!(home.has(KEY) && !home.has(NEW_KEY), "{ran:?}");
        if mode == 0o755 {
            let give_back = format!("sudo chown -R {NOBODY}:{NOBODY} {}", mesh.display());
            assert!(ran.ends_with(7).stderr.contains(&give_back), "{mode:o}");
        }
    }
    give(&mesh, NOBODY);
    user.run(&home, &["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

#[test]
fn a_home_that_may_not_be_written_is_left_and_said() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    let named_by_doctor = |home: &Home, dir: &str, result: &str| {
        let doctor = user.run(home, &["doctor", "--json"]).json();
        let checks = doctor["data"]["checks"].as_array().unwrap().clone();
        let check = checks.iter().find(|check| check["id"] == "homes.writable").unwrap();
        assert_eq!(check["result"], result, "{check:#}");
        assert_eq!(check["hint"], format!("chmod u+w {}", home.path(dir).display()), "{check:#}");
    };
    let before = state(&home);
    for dir in [APP, ".myownllm/.secrets"] {
        set_mode(&home.path(dir), 0o500);
        for args in [&["migrate"][..], &["launch", "--once"]] {
            let ran = user.run(&home, args).ends_with(1);
            assert!(ran.stderr.contains("Permission denied"), "{dir}: {args:?}: {ran:?}");
            assert!(home.has(KEY) && !home.has(NEW_KEY), "{dir}: the key stays, and no other is made");
        }
        if dir == APP {
            // `status` predicts the failure, and works in a home that cannot be written.
            let status = user.run(&home, &["status", "--check", "--json"]).ends_with(3).json();
            assert!(status["data"]["launch_would"].to_string().contains("fail to change"), "{status:#}");
            assert_eq!(status["diagnostics"][0]["code"], "paths.unwritable", "{status:#}");
            named_by_doctor(&home, APP, "problem");
        }
        set_mode(&home.path(dir), 0o700);
    }
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(state(&home), before);
    // The move could be done, but the daemon's log cannot be written.
    set_mode(&home.path(MESH), 0o500);
    let status = user.run(&home, &["status"]).ends_with(0);
    assert!(status.stdout.contains("start no daemon"), "{status:?}");
    set_mode(&home.path(MESH), 0o700);
    assert!(user.run(&home, &["status"]).stdout.contains("start the app's daemon"));
    // A backup of the config that the next repair replaces cannot be made.
    let copies = home.path(APP).join("config-backups");
    set_mode(&copies, 0o500);
    named_by_doctor(&home, ".myownllm/config-backups", "warning");
    set_mode(&copies, 0o700);
}

#[test]
fn a_dir_of_copies_that_is_none_stops_the_repair_and_not_the_app() {
    type Make<'a> = &'a dyn Fn(&Path);
    let make: [(&str, Make<'_>); 3] = [
        ("a file", &|copies| std::fs::write(copies, b"not ours").unwrap()),
        ("a link out of the home", &|copies| symlink("/tmp", copies).unwrap()),
        ("a link to nothing", &|copies| symlink("/nowhere/at/all", copies).unwrap()),
    ];
    for (name, make) in make {
        let home = Home::after_the_bug();
        let former = home.bytes(CONFIG);
        let copies = home.path(&format!("{APP}/config-backups"));
        make(&copies);
        let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(7);
        let said = ran.json();
        let codes: Vec<&str> =
            said["diagnostics"].as_array().unwrap().iter().filter_map(|d| d["code"].as_str()).collect();
        assert!(codes.contains(&"store.copies-unsafe"), "{name}: {codes:?}");
        assert_eq!(home.bytes(CONFIG), former, "{name}: what cannot be kept is not replaced");
        // The launch still returns the user's networks, not the defaults.
        let networks = &said["data"]["config"]["networks"];
        assert_eq!(networks.as_array().map(Vec::len), Some(2), "{name}: {networks:#}");
        let hint =
            said["diagnostics"].as_array().unwrap().iter().find(|d| d["code"] == "store.copies-unsafe");
        let hint = hint.unwrap()["hint"].as_str().unwrap();
        assert!(Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{name}: {hint}");
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.still_has(&former, "the overwritten config");
    }
}

#[test]
fn a_key_that_is_no_file_hangs_nobody_and_stays() {
    type Make<'a> = &'a dyn Fn(&Path);
    let make: [(&str, Make<'_>); 6] = [
        ("a link to itself", &|key| symlink("identity.json", key).unwrap()),
        ("a link to nothing", &|key| symlink("/nowhere/at/all", key).unwrap()),
        ("a link to a device", &|key| symlink("/dev/zero", key).unwrap()),
        ("a pipe", &|key| assert!(Command::new("mkfifo").arg(key).status().unwrap().success())),
        ("a socket", &|key| drop(std::os::unix::net::UnixListener::bind(key).unwrap())),
        ("a directory", &|key| std::fs::create_dir(key).unwrap()),
    ];
    for (name, make) in make {
        let home = Home::legacy();
        std::fs::remove_file(home.path(KEY)).unwrap();
        make(&home.path(KEY));
        let kind = home.path(KEY).symlink_metadata().unwrap().file_type();
        for args in [&["status"][..], &["doctor"], &["identity"], &["migrate"], &["launch", "--no-daemon"]] {
            sound(&home.run(args));
        }
        // The daemon would not see the key, and would make a second one.
        let started = run(&mut home.with_daemon(&["launch", "--once"]));
        assert!([Some(1), Some(7)].contains(&started.code), "{name}: {started:?}");
        assert_eq!(home.path(KEY).symlink_metadata().unwrap().file_type(), kind, "{name} stays");
        assert!(!home.has(NEW_KEY), "{name}: no key comes into being");
        assert!(home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")), "{name}: the rest has moved");
    }
}

#[test]
fn no_daemon_is_started_beside_a_key_in_another_letter_case() {
    let home = Home::legacy();
    std::fs::rename(home.path(KEY), home.path(".myownllm/.secrets/Identity.json")).unwrap();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(7);
    assert!(!home.has(NEW_KEY), "no key comes into being");
}

#[test]
fn a_umask_opens_nothing_and_locks_nobody_out() {
    for umask in ["000", "077", "777"] {
        let home = Home::after_the_bug();
        let before = state(&home);
        within(&home, &format!("umask {umask}"), &["launch", "--no-daemon"]).ends_with(0);
        for (path, (stamp, _)) in home.snapshot() {
            let ours = path.starts_with(home.path(MESH))
                || path.starts_with(home.path(&format!("{APP}/config-backups")));
            if ours {
                let wanted = if path.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(stamp[0] & 0o777, wanted, "umask {umask}: {}", path.display());
            }
        }
        // The daemon's part of the config is a new file.
        assert!(before.iter().all(|file| state(&home).contains(file)));
    }
}

#[test]
fn nobody_listening_to_what_is_said_is_no_reason_to_stop() {
    for (name, redirect) in [
        ("no stdout", "exec >&-"),
        ("no stderr", "exec 2>&-"),
        ("neither", "exec >&- 2>&-"),
        ("a full device", "exec >/dev/full 2>/dev/full"),
        ("a pipe without a reader", "exec >/dev/null; mkfifo $1/../p; exec 3<>$1/../p 2>$1/../p 3<&-"),
    ] {
        if name == "a full device" && !Path::new("/dev/full").exists() {
            continue;
        }
        let home = Home::after_the_bug();
        let before = state(&home);
        // The collision makes the run print an error as well.
        home.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
        for args in [&["status"][..], &["doctor"], &["migrate"], &["launch", "--no-daemon"]] {
            let ran = within(&home, redirect, args);
            assert!(ran.code.is_some_and(|code| (0..=8).contains(&code)), "{name}: {args:?}: {ran:?}");
        }
        let after = state(&home);
        assert!(before.iter().all(|file| after.contains(file)), "{name}");
    }
}

/// Limits that a shell or a service manager sets.
#[test]
fn limits_of_the_process_lose_nothing() {
    let limits = [
        "ulimit -n 4",
        "ulimit -n 5",
        "ulimit -n 6",
        "ulimit -n 8",
        "ulimit -f 0",
        "ulimit -f 1",
        "ulimit -v 60000",
    ];
    for limit in limits {
        let home = Home::after_the_bug();
        let before = state(&home);
        for args in [&["migrate"][..], &["launch", "--no-daemon"], &["salvage"]] {
            let ran = within(&home, limit, args);
            // With too little memory the loader may be killed before the program starts. Under
            // every other limit the program ends by itself.
            assert!(ran.code.is_some() || limit.contains("-v"), "{limit}: ended by a signal: {ran:?}");
            assert!(!ran.all().contains("panicked"), "{limit}: {ran:?}");
            if limit == "ulimit -f 0" && args == ["salvage"] {
                assert_eq!(ran.code, Some(1), "{ran:?}");
                assert!(
                    ran.stderr.contains("config-backups") && ran.stderr.contains("File too large"),
                    "{ran:?}"
                );
            }
            let after = state(&home);
            assert!(before.iter().all(|file| after.contains(file)), "{limit}: {ran:?}");
        }
        converges(&home, &before);
    }
}

#[test]
fn a_home_is_taken_from_home_alone_and_an_odd_one_is_named() {
    let home = Home::legacy();
    let run_in = |value: Option<&std::ffi::OsStr>, args: &[&str]| {
        let mut command = Command::new(support::program());
        command.args(args).current_dir(home.path("")).env_remove("MYOWNMESH_HOME").env_remove("HOME");
        if let Some(value) = value {
            command.env("HOME", value);
        }
        run(&mut command)
    };
    let before = home.snapshot();
    for odd in ["relative", "."] {
        for args in [&["status"][..], &["migrate"], &["launch", "--no-daemon"]] {
            let ran = run_in(Some(odd.as_ref()), args).ends_with(1);
            assert!(ran.stderr.contains("paths."), "{odd:?}: {ran:?}");
        }
    }
    let absent = home.path("no/such/home");
    for args in [&["migrate"][..], &["launch", "--no-daemon"]] {
        sound(&run_in(Some(absent.as_os_str()), args));
    }
    assert!(!absent.exists(), "a home that was mistyped is not made");
    assert!(home.snapshot() == before);
    let mut trailing = home.path("").into_os_string();
    trailing.push("//");
    run_in(Some(&trailing), &["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

/// The daemon reads the path of its home as text, and would use another home.
#[test]
fn home_that_is_not_utf8_is_refused_and_works_through_the_symlink_of_the_hint() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let legacy = Home::legacy();
    assert!(Command::new("cp").arg("-a").arg(legacy.path("")).arg(&odd).status().unwrap().success());
    let ran_with = |home: &std::ffi::OsStr, args: &[&str]| {
        let mut command = Command::new(support::program());
        run(command.args(args).env_remove("MYOWNMESH_HOME").env("HOME", home))
    };
    let commands: [&[&str]; 5] = [&["status"], &["doctor"], &["migrate"], &["launch", "--no-daemon"], &[]];
    for args in commands {
        let ran = ran_with(odd.as_os_str(), args).ends_with(7);
        assert_eq!(ran.stderr.matches("is not UTF-8").count(), 1, "{args:?}: {ran:?}");
    }
    let told = ran_with(odd.as_os_str(), &["status", "--json"]).ends_with(7).json();
    let told = told["diagnostics"].as_array().unwrap();
    assert_eq!((told.len(), &told[0]["code"]), (1, &"paths.home-not-utf8".into()), "{told:?}");
    let hint = told[0]["hint"].as_str().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{hint} && echo \"$home\"")]).env("PATH", support::path_with_program());
    let shown = run(&mut shell).ends_with(0).stdout;
    let home = Path::new(shown.trim_end().lines().last().unwrap());
    let is_moved = || std::fs::symlink_metadata(odd.join(MESH).join(".secrets/identity.json")).is_ok();
    assert!(home.starts_with("/var/tmp") && !is_moved(), "{shown}");
    ran_with(home.as_os_str(), &["launch", "--no-daemon"]).ends_with(0);
    assert!(is_moved());
    let mut launch = Command::new(support::program());
    launch.args(["launch", "--once"]).env_remove("MYOWNMESH_HOME").env("HOME", home);
    run(launch.env("MYOWNMESH_BIN", env!("CARGO_BIN_EXE_stand-in-daemon"))).ends_with(0);
    std::fs::remove_file(home).unwrap();
    std::fs::remove_dir(home.parent().unwrap()).unwrap();
}

#[test]
fn large_and_odd_state_moves_and_a_huge_config_is_left() {
    let home = Home::legacy();
    let rosters = home.path(&format!("{APP}/mesh/rosters"));
    std::fs::File::create(rosters.join("sparse.json")).unwrap().set_len(1 << 30).unwrap();
    let odd = [
        "-rf.json",
        "two\nlines.json",
        "con.json",
        "dot. .json",
        "caf\u{e9}.json",
        "cafe\u{301}.json",
        "x.JSON",
    ];
    for name in odd {
        std::fs::write(rosters.join(name), name).unwrap();
    }
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    std::fs::File::options().append(true).open(home.path(KEY)).unwrap().set_modified(later).unwrap();
    home.run(&["migrate"]).ends_with(0);
    let moved = home.path(&format!("{MESH}/mesh/rosters"));
    for name in odd {
        // Only the exact ending `.json` belongs to the daemon.
        let at = if name.ends_with(".json") { &moved } else { &rosters };
        assert_eq!(std::fs::read(at.join(name)).unwrap(), name.as_bytes());
    }
    let sparse = moved.join("sparse.json").metadata().unwrap();
    assert_eq!(sparse.len(), 1 << 30);
    assert!(sparse.blocks() < 1000, "it stays sparse");
    assert!(home.has(NEW_KEY));

    let home = Home::settled();
    let huge = [&b"{\"x\":\""[..], &vec![b'a'; 17 << 20], b"\"}"].concat();
    home.put(CONFIG, &huge, 0o600);
    for args in [&["launch", "--no-daemon"][..], &["salvage"], &["network", "list"]] {
        let ran = home.run(args);
        assert!(ran.code == Some(1) || args[0] == "network", "{args:?}: {ran:?}");
        sound(&ran);
    }
    assert!(home.bytes(CONFIG) == huge);
}

/// A killed daemon leaves a dead socket, the number of an ended process, and a lock file.
#[test]
fn stale_sockets_numbers_and_locks_are_in_nobodys_way() {
    let home = Home::legacy();
    let before = state(&home);
    drop(std::os::unix::net::UnixListener::bind(home.path(&format!("{APP}/daemon.sock"))).unwrap());
    for name in ["daemon.pid", ".lock", "daemon.lock"] {
        home.put(&format!("{APP}/{name}"), b"1\n", 0o600);
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(NEW_KEY) && !home.has(KEY));
    let after = state(&home);
    assert!(before.iter().all(|file| after.contains(file)));
}

#[test]
fn down_and_up_ten_times_is_where_it_was() {
    let home = Home::after_the_bug();
    let (leaked, before) = (home.bytes(CONFIG), state(&home));
    let mut copies = None;
    for round in 0..10 {
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.run(&["migrate", "--undo"]).ends_with(0);
        assert!(home.has(KEY) && !home.has(NEW_KEY), "round {round}");
        // The old app runs, and its daemon overwrites the config again.
        home.put(CONFIG, &leaked, 0o644);
        let now = std::fs::read_dir(home.path(&format!("{APP}/config-backups"))).unwrap().count();
        assert_eq!(*copies.get_or_insert(now), now, "round {round}: copies pile up");
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let after = state(&home);
    assert!(before.iter().all(|file| after.contains(file)));
}

/// `migrate --undo` swaps source and destination: a hint for the forward move would activate the
/// wrong key.
#[test]
fn what_the_way_back_asks_is_settled_by_the_command_that_it_prints() {
    let home = Home::after_the_bug();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let key = home.bytes(NEW_KEY);
    let other = support::root().join("tests/fixtures/daemon-0.3.8/home").join(KEY);
    home.put(KEY, &std::fs::read(other).unwrap(), 0o600);
    let roster = "mesh/rosters/office-mesh.json";
    home.put(&format!("{APP}/{roster}"), b"{}", 0o600);
    let asked = home.run(&["migrate", "--undo"]).ends_with(7);
    assert!(asked.stdout.contains("migrate --undo --keep-identity daemon-home"), "{asked:?}");
    for line in asked.all().lines() {
        assert!(!line.contains("migrate --keep"), "{line}");
    }
    let json = home.run(&["migrate", "--undo", "--json"]).ends_with(7).json();
    for found in json["diagnostics"].as_array().unwrap() {
        assert!(!found["hint"].to_string().contains("migrate --keep"), "{found}");
    }
    // `--keep` names the same place in both directions, and `--keep` for rosters does not decide
    // between keys.
    home.run(&["migrate", "--undo", "--keep", "daemon-home"]).ends_with(7);
    home.run(&["migrate", "--undo", "--keep", "daemon-home", "--keep-identity", "daemon-home"]).ends_with(0);
    assert_eq!(home.bytes(KEY), key);
    assert_eq!(home.bytes(&format!("{APP}/{roster}.set-aside-1")), b"{}");
}

/// A symlink does not move. The user has to hear that the daemon will not find the second factor or
/// the roster behind it.
#[test]
fn a_launch_tells_what_stays_in_the_old_place() {
    let home = Home::after_the_bug();
    home.put("custody.json", b"{}", 0o600);
    symlink(home.path("custody.json"), home.path(&format!("{APP}/.secrets/custody.json"))).unwrap();
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(ran.stdout.contains("left        ~/.myownllm/.secrets/custody.json  (it is a link)"), "{ran:?}");
}

#[test]
fn what_root_does_in_a_users_home_is_the_users() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let home = Home::after_the_bug();
    give(&home.path("..").canonicalize().unwrap(), NOBODY);
    let ran = home.run(&["launch", "--no-daemon"]);
    sound(&ran);
    for path in home.snapshot().into_keys() {
        let uid = path.symlink_metadata().unwrap().uid();
        assert_eq!(uid.to_string(), NOBODY, "{}: {ran:?}", path.display());
    }
}

#[test]
fn dirs_of_other_users_are_refused() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let home = Home::legacy();
    std::os::unix::fs::chown(home.path(&format!("{APP}/.secrets")), Some(1234), Some(1234)).unwrap();
    let before = home.snapshot();
    for args in [&["migrate"][..], &["launch", "--once"]] {
        let ran = run(&mut home.with_daemon(args)).ends_with(7);
        assert!(ran.stderr.contains("chown"), "{ran:?}");
        assert!(home.has(KEY) && !home.has(NEW_KEY));
    }
    assert_eq!(home.snapshot()[&home.path(KEY)], before[&home.path(KEY)]);
}

/// A source directory on a file system of its own (an encrypted one for secrets, for example) is
/// emptied and stays. Nothing can remove it, and that is no failure, now or at the next start.
#[test]
fn a_source_dir_that_is_a_mount_point_is_emptied_and_stays() {
    if !can_mount() {
        return;
    }
    let program = support::program().display();
    for dir in [".secrets", "mesh", "mesh/rosters"] {
        for mount in
            ["rm -r $m/*; mount -t tmpfs -o mode=700 none $m; cp -a $1/copy/. $m", "mount --bind $m $m"]
        {
            let home = Home::legacy();
            let before = state(&home);
            let mounts = format!(
                "m=$1/{APP}/{dir}; cp -a $m $1/copy; {mount}; rm -r $1/copy
                 {program} --home $1 migrate; {program} --home $1 migrate | grep 'Nothing to move'"
            );
            let ran = with_mounts(&home, &mounts, &["launch", "--no-daemon"]).ends_with(0);
            assert!(!ran.all().contains("error"), "{dir}, {mount}: {ran:?}");
            assert!(home.has(NEW_KEY), "{dir}, {mount}: {ran:?}");
            assert!(state(&home) == before, "{dir}, {mount}: something is lost or doubled");
        }
    }
}

/// A file at the destination is a bind mount of the source. It is no second copy, whatever its link
/// count: it disappears with the mount.
#[test]
fn a_file_that_is_mounted_at_the_destination_is_no_copy() {
    if !can_mount() {
        return;
    }
    for name in [".secrets/identity.json", "mesh/rosters/home-mesh.json"] {
        for args in
            [&["migrate"][..], &["migrate", "--keep", "source"], &["migrate", "--keep", "destination"]]
        {
            let home = Home::legacy();
            let before = state(&home);
            let mounts = format!(
                "old=$1/{APP}/{name}; new=$1/{MESH}/{name}; mkdir -pm700 ${{new%/*}}; touch $new
                 ln $old $1/backup; mount --bind $old $new"
            );
            let ran = with_mounts(&home, &mounts, args).ends_with(1);
            assert!(
                ran.stderr.contains("something else is mounted over this file"),
                "{name}, {args:?}: {ran:?}"
            );
            std::fs::remove_file(home.path("backup")).unwrap();
            let new = home.path(&format!("{MESH}/{name}"));
            assert_eq!(std::fs::metadata(&new).unwrap().len(), 0, "{name}, {args:?}");
            std::fs::remove_file(new).unwrap();
            assert!(state(&home) == before, "{name}, {args:?}: it is lost: {ran:?}");
        }
    }
}

#[test]
fn full_read_only_and_separate_file_systems_lose_nothing() {
    if !can_mount() {
        return;
    }
    let mesh = format!("\"$1/{MESH}\"");
    for (name, mounts, args, codes) in [
        (
            "full",
            format!("mkdir -m700 {mesh}; mount -t tmpfs -o size=8k,mode=700 none {mesh}"),
            ["migrate", ""],
            &[1][..],
        ),
        (
            "out of inodes",
            format!("mkdir -m700 {mesh}; mount -t tmpfs -o nr_inodes=4,mode=700 none {mesh}"),
            ["migrate", ""],
            &[1],
        ),
        (
            "read-only destination",
            format!("mkdir -m700 {mesh}; mount -t tmpfs -o ro,mode=700 none {mesh}"),
            ["migrate", ""],
            &[1],
        ),
        (
            "read-only home",
            "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"".into(),
            ["migrate", ""],
            &[1],
        ),
        (
            "read-only home, launched",
            "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"".into(),
            ["launch", "--no-daemon"],
            &[1],
        ),
        (
            "read-only home, looked at",
            "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"".into(),
            ["status", ""],
            &[0],
        ),
        (
            "the same directory twice",
            format!("mkdir -m700 {mesh} {mesh}/mesh; mount --bind \"$1/{APP}/mesh\" {mesh}/mesh"),
            ["migrate", ""],
            &[7],
        ),
        (
            "a home in itself",
            format!("mkdir -m700 {mesh}; mount --bind \"$1/{APP}\" {mesh}"),
            ["migrate", ""],
            &[7],
        ),
    ] {
        let home = Home::legacy();
        for n in 0..20 {
            home.put(&format!("{APP}/mesh/rosters/n{n}.json"), &[b'x'; 3000], 0o600);
        }
        let key = home.bytes(KEY);
        let args: Vec<&str> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        let ran = with_mounts(&home, &mounts, &args);
        sound(&ran);
        assert!(codes.contains(&ran.code.unwrap()), "{name}: {ran:?}");
        // The mounts are gone with the files in them; the home holds only what was not moved.
        assert_eq!(home.bytes(KEY), key, "{name}: the key stays where it is");
    }
    // A bind mount of the same file system refuses renames across it, so the files are copied.
    let home = Home::legacy();
    let key = home.bytes(KEY);
    std::fs::create_dir(home.path("other")).unwrap();
    set_mode(&home.path("other"), 0o700);
    with_mounts(&home, &format!("mkdir -m700 {mesh}; mount --bind \"$1/other\" {mesh}"), &["migrate"])
        .ends_with(0);
    assert_eq!(home.bytes("other/.secrets/identity.json"), key);
    assert!(home.has("other/mesh/rosters/home-mesh.json") && !home.has(KEY));
}

/// On a disk that is mounted read-only, each change fails for one cause, which one error names. A
/// home that needs no change is no healthy one either.
#[test]
fn a_read_only_disk_is_one_error() {
    if !can_mount() {
        return;
    }
    let read_only = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
    for make in [Home::after_the_bug, Home::legacy, Home::settled, Home::empty] {
        for args in [&["launch", "--no-daemon"][..], &["repair"]] {
            let home = make();
            let ran = with_mounts(&home, read_only, args);
            let errors = ran.stderr.matches("error: ").count();
            // An app can run on a healthy home that cannot be changed.
            let is_fine = ran.code == Some(0) && args[0] == "launch" && home.has(NEW_KEY);
            assert!(is_fine || (ran.code == Some(1) && errors == 1), "{args:?}: {ran:?}");
            assert!(is_fine || ran.stderr.contains("hint: findmnt --target "), "{args:?}: {ran:?}");
        }
    }
}

/// A full disk keeps the daemon from starting; the message blames the disk, not the daemon's
/// program.
#[test]
fn a_full_disk_is_not_blamed_on_the_daemons_program() {
    let home = Home::settled();
    let program = home.path("program");
    let says = |words: &str| {
        std::fs::write(&program, format!("#!/bin/sh\necho \"$0: {words}\" >&2\nexit 1\n")).unwrap();
        set_mode(&program, 0o700);
    };
    let first = |ran: Ran, code: &str, command: &str| {
        let found = ran.json()["diagnostics"][0].clone();
        assert_eq!(found["code"], code, "{ran:?}");
        assert!(found["hint"].as_str().unwrap().starts_with(command), "{ran:?}");
        found["message"].to_string() + &found["causes"].to_string()
    };
    let args = &["launch", "--once", "--json"];
    for (words, command) in [
        ("Error: No space left on device (os error 28)", "df -h "),
        ("cannot write: Disk quota exceeded", "df -h "),
        ("Os { code: 30, message: Read-only file system }", "findmnt --target "),
    ] {
        says(words);
        let ran = run(home.command(args).env("MYOWNMESH_BIN", &program)).ends_with(5);
        assert!(first(ran, "daemon.no-room", command).contains(MESH), "{words}");
    }
    // Any other error text is blamed on the program.
    says("no");
    let ran = run(home.command(args).env("MYOWNMESH_BIN", &program)).ends_with(5);
    assert!(first(ran, "daemon.not-started", "").contains("program: no"));
    if !can_mount() {
        return;
    }
    // First the log cannot be written. Then one page is left for the log, and nothing else can be
    // written.
    let full = format!(
        "m=\"$1/{MESH}\"; cp -a \"$m\" \"$1/copy\"; mount -t tmpfs -o size=1m,mode=700 none \"$m\"; cp -a \"$1/copy/.\" \"$m\"
         rm -f \"$m\"/daemon.log*; cat /dev/zero > \"$m/fill\" 2>/dev/null || true; export MYOWNMESH_BIN=\"$1/program\""
    );
    let ran = with_mounts(&home, &full, args).ends_with(1);
    assert!(first(ran, "daemon.log", "df -h ").contains("No space left on device"));
    let left = format!("rm -r \"$1/copy\"; {full}; truncate -s -4096 \"$m/fill\"");
    let ran = with_mounts(&home, &left, args).ends_with(5);
    assert!(first(ran, "daemon.no-room", "df -h ").contains("No space left on device"));
}

/// A directory in the lower layer of an overlay cannot be renamed as a whole.
#[test]
fn an_overlays_lower_layer_moves_file_by_file() {
    if !can_mount() || !can("grep", &["-qw", "overlay", "/proc/filesystems"]) {
        return;
    }
    let home = Home::legacy();
    let layers = "d=$(dirname \"$1\")/layers; mkdir $d; mount -t tmpfs none $d; mkdir $d/l $d/u $d/w
        cp -a \"$1\"/. $d/l/; mount -t overlay overlay -o lowerdir=$d/l,upperdir=$d/u,workdir=$d/w \"$1\"";
    let ran = with_mounts(&home, layers, &["migrate", "--json"]).ends_with(0);
    let moved = ran.json()["data"]["moved"].as_array().unwrap().len();
    assert_eq!(moved, 4, "{}", ran.stdout);
}

/// An overlay shows the old location at the destination, with other device numbers. That is no
/// second copy.
#[test]
fn the_old_home_seen_through_an_overlay_is_no_copy() {
    if !can_mount() || !can("grep", &["-qw", "overlay", "/proc/filesystems"]) {
        return;
    }
    let layers = "d=$(dirname \"$1\")/layers; mkdir $d; mount -t tmpfs none $d; mkdir $d/u $d/w; mkdir -p -m700 $1/.myownllm/.myownmesh
        mount -t overlay overlay -o lowerdir=$1/.myownllm,upperdir=$d/u,workdir=$d/w $1/.myownllm/.myownmesh";
    for link in [false, true] {
        let home = Home::legacy();
        if link {
            // A hard link elsewhere is no second copy.
            let roster = home.path(&format!("{APP}/mesh/rosters/home-mesh.json"));
            std::fs::hard_link(roster, home.path("backup")).unwrap();
        }
        let before = state(&home);
        let ran = with_mounts(&home, layers, &["migrate"]).ends_with(1);
        assert!(ran.stderr.contains("it is the source itself, seen through a mount"), "{ran:?}");
        assert!(ran.stderr.contains("hint: findmnt --target"), "{ran:?}");
        assert!(state(&home) == before, "it is lost: {ran:?}");
        home.run(&["migrate"]).ends_with(0);
    }
}

/// The message names the extended attributes that the copy lacks, without their values. The copy is
/// from a killed run.
#[cfg(target_os = "linux")]
#[test]
fn attributes_that_are_lost_are_named() {
    for args in [&["migrate", "--json"][..], &["launch", "--no-daemon", "--json"]] {
        let home = Home::legacy();
        let (here, there) =
            (format!("{APP}/mesh/rosters/home-mesh.json"), format!("{MESH}/mesh/rosters/home-mesh.json"));
        home.put(&there, &home.bytes(&here), 0o600);
        let noted = rustix::fs::setxattr(
            home.path(&here),
            "user.origin",
            b"never said",
            rustix::fs::XattrFlags::empty(),
        );
        if let Err(error) = noted {
            eprintln!("skipped: this file system has no attributes ({error})");
            return;
        }
        let ran = home.run(args).ends_with(0);
        let answer = ran.json();
        let notices = answer["diagnostics"].as_array().unwrap();
        let lost: Vec<_> =
            notices.iter().filter(|notice| notice["code"] == "migration.attributes-lost").collect();
        assert_eq!(lost.len(), 1, "{notices:#?}");
        assert_eq!(lost[0]["severity"], "warning");
        assert_eq!(lost[0]["path"], home.path(&there).to_str().unwrap());
        assert!(lost[0]["message"].as_str().unwrap().contains("user.origin"), "{lost:?}");
        assert!(!ran.stdout.contains("never said") && !ran.stderr.contains("never said"), "{ran:?}");
    }
}

/// A user who can replace the config is reported by each command that writes a config, and by no
/// other.
#[test]
fn a_config_that_is_written_where_others_can_write_is_said() {
    let told = |home: &Home, args: &[&str]| {
        let ran = run(&mut home.with_daemon(&[args, &["--json"]].concat()));
        let answer = ran.json();
        let notices = answer["diagnostics"].as_array().unwrap().clone();
        let told: Vec<_> =
            notices.into_iter().filter(|notice| notice["code"] == "homes.unsafe-permissions").collect();
        for notice in &told {
            let mend = format!("chmod go-w {}", home.path(APP).display());
            assert_eq!(notice["hint"], mend.as_str(), "{args:?}");
        }
        (
            ran.code,
            told.iter().map(|notice| notice["severity"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let warned = || (Some(0), vec!["warning".to_owned()]);
    let home = Home::settled();
    let leaked = Home::after_the_bug().bytes(CONFIG);
    set_mode(&home.path(APP), 0o777);
    assert_eq!(told(&home, &["network", "add", "more"]), warned());
    assert_eq!(told(&home, &["network", "add", "more"]), (Some(0), vec![]), "nothing was written");
    let first = home.run(&["config", "history", "--json"]).json()["data"]["copies"][0]["id"].clone();
    assert_eq!(told(&home, &["network", "add", "yet-more"]), warned());
    assert_eq!(told(&home, &["config", "restore", first.as_str().unwrap()]), warned());
    assert_eq!(told(&home, &["config", "restore", first.as_str().unwrap()]), (Some(0), vec![]));
    for command in [&["salvage"][..], &["launch", "--no-daemon"]] {
        home.put(CONFIG, &leaked, 0o644);
        assert_eq!(told(&home, command), warned(), "{command:?}");
    }
    // Reported once, as the reason why no daemon starts.
    home.put(CONFIG, &leaked, 0o644);
    assert_eq!(told(&home, &["launch", "--once"]), (Some(7), vec!["error".to_owned()]));
    set_mode(&home.path(APP), 0o755);
    assert_eq!(told(&home, &["network", "add", "in-peace"]).1, [""; 0]);
}

/// Clears the file attributes on drop, so that the home can be removed.
struct Unlocked<'a>(&'a Home);

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr")
            .args(["-R", "-i", "-a"])
            .arg(self.0.path(""))
            .stderr(Stdio::null())
            .status();
    }
}

#[test]
fn files_that_the_system_keeps_in_place_stay_and_are_named() {
    let probe = Home::empty();
    if !is_root() || !can("chattr", &["+i", probe.path("").to_str().unwrap()]) {
        return;
    }
    drop(Unlocked(&probe));
    for (attribute, what) in [
        ("+i", KEY),
        ("+i", ".myownllm/.secrets"),
        ("+a", ".myownllm/mesh/rosters"),
        ("+i", CONFIG),
        ("+a", CONFIG),
    ] {
        let home = Home::after_the_bug();
        let unlocked = Unlocked(&home);
        let (before, config) = (state(&home), home.bytes(CONFIG));
        assert!(Command::new("chattr").arg(attribute).arg(home.path(what)).status().unwrap().success());
        let ran = run(&mut home.with_daemon(&["launch", "--once"]));
        assert_ne!(ran.code, Some(0), "{what}: {ran:?}");
        sound(&ran);
        home.still_has(&config, what);
        let now = state(&home);
        assert!(before.iter().all(|file| now.contains(file)), "{what}: {ran:?}");
        assert!(home.has(KEY) || home.has(NEW_KEY), "{what}");
        drop(unlocked);
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.run(&["status", "--check"]).ends_with(0);
    }
}

/// Symlinks to another file occupy the names that the program would like to use.
#[test]
fn names_that_somebody_guessed_are_not_written_through() {
    let home = Home::after_the_bug();
    home.put("victim", b"untouched", 0o600);
    // The names contain the process id and a counter, so the test occupies a whole range.
    let dir = home.path(APP);
    let mut launch = Command::new("sh");
    let script = "for f in \"$1/.myownllm\" \"$1/.myownllm/config-backups\" \"$1/.myownllm/.myownmesh\"; do mkdir -p -m700 $f
        for n in 0 1 2 3 4 5; do for e in part swap; do ln -s \"$1/victim\" $f/.durable-fs.$$-$n.$e; done; done; done
        shift; exec \"$@\"";
    let inner = home.command(&["launch", "--no-daemon"]);
    launch.args(["-c", script, "sh"]).arg(home.path("")).arg(inner.get_program()).args(inner.get_args());
    let ran = run(launch.env_remove("MYOWNMESH_HOME").current_dir("/"));
    sound(&ran);
    assert_eq!(home.bytes("victim"), b"untouched");
    assert!(dir.join("config.json").symlink_metadata().unwrap().is_file(), "{ran:?}");
}

/// Calls that fail every time, beyond those that `cargo xtask crash` fails one by one.
#[test]
fn calls_that_fail_for_good_lose_nothing() {
    if !cfg!(target_os = "linux") || !can("strace", &["-o", "/dev/null", "true"]) {
        return;
    }
    for fault in [
        "flock:error=ENOLCK",
        "flock:error=EOPNOTSUPP",
        "close:error=EIO",
        "getrandom:error=ENOSYS",
        "copy_file_range:error=EINVAL",
        "copy_file_range:error=EXDEV",
        "fchmod:error=EPERM",
        "fchmodat:error=EPERM",
        "chmod:error=EPERM",
        "renameat2:error=EBUSY",
        "renameat2:error=EROFS",
        "renameat2:error=EEXIST",
        "mkdirat:error=EMLINK",
        "mkdirat:error=EROFS",
        "getdents64:error=EIO",
        "statx:error=EIO",
        "statx:error=ESTALE",
        "newfstatat:error=EIO",
        "newfstatat:error=ESTALE",
        "newfstatat:error=ESTALE:when=40+",
        "openat:error=ENFILE:when=30+",
        "openat:error=ENAMETOOLONG:when=30+",
        "write:error=EFBIG:when=2+",
        "write:error=EDQUOT",
        "unlinkat:error=EBUSY",
        "unlink:error=EBUSY",
        "fsync:error=EDQUOT",
        "renameat2:signal=SIGHUP:when=2",
        "renameat2:signal=SIGINT:when=2",
    ] {
        let home = Home::after_the_bug();
        let (before, config) = (state(&home), home.bytes(CONFIG));
        let launch = home.command(&["launch", "--no-daemon"]);
        let mut strace = Command::new("strace");
        let when = if fault.contains("when=") { "" } else { ":when=1+" };
        strace.args(["-f", "-o", "/dev/null", "-e"]).arg(format!("inject={fault}{when}"));
        strace
            .arg(launch.get_program())
            .args(launch.get_args())
            .env_remove("MYOWNMESH_HOME")
            .current_dir("/");
        let ran = run(&mut strace);
        assert!(!ran.all().contains("panicked"), "{fault}: {ran:?}");
        let signalled = fault.contains("signal=");
        assert!(
            signalled || ran.code.is_some_and(|code| (0..=8).contains(&code)) || ran.code == Some(127),
            "{fault}: {ran:?}"
        );
        let after = state(&home);
        assert!(before.iter().all(|file| after.contains(file)), "{fault}: something is lost: {ran:?}");
        home.still_has(&config, fault);
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        assert!(home.has(NEW_KEY) && !home.has(KEY), "{fault}");
        let settled = home.snapshot();
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        assert!(home.snapshot() == settled, "{fault}: the run after that wrote");
    }
}

/// A file name of full length has to be shortened to be set aside. One key in two spellings is no
/// second identity.
#[test]
fn collisions_of_long_names_and_of_one_key_written_twice_are_settled() {
    let home = Home::legacy();
    let long = format!("{}.json", "n".repeat(250));
    home.put(&format!("{APP}/mesh/rosters/{long}"), b"old", 0o600);
    home.put(&format!("{MESH}/mesh/rosters/{long}"), b"new", 0o600);
    let other = home.json(KEY).to_string();
    home.put(NEW_KEY, other.as_bytes(), 0o600);
    let former = home.bytes(KEY);
    let ran = home.run(&["migrate"]).ends_with(7);
    assert!(!ran.stderr.contains("two-identities"), "{ran:?}");
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(KEY) && home.has(NEW_KEY), "both stay until somebody decides");
    home.run(&["migrate", "--keep", "source"]).ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), former);
    assert_eq!(home.bytes(&format!("{MESH}/mesh/rosters/{long}")), b"old");
    home.still_has(b"new", "the roster that was set aside");
    home.still_has(other.as_bytes(), "the key that was set aside");
    home.run(&["status", "--check"]).ends_with(0);
}

#[test]
fn an_odd_version_of_a_leaked_config_is_an_old_one() {
    for version in [serde_json::json!(-1), serde_json::json!("three"), serde_json::json!(0.5)] {
        let home = Home::after_the_bug();
        let mut config = home.json(CONFIG);
        config["version"] = version.clone();
        let former = config.to_string();
        home.put(CONFIG, former.as_bytes(), 0o600);
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.still_has(former.as_bytes(), "the former config");
        assert!(
            home.json(CONFIG)["cloud_mesh"]["networks"].as_array().is_some_and(|all| !all.is_empty()),
            "{version}"
        );
    }
}

/// If its mode cannot be set, the key stays at the old location.
#[test]
fn a_key_that_cannot_be_made_private_stays() {
    if !cfg!(target_os = "linux") || !can("strace", &["-o", "/dev/null", "true"]) {
        return;
    }
    let home = Home::legacy();
    set_mode(&home.path(KEY), 0o644);
    let migrate = home.command(&["migrate"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "inject=fchmod,fchmodat,chmod:error=EPERM:when=1+"]);
    strace.arg(migrate.get_program()).args(migrate.get_args()).env_remove("MYOWNMESH_HOME").current_dir("/");
    let ran = run(&mut strace).ends_with(1);
    assert!(ran.stderr.contains("identity.json"), "{ran:?}");
    assert!(home.has(KEY) && !home.has(NEW_KEY));
}

/// A launch reports the networks that it sent to the daemon, without their credentials.
#[test]
fn a_launch_tells_of_networks_without_their_credentials() {
    let home = Home::with_secrets();
    home.run(&["network", "use", "home-mesh"]);
    let ran = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0);
    let plan = ran.json()["data"]["reconcile"]["plan"].to_string();
    assert!(plan.contains("turn:t.example:3478"), "the network is told of: {plan}");
    for secret in support::SECRETS {
        assert!(!ran.all().contains(secret), "{secret} is told");
    }
}

/// A home that does not exist has no problems; a mistyped path must not pass for a healthy home.
#[test]
fn a_home_that_is_not_there_is_told() {
    let home = Home::empty();
    let mistyped = home.path("").join("typo");
    for args in
        [&["status"][..], &["doctor"], &["migrate"], &["salvage"], &["config", "check"], &["network", "list"]]
    {
        let mut command = Command::new(support::program());
        let ran = run(command.arg("--home").arg(&mistyped).args(args).args(["--json"]));
        let told = ran.json()["diagnostics"].to_string();
        assert!(told.contains("paths.home-missing"), "{args:?}: {told}");
        assert!(!home.run(&[args, &["--json"]].concat()).json().to_string().contains("home-missing"));
    }
    assert!(!mistyped.exists());
    let mut status = Command::new(support::program());
    let told = run(status.arg("--home").arg(&mistyped).args(["status", "--json"])).json();
    assert_eq!(told["diagnostics"].as_array().unwrap().len(), 1, "one cause is told once: {told:#}");
}

/// A network name in an overwritten config may contain a login or a shell command.
#[test]
fn names_of_networks_are_shown_without_logins_and_copied_without_harm() {
    let home = Home::settled();
    let mut config = home.json(CONFIG);
    let turn = serde_json::json!([{"urls": ["turn:t"], "username": "u", "credential": "c"}]);
    config["cloud_mesh"]["networks"] = serde_json::json!([
        {"id": "net-1", "network_id": "https://u:hunter2@h", "label": "wss://u:hunter2@h"},
        {"id": "net-2", "network_id": "$(touch PWNED)", "turn_servers": turn},
    ]);
    config["cloud_mesh"]["active_network_id"] = "net-1".into();
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    for args in [&["network", "list"][..], &["status"], &["doctor"], &["launch", "--no-daemon"]] {
        for json in [&[][..], &["--json"]] {
            let ran = home.run(&[args, json].concat());
            assert!(!ran.all().contains("hunter2"), "{ran:?}");
        }
    }
    let ran = home.run(&["network", "export", "$(touch PWNED)"]).ends_with(0);
    assert!(ran.stderr.contains("network export --with-secrets '$(touch PWNED)'"), "{ran:?}");
}

/// A fault in the daemon home must not keep the config from the app.
#[test]
fn a_file_in_place_of_the_daemons_home_costs_the_app_nothing() {
    let home = Home::after_the_bug();
    home.put(MESH, b"not a directory", 0o600);
    let former = home.bytes(CONFIG);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(7).json();
    assert!(!ran["data"]["config"]["networks"].as_array().unwrap().is_empty(), "{ran:#}");
    assert_eq!(ran["data"]["config"]["shape"], "daemon");
    assert_eq!(home.bytes(CONFIG), former);
    assert!(home.run(&["status"]).stdout.contains("2 saved"));
    // The next launch moves and repairs everything once the file is out of the way.
    std::fs::rename(home.path(MESH), home.path(APP).join("aside")).unwrap();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

/// `status` predicts a refusal of `launch`.
#[cfg(unix)]
#[test]
fn a_status_says_that_nothing_moves_to_where_no_daemon_can_listen() {
    let home = Home::after_the_bug();
    let long = home.path(&"long".repeat(25));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(home.path(APP), long.join(APP)).unwrap();
    let here = |args: &[&str]| run(home.command(&[]).args(args).arg("--home").arg(&long));
    let status = here(&["status", "--check", "--json"]).ends_with(7).json();
    assert!(status["data"]["launch_would"].to_string().contains("refuse to change anything"), "{status:#}");
    let launched = here(&["launch", "--no-daemon", "--json"]).ends_with(7).json();
    let codes = |ran: &serde_json::Value| ran["diagnostics"].to_string().contains("paths.socket-too-long");
    assert!(codes(&status) && codes(&launched));
    assert!(long.join(KEY).exists());
}

/// Something else under the config's name does not keep the key from moving.
#[test]
fn a_dir_for_a_config_does_not_keep_the_key_from_its_place() {
    let home = Home::legacy();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    std::fs::create_dir(home.path(CONFIG)).unwrap();
    home.run(&["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY) && !home.has(KEY));
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(1);
    assert!(ran.stderr.contains("store.not-regular"), "{ran:?}");
}

/// Absent and unreadable are different: behind a directory that cannot be read, nothing is reported
/// as missing and no daemon as running.
#[cfg(unix)]
#[test]
fn what_lies_behind_a_closed_door_is_not_said_to_be_missing() {
    let home = Home::after_the_bug();
    let Some(user) = Unprivileged::new(&home) else { return };
    for door in [home.path(APP), home.path("")] {
        set_mode(&door, 0);
        let status = user.run(&home, &["status"]).ends_with(0);
        assert!(
            !status.stdout.contains("none yet") && !status.stderr.contains("is still running"),
            "{status:?}"
        );
        assert!(status.stderr.contains("warning: cannot use"), "{status:?}");
        let doctor = user.run(&home, &["doctor", "--json"]).json();
        for id in ["identity.sound", "state.moved"] {
            let checks = doctor["data"]["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["id"] == id).unwrap();
            assert_ne!(check["result"], "ok", "{check:#}");
        }
        set_mode(&door, 0o700);
    }
}

/// The config is healthy, so only this warning tells the user that there is no backup.
#[test]
fn a_copy_that_cannot_be_made_is_told_at_every_start() {
    let home = Home::settled();
    home.run(&["network", "add", "garden"]).ends_with(0);
    let Some(user) = Unprivileged::new(&home) else { return };
    let copies = |home: &Home| {
        let doctor = user.run(home, &["doctor", "--json"]).json();
        let checks = doctor["data"]["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["id"] == "config.copies").unwrap()
    };
    assert_eq!(copies(&home)["result"], "ok");
    let config = String::from_utf8(home.bytes(CONFIG)).unwrap().replace("garden", "yard");
    home.put(CONFIG, config.as_bytes(), 0o600);
    let dir = home.path(&format!("{APP}/config-backups"));
    set_mode(&dir, 0o500);
    for _ in 0..2 {
        let told = user.run(&home, &["launch", "--no-daemon", "--json"]).ends_with(0).json();
        let codes = told["diagnostics"].as_array().unwrap().iter().map(|told| &told["code"]);
        assert_eq!(codes.filter(|code| *code == "store.copy-failed").count(), 1, "{told:#}");
    }
    let check = copies(&home);
    assert_eq!(check["result"], "warning", "{check:#}");
    assert!(check["hint"].as_str().unwrap().ends_with(" repair"), "{check:#}");
    set_mode(&dir, 0o700);
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(copies(&home)["result"], "ok");
}

/// A config with control characters is printed without them, and the output parses to the same
/// config.
#[test]
fn a_config_that_is_shown_steers_nothing() {
    let home = Home::settled();
    let mark = "\u{9b}2J\u{7f}\u{202e}";
    let mut config = home.json(CONFIG);
    config["active_provider"] = mark.into();
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let shown = home.run(&["config", "show"]).ends_with(0);
    let answered = home.run(&["config", "show", "--json"]).ends_with(0);
    for text in [&shown.stdout, &answered.stdout] {
        assert!(!text.contains(|c: char| mark.contains(c) && !c.is_ascii_alphanumeric()), "{text:?}");
    }
    assert_eq!(shown.json()["active_provider"], mark);
    assert_eq!(answered.json()["data"]["config"]["active_provider"], mark);
}
