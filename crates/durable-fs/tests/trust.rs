//! The rules of the way to a home, as a table. Windows has neither owners nor modes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use myownllm_durable_fs::sim::SimDisk;
use myownllm_durable_fs::trust::{HomeTrust, check_below_home, check_symlink_target, trace};
use myownllm_durable_fs::{Owner, Runner};
use rstest::rstest;

const ROOT: u32 = 0;
const ANN: u32 = 1001;
const BOB: u32 = 1002;
const EVE: u32 = 1003;

/// The home of every case.
const HOME: &str = "/home/ann/.app";

/// A name on the way: a directory with its owner and mode, or a symlink with its owner and target.
enum Entry {
    Dir(&'static str, u32, u32),
    Link(&'static str, u32, &'static str),
}
use Entry::{Dir, Link};

fn disk(runner: u32, entries: &[Entry]) -> SimDisk {
    disk_of(runner, entries.iter())
}

fn disk_of<'a>(runner: u32, entries: impl Iterator<Item = &'a Entry>) -> SimDisk {
    let disk = SimDisk::new();
    let user = |uid| Owner { uid, gid: uid };
    disk.set_user(user(ROOT));
    for top in ["/", "/home"] {
        disk.put_dir(top, 0o755);
        disk.chown(Path::new(top), user(ROOT));
    }
    for entry in entries {
        match entry {
            Dir(path, owner, mode) => {
                let path = Path::new(path);
                disk.put_dir(path, *mode);
                disk.chmod(path, *mode);
                disk.chown(path, user(*owner));
            }
            Link(path, owner, target) => {
                disk.put_link(path, target);
                disk.chown(Path::new(path), user(*owner));
            }
        }
    }
    disk.set_user(user(runner));
    disk
}

fn look(runner: u32, entries: &[Entry]) -> HomeTrust {
    trace(&disk(runner, entries), Path::new(HOME)).unwrap().home_trust(Runner::new(runner), &|_| false)
}

/// Returns each problem as `path: reason`, with `!` in front of a problem that forbids every
/// change.
fn problems(trust: &HomeTrust) -> Vec<String> {
    let said = trust.problems.iter().map(|problem| {
        let grave = if problem.forbids_every_change() { "!" } else { "" };
        format!("{grave}{}: {} -> {}", problem.path.display(), problem.reason(), problem.command())
    });
    said.collect()
}

#[rstest]
#[case::own_home(ANN, &[Dir("/home/ann", ANN, 0o755), Dir(HOME, ANN, 0o700)])]
#[case::own_home_and_root(ROOT, &[Dir("/home/ann", ANN, 0o700), Dir(HOME, ANN, 0o700)])]
#[case::user_home_of_root_with_sticky_bit(ANN, &[Dir("/home/ann", ROOT, 0o1777), Dir(HOME, ANN, 0o700)])]
#[case::user_home_of_root_with_sticky_bit_without_a_home(ANN, &[Dir("/home/ann", ROOT, 0o1777)])]
#[case::user_home_open_to_its_group(ANN, &[Dir("/home/ann", ANN, 0o2770), Dir(HOME, ANN, 0o770)])]
#[case::home_of_root(ANN, &[Dir("/home/ann", ANN, 0o755), Dir(HOME, ROOT, 0o755)])]
#[case::no_user_home(ANN, &[])]
#[case::no_home_and_root(ROOT, &[Dir("/home/ann", ANN, 0o755)])]
#[case::own_symlink(ANN,
    &[Dir("/home/ann", ANN, 0o755), Dir("/srv", ROOT, 0o755), Dir("/srv/app", ANN, 0o700),
        Link(HOME, ANN, "/srv/app")])]
#[case::symlink_of_the_owner_and_root(ROOT,
    &[Dir("/home/ann", ANN, 0o755), Dir("/srv", ROOT, 0o755), Dir("/srv/app", ANN, 0o700),
        Link(HOME, ANN, "/srv/app")])]
#[case::symlink_of_root_on_the_way(ANN,
    &[Dir("/data", ROOT, 0o755), Dir("/data/ann", ANN, 0o700), Dir("/data/ann/.app", ANN, 0o700),
        Link("/home/ann", ROOT, "../data/ann")])]
#[case::own_symlink_in_a_sticky_directory(ANN,
    &[Dir("/home/ann", ANN, 0o1777), Dir("/srv", ANN, 0o755), Link(HOME, ANN, "/srv")])]
