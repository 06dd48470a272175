//! The system calls of the program, seen by strace: syncs, failures that last, and the cost of a
//! start that has nothing to do.

#![cfg(unix)]

use std::path::Path;

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, can_trace, run, set_mode, wrapped,
};
use rstest::rstest;

/// Joins the directory and the name in a line of strace: `<dir>, "name"` becomes `<dir>,
/// "dir/name"`.
fn with_whole_paths(line: &str) -> String {
    let (mut whole, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once(">, \"") {
        whole += before;
        whole += ">, \"";
        if let Some((_, dir)) = before.rsplit_once('<').filter(|_| !after.starts_with('/')) {
            whole += dir;
            whole += "/";
        }
        rest = after;
    }
    whole + rest
}

/// The program's syncs reach the kernel: before a new file gets its name, before the sources move,
/// and after every rename.
#[test]
fn syncs_reach_the_kernel() {
    if !can_trace() {
        return;
    }
    let home = Home::after_the_bug();
    let log = home.path("../strace.log");
    let calls = "trace=fsync,fdatasync,syncfs,/^rename";
    let strace = ["strace", "-f", "-y", "-s", "4096", "-e", calls, "-o", log.to_str().unwrap()];
    run(&mut wrapped(&strace, &home.command(&["launch", "--no-daemon"]))).ends_with(0);
    let log: Vec<String> = std::fs::read_to_string(log).unwrap().lines().map(with_whole_paths).collect();
    let lines: Vec<&str> = log.iter().map(String::as_str).filter(|line| line.ends_with("= 0")).collect();
    let log = log.join("\n");
    let at = |what: &dyn Fn(&str) -> bool| lines.iter().position(|line| what(line));
    let flushed = |path: &Path, range: &[&str]| {
        let held = format!("<{}>)", path.display());
        range.iter().any(|line| line.contains("sync(") && line.contains(&held))
    };
    let mut published = 0;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(".part\"")) {
        let temp = line.split('"').find(|word| word.ends_with(".part")).unwrap();
        published += usize::from(line.contains("rename"));
        assert!(flushed(Path::new(temp), &lines[..index]), "{temp} gets its name unflushed:\n{log}");
    }
    assert!(published >= 3, "copies, the daemon's half, the config:\n{log}");
    let moved = at(&|line| line.contains("rename") && line.contains("/mesh/states\"")).unwrap();
    assert!(
        lines[..moved].iter().any(|line| line.contains("syncfs(")),
        "the sources are not flushed:\n{log}"
    );
    let key = at(&|line| line.contains("rename") && line.contains(NEW_KEY)).unwrap();
    for dir in [format!("{MESH}/.secrets"), format!("{APP}/.secrets")] {
        assert!(flushed(&home.path(&dir), &lines[key..]), "{dir} is not flushed behind the key:\n{log}");
    }
    let config = lines.iter().rposition(|line| line.contains("EXCHANGE")).unwrap();
    assert!(flushed(&home.path(APP), &lines[config..]), "the config's directory is not flushed:\n{log}");
}

/// Calls that fail every time, beyond those that `cargo xtask crash` fails one by one.
#[rstest]
#[case::flock_enolck("flock:error=ENOLCK")]
#[case::flock_eopnotsupp("flock:error=EOPNOTSUPP")]
#[case::close_eio("close:error=EIO")]
#[case::getrandom_enosys("getrandom:error=ENOSYS")]
#[case::copy_file_range_einval("copy_file_range:error=EINVAL")]
#[case::copy_file_range_exdev("copy_file_range:error=EXDEV")]
#[case::fchmod_eperm("fchmod:error=EPERM")]
#[case::fchmodat_eperm("fchmodat:error=EPERM")]
#[case::chmod_eperm("chmod:error=EPERM")]
#[case::renameat2_ebusy("renameat2:error=EBUSY")]
#[case::renameat2_erofs("renameat2:error=EROFS")]
#[case::renameat2_eexist("renameat2:error=EEXIST")]
#[case::mkdirat_emlink("mkdirat:error=EMLINK")]
#[case::mkdirat_erofs("mkdirat:error=EROFS")]
#[case::getdents64_eio("getdents64:error=EIO")]
#[case::statx_eio("statx:error=EIO")]
#[case::statx_estale("statx:error=ESTALE")]
#[case::newfstatat_eio("newfstatat:error=EIO")]
#[case::newfstatat_estale("newfstatat:error=ESTALE")]
#[case::newfstatat_estale_from_the_40("newfstatat:error=ESTALE:when=40+")]
#[case::openat_enfile_from_the_30("openat:error=ENFILE:when=30+")]
#[case::openat_enametoolong_from_the_30("openat:error=ENAMETOOLONG:when=30+")]
#[case::write_efbig("write:error=EFBIG:when=2+")]
#[case::write_edquot("write:error=EDQUOT")]
#[case::unlinkat_ebusy("unlinkat:error=EBUSY")]
#[case::unlink_ebusy("unlink:error=EBUSY")]
#[case::fsync_edquot("fsync:error=EDQUOT")]
#[case::renameat2_sighup("renameat2:signal=SIGHUP:when=2")]
#[case::renameat2_sigint("renameat2:signal=SIGINT:when=2")]
fn calls_that_fail_for_good_lose_nothing(#[case] fault: &str) {
    if !can_trace() {
        return;
    }
    let home = Home::after_the_bug();
    let (before, config) = (home.state(), home.bytes(CONFIG));
    let when = if fault.contains("when=") { "" } else { ":when=1+" };
    let fault = format!("inject={fault}{when}");
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", &fault];
    let ran = run(&mut wrapped(&strace, &home.command(&["launch", "--no-daemon"])));
    assert!(!ran.all().contains("panicked"), "{ran:?}");
    let is_known = |code| (0..=8).contains(&code) || code == 127;
    assert!(fault.contains("signal=") || ran.code.is_some_and(is_known), "{ran:?}");
    let after = home.state();
    assert!(before.iter().all(|file| after.contains(file)), "something is lost: {ran:?}");
    home.still_has(&config, "the overwritten config");
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(NEW_KEY) && !home.has(OLD_KEY));
    let settled = home.snapshot();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.snapshot() == settled, "the run after that wrote");
}

