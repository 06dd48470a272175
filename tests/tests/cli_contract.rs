//! The contract of the command line: exit codes, one JSON document, refusals that name the way out,
//! no secret in any output, and read-only commands.

#[cfg(unix)]
use integration_tests::testkit::ask;
use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, SECRETS, fixture_of_038, follow, hold_lock, path_with_program,
    program, run, run_with, set_mode, stand_in,
};
use rstest::rstest;
use serde_json::{Value, json};

/// Every command that ends by itself and needs no input. True marks a read-only command.
const COMMANDS: &[(&[&str], bool)] = &[
    (&["daemon", "status"], true),
    (&["daemon", "stop"], false),
    (&["report"], true),
    (&["report", "--html"], true),
    (&["logs"], true),
    (&["logs", "--daemon"], true),
    (&["config", "get", "api"], true),
    (&["config", "diff", "1"], true),
    (&[], true),
    (&["status"], true),
    (&["status", "--check"], true),
    (&["doctor"], true),
    (&["migrate", "--dry-run"], true),
    (&["migrate", "--check"], true),
    (&["migrate", "--undo", "--dry-run"], true),
    (&["salvage", "--dry-run"], true),
    (&["salvage", "--check"], true),
    (&["config", "show"], true),
    (&["config", "check"], true),
    (&["config", "history"], true),
    (&["network", "list"], true),
    (&["network", "show", "home-mesh"], true),
    (&["network", "export", "home-mesh"], true),
    (&["paths"], true),
    (&["paths", "--mode", "shared"], true),
    (&["identity"], true),
    (&["migrate"], false),
    (&["salvage"], false),
    (&["repair"], false),
    (&["launch", "--no-daemon"], false),
    (&["network", "add", "garden-mesh"], false),
    (&["network", "use", "--none"], false),
    (&["network", "remove", "garden-mesh"], false),
    (&["migrate", "--undo"], false),
];

