//! Running daemons, programs of daemons, and the limits of the own process.

use super::{
    Alive, ROSTER, agree, agree_and_follow, control_socket, empty, legacy, link, pipe, remove, rename,
    same_verdict, settled,
};
use integration_tests::testkit::{APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, run, stand_in, wrapped};
use rstest::rstest;

/// A socket's file that nobody listens on any more.
fn stale_socket(home: &Home, path: &str) {
    std::fs::create_dir_all(home.path(path).parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.path(path)).unwrap());
}

/// The limit of open files is one for `doctor` and the launch.
#[rstest]
fn few_open_files(#[values(7, 8, 10, 12, 14, 15, 16, 17, 23, 24, 25)] limit: u32) {
    let home = Home::settled();
    let said = |args: &[&str]| {
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        run(&mut wrapped(&["sh", "-c", &script], &home.with_daemon(args)))
    };
    same_verdict(&said(&["doctor", "--json"]), &said(&["launch", "--once", "--json"]));
}

#[rstest]
#[case::a_config_that_is_a_symlink_to_nothing(settled(|home| link(home, "/mnt/missing/config.json",
    DAEMON_CONFIG)))]
#[case::a_newer_roster(settled(|home| { let mut roster = home.json(ROSTER); roster["version"] = 9.into();
    home.put(ROSTER, roster.to_string().as_bytes(), 0o600); }))]
#[case::an_unreadable_config(settled(|home| home.put(DAEMON_CONFIG, b"{ not json", 0o600)))]
#[case::the_config_of_a_newer_daemon(settled(|home| home.put(DAEMON_CONFIG,
    br#"{"version":99,"daemon":{},"networks":[]}"#, 0o600)))]
#[case::the_config_of_the_app(settled(|home| { let bytes = home.bytes(CONFIG);
    home.put(DAEMON_CONFIG, &bytes, 0o600); }))]
#[case::a_stale_socket(settled(|home| stale_socket(home, ".myownllm/.myownmesh/daemon.sock")))]
#[case::a_stale_socket_in_the_old_location(settled(|home| stale_socket(home, ".myownllm/daemon.sock")))]
#[case::a_stale_shared_socket(settled(|home| stale_socket(home, ".myownmesh/daemon.sock")))]
#[case::a_file_in_the_place_of_the_socket(settled(|home| home.put(".myownllm/.myownmesh/daemon.sock", b"",
    0o600)))]
#[case::a_socket_in_a_circle(settled(|home| link(home, "daemon.sock", ".myownllm/.myownmesh/daemon.sock")))]
#[case::a_socket_in_a_circle_in_the_old_location(settled(|home| link(home, "daemon.sock",
    ".myownllm/daemon.sock")))]
#[case::a_shared_socket_in_a_circle(settled(|home| link(home, "daemon.sock", ".myownmesh/daemon.sock")))]
#[case::a_control_socket_in_the_place_of_the_key(settled(|home| control_socket(home,
    home.path(NEW_KEY).to_str().unwrap())))]
#[case::a_control_socket_in_the_place_of_the_config(settled(|home| control_socket(home,
    home.path(CONFIG).to_str().unwrap())))]
#[case::a_control_socket_in_proc(settled(|home| control_socket(home, "/proc/d.sock")))]
#[case::a_relative_control_socket(settled(|home| control_socket(home, "run/daemon.sock")))]
#[case::a_control_socket_that_is_too_long(settled(|home| control_socket(home,
    &format!("/tmp/{}/d.sock", "x".repeat(110)))))]
#[case::a_control_socket_in_no_directory(settled(|home| control_socket(home,
    "/tmp/no-such-directory-of-this-test/d.sock")))]
