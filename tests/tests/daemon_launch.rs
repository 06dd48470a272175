//! `launch` and the daemon, end to end: the real program, and the stand-in daemon as a process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::{Builder, StandIn, standin::Version};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{APP, Home, MESH, Ran, path_with_program, run, set_mode};

const STAND_IN: &str = env!("CARGO_BIN_EXE_stand-in-daemon");
/// Longer than any step here takes, and far shorter than the waits that the program must not make.
const SLACK: Duration = Duration::from_secs(10);

fn config() -> String {
    format!("{APP}/config.json")
}

fn daemon_on(home: &Home, dir: &str) -> Builder {
    std::fs::create_dir_all(home.path(dir)).unwrap();
    Builder::new(STAND_IN, home.path(dir))
}

/// Reaps the daemon in a thread. A daemon that the program ends would otherwise stay a zombie child
/// of the test, and the program would wait for it.
fn reaped_elsewhere(standin: StandIn) -> u32 {
    let pid = standin.pid();
    std::thread::spawn(move || {
        let mut standin = standin;
        standin.wait(Duration::from_secs(60));
    });
    pid
}

/// Runs `launch` with the stand-in, which has the faults of `mode` and records its requests.
fn launch(home: &Home, mode: &str, args: &[&str]) -> Command {
    let mut command = home.with_daemon(&[&["launch"], args].concat());
    command.env("STAND_IN_MODE", mode).env("STAND_IN_TRACE", home.path("trace"));
    command
}

/// Returns the requests to the daemons of this home since the last call, and the number of their
/// connections.
fn asked(home: &Home) -> (Vec<String>, usize) {
    let read = |path: &str| {
        let text = std::fs::read_to_string(home.path(path)).unwrap_or_default();
        let _ = std::fs::remove_file(home.path(path));
        text
    };
    let ops = read("trace");
    let op = |line: &str| serde_json::from_str::<Value>(line).unwrap()["op"].as_str().unwrap().to_owned();
    (ops.lines().map(op).collect(), read("trace.connections").lines().count())
}

/// Returns all processes with a daemon home below this user's home.
fn serving(home: &Home) -> Vec<u32> {
    let wanted = format!("MYOWNMESH_HOME={}", home.path("").display());
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes()))
        })
        .collect()
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + SLACK;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn ask(socket: &Path, line: &str) -> Option<Value> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(SLACK)).ok()?;
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut answers = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    answers.find(|answer| answer["ok"] == true).map(|mut answer| answer["data"].take())
}

fn own_socket(home: &Home) -> PathBuf {
    home.path(&format!("{MESH}/daemon.sock"))
}

