//! Homes on file systems that are full, read-only, mounted over one another, or without extended
//! attributes.

#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "a test says why it is skipped")]

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Ran, can, can_mount, program, run, set_mode, with_mounts,
};
use rstest::rstest;

/// A source directory on a file system of its own (an encrypted one for secrets, for example) is
/// emptied and stays. Nothing can remove it, and that is no failure, now or at the next start.
#[rstest]
#[case::own_file_system("rm -r $m/*; mount -t tmpfs -o mode=700 none $m; cp -a $1/copy/. $m")]
#[case::bind_mount("mount --bind $m $m")]
fn a_source_dir_that_is_a_mount_point_is_emptied_and_stays(
    #[case] mount: &str,
    #[values(".secrets", "mesh", "mesh/rosters")] dir: &str,
) {
    if !can_mount() {
        return;
    }
    let program = program().display();
    let home = Home::legacy();
    let before = home.state();
    let mounts = format!(
        "m=$1/{APP}/{dir}; cp -a $m $1/copy; {mount}; rm -r $1/copy
         {program} --home $1 migrate; {program} --home $1 migrate | grep 'Nothing to move'"
    );
    let ran = with_mounts(&home, &mounts, &["launch", "--no-daemon"]).ends_with(0);
    assert!(!ran.all().contains("error"), "{dir}, {mount}: {ran:?}");
    assert!(home.has(NEW_KEY), "{dir}, {mount}: {ran:?}");
    assert!(home.state() == before, "{dir}, {mount}: something is lost or doubled");
}

/// A file at the destination is a bind mount of the source. It is no second copy, whatever its link
/// count: it disappears with the mount.
#[rstest]
#[case::move_alone(&["migrate"])]
#[case::source_is_kept(&["migrate", "--keep", "source"])]
#[case::destination_is_kept(&["migrate", "--keep", "destination"])]
fn a_file_that_is_mounted_at_the_destination_is_no_copy(
    #[case] args: &[&str],
    #[values(".secrets/identity.json", "mesh/rosters/home-mesh.json")] name: &str,
) {
    if !can_mount() {
        return;
    }
    let home = Home::legacy();
    let before = home.state();
    let mounts = format!(
        "old=$1/{APP}/{name}; new=$1/{MESH}/{name}; mkdir -pm700 ${{new%/*}}; touch $new
         ln $old $1/backup; mount --bind $old $new"
    );
    let ran = with_mounts(&home, &mounts, args).ends_with(1);
    assert!(ran.stderr.contains("something else is mounted over this file"), "{name}, {args:?}: {ran:?}");
    std::fs::remove_file(home.path("backup")).unwrap();
    let new = home.path(&format!("{MESH}/{name}"));
    assert_eq!(std::fs::metadata(&new).unwrap().len(), 0, "{name}, {args:?}");
    std::fs::remove_file(new).unwrap();
    assert!(home.state() == before, "{name}, {args:?}: it is lost: {ran:?}");
}

const READ_ONLY: &str = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";

#[rstest]
#[case::full("mkdir -m700 MESH; mount -t tmpfs -o size=8k,mode=700 none MESH", &["migrate"], 1)]
#[case::out_of_inodes("mkdir -m700 MESH; mount -t tmpfs -o nr_inodes=4,mode=700 none MESH", &["migrate"], 1)]
#[case::read_only_destination("mkdir -m700 MESH; mount -t tmpfs -o ro,mode=700 none MESH", &["migrate"], 1)]
#[case::read_only_home(READ_ONLY, &["migrate"], 1)]
#[case::read_only_home_launched(READ_ONLY, &["launch", "--no-daemon"], 1)]
#[case::read_only_home_looked_at(READ_ONLY, &["status"], 0)]
#[case::same_directory_twice("mkdir -m700 MESH MESH/mesh; mount --bind APP/mesh MESH/mesh", &["migrate"], 7)]
#[case::home_in_itself("mkdir -m700 MESH; mount --bind APP MESH", &["migrate"], 7)]
fn full_read_only_and_separate_file_systems_lose_nothing(
    #[case] mounts: &str,
    #[case] args: &[&str],
    #[case] code: i32,
) {
    if !can_mount() {
        return;
    }
    let home = Home::legacy();
    for n in 0..20 {
        home.put(&format!("{APP}/mesh/rosters/n{n}.json"), &[b'x'; 3000], 0o600);
    }
    let key = home.bytes(OLD_KEY);
    let mounts = mounts.replace("MESH", &format!("\"$1\"/{MESH}")).replace("APP", &format!("\"$1\"/{APP}"));
    with_mounts(&home, &mounts, args).ends_with(code).is_sound();
    // The mounts are gone with the files in them; the home holds only what was not moved.
    assert_eq!(home.bytes(OLD_KEY), key, "the key stays where it is");
}