#[case::a_control_socket_below_a_file(settled(|home| control_socket(home, "/etc/passwd/d.sock")))]
#[case::a_control_socket_in_a_directory_of_the_daemon_home_that_is_missing(settled(|home| {
    control_socket(home, home.path(".myownllm/.myownmesh/run/d.sock").to_str().unwrap());
}))]
#[case::a_control_socket_behind_a_dangling_symlink(settled(|home| {
    link(home, "/nowhere/run", "run");
    control_socket(home, home.path("run/d.sock").to_str().unwrap());
}))]
#[case::a_control_socket_in_the_daemon_home(settled(|home| {
    control_socket(home, home.path(".myownllm/.myownmesh/own.sock").to_str().unwrap());
}))]
#[case::an_overwritten_config_that_names_a_socket_in_no_directory(legacy(|home| {
    let config = serde_json::json!({
        "version": 3, "daemon": { "control_socket": "/tmp/no-such-directory-of-this-test/d.sock" },
        "networks": []
    });
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
}))]
#[case::a_directory_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    std::fs::create_dir(home.path(DAEMON_CONFIG)).unwrap();
}))]
#[case::a_directory_in_the_place_of_a_roster(settled(|home| {
    remove(home, ROSTER);
    std::fs::create_dir(home.path(ROSTER)).unwrap();
}))]
#[case::a_pipe_in_the_place_of_a_roster(settled(|home| { remove(home, ROSTER); pipe(home, ROSTER); }))]
#[case::a_roster_with_a_byte_order_mark(settled(|home| {
    let roster = [b"\xef\xbb\xbf".to_vec(), home.bytes(ROSTER)].concat();
    home.put(ROSTER, &roster, 0o600);
}))]
#[case::an_empty_roster(settled(|home| home.put(ROSTER, b"", 0o600)))]
#[case::a_config_with_a_byte_order_mark(settled(|home|
    home.put(DAEMON_CONFIG, b"\xef\xbb\xbf{\"version\":3,\"networks\":[]}", 0o600)))]
#[case::a_config_of_another_type(settled(|home|
    home.put(DAEMON_CONFIG, br#"{"version":"3","services":{"turn":{"port":"x"}}}"#, 0o600)))]
#[case::a_pipe_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    pipe(home, DAEMON_CONFIG);
}))]
#[case::a_device_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    link(home, "/dev/null", DAEMON_CONFIG);
}))]
#[case::a_directory_in_the_place_of_the_former_log(settled(|home| {
    std::fs::create_dir(home.path(".myownllm/.myownmesh/daemon.log.1")).unwrap();
}))]
#[case::a_directory_in_the_place_of_the_log(settled(|home| {
    std::fs::remove_file(home.path(".myownllm/.myownmesh/daemon.log")).ok();
    std::fs::create_dir(home.path(".myownllm/.myownmesh/daemon.log")).unwrap();
}))]
#[case::a_control_socket_elsewhere(settled(|home| control_socket(home,
    home.path("d.sock").to_str().unwrap())))]
fn daemons(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

/// A daemon would fail to save, wait for a pipe, or write over the target of a symlink.
#[rstest]
#[case::directory_for_the_config(settled(|home|
    std::fs::create_dir(home.path(&format!("{DAEMON_CONFIG}.tmp"))).unwrap()))]
#[case::symlink_to_the_apps_config(settled(|home| link(home, "../config.json", &format!("{DAEMON_CONFIG}.tmp"))))]
#[case::symlink_to_nothing(settled(|home| link(home, "/mnt/missing/x", &format!("{DAEMON_CONFIG}.tmp"))))]
#[case::pipe_for_a_roster(settled(|home| pipe(home, &format!("{ROSTER}.tmp"))))]
#[case::directory_for_a_state(settled(|home|
    std::fs::create_dir(home.path(&format!("{MESH}/mesh/states/home-mesh.json.tmp"))).unwrap()))]
#[case::directory_for_the_first_key(empty(|home|
    std::fs::create_dir_all(home.path(&format!("{NEW_KEY}.tmp"))).unwrap()))]
