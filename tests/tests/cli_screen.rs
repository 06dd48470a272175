//! The screen: terminals of many widths, dumb terminals, pipes; and the display of a broken config.

#![cfg(unix)]

use std::fs::File;
use std::process::{Command, Stdio};

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, SECRETS, on_terminal, program, run,
};
use rstest::rstest;

/// The commands whose output is for people, not documents.
const READ: [&[&str]; 13] = [
    &["status"],
    &["doctor"],
    &["doctor", "-v"],
    &[],
    &["migrate", "--dry-run"],
    &["migrate", "--undo", "--dry-run"],
    &["salvage", "--check"],
    &["config", "check"],
    &["config", "history"],
    &["network", "list"],
    &["paths"],
    &["identity"],
    &["--help"],
];

fn homes() -> [Home; 5] {
    let collision = Home::legacy();
    collision.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
    let corrupt = Home::after_the_bug();
    corrupt.put(CONFIG, b"{\"api\": {\"enabled\": true,,}}", 0o600);
    [Home::empty(), Home::after_the_bug(), Home::settled(), collision, corrupt]
}

/// Returns true if the line may be longer than the screen: it is a single thing to copy.
fn is_one_thing(line: &str) -> bool {
    let line = line.trim();
    let lead = ["-> ", "hint: ", "at: "].iter().any(|lead| line.starts_with(lead));
    let labelled = ["error: ", "warning: "].iter().find_map(|label| line.strip_prefix(label));
    lead || line.starts_with("myownllm-mesh ") || !labelled.unwrap_or(line).contains(' ')
}

#[test]
fn no_line_is_longer_than_the_screen_and_nothing_that_is_copied_is_broken() {
    for home in homes() {
        for columns in [60, 80, 120, 200] {
            for args in READ {
                let lines = on_terminal(home.command(args).arg("--color=never"), columns, "xterm");
                for line in &lines {
                    let fits = line.chars().count() <= columns.into() || is_one_thing(line);
                    assert!(fits, "{args:?} at {columns}: {line:?} in {lines:#?}");
                }
            }
            let config = home.path(NEW_KEY);
            let paths = on_terminal(&mut home.command(&["paths"]), columns, "xterm").join("\n");
            assert!(paths.contains(config.to_str().unwrap()), "{paths}");
        }
    }
}

#[test]
fn trees_stand_beside_each_other_where_there_is_room() {
    let home = Home::after_the_bug();
    for command in [&["status"][..], &["migrate", "--dry-run"]] {
        for (columns, beside) in [(60, false), (120, true)] {
            let lines = on_terminal(home.command(command).arg("--color=never"), columns, "xterm");
            let both = |line: &&String| line.contains("as it is") && line.contains("as it would be");
            assert_eq!(lines.iter().any(|line| both(&line)), beside, "{lines:#?}");
            assert!(
                lines.iter().any(|line| line.contains("└─ identity.json → .myownmesh/.secrets/")),
                "{lines:#?}"
            );
            assert!(lines.iter().any(|line| line.contains("identity.json ← .secrets/")), "{lines:#?}");
        }
    }
    let moved = run(home.command(&["migrate"]).env_remove("TERM")).ends_with(0).stdout;
    assert!(moved.contains("as it was") && moved.contains("identity.json ← .secrets/"), "{moved}");
    // Without a pending move no tree is drawn.
    let settled = Home::settled().run(&["status"]).stdout;
    assert!(!settled.contains("└─"), "{settled}");
}

#[test]
fn colours_are_for_terminals_that_want_them_and_a_dumb_one_gets_ascii() {
    let home = Home::after_the_bug();
    for args in READ {
        let shown = on_terminal(&mut home.command(args), 80, "dumb").join("\n");
        assert!(shown.is_ascii() && !shown.contains('\x1b'), "{args:?}: {shown}");
    }
    let status = |home: &Home| home.command(&["status"]);
    assert!(
        on_terminal(&mut status(&home), 80, "xterm").join("").contains("\x1b["),
        "no colour on a terminal"
    );
    let always = run(status(&home).arg("--color=always").env("NO_COLOR", "1"));
    assert!(always.stdout.contains("\x1b["), "asked for, and none: {always:?}");
    assert!(!run(&mut status(&home)).all().contains('\x1b'), "colour in a pipe");
    // NO_COLOR on a terminal. It is set in a shell, because `on_terminal` removes it.
    let mut shell = Command::new("/bin/sh");
    let program = program().display();
    let home = home.path("");
    shell.args(["-c", &format!("NO_COLOR=1 {program} --home {} status", home.display())]);
    let plain = on_terminal(&mut shell, 80, "xterm").join("\n");
    assert!(plain.contains("A launch would") && !plain.contains('\x1b'), "{plain}");
}

