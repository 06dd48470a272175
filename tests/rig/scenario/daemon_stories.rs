//! The stories about the life of a daemon: found, refused, started, lost, left behind and adopted.
//!
//! All of them also work with a real daemon, which is steered from outside: by signals, by its
//! config, and by other programs. A story that the platform does not support is skipped, with the
//! reason.

use std::path::Path;

use integration_tests::testkit::{Signal, is_root, send_signal};
use serde_json::{Value, json};

use super::Scenario;
use super::stage::{Asked, Stage, Stop};
use super::stories::Played;
use crate::fixture::{self, APP, MESH};

pub(super) const ALL: [Scenario; 11] = [
    Scenario {
        name: "busy-daemon",
        story: "A daemon runs on the daemon's home and hangs: it takes connections and answers \
            nothing. It is not taken for absent, nothing is started beside it, and it is named. When \
            it wakes up, it is used.",
        play: busy_daemon,
    },
    Scenario {
        name: "foreign-key",
        story: "Where the app's daemon should listen, one with another key does. It is refused, with \
            both keys.",
        play: foreign_key,
    },
    Scenario {
        name: "another-users-daemon",
        story: "A daemon of another user listens where the app's daemon should. It is refused before \
            it is asked anything.",
        play: another_users_daemon,
    },
    Scenario {
        name: "socket-removed",
        story: "Somebody removed the socket of a running daemon, which goes on writing its home \
            unseen. It is found by its environment, named, and ended only on request.",
        play: socket_removed,
    },
    Scenario {
        name: "daemon-dies",
        story: "The daemon that the app started crashes. The app ends, and says how the daemon ended \
            and what it last said.",
        play: daemon_dies,
    },
    Scenario {
        name: "told-to-end",
        story: "Ctrl-C, a shutdown, a closed terminal: the app ends well and takes its daemon with it.",
        play: told_to_end,
    },
    Scenario {
        name: "two-at-once",
        story: "Two apps start at the same moment. One starts the daemon, and both use it.",
        play: two_at_once,
    },
    Scenario {
        name: "left-behind",
        story: "The app is killed, and its daemon stays behind. The next start finds it by its socket \
            and key, and adopts it.",
        play: left_behind,
    },
    Scenario {
        name: "broken-programs",
        story: "The programs that come first are no daemons: one is missing, one ends at once. Each is \
            named with the reason, none is left running, and the next one is taken.",
        play: broken_programs,
    },
    Scenario {
        name: "newer-daemon-config",
        story: "The daemon's config was written by a newer daemon, and this one refuses it. The start \
            fails in words of its own, and the config is left as it is.",
        play: newer_daemon_config,
    },
    Scenario {
        name: "relapse",
        story: "The config was healthy, and a daemon of the older version writes over it again. The \
            repair says so, and names who did it while that still runs.",
        play: relapse,
    },
];

/// Skips the story unless the platform has signals and /proc.
fn on_linux() -> Played {
    if cfg!(target_os = "linux") {
        Ok(())
    } else {
        Err(Stop::Skipped("needs Linux's signals and /proc".to_owned()))
    }
}

/// Skips the story unless the platform tells which process the daemon is.
fn where_the_daemon_is_known() -> Played {
    if cfg!(windows) { Ok(()) } else { on_linux() }
}