fn joined(home: &Home) -> Value {
    ask(&own_socket(home), r#"{"op":"status"}"#).unwrap()["joined_networks"].take()
}

/// A launch in the foreground. Drop kills and reaps it. Its output goes to files, which the test
/// reads while it runs.
struct Staying {
    child: Child,
    said: [PathBuf; 2],
}

impl Staying {
    fn start(home: &Home, mut command: Command) -> Self {
        let said = ["out", "err"].map(|name| home.path("..").join(name));
        let [out, err] = said.each_ref().map(|path| std::fs::File::create(path).unwrap());
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        Self { child, said }
    }

    /// Starts a launch and waits until it reports that its daemon runs.
    fn up(home: &Home, mode: &str) -> Self {
        let staying = Self::start(home, launch(home, mode, &[]));
        eventually("its daemon runs", || staying.said()[1].contains("Ctrl-C stops it"));
        asked(home);
        staying
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn said(&self) -> [String; 2] {
        self.said.each_ref().map(|path| std::fs::read_to_string(path).unwrap())
    }

    /// Waits for the end, which has to come within [`SLACK`].
    fn ended(mut self) -> Ran {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        let [stdout, stderr] = self.said();
        Ran { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A settled home with two saved networks, the first of which is active, and no daemon.
fn with_networks() -> Home {
    let home = Home::settled();
    home.run(&["network", "add", "first-net", "--activate"]).ends_with(0);
    home.run(&["network", "add", "second-net"]).ends_with(0);
    home
}

#[test]
fn each_step_costs_the_requests_that_it_needs_over_one_connection() {
    let home = Home::settled();
    run(&mut home.command(&["network", "use", "--none"])).ends_with(0);
    let daemon = Staying::up(&home, "");
    // Attaching to a daemon that needs no change costs one round trip.
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    assert_eq!(asked(&home), (vec!["status".to_owned()], 1));
    // Joining, switching and leaving need the daemon's config and the changes.
    let steps: [(&[&str], &[&str]); 4] = [
        (&["network", "add", "first-net", "--activate"], &["status", "config_show", "network_add"]),
        (
            &["network", "add", "second-net", "--activate"],
            &["status", "config_show", "network_add", "network_remove"],
        ),
        (&["network", "use", "first-net"], &["status", "config_show", "network_add", "network_remove"]),
        (&["network", "use", "--none"], &["status", "config_show", "network_remove"]),
    ];
    for (args, ops) in steps {
        run(&mut home.command(args)).ends_with(0);
        assert_eq!(asked(&home), (ops.iter().map(|op| (*op).to_owned()).collect(), 1), "{args:?}");
    }
    drop(daemon);
    eventually("nobody answers", || {
        serving(&home).into_iter().for_each(|pid| send(pid, Signal::KILL));
        serving(&home).is_empty()
    });
    // On a start, the request that finds the daemon ready is the first one of the conversation.
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    assert_eq!(asked(&home), (vec!["status".to_owned()], 1));
}

#[test]
fn a_silent_daemon_is_busy_and_nothing_is_started_beside_it() {
    for dir in [MESH, ".myownmesh"] {
        let home = Home::settled();
        let silent = daemon_on(&home, dir).mode("silent").start().unwrap();
        let ran = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(5);
        let said = ran.json();
        assert_eq!(said["diagnostics"][0]["code"], "daemon.busy", "{said}");
        assert!(said["diagnostics"][0]["message"].to_string().contains(&silent.pid().to_string()), "{said}");
        assert_eq!(said["data"]["daemon"]["state"], "none");
        assert!(said["data"]["config"]["networks"].is_array(), "the config is there all the same");
        assert_eq!(serving(&home), [silent.pid()]);
        // The line that reports that no daemon runs also says why.
        let ran = run(&mut launch(&home, "", &["--once"])).ends_with(5);
        let line = ran.stdout.lines().find(|line| line.starts_with("daemon ")).unwrap();
        assert!(line.contains("none was started: ") && line.contains(&silent.pid().to_string()), "{line}");
    }
}

#[test]
fn a_daemon_with_another_key_is_refused_and_both_keys_are_named() {
    let home = Home::settled();
    let mut foreign = daemon_on(&home, MESH).mode("other-key").start().unwrap();
    let ran = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7);
    let said = ran.json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.foreign-identity", "{said}");
    let message = said["diagnostics"][0]["message"].as_str().unwrap();
    let other = ask(foreign.socket(), r#"{"op":"status"}"#).unwrap()["device_id"].take();
    for part in [
        &*foreign.pid().to_string(),
        other.as_str().unwrap(),
        "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(foreign.is_running());
    assert_eq!(serving(&home), [foreign.pid()]);
}

/// The released daemons parse `identity_path` and never read it.
#[test]
fn the_key_in_its_place_is_the_key_whatever_a_config_names() {
    let keys = |home: &Home| {
        let found = Command::new("find").arg(home.path("")).args(["-name", "identity*"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    let naming = |home: &Home, file: &str, key: &str| {
        let mut config: Value = serde_json::from_slice(&home.bytes(file)).unwrap();
        config["identity_path"] = json!(key);
        std::fs::write(home.path(file), config.to_string()).unwrap();
    };
    let own_config = format!("{MESH}/config.json");

    // The repair runs before the move, so the daemon's config names the old location of the key.
    let home = Home::after_the_bug();
    naming(&home, &config(), home.path(APP).join(".secrets/identity.json").to_str().unwrap());
    home.run(&["salvage"]).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    let former = home.bytes(&own_config);
    let device = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    let started = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert_eq!(started["data"]["daemon"]["device_id"], device);
    assert_eq!(started["diagnostics"][0]["code"], "daemon.path-rebased", "{started:#}");
    assert_eq!(keys(&home), 1);
    home.still_has(&former, "the former config of the daemon");
    let again = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert_eq!(again["diagnostics"], json!([]));

    // A path to nothing; paths that depend on the directory in which the daemon starts; a file that
    // is no key; another key.
    std::fs::write(home.path("damaged"), "{}").unwrap();
    let other = include_bytes!("../fixtures/daemon-0.1.2/home/.myownllm/.secrets/identity.json");
    std::fs::write(home.path("other"), other).unwrap();
    let names = ["gone/identity.json", "damaged", "other"].map(|name| home.path(name));
    let names = names.iter().map(|path| path.to_str().unwrap());
    for named in names.chain(["identity.json", "~/.myownllm/identity.json", "../../x"]) {
        naming(&home, &own_config, named);
        let started = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
        assert_eq!(started["data"]["daemon"]["device_id"], device, "{named}");
        assert_eq!(keys(&home), 1, "{named}");
        let said = home.run(&["doctor"]).ends_with(0);
        let shown = named.replace(home.path("").to_str().unwrap(), "~");
        assert!(said.stdout.contains("identity.named") && said.stdout.contains(&shown), "{named}: {said:?}");
    }
}

#[test]
fn no_daemon_is_started_in_a_home_that_others_can_write_to() {
    let home = Home::settled();
    for dir in [APP, MESH, ".myownllm/.myownmesh/.secrets"] {
        let mode = home.path(dir).metadata().unwrap().permissions().mode();
        set_mode(&home.path(dir), 0o777);
        let refused = run(&mut launch(&home, "", &["--once"])).ends_with(7);
        let mend = format!("hint: chmod go-w {}", home.path(dir).display());
        assert!(refused.stderr.contains(&mend), "{dir}: {refused:?}");
        assert!(home.run(&["status"]).stdout.contains("start no daemon"), "{dir}");
        assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  homes.private"), "{dir}");
        // The sticky bit keeps other users from replacing files.
        set_mode(&home.path(dir), 0o1777);
        run(&mut launch(&home, "", &["--once"])).ends_with(0);
        set_mode(&home.path(dir), mode);
    }
}

/// Who writes there approves a device, leads the daemon to another network, or plants a backup.
#[test]
fn no_daemon_is_started_on_peers_or_configs_that_others_can_write_to() {
    let home = Home::settled();
    home.put(&format!("{MESH}/config.json"), b"{\"version\": 3}", 0o600);
    let peers = ["mesh", "mesh/rosters", "mesh/states", "config.json"];
    let mut paths: Vec<String> = peers.iter().map(|path| format!("{MESH}/{path}")).collect();
    paths.extend([format!("{APP}/config-backups"), config()]);
    for path in paths {
        let mode = home.path(&path).metadata().unwrap().permissions().mode();
        set_mode(&home.path(&path), mode | 0o022);
        let refused = run(&mut launch(&home, "", &["--once"])).ends_with(7);
        let mend = format!("hint: chmod go-w {}", home.path(&path).display());
        assert!(refused.stderr.contains(&mend), "{path}: {refused:?}");
        assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  homes.private"), "{path}");
        set_mode(&home.path(&path), mode);
    }
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
}

#[test]
fn an_open_secret_is_named_and_ends_private_before_a_daemon_starts() {
    let home = Home::settled();
    home.put(&format!("{MESH}/.secrets/custody.json"), b"{\"version\": 1}", 0o600);
    for (file, mode) in [("identity.json", 0o644), ("identity.json", 0o666), ("custody.json", 0o640)] {
        let secret = home.path(&format!("{MESH}/.secrets/{file}"));
        set_mode(&secret, mode);
        let doctor = home.run(&["doctor"]).ends_with(0).stdout;
        let mend = doctor.lines().find(|line| line.contains("-> chmod 600"));
        assert!(mend.is_some_and(|line| line.ends_with(file)), "{doctor}");
        run(&mut launch(&home, "", &["--once"])).ends_with(0);
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file} {mode:o}");
    }
}

/// The config is on a disk that is missing: a daemon would replace the symlink.
#[test]
fn a_daemon_config_behind_a_symlink_to_nothing_is_no_absent_one() {
    let home = Home::settled();
    let own = home.path(MESH).join("config.json");
    std::os::unix::fs::symlink("/mnt/missing/config.json", &own).unwrap();
    let said = run(&mut launch(&home, "", &["--once", "--json"]));
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("daemon.config-unreadable"), "{said:?}");
    assert!(said.stdout.contains(&format!("mv -n {}", own.display())), "{said:?}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  daemon.config"));
    assert!(own.is_symlink());
}

/// A daemon with such a socket path would start where nobody finds it, and the launch would wait
/// for it in vain.
#[test]
fn a_control_socket_that_is_no_address_is_refused_before_a_daemon_is_started() {
    let home = Home::settled();
    let own = home.path(MESH).join("config.json");
    let too_long = format!("/tmp/{}", "s".repeat(200));
    let odd = ["mesh.sock", "", "./mesh.sock", "/tmp/mesh\0sock", "/tmp/", "/tmp/.."];
    let odd = odd.map(|socket| (socket, "paths.control-socket"));
    for (socket, code) in odd.into_iter().chain([(too_long.as_str(), "paths.socket-too-long")]) {
        std::fs::write(&own, json!({ "version": 3, "daemon": { "control_socket": socket } }).to_string())
            .unwrap();
        let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7).json();
        let found = &said["diagnostics"][0];
        assert_eq!(found["code"], code, "{socket:?}: {said:#}");
        let told = found["message"].to_string() + &found["hint"].to_string();
        assert!(told.contains("control_socket") && told.contains(own.to_str().unwrap()), "{told}");
        assert!(!home.path(MESH).join("daemon.log").exists(), "{socket:?}: a daemon was started");
        assert_eq!(asked(&home).1, 0);
        // `status`, `doctor` and `paths` predict the refusal.
        let status = run(&mut home.command(&["status", "--check", "--json"])).ends_with(7).json();
        assert_eq!(status["diagnostics"][0]["code"], code, "{socket:?}: {status:#}");
        assert!(home.run(&["status"]).ends_with(0).stdout.contains("start no daemon"), "{socket:?}");
        let doctor = home.run(&["doctor"]).ends_with(4).stdout;
        assert!(doctor.contains("problem  socket.length"), "{doctor}");
        assert!(home.run(&["paths"]).ends_with(0).stderr.contains("control_socket"), "{socket:?}");
    }
}

/// The message names the network that cannot be sent to the daemon, and the hint shows that
/// network.
#[test]
fn an_active_network_that_no_daemon_would_understand_is_named() {
    let home = with_networks();
    let mut changed = home.json(&config());
    let active = changed["cloud_mesh"]["active_network_id"].clone();
    let networks = changed["cloud_mesh"]["networks"].as_array_mut().unwrap();
    let network = networks.iter_mut().find(|network| network["id"] == active).unwrap();
    network["turn_servers"] = json!({ "url": "turn:t" });
    home.put(&config(), changed.to_string().as_bytes(), 0o600);
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(1).json();
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["severity"] == "error").unwrap();
    assert_eq!(found["code"], "bridge.malformed", "{said:#}");
    assert!(found["message"].as_str().unwrap().starts_with("the active network first-net: "), "{found}");
    assert!(found["hint"].as_str().unwrap().ends_with(" network show first-net"), "{found}");
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.contains("problem  networks.active"), "{doctor}");
    home.run(&["config", "check"]).ends_with(1);
}

/// `status` and `doctor` predict that something blocks the socket path, and the hint removes it.
#[test]
fn what_is_no_socket_in_a_daemons_way_is_foreseen() {
    let home = Home::settled();
    std::fs::write(own_socket(&home), "precious").unwrap();
    let status = run(&mut home.command(&["status", "--check", "--json"])).ends_with(5).json();
    assert_eq!(status["diagnostics"][0]["code"], "daemon.not-a-socket", "{status:#}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  socket.length"));
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(5).json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.not-a-socket", "{said:#}");
    let hint = said["diagnostics"][0]["hint"].as_str().unwrap();
    assert!(Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{hint}");
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    home.still_has(b"precious", "what was in the way");
}

/// A file outside of the home belongs to somebody else: no hint moves it away.
#[rstest]
#[case::a_directory("/tmp")]
#[case::a_device("/dev/null")]
#[case::a_system_file("/etc/passwd")]
fn control_socket_that_names_another_file_is_refused_with_the_config(#[case] named: &str) {
    let home = Home::settled();
    let config = json!({ "version": 3, "daemon": { "control_socket": named }, "networks": [] });
    home.put(".myownllm/.myownmesh/config.json", config.to_string().as_bytes(), 0o600);
    let status = run(&mut home.command(&["status", "--check", "--json"])).ends_with(7).json();
    assert_eq!(status["diagnostics"][0]["code"], "paths.control-socket", "{status:#}");
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7).json();
    let found = &said["diagnostics"][0];
    assert_eq!(found["code"], "paths.control-socket", "{said:#}");
    assert!(!found["hint"].as_str().unwrap().contains("mv "), "{found}");
    home.run(&["doctor"]).ends_with(4);
}

/// A daemon makes a new key if it finds none. If peers know a former key, no daemon starts, and the
/// hint is the way out.
#[test]
fn no_second_key_comes_into_being_beside_the_peers_of_the_first() {
    let home = Home::settled();
    let new_key = home.path(&format!("{MESH}/.secrets/identity.json"));
    std::fs::remove_file(&new_key).unwrap();
    let foreseen = home.run(&["status", "--json"]).json();
    assert!(foreseen["diagnostics"].to_string().contains("identity.gone"), "{foreseen:#}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  identity.sound"));
    let refused = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7).json();
    let found = refused["diagnostics"].as_array().unwrap().clone();
    let found = found.into_iter().find(|one| one["code"] == "identity.gone").unwrap();
    assert!(!new_key.exists());
    // The key comes first: the hint says where to copy a backup of the key.
    assert!(found["hint"].as_str().unwrap().contains("cp -pn /path/to/backup/identity.json"), "{found}");
    let ways = home.run(&["identity", "--json"]).ends_with(7).json()["data"]["ways_out"].take();
    let last = ways.as_array().unwrap().last().unwrap();
    assert_eq!(last["action"], "give-up-peers", "{ways:#}");
    let way_out = last["command"].as_str().unwrap();
    assert!(found["message"].as_str().unwrap().contains("give up the peers"), "{found}");
    let shown = home.run(&["identity"]).ends_with(7).stdout;
    assert!(shown.contains(&format!("\n  {way_out}\n")), "{shown}");
    assert!(Command::new("sh").args(["-c", way_out]).status().unwrap().success(), "{way_out}");
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    assert!(new_key.exists() && home.run(&["doctor", "-v"]).stdout.contains("ok       identity.sound"));
    // Without peers, a new key is a stranger to nobody.
    run(&mut launch(&Home::empty(), "", &["--once"])).ends_with(0);
}

/// A home after the bug, with the key outside of both homes: only the overwritten config names the
/// key.
fn home_with_key_elsewhere() -> (Home, PathBuf) {
    let home = Home::after_the_bug();
    let key = home.path("keys/identity.json");
    std::fs::create_dir(home.path("keys")).unwrap();
    std::fs::rename(home.path(&format!("{APP}/.secrets/identity.json")), &key).unwrap();
    for dir in ["rosters", "states"] {
        std::fs::remove_dir_all(home.path(&format!("{APP}/mesh/{dir}"))).unwrap();
    }
    let mut leaked = home.json(&config());
    leaked["identity_path"] = key.to_str().unwrap().into();
    home.put(&config(), leaked.to_string().as_bytes(), 0o600);
    (home, key)
}

/// Only a config names a key outside of the homes. Here that config is the app's, with a key that a
/// daemon left; or it has lost its beginning; or its daemon part was set aside, because the daemon
/// had a config already; or it is whole; or it is cut off after the path of the key; or it is the
/// daemon's own.
#[test]
fn no_second_key_comes_into_being_because_a_config_names_the_first_elsewhere() {
    let leftover = |home: &Home, key: &Path| {
        let app = std::fs::read(support::root().join("tests/fixtures/app-config-before.json")).unwrap();
        let mut app: Value = serde_json::from_slice(&app).unwrap();
        app["identity_path"] = key.to_str().unwrap().into();
        home.put(&config(), app.to_string().as_bytes(), 0o600);
    };
    let without_beginning = |home: &Home| {
        let torn = [b"\0\0\0\0\0", &home.bytes(&config())[5..]].concat();
        home.put(&config(), &torn, 0o600);
    };
    let beside = |home: &Home| home.put(&format!("{MESH}/config.json"), br#"{"version": 3}"#, 0o600);
    let cut_off = |home: &Home| {
        let whole = home.bytes(&config());
        home.put(&config(), &whole[..whole.len() - 5], 0o600);
    };
    for number in 0..6 {
        let (home, key) = home_with_key_elsewhere();
        match number {
            0 => leftover(&home, &key),
            1 => without_beginning(&home),
            2 => beside(&home),
            3 => cut_off(&home),
            4 => {
                home.run(&["salvage"]).ends_with(0);
                std::fs::remove_dir_all(home.path(&format!("{APP}/config-backups"))).unwrap();
            }
            _ => {}
        }
        let device = std::fs::read(&key).unwrap();
        let refused = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7).json();
        let found = refused["diagnostics"].as_array().unwrap().clone();
        let found = found.into_iter().find(|one| one["code"] == "identity.gone");
        let found = found.unwrap_or_else(|| panic!("{number}: {refused:#}"));
        assert!(found["message"].as_str().unwrap().contains(key.to_str().unwrap()), "{found}");
        let way_out = found["hint"].as_str().unwrap();
        assert!(Command::new("sh").args(["-c", way_out]).status().unwrap().success(), "{way_out}");
        run(&mut launch(&home, "", &["--once"])).ends_with(0);
        assert_eq!(home.bytes(&format!("{MESH}/.secrets/identity.json")), device, "{number}");
    }
}

/// An invalid socket path in the overwritten config does not stop the repair, which writes it into
/// the daemon's config.
#[test]
fn a_leaked_control_socket_that_is_no_address_keeps_nothing_from_being_moved_and_repaired() {
    let home = Home::after_the_bug();
    let mut config = home.json(&config());
    config["daemon"]["control_socket"] = "mesh.sock".into();
    std::fs::write(home.path(APP).join("config.json"), config.to_string()).unwrap();
    let foreseen = home.run(&["status", "--json"]).ends_with(0).json();
    let named = home.path(APP).join("config.json");
    assert!(foreseen["diagnostics"].to_string().contains(named.to_str().unwrap()), "{foreseen:#}");
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(7).json();
    assert_eq!(said["data"]["config"]["shape"], "daemon");
    assert!(home.has(&format!("{MESH}/.secrets/identity.json")), "moved");
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["severity"] == "error").unwrap();
    assert_eq!(found["code"], "paths.control-socket", "{said:#}");
    assert_eq!(found["path"], home.path(MESH).join("config.json").to_str().unwrap());
    assert!(!home.run(&["salvage", "--check"]).ends_with(0).all().contains("pending"));
}