fn a_way_that_nobody_else_can_change_is_trusted(#[case] runner: u32, #[case] entries: &[Entry]) {
    assert_eq!(problems(&look(runner, entries)), [""; 0]);
}

#[rstest]
#[case::home_of_another_user_in_the_own_user_home(
    ANN, &[Dir("/home/ann", ANN, 0o755), Dir(HOME, BOB, 0o700)],
    "!/home/ann/.app: belongs to user 1002, not to the owner of the directory that it is in (user 1001) -> \
        sudo chown -RH 1001:1001 /home/ann/.app"
)]
#[case::own_home_in_the_user_home_of_another(
    BOB, &[Dir("/home/ann", ANN, 0o2770), Dir(HOME, BOB, 0o700)],
    "!/home/ann: belongs to user 1001, who can put something else in its place -> ls -ld /home/ann"
)]
#[case::own_home_in_a_sticky_directory_of_another(
    ANN, &[Dir("/home/ann", BOB, 0o1777), Dir(HOME, ANN, 0o700)],
    "!/home/ann: belongs to user 1002, who can put something else in its place -> ls -ld /home/ann"
)]
#[case::symlink_to_the_own_home_in_a_directory_of_another(
    ANN, &[Dir("/home/ann", ANN, 0o755), Dir("/srv", BOB, 0o755), Dir("/srv/app", ANN, 0o700),
        Link(HOME, ANN, "/srv/app")],
    "!/srv: belongs to user 1002, who can put something else in its place -> ls -ld /srv"
)]
#[case::the_same_and_root(
    ROOT, &[Dir("/home/ann", ANN, 0o2770), Dir(HOME, BOB, 0o700)],
    "!/home/ann/.app: belongs to user 1002, not to the owner of the directory that it is in (user 1001) -> \
        sudo chown -RH 1001:1001 /home/ann/.app"
)]
#[case::home_of_root_in_a_user_home_and_root(
    ROOT, &[Dir("/home/ann", ANN, 0o755), Dir(HOME, ROOT, 0o700)],
    "!/home/ann/.app: belongs to user 0, not to the owner of the directory that it is in (user 1001) -> \
        sudo chown -RH 1001:1001 /home/ann/.app"
)]
#[case::home_of_another_user(
    BOB, &[Dir("/home/ann", ANN, 0o2770), Dir(HOME, ANN, 0o770)],
    "!/home/ann/.app: belongs to user 1001, who could not use what user 1002, who runs this program, makes \
        there -> ls -ld /home/ann/.app"
)]
#[case::no_home_in_the_user_home_of_another(
    BOB, &[Dir("/home/ann", ANN, 0o2770)],
    "!/home/ann: belongs to user 1001, who could not use what user 1002, who runs this program, makes there \
        -> ls -ld /home/ann"
)]
#[case::directory_of_another_user_above(
    ANN, &[Dir("/home", EVE, 0o755), Dir("/home/ann", ANN, 0o755), Dir(HOME, ANN, 0o700)],
    "!/home: belongs to user 1003, who can put something else in its place -> ls -ld /home"
)]
#[case::user_home_that_everybody_can_write_to(
    ANN, &[Dir("/home/ann", ANN, 0o777), Dir(HOME, ANN, 0o700)],
    "/home/ann: can be written to by everybody (mode 0777) -> chmod o-w /home/ann"
)]
#[case::directory_of_root_that_everybody_can_write_to(
    ANN, &[Dir("/home", ROOT, 0o777), Dir("/home/ann", ANN, 0o700), Dir(HOME, ANN, 0o700)],
    "/home: can be written to by everybody (mode 0777) -> sudo chmod o-w /home"
)]
#[case::home_that_everybody_can_write_to(
    ANN, &[Dir("/home/ann", ANN, 0o755), Dir(HOME, ANN, 0o777)],
    "/home/ann/.app: can be written to by everybody (mode 0777) -> chmod -R go-w /home/ann/.app"
)]
#[case::symlink_of_another_user(
    ANN, &[Dir("/home/ann", ANN, 0o2770), Dir("/srv", ROOT, 0o755), Dir("/srv/app", ANN, 0o700),
        Link(HOME, BOB, "/srv/app")],
    "!/home/ann/.app: is a symlink of user 1002, who can let it lead anywhere -> ls -ld /home/ann/.app"
)]
#[case::symlink_of_another_user_on_the_way(
    ROOT, &[Dir("/tmp", ROOT, 0o1777), Dir("/tmp/ann", ANN, 0o700), Dir("/tmp/ann/.app", ANN, 0o700),
        Link("/home/ann", EVE, "/tmp/ann")],
    "!/home/ann: is a symlink of user 1003, who can let it lead anywhere -> ls -ld /home/ann"
)]
#[case::symlink_of_the_owner_in_a_sticky_directory(
    ROOT, &[Dir("/home", ROOT, 0o1777), Dir("/srv", ROOT, 0o755), Dir("/srv/eve", EVE, 0o700),
        Dir("/srv/eve/.app", EVE, 0o700), Link("/home/ann", EVE, "/srv/eve")],
    "!/home/ann: is a symlink of user 1003, who can let it lead anywhere -> ls -ld /home/ann"
)]
#[case::symlink_that_everybody_can_swap(
    ROOT, &[Dir("/home", ROOT, 0o777), Dir("/srv", ROOT, 0o755), Dir("/srv/app", ROOT, 0o700),
        Link("/home/ann", ROOT, "/srv")],
    "!/home/ann: is a symlink in a directory that everybody can write to: anybody can swap it -> chmod o-w \
        /home"
)]
#[case::symlink_into_a_directory_that_everybody_can_write_to(
    ANN, &[Dir("/home/ann", ANN, 0o755), Dir("/srv", ROOT, 0o777), Dir("/srv/app", ANN, 0o700),
        Link(HOME, ANN, "/srv/app")],
    "/srv: can be written to by everybody (mode 0777) -> sudo chmod o-w /srv"
)]
#[case::symlink_into_a_directory_of_another_user(
    ANN, &[Dir("/home/ann", ANN, 0o755), Dir("/srv", ROOT, 0o755), Dir("/srv/eve", EVE, 0o755),
        Dir("/srv/eve/x", ROOT, 0o755), Dir("/srv/eve/x/app", ANN, 0o700), Link(HOME, ANN, "/srv/eve/x/app")],
    "!/srv/eve: belongs to user 1003, who can put something else in its place -> ls -ld /srv/eve"
)]
fn a_way_that_somebody_else_can_change_is_not(
    #[case] runner: u32,
    #[case] entries: &[Entry],
    #[case] expected: &str,
) {
    let found = problems(&look(runner, entries));
    assert!(found.iter().any(|problem| problem == expected), "{found:#?}");
}