fn no_daemon_starts_beside_a_temporary_file_that_is_none(#[case] home: (Home, Alive)) {
    let home = &home.0;
    let made_config = !home.has(CONFIG);
    // A launch that changed something looks at what a daemon needs.
    home.run(&["launch", "--no-daemon"]).ends_with(i32::from(made_config));
    let config = home.bytes(CONFIG);
    let launch = || run(&mut home.with_daemon(&["launch", "--once", "--json"]));
    launch().ends_with(1).diagnostic("state.unreadable");
    agree_and_follow(home);
    launch().ends_with(0);
    assert_eq!(home.bytes(CONFIG), config);
}

/// Nothing can listen behind a symlink loop.
#[rstest]
#[case::in_the_old_location(".myownllm/daemon.sock")]
#[case::in_the_shared_home(".myownmesh/daemon.sock")]
fn socket_in_a_symlink_loop_is_no_daemon(#[case] path: &str) {
    let home = Home::settled();
    link(&home, "daemon.sock", path);
    for args in [&["doctor"][..], &["launch", "--once"]] {
        run(&mut home.with_daemon(args)).ends_with(0);
    }
}

/// A control socket that names a file of the home: the config must name another path, and the file
/// stays.
#[rstest]
#[case::the_key(NEW_KEY)]
#[case::the_config_of_the_app(CONFIG)]
#[case::the_config_of_the_daemon(DAEMON_CONFIG)]
fn control_socket_that_names_a_file_is_edited(#[case] file: &str) {
    let home = Home::settled();
    control_socket(&home, home.path(file).to_str().unwrap());
    let config = home.path(DAEMON_CONFIG);
    let editor = format!("sh -c '${{EDITOR:-vi}} \"$0\"' {}", config.display());
    for args in [&["doctor"][..], &["launch", "--once"]] {
        let ran = run(&mut home.with_daemon(args));
        assert!(ran.all().contains(&editor) && !ran.all().contains("mv -n"), "{args:?}: {ran:?}");
    }
}

/// A daemon that runs in the old location, or in the daemon's home.
#[rstest]
#[case::in_the_old_location_before_the_move(Home::legacy(), APP)]
#[case::in_the_old_location_of_a_settled_home(Home::settled(), APP)]
#[case::in_the_daemon_home(Home::settled(), MESH)]
#[case::in_the_shared_home(Home::settled(), ".myownmesh")]
fn running_daemons(#[case] home: Home, #[case] place: &str) {
    std::fs::create_dir_all(home.path(place)).unwrap();
    let _daemon = home.daemon(place).start().unwrap();
    agree(&home, |_| {});
}

#[test]
fn running_daemon_behind_a_symlink() {
    let home = Home::settled();
    let _daemon = home.daemon(MESH).start().unwrap();
    let socket = ".myownllm/.myownmesh/daemon.sock";
    rename(&home, socket, "real.sock");
    link(&home, home.path("real.sock"), socket);
    agree(&home, |_| {});
}

/// The program that is to be started.
#[rstest]
#[case::is_not_there("/nowhere/myownmesh")]
#[case::is_no_program("/etc/passwd")]
#[case::is_a_directory("/tmp")]
#[case::is_a_relative_path_to_nothing("no/such/myownmesh")]
#[case::is_a_name_that_is_nowhere("no-such-myownmesh")]
#[case::is_not_executable("{home}/plain")]
#[case::is_a_dangling_symlink("{home}/dangling")]
#[case::is_the_daemon("{home}/daemon")]
#[case::has_windows_line_endings("{home}/windows")]
#[case::has_a_windows_line_ending_behind_an_option("{home}/windows-option")]
#[case::lacks_its_interpreter("{home}/no-shell")]
#[case::has_an_interpreter_that_is_not_executable("{home}/plain-shell")]
#[case::has_a_directory_for_an_interpreter("{home}/directory-shell")]
#[case::names_no_interpreter("{home}/nameless")]
#[case::lacks_the_interpreter_that_env_looks_for("{home}/env")]
#[case::is_started_by_env("{home}/env-sh")]
#[case::is_started_by_env_with_options("{home}/env-options")]
#[case::is_a_script("{home}/script")]
#[case::is_empty("{home}/empty")]
#[case::is_text("{home}/text")]
#[case::is_no_format_that_is_known("{home}/bytes")]
#[case::is_cut("{home}/cut")]
#[case::is_cut_in_its_headers("{home}/stump")]
#[case::is_for_another_processor("{home}/foreign")]
#[case::lacks_its_loader("{home}/loader")]
fn programs(#[case] program: &str) {
    let home = Home::settled();
    home.put("plain", b"#!/bin/sh\n", 0o644);
    link(&home, "/nowhere/myownmesh", "dangling");
    link(&home, stand_in(), "daemon");
    odd_programs(&home);
    let program = program.replace("{home}", home.path("").to_str().unwrap().trim_end_matches('/'));
    agree(&home, |command| {
        command.env("MYOWNMESH_BIN", &program).env("PATH", "/usr/bin:/bin");
    });
}

