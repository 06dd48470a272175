//! The program as users, release engineers and support volunteers see it.

mod config;

use integration_tests::testkit::{APP, CONFIG, DAEMON_CONFIG, Home, MESH, OLD_KEY, Ran, root, run};
#[cfg(unix)]
use integration_tests::testkit::{
    NEW_KEY, SHARED, can_be_root, eventually, follow, hold_lock, is_alive, program, set_mode,
};
use rstest::rstest;
use serde_json::{Value, json};

fn app_config(home: &Home, bytes: &[u8]) {
    home.put(CONFIG, bytes, 0o600);
}

#[rstest]
#[case::of_success(&["status", "--json"])]
#[case::of_a_wrong_command_line(&["nonsense", "--json"])]
#[case::of_a_failure(&["network", "show", "nope", "--json"])]
fn document_names_the_build_the_time_and_the_duration(#[case] args: &[&str]) {
    let before = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    let ran = Home::settled().run(args);
    let said = ran.json();
    assert_eq!(said["exit"], ran.code.unwrap(), "{args:?}");
    let at = said["at"].as_str().unwrap();
    assert!(at >= before.as_str() && at.len() == before.len() && at.ends_with('Z'), "{before}: {at}");
    assert!(said["took_ms"].as_u64().unwrap() < 30_000, "{said}");
    assert_eq!(said["program"]["version"], env!("CARGO_PKG_VERSION"), "{said}");
    let target = said["program"]["target"].as_str().unwrap();
    assert!(target.starts_with(std::env::consts::ARCH), "{target}");
}

#[test]
fn version_names_the_commit_its_date_and_the_target() {
    let said = Home::empty().run(&["status", "--json"]).json()["program"].clone();
    let commit = said["commit"].as_str().unwrap();
    // A copy of the sources has no git history.
    let from = if root().join(".git").symlink_metadata().is_ok() {
        let mut git = std::process::Command::new("git");
        let ran = git.args(["log", "-1", "--format=%cs", commit]).current_dir(root()).output().unwrap();
        assert!(ran.status.success(), "{commit} is not in the history: {ran:?}");
        format!("{} {}", &commit[..9], String::from_utf8(ran.stdout).unwrap().trim())
    } else {
        assert_eq!(commit, "unknown", "{said}");
        "commit unknown".to_owned()
    };
    let version = Home::empty().run(&["--version"]).ends_with(0).stdout;
    let (number, target) = (env!("CARGO_PKG_VERSION"), said["target"].as_str().unwrap());
    assert_eq!(version, format!("myownllm-mesh {number} ({from}, {target})\n"));
}