/// Returns the code and the message of the first diagnostic.
fn first_trouble(report: &Value) -> (String, String) {
    let first = &report["diagnostics"][0];
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

/// Checks that exactly these processes serve the daemon home.
fn only(stage: &mut Stage<'_>, what: &str, expected: &[u32]) {
    let serving = stage.serving(MESH);
    let shown = if serving.is_empty() { "none".to_owned() } else { format!("process {serving:?}") };
    stage.check(what, serving == expected, shown);
}

fn busy_daemon(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    let daemon = stage.daemon(MESH)?;
    send_signal(daemon.pid(), Signal::STOP);
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("the daemon is busy", &launch, 5);
    let (code, message) = first_trouble(&report);
    stage.check(
        "it is named with its process",
        code == "daemon.suspended" && message.contains(&daemon.pid().to_string()),
        message,
    );
    only(stage, "nothing was started beside it", &[daemon.pid()]);
    let networks = report["data"]["config"]["networks"].as_array().map_or(0, Vec::len);
    stage.same("the app has its config all the same: saved networks", &1, &networks);
    send_signal(daemon.pid(), Signal::CONT);
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("awake again, it is used", &launch, 0);
    stage.same("by its process id", &json!(daemon.pid()), &report["data"]["daemon"]["pid"]);
    daemon.stop()?;
    Ok(())
}

fn foreign_key(stage: &mut Stage<'_>) -> Played {
    if cfg!(windows) {
        return Err(Stop::Skipped(
            "every daemon uses one pipe: another key is the shared daemon's".to_owned(),
        ));
    }
    fixture::healthy_config(&stage.home)?;
    let own = stage.daemon(MESH)?;
    let ours = stage.device_id(&own)?;
    own.stop()?;
    // Another daemon has a home of its own, and its config names the socket path of the app's
    // daemon.
    let socket = stage.path(MESH).join("daemon.sock");
    let config = json!({ "daemon": { "control_socket": socket } }).to_string();
    fixture::plant(&stage.path("elsewhere/config.json"), config.as_bytes(), 0o600)?;
    let foreign = stage.daemon_at("elsewhere", &socket)?;
    let theirs = stage.device_id(&foreign)?;
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("it is refused", &launch, 7);
    let (code, message) = first_trouble(&report);
    let named = code == "daemon.foreign-identity"
        && message.contains(&theirs)
        && message.contains(ours.split('-').next().unwrap_or(&ours));
    stage.check("both keys are named", named, message);
    let id = stage.device_id(&foreign)?;
    stage.same("the other daemon still runs", &theirs, &id);
    foreign.stop()?;
    Ok(())
}

fn another_users_daemon(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    if !is_root() {
        return Err(Stop::Skipped("needs root, to be two users".to_owned()));
    }
    fixture::healthy_config(&stage.home)?;
    let daemon = stage.daemon_of_nobody("elsewhere")?;
    let config = json!({ "daemon": { "control_socket": daemon.socket() } }).to_string();
    fixture::plant(&stage.path(MESH).join("config.json"), config.as_bytes(), 0o600)?;
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("it is refused", &launch, 7);
    let (code, message) = first_trouble(&report);
    let named = code == "daemon.foreign-owner" && message.contains(&daemon.pid().to_string());
    stage.check("it is said whose it is", named && message.contains("65534"), message);
    let state = report["data"]["daemon"]["state"].as_str().unwrap_or_default();
    stage.same("no daemon is used", &"none", &state);
    daemon.stop()?;
    Ok(())
}

fn socket_removed(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    let mut daemon = stage.daemon(MESH)?;
    let process = format!("process {}", daemon.pid());
    crate::guard::discard_file(daemon.socket());
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("refused: a decision of the user's is needed", &launch, 7);
    let said = report["diagnostics"].to_string();
    stage.check(
        "its process is named, and the way out",
        said.contains(&daemon.pid().to_string()) && said.contains("daemon restart"),
        first_trouble(&report).1,
    );
    let running = daemon.is_running();
    stage.check("it still runs", running, &process);
    let launch = stage.mesh(&["launch", "--once", "--stop-legacy-daemon"])?;
    stage.ends("told to end it, the start goes through", &launch, 0);
    let ended = !daemon.is_running();
    stage.check("it has ended", ended, &process);
    Ok(())
}

fn daemon_dies(stage: &mut Stage<'_>) -> Played {
    where_the_daemon_is_known()?;
    fixture::healthy_config(&stage.home)?;
    let app = stage.app_that_is_up(&[])?;
    let [daemon] = stage.serving(MESH)[..] else {
        return Err(Stop::Failed("no single daemon runs".to_owned()));
    };
    send_signal(daemon, Signal::KILL);
    let ended = stage.await_end(app)?;
    stage.ends("the app ends", &ended, 5);
    let said = ended.stderr.replace('\n', " ");
    stage.check(
        "the daemon's status is told",
        said.contains(if cfg!(windows) { "exit code: " } else { "signal: 9" })
            && said.contains(&daemon.to_string()),
        &said,
    );
    let log = std::fs::read_to_string(stage.path(MESH).join("daemon.log")).unwrap_or_default();
    let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    // A real daemon colours its log, and the program prints the log without colours.
    let last = anstream::adapter::strip_str(last).to_string();
    // The program shows the user's home as `~`.
    let (home, slash) = (stage.home.display(), std::path::MAIN_SEPARATOR);
    let last = last.replace(&format!("{home}{slash}"), &format!("~{slash}"));
    stage.check("and the last line of its log", !last.is_empty() && said.contains(&last), &last);
    Ok(())
}

fn told_to_end(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    for (name, signal) in [("SIGINT", Signal::INT), ("SIGTERM", Signal::TERM), ("SIGHUP", Signal::HUP)] {
        stage.part(name);
        let app = stage.app_that_is_up(&[])?;
        let daemons = stage.serving(MESH);
        send_signal(app.pid(), signal);
        let ended = stage.await_end(app)?;
        stage.ends("the app ends well", &ended, 0);
        let left: Vec<u32> = daemons
            .iter()
            .copied()
            .filter(|pid| Path::new(&format!("/proc/{pid}")).symlink_metadata().is_ok())
            .collect();
        stage.check(
            "its daemon is ended and reaped",
            daemons.len() == 1 && left.is_empty(),
            format!("process {daemons:?}"),
        );
        stage.gone("and took its socket along", &[&format!("{MESH}/daemon.sock")]);
    }
    Ok(())
}

fn two_at_once(stage: &mut Stage<'_>) -> Played {
    where_the_daemon_is_known()?;
    fixture::healthy_config(&stage.home)?;
    stage.begin()?;
    let reports = stage.at_once(&["launch", "--detach", "--json"], 2)?;
    let states: Vec<&str> =
        reports.iter().filter_map(|report| report["data"]["daemon"]["state"].as_str()).collect();
    let mut sorted = states.clone();
    sorted.sort_unstable();
    stage.same("one started it, one found it", &["attached", "spawned"][..], &sorted);
    let pids: Vec<u64> =
        reports.iter().filter_map(|report| report["data"]["daemon"]["pid"].as_u64()).collect();
    stage.check("both have the same one", pids.len() == 2 && pids[0] == pids[1], format!("process {pids:?}"));
    let expected: Vec<u32> = pids.first().and_then(|pid| u32::try_from(*pid).ok()).into_iter().collect();
    only(stage, "and there is no other", &expected);
    expected.into_iter().for_each(|pid| send_signal(pid, Signal::TERM));
    Ok(())
}

fn left_behind(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    let app = stage.app_that_is_up(&[])?;
    let known = stage.device_id(&app)?;
    let daemons = stage.serving(MESH);
    send_signal(app.pid(), Signal::KILL);
    stage.await_end(app)?;
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("the next start", &launch, 0);
    let daemon = &report["data"]["daemon"];
    stage.same(
        "attached to a daemon that was there",
        &"attached",
        &daemon["state"].as_str().unwrap_or_default(),
    );
    stage.same("the one that was left behind", &json!(daemons.first()), &daemon["pid"]);
    stage.same("with the same key", &known.as_str(), &daemon["device_id"].as_str().unwrap_or_default());
    only(stage, "nothing was started beside it, and it is left running", &daemons);
    daemons.into_iter().for_each(|pid| send_signal(pid, Signal::TERM));
    Ok(())
}

fn broken_programs(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    let daemon = stage.tools.daemon.clone();
    let script = |stage: &Stage<'_>, name: &str, text: &str| {
        let path = stage.path("bin").join(name);
        fixture::plant(&path, format!("#!/bin/sh\n{text}\n").as_bytes(), 0o755).map(|()| path)
    };
    let ends = script(stage, "ends", "echo 'no such device' >&2; exit 4")?;
    // The real program, under the name that the search in PATH uses, after a program that ends.
    fixture::dir(&stage.path("path"))?;
    fixture::link(&daemon, &stage.path("path/myownmesh"))?;
    stage.begin()?;
    let mut command = stage.mesh_command(&["launch", "--once", "--json"]);
    command.env("MYOWNLLM_MESH_BIN", stage.path("bin/missing")).env("MYOWNMESH_BIN", &ends);
    command.env("PATH", std::env::join_paths([stage.path("path")]).unwrap_or_default());
    let launch = stage.run(
        "MYOWNLLM_MESH_BIN=~/bin/missing MYOWNMESH_BIN=~/bin/ends PATH=~/path myownllm-mesh launch --once",
        &mut command,
    )?;
    stage.ends("the start goes through", &launch, 0);
    let report: Value = serde_json::from_str(&launch.stdout).map_err(|e| e.to_string())?;
    let tried = report["data"]["daemon"]["candidates"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| {
        tried
            .iter()
            .find(|one| one["candidate"]["path"].as_str().is_some_and(|path| path.ends_with(name)))
            .cloned()
            .unwrap_or_default()
    };
    let missing = &of("bin/missing")["failure"]["reason"];
    stage.same("the missing one is named", &"not there", &missing.as_str().unwrap_or_default());
    let ended = of("bin/ends")["failure"].to_string();
    stage.check(
        "so is the one that ended, with its last words",
        ended.contains("exit status: 4") && ended.contains("no such device"),
        ended,
    );
    let taken = of("path/myownmesh");
    stage.check(
        "the next one was taken",
        taken["failure"].is_null() && !taken.is_null(),
        &taken["candidate"]["path"],
    );
    only(stage, "nothing is left running", &[]);
    Ok(())
}

fn newer_daemon_config(stage: &mut Stage<'_>) -> Played {
    fixture::healthy_config(&stage.home)?;
    let path = format!("{MESH}/config.json");
    let config = br#"{ "version": 99, "networks": [] }"#;
    fixture::plant(&stage.path(&path), config, 0o600)?;
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch"])?;
    stage.ends("no daemon comes up", &launch, 5);
    let (code, message) = first_trouble(&report);
    stage.check(
        "the reason is named",
        code == "daemon.config-newer" && message.contains("version 99"),
        message,
    );
    stage.files("the config is as it was", &[(path, config.to_vec())]);
    Ok(())
}

fn relapse(stage: &mut Stage<'_>) -> Played {
    on_linux()?;
    fixture::healthy_config(&stage.home)?;
    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("healthy so far", &launch, 0);
    let legacy = stage.daemon(APP)?;
    legacy.add_network("net-again", "ev-mesh")?;
    let process = legacy.pid().to_string();
    stage.begin()?;
    let (launch, report) = stage.mesh_json(&["launch", "--no-daemon"])?;
    stage.ends("under the daemon that does it nothing is repaired", &launch, 7);
    let suspects = &report["data"]["relapse"]["suspects"];
    let named = suspects[0]["pid"] == json!(legacy.pid()) && suspects[0]["evidence"]["evidence"] == "serves";
    stage.check("it is said that this is a relapse, and who it is", named, suspects);
    legacy.stop()?;
    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("without it, the config is repaired", &launch, 0);
    let told = launch.stderr.contains("was healthy before") && !launch.stderr.contains(&process);
    stage.check("and the relapse is told, naming nobody who does not run", told, launch.stderr.trim_end());
    stage.app_shape()?;
    stage.settled()?;
    Ok(())
}