fn homes() -> [(&'static str, Home); 4] {
    [
        ("empty", Home::empty()),
        ("legacy", Home::legacy()),
        ("after the bug", Home::after_the_bug()),
        ("settled", Home::settled()),
    ]
}

#[test]
fn every_command_answers_json_with_one_document_in_the_envelope() {
    for (name, home) in homes() {
        for (args, _) in COMMANDS {
            let ran = home.run(&[*args, &["--json"]].concat());
            let context = format!("{name}: {args:?}: {ran:?}");
            let document: Value =
                serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {context}"));
            let schema = document["schema"].as_str().unwrap_or_else(|| panic!("no schema: {context}"));
            let wanted = format!("myownllm-mesh.{}", args.first().unwrap_or(&"verdict"));
            assert!(schema.starts_with(&wanted) && schema.ends_with("/1"), "{schema}: {context}");
            assert_eq!(document["ok"], json!(ran.code == Some(0)), "{context}");
            assert!(document["data"].is_object(), "{context}");
            for diagnostic in
                document["diagnostics"].as_array().unwrap_or_else(|| panic!("no diagnostics: {context}"))
            {
                for key in ["code", "severity", "message", "path", "hint"] {
                    assert!(diagnostic.get(key).is_some(), "{key} is missing in {diagnostic}: {context}");
                }
                let is_error = diagnostic["severity"] == "error";
                assert_eq!(diagnostic["class"].is_string(), is_error, "{diagnostic}: {context}");
                let code = diagnostic["code"].as_str().unwrap();
                assert!(
                    code.contains('.')
                        && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-'),
                    "{code}: {context}"
                );
            }
            assert!(ran.code.is_some_and(|code| (0..=8).contains(&code)), "{context}");
        }
    }
}

#[test]
fn migrate_and_salvage_report_what_scripts_rely_on() {
    let home = Home::after_the_bug();
    let dry = home.run(&["migrate", "--dry-run", "--json"]).ends_with(0).json();
    assert!(
        dry["data"]["pending"].is_array()
            || dry["data"]["pending"].is_object()
            || dry["data"]["pending"] == true,
        "{dry}"
    );
    let moved = home.run(&["migrate", "--json"]).ends_with(0).json();
    for key in ["moved", "identical_removed", "collisions", "left"] {
        assert!(moved["data"][key].is_array(), "{key}: {moved}");
    }
    for entry in moved["data"]["moved"].as_array().unwrap() {
        for key in ["from", "to", "method"] {
            assert!(entry[key].is_string(), "{key}: {entry}");
        }
    }
    let salvaged = home.run(&["salvage", "--json"]).ends_with(0).json();
    let data = &salvaged["data"];
    assert_eq!(data["shape"], "daemon", "{salvaged}");
    assert_eq!(data["recovered_networks"], json!(["office-mesh", "ev-mesh"]));
    assert_eq!(data["restored_from"], Value::Null);
    for key in ["version", "identity_path", "daemon", "networks"] {
        assert!(
            data["stripped_keys"].as_array().unwrap().iter().any(|stripped| stripped == key),
            "{key}: {salvaged}"
        );
    }
    assert!(data["reset_keys"].is_array() && data.get("backup").is_some(), "{salvaged}");
    let again = home.run(&["salvage", "--json"]).ends_with(0).json();
    assert_eq!(again["data"]["shape"], "app");
}

#[test]
fn commands_that_look_touch_nothing() {
    for (name, home) in homes() {
        let before = home.snapshot();
        for (args, _) in COMMANDS.iter().filter(|(_, looks)| *looks) {
            for more in [&[][..], &["--json"], &["-v"]] {
                let ran = home.run(&[args, more].concat());
                assert!(home.snapshot() == before, "{name}: {args:?} {more:?} touched the home: {ran:?}");
            }
        }
    }
}

#[test]
fn command_with_nothing_to_do_touches_nothing() {
    let home = Home::settled();
    let before = home.snapshot();
    for args in [&["launch", "--no-daemon"][..], &["repair"], &["migrate"], &["salvage"]] {
        let ran = home.run(args).ends_with(0);
        assert!(home.snapshot() == before, "{args:?} touched a settled home: {ran:?}");
    }
}

#[test]
fn no_secret_is_ever_said() {
    let home = Home::with_secrets();
    let leaked = Home::after_the_bug();
    let text = String::from_utf8(leaked.bytes(CONFIG)).unwrap();
    let planted = text.replace("\"credential\": \"c\"", &format!("\"credential\": \"{}\"", SECRETS[2]));
    assert_ne!(text, planted);
    let planted = planted.replacen(
        '{',
        &format!(
            "{{\n  \"services\": {{\"turn\": {{\"credentials\": \
            [{{\"username\": \"g\", \"password\": \"{}\"}}]}}}},",
            SECRETS[3]
        ),
        1,
    );
    // Under other names, and in a URL.
    let named = SECRETS[3];
    let planted = planted.replacen(
        '{',
        &format!(
            "{{ \"x\": {{\"apiKey\": \"{named}\", \"psk\": \"{named}\", \
            \"u\": \"https://u:{named}@h/?key={named}\"}},"
        ),
        1,
    );
    leaked.put(CONFIG, planted.as_bytes(), 0o600);
    // Broken files too: an error that quotes the broken text would print a secret.
    let broken = Home::with_secrets();
    let key = String::from_utf8(broken.bytes(OLD_KEY)).unwrap();
    broken.put(OLD_KEY, key.replace("public_key\": \"p", "public_key\": \"q").as_bytes(), 0o600);
    let config = broken.bytes(CONFIG);
    broken.put(CONFIG, &config[..config.len() - 1], 0o600);

    for (name, home) in [("healthy", &home), ("leaked", &leaked), ("broken", &broken)] {
        for (args, _) in COMMANDS {
            // A config that may be half written delays each run, so one form of output has to do
            // there.
            let ways: &[&[&str]] = if name == "broken" { &[&["-v"]] } else { &[&[], &["--json"], &["-v"]] };
            for more in ways {
                let ran = home.run(&[args, *more].concat());
                for secret in SECRETS {
                    assert!(
                        !ran.all().contains(secret),
                        "{name}: {args:?} {more:?} says {secret}:\n{}",
                        ran.all()
                    );
                }
            }
        }
    }
    let shown = home.run(&["config", "show", "--with-secrets"]).ends_with(0);
    assert!(
        shown.stdout.contains(SECRETS[1]) && shown.stdout.contains(SECRETS[2]),
        "asked for, they are shown"
    );
}

#[test]
fn usage_errors_are_2_and_help_lists_every_exit_code() {
    let home = Home::empty();
    home.run(&["launch", "--no-such-flag"]).ends_with(2);
    home.run(&["no-such-command"]).ends_with(2);
    let help = run(std::process::Command::new(program()).arg("--help")).ends_with(0);
    for code in 0..=8 {
        assert!(
            help.stdout.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))),
            "{code}:\n{}",
            help.stdout
        );
    }
}