/// A failing step names the network and the daemon, in the JSON document as well.
#[test]
fn what_a_daemon_does_not_do_is_told_with_the_network_and_the_daemon() {
    let home = with_networks();
    let mut changed = home.json(&config());
    for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
        if network["network_id"] == "second-net" {
            network["label"] = "Second one".into();
        }
    }
    home.put(&config(), changed.to_string().as_bytes(), 0o600);
    let use_second = || run(&mut home.command(&["network", "use", "second-net", "--json"]));
    let found = |said: &Value| said["diagnostics"][0].clone();
    let refused = daemon_on(&home, MESH).mode("refuse-add:no").start().unwrap();
    let said = use_second().ends_with(1).json();
    let wanted =
        format!("the app's daemon (process {}) did not join second-net (Second one): ", refused.pid());
    assert!(found(&said)["message"].as_str().unwrap().starts_with(&wanted), "{said:#}");
    assert_eq!(found(&said)["path"], own_socket(&home).to_str().unwrap());
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" network show second-net"), "{said:#}");
    let daemon = &said["data"]["reconcile"]["daemon"];
    assert_eq!((&daemon["role"], &daemon["pid"]), (&json!("own"), &json!(refused.pid())), "{daemon}");
    drop(refused);
    // A daemon that dies during the request.
    let dying = daemon_on(&home, MESH).mode("dies-unanswered:3").start().unwrap();
    let said = use_second().ends_with(5).json();
    assert!(
        found(&said)["message"]
            .to_string()
            .contains(&format!("process {}) did not join second-net", dying.pid()))
    );
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" status"), "{said:#}");
    drop(dying);
    // A network that the daemon does not leave waits for the next launch.
    let _stays = daemon_on(&home, MESH).mode("refuse-remove:busy now").start().unwrap();
    use_second().ends_with(0);
    let said = run(&mut home.command(&["network", "use", "first-net", "--json"])).ends_with(0).json();
    assert_eq!(found(&said)["severity"], "warning", "{said:#}");
    assert!(found(&said)["message"].to_string().contains("did not leave second-net"), "{said:#}");
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" launch --once"), "{said:#}");
}

