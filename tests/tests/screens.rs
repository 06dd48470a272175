//! The screens of the commands that people read, as snapshots: on narrow and wide terminals, on a
//! dumb one, without colour, with forced colour, and in a pipe.
//!
//! If a screen changes on purpose, `INSTA_UPDATE=always cargo nextest run -p integration-tests
//! --test screens` rewrites the snapshots; read the difference.

#![cfg(unix)]

use std::process::Command;

use integration_tests::testkit::{APP, CONFIG, Home, on_terminal, program, run, stand_in};
use rstest::rstest;

/// The parts of a screen that differ from run to run, or from machine to machine. A replacement has
/// the length of the original where the layout depends on it.
const FILTERS: [(&str, &str); 14] = [
    (r"/tmp/mesh-\w{6}/home", "/tmp/mesh-000000/home"),
    (r"(good|kept)-(\d{8})-[0-9a-f]{32}", "$1-$2-00000000000000000000000000000000"),
    (r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", "2026-01-01T00:00:00.000Z"),
    (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", "2026-01-01 00:00:00"),
    (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}", "2026-01-01 00:00"),
    (r"\d+ s ago", "0 s ago"),
    // A line of the run log has the duration of the run.
    (r"\d{3}(  2026\S+  ~/\.myownllm/myownllm-mesh\.log)", "623$1"),
    (r"owner [\w-]+, mode \d{4}", "owner you, mode 0700"),
    (r"(file|directory|symlink)( +)\d{4} ", "$1$2 0700 "),
    (r"(?m)^program .*", "program       myownllm-mesh 0.1.0"),
    (r"(?m)^system .*", "system        Linux"),
    (r"(?m)^file system .*", "file system   ext4"),
    (r"\S*/stand-in-daemon", "/opt/stand-in-daemon"),
    (r"\x1b", "\\e"),
];

/// Returns the program in a home that is the user's own, with a daemon program.
fn in_own_home(home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir("/").env("HOME", home.path(""));
    for name in ["MYOWNMESH_HOME", "MYOWNLLM_MESH_BIN", "COLUMNS", "CLICOLOR_FORCE", "SUDO_USER"] {
        command.env_remove(name);
    }
    command.env("MYOWNMESH_BIN", stand_in()).env("PATH", "/nonexistent");
    command
}

fn shown(name: &str, screens: &str) {
    insta::with_settings!({
        filters => FILTERS.to_vec(), omit_expression => true, prepend_module_to_snapshot => false,
    }, { insta::assert_snapshot!(name, screens) });
}

fn changed(home: Home, change: impl FnOnce(&Home)) -> Home {
    change(&home);
    home
}

fn with_config(home: Home, bytes: &[u8]) -> Home {
    changed(home, |home| home.put(CONFIG, bytes, 0o600))
}

/// An identity file that is cut, with rosters that know its key.
fn damaged_key() -> Home {
    changed(Home::legacy(), |home| {
        let key = format!("{APP}/.secrets/identity.json");
        let bytes = home.bytes(&key);
        home.put(&key, &bytes[..bytes.len() / 2], 0o600);
    })
}

fn repaired() -> Home {
    changed(Home::after_the_bug(), |home| drop(home.run(&["repair"]).ends_with(0)))
}

fn overwritten_with_a_backup() -> Home {
    let overwritten = Home::after_the_bug().bytes(CONFIG);
    with_config(Home::settled(), &overwritten)
}

fn differing_rosters() -> Home {
    changed(Home::settled(), |home| {
        home.put(&format!("{APP}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
    })
}

const TORN: &[u8] = b"{\n  \"active_family\": \"qwen3\",\n  \"api\": { \"port\": 1473,, }\n}\n";

/// Each screen at three widths. The command of a home that it changes runs on a home of its own at
/// each width.
#[rstest]
#[case::verdict_of_an_empty_home("verdict-empty", Home::empty, &[])]
#[case::verdict_of_a_healthy_home("verdict-healthy", Home::settled, &[])]
#[case::verdict_of_an_overwritten_config("verdict-overwritten", Home::after_the_bug, &[])]
#[case::verdict_of_lost_settings("verdict-lost-settings", repaired, &[])]
#[case::verdict_with_a_backup("verdict-with-a-backup", overwritten_with_a_backup, &[])]
#[case::verdict_of_a_damaged_key("verdict-damaged-key", damaged_key, &[])]
#[case::verdict_of_differing_rosters("verdict-differing-rosters", differing_rosters, &[])]
#[case::status("status", Home::after_the_bug, &["status"])]
#[case::status_of_a_healthy_home("status-healthy", Home::settled, &["status"])]
#[case::doctor("doctor", Home::after_the_bug, &["doctor"])]
#[case::doctor_of_a_torn_config("doctor-torn", || with_config(Home::settled(), TORN), &["doctor"])]
#[case::doctor_that_lists_all("doctor-verbose", Home::settled, &["doctor", "-v"])]
#[case::repair("repair", Home::after_the_bug, &["repair"])]
#[case::repair_of_a_healthy_home("repair-healthy", Home::settled, &["repair"])]
#[case::repair_that_is_refused("repair-refused", damaged_key, &["repair"])]
#[case::launch_that_is_refused("launch-refused", damaged_key, &["launch", "--once"])]
#[case::launch("launch", Home::after_the_bug, &["launch", "--no-daemon"])]
#[case::networks("network-list", repaired, &["network", "list"])]
#[case::history("config-history", repaired, &["config", "history"])]
#[case::identity("identity", Home::settled, &["identity"])]
fn screens(#[case] name: &str, #[case] home: fn() -> Home, #[case] args: &[&str]) {
    let mut screens = String::new();
    for columns in [60, 80, 200] {
        let lines = on_terminal(in_own_home(&home(), args).arg("--color=never"), columns, "xterm");
        screens.push_str(&format!("--- {columns} columns ---\n{}\n\n", lines.join("\n")));
    }
    shown(name, &screens);
}

/// The colours and characters of a screen follow the terminal and the environment.
#[rstest]
#[case::verdict("modes-verdict", Home::after_the_bug, &[])]
#[case::status("modes-status", Home::after_the_bug, &["status"])]
#[case::doctor("modes-doctor", || with_config(Home::settled(), TORN), &["doctor"])]
fn modes(#[case] name: &str, #[case] home: fn() -> Home, #[case] args: &[&str]) {
    let home = home();
    // `on_terminal` takes `NO_COLOR` away.
    let mut without_color = Command::new("/bin/sh");
    let quoted = args.join(" ");
    without_color.args(["-c", &format!("NO_COLOR=1 {} {quoted}", program().display())]);
    without_color.current_dir("/").env("HOME", home.path("")).env("PATH", "/nonexistent");
    without_color.env("MYOWNMESH_BIN", stand_in());
    let piped = |vars: &[(&str, &str)]| {
        run(in_own_home(&home, args).env_remove("NO_COLOR").env("TERM", "xterm").envs(vars.iter().copied()))
            .stdout
    };
    let screens = [
        ("terminal", on_terminal(&mut in_own_home(&home, args), 80, "xterm").join("\n")),
        ("dumb terminal", on_terminal(&mut in_own_home(&home, args), 80, "dumb").join("\n")),
        ("terminal, NO_COLOR", on_terminal(&mut without_color, 80, "xterm").join("\n")),
        ("pipe", piped(&[])),
        ("pipe, COLUMNS=60", piped(&[("COLUMNS", "60")])),
        ("pipe, CLICOLOR_FORCE", piped(&[("CLICOLOR_FORCE", "1")])),
    ];
    let screens = screens.map(|(mode, text)| format!("--- {mode} ---\n{}\n\n", text.trim_end()));
    shown(name, &screens.concat());
}

#[test]
fn report() {
    let text = run(&mut in_own_home(&repaired(), &["report"])).ends_with(0).stdout;
    shown("report", &text);
}