#[test]
fn launch_says_in_one_word_what_it_came_to() {
    let outcome =
        |home: &Home| home.run(&["launch", "--no-daemon", "--json"]).json()["data"]["outcome"].clone();
    assert_eq!(outcome(&Home::settled()), "healthy");
    let legacy = Home::legacy();
    assert_eq!((outcome(&legacy), outcome(&legacy)), (json!("moved"), json!("healthy")));
    assert_eq!(outcome(&Home::after_the_bug()), "repaired-with-losses");
    let restored = Home::settled();
    app_config(&restored, &Home::after_the_bug().bytes(CONFIG));
    assert_eq!(outcome(&restored), "repaired");
    let refused = Home::legacy();
    refused.put(OLD_KEY, b"{}", 0o600);
    assert_eq!(outcome(&refused), "refused");
    let newer = Home::settled();
    app_config(&newer, br#"{"version": 99, "daemon": {}, "networks": []}"#);
    assert_eq!(outcome(&newer), "refused");
    let failed = Home::settled();
    let failed = run(failed
        .command(&["launch", "--once", "--json"])
        .env("MYOWNMESH_BIN", "/nonexistent")
        .env("PATH", "/nonexistent"));
    assert_eq!(failed.json()["data"]["outcome"], Value::from("failed"), "{failed:?}");
}

#[test]
fn verdict_is_0_on_a_healthy_home_3_on_a_pending_move_and_4_on_a_problem() {
    let verdict = |home: &Home, code| {
        let said = home.run(&["--json"]).ends_with(code).json()["data"].clone();
        let commands = said["commands"].as_array().unwrap().iter();
        let commands: Vec<String> = commands.map(|way| way["command"].as_str().unwrap().to_owned()).collect();
        let page = home.run(&[]).ends_with(code).stdout;
        assert!(commands.iter().all(|command| page.contains(command)), "{commands:?}: {page}");
        assert!((2..=4).contains(&commands.len()) && page.lines().count() < 12, "{page}");
        (said["verdict"].as_str().unwrap().to_owned(), commands[0].clone(), page)
    };
    let named = |home: &Home, command: &str| {
        let path = home.path("");
        format!("myownllm-mesh --home {} {command}", path.to_str().unwrap().trim_end_matches('/'))
    };
    let settled = Home::settled();
    let (word, _, page) = verdict(&settled, 0);
    assert_eq!(word, "healthy");
    assert!(page.contains("is healthy") && page.contains("home-mesh active"), "{page}");
    let legacy = Home::legacy();
    let (word, first, page) = verdict(&legacy, 3);
    assert_eq!((word.as_str(), first), ("pending", named(&legacy, "repair")), "{page}");
    let bug = Home::after_the_bug();
    let (word, first, page) = verdict(&bug, 4);
    assert_eq!((word.as_str(), first), ("problem", named(&bug, "repair")), "{page}");
    assert!(page.contains("wrote over your settings") && page.contains("office-mesh"), "{page}");
    let damaged = Home::legacy();
    damaged.put(OLD_KEY, b"{}", 0o600);
    let (word, first, page) = verdict(&damaged, 4);
    assert_eq!(word, "problem");
    assert!(!first.contains("repair") && page.contains("identity.json"), "{page}");
    bug.run(&["repair"]).ends_with(0);
    assert_eq!(verdict(&bug, 0).0, "healthy");
}

/// The list is all that the user had of the networks: a count of warnings would hide the loss.
#[test]
fn first_screen_names_lost_networks() {
    let home = Home::settled();
    home.edit(CONFIG, |config| config["cloud_mesh"]["networks"] = json!([]));
    let page = home.run(&[]).ends_with(0).stdout;
    assert!(!page.contains("is healthy") && page.contains("has lost all of its networks"), "{page}");
    assert!(page.contains(" config restore 1 "), "{page}");
}

#[test]
fn verdict_asks_which_of_two_files_stays() {
    let home = Home::after_the_bug();
    let other = br#"{"version": 1, "network_id": "home-mesh", "authorized_devices": []}"#;
    home.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), other, 0o600);
    home.run(&["repair"]).ends_with(0);
    let said = home.run(&["--json"]).ends_with(3).json();
    assert_eq!(said["data"]["verdict"], "pending", "{said}");
    let page = home.run(&[]).ends_with(3).stdout;
    for reported in ["differ", "migrate --keep old-location", "migrate --keep daemon-home"] {
        assert!(page.contains(reported), "{reported}: {page}");
    }
    // A daemon that was started too early wrote the roster without devices.
    let doctor = home.run(&["doctor", "--json"]).json();
    let reported = doctor["diagnostics"].as_array().unwrap().iter();
    let hints: Vec<_> = reported
        .filter(|reported| reported["code"] == "migration.collision")
        .map(|reported| &reported["hint"])
        .collect();
    assert!(hints.iter().all(|hint| hint.as_str().unwrap().ends_with("--keep old-location")), "{hints:?}");
    home.run(&["status", "--check"]).ends_with(3);
    home.run(&["migrate", "--keep", "daemon-home"]).ends_with(0);
    home.run(&["status", "--check"]).ends_with(0);
}

/// Last month's backup came back with its times, and the user has removed a device since.
#[test]
fn older_roster_with_more_devices_is_not_chosen_for_the_user() {
    const ROSTER: &str = "mesh/rosters/home-mesh.json";
    let home = Home::settled();
    let roster = |devices: &[&str]| {
        let devices: Vec<_> = devices.iter().map(|device| json!({"device_id": device})).collect();
        let roster = json!({"version": 1, "network_id": "home-mesh", "authorized_devices": devices});
        roster.to_string().into_bytes()
    };
    home.put(&format!("{MESH}/{ROSTER}"), &roster(&["a"]), 0o600);
    let old = home.path(&format!("{APP}/{ROSTER}"));
    home.put(&format!("{APP}/{ROSTER}"), &roster(&["a", "b"]), 0o600);
    let reported = |args: &[&str]| home.run(args).diagnostic("migration.collision");
    // The richer roster is the newer one.
    let hint = reported(&["doctor", "--json"])["hint"].as_str().unwrap().to_owned();
    assert!(hint.ends_with("migrate --keep old-location"), "{hint}");
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
    for args in [&["doctor", "--json"][..], &["migrate", "--dry-run", "--json"], &["repair", "--json"]] {
        let reported = reported(args);
        assert!(reported["hint"].as_str().unwrap().starts_with("ls -l "), "{args:?}: {reported}");
        let said = reported["message"].as_str().unwrap();
        let (older, newer) =
            ("(2 devices, changed on 2023-11-14)", "--keep daemon-home (1 device, changed on 20");
        assert!(said.contains(&format!("--keep old-location {older}")) && said.contains(newer), "{said}");
    }
}