#[test]
fn pending_is_3_only_with_check() {
    let home = Home::after_the_bug();
    for command in ["migrate", "salvage", "status"] {
        home.run(&[command, "--check"]).ends_with(3);
    }
    home.run(&["status"]).ends_with(0);
    home.run(&["migrate", "--dry-run"]).ends_with(0);
    let settled = Home::settled();
    for command in ["migrate", "salvage", "status"] {
        settled.run(&[command, "--check"]).ends_with(0);
    }
}

#[test]
fn doctor_ends_with_4_and_names_the_mending_command() {
    let ran = Home::after_the_bug().run(&["doctor", "--json"]).ends_with(4);
    assert!(ran.stdout.contains("myownllm-mesh"), "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn a_daemon_that_does_not_work_is_5_and_the_key_stays_one() {
    let home = Home::settled();
    let key = home.bytes(NEW_KEY);
    let ran = run(home
        .command(&["launch", "--once", "--json"])
        .env("MYOWNMESH_BIN", "/bin/false")
        .env("PATH", "/nonexistent"));
    let ran = ran.ends_with(5);
    assert!(ran.all().contains("/bin/false"), "the candidate is named: {}", ran.all());
    assert_eq!(home.bytes(NEW_KEY), key);
}

/// A hint names a program that exists; without one, the message says in words what to do.
#[cfg(unix)]
#[test]
fn a_daemon_that_is_nowhere_is_5_and_a_program_of_this_machine_is_named() {
    let home = Home::settled();
    let launch = || run(home.command(&["launch", "--once"]).env("PATH", "/nonexistent")).ends_with(5);
    let ran = launch();
    assert!(ran.stderr.contains("name the program in MYOWNMESH_BIN"), "{ran:?}");
    assert!(!ran.all().contains("hint: ") && !ran.all().contains("/path/to"), "{ran:?}");

    let program = home.path(".cargo/bin/myownmesh");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(stand_in(), &program).unwrap();
    let ran = launch();
    let hint = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("hint: ")).unwrap();
    assert!(hint.starts_with(&format!("MYOWNMESH_BIN={} ", program.display())), "{ran:?}");
    // The hint is for the home of this run, and can be copied as it is.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("{hint} --once")]).current_dir("/").env("HOME", "/nonexistent");
    run(shell.env("PATH", path_with_program())).ends_with(0);
}

#[test]
fn doctor_names_the_member_that_a_finding_is_about_and_opens_the_config_there() {
    let home = Home::settled();
    let mut text = String::from_utf8(home.bytes(CONFIG)).unwrap();
    text = text
        .replacen('{', "{\n  \"active_family\": \"first\",", 1)
        .replace("\"port\":1473", "\"port\":\"x\"");
    home.put(CONFIG, text.as_bytes(), 0o600);
    let said = home.run(&["doctor", "--json"]).ends_with(0).json();
    let findings = said["data"]["checks"].as_array().unwrap().iter();
    let findings: Vec<_> = findings.filter(|check| check["id"] == "config.findings").collect();
    let file = home.path(CONFIG);
    for (code, member) in [("config.duplicate-key", "/active_family"), ("config.wrong-type", "/api/port")] {
        let found = findings.iter().find(|check| check["code"] == code).unwrap();
        assert!(found["evidence"].as_str().unwrap().contains(member), "{found}");
        let hint = found["hint"].as_str().unwrap();
        assert!(
            hint.starts_with("sh -c '${EDITOR:-vi} ") && hint.ends_with(file.to_str().unwrap()),
            "{found}"
        );
        assert_eq!(hint.contains('+'), code == "config.wrong-type", "{found}");
    }
}

