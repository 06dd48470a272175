//! `report`: one file that tells a helper the problems, and does not identify the user.

use std::process::Command;

use integration_tests::testkit::{CONFIG, Home, MESH, is_installed, run};
#[cfg(unix)]
use integration_tests::testkit::{NOBODY, Unprivileged, program};
use rstest::rstest;

#[rstest]
#[case::empty(Home::empty())]
#[case::overwritten(Home::after_the_bug())]
#[case::settled(Home::settled())]
#[case::with_secrets(Home::with_secrets())]
fn a_report_never_names_the_users_home(#[case] home: Home) {
    let path = home.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    for args in [&["report"][..], &["report", "--html"], &["report", "--json"]] {
        let ran = home.run(args).ends_with(0);
        assert!(ran.stdout.contains("~/.myownllm"), "{args:?}: {ran:?}");
        assert!(!ran.all().contains(&path), "{args:?}: {ran:?}");
    }
}

/// The owner of the home, and paths outside of it, have the login name of the user.
#[cfg(unix)]
#[test]
fn a_report_never_has_the_login_name() {
    let home = Home::settled();
    if Unprivileged::new(&home).is_none_or(|user| !user.is_dropped) {
        return;
    }
    let login = run(Command::new("id").args(["-nu", &NOBODY.to_string()])).stdout.trim().to_owned();
    for args in [&["report"][..], &["report", "--html"], &["report", "--json"]] {
        let mut command = Command::new(program());
        command.args(args).env("HOME", home.path("")).env("MYOWNMESH_HOME", format!("/srv/{login}/mesh"));
        command.env_remove("MYOWNLLM_MESH_BIN").env("MYOWNMESH_BIN", format!("/opt/{login}/myownmesh"));
        let ran = run(&mut command).ends_with(0);
        let has_owner = ran.stdout.contains("owner ~") || args.contains(&"--json");
        assert!(ran.stdout.contains("/srv/~/mesh") && has_owner, "{args:?}: {ran:?}");
        for named in [format!("/{login}"), format!("owner {login}")] {
            assert!(!ran.all().contains(&named), "{args:?}: {named}: {ran:?}");
        }
    }
}

#[test]
fn a_report_alone_tells_what_a_volunteer_asks_for() {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    home.put(CONFIG, b"{\"daemon\": {\"", 0o600);
    let said = home.run(&["report"]).ends_with(0).stdout;
    let version = home.run(&["--version"]).stdout;
    let version = version.split_whitespace().nth(1).unwrap().to_owned();
    let device = home.run(&["identity", "--json"]).json()["data"]["device_id"].as_str().unwrap().to_owned();
    for wanted in [
        &*format!("program       myownllm-mesh {version} ("),
        std::env::consts::ARCH,
        // The problem, and the command that repairs it.
        "problem  config.shape",
        " repair\n",
        // The earlier run.
        "repair  moved",
        &device,
        "=== history ===",
        "~/.myownllm/.myownmesh/mesh/rosters/home-mesh.json",
    ] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
}

#[rstest]
#[case::text(&["report"], "report.txt", "report-2.txt")]
#[case::page(&["report", "--html"], "report.html", "report-2.html")]
fn a_report_replaces_no_file_and_names_a_free_one(
    #[case] form: &[&str],
    #[case] name: &str,
    #[case] free: &str,
) {
    let home = Home::settled();
    let file = home.path(name);
    let args = [form, &["--output", file.to_str().unwrap()]].concat();
    let ran = home.run(&args).ends_with(0);
    assert!(ran.stdout.contains(&format!(" ~/{name}. ")), "{ran:?}");
    let first = std::fs::read(&file).unwrap();
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let said = home.run(&[&args[..], &["--json"]].concat()).ends_with(1).json();
    assert_eq!(said["diagnostics"][0]["code"], "report.failed");
    let hint = said["diagnostics"][0]["hint"].as_str().unwrap();
    let words: Vec<&str> = hint.split(' ').skip_while(|word| *word != "report").collect();
    home.run(&words).ends_with(0);
    assert_eq!(std::fs::read(&file).unwrap(), first);
    let second = std::fs::read(home.path(free)).unwrap();
    assert_eq!(first.starts_with(b"<!doctype html>"), second.starts_with(b"<!doctype html>"));
}

/// A launch takes every file in a home for one of the app's or of the daemon's.
#[rstest]
#[case::identity_file(&["report"], ".myownllm/.myownmesh/.secrets/identity.json", "report.txt")]
#[case::place_of_the_app_home(&["report"], ".myownllm", "report.txt")]
#[case::page(&["report", "--html"], ".myownmesh/config.html", "report.html")]
fn a_report_is_no_file_of_a_home(#[case] form: &[&str], #[case] path: &str, #[case] free: &str) {
    let home = Home::empty();
    for dir in [".myownllm/.myownmesh/.secrets", ".myownmesh"] {
        std::fs::create_dir_all(home.path(dir)).unwrap();
    }
    let (before, file) = (home.snapshot(), home.path(path));
    let said = home.run(&[form, &["--json", "--output", file.to_str().unwrap()]].concat()).ends_with(7);
    assert_eq!(home.snapshot(), before);
    let hint = said.diagnostic("report.in-home")["hint"].as_str().unwrap().to_owned();
    home.run(&hint.split(' ').skip_while(|word| *word != "report").collect::<Vec<_>>()).ends_with(0);
    assert!(home.has(free), "{hint}");
    home.run(&["launch", "--no-daemon"]).ends_with(0);
}

#[test]
fn a_report_to_the_standard_output_makes_no_file() {
    let home = Home::settled();
    let ran = run(home.command(&["report", "--output", "-"]).current_dir(home.path(""))).ends_with(0);
    assert!(ran.stdout.contains("=== history ===") && !home.has("-"), "{ran:?}");
}

/// A roster's file can have any name.
fn home_with_an_odd_name() -> Home {
    let home = Home::after_the_bug();
    home.put(&format!("{MESH}/<script>alert(1)</script>&\".json"), b"{}", 0o600);
    home
}

#[test]
fn a_page_holds_all_that_it_shows_and_runs_nothing() {
    let page = home_with_an_odd_name().run(&["report", "--html"]).ends_with(0).stdout;
    for part in ["<svg ", "Content-Security-Policy", "default-src 'none'", "&lt;script&gt;alert(1)"] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    for foreign in ["<script", " src=", " href=", "url(", "@import", "{{"] {
        assert!(!page.contains(foreign), "{foreign}:\n{page}");
    }
}

/// Renders the page in a real browser, if one is installed.
#[test]
fn a_browser_draws_both_trees() {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_installed(name))
    else {
        eprintln!("skipped: no Chromium is installed");
        return;
    };
    let home = home_with_an_odd_name();
    let file = home.path("report.html");
    home.run(&["report", "--html", "--output", file.to_str().unwrap()]).ends_with(0);
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", home.path("browser").display()));
    let dom = run(command.arg(format!("file://{}", file.display()))).stdout;
    assert_eq!(dom.matches("<svg ").count(), 2, "{dom}");
    for shown in ["as it would be</tspan>", "config.json", "&lt;script&gt;alert(1)", "</html>"] {
        assert!(dom.contains(shown), "{shown}:\n{dom}");
    }
}