#[test]
fn document_of_a_look_names_the_code_of_each_problem() {
    let home = Home::after_the_bug();
    for (args, code) in [(&["--json"][..], 4), (&["status", "--check", "--json"], 3)] {
        let said = home.run(args).ends_with(code).json();
        let codes = said["diagnostics"].to_string();
        assert!(codes.contains("config.needs-repair") && codes.contains("migration.pending"), "{said}");
    }
}

#[test]
fn repair_puts_everything_right_and_says_what_it_kept_and_what_is_lost() {
    let home = Home::after_the_bug();
    let overwritten = home.bytes(CONFIG);
    let said = home.run(&["fix"]).ends_with(0).all();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for reported in [
        "Moved: 4 files",
        "Repaired your settings: recovered 2 networks (office-mesh, ev-mesh)",
        "Kept: the file as it was, as backup 1 in ~/.myownllm/config-backups.",
        "21 settings are lost, as no backup has them, and are at their defaults.",
        "the app deletes old conversations;",
        "config set auto_cleanup.conversations=false",
        "the mesh is switched off.",
        "network use office-mesh",
    ] {
        assert_eq!(said.matches(reported).count(), 1, "{reported}: {said}");
    }
    home.still_has(&overwritten, "the overwritten config");
    let before = home.snapshot();
    let said = home.run(&["repair"]).ends_with(0).stdout;
    assert_eq!(said, "Nothing to put right: ~/.myownllm is healthy.\n");
    assert!(home.snapshot() == before);
    // A backup has every setting, so nothing is lost and nothing is warned of.
    let home = Home::settled();
    app_config(&home, &overwritten);
    let said = home.run(&["repair"]).ends_with(0).stdout;
    assert!(said.contains("17 settings from backup 1") && !said.contains("Lost"), "{said}");
    // The run reports the decision that it needs, and does the rest.
    let home = Home::after_the_bug();
    home.put(OLD_KEY, b"{}", 0o600);
    let ran = home.run(&["repair"]).ends_with(7);
    assert!(ran.stdout.contains("Something is left to put right"), "{ran:?}");
    assert!(ran.stderr.contains("code: migration.identity-damaged"), "{ran:?}");
}

#[cfg(unix)]
#[rstest]
#[case::a_directory_for_the_daemons_config(|home: &Home| {
    std::fs::create_dir(home.path(DAEMON_CONFIG)).unwrap();
}, "daemon.config-unreadable")]
#[case::a_newer_config_of_the_daemon(|home: &Home| {
    home.put(DAEMON_CONFIG, br#"{"version":99,"networks":[]}"#, 0o600);
}, "daemon.config-newer")]
#[case::a_relative_socket(|home: &Home| {
    home.put(DAEMON_CONFIG, br#"{"version":3,"daemon":{"control_socket":"rel"},"networks":[]}"#, 0o600);
}, "paths.control-socket")]
#[case::a_file_for_the_socket(|home: &Home| home.put(".myownllm/.myownmesh/daemon.sock", b"x", 0o600),
    "daemon.not-a-socket")]
#[case::a_home_that_everybody_may_write_in(|home: &Home| set_mode(&home.path(APP), 0o777),
    "homes.unsafe-permissions")]