/// A missing home is not made where every user could swap it; an existing home may be written to
/// with a warning.
#[test]
fn a_missing_home_is_not_made_where_everybody_can_write() {
    let open = || Dir("/home/ann", ANN, 0o777);
    let missing = look(ANN, &[open()]);
    assert!(!missing.exists && missing.forbids_change().is_some(), "{missing:?}");
    let there = look(ANN, &[open(), Dir(HOME, ANN, 0o700)]);
    assert!(there.exists && there.forbids_change().is_none(), "{there:?}");
}

/// In a container, root of the host appears as a user with another number, for example where the
/// root directory belongs to that number.
#[test]
fn owners_that_a_container_does_not_map_stand_for_root() {
    const UNMAPPED: u32 = 65_534;
    let entries = [Dir("/home", UNMAPPED, 0o755), Dir("/home/ann", ANN, 0o755), Dir(HOME, ANN, 0o700)];
    let disk = disk(ANN, &entries);
    let way = trace(&disk, Path::new(HOME)).unwrap();
    let judged = |unmapped| way.home_trust(Runner { uid: ANN, unmapped }, &|_| false).problems.len();
    assert_eq!((judged(Some(UNMAPPED)), judged(None)), (0, 1));
    disk.set_user(Owner { uid: ROOT, gid: ROOT });
    disk.chown(Path::new("/"), Owner { uid: UNMAPPED, gid: UNMAPPED });
    let way = trace(&disk, Path::new(HOME)).unwrap();
    assert_eq!(way.home_trust(Runner::new(ANN), &|_| false).problems, []);
}

/// A network file system without a mapping of users shows another user's number for files of the
/// runner.
#[test]
fn only_user_with_write_access_to_a_closed_home_counts_as_its_owner() {
    let remote = [Dir("/home/ann", BOB, 0o755), Dir(HOME, BOB, 0o700)];
    let way = trace(&disk(ANN, &remote), Path::new(HOME)).unwrap();
    let judged = |may_write: bool| way.home_trust(Runner::new(ANN), &|_| may_write).problems.len();
    assert_eq!((judged(true), judged(false)), (0, 1));
    let open = [Dir("/home/ann", BOB, 0o755), Dir(HOME, BOB, 0o770)];
    let way = trace(&disk(ANN, &open), Path::new(HOME)).unwrap();
    assert_eq!(way.home_trust(Runner::new(ANN), &|_| true).problems.len(), 1);
}