#[cfg(unix)]
#[test]
fn a_held_lock_is_6_after_a_bounded_wait() {
    let home = Home::legacy();
    let dir = hold_lock(&home.path(APP));
    let before = home.snapshot();
    let ran = home.run(&["migrate", "--json"]).ends_with(6);
    assert!(home.snapshot() == before, "{ran:?}");
    drop(dir);
    home.run(&["migrate"]).ends_with(0);
}

/// Another valid identity: the one of daemon 0.3.8.
fn another_identity() -> Vec<u8> {
    fixture_of_038(".myownllm/.secrets/identity.json")
}

#[test]
fn two_identities_are_refused_with_both_ids_and_the_way_out() {
    let home = Home::legacy();
    home.put(NEW_KEY, &another_identity(), 0o600);
    let mine = home.bytes(OLD_KEY);
    let ran = home.run(&["migrate"]).ends_with(7);
    for part in [
        "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da",
        "ap7lkm5uwdc3hseaymkfwl2dnv2ibke2lvu64yxqoaslf2ikgmlq",
        "migrate --keep",
    ] {
        assert!(ran.all().contains(part), "{part}: {}", ran.all());
    }
    let launched = home.run(&["launch", "--json"]).ends_with(7);
    assert!(launched.json()["data"].is_object(), "the config is loaded all the same");
    home.still_has(&mine, "the old key");
    home.still_has(&another_identity(), "the new key");
    home.run(&["migrate", "--keep", "source"]).ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), mine);
    home.still_has(&another_identity(), "the key that was set aside");
}