fn repair_tells_a_problem_that_is_left(#[case] harm: fn(&Home), #[case] code: &str) {
    let home = Home::settled();
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    harm(&home);
    home.run(&[]).ends_with(4);
    let ran = home.run(&["repair"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    let said = "Nothing was changed, and something is left to put right (see below).\n";
    assert_eq!(ran.stdout, said, "{ran:?}");
    assert!(ran.stderr.contains(&format!("code: {code}\n")), "{ran:?}");
}

#[test]
fn repair_tells_files_that_it_removes_and_files_that_differ() {
    const ROSTER: &str = "mesh/rosters/home-mesh.json";
    let home = Home::settled();
    let roster = home.bytes(&format!("{MESH}/{ROSTER}"));
    home.put(&format!("{APP}/{ROSTER}"), &roster, 0o600);
    let ran = home.run(&["repair"]).ends_with(0);
    assert_eq!(ran.stdout, "Done: removed, as identical files are there: 1 file.\n");
    home.put(&format!("{APP}/{ROSTER}"), b"{}", 0o600);
    home.run(&[]).ends_with(3);
    let ran = home.run(&["repair"]).ends_with(0);
    let said = "Nothing was changed, and something is left to put right (see below).\n";
    assert!(ran.stdout.ends_with(said), "{ran:?}");
    assert!(ran.stderr.contains("differ; both stay until you choose"), "{ran:?}");
}

/// Without the key, a repair leaves what a daemon starts on as it is.
#[rstest]
#[case::the_daemons_config(DAEMON_CONFIG, b"{\"version\":3,")]
#[case::a_roster(".myownllm/.myownmesh/mesh/rosters/home-mesh.json", b"")]
fn doctor_counts_no_file_that_a_repair_leaves_without_the_key(#[case] path: &str, #[case] bytes: &[u8]) {
    let home = Home::settled();
    std::fs::remove_file(home.path(NEW_KEY)).unwrap();
    home.put(path, bytes, 0o600);
    let said = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(!said.contains(" repair\n"), "{said}");
    home.run(&["repair"]).ends_with(7);
    assert_eq!(home.bytes(path), bytes);
}

#[test]
fn doctor_tells_problems_first_and_ends_with_the_one_command() {
    let home = Home::after_the_bug();
    let said = home.run(&["doctor"]).ends_with(4).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("problem  config.shape"), "{said}");
    assert!(said.find("warning  state.moved") > said.find("problem  config.shape"), "{said}");
    assert!(!said.contains("\nok ") && said.contains(" checks passed"), "{said}");
    let last = format!("  myownllm-mesh --home {} repair", home.path("").display());
    assert_eq!(lines.last().unwrap().trim_end_matches('/'), last.trim_end_matches('/'), "{said}");
    let all = home.run(&["doctor", "-v"]).ends_with(4).stdout;
    assert!(all.contains("\nok       homes.apart"), "{all}");
    let document = home.run(&["doctor", "--json"]).ends_with(4).json();
    let checks = document["data"]["checks"].as_array().unwrap();
    for check in
        checks.iter().filter(|check| ["problem", "warning"].contains(&check["result"].as_str().unwrap()))
    {
        let code = check["code"].as_str().unwrap_or_else(|| panic!("no code: {check}"));
        let reported = document["diagnostics"].as_array().unwrap().iter();
        assert!(reported.map(|found| found["code"].as_str()).any(|found| found == Some(code)), "{check}");
    }
    assert!(checks.iter().any(|check| check["code"] == "config.needs-repair"), "{document}");
    home.run(&["repair"]).ends_with(0);
    let said = home.run(&["doctor"]).ends_with(0).stdout;
    assert!(!said.contains("problem") && !said.contains("repair"), "{said}");
}

#[test]
fn status_tells_with_codes_what_a_launch_would_do() {
    let steps = |home: &Home| home.run(&["status", "--json"]).json()["data"]["launch_steps"].clone();
    assert_eq!(steps(&Home::after_the_bug()), json!(["move", "repair-config", "start-daemon"]));
    assert_eq!(steps(&Home::settled()), json!(["start-daemon"]));
    let gone = Home::settled();
    std::fs::remove_file(gone.path(CONFIG)).unwrap();
    assert_eq!(steps(&gone), json!(["restore-config", "start-daemon"]));
    let said = gone.run(&["status"]).stdout;
    assert!(said.contains("write the config anew from backup 1"), "{said}");
    assert!(!said.contains("needs a repair"), "{said}");
}

#[test]
fn quiet_silences_reports_and_never_what_was_asked_for() {
    let home = Home::settled();
    for args in [
        &["network", "export", "home-mesh"][..],
        &["network", "list"],
        &["network", "show", "home-mesh"],
        &["config", "show"],
        &["config", "get", "api.port"],
        &["config", "history"],
        &["config", "schema", "app"],
        &["paths"],
        &["identity"],
        &["status"],
        &["migrate", "--dry-run"],
        &["salvage", "--dry-run"],
        &["man"],
        &["completions", "bash"],
    ] {
        let [said, quiet] =
            [&[][..], &["-q"]].map(|more| home.run(&[args, more].concat()).ends_with(0).stdout);
        assert!(!quiet.is_empty() && quiet == said, "{args:?}");
    }
    assert!(home.run(&["daemon", "status", "-q"]).ends_with(5).stdout.contains("does not run"));
    for args in [
        &["status", "--check"][..],
        &["doctor"],
        &["repair"],
        &["migrate"],
        &["config", "set", "api.port=7"],
        &[],
    ] {
        let ran = home.run(&[args, &["-q"]].concat()).ends_with(0);
        assert!(ran.all().trim().is_empty(), "{args:?}: {ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn daemon_of_the_home_is_reported_stopped_and_started_anew() {
    let home = Home::settled();
    let daemon = |command: &str| run(&mut home.with_daemon(&["daemon", command, "--json"]));
    assert_eq!(daemon("status").ends_with(5).json()["diagnostics"][0]["code"], "daemon.not-running");
    let reported = run(&mut home.with_daemon(&["daemon", "status"])).ends_with(5);
    assert!(reported.stdout.contains("To start it:\n"), "{reported:?}");
    assert!(reported.stdout.ends_with(" launch --detach\n"), "{reported:?}");
    assert_eq!(reported.stderr, "", "the page tells it already");
    assert_eq!(daemon("stop").ends_with(0).json()["data"]["stopped"], json!([]));
    run(&mut home.with_daemon(&["launch", "--detach"])).ends_with(0);
    let pid = |said: &Value| said["data"]["probe"]["pid"].as_u64().unwrap();
    let first = pid(&daemon("status").ends_with(0).json());
    let said = daemon("restart").ends_with(0).json();
    assert_eq!(said["data"]["stopped_before"][0]["pid"], first, "{said}");
    let second = pid(&daemon("status").ends_with(0).json());
    assert_ne!(first, second);
    let said = daemon("stop").ends_with(0).json();
    assert_eq!(said["data"]["stopped"][0]["pid"], second, "{said}");
    daemon("status").ends_with(5);
    let said = home.run(&["logs"]).ends_with(0).stdout;
    assert!(said.contains("daemon restart") && said.contains("daemon stop"), "{said}");
    // A daemon of another home is not stopped.
    let _shared = home.daemon(SHARED).start().unwrap();
    assert_eq!(daemon("stop").ends_with(0).json()["data"]["stopped"], json!([]));
    assert!(home.has(".myownmesh/daemon.sock"));
}

/// `daemon status` and a change of the networks tell the same cause with the same hint.
#[cfg(unix)]
#[test]
fn process_that_is_no_daemon_is_reported_with_one_hint() {
    let home = Home::with_networks();
    let _other = home.daemon(MESH).mode("garbage").start().unwrap();
    let reported =
        |args: &[&str]| run(&mut home.with_daemon(args)).ends_with(5).json()["diagnostics"][0].clone();
    let state = reported(&["daemon", "status", "--json"]);
    assert!(!state["message"].as_str().unwrap().contains("the daemon something"), "{state}");
    assert_eq!(reported(&["network", "use", "second-net", "--json"])["hint"], state["hint"]);
}

/// A restart refuses without a program, and a hint has to mend what it is printed for.
#[cfg(unix)]
#[test]
fn daemon_that_nothing_can_replace_is_stopped_by_the_hint() {
    let home = Home::settled();
    let silent = home.daemon(MESH).mode("silent").start().unwrap();
    let restart = home.run(&["daemon", "restart"]).ends_with(5);
    assert!(restart.stderr.contains("daemon.not-found"), "{restart:?}");
    let silent = silent.reaped_elsewhere();
    let check = home.run(&["doctor", "--json"]).ends_with(4).check("daemon.own");
    let status = home.run(&["daemon", "status", "--json"]).ends_with(5).json();
    assert_eq!(status["diagnostics"][0]["hint"], check["hint"], "{status:#}");
    follow(&check["hint"]);
    eventually("it ends", || !is_alive(silent));
    home.run(&["doctor"]).ends_with(0);
    // With a program, the hint is the restart.
    let _silent = home.daemon(MESH).mode("silent").start().unwrap();
    let check = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(4).check("daemon.own");
    assert!(check["hint"].as_str().unwrap().ends_with(" daemon restart"), "{check}");
}

/// If a launch starts no daemon, the hint is not that launch.
#[cfg(unix)]
#[test]
fn daemon_that_a_launch_does_not_start_has_another_hint() {
    let home = Home::settled();
    let status = || run(&mut home.with_daemon(&["daemon", "status", "--json"])).ends_with(5);
    let reported = |ran: Ran| ran.json()["diagnostics"].as_array().unwrap().last().unwrap().clone();
    let launches = |reported: &Value| reported["hint"].as_str().is_some_and(|hint| hint.contains(" launch "));
    assert!(launches(&reported(status())));

    let no_program = reported(home.run(&["daemon", "status", "--json"]).ends_with(5));
    assert!(!launches(&no_program), "{no_program}");
    assert!(no_program["causes"][0].as_str().unwrap().contains("no daemon program"), "{no_program}");

    let shared = home.daemon(SHARED).start().unwrap();
    let page = run(&mut home.with_daemon(&["daemon", "status"])).ends_with(5);
    assert!(page.stdout.ends_with("\nA launch uses the shared daemon.\n"), "{page:?}");
    assert_eq!((page.stderr.as_str(), &reported(status())["hint"]), ("", &Value::Null));
    drop(shared);

    std::fs::remove_file(home.path(NEW_KEY)).unwrap();
    let refused = reported(status());
    assert!(refused["hint"].as_str().unwrap().contains("/path/to/backup/identity.json"), "{refused}");
    assert_eq!(refused["code"], "daemon.not-running");
}

#[test]
fn verbose_prints_steps_on_stderr() {
    let said = |args: &[&str], variable: &str| {
        let home = Home::after_the_bug();
        run(home.command(&[&["repair"], args].concat()).env("MYOWNLLM_LOG", variable)).ends_with(0)
    };
    let quiet = said(&[], "");
    assert!(!quiet.stderr.contains("INFO"), "{quiet:?}");
    let reported = said(&["-v"], "").stderr;
    assert!(
        reported.contains("INFO") && reported.contains("the move has ended") && !reported.contains("DEBUG"),
        "{reported}"
    );
    assert!(said(&["-vv"], "").stderr.contains("DEBUG"));
    let reported = said(&["--json"], "myownllm_config_store=debug");
    assert!(
        reported.stderr.contains("loaded the config") && !reported.stderr.contains("the move"),
        "{reported:?}"
    );
    reported.json();
    for wrong in ["myownllm_daemon=loud", "loud", "daemon=debug"] {
        let odd = said(&[], wrong);
        assert!(odd.stderr.contains("warning: cannot use MYOWNLLM_LOG"), "{wrong}: {odd:?}");
    }
}

#[test]
fn word_that_is_no_command_leads_to_the_command_that_it_means() {
    for (word, command) in
        [("undo", "migrate --undo --dry-run"), ("recover", "repair"), ("diagnose", "doctor")]
    {
        let ran = Home::empty().run(&[word]).ends_with(2);
        assert!(ran.stderr.contains(&format!("  hint: myownllm-mesh {command}\n")), "{ran:?}");
    }
}

#[test]
fn progress_for_programs_is_alone_on_stderr() {
    let ran = Home::after_the_bug().run(&["repair", "--json", "--progress"]).ends_with(0);
    assert!(ran.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{ran:?}");
    assert!(!ran.json()["diagnostics"].as_array().unwrap().is_empty());
}

#[test]
fn identity_file_tells_a_time_and_not_a_number() {
    let files = Home::settled().run(&["identity", "--json"]).ends_with(0).json()["data"]["files"].clone();
    let made = files[0]["created_at"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(made).is_ok(), "{made}");
}

#[cfg(unix)]
#[test]
fn run_that_waits_says_for_whom_and_goes_on() {
    let home = Home::legacy();
    let dir = hold_lock(&home.path(APP));
    let mut child = home.command(&["migrate"]);
    let mut child =
        child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let started = std::time::Instant::now();
    let said = lines.next().unwrap().unwrap();
    let process =
        if cfg!(target_os = "linux") { format!(" (process {})", std::process::id()) } else { String::new() };
    assert_eq!(said, format!("Waiting for another myownllm-mesh{process}…"));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    drop(dir);
    assert!(child.wait().unwrap().success());
    assert!(home.has(NEW_KEY));
}

/// Another process writes the config while this run waits for the lock. The run says so, and does
/// not report its own work as missing.
#[cfg(unix)]
#[rstest]
#[case::missing(None, "another process wrote it meanwhile")]
#[case::torn(Some(&b"{\"active_family\": \"mine\", \"kept"[..]), "another process repaired it meanwhile")]
#[case::overwritten(Some(&b"{\"version\": 3, \"networks\": [], \"daemon\": {}}"[..]),
    "another process repaired it meanwhile")]
fn run_that_waited_says_that_another_process_did_the_work(#[case] bad: Option<&[u8]>, #[case] said: &str) {
    let home = Home::settled();
    let config = format!("{APP}/config.json");
    let healthy = home.bytes(&config);
    std::fs::remove_dir_all(home.path(&format!("{APP}/config-backups"))).unwrap();
    std::fs::remove_file(home.path(&config)).unwrap();
    if let Some(bytes) = bad {
        home.put(&config, bytes, 0o600);
    }
    let lock = hold_lock(&home.path(APP));
    let mut child = home.command(&["launch", "--no-daemon"]);
    let mut child =
        child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with("Waiting for another"));
    home.put(&format!("{config}.other"), &healthy, 0o600);
    std::fs::rename(home.path(&format!("{config}.other")), home.path(&config)).unwrap();
    drop(lock);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains(said), "{stdout}");
    assert_eq!(home.bytes(&config), healthy);
}