/// A config with which the daemon does not start is found before the start.
#[test]
fn a_daemons_config_on_which_none_starts_is_named_by_doctor() {
    let home = Home::settled();
    let check = || {
        let doctor = home.run(&["doctor", "--json"]).json();
        let checks = doctor["data"]["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "daemon.config").unwrap();
        (check["result"].as_str().unwrap().to_owned(), check["hint"].as_str().unwrap_or_default().to_owned())
    };
    let own = home.path(MESH).join("config.json");
    assert_eq!(check().0, "ok");
    let running = daemon_on(&home, MESH).start().unwrap();
    std::fs::write(&own, "{\"version\": 9}").unwrap();
    assert_eq!(check().0, "warning", "a daemon that runs has read its config");
    drop(running);
    std::fs::write(&own, "{\"version\": 9}").unwrap();
    assert!(matches!(check(), (mark, hint) if mark == "problem" && hint.is_empty()));
    std::fs::write(&own, "{\"version\": 3, ").unwrap();
    let (mark, hint) = check();
    assert_eq!(mark, "problem");
    let mut repair = Command::new("sh");
    assert!(
        repair.args(["-c", &hint]).env("PATH", path_with_program()).status().unwrap().success(),
        "{hint}"
    );
    assert_eq!(check().0, "ok");
    std::fs::remove_file(&own).unwrap();
    std::os::unix::fs::symlink("../config.json", &own).unwrap();
    assert_eq!(check().0, "problem", "the app's config is not the daemon's");
}

#[test]
fn a_daemon_that_dies_ends_the_foreground_launch_with_its_last_words() {
    let home = Home::settled();
    // The document describes the moment at which the daemon was up; the exit code and stderr report
    // its end.
    let ran = Staying::start(&home, launch(&home, "dies-in:300", &["--json"])).ended().ends_with(5);
    assert_eq!(ran.json()["ok"], true, "{ran:?}");
    assert_eq!(ran.json()["data"]["daemon"]["state"], "spawned");
    assert!(ran.stderr.contains("daemon.died") && ran.stderr.contains("hint: tail -n 50 "), "{ran:?}");
    let ran = Staying::start(&home, launch(&home, "dies-in:300", &[])).ended().ends_with(5);
    assert!(ran.stdout.contains("started: version"), "{ran:?}");
    for part in ["daemon.died", "exit status: 3", "told to die now"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(serving(&home).is_empty());

    // Also if the daemon dies during the first requests.
    let home = with_networks();
    for mode in ["dies-unanswered:2", "dies-after:1", "dies-unanswered:3"] {
        let ran = Staying::start(&home, launch(&home, mode, &[])).ended().ends_with(5);
        for part in ["daemon.died", "exit status: 3", "told to die"] {
            assert!(ran.stderr.contains(part), "{mode}: {part}: {}", ran.stderr);
        }
        assert!(serving(&home).is_empty());
    }
}

/// The printed command that undoes a change reaches the daemon as well.
#[test]
fn restored_config_brings_a_running_daemon_in_line() {
    let home = with_networks();
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    let _daemon = daemon_on(&home, MESH).start().unwrap();
    let joined = || ask(&own_socket(&home), r#"{"op":"status"}"#).unwrap()["joined_networks"].clone();
    let before = joined();
    let removed = home.run(&["network", "remove", "first-net", "--json"]).ends_with(0).json();
    assert_ne!(joined(), before);
    let undo = removed["data"]["undo"].as_str().unwrap();
    let mut shell = Command::new("sh");
    assert!(shell.args(["-c", undo]).env("PATH", path_with_program()).status().unwrap().success(), "{undo}");
    assert_eq!(joined(), before, "{undo}");
}

/// Another launch that runs once may end the daemon to which this one is attached.
#[test]
fn launch_whose_daemon_ends_under_it_looks_again() {
    for mode in ["dies-after:1", "dies-unanswered:2"] {
        let home = with_networks();
        run(&mut launch(&home, "", &["--once"])).ends_with(0);
        let dying = daemon_on(&home, MESH).mode(mode).start().unwrap();
        let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
        let daemon = &said["data"]["daemon"];
        assert_eq!(daemon["state"], "spawned", "{mode}: {said:#}");
        assert_ne!(daemon["pid"], dying.pid(), "{mode}: {said:#}");
    }
}

/// The daemon is healthy: it only refused one network.
#[test]
fn a_daemon_that_refuses_a_network_is_stayed_with() {
    let home = with_networks();
    let app = Staying::up(&home, "refuse-add:the disk is full");
    let [daemon] = serving(&home)[..] else { panic!() };
    // The message names the network, the daemon and the cause, and the hint says what to do.
    let said = app.said()[1].clone();
    let program = format!("myownllm-mesh --home {}", home.path("").display());
    for part in [
        format!("error: the app's daemon (process {daemon}) did not join first-net: "),
        "the disk is full".to_owned(),
        "  at: ~/.myownllm/.myownmesh/daemon.sock".to_owned(),
        format!("  hint: {} network show first-net", program.trim_end_matches('/')),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    send(app.pid(), Signal::TERM);
    app.ended().ends_with(1);
    assert!(!serving(&home).contains(&daemon));
}

#[test]
fn a_signal_ends_a_foreground_launch_well_and_takes_the_daemon_along() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let home = Home::settled();
        let app = Staying::up(&home, "");
        let daemon = serving(&home);
        assert_eq!(daemon.len(), 1);
        send(app.pid(), signal);
        let ran = app.ended().ends_with(0);
        assert!(ran.stderr.contains("Ctrl-C"), "{ran:?}");
        assert!(std::fs::symlink_metadata(format!("/proc/{}", daemon[0])).is_err(), "ended and reaped");
        assert!(!home.has(&format!("{MESH}/daemon.sock")), "politely: it took its socket along");
    }
    // A SIGHUP that the parent ignores stays ignored.
    let home = Home::settled();
    let mut nohup = Command::new("sh");
    let inner = launch(&home, "", &[]);
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    nohup.env("MYOWNMESH_BIN", STAND_IN).env("HOME", "/nonexistent");
    let app = Staying::start(&home, nohup);
    eventually("its daemon runs", || app.said()[1].contains("Ctrl-C stops it"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 1, 1, "still ignored");
    send(app.pid(), Signal::TERM);
    let ran = app.ended().ends_with(0);
    assert!(ran.stderr.contains("Ctrl-C"), "{ran:?}");
    // A daemon that ignores SIGTERM is killed.
    let home = Home::settled();
    let app = Staying::up(&home, "ignore-term");
    send(app.pid(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(serving(&home).is_empty());
}

#[test]
fn a_signal_while_a_daemon_starts_leaves_none_behind() {
    for args in [&[][..], &["--once"], &["--detach"]] {
        for mode in ["slow-start:60000", "silent", "slow-start:60000,ignore-term"] {
            let home = Home::settled();
            let app = Staying::start(&home, launch(&home, mode, args));
            eventually("it is being started", || !serving(&home).is_empty());
            send(app.pid(), Signal::TERM);
            let ran = app.ended().ends_with(0);
            assert!(ran.stdout.contains("none was started: the start of a daemon was broken off"), "{ran:?}");
            assert!(serving(&home).is_empty(), "{args:?} {mode}");
        }
    }
    // A launch that waits for the lock, for somebody else's start or move, ends as well.
    for home in [Home::settled(), Home::legacy()] {
        let _lock = support::hold_lock(&home.path(APP));
        let app = Staying::start(&home, launch(&home, "", &["--once"]));
        // By then it has looked for a daemon. A process that waits for the lock keeps the directory
        // open; every other look at the directory ends within one poll.
        let mut looks = 0;
        eventually("it waits", || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().flatten();
            let waits = open.flat_map(|fd| std::fs::read_link(fd.path())).any(|file| file == home.path(APP));
            looks = if waits { looks + 1 } else { 0 };
            looks == 5
        });
        send(app.pid(), Signal::TERM);
        app.ended().ends_with(0);
        assert!(serving(&home).is_empty());
    }
}

#[test]
fn what_a_killed_app_left_behind_is_adopted() {
    let home = Home::settled();
    let app = Staying::up(&home, "");
    let daemon = serving(&home);
    send(app.pid(), Signal::KILL);
    app.ended();
    let said = run(&mut launch(&home, "", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said}");
    assert_eq!(said["data"]["daemon"]["pid"], daemon[0]);
    assert_eq!(serving(&home), daemon, "nothing was started beside it, and it is not ours to end");
    send(daemon[0], Signal::TERM);
    eventually("it ends", || serving(&home).is_empty());
}

#[test]
fn a_daemon_whose_socket_was_removed_is_named_and_ended_only_on_request() {
    let home = Home::settled();
    let running = daemon_on(&home, MESH).start().unwrap();
    std::fs::remove_file(running.socket()).unwrap();
    let pid = reaped_elsewhere(running);
    let ran = run(&mut launch(&home, "", &["--once"])).ends_with(7);
    assert!(ran.stderr.contains(&pid.to_string()) && ran.stderr.contains("daemon restart"), "{ran:?}");
    assert!(ran.stderr.contains("its socket was removed under it"), "{ran:?}");
    assert_eq!(serving(&home), [pid]);
    // A change of the active network does not report that no daemon runs.
    for change in [&["network", "add", "a-net", "--activate"][..], &["network", "use", "--none"]] {
        let ran = home.run(change).ends_with(7);
        assert!(
            ran.stderr.contains("daemon.without-socket") && ran.stderr.contains(&pid.to_string()),
            "{ran:?}"
        );
        assert!(!ran.stdout.contains("No daemon runs"), "{ran:?}");
    }
    run(&mut home.with_daemon(&["daemon", "restart"])).ends_with(0);
    let restarted = serving(&home);
    assert!(restarted.len() == 1 && restarted[0] != pid, "{restarted:?}");
    home.run(&["daemon", "stop"]).ends_with(0);
    assert!(serving(&home).is_empty());
}

/// A shell that exports the variable passes it to every program, and a log may have the daemon's
/// name.
#[rstest]
#[case::in_the_daemon_home(MESH, &["daemon", "stop"])]
#[case::in_the_old_location(APP, &["repair", "--stop-legacy-daemon"])]
fn process_with_the_words_of_a_daemon_is_never_signalled(#[case] dir: &str, #[case] stop: &[&str]) {
    let home = Home::settled();
    for name in ["myownmesh.log", "serve"] {
        home.put(name, b"", 0o600);
    }
    let mut command = Command::new("tail");
    command.args(["-f", "myownmesh.log", "serve"]).current_dir(home.path(""));
    command.env("MYOWNMESH_HOME", home.path(dir)).stdout(Stdio::null());
    let mut tail = command.spawn().unwrap();
    let environment = format!("/proc/{}/environ", tail.id());
    eventually("it runs", || std::fs::read(&environment).is_ok_and(|bytes| !bytes.is_empty()));
    for args in [&["launch", "--once"][..], &["doctor"], stop] {
        run(&mut home.with_daemon(args)).ends_with(0);
    }
    assert!(tail.try_wait().unwrap().is_none(), "it was signalled");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

/// A process without file descriptors cannot connect. That says nothing about the daemon.
#[rstest]
#[case::doctor(&["doctor"])]
#[case::daemon_status(&["daemon", "status"])]
#[case::first_screen(&[])]
fn daemon_that_cannot_be_looked_for_is_not_told_as_one_without_socket(#[case] args: &[&str]) {
    let home = Home::settled();
    let _daemon = daemon_on(&home, MESH).start().unwrap();
    let plain = home.with_daemon(args);
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=4:4").arg(plain.get_program()).args(plain.get_args());
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = run(&mut limited);
    assert!(ran.all().contains("Too many open files"), "{ran:?}");
    for wrong in ["its socket was removed", "daemon restart", "daemon.without-socket"] {
        assert!(!ran.all().contains(wrong), "{wrong}: {ran:?}");
    }
}

/// The socket is renamed after it was bound, so that its path in the kernel's table leads nowhere.
#[test]
fn silent_listener_is_named_by_the_process_of_its_credentials() {
    let home = Home::settled();
    let bound = home.path("daemon.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&bound).unwrap();
    std::fs::rename(&bound, home.path(&format!("{MESH}/daemon.sock"))).unwrap();
    let hint = format!("ps -fp {}", std::process::id());
    for args in [&["doctor"][..], &["daemon", "status"], &["launch", "--once"], &["daemon", "stop"]] {
        let ran = run(&mut home.with_daemon(args));
        assert!(ran.all().contains(&hint) && !ran.all().contains("container"), "{args:?}: {ran:?}");
    }
}

#[test]
fn stop_and_status_name_the_legacy_daemon_and_the_command_that_ends_it() {
    let home = Home::legacy();
    let legacy = reaped_elsewhere(daemon_on(&home, APP).start().unwrap());
    for (args, exit) in [(["daemon", "stop"], 7), (["daemon", "status"], 7)] {
        let ran = run(&mut home.with_daemon(&args)).ends_with(exit);
        for told in [&legacy.to_string(), "repair --stop-legacy-daemon"] {
            assert!(ran.all().contains(told), "{args:?}: {ran:?}");
        }
        assert!(!ran.all().contains("launch --detach"), "{ran:?}");
    }
    assert_eq!(serving(&home), [legacy]);
    run(&mut home.with_daemon(&["repair", "--stop-legacy-daemon"])).ends_with(0);
    assert!(serving(&home).is_empty());
}

#[test]
fn a_second_daemon_beside_the_one_that_answers_is_named_and_ended_on_request() {
    let home = Home::settled();
    let first = daemon_on(&home, MESH).start().unwrap();
    std::fs::remove_file(first.socket()).unwrap();
    let second = daemon_on(&home, MESH).start().unwrap();
    let [unseen, seen] = [first, second].map(reaped_elsewhere);
    for args in [&["launch"][..], &["status"]] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        let found = said["diagnostics"].as_array().unwrap();
        let named: Vec<&Value> = found.iter().filter(|one| one["code"] == "daemon.without-socket").collect();
        assert_eq!(named.len(), 1, "{said}");
        assert!(named[0]["message"].as_str().unwrap().contains(&format!("process {unseen})")), "{said}");
        assert!(named[0]["hint"].as_str().unwrap().ends_with("daemon restart"), "{said}");
    }
    run(&mut launch(&home, "", &["--detach", "--stop-legacy-daemon"])).ends_with(0);
    let left = serving(&home);
    assert!(left.len() == 1 && left[0] != unseen, "{left:?}, {seen}");
    let said = run(&mut launch(&home, "", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], left[0], "{said}");
    assert!(!said["diagnostics"].to_string().contains("daemon.without-socket"), "{said}");
    send(left[0], Signal::TERM);
    eventually("it ends", || serving(&home).is_empty());
}

/// A script that waits for the daemon it started has the daemon's environment, but is no daemon.
#[test]
fn a_script_around_the_daemon_is_no_second_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::settled();
    let script = home.path("myownmesh");
    std::fs::write(&script, format!("#!/bin/sh\n'{STAND_IN}' \"$@\" &\nwait\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    run(launch(&home, "", &["--detach"]).env("MYOWNMESH_BIN", &script)).ends_with(0);
    assert_eq!(serving(&home).len(), 2);
    let said = run(&mut launch(&home, "", &["--json"])).ends_with(0).json();
    assert!(!said["diagnostics"].to_string().contains("daemon.without-socket"), "{said}");
    serving(&home).into_iter().for_each(|pid| send(pid, Signal::TERM));
    eventually("they end", || serving(&home).is_empty());
}

/// A launch recognises its own daemons by a mark in their environment, whatever the program's name.
#[test]
fn a_daemon_that_a_killed_launch_left_on_its_way_is_waited_for_and_adopted() {
    let home = Home::settled();
    let app = Staying::start(&home, launch(&home, "slow-start:1500", &[]));
    eventually("it is on its way", || !serving(&home).is_empty());
    let daemon = serving(&home);
    send(app.pid(), Signal::KILL);
    app.ended();
    let said = run(&mut launch(&home, "", &["--detach", "--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said}");
    assert_eq!(serving(&home), daemon);
    assert_eq!(said["data"]["daemon"]["pid"], daemon[0], "{said}");
    send(daemon[0], Signal::TERM);
    eventually("it ends", || serving(&home).is_empty());
}

#[test]
fn a_detached_daemon_holds_no_lock_and_nothing_else_of_ours() {
    let home = Home::settled();
    run(&mut launch(&home, "", &["--detach"])).ends_with(0);
    let [pid] = serving(&home)[..] else { panic!() };
    drop(support::hold_lock(&home.path(APP)));
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let held = std::fs::read_link(entry.path()).unwrap_or_default();
        let log = home.path(&format!("{MESH}/daemon.log"));
        assert!(!held.starts_with(home.path("")) || held == log, "{}", held.display());
    }
    send(pid, Signal::TERM);
    eventually("it ends", || serving(&home).is_empty());
}

/// The daemon inherits no open file of the shell and no ignored signal.
#[test]
fn a_detached_daemon_inherits_nothing_from_who_started_the_launch() {
    let home = Home::settled();
    let shell = |script: &str| {
        let inner = launch(&home, "", &["--detach"]);
        let mut shell = Command::new("bash");
        shell.args(["-c", script, "bash"]).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(home.path(""));
        run(&mut shell)
    };
    let end = || {
        let [pid] = serving(&home)[..] else { panic!("{:?}", serving(&home)) };
        send(pid, Signal::TERM);
        eventually("it ends", || serving(&home).is_empty());
    };
    for number in [3, 4, 9, 10, 77, 255, 700] {
        // The lock is released when the shell ends.
        shell(&format!("exec {number}>lock; flock {number}; \"$@\"")).ends_with(0);
        drop(support::hold_lock(&home.path("lock")));
        end();
        // The command substitution ends with the launch. If the daemon held the pipe, `run` would
        // time out.
        let ran = shell(&format!("out=$(\"$@\" {number}>&1); echo \"got: $out\"")).ends_with(0);
        assert!(ran.stdout.contains("got: ") && ran.stdout.contains("left running"), "{ran:?}");
        end();
    }
    let all = "HUP INT QUIT ABRT TERM USR1 USR2 ALRM CHLD CONT TSTP TTIN TTOU WINCH";
    shell(&format!("trap '' {all}; \"$@\"")).ends_with(0);
    let [pid] = serving(&home)[..] else { panic!() };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for field in ["SigBlk:", "SigIgn:"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim();
        // Every Rust program ignores SIGPIPE; 32 and 33 belong to the C library.
        let others = 1 << (Signal::PIPE.as_raw() - 1) | 0b11 << 31;
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !others, 0, "{field} {mask}");
    }
    end();
}

/// Members that only one version knows, or that no version knows yet, are no failure.
#[test]
fn a_daemon_of_a_later_year_is_no_trouble() {
    let home = with_networks();
    let _daemon = daemon_on(&home, MESH).mode("says-more,wrong-version:9.9.9").start().unwrap();
    let said = run(&mut launch(&home, "", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["version"], "9.9.9", "{said}");
    assert_eq!(joined(&home), json!(["first-net"]));
    run(&mut home.command(&["network", "use", "second-net"])).ends_with(0);
    assert_eq!(joined(&home), json!(["second-net"]));
}

/// If a daemon lacks an op, the launch uses other ops; if the op fails, the launch reports the
/// daemon's message.
#[test]
fn a_daemon_that_lacks_an_op_is_told_from_one_that_fails_at_it() {
    for (mode, code, ops) in [
        ("no-update", 0, &["network_update", "network_remove", "network_add"][..]),
        ("refuse-update:the disk is full", 1, &["network_update"]),
    ] {
        let home = with_networks();
        run(&mut launch(&home, "", &["--once"])).ends_with(0);
        // The label of the active network differs from the daemon's.
        let mut changed = home.json(&config());
        let networks = changed["cloud_mesh"]["networks"].as_array_mut().unwrap();
        let network = networks.iter_mut().find(|network| network["network_id"] == "first-net").unwrap();
        network["label"] = "Another".into();
        home.put(&config(), changed.to_string().as_bytes(), 0o600);
        asked(&home);
        let ran = run(&mut launch(&home, mode, &["--once"])).ends_with(code);
        let changes: Vec<String> =
            asked(&home).0.into_iter().filter(|op| op.starts_with("network_")).collect();
        assert_eq!(changes, ops, "{mode}: {ran:?}");
        assert_eq!(ran.stderr.contains("the disk is full"), code == 1, "{ran:?}");
    }
}

#[test]
fn a_daemon_config_that_is_newer_than_its_daemon_has_its_own_words() {
    for (version, found, newest) in [(Version::V012, 3, "1"), (Version::V038, 4, "3")] {
        let home = Home::settled();
        let path = format!("{MESH}/config.json");
        let bytes = json!({"version": found, "networks": []}).to_string();
        home.put(&path, bytes.as_bytes(), 0o600);
        let mut command = launch(&home, "", &["--once", "--json"]);
        let said = run(command.env("STAND_IN_VERSION", version.name())).ends_with(5).json();
        let first = &said["diagnostics"][0];
        assert_eq!(first["code"], "daemon.config-newer", "{said}");
        assert!(first["path"].as_str().unwrap().ends_with(&path), "{first}");
        assert!(first["message"].as_str().unwrap().contains(&format!("format {found}")), "{first}");
        let tried = &said["data"]["daemon"]["candidates"][0]["failure"]["failure"];
        assert_eq!(tried, "ended", "{said}");
        // The daemon's message is reported as well.
        assert!(said["diagnostics"].to_string().contains(&format!("is newer than this daemon's {newest}")));
        assert_eq!(home.bytes(&path), bytes.as_bytes(), "and nobody touched it");
        assert!(serving(&home).is_empty());
        // From then on `doctor` knows it, and the printed command is a way out.
        let mut doctor = home.with_daemon(&["doctor", "--json"]);
        let foreseen = run(doctor.env("STAND_IN_VERSION", version.name())).ends_with(4).json();
        assert!(foreseen["diagnostics"].to_string().contains("daemon.config-newer"), "{foreseen}");
        let hint = first["hint"].as_str().unwrap();
        assert!(Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{hint}");
        let mut again = launch(&home, "", &["--once"]);
        run(again.env("STAND_IN_VERSION", version.name())).ends_with(0);
        let mut doctor = home.with_daemon(&["doctor"]);
        run(doctor.env("STAND_IN_VERSION", version.name())).ends_with(0);
    }
    // Any other early end is not blamed on the config version.
    let home = Home::settled();
    home.put(&format!("{MESH}/config.json"), br#"{"version": 3, "networks": []}"#, 0o600);
    let said = run(&mut launch(&home, "dies-early", &["--once", "--json"])).ends_with(5).json();
    assert!(!said["diagnostics"].to_string().contains("config-newer"), "{said}");
}

#[test]
fn a_leaked_config_that_is_newer_than_we_are_is_read_and_left() {
    let home = Home::settled();
    let bytes = br#"{"version": 99, "daemon": {"enabled": true}, "networks": [{"id": "n",
        "network_id": "office-mesh"}]}"#;
    home.put(&config(), bytes, 0o600);
    let before = home.snapshot();
    let ran = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(8);
    let said = ran.json();
    assert_eq!(said["diagnostics"][0]["code"], "store.newer", "{said}");
    assert!(said["diagnostics"][0]["message"].as_str().unwrap().contains("99"), "{said}");
    assert!(said["data"]["config"]["networks"].to_string().contains("home-mesh"), "{said}");
    assert!(home.snapshot() == before, "nothing was written");
    assert!(serving(&home).is_empty());
}

/// The app or the daemon is killed during any request, before or after the answer. The next launch
/// brings both configs in line.
#[test]
fn whatever_is_killed_in_between_both_stores_agree_afterwards() {
    let changes: [(&str, &[&str]); 3] = [
        ("second-net", &["network", "use", "second-net"]),
        ("third-net", &["network", "add", "third-net", "--activate"]),
        ("", &["network", "use", "--none"]),
    ];
    for version in [Version::V012, Version::V038] {
        for (wanted, change) in changes {
            for fault in ["kills-peer", "dies-unanswered", "dies-after"] {
                for number in 1..5 {
                    let mode = format!("{fault}:{number}");
                    let home = with_networks();
                    let mut first = launch(&home, "", &["--once"]);
                    run(first.env("STAND_IN_VERSION", version.name())).ends_with(0);
                    let daemon = daemon_on(&home, MESH).version(version).mode(&mode).start().unwrap();
                    let ran = run(&mut home.command(change));
                    drop(daemon);
                    assert!(serving(&home).is_empty());
                    let label = format!("{} {change:?} {mode}: {ran:?}", version.name());
                    // The app's config was changed before the first request to the daemon.
                    let mut next = launch(&home, "", &[]);
                    next.env("STAND_IN_VERSION", version.name());
                    let app = Staying::start(&home, next);
                    let expected = if wanted.is_empty() { json!([]) } else { json!([wanted]) };
                    let answers = || ask(&own_socket(&home), r#"{"op":"status"}"#);
                    eventually(&label, || {
                        answers().is_some_and(|status| status["joined_networks"] == expected)
                    });
                    send(app.pid(), Signal::TERM);
                    app.ended().ends_with(0);
                    let store = home.json(&format!("{MESH}/config.json"));
                    let kept: Vec<&Value> =
                        store["networks"].as_array().unwrap().iter().map(|n| &n["network_id"]).collect();
                    assert_eq!(json!(kept), expected, "{label}");
                    // No change is left to request.
                    asked(&home);
                    let mut again = launch(&home, "", &["--once"]);
                    run(again.env("STAND_IN_VERSION", version.name())).ends_with(0);
                    let ops = asked(&home).0;
                    assert!(ops.iter().all(|op| !op.starts_with("network_")), "{label}: {ops:?}");
                }
            }
        }
    }
}

/// The daemon dies while it writes its config. 0.1.2 writes in place, so the file is torn; 0.3.8
/// leaves a temporary file beside it.
#[test]
fn a_daemon_that_is_killed_over_its_own_config_is_brought_in_line() {
    for version in [Version::V012, Version::V038] {
        for bytes in [0, 1, 40, 300] {
            let label = format!("{} {bytes}", version.name());
            let home = with_networks();
            let launch = |args: &[&str]| {
                let mut command = launch(&home, "", args);
                run(command.env("STAND_IN_VERSION", version.name()))
            };
            launch(&["--once"]).ends_with(0);
            let mode = format!("dies-writing:{bytes}");
            let dying = daemon_on(&home, MESH).version(version).mode(&mode).start().unwrap();
            home.run(&["network", "use", "second-net"]).ends_with(5);
            drop(dying);
            let path = format!("{MESH}/config.json");
            if version == Version::V012 {
                let torn = home.bytes(&path);
                assert!(serde_json::from_slice::<Value>(&torn).is_err(), "{label}");
                let said = launch(&["--once", "--json"]).ends_with(0).json();
                let first = &said["diagnostics"][0];
                assert_eq!(first["code"], "daemon.config-set-aside", "{label}: {said}");
                home.still_has(&torn, &label);
            }
            launch(&["--once"]).ends_with(0);
            let kept = home.json(&path)["networks"].clone();
            assert_eq!(
                (&kept[0]["network_id"], kept.as_array().unwrap().len()),
                (&json!("second-net"), 1),
                "{label}"
            );
            asked(&home);
            launch(&["--once"]).ends_with(0);
            assert!(asked(&home).0.iter().all(|op| !op.starts_with("network_")), "{label}");
        }
    }
}

/// The other form means the same, so there is no change to request and nothing to report.
#[test]
fn a_daemon_that_writes_addresses_in_a_form_of_its_own_is_told_once() {
    let home = Home::settled();
    let mut changed = home.json(&config());
    let networks = changed["cloud_mesh"]["networks"].as_array_mut().unwrap();
    networks[0]["signaling_servers"] = json!(["wss://relay.example"]);
    networks[0]["turn_servers"] =
        json!([{ "url": "turn:t.example", "username": "u", "credential": "Secret" }]);
    changed["cloud_mesh"]["active_network_id"] = networks[0]["id"].clone();
    home.put(&config(), changed.to_string().as_bytes(), 0o600);
    let _daemon = daemon_on(&home, MESH).mode("rewords").trace(home.path("trace")).start().unwrap();
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert_eq!(said["diagnostics"], json!([]), "{said:#}");
    assert!(trace(&home).contains("wss://relay.example"), "it was told");
    let kept = ask(&own_socket(&home), r#"{"op":"config_show"}"#).unwrap().to_string();
    assert!(kept.contains("WSS://RELAY.EXAMPLE:443/"), "{kept}");
    asked(&home);
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    assert_eq!(asked(&home).0, ["status", "config_show"]);
}

/// Returns the recorded requests to the daemons of this home.
fn trace(home: &Home) -> String {
    std::fs::read_to_string(home.path("trace")).unwrap_or_default()
}

/// The requests follow the config as it is under the lock. Neither a launch that read the config
/// earlier nor a second change may leave a network joined that is not active.
#[test]
fn two_that_change_the_active_network_at_once_leave_one() {
    let home = with_networks();
    // So slow that, without the lock, the second run would plan before the first has joined its
    // network.
    let daemon = daemon_on(&home, MESH).mode("slow-answer:150").trace(home.path("trace")).start().unwrap();
    let one = home.command(&["network", "use", "first-net"]);
    let one = Staying::start(&home, one);
    eventually("it has asked", || trace(&home).contains("status"));
    run(&mut home.command(&["network", "use", "second-net"])).ends_with(0);
    one.ended().ends_with(0);
    assert_eq!(joined(&home), json!(["second-net"]));
    drop(daemon);

    // The active network changes after a launch has read the config and planned a change.
    let home = with_networks();
    let daemon = daemon_on(&home, MESH).trace(home.path("trace")).start().unwrap();
    let lock = support::hold_lock(&home.path(APP));
    let app = Staying::start(&home, launch(&home, "", &["--once"]));
    eventually("it has planned", || trace(&home).contains("config_show"));
    let mut changed = home.json(&config());
    let networks = changed["cloud_mesh"]["networks"].as_array().unwrap();
    let second = networks.iter().find(|network| network["network_id"] == "second-net").unwrap();
    changed["cloud_mesh"]["active_network_id"] = second["id"].clone();
    home.put(&config(), changed.to_string().as_bytes(), 0o600);
    drop(lock);
    app.ended().ends_with(0);
    assert_eq!(joined(&home), json!(["second-net"]));
    assert!(!trace(&home).contains("first-net"), "{}", trace(&home));
    // A launch without a change to request does not wait for the lock.
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    let _lock = support::hold_lock(&home.path(APP));
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    drop(daemon);
}

/// A shared daemon keeps its networks; the app leaves the networks that it once joined there.
#[test]
fn a_shared_daemon_leaves_what_was_removed_while_it_was_down() {
    let home = with_networks();
    let shared = || daemon_on(&home, ".myownmesh").start().unwrap();
    let socket = home.path(".myownmesh/daemon.sock");
    let joined = || ask(&socket, r#"{"op":"status"}"#).unwrap()["joined_networks"].take();
    let mut daemon = shared();
    ask(&socket, r#"{"op":"network_add","config":{"id":"gui-1","network_id":"theirs"}}"#).unwrap();
    home.run(&["network", "use", "first-net"]).ends_with(0);
    assert_eq!(joined(), json!(["theirs", "first-net"]));
    daemon.terminate().unwrap();
    home.run(&["network", "remove", "first-net"]).ends_with(0);
    let daemon = shared();
    assert_eq!(joined(), json!(["theirs", "first-net"]));
    run(&mut launch(&home, "", &[])).ends_with(0);
    assert_eq!(joined(), json!(["theirs"]));
    drop(daemon);
}

/// A daemon that gets SIGTERM unlinks its socket first. A start at that moment waits for its end,
/// and does not report it as a daemon without a socket.
#[test]
fn a_daemon_that_is_just_ending_is_waited_for() {
    let home = Home::settled();
    let dying = daemon_on(&home, MESH).mode("lingers:200").start().unwrap();
    let socket = dying.socket().to_owned();
    send(reaped_elsewhere(dying), Signal::TERM);
    eventually("its socket is gone", || std::fs::symlink_metadata(&socket).is_err());
    let ran = run(&mut launch(&home, "", &["--once"])).ends_with(0);
    assert!(ran.stdout.contains("started: version"), "{ran:?}");
}

/// After a signal, a launch does not wait for an answer that may never come.
#[test]
fn a_signal_ends_a_launch_that_waits_for_an_answer() {
    for (signal, args) in [(Signal::INT, &[][..]), (Signal::TERM, &["--once"])] {
        let home = with_networks();
        let app = Staying::start(&home, launch(&home, "silent-after:1", args));
        eventually("it was asked", || {
            std::fs::read_to_string(home.path("trace")).is_ok_and(|trace| trace.contains("config_show"))
        });
        let asked = Instant::now();
        send(app.pid(), signal);
        // Twice, as people press Ctrl-C.
        send(app.pid(), signal);
        app.ended().ends_with(0);
        assert!(asked.elapsed() < Duration::from_secs(5), "half of what one answer may take");
        assert!(serving(&home).is_empty());
    }
}

/// Leaving and joining again is one uninterruptible step: after a signal in the middle, the network
/// is joined again.
#[test]
fn a_signal_between_leaving_and_joining_anew_costs_no_network() {
    let home = with_networks();
    let mode = "no-update,slow-answer:200";
    let daemon = daemon_on(&home, MESH).trace(home.path("trace")).mode(mode).start().unwrap();
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    for (signal, label) in [(Signal::INT, "Another"), (Signal::TERM, "A third")] {
        let mut changed = home.json(&config());
        for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
            network["label"] = label.into();
        }
        home.put(&config(), changed.to_string().as_bytes(), 0o600);
        asked(&home);
        let app = Staying::start(&home, launch(&home, "", &["--once"]));
        eventually("it leaves", || {
            std::fs::read_to_string(home.path("trace")).is_ok_and(|trace| trace.contains("network_remove"))
        });
        send(app.pid(), signal);
        app.ended().ends_with(0);
        assert_eq!(joined(&home), json!(["first-net"]), "joined again");
    }
    drop(daemon);
}

/// A supervisor or a GUI may block signals for its children, and a child inherits the mask.
#[test]
fn signals_that_were_blocked_on_entry_are_heard_by_us_and_by_the_daemon() {
    use nix::sys::signal::{SigSet, Signal as Name};
    let blocked: SigSet = [Name::SIGCHLD, Name::SIGTERM, Name::SIGINT].into_iter().collect();
    blocked.thread_block().unwrap();
    let home = Home::settled();
    let ran = Staying::start(&home, launch(&home, "dies-in:300", &[])).ended().ends_with(5);
    assert!(ran.stderr.contains("daemon.died"), "{ran:?}");
    let app = Staying::up(&home, "");
    let [daemon] = serving(&home)[..] else { panic!() };
    let status = std::fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap(), 0, "the daemon can be told to end");
    send(app.pid(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(!home.has(&format!("{MESH}/daemon.sock")), "politely: it took its socket along");
}

/// The daemon that came up first has the key of the home and answers, so it is used.
#[test]
fn a_daemon_that_comes_up_while_ours_is_starting_is_adopted() {
    let home = Home::settled();
    let app = Staying::start(&home, launch(&home, "slow-start:60000", &["--once", "--json"]));
    eventually("ours is on its way", || !serving(&home).is_empty());
    let other = daemon_on(&home, MESH).start().unwrap();
    let said = app.ended().ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said:#}");
    assert_eq!(said["data"]["daemon"]["pid"], other.pid(), "{said:#}");
    assert_eq!(serving(&home), [other.pid()], "ours was ended");
}

/// The shared daemon's path leads into the app's home: the daemon that answers there is the app's
/// own.
#[test]
fn the_own_daemon_under_the_shared_ones_name_is_still_the_own_one() {
    let home = with_networks();
    let _daemon = daemon_on(&home, MESH).start().unwrap();
    let role = || {
        let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
        said["data"]["daemon"]["role"].as_str().unwrap().to_owned()
    };
    std::os::unix::fs::symlink(home.path(MESH), home.path(".myownmesh")).unwrap();
    assert_eq!(role(), "own");
    std::fs::remove_file(home.path(".myownmesh")).unwrap();
    std::fs::create_dir(home.path(".myownmesh")).unwrap();
    std::os::unix::fs::symlink(own_socket(&home), home.path(".myownmesh/daemon.sock")).unwrap();
    assert_eq!(role(), "own");
    assert_eq!(joined(&home), json!(["first-net"]));
}

/// A daemon listens at the path that its config named when it started.
#[test]
fn a_daemon_whose_config_names_another_socket_since_is_found_where_it_was() {
    let home = with_networks();
    let daemon = daemon_on(&home, MESH).start().unwrap();
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    let own = format!("{MESH}/config.json");
    let mut config = home.json(&own);
    config["daemon"]["control_socket"] = json!(home.path("elsewhere.sock"));
    home.put(&own, config.to_string().as_bytes(), 0o600);
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], daemon.pid(), "{said:#}");
    let said = home.run(&["status", "--json"]).ends_with(0).json();
    assert!(!said.to_string().contains("daemon.without-socket"), "{said:#}");
    let said = home.run(&["doctor", "--json"]).json();
    let mut checks = said["data"]["checks"].as_array().unwrap().iter();
    let own = checks.find(|check| check["id"] == "daemon.own").unwrap();
    assert!(own.to_string().contains("runs: version"), "{own:#}");
    // The next daemon listens at the new path.
    drop(daemon);
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert!(said["data"]["daemon"]["socket"].as_str().unwrap().ends_with("elsewhere.sock"), "{said:#}");
}

/// A script that starts the daemon may outlive it, or end before it.
#[test]
fn the_daemon_in_a_script_is_watched_and_not_the_script() {
    use std::os::unix::fs::PermissionsExt as _;
    let scripted = |home: &Home, body: &str| {
        let script = home.path("myownmesh");
        std::fs::write(&script, format!("#!/bin/sh\n{}\n", body.replace("DAEMON", STAND_IN))).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        script
    };
    let home = Home::settled();
    let mut command = launch(&home, "dies-in:300", &[]);
    command.env("MYOWNMESH_BIN", scripted(&home, "'DAEMON' \"$@\"; sleep 600"));
    let ran = Staying::start(&home, command).ended().ends_with(5);
    assert!(ran.stderr.contains("daemon.died") && ran.stderr.contains("told to die now"), "{ran:?}");
    assert!(serving(&home).is_empty(), "what the script left goes too");

    let home = Home::settled();
    let mut command = launch(&home, "", &[]);
    command.env("MYOWNMESH_BIN", scripted(&home, "'DAEMON' \"$@\" & sleep 1"));
    let app = Staying::start(&home, command);
    eventually("its daemon runs", || app.said()[1].contains("Ctrl-C stops it"));
    eventually("the script is gone", || serving(&home).len() == 1);
    let daemon = serving(&home);
    // The script's end raises SIGCHLD, and the daemon still runs.
    std::thread::sleep(Duration::from_millis(100));
    assert!(!app.said()[1].contains("daemon.died"), "{:?}", app.said());
    assert!(ask(&own_socket(&home), r#"{"op":"status"}"#).is_some());
    send(app.pid(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(!serving(&home).contains(&daemon[0]) && !own_socket(&home).exists(), "it ended with us");
}

/// A process that has ended is not named in a hint.
#[test]
fn a_daemon_that_was_ended_again_is_told_as_that() {
    let home = with_networks();
    let ran = run(&mut launch(&home, "", &["--once"])).ends_with(0);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(" ms, and ended again "), "{ran:?}");
    let said = run(&mut launch(&home, "silent-after:1", &["--json"])).ends_with(5).json();
    assert_eq!(said["data"]["daemon"]["ended"], true, "{said:#}");
    for found in said["diagnostics"].as_array().unwrap() {
        let hint = found["hint"].as_str().unwrap_or_default();
        assert!(!hint.starts_with("ps "), "{said:#}");
    }
    let app = Staying::start(&home, launch(&home, "", &["--json"]));
    eventually("it is up", || app.said()[1].contains("Ctrl-C stops it"));
    send(app.pid(), Signal::TERM);
    assert_eq!(app.ended().ends_with(0).json()["data"]["daemon"]["ended"], false);
}

#[test]
fn of_many_networks_that_are_left_the_first_are_told_and_the_others_counted() {
    let home = with_networks();
    run(&mut launch(&home, "", &["--once"])).ends_with(0);
    run(&mut home.command(&["network", "use", "--none"])).ends_with(0);
    let own = format!("{MESH}/config.json");
    let mut config = home.json(&own);
    let networks = config["networks"].as_array_mut().unwrap();
    for number in 1..40 {
        let mut network = networks[0].clone();
        (network["id"], network["network_id"]) =
            (json!(format!("n{number}")), json!(format!("net-{number}")));
        networks.push(network);
    }
    home.put(&own, config.to_string().as_bytes(), 0o600);
    let ran = run(&mut launch(&home, "", &["--once"])).ends_with(0);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("left net-11, and 28 more"), "{ran:?}");
}

/// The config that a daemon writes over the app's, if both share a directory.
const LEAKED: &[u8] =
    br#"{"version": 3, "identity_path": null, "daemon": {"enabled": true}, "networks": [{"id": "n",
        "network_id": "ev-mesh"}]}"#;

/// The holder of the lock may be starting the daemon, so no second one starts meanwhile.
#[test]
fn no_daemon_is_started_while_another_holds_the_lock() {
    let home = Home::settled();
    let dir = support::hold_lock(&home.path(APP));
    let log = home.path(&format!("{MESH}/daemon.log"));
    let mut waiting = launch(&home, "", &["--once"]).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until && !log.exists() {
        assert!(waiting.try_wait().unwrap().is_none(), "it waits for the lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!log.exists(), "a start was begun");
    drop(dir);
    assert!(waiting.wait().unwrap().success());
    assert!(log.exists());
}

/// The daemon does not end when it is asked to: the message says so, and the hint ends it. The hint
/// is not the command that has just failed.
#[test]
fn a_daemon_that_does_not_end_when_asked_is_told_so() {
    let home = Home::legacy();
    // It ignores SIGTERM, and SIGKILL was not requested.
    let legacy = daemon_on(&home, APP).mode("ignore-term").start().unwrap();
    let pid = legacy.pid();
    let ran = home.run(&["migrate", "--stop-legacy-daemon", "--json"]).ends_with(7).json();
    let found = ran["diagnostics"].as_array().unwrap().clone();
    let found = found.into_iter().find(|one| one["code"] == "daemon.legacy-running").unwrap();
    assert!(found["message"].as_str().unwrap().contains("was not ended"), "{found}");
    let ran = run(&mut launch(&home, "", &["--once", "--stop-legacy-daemon"])).ends_with(7);
    assert!(ran.stderr.contains("was not ended") && !ran.stderr.contains("hint: myownllm-mesh"), "{ran:?}");
    assert!(ran.stderr.contains(&pid.to_string()), "{ran:?}");
}

/// Runs a hint as a person would, and checks that it succeeds.
#[track_caller]
fn follow(hint: &Value) {
    let hint = hint.as_str().unwrap();
    let path =
        format!("{}:{}", support::program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let status = Command::new("sh").args(["-c", hint]).env("PATH", path).status().unwrap();
    assert!(status.success(), "{hint}");
}

/// Returns true if the process exists and is no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// `--stop-legacy-daemon` ends only the legacy daemon, and reports it.
#[test]
fn the_daemon_of_the_daemon_home_is_not_ended_as_a_legacy_one() {
    for command in [&["launch", "--no-daemon"][..], &["migrate"], &["salvage"]] {
        let home = Home::after_the_bug();
        let key = home.bytes(&format!("{APP}/.secrets/identity.json"));
        home.put(&format!("{MESH}/.secrets/identity.json"), &key, 0o600);
        let legacy = reaped_elsewhere(daemon_on(&home, APP).start().unwrap());
        let mut own = daemon_on(&home, MESH).start().unwrap();
        // Both daemons block the run, and neither is ended without a request.
        let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
        assert_eq!(said["diagnostics"].to_string().matches("daemon.legacy-running").count(), 1, "{said:#}");
        assert!(is_alive(legacy));
        let said = home.run(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(7).json();
        assert!(own.is_running() && !is_alive(legacy), "{said:#}");
        let stopped = &said["data"]["stopped"];
        assert_eq!((&stopped[0]["pid"], &stopped[0]["kind"]), (&json!(legacy), &json!("legacy")), "{said:#}");
        assert_eq!(stopped.as_array().unwrap().len(), 1, "{said:#}");
        let refused = &said["diagnostics"][0];
        assert_eq!(refused["code"], "daemon.own-running", "{said:#}");
        assert!(refused["message"].as_str().unwrap().contains(&own.pid().to_string()), "{said:#}");
        // The hint works.
        let own = reaped_elsewhere(own);
        follow(&refused["hint"]);
        eventually("it ends", || !is_alive(own));
        home.run(command).ends_with(0);

        // The text output reports it as well.
        let home = Home::after_the_bug();
        let legacy = reaped_elsewhere(daemon_on(&home, APP).start().unwrap());
        let ran = home.run(&[command, &["--stop-legacy-daemon"]].concat()).ends_with(0);
        let told = format!("the daemon, process {legacy} at ~/.myownllm/daemon.sock");
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("stopped {told}")), "{ran:?}");
    }
}

#[test]
fn first_screen_names_a_legacy_daemon_before_the_repair_that_ends_it() {
    let home = Home::after_the_bug();
    let legacy = reaped_elsewhere(daemon_on(&home, APP).start().unwrap());
    let page = home.run(&[]).ends_with(4).stdout;
    assert!(page.lines().next().unwrap().contains(&legacy.to_string()), "{page}");
    let said = home.run(&["--json"]).ends_with(4).json();
    assert!(said["diagnostics"].to_string().contains("daemon.legacy-running"), "{said:#}");
    let command = &said["data"]["commands"][0]["command"];
    assert!(command.as_str().unwrap().ends_with(" repair --stop-legacy-daemon"), "{said:#}");
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.trim_end().ends_with(command.as_str().unwrap()), "{doctor}");
    for refused in [&["repair", "--json"][..], &["network", "use", "--none", "--json"]] {
        let said = home.run(refused).ends_with(7).json();
        assert_eq!(said["diagnostics"][0]["hint"], *command, "{said:#}");
    }
    follow(command);
    eventually("it ends", || !is_alive(legacy));
    home.run(&["status", "--check"]).ends_with(0);
}

#[test]
fn an_undo_under_the_new_daemon_says_which_daemon_it_is() {
    let home = Home::settled();
    let own = reaped_elsewhere(daemon_on(&home, MESH).start().unwrap());
    for flags in [&["--json"][..], &["--json", "--stop-legacy-daemon"], &["--json", "--dry-run"]] {
        let said = home.run(&[&["migrate", "--undo"], flags].concat()).ends_with(7).json();
        assert_eq!(said["diagnostics"][0]["code"], "daemon.own-running", "{said:#}");
        assert!(is_alive(own));
    }
    let said = home.run(&["migrate", "--undo", "--json"]).ends_with(7).json();
    follow(&said["diagnostics"][0]["hint"]);
    eventually("it ends", || !is_alive(own));
    home.run(&["migrate", "--undo"]).ends_with(0);
}

/// The hint first continues the daemon, then ends it: neither hint repeats.
#[test]
fn a_suspended_legacy_daemon_is_continued_before_it_is_ended() {
    for command in [&["launch", "--no-daemon"][..], &["migrate"], &["salvage"]] {
        let home = Home::after_the_bug();
        let legacy = reaped_elsewhere(daemon_on(&home, APP).start().unwrap());
        send(legacy, Signal::STOP);
        let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
        let refused = &said["diagnostics"][0];
        assert!(refused["message"].as_str().unwrap().contains("suspended"), "{said:#}");
        assert_eq!(refused["hint"], format!("kill -CONT {legacy}"), "{said:#}");
        follow(&refused["hint"]);
        let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
        let refused = &said["diagnostics"][0];
        assert!(!refused["message"].as_str().unwrap().contains("suspended"), "{said:#}");
        send(legacy, Signal::STOP);
        // Or both in one step.
        home.run(&[command, &["--stop-legacy-daemon"]].concat()).ends_with(0);
        assert!(!is_alive(legacy));
    }
    // A suspended daemon that a launch would use is reported as well.
    let home = Home::settled();
    let own = daemon_on(&home, MESH).start().unwrap();
    send(own.pid(), Signal::STOP);
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(5).json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.suspended", "{said:#}");
    assert!(home.run(&["doctor"]).stdout.contains(&format!("kill -CONT {}", own.pid())));
    follow(&said["diagnostics"][0]["hint"]);
    let said = run(&mut launch(&home, "", &["--once", "--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], own.pid(), "{said:#}");
}

/// In a container, a daemon outside has no process id; its number belongs to another process.
#[test]
fn a_daemon_in_another_pid_namespace_is_told_as_that_and_nobody_is_signalled() {
    let can_unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
        unshare.status().is_ok_and(|status| status.success())
    };
    if !can_unshare() {
        eprintln!("skipped: no pid namespace can be made here");
        return;
    }
    // With `/proc` of the namespace, and with `/proc` of the outside.
    for flags in [&["--mount-proc"][..], &[]] {
        let home = Home::legacy();
        let mut legacy = daemon_on(&home, APP).start().unwrap();
        let inside = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child"]).args(flags).arg("--").arg(support::program());
            run(command.arg("--home").arg(home.path("")).args(args).env("HOME", "/nonexistent"))
        };
        for command in [&["launch", "--no-daemon"][..], &["migrate"]] {
            let said = inside(&[command, &["--json"]].concat()).ends_with(7).json();
            let refused = &said["diagnostics"][0];
            assert!(refused["message"].as_str().unwrap().contains("container"), "{said:#}");
            assert!(!refused["hint"].as_str().unwrap().contains("myownllm-mesh"), "{said:#}");
            let said = inside(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(7).json();
            let refused = &said["diagnostics"][0];
            assert!(refused["message"].as_str().unwrap().contains("namespace"), "{said:#}");
            assert!(!refused["hint"].as_str().unwrap().contains("myownllm-mesh"), "{said:#}");
        }
        assert!(legacy.is_running());
    }
}

/// The daemon's former parent, or its activator, has no part in it any more.
#[test]
fn a_legacy_daemon_is_ended_and_the_process_that_handed_it_the_socket_is_not() {
    for mode in ["hands-over", "hands-over:keep"] {
        for command in [&["launch", "--no-daemon"][..], &["migrate"], &["salvage"]] {
            let home = Home::after_the_bug();
            let mut innocent = daemon_on(&home, APP).mode(mode).start().unwrap();
            eventually("the other one runs", || serving(&home).len() == 2);
            let daemon = serving(&home).into_iter().find(|pid| *pid != innocent.pid()).unwrap();
            let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
            let message = said["diagnostics"][0]["message"].as_str().unwrap();
            assert!(message.contains(&format!("(process {daemon})")), "{said:#}");
            let said = home.run(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(0).json();
            assert_eq!(said["data"]["stopped"][0]["pid"], daemon, "{said:#}");
            assert!(innocent.is_running() && !is_alive(daemon), "{mode} {command:?}");
        }
    }
}

#[test]
fn a_legacy_daemon_with_a_relative_home_is_found_though_its_socket_is_gone() {
    let home = Home::legacy();
    // Relative to a directory so far above that no other home has such a path.
    let above = home.path("../..").canonicalize().unwrap();
    let relative = home.path(APP).strip_prefix(&above).unwrap().to_owned();
    let mut daemon = Command::new(STAND_IN);
    daemon.arg("serve").env("MYOWNMESH_HOME", relative).current_dir(above);
    daemon.stdin(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Bystander(daemon.spawn().unwrap());
    let socket = home.path(APP).join("daemon.sock");
    eventually("it listens", || ask(&socket, r#"{"op":"status"}"#).is_some());
    std::fs::remove_file(socket).unwrap();
    let said = home.run(&["migrate", "--json"]).ends_with(7).json();
    let message = said["diagnostics"][0]["message"].as_str().unwrap();
    let pid = daemon.0.id();
    assert!(message.contains(&format!("process {pid})")), "{said:#}");
    assert!(home.has(&format!("{APP}/.secrets/identity.json")), "nothing moved under its hands");
    let stopped = std::thread::spawn(move || home.run(&["migrate", "--stop-legacy-daemon"]));
    daemon.0.wait().unwrap();
    stopped.join().unwrap().ends_with(0);
}

/// An overwritten config can name any socket, and another program may listen there.
#[test]
fn nobody_is_ended_as_a_daemon_who_does_not_speak_as_one() {
    let home = Home::after_the_bug();
    let other = daemon_on(&home, "other").mode("silent").start().unwrap();
    let mut leaked = home.json(&config());
    leaked["daemon"]["control_socket"] = home.path("other/daemon.sock").to_str().unwrap().into();
    home.put(&config(), leaked.to_string().as_bytes(), 0o600);
    let ran = home.run(&["salvage", "--stop-legacy-daemon"]).ends_with(7);
    assert!(ran.stderr.contains("does not answer as a daemon does"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("ps -fp {}", other.pid())), "{ran:?}");
    assert!(Path::new(&format!("/proc/{}/stat", other.pid())).exists());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", other.pid())).unwrap();
    assert!(!stat.contains(") Z "), "{stat}");
}

fn relapse_of(ran: &Ran) -> Value {
    let said = ran.json();
    let told = said["diagnostics"].as_array().unwrap().iter().any(|one| one["code"] == "launch.relapse");
    assert_eq!(told, !said["data"]["relapse"].is_null(), "{said}");
    said["data"]["relapse"].clone()
}

/// A process that runs until it is dropped.
struct Bystander(Child);

impl Bystander {
    fn new(command: &mut Command) -> Self {
        Self(command.arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_config_that_the_user_restored_is_no_relapse() {
    let home = Home::after_the_bug();
    let overwritten = home.bytes(&config());
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    home.run(&["config", "restore", "1", "--as-is"]).ends_with(0);
    assert_eq!(home.bytes(&config()), overwritten);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["outcome"], "repaired");
    assert!(relapse_of(&ran).is_null());
    // A daemon that writes the same bytes later is one.
    home.put(&config(), &overwritten, 0o600);
    assert!(!relapse_of(&home.run(&["launch", "--no-daemon", "--json"]).ends_with(0)).is_null());
}

#[test]
fn a_relapse_is_told_from_the_first_time() {
    let quiet = &["launch", "--no-daemon", "--json"];
    // The first time: this program never saw the config healthy, also if a daemon moved the app's
    // config aside.
    let home = Home::after_the_bug();
    assert!(relapse_of(&home.run(quiet).ends_with(0)).is_null());
    let home = Home::legacy();
    let healthy = home.bytes(&config());
    home.put(&format!("{}.corrupt", config()), &healthy, 0o600);
    home.put(&config(), LEAKED, 0o600);
    assert!(relapse_of(&home.run(quiet).ends_with(0)).is_null());
    // The launch has repaired the config, so it was healthy from then on.
    assert!(relapse_of(&home.run(quiet).ends_with(0)).is_null());
    home.put(&config(), LEAKED, 0o600);
    let relapse = relapse_of(&home.run(quiet).ends_with(0));
    assert!(relapse["healthy_copy"].as_str().unwrap().starts_with("good-"), "{relapse}");
    assert_eq!(relapse["suspects"], json!([]), "nobody is named who leaves no trace");
    // A partly overwritten config counts as well.
    let mut mixed = home.json(&config());
    mixed["version"] = json!(3);
    mixed["daemon"] = json!({"enabled": true});
    mixed["networks"] = json!([{"id": "n", "network_id": "ev-mesh"}]);
    home.put(&config(), mixed.to_string().as_bytes(), 0o600);
    assert!(!relapse_of(&home.run(quiet).ends_with(0)).is_null());
    // A corrupt or missing config is not blamed on a daemon.
    for broken in [&b"{"[..], b"{}"] {
        home.put(&config(), broken, 0o600);
        assert!(relapse_of(&home.run(quiet).ends_with(0)).is_null());
    }
    // The text output reports it as well.
    home.put(&config(), LEAKED, 0o600);
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(
        ran.stderr.contains("was healthy before") && ran.stderr.contains("no such daemon runs now"),
        "{ran:?}"
    );
}

/// Checks that a process that has the config open is named, under any spelling of the home: the
/// kernel names an open file without symlinks.
fn names_an_editor_under_any_spelling(home: &Home, alias: &Path) {
    std::os::unix::fs::symlink(home.path(""), alias).unwrap();
    home.put(&config(), LEAKED, 0o600);
    let editor =
        Bystander::new(Command::new("sleep").stdin(std::fs::File::open(home.path(&config())).unwrap()));
    let mut spelled = Command::new(support::program());
    spelled.arg("--home").arg(alias).args(["launch", "--no-daemon", "--json"]);
    let found = relapse_of(&run(&mut spelled).ends_with(0))["suspects"].clone();
    assert_eq!(found[0]["pid"], editor.0.id(), "{found}");
}

#[test]
fn who_still_writes_there_is_named_and_nobody_else() {
    let home = Home::settled();
    let app_home = home.path(APP);
    let named = |args: &[&str], code| {
        home.put(&config(), LEAKED, 0o600);
        let ran = home.run(&[&["launch", "--no-daemon", "--json"], args].concat()).ends_with(code);
        relapse_of(&ran)["suspects"].clone()
    };
    // Bystanders: a daemon elsewhere, the app of another home, a process with the daemon's
    // variable.
    let elsewhere = tempfile::tempdir().unwrap();
    let app = elsewhere.path().join("myownllm");
    std::fs::copy("/bin/sleep", &app).unwrap();
    let _others = [
        Bystander::new(Command::new("sleep").env("MYOWNMESH_HOME", home.path(MESH))),
        Bystander::new(Command::new("sleep").env("MYOWNLLM_HOME", &app_home)),
        Bystander::new(Command::new(&app).env("HOME", elsewhere.path())),
        Bystander::new(Command::new("sleep").env("HOME", home.path(""))),
    ];
    let _daemon_elsewhere = daemon_on(&home, ".myownmesh").start().unwrap();
    assert_eq!(named(&[], 0), json!([]));

    // An app of that name, in this user's session.
    let older = Bystander::new(Command::new(&app).env("HOME", home.path("")));
    let same_name = json!([{"pid": older.0.id(), "program": app, "evidence": {"evidence": "same_name"}}]);
    assert_eq!(named(&[], 0), same_name);
    // It runs on while its program file is replaced, as in an upgrade.
    std::fs::remove_file(&app).unwrap();
    std::fs::copy("/bin/sleep", &app).unwrap();
    let replaced = named(&[], 0);
    assert_eq!(
        (&replaced[0]["pid"], &replaced[0]["evidence"]["evidence"]),
        (&json!(older.0.id()), &json!("same_name")),
        "{replaced}"
    );
    drop(older);
    // The app that runs this program is not named.
    home.put(&config(), LEAKED, 0o600);
    let today = elsewhere.path().join("today/myownllm");
    std::fs::create_dir(today.parent().unwrap()).unwrap();
    std::fs::copy("/bin/sh", &today).unwrap();
    let mut above = Command::new(&today);
    above.args(["-c", "\"$@\"; exit $?", "sh"]).arg(support::program()).arg("--home").arg(home.path(""));
    above.args(["launch", "--no-daemon", "--json"]).env("HOME", home.path(""));
    assert_eq!(relapse_of(&run(&mut above).ends_with(0))["suspects"], json!([]));
    // A process that would start a daemon there.
    let shell = Bystander::new(Command::new("sleep").env("MYOWNMESH_HOME", &app_home));
    let found = named(&[], 0);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(shell.0.id()), &json!("points_there"))
    );
    drop(shell);
    // A process that has the file open. The repair replaces the file, so the check comes before the
    // repair.
    home.put(&config(), LEAKED, 0o600);
    let editor =
        Bystander::new(Command::new("sleep").stdin(std::fs::File::open(home.path(&config())).unwrap()));
    let found = named(&[], 0);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(editor.0.id()), &json!("holds_open"))
    );
    drop(editor);
    names_an_editor_under_any_spelling(&home, &elsewhere.path().join("alias"));

    // A daemon on the app's home, with the key that the device always had, and its parent. The
    // config is not repaired while it runs, but the daemon is named.
    let key = home.bytes(&format!("{MESH}/.secrets/identity.json"));
    home.put(&format!("{APP}/.secrets/identity.json"), &key, 0o600);
    let legacy = daemon_on(&home, APP).start().unwrap();
    let us = json!(std::process::id());
    let found = named(&[], 7);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(legacy.pid()), &json!("serves"))
    );
    assert_eq!((&found[1]["pid"], &found[1]["evidence"]["evidence"]), (&us, &json!("parent_of")), "{found}");
    assert_eq!(home.bytes(&config()), LEAKED);
    // After it was ended on request, the daemon is still named.
    let pid = reaped_elsewhere(legacy);
    // A dry run predicts the refusal.
    for args in [&["salvage", "--dry-run"][..], &["salvage"]] {
        assert!(home.run(args).ends_with(7).stderr.contains("daemon.legacy-running"), "{args:?}");
    }
    let ran = home.run(&["launch", "--no-daemon", "--stop-legacy-daemon"]).ends_with(0);
    assert!(
        ran.stderr.contains(&format!("process {pid} ({STAND_IN}) is a daemon on this directory")),
        "{ran:?}"
    );
    assert!(!home.run(&["launch", "--no-daemon"]).ends_with(0).stderr.contains("healthy before"));
}