/// A bind mount of the same file system refuses renames across it, so the files are copied.
#[test]
fn state_is_copied_into_a_bind_mount() {
    if !can_mount() {
        return;
    }
    let home = Home::legacy();
    let key = home.bytes(OLD_KEY);
    std::fs::create_dir(home.path("other")).unwrap();
    set_mode(&home.path("other"), 0o700);
    let mount = format!("mkdir -m700 \"$1/{MESH}\"; mount --bind \"$1/other\" \"$1/{MESH}\"");
    with_mounts(&home, &mount, &["migrate"]).ends_with(0);
    assert_eq!(home.bytes("other/.secrets/identity.json"), key);
    assert!(home.has("other/mesh/rosters/home-mesh.json") && !home.has(OLD_KEY));
}

/// On a disk that is mounted read-only, each change fails for one cause, which one error names. A
/// home that needs no change is no healthy one either.
#[rstest]
#[case::launch(&["launch", "--no-daemon"])]
#[case::repair(&["repair"])]
fn a_read_only_disk_is_one_error(
    #[case] args: &[&str],
    #[values(Home::after_the_bug, Home::legacy, Home::settled, Home::empty)] make: fn() -> Home,
) {
    if !can_mount() {
        return;
    }
    let home = make();
    let ran = with_mounts(&home, READ_ONLY, args);
    let errors = ran.stderr.matches("error: ").count();
    // An app can run on a healthy home that cannot be changed.
    let is_fine = ran.code == Some(0) && args[0] == "launch" && home.has(NEW_KEY);
    assert!(is_fine || (ran.code == Some(1) && errors == 1), "{args:?}: {ran:?}");
    assert!(is_fine || ran.stderr.contains("hint: findmnt --target "), "{args:?}: {ran:?}");
}

/// No other file can take the place of a mount, as a repair needs.
#[test]
fn overwritten_config_that_is_a_mount_is_foreseen() {
    if !can_mount() {
        return;
    }
    let home = Home::settled();
    home.put(CONFIG, &Home::after_the_bug().bytes(CONFIG), 0o600);
    let mount = format!("mount --bind \"$1/{CONFIG}\" \"$1/{CONFIG}\"");
    let said = with_mounts(&home, &mount, &["doctor"]).ends_with(4).stdout;
    assert!(said.contains("problem  launch.foreseen") && said.contains("it is a mount of its own"), "{said}");
    assert!(said.contains("findmnt --target ") && !said.contains(" repair\n"), "{said}");
    with_mounts(&home, &mount, &["repair"]).ends_with(1);
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
        "m=\"$1/{MESH}\"; cp -a \"$m\" \"$1/copy\"; mount -t tmpfs -o size=1m,mode=700 none \"$m\"; \
         cp -a \"$1/copy/.\" \"$m\"
         rm -f \"$m\"/daemon.log*; cat /dev/zero > \"$m/fill\" 2>/dev/null || true; \
         export MYOWNMESH_BIN=\"$1/program\""
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
#[rstest]
#[case::alone(false)]
#[case::with_a_hard_link_elsewhere(true)]
fn the_old_home_seen_through_an_overlay_is_no_copy(#[case] link: bool) {
    if !can_mount() || !can("grep", &["-qw", "overlay", "/proc/filesystems"]) {
        return;
    }
    let layers = "d=$(dirname \"$1\")/layers; mkdir $d; mount -t tmpfs none $d; mkdir $d/u $d/w; \
        mkdir -p -m700 $1/.myownllm/.myownmesh
        mount -t overlay overlay -o lowerdir=$1/.myownllm,upperdir=$d/u,workdir=$d/w $1/.myownllm/.myownmesh";
    let home = Home::legacy();
    if link {
        // A hard link elsewhere is no second copy.
        let roster = home.path(&format!("{APP}/mesh/rosters/home-mesh.json"));
        std::fs::hard_link(roster, home.path("backup")).unwrap();
    }
    let before = home.state();
    let ran = with_mounts(&home, layers, &["migrate"]).ends_with(1);
    assert!(ran.stderr.contains("it is the source itself, seen through a mount"), "{ran:?}");
    assert!(ran.stderr.contains("hint: findmnt --target"), "{ran:?}");
    assert!(home.state() == before, "it is lost: {ran:?}");
    home.run(&["migrate"]).ends_with(0);
}

/// The message names the extended attributes that the copy lacks, without their values. The copy is
/// from a killed run.
#[cfg(target_os = "linux")]
#[rstest]
#[case::migrate(&["migrate", "--json"])]
#[case::launch(&["launch", "--no-daemon", "--json"])]
fn attributes_that_are_lost_are_named(#[case] args: &[&str]) {
    let home = Home::legacy();
    let (here, there) =
        (format!("{APP}/mesh/rosters/home-mesh.json"), format!("{MESH}/mesh/rosters/home-mesh.json"));
    home.put(&there, &home.bytes(&here), 0o600);
    let noted =
        rustix::fs::setxattr(home.path(&here), "user.origin", b"never said", rustix::fs::XattrFlags::empty());
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