#[rstest]
#[case::forced(&[("CLICOLOR_FORCE", "1")], true)]
#[case::not_forced(&[("CLICOLOR_FORCE", "0")], false)]
#[case::forced_and_unwanted(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false)]
fn a_pipe_gets_colour_when_the_environment_forces_it(
    #[case] vars: &[(&str, &str)],
    #[case] is_coloured: bool,
) {
    let home = Home::after_the_bug();
    for args in [&["status"][..], &["--help"]] {
        let ran =
            run(home.command(args).env_remove("NO_COLOR").env("TERM", "xterm").envs(vars.iter().copied()));
        assert_eq!(ran.stdout.contains("\x1b["), is_coloured, "{args:?}: {ran:?}");
    }
}

/// Data that is longer than the terminal goes through the pager, if a person sits at the terminal.
#[rstest]
#[case::long("sed s/^/paged:/", &["report"], "<&1", true)]
#[case::short("sed s/^/paged:/", &["identity"], "<&1", false)]
#[case::report_of_a_change("sed s/^/paged:/", &["repair"], "<&1", false)]
#[case::no_keyboard("sed s/^/paged:/", &["report"], "</dev/null", false)]
#[case::no_pager("/nonexistent", &["report"], "<&1", false)]
#[case::unwanted("", &["report"], "<&1", false)]
fn long_data_is_shown_in_the_pager(
    #[case] pager: &str,
    #[case] args: &[&str],
    #[case] stdin: &str,
    #[case] is_paged: bool,
) {
    let home = Home::settled();
    let mut shell = Command::new("/bin/sh");
    let line =
        format!("{} --home {} {} {stdin}", program().display(), home.path("").display(), args.join(" "));
    shell.args(["-c", &line]).env("PAGER", pager);
    let lines = on_terminal(&mut shell, 80, "xterm");
    assert_eq!(lines.iter().all(|line| line.starts_with("paged:")), is_paged, "{lines:?}");
    assert!(lines.concat().contains("~/.myownllm"), "{lines:?}");
}

#[test]
fn man_shows_the_page_on_a_terminal_and_help_stands_in_where_there_is_no_man() {
    let home = Home::empty();
    let man = |args: &[&str], path: &str| {
        let mut command = home.command(args);
        on_terminal(command.env("PATH", path), 80, "xterm").join("\n")
    };
    home.put("bin/man", b"#!/bin/sh\necho \"shown: $*\"\n/bin/grep '^.TH'\n", 0o700);
    let bin = home.path("bin");
    let shown = man(&["man", "config", "restore"], bin.to_str().unwrap());
    assert!(shown.starts_with("shown: -l -\n.TH myownllm-mesh-config-restore 1"), "{shown}");

    home.put("bin/man", b"#!/bin/sh\nexit 3\n", 0o700);
    for path in [bin.to_str().unwrap(), "/nonexistent"] {
        let shown = man(&["man", "config", "restore"], path);
        assert!(shown.contains("Usage: myownllm-mesh config restore"), "{shown}");
        assert!(shown.contains("myownllm-mesh config restore 2"), "{shown}");
    }
    let piped = run(home.command(&["man"]).env("PATH", "/nonexistent")).ends_with(0).stdout;
    for section in ["EXAMPLES", "FILES", "ENVIRONMENT", "\"EXIT STATUS\"", "\"OPTIONS OF EVERY COMMAND\""] {
        assert!(piped.contains(&format!(".SH {section}")), "{section}: {piped}");
    }
}

#[test]
fn one_path_is_printed_alone_for_a_script() {
    let home = Home::settled();
    let path = |args: &[&str]| home.run(args).ends_with(0).stdout;
    assert_eq!(path(&["paths", "daemon_home"]), format!("{}\n", home.path(MESH).display()));
    assert_eq!(path(&["paths", "socket"]), format!("{}\n", home.path(MESH).join("daemon.sock").display()));
    let shared = path(&["paths", "socket", "--mode", "shared"]);
    assert_eq!(shared, format!("{}\n", home.path(".myownmesh/daemon.sock").display()));
    let unknown = home.run(&["paths", "daemonhome"]).ends_with(2);
    assert!(unknown.stderr.contains("did you mean daemon_home?"), "{unknown:?}");
    assert!(unknown.stderr.contains(" paths daemon_home\n"), "{unknown:?}");
    assert!(home.run(&["paths", "nonsense"]).ends_with(2).stderr.contains(" paths\n"));
}