/// Programs that may be executed; the system can start some of them.
fn odd_programs(home: &Home) {
    let serve = format!("exec '{}' \"$@\"\n", stand_in());
    let plain = home.path("plain").display().to_string();
    let here = home.path("").display().to_string();
    for (name, first_line) in [
        ("windows", "#!/bin/sh\r"),
        ("windows-option", "#!/bin/sh -e\r"),
        ("no-shell", "#!/opt/no-such-shell -e"),
        ("plain-shell", &format!("#!{plain}")),
        ("directory-shell", &format!("#!{here}")),
        ("nameless", "#! "),
        ("env", "#!/usr/bin/env no-such-shell"),
        ("env-sh", "#!/usr/bin/env sh"),
        ("env-options", "#!/usr/bin/env -S sh -e"),
        ("script", "#! /bin/sh -e"),
    ] {
        home.put(name, format!("{first_line}\n{serve}").as_bytes(), 0o755);
    }
    let daemon = std::fs::read(stand_in()).unwrap();
    let mut foreign = daemon.clone();
    foreign[18..20].copy_from_slice(&[8, 0]);
    let mut loader = daemon.clone();
    let at = loader.windows(8).position(|bytes| bytes == b"/ld-linu").unwrap();
    loader[at..at + 8].copy_from_slice(b"/no-such");
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"myownmesh, version 0.3.8\n"),
        ("bytes", &[0xfe, 0xed, 0xfa, 0xcf, 0, 0, 0, 0]),
        ("cut", &daemon[..daemon.len() / 2]),
        ("stump", &daemon[..80]),
        ("foreign", &foreign),
        ("loader", &loader),
    ] {
        home.put(name, bytes, 0o755);
    }
}

/// A program that is named and cannot be started is no problem where another one is found.
#[rstest]
#[case::and_is_not_there("/nowhere/myownmesh")]
#[case::and_is_empty("{home}/empty")]
#[case::and_has_windows_line_endings("{home}/windows")]
fn program_that_is_found_stands_in_for_one_that_is_named(#[case] named: &str) {
    let home = Home::settled();
    link(&home, stand_in(), "bin/myownmesh");
    odd_programs(&home);
    let named = named.replace("{home}", home.path("").to_str().unwrap());
    agree(&home, |command| {
        command.env("MYOWNMESH_BIN", &named).env("PATH", home.path("bin"));
    });
}

/// A program that no variable names, but that lies on `PATH`.
#[rstest]
#[case::has_windows_line_endings("windows")]
#[case::is_empty("empty")]
#[case::is_a_script("script")]
fn programs_on_the_search_path(#[case] name: &str) {
    let home = Home::settled();
    odd_programs(&home);
    link(&home, home.path(name), "bin/myownmesh");
    agree(&home, |command| {
        command.env_remove("MYOWNMESH_BIN").env("PATH", home.path("bin"));
    });
}
