//! Homes that are named by mistake, or not named at all.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, Ran, can, can_be_root, program, run, stand_in,
};

/// One level too deep, a run would find nothing, report a healthy home, and make a second home with
/// a second key.
#[test]
fn an_apps_home_is_refused_as_a_users_home_with_the_corrected_command() {
    let home = Home::after_the_bug();
    let before = home.snapshot();
    for inside in [APP, MESH, ".myownllm/.secrets", ".myownllm/mesh/rosters"] {
        let on = |args: &[&str]| {
            let mut command = Command::new(program());
            run(command.arg("--home").arg(home.path(inside)).args(args).env("HOME", "/nonexistent"))
        };
        let corrected = |args: &str| format!("myownllm-mesh --home {} {args}", home.path("").display());
        for args in [
            "launch --no-daemon --json",
            "launch --once --json",
            "migrate --json",
            "salvage --json",
            "network add one-more --json",
            "network list --json",
            "config show --json",
            "config restore 1 --json",
            "identity --json",
        ] {
            let words: Vec<&str> = args.split(' ').collect();
            let said = on(&words).ends_with(7).json();
            assert_eq!(said["diagnostics"][0]["code"], "paths.app-home", "{args}: {said:#}");
            assert_eq!(said["diagnostics"][0]["hint"], corrected(args), "{said:#}");
            assert_eq!(said["data"]["config"].is_object(), words[0] == "launch", "{said:#}");
        }
        on(&["doctor", "--json"]).ends_with(4).check("paths.app-home");
        let status = on(&["status"]).ends_with(0);
        assert!(status.stdout.contains("start no daemon"), "{status:?}");
        assert!(status.stderr.contains(&corrected("status")), "{status:?}");
        assert!(on(&["paths"]).ends_with(0).stderr.contains(&corrected("paths")));
        // Without a command, and with `repair`.
        assert!(on(&[]).ends_with(4).stdout.contains(&corrected("status")));
        assert!(on(&["repair"]).ends_with(7).stderr.contains(&corrected("repair")));
    }
    assert!(home.snapshot() == before);
}

/// Such a command would break the device for every other user.
#[test]
fn no_hint_changes_the_mode_of_a_device_or_a_file_that_is_named_as_the_home() {
    for home in ["/dev/null", "/etc/passwd"] {
        for args in [["doctor", "-v"].as_slice(), &["launch", "--once"], &["--home", home, "repair"]] {
            let said = run(Command::new(program()).args(args).env("HOME", home));
            assert!(said.stderr.contains(home) || said.stdout.contains(home), "{args:?}: {said:?}");
            assert!(!said.stderr.contains("chmod") && !said.stdout.contains("chmod"), "{args:?}: {said:?}");
        }
    }
}

#[test]
fn a_mistyped_home_is_reported_with_the_one_that_was_meant() {
    let home = Home::settled();
    let right = home.path("").display().to_string();
    let on = |named: &Path, args: &[&str]| {
        let mut command = Command::new(program());
        run(command.arg("--home").arg(named).args(args).env("HOME", "/nonexistent"))
    };
    for mistyped in ["hom", "hoem", "homee", "Home"] {
        let mistyped = home.path("").with_file_name(mistyped);
        for args in [&["status"][..], &["paths"], &["migrate"], &["network", "list"]] {
            let ran = on(&mistyped, args);
            assert!(
                ran.stderr
                    .contains(&format!("cannot use the home {}: it does not exist", mistyped.display())),
                "{ran:?}"
            );
            assert!(
                ran.stderr.contains(&format!("myownllm-mesh --home {right} {}", args.join(" "))),
                "{ran:?}"
            );
        }
        let ran = on(&mistyped, &[]).ends_with(4);
        assert!(ran.stderr.contains(&format!("myownllm-mesh --home {right}")), "{ran:?}");
        let ran = on(&mistyped, &["launch", "--no-daemon"]).ends_with(1);
        assert!(ran.stderr.contains(&format!("myownllm-mesh --home {right} launch --no-daemon")), "{ran:?}");
        assert!(!mistyped.exists());
    }
    // Without a similar name the hint lists the directory; and a file is no home.
    let ran = on(&home.path("no/such"), &["status"]);
    assert!(ran.stderr.contains(&format!("ls -la {right}")), "{ran:?}");
    let file = home.path(CONFIG);
    let ran = on(&file, &["status"]);
    assert!(
        ran.stderr.contains(&format!("cannot use the home {}: it is not a directory", file.display())),
        "{ran:?}"
    );
}

/// Runs the program in a mount namespace of its own, in which `passwd` is the password database.
fn with_passwd(passwd: &str, variables: &[(&str, &str)], args: &[&str]) -> Option<Ran> {
    if !can("unshare", &["-m", "true"]) {
        return None;
    }
    let database = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(database.path(), passwd).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", r#"mount --bind "$1" /etc/passwd && shift && exec "$@""#, "sh"]);
    command.arg(database.path()).arg(program()).args(args).current_dir("/");
    for name in ["HOME", "MYOWNMESH_HOME", "SUDO_USER", "SUDO_UID", "DOAS_USER", "PKEXEC_UID"] {
        command.env_remove(name);
    }
    Some(run(command.envs(variables.iter().copied())))
}