#[cfg(target_os = "linux")]
#[test]
fn interrupted_move_says_that_nothing_is_lost_and_goes_on() {
    let home = Home::legacy();
    for number in 0..20_000 {
        let roster = format!(r#"{{"version":1,"network_id":"n-{number}","authorized_devices":[]}}"#);
        std::fs::write(home.path(&format!("{APP}/mesh/rosters/n-{number}.json")), roster).unwrap();
    }
    // A foreign file keeps the directory from moving as a whole.
    home.put(&format!("{APP}/mesh/rosters/notes.txt"), b"mine", 0o600);
    let mut child = home.command(&["migrate", "--json", "--progress"]);
    child
        .env("HOME", "/nonexistent")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(stderr).map(Result::unwrap);
    let first = lines.next();
    let Some(first) = first.filter(|line| line.starts_with('{')) else {
        // On a fast machine the move ends before it reports progress.
        assert!(child.wait().unwrap().success());
        return;
    };
    let reported: Value = serde_json::from_str(&first).unwrap();
    assert!(
        reported["progress"]["phase"].is_string()
            && reported["progress"]["total"].as_u64().unwrap() >= 20_000,
        "{reported}"
    );
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    if status.code().is_none() {
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
        let said = "Nothing is lost; run it again to go on.";
        assert!(rest.iter().any(|line| line == said), "{rest:?}");
    }
    home.run(&["migrate"]).ends_with(0);
    assert!(home.has(&format!("{MESH}/mesh/rosters/n-19999.json")));
    home.run(&["doctor"]).ends_with(0);
}

/// What an interrupted move leaves in both places is counted, and names that stay have no sign.
#[test]
fn files_that_are_in_both_places_are_counted() {
    let home = Home::legacy();
    for number in 0..20 {
        let roster = format!(r#"{{"version":1,"network_id":"n-{number}","authorized_devices":[]}}"#);
        for place in [APP, MESH] {
            home.put(&format!("{place}/mesh/rosters/n-{number}.json"), roster.as_bytes(), 0o600);
        }
    }
    let reported = home.run(&["doctor", "--json"]).check("state.moved")["evidence"].take();
    assert!(reported.as_str().unwrap().contains(" 20 of them in the daemon home too"), "{reported}");
    let drawn = home.run(&["status"]).ends_with(0).stdout;
    assert!(drawn.contains(" and 17 more") && !drawn.contains(" )"), "{drawn}");
}

#[cfg(unix)]
#[rstest]
#[case::mode_600_everywhere("homes.no-access", "find $H/.myownllm -exec chmod 600 {} +")]
#[case::directories_000("homes.no-access", "find $H/.myownllm -depth -type d -exec chmod 000 {} +")]
#[case::root_owns_the_home(
    "homes.no-access",
    "chown -RH 0:0 $H/.myownllm; find $H/.myownllm -type d -exec chmod 700 {} +"
)]
#[case::root_owns_what_is_private(
    "homes.no-access",
    "chown -RH 0:0 $H/.myownllm/mesh $H/.myownllm/.secrets; chmod -R go= $H/.myownllm/mesh"
)]
#[case::root_owns_the_directories(
    "paths.unwritable",
    "find $H/.myownllm -type d -exec chmod 755 {} + -exec chown 0:0 {} +"
)]
#[case::read_only_copy("paths.unwritable", "chmod -R a-w,a+rX $H/.myownllm")]
#[case::directory_000("homes.no-access", "chmod 000 $H/.myownllm")]
#[case::home_of_the_user_000("homes.no-access", "chmod 000 $H")]
#[case::read_only_directory("paths.unwritable", "chmod 555 $H/.myownllm/.secrets")]
#[case::unreadable_key("migration.unreadable", "chmod 000 $H/.myownllm/.secrets/identity.json")]
#[case::unreadable_config("homes.no-access", "chmod 000 $H/.myownllm/config.json")]
fn many_symptoms_of_one_cause_are_one_problem_whose_command_mends_it(
    #[case] code: &str,
    #[case] spoil: &str,
    #[values(Home::legacy, Home::after_the_bug)] make: fn() -> Home,
) {
    use std::os::unix::process::CommandExt as _;
    const USER: u32 = 64_301;
    if !can_be_root() {
        return;
    }
    let shell = |home: &Home, script: &str| {
        let script = script.replace("$H", home.path("").to_str().unwrap().trim_end_matches('/'));
        assert!(
            std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success(),
            "{script}"
        );
    };
    let tools = tempfile::tempdir().unwrap();
    set_mode(tools.path(), 0o755);
    let copy = tools.path().join("myownllm-mesh");
    std::fs::copy(program(), &copy).unwrap();
    let home = make();
    shell(&home, &format!("chmod 755 $H/..; chown -RH {USER}:{USER} $H; {spoil}"));
    let user = |args: &[&str]| {
        let mut command = std::process::Command::new(&copy);
        command.arg("--home").arg(home.path("")).args(args).env("HOME", "/nonexistent").current_dir("/");
        run(command.uid(USER).gid(USER))
    };
    let said = user(&["doctor", "--json"]).ends_with(4).json();
    let checks = said["data"]["checks"].as_array().unwrap().iter();
    // The repair itself settles an overwritten config.
    let is_problem = |check: &&Value| check["result"] == "problem" && check["code"] != "config.needs-repair";
    let problems: Vec<&Value> = checks.filter(is_problem).collect();
    assert!(problems.len() == 1 && problems[0]["code"] == code, "{said:#}");
    let problem = problems[0];
    let first = user(&["--json"]).ends_with(4).json()["data"]["commands"][0]["command"].clone();
    assert_eq!(first, problem["hint"], "the first screen");
    for args in [&["status"][..], &["migrate"], &["repair"], &["launch", "--no-daemon"]] {
        let ran = user(args);
        let hint = format!("  hint: {}\n", problem["hint"].as_str().unwrap());
        assert_eq!(ran.stderr.matches(&hint).count(), 1, "{args:?}: {ran:?}");
    }
    let ran = user(&["repair"]);
    assert!(ran.code != Some(0) && ran.stderr.matches("error: ").count() == 1, "{ran:?}");
    // Runs the hint as its user would, or as root if it begins with sudo.
    let hint = problem["hint"].as_str().unwrap();
    let mut mend = std::process::Command::new("sh");
    match hint.strip_prefix("sudo ") {
        Some(hint) => mend.args(["-c", hint]),
        None => mend.args(["-c", hint]).uid(USER).gid(USER),
    };
    assert!(mend.status().unwrap().success(), "{hint}");
    user(&["repair"]).ends_with(0);
    user(&["doctor"]).ends_with(0);
}

#[rstest]
fn undo_names_the_config_of_the_daemon_only_if_there_is_one(#[values(true, false)] is_there: bool) {
    let home = Home::settled();
    if is_there {
        home.put(&format!("{MESH}/config.json"), br#"{"version":3,"daemon":{},"networks":[]}"#, 0o600);
    }
    let said = home.run(&["migrate", "--undo"]).ends_with(0).stdout;
    assert_eq!(said.contains("config.json stays in the daemon home"), is_there, "{said}");
}