#[test]
fn help_ends_with_examples_files_variables_and_exit_codes() {
    let home = Home::empty();
    let help = home.run(&["--help"]).ends_with(0).stdout;
    let at = |title: &str| help.find(&format!("\n{title}:\n")).unwrap_or_else(|| panic!("{title}: {help}"));
    let titles = ["Commands", "Options", "Options of every command", "Examples", "Files", "Environment"];
    let places = titles.map(at).into_iter().chain([at("Exit codes")]);
    assert!(places.is_sorted(), "{help}");
    for variable in
        ["HOME", "MYOWNMESH_HOME", "MYOWNLLM_MESH_BIN", "MYOWNMESH_BIN", "MYOWNLLM_LOG", "NO_COLOR", "PAGER"]
    {
        assert!(help.contains(&format!("\n  {variable}\n")), "{variable}: {help}");
    }
    let of_a_command = home.run(&["config", "restore", "--help"]).ends_with(0).stdout;
    assert!(of_a_command.contains("\nExamples:\n  myownllm-mesh config restore 2\n"), "{of_a_command}");
    assert!(of_a_command.contains("exit codes: myownllm-mesh --help"), "{of_a_command}");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_not() {
    let home = Home::settled();
    if let Ok(full) = File::options().write(true).open("/dev/full") {
        for args in [&["status"][..], &["status", "--json"], &["--help"]] {
            let mut command = home.command(args);
            command.stdin(Stdio::null()).stdout(full.try_clone().unwrap()).stderr(Stdio::piped());
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            assert!(said.contains("code: output.failed"), "{args:?}: {said}");
        }
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home.command(&["status"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn an_error_in_a_config_points_into_the_text() {
    let home = Home::legacy();
    home.put(CONFIG, b"{\n  \"api\": {\n    \"port\": 1473,,\n  }\n}\n", 0o600);
    let drawn = "  3 |     \"port\": ********,,\n    |                      ^\n";
    let check = home.run(&["config", "check"]).ends_with(1);
    assert!(check.stderr.contains(drawn), "{}", check.stderr);
    assert!(check.stderr.contains("at line 3, column 18, in /api/port"), "{}", check.stderr);
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.contains("3 |     \"port\": ********,,\n"), "{doctor}");
    assert_eq!(doctor.matches("not a JSON object").count(), 1, "one cause is named once: {doctor}");
    let said = home.run(&["config", "check", "--json"]).json();
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["code"] == "config.needs-repair");
    let place = &found.unwrap()["place"];
    assert_eq!((&place["line"], &place["column"]), (&3.into(), &18.into()), "{place}");
    assert_eq!(place["json_path"], "/api/port");
    assert_eq!(place["snippet"]["text"], "    \"port\": ********,,");
}

#[test]
fn a_value_of_the_wrong_type_is_pointed_at() {
    let home = Home::empty();
    home.put(CONFIG, b"{\n  \"providers\": [],\n  \"api\": { \"port\": \"sk-secret\" }\n}\n", 0o600);
    let check = home.run(&["config", "check"]).ends_with(0);
    let pointed = "warning: /api/port is a string, not a number; it stays in the file, and counts as its \
        default\n  \
                   3 |   \"api\": { \"port\": \"********\" }\n    |                    ^\n";
    assert!(check.stderr.contains(pointed), "{}", check.stderr);
    let doctor = home.run(&["doctor"]).stdout;
    assert!(doctor.contains("/api/port is a string") && doctor.contains("3 |   \"api\""), "{doctor}");
}

#[test]
fn wherever_a_config_breaks_no_secret_of_it_is_shown() {
    let home = Home::with_secrets();
    let config = format!("{APP}/config.json");
    let whole = home.bytes(&config);
    let text = String::from_utf8(whole.clone()).unwrap();
    // Cut inside the secret; without its first quote; without its last quote.
    let mut broken = Vec::new();
    for secret in &SECRETS[1..3] {
        let at = text.find(secret).unwrap();
        broken.push(whole[..at + 9].to_vec());
        for quote in [at - 1, at + secret.len()] {
            broken.push([&whole[..quote], &whole[quote + 1..]].concat());
        }
    }
    for bytes in broken {
        home.put(&config, &bytes, 0o600);
        for args in [&["config", "check"][..], &["doctor"]] {
            for json in [&[][..], &["--json"]] {
                let ran = home.run(&[args, json].concat());
                for secret in SECRETS {
                    // Parts of a secret are secret as well.
                    let parts = secret.as_bytes().windows(8).map(|part| std::str::from_utf8(part).unwrap());
                    for part in parts.filter(|part| !"credential-password-".contains(part)) {
                        assert!(!ran.all().contains(part), "{part} of {secret}: {}", ran.all());
                    }
                }
            }
        }
    }
}

#[test]
fn a_config_that_only_lacks_settings_is_reported_what_a_launch_would_add_and_is_not_called_repaired() {
    let lacks_all = Home::empty();
    lacks_all.put(".myownllm/config.json", b"{\"foo\": 1}", 0o600);
    let lacks_two = Home::settled();
    let mut config = lacks_two.json(".myownllm/config.json");
    config["api"].as_object_mut().unwrap().remove("port");
    config.as_object_mut().unwrap().remove("mic");
    lacks_two.put(".myownllm/config.json", config.to_string().as_bytes(), 0o600);
    for (home, lacked) in [(lacks_all, "17 settings"), (lacks_two, "2 settings")] {
        let would = format!("A launch would complete it, {lacked} at their defaults: ");
        for looks in [&["config", "check"][..], &["salvage"], &["salvage", "--dry-run"]] {
            let ran = home.run(looks).ends_with(0);
            assert!(
                ran.stdout.contains(&would) && !ran.stdout.contains("Nothing is wrong"),
                "{looks:?}: {ran:?}"
            );
        }
        let checked = home.run(&["config", "check", "--json"]).ends_with(0).json();
        assert!(format!("{}", checked["data"]["completed_keys"]).contains("mic"), "{checked:#}");
        let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
        assert!(ran.stdout.contains(&format!("completed, {lacked} at their defaults")), "{ran:?}");
        assert!(!ran.stdout.contains("repaired"), "{ran:?}");
        let ran = home.run(&["config", "check"]).ends_with(0);
        assert!(ran.stdout.contains("Nothing is wrong with it."), "{ran:?}");
    }
}

#[test]
fn a_repair_names_the_members_that_are_at_their_defaults_and_what_the_daemon_left() {
    let ran = Home::after_the_bug().run(&["salvage"]).ends_with(0);
    for said in
        ["auto_cleanup.models", "auto_cleanup.conversations", "auto_update", "(as the daemon has them)"]
    {
        assert!(ran.all().contains(said), "{said}: {}", ran.all());
    }
    assert!(!ran.all().contains("auto_cleanup.updates"), "{}", ran.all());
}

/// Both trees show the files that have moved and the files that stay: a file in neither tree looks
/// lost.
#[test]
fn the_trees_of_a_half_done_move_show_what_is_done_and_what_stays() {
    let home = Home::legacy();
    for name in ["home-mesh.json", "office-mesh.json"] {
        let roster = home.bytes(&format!("{APP}/mesh/rosters/{name}"));
        home.put(&format!("{MESH}/mesh/rosters/{name}"), &roster, 0o600);
    }
    std::fs::remove_file(home.path(APP).join("mesh/rosters/home-mesh.json")).unwrap();
    home.put(OLD_KEY, b"{}", 0o600);
    let count = |page: &str, name: &str| page.matches(name).count();
    let dry = home.run(&["migrate", "--dry-run"]).ends_with(7).stdout;
    let trees = &dry[dry.find("as it is").unwrap()..];
    // Each file appears before and after. The one at both places appears once for each place that
    // holds it.
    assert_eq!(count(trees, "home-mesh.json"), 2, "{trees}");
    assert_eq!(count(trees, "office-mesh.json"), 3, "{trees}");
    assert_eq!(count(trees, "identity.json"), 2, "{trees}");
    let done = home.run(&["migrate"]).ends_with(7).stdout;
    let trees = &done[done.find("as it was").unwrap()..];
    assert_eq!(count(trees, "home-mesh.json"), 2, "{trees}");
    assert_eq!(count(trees, "identity.json"), 2, "{trees}");
}