fn user(name: &str, uid: u32, home: &Path) -> String {
    format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home.display())
}

fn my_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// The daemon and the app ask the password database too. Two different homes would split the state.
#[test]
fn without_a_home_variable_the_password_database_is_asked() {
    let home = Home::legacy();
    let passwd = user("me", my_uid(), &home.path(""));
    for variables in [&[][..], &[("HOME", "")]] {
        let Some(ran) = with_passwd(&passwd, variables, &["paths", "--json"]) else { return };
        let paths = ran.ends_with(0).json();
        assert_eq!(paths["data"]["paths"]["user_home"]["path"], home.path("").to_str().unwrap());
    }
    with_passwd(&passwd, &[], &["migrate"]).unwrap().ends_with(0);
    assert!(home.has(NEW_KEY));
}

/// `sudo myownllm-mesh launch` would set up root's home and leave the user's home as it is.
#[test]
fn sudo_in_the_empty_home_of_root_names_the_users() {
    if !can_be_root() {
        return;
    }
    let (root, ann) = (Home::empty(), Home::after_the_bug());
    let passwd = user("root", 0, &root.path("")) + &user("ann", 1234, &ann.path(""));
    let before = ann.snapshot();
    let corrected =
        |args: &[&str]| format!("myownllm-mesh --home {} {}", ann.path("").display(), args.join(" "));
    for caller in [("SUDO_USER", "ann"), ("DOAS_USER", "ann"), ("SUDO_UID", "1234"), ("PKEXEC_UID", "1234")] {
        for (args, code) in [
            (&["launch", "--no-daemon"][..], 7),
            (&["migrate"], 7),
            (&["network", "list"], 0),
            (&["repair"], 7),
            (&["status"], 0),
        ] {
            let Some(ran) = with_passwd(&passwd, &[caller], args) else { return };
            let ran = ran.ends_with(code);
            assert!(ran.stderr.contains(&corrected(args)), "{caller:?}, {args:?}: {ran:?}");
        }
        assert!(!root.has(APP), "a second home was made");
    }
    assert!(ann.snapshot() == before);
    // A caller without an app's home is not suggested; and once root has an app's home, no other
    // home is suggested.
    let nobody = user("root", 0, &root.path("")) + &user("ann", 1234, Path::new("/nonexistent"));
    with_passwd(&nobody, &[("SUDO_USER", "ann")], &["launch", "--no-daemon"]).unwrap().ends_with(0);
    assert!(root.has(APP));
    let ran = with_passwd(&passwd, &[("SUDO_USER", "ann")], &["status"]).unwrap().ends_with(0);
    assert!(!ran.stderr.contains("paths.sudo-home"), "{ran:?}");
}

/// `doctor` and `launch` judge a home alike: a refusal of the launch is a problem in `doctor`.
#[test]
fn doctor_foresees_what_a_launch_says_of_a_home_that_is_a_link_to_nothing() {
    let home = Home::empty();
    let link = home.path(APP);
    std::os::unix::fs::symlink("/mnt/not/there", &link).unwrap();
    let said = home.run(&["launch", "--once", "--json"]).ends_with(7).json();
    let refused = &said["diagnostics"][0];
    assert_eq!(refused["code"], "paths.not-a-folder", "{said:#}");
    assert!(said["data"]["config"].is_object(), "{said:#}");
    let foreseen = home.run(&["doctor", "--json"]).ends_with(4).check(refused["code"].as_str().unwrap());
    assert_eq!((&foreseen["result"], &foreseen["hint"]), (&"problem".into(), &refused["hint"]));
    assert!(home.run(&["status"]).ends_with(0).stdout.contains("start no daemon"));
    for args in [&["migrate"][..], &["network", "add", "one-more"]] {
        home.run(args).ends_with(7);
    }
    assert!(link.symlink_metadata().unwrap().is_symlink());
}

/// Without `/proc` the program cannot know whether a daemon runs without its socket. It says so,
/// and reports no all-clear.
#[test]
fn without_proc_it_is_unknown_whether_a_daemon_goes_unseen() {
    if !can("unshare", &["-m", "true"]) {
        return;
    }
    let home = Home::legacy();
    let on = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", r#"umount -l /proc && exec "$@""#, "sh"]).arg(program());
        command.arg("--home").arg(home.path("")).args(args).env("HOME", "/nonexistent").current_dir("/");
        run(command.env("MYOWNMESH_BIN", stand_in()))
    };
    let unseen = on(&["doctor", "--json"]).check("daemon.unseen");
    assert_eq!((&unseen["result"], &unseen["code"]), (&"warning".into(), &"daemon.processes-unknown".into()));
    let said = on(&["launch", "--once", "--json"]).ends_with(0).json();
    let reported = said["diagnostics"].as_array().unwrap().iter();
    assert_eq!(reported.filter(|one| one["code"] == "daemon.processes-unknown").count(), 1, "{said:#}");
    let said = home.run(&["doctor", "--json"]).ends_with(0).json().to_string();
    assert!(!said.contains("daemon.processes-unknown"), "{said}");
}