#[test]
fn launch_does_the_steps_that_status_lists() {
    let identity = format!("{APP}/.secrets/identity.json");
    let config = format!("{APP}/config.json");
    let damaged = Home::after_the_bug();
    damaged.put(&identity, b"{}", 0o600);
    let two_keys = Home::after_the_bug();
    two_keys.put(NEW_KEY, &another_identity(), 0o600);
    let collision = Home::after_the_bug();
    collision.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
    let newer = Home::legacy();
    newer.put(&config, br#"{"version": 99, "daemon": {}, "networks": []}"#, 0o600);
    let large = Home::legacy();
    large.put(&config, &vec![b' '; 17 << 20], 0o600);
    let no_file = Home::legacy();
    std::fs::remove_file(no_file.path(&config)).unwrap();
    no_file.put(&format!("{config}/sub"), b"a directory where a file belongs", 0o600);
    let homes = [
        ("empty", Home::empty()),
        ("legacy", Home::legacy()),
        ("after the bug", Home::after_the_bug()),
        ("settled", Home::settled()),
        ("a damaged key", damaged),
        ("two keys", two_keys),
        ("a collision", collision),
        ("a newer config", newer),
        ("a large config", large),
        ("a directory for a config", no_file),
    ];
    for (name, home) in homes {
        let status = home.run(&["status", "--json"]).json();
        let would: Vec<&str> = status["data"]["launch_would"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step.as_str().unwrap())
            .collect();
        let says = |what: &str| would.iter().any(|step| step.contains(what));
        let ran = home.run(&["launch", "--no-daemon", "--json"]);
        let did = &ran.json()["data"];
        let files = did["migration"]["moved"].as_array().into_iter().flatten();
        let files: u64 = files.map(|moved| moved["files"].as_u64().unwrap_or(1)).sum();
        assert_eq!(says("move "), files > 0, "{name}: {would:?}, {did:#}");
        assert!(files == 0 || says(&format!("move {files} file")), "{name}: {would:?}, {files}");
        let repaired = !did["config"]["report"]["backup"].is_null();
        assert_eq!(says("repair the config"), repaired, "{name}: {would:?}, {did:#}");
        assert_eq!(says("start the app's daemon"), ran.code == Some(0), "{name}: {would:?}, {ran:?}");
    }
}

#[test]
fn a_home_that_is_not_there_is_no_healthy_one() {
    let home = Home::empty();
    std::fs::remove_dir_all(home.path("")).unwrap();
    let ran = home.run(&["doctor", "--json"]).ends_with(4);
    let checks = ran.json()["data"]["checks"].clone();
    assert_eq!(checks[0]["id"], "homes.there", "{checks}");
    let status = home.run(&["status"]).ends_with(0);
    assert!(status.stdout.contains("start no daemon"), "{status:?}");
    home.run(&["launch", "--no-daemon"]).ends_with(1);
}

#[test]
fn a_wrong_usage_is_reported_whole_and_in_one_form() {
    let home = Home::empty();
    let said = home.run(&["network", "export", "--json"]).ends_with(2).json();
    assert!(said["diagnostics"][0]["message"].as_str().unwrap().contains("<NAME>"), "{said}");
    // All errors have one form, from the argument parser as well as from a command.
    for (args, message, help) in [
        (&["network", "export"][..], "<NAME>", "myownllm-mesh network export --help"),
        (
            &["launch", "--no-demon"],
            "unexpected argument '--no-demon' found; a similar argument exists: '--no-daemon'",
            "myownllm-mesh launch --help",
        ),
        (&["nope"], "unrecognized subcommand 'nope'", "myownllm-mesh --help"),
        (&["completions", "x"], "[possible values: bash", "myownllm-mesh completions --help"),
        (&["migrate", "--keep", "config"], "[possible values: old-location", "myownllm-mesh migrate --help"),
        (&["config", "restore"], "<ID>", "myownllm-mesh config restore --help"),
        (&["config"], "a command is missing", "myownllm-mesh config --help"),
        (&["logs", "-n", "0"], "not a whole number from 1 to 1000000", "myownllm-mesh logs --help"),
        (
            &["daemon", "logs", "-n", "18446744073709551616"],
            "not a whole number from 1 to 1000000",
            "myownllm-mesh daemon logs --help",
        ),
        (
            &["launch", "--daemon-wait", "601"],
            "not a whole number from 1 to 600",
            "myownllm-mesh launch --help",
        ),
        (&["man", "nope"], "cannot find the command nope", "myownllm-mesh --help"),
    ] {
        let ran = home.run(args).ends_with(2);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let [.., error, hint, code] = lines.as_slice() else { panic!("{ran:?}") };
        assert!(error.starts_with("error: ") && error.contains(message), "{args:?}: {ran:?}");
        assert_eq!((hint.trim(), code.trim()), (format!("hint: {help}").as_str(), "code: usage"), "{ran:?}");
        let said = home.run(&[args, &["--json"]].concat()).ends_with(2).json();
        let reported = &said["diagnostics"][0];
        assert_eq!((&reported["code"], &reported["hint"]), (&json!("usage"), &json!(help)), "{said}");
        assert!(reported["message"].as_str().unwrap().contains(message), "{said}");
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let ran = home.run(&["network", "remove", "nope"]).ends_with(1);
    assert!(ran.stderr.contains("cannot find the network: unknown network id: nope"), "{ran:?}");
}

#[test]
fn colliding_rosters_are_7_for_migrate_and_a_warning_for_launch() {
    let home = Home::legacy();
    let theirs = br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#;
    home.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), theirs, 0o600);
    let mine = home.bytes(&format!("{APP}/mesh/rosters/home-mesh.json"));
    let ran = home.run(&["migrate", "--json"]).ends_with(7);
    let collisions = ran.json()["data"]["collisions"].clone();
    assert_eq!(collisions.as_array().map(Vec::len), Some(1), "{collisions}");
    assert!(collisions[0]["source"].is_string() && collisions[0]["destination"].is_string(), "{collisions}");
    assert!(ran.all().contains("--keep"), "{}", ran.all());
    let launched = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(launched.stderr.contains("home-mesh.json"), "{}", launched.stderr);
    home.still_has(&mine, "mine");
    home.still_has(theirs, "theirs");
    home.run(&["migrate", "--keep", "destination"]).ends_with(0);
    assert_eq!(home.bytes(&format!("{MESH}/mesh/rosters/home-mesh.json")), theirs);
    home.still_has(&mine, "the side that was set aside");
    home.run(&["migrate", "--check"]).ends_with(0);
    let left = home.run(&["migrate", "--undo", "--dry-run", "--json"]).json()["data"]["left"].clone();
    assert_eq!(left[0]["reason"], "it was set aside", "{left}");
}