#[test]
fn an_owner_who_cannot_reach_the_home_is_distinguished_apart() {
    let inside = |mode| look(ROOT, &[Dir("/home/ann", ROOT, mode), Dir(HOME, ANN, 0o700)]).is_reachable;
    assert_eq!((inside(0o700), inside(0o711)), (false, true));
}

/// The file behind a symlink, and every directory on the way, belongs to the owner of the symlink,
/// to the runner, or to root.
#[rstest]
#[case::own(ANN, ANN, ANN, ROOT, None)]
#[case::own_to_a_file_of_root(ANN, ANN, ROOT, ROOT, None)]
#[case::of_the_files_owner(ROOT, ANN, ANN, ROOT, None)]
#[case::of_another_user_than_the_file(ROOT, EVE, ROOT, ROOT, Some("/home/ann/link"))]
#[case::of_another_user_to_the_runners_file(ANN, EVE, ANN, ROOT, Some("/home/ann/link"))]
#[case::through_a_directory_of_another_user(ANN, ANN, ANN, EVE, Some("/srv"))]
fn a_symlink_to_a_file_is_judged_by_where_it_leads(
    #[case] runner: u32,
    #[case] link: u32,
    #[case] file: u32,
    #[case] directory: u32,
    #[case] expected: Option<&str>,
) {
    let entries = [
        Dir("/home/ann", ANN, 0o755),
        Dir("/srv", directory, 0o755),
        Dir("/srv/file", file, 0o700),
        Link("/home/ann/link", link, "/srv/file"),
    ];
    let found = check_symlink_target(&disk(runner, &entries), Path::new("/home/ann/link")).unwrap();
    assert_eq!(found.map(|problem| problem.path).as_deref(), expected.map(Path::new));
}

/// Below the home everything belongs to its owner or to root, also behind a symlink.
#[rstest]
#[case::all_the_owners(&[Dir("/home/ann/.app/mesh", ANN, 0o700)], None)]
#[case::open(&[Dir("/home/ann/.app/mesh", ANN, 0o777)], Some("/home/ann/.app/mesh"))]
#[case::sticky(&[Dir("/home/ann/.app/mesh", ANN, 0o1777)], None)]
#[case::of_another_user(&[Dir("/home/ann/.app/mesh", EVE, 0o700)], Some("/home/ann/.app/mesh"))]
#[case::symlink_into_an_open_directory(
    &[Dir("/srv", ROOT, 0o777), Dir("/srv/mesh", ANN, 0o700), Link("/home/ann/.app/mesh", ANN, "/srv/mesh")],
    Some("/srv")
)]
#[case::symlink_of_another_user(
    &[Dir("/srv", ROOT, 0o755), Dir("/srv/mesh", ANN, 0o700), Link("/home/ann/.app/mesh", EVE, "/srv/mesh")],
    Some("/home/ann/.app/mesh")
)]
fn the_inside_of_a_home_is_the_owners(#[case] inside: &[Entry], #[case] expected: Option<&str>) {
    let above = [Dir("/home/ann", ANN, 0o755), Dir(HOME, ANN, 0o700)];
    let disk = disk_of(ANN, above.iter().chain(inside));
    let found = check_below_home(&disk, Path::new(HOME), Path::new("/home/ann/.app/mesh")).unwrap();
    assert_eq!(found.map(|problem| problem.path).as_deref(), expected.map(Path::new));
}

#[test]
fn a_trace_follows_symlinks_and_ends_at_what_is_missing() {
    let entries = [
        Dir("/home/ann", ANN, 0o755),
        Dir("/home/ann/real", ANN, 0o755),
        Link("/home/ann/link", ANN, "../ann/./real"),
        Link("/home/ann/nowhere", ANN, "/srv/missing/app"),
        Link("/home/ann/circle", ANN, "circle"),
    ];
    let disk = disk(ANN, &entries);
    let way = trace(&disk, Path::new("/home/ann/link/../link/new/app")).unwrap();
    let last = way.steps.last().unwrap();
    assert_eq!(last.path, Path::new("/home/ann/real"));
    assert_eq!(way.missing.as_deref(), Some(Path::new("/home/ann/real/new")));
    let way = trace(&disk, Path::new("/home/ann/nowhere")).unwrap();
    assert_eq!(way.missing.as_deref(), Some(Path::new("/srv")));
    assert!(trace(&disk, Path::new("/home/ann/circle")).is_err());
}