/// If its mode cannot be set, the key stays at the old location.
#[test]
fn a_key_that_cannot_be_made_private_stays() {
    if !can_trace() {
        return;
    }
    let home = Home::legacy();
    set_mode(&home.path(OLD_KEY), 0o644);
    let fault = "inject=fchmod,fchmodat,chmod:error=EPERM:when=1+";
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", fault];
    let ran = run(&mut wrapped(&strace, &home.command(&["migrate"]))).ends_with(1);
    assert!(ran.stderr.contains("identity.json"), "{ran:?}");
    assert!(home.has(OLD_KEY) && !home.has(NEW_KEY));
}

/// The calls that change a file.
#[rustfmt::skip]
const WRITES: [&str; 28] = [
    "write", "pwrite64", "writev", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "chmod", "fchmod", "fchmodat",
    "chown", "fchown", "fchownat", "ftruncate", "truncate", "utimensat", "fallocate", "creat",
    "setxattr", "fsetxattr",
];

/// The calls that sync, lock, or start a thread or a process.
const FORBIDDEN: [&str; 10] =
    ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "flock", "clone", "clone3", "fork", "vfork"];

/// A launch that looks for a key, a roster and a state elsewhere lists the trash once for the key,
/// and once for both others.
#[test]
fn trash_is_listed_once_for_rosters_and_states() {
    if !can_trace() {
        return;
    }
    let home = Home::settled();
    std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).unwrap();
    std::fs::create_dir_all(home.path(".local/share/Trash/files/mesh/rosters")).unwrap();
    let log = home.path("../strace.log");
    let strace = ["strace", "-f", "-s", "4096", "-e", "trace=openat", "-o", log.to_str().unwrap()];
    run(&mut wrapped(&strace, &home.with_daemon(&["launch", "--once"]))).ends_with(0);
    let log = std::fs::read_to_string(log).unwrap();
    let listed = log.lines().filter(|line| line.contains("/Trash/files\""));
    assert_eq!(listed.count(), 2, "{log}");
}

/// A start that has nothing to do writes nothing, syncs nothing, takes no lock, starts no thread,
/// and makes few calls.
#[test]
fn a_start_with_nothing_to_do_costs_next_to_nothing() {
    if !can_trace() {
        return;
    }
    let home = Home::settled();
    let log = home.path("../strace.log");
    let strace = ["strace", "-f", "-y", "-s", "0", "-o", log.to_str().unwrap()];
    let mut traced = wrapped(&strace, &home.command(&["launch", "--no-daemon"]));
    // Cargo sets a library path for its children; a user's start does not search there.
    run(traced.env_remove("LD_LIBRARY_PATH")).ends_with(0);
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains('(')).collect();
    let home = home.path("");
    let at_home: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.contains(home.to_str().unwrap()) && !line.contains("execve("))
        // The standard library checks a descriptor before it closes it, in a build like this one.
        .filter(|line| !line.contains("F_GETFD"))
        .collect();
    let named = |line: &str, calls: &[&str]| {
        let call = line.split_once('(').map_or("", |(head, _)| head).rsplit(' ').next().unwrap_or("");
        calls.contains(&call)
    };
    let wrote: Vec<_> = at_home
        .iter()
        .filter(|line| {
            named(line, &WRITES)
                || line.contains("O_CREAT")
                || line.contains("O_WRONLY")
                || line.contains("O_RDWR")
        })
        .collect();
    assert!(wrote.is_empty(), "{wrote:#?}");
    let forbidden: Vec<_> =
        lines.iter().filter(|line| named(line, &FORBIDDEN) || line.contains("F_SETLK")).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    assert!(at_home.len() <= 35, "{} calls name the home:\n{}", at_home.len(), at_home.join("\n"));
    assert!(lines.len() <= 200, "{} calls in all:\n{log}", lines.len());
}