#[test]
fn newer_data_is_8_and_stays_as_it_is() {
    let home = Home::legacy();
    let mut key = home.json(OLD_KEY);
    key["version"] = json!(99);
    home.put(OLD_KEY, key.to_string().as_bytes(), 0o600);
    let ran = home.run(&["migrate"]).ends_with(8);
    assert!(ran.all().contains("99"), "{}", ran.all());
    assert_eq!(home.json(OLD_KEY), key);
}

#[cfg(unix)]
#[rstest]
#[case::same(".")]
#[case::above("..")]
#[case::outside("/tmp")]
fn overlapping_homes_and_links_out_of_the_home_are_7(#[case] target: &str) {
    use std::os::unix::fs::symlink;
    let home = Home::legacy();
    symlink(target, home.path(MESH)).unwrap();
    let before = home.snapshot();
    for args in [&["migrate"][..], &["launch", "--no-daemon"]] {
        let ran = home.run(args).ends_with(7);
        assert!(ran.all().contains(".myownmesh"), "{target}: {}", ran.all());
    }
    let key = format!("{APP}/.secrets/identity.json");
    assert_eq!(home.snapshot()[&home.path(&key)], before[&home.path(&key)], "{target}: nothing moves");
}

/// The daemon home is that of another app, by a symlink.
#[cfg(unix)]
#[test]
fn daemon_in_an_overlapping_home_is_left_alone() {
    let home = Home::settled();
    home.run(&["config", "set", "active_family=gemma4"]).ends_with(0);
    std::fs::rename(home.path(MESH), home.path("mesh")).unwrap();
    let mut daemon = home.daemon(".other/.myownmesh").start().unwrap();
    let socket = home.path(".other/.myownmesh/daemon.sock");
    ask(&socket, "network_add", json!({"config": {"id": "n", "network_id": "theirs"}})).unwrap();
    std::os::unix::fs::symlink("../.other/.myownmesh", home.path(MESH)).unwrap();
    for args in [&["config", "restore", "1"][..], &["config", "accept"], &["daemon", "stop"]] {
        home.run(args).ends_with(7);
    }
    assert_eq!(ask(&socket, "status", Value::Null).unwrap()["joined_networks"], json!(["theirs"]));
    assert!(daemon.is_running());
    let doctor = home.run(&["doctor", "--json"]).ends_with(4);
    assert_eq!(doctor.check("identity.sound")["result"], "skipped", "{doctor:?}");
}

#[cfg(unix)]
#[test]
fn a_socket_path_that_is_too_long_is_refused_before_anything_moves() {
    let short = Home::legacy();
    let long = short.path("").join("a".repeat(90));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(short.path(APP), long.join(APP)).unwrap();
    let before = short.snapshot();
    let mut command = std::process::Command::new(program());
    let ran = run(command.arg("--home").arg(&long).arg("migrate")).ends_with(7);
    for part in ["control_socket", "107"] {
        assert!(ran.all().contains(part) || !cfg!(target_os = "linux"), "{part}: {}", ran.all());
    }
    assert!(short.snapshot() == before);
}

#[cfg(unix)]
#[test]
fn a_dir_that_anybody_may_write_is_refused_with_the_command_that_mends_it() {
    let home = Home::legacy();
    set_mode(&home.path(&format!("{APP}/.secrets")), 0o777);
    let ran = home.run(&["migrate"]).ends_with(7);
    assert!(ran.all().contains("chmod"), "{}", ran.all());
    assert!(home.has(OLD_KEY));
}

#[test]
fn an_unknown_network_is_an_error_that_changes_nothing() {
    let home = Home::settled();
    let before = home.snapshot();
    for args in [
        &["network", "use", "no-such"][..],
        &["network", "show", "no-such"],
        &["network", "add", "not a valid id!"],
    ] {
        let ran = home.run(args);
        assert!(matches!(ran.code, Some(1 | 2)), "{args:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{args:?} says why");
    }
    assert!(home.snapshot() == before);
}

#[test]
fn filters_read_stdin_write_stdout_and_touch_no_file() {
    let home = Home::empty();
    let leaked = fixture_of_038(".myownllm/config.json");
    let network = br#"{"id":"net-1","network_id":"home-mesh","turn_servers":[{"url":"turn:t","username":"u",
        "credential":"c-secret"}]}"#;
    let filters: [(&[&str], &[u8]); 4] = [
        (&["config", "normalize"], &leaked),
        (&["salvage", "--stdin"], &leaked),
        (&["network", "to-daemon"], network),
        (
            &["network", "from-envelope"],
            br#"{"kind":"myownllm.network-settings","version":1,"network_id":"home-mesh"}"#,
        ),
    ];
    let before = home.snapshot();
    for (args, input) in filters {
        let ran = run_with(&mut home.command(args), input).ends_with(0);
        assert!(ran.json().is_object(), "{args:?}");
        for bad in [&b"[]"[..], b"null", b"", b"{\"a\":", b"\xff\xfe{\x00}\x00"] {
            let ran = run_with(&mut home.command(args), bad).ends_with(1);
            assert!(!ran.stderr.trim().is_empty(), "{args:?} says why");
        }
    }
    assert!(home.snapshot() == before, "a filter touched the home");
}

#[rstest]
#[case::of_a_report(&["report", "--output"], "Desktop/report.txt")]
#[case::of_an_envelope(&["network", "import"], "office.json")]
fn hint_about_a_path_that_is_not_there_works(#[case] args: &[&str], #[case] missing: &str) {
    let home = Home::settled();
    let missing = home.path(missing);
    let said = home.run(&[args, &[missing.to_str().unwrap(), "--json"]].concat()).ends_with(1).json();
    follow(&said["diagnostics"][0]["hint"]);
}

/// The filter prints what it makes of the network, and says that no daemon takes it.
#[rstest]
#[case::kind(r#""kind":7"#, 1)]
#[case::topology(r#""topology":9"#, 1)]
#[case::kind_that_is_sound(r#""kind":"silent""#, 0)]
#[case::member_of_a_newer_daemon(r#""later":7"#, 0)]
fn network_that_no_daemon_takes_is_reported_by_the_filter(#[case] member: &str, #[case] reported: usize) {
    let network = format!(r#"{{"id":"net-1","network_id":"home-mesh",{member}}}"#);
    let home = Home::empty();
    let mut filter = home.command(&["network", "to-daemon", "--json"]);
    let said = run_with(&mut filter, network.as_bytes()).ends_with(0).json();
    assert_eq!(said["diagnostics"].as_array().unwrap().len(), reported, "{said:#}");
}

#[test]
fn a_daemon_is_started_used_and_stopped() {
    let home = Home::legacy();
    let ran = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0);
    assert!(ran.json()["ok"].as_bool().unwrap());
    assert!(home.has(NEW_KEY));
    assert!(!home.has(&format!("{MESH}/daemon.sock")), "stopped, it takes its socket with it");
    let identity = home.run(&["identity"]).ends_with(0);
    assert!(
        identity.stdout.contains("pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da-2EA55"),
        "{}",
        identity.stdout
    );
}
