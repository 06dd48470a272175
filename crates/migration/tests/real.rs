//! The move on a real file system. Scenes of symlinks, modes, owners and mounts are for Unix alone.
#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod common;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
#[cfg(unix)]
use std::{
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    },
};

#[cfg(unix)]
use common::Mount;
use common::key_file;
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::identity::{Answer, scan};
use myownllm_migration::{
    Class, Direction, Homes, IdentityState, Keep, LiveDaemon, LiveDaemons, MigrationError, Migrator,
    MoveOutcome, MoveReport, NoDaemons, Options, Progress,
};
#[cfg(unix)]
use myownllm_migration::{MoveMethod, SkippedEntry};
use rstest::rstest;

struct Home {
    _dir: tempfile::TempDir,
    app: PathBuf,
}

fn homes_at(app: &Path, daemon: &Path) -> Homes {
    Homes::new(app.to_str().expect("UTF-8"), daemon.to_str().expect("UTF-8"))
}

impl Home {
    fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let app = dir.path().join(".myownllm");
        fs::create_dir(&app).expect("made");
        Self { _dir: dir, app }
    }

    fn full() -> Self {
        let home = Self::empty();
        home.put("mesh/states/one.json", b"state");
        home.put("mesh/rosters/one.json", b"roster");
        home.put(".secrets/custody.json", b"custody");
        home.put(".secrets/identity.json", &key_file(1, "x"));
        home
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.app.join(name)
    }

    fn new_home(&self, name: &str) -> PathBuf {
        self.app.join(".myownmesh").join(name)
    }

    fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn homes(&self) -> Homes {
        homes_at(&self.app, &self.app.join(".myownmesh"))
    }

    fn run(&self, options: &Options) -> MoveReport {
        let lock = RealDisk.lock(&self.app, Duration::from_secs(5)).expect("free");
        Migrator::new(&RealDisk, self.homes()).run(&lock, options, &NoDaemons)
    }

    /// Tells if a daemon may be started, and why not.
    fn answer(&self) -> Answer {
        scan(&RealDisk, &self.homes().identity_places()).answer()
    }

    fn may_start(&self) -> bool {
        self.answer().expected().is_ok()
    }

    fn tree(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        fn visit(root: &Path, dir: &Path, tree: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
            for entry in fs::read_dir(dir).expect("readable") {
                let path = entry.expect("an entry").path();
                if cfg!(windows) && path.ends_with(".lock") {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).expect("there");
                let content = if meta.is_file() {
                    fs::read(&path).expect("readable")
                } else if meta.is_symlink() {
                    fs::read_link(&path).expect("a link").as_os_str().as_encoded_bytes().to_vec()
                } else {
                    Vec::new()
                };
                tree.insert(path.strip_prefix(root).expect("below").to_owned(), (mode(&path), content));
                if meta.is_dir() {
                    visit(root, &path, tree);
                }
            }
        }
        let mut tree = BTreeMap::new();
        visit(&self.app, &self.app, &mut tree);
        tree
    }

    fn pending(&self) -> bool {
        Migrator::new(&RealDisk, self.homes()).is_pending()
    }
}

/// Puts an identity file into a home: without an identity file, rosters do not move.
#[cfg(unix)]
fn put_key(home: &Path) {
    fs::create_dir_all(home.join(".secrets")).expect("made");
    chmod(home, 0o700);
    chmod(&home.join(".secrets"), 0o700);
    fs::write(home.join(".secrets/identity.json"), key_file(1, "x")).expect("written");
    chmod(&home.join(".secrets/identity.json"), 0o600);
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o777
}

/// Windows has no modes: each file counts as private.
#[cfg(windows)]
fn mode(_: &Path) -> u32 {
    0o600
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

#[cfg(unix)]
#[test]
fn everything_moves_and_the_old_places_are_gone() {
    let home = Home::full();
    let before = fs::metadata(home.at("mesh/rosters/one.json")).expect("there");
    for dir in ["mesh", "mesh/states", "mesh/rosters", ".secrets"] {
        chmod(&home.at(dir), 0o755);
    }
    chmod(&home.at(".secrets/identity.json"), 0o644);
    chmod(&home.at("mesh/rosters/one.json"), 0o640);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.class(), None);
    assert!(home.may_start());
    let names: Vec<_> = home.tree().into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(
        names,
        [
            ".myownmesh",
            ".myownmesh/.secrets",
            ".myownmesh/.secrets/custody.json",
            ".myownmesh/.secrets/identity.json",
            ".myownmesh/mesh",
            ".myownmesh/mesh/rosters",
            ".myownmesh/mesh/rosters/one.json",
            ".myownmesh/mesh/states",
            ".myownmesh/mesh/states/one.json",
        ]
    );
    for dir in ["", ".secrets", "mesh", "mesh/rosters", "mesh/states"] {
        assert_eq!(mode(&home.new_home(dir)), 0o700, "{dir}");
    }
    assert_eq!(mode(&home.new_home(".secrets/identity.json")), 0o600);
    assert_eq!(mode(&home.new_home(".secrets/custody.json")), 0o600);
    let after = fs::metadata(home.new_home("mesh/rosters/one.json")).expect("there");
    assert_eq!(after.mode() & 0o777, 0o640, "a roster keeps its mode");
    assert_eq!(after.ino(), before.ino(), "it is the very file");
    let dirs = report.moved.iter().filter(|moved| moved.method == MoveMethod::RenameDir);
    assert_eq!(dirs.count(), 2, "each folder is one rename");
    assert!(!home.pending());
    let changed = |path: &str| fs::metadata(home.at(path)).expect("there").ctime_nsec();
    let stamp = (changed(""), changed(".myownmesh"));
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    assert_eq!(stamp, (changed(""), changed(".myownmesh")), "nothing is touched");
}

#[test]
fn who_wants_to_is_told_how_far_it_is() {
    let home = Home::full();
    let told = RefCell::new(Vec::new());
    let on_progress = |progress: Progress| told.borrow_mut().push((progress.done, progress.total));
    let migrator = Migrator::new(&RealDisk, home.homes()).with_progress(&on_progress);
    let planned = migrator.plan(&migrator.inspect(Direction::Forward), &Options::forward()).files();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.files_moved(), planned, "a plan and its report count alike");
    let told = told.into_inner();
    assert!(told.is_sorted() && told.iter().all(|(_, total)| *total == planned), "{told:?}");
    assert_eq!(told.last(), Some(&(planned, planned)), "{told:?}");
}

#[test]
fn the_report_has_the_promised_fields() {
    let home = Home::full();
    home.put("mesh/rosters/notes.txt", b"x");
    let report = serde_json::to_value(home.run(&Options::forward())).expect("JSON");
    for field in ["moved", "identical_removed", "collisions", "left", "errors", "refusals"] {
        assert!(report[field].is_array(), "{field}: {report:#}");
    }
    for field in ["from", "to", "method"] {
        assert!(report["moved"][0][field].is_string(), "{report:#}");
    }
    assert!(report["left"][0]["reason"].is_string());
}

#[test]
fn undo_and_back_again_is_where_it_began() {
    let home = Home::full();
    home.run(&Options::forward());
    let moved = home.tree();
    fs::write(home.new_home("config.json"), b"the daemon's").expect("written");
    let report = home.run(&Options::undo());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(!home.may_start(), "the daemon's home has no key now");
    assert!(home.at(".secrets/identity.json").is_file());
    assert!(!home.new_home(".secrets").exists());
    assert!(home.new_home("config.json").is_file(), "the daemon's own config stays");
    assert!(home.pending(), "the next launch of the new app moves all again");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::remove_file(home.new_home("config.json")).expect("there");
    assert_eq!(home.tree(), moved);
}

#[cfg(unix)]
#[rstest]
#[case::rosters("mesh/rosters", 0o700)]
#[case::states("mesh/states", 0o755)]
#[case::peers("mesh", 0o700)]
#[case::secrets(".secrets", 0o755)]
#[case::secrets_that_the_group_may_write(".secrets", 0o775)]
#[case::daemon_home("", 0o700)]
fn what_went_in_through_a_link_comes_back(#[case] dir: &str, #[case] mode_of_target: u32) {
    let home = Home::full();
    let before = home.tree();
    let link = home.app.join(".myownmesh").join(dir);
    let link = Path::new(link.to_str().expect("text").trim_end_matches('/'));
    fs::create_dir_all(link.parent().expect("a folder")).expect("made");
    fs::create_dir_all(home.at("data/there")).expect("made");
    chmod(&home.at("data"), 0o700);
    chmod(&home.at("data/there"), mode_of_target);
    symlink(home.at("data/there"), link).expect("linked");
    for _ in 0..2 {
        let report = home.run(&Options::forward());
        assert_eq!(report.outcome, MoveOutcome::Done, "{dir}: {report:#?}");
        assert!(home.may_start() && !home.pending(), "{dir}");
        assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"roster", "{dir}");

        let report = home.run(&Options::undo());
        assert_eq!(report.outcome, MoveOutcome::Done, "{dir}: {report:#?}");
        for (path, (_, bytes)) in &before {
            assert_eq!(fs::read(home.at(path)).unwrap_or_default(), *bytes, "{dir}: {path:?}");
        }
        let link_stays = fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink());
        assert!(link_stays && home.at("data/there").is_dir(), "{dir}");
        let back = home.run(&Options::undo());
        assert_eq!(back.outcome, MoveOutcome::NothingToDo, "{dir}: {back:#?}");
    }
}

/// In the app's home a symlink is the user's own choice: the files behind it stay there, as at the
/// first move, and the report says so.
#[cfg(unix)]
#[test]
fn undo_reports_files_behind_a_symlink_in_the_apps_home() {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::create_dir_all(home.at("data/there")).expect("made");
    fs::create_dir_all(home.at("mesh")).expect("made");
    symlink("../data/there", home.at("mesh/rosters")).expect("linked");
    let lock = RealDisk.lock(&home.app, Duration::from_secs(5)).expect("locked");
    let migrator = Migrator::new(&RealDisk, home.homes());
    let plan = migrator.plan(&migrator.inspect(Direction::Undo), &Options::undo());
    drop(lock);
    let said = |left: &[SkippedEntry]| left.iter().any(|left| left.path == home.at("mesh/rosters"));
    assert!(said(&plan.left), "{plan:#?}");
    let report = home.run(&Options::undo());
    assert!(report.outcome == MoveOutcome::Done && said(&report.left), "{report:#?}");
    assert_eq!(fs::read(home.at("data/there/one.json")).expect("there"), b"roster");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.at("data/there/one.json")).expect("there"), b"roster");
}

#[cfg(unix)]
#[test]
fn undo_does_not_move_a_file_to_its_own_directory() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh")).expect("made");
    symlink("../../mesh/rosters", home.new_home("mesh/rosters")).expect("linked");
    let before = home.tree();
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::NothingToDo);
    assert_eq!(home.tree(), before);
}

#[cfg(unix)]
#[test]
fn odd_names_and_kinds_are_left_and_reported() {
    let home = Home::full();
    home.put(Path::new("mesh/rosters").join(OsStr::from_bytes(b"\xff\xfe.json")), b"odd");
    home.put("mesh/rosters/notes.txt", b"notes");
    home.put("mesh/rosters/-rf \n'.json", b"an odd name, but ours");
    home.put("mesh/rosters/one.json.corrupt", b"corrupt");
    fs::create_dir(home.at("mesh/states/folder.json")).expect("made");
    symlink("/etc/hostname", home.at("mesh/states/link.json")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.at("mesh/states/pipe.json"), 0o600.into()).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.left.len(), 5, "{:#?}", report.left);
    assert!(home.new_home("mesh/rosters/-rf \n'.json").is_file());
    assert!(home.new_home("mesh/rosters/one.json.corrupt").is_file());
    assert!(home.at("mesh/states/pipe.json").symlink_metadata().is_ok());
    assert!(serde_json::to_value(&report).is_ok(), "odd names can be shown");
    assert!(!home.pending(), "what is not ours is not pending");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
}

#[test]
fn names_of_dirs_that_are_files_are_left() {
    let home = Home::empty();
    home.put("mesh/rosters", b"a file");
    home.put(".secrets/identity.json/x", b"a folder");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::NothingToDo, "{report:#?}");
    assert_eq!(report.left.len(), 2, "{report:#?}");
    assert!(!home.pending());
}

#[cfg(unix)]
#[test]
fn a_pipe_as_a_key_hangs_nobody() {
    let home = Home::empty();
    fs::create_dir(home.at(".secrets")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.at(".secrets/identity.json"), 0o600.into()).expect("made");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    assert!(!home.pending());
}

/// An entry that has the name of the identity file and is none stays, is no error of the move, and
/// prevents the start of a daemon.
#[cfg(unix)]
#[rstest]
#[case::pipe("identity.json", |path: &Path|
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("made"))]
#[case::directory("identity.json", |path: &Path| fs::create_dir(path).expect("made"))]
#[case::device("identity.json", |path: &Path| symlink("/dev/null", path).expect("made"))]
#[case::key_in_capitals("Identity.JSON", |path: &Path| fs::write(path, key_file(1, "x")).expect("written"))]
#[case::temporary_key("identity.json.tmp", |path: &Path| fs::write(path, key_file(1, "x")).expect("written"))]
fn nothing_odd_in_the_keys_place_is_hidden_behind_a_new_key(
    #[case] name: &str,
    #[case] make: fn(&Path),
    #[values(".secrets", ".myownmesh/.secrets")] side: &str,
) {
    let home = Home::empty();
    home.put("mesh/rosters/one.json", b"roster");
    let path = home.at(side).join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    make(&path);
    let report = home.run(&Options::forward());
    // A valid identity file under another name is restored first; then everything moves.
    let is_key = name != "identity.json";
    assert_eq!(home.new_home("mesh/rosters/one.json").exists(), !is_key, "{side}/{name}: {report:#?}");
    assert_eq!(report.refusals.is_empty(), !is_key, "{side}/{name}: {report:#?}");
    assert!(path.symlink_metadata().is_ok(), "{side}/{name} stays");
    assert!(!home.may_start(), "{side}/{name}: {:?}", report.identity);
    let code = if is_key { "identity.gone" } else { "migration.identity-damaged" };
    let refusal = home.answer().refusal().expect("a refusal").clone();
    assert_eq!(refusal.code(), code, "{side}/{name}");
    assert!(refusal.path().starts_with(home.at(side)), "{side}/{name}: {refusal:?}");
    assert!(!matches!(report.identity, IdentityState::Absent), "{side}/{name}: {report:#?}");
}

#[cfg(unix)]
#[rstest]
#[case::below_the_secrets("keys/real.json")]
#[case::beside_the_secrets("../elsewhere/real.json")]
fn a_linked_key_leads_to_the_same_file_afterwards(#[case] target: &str) {
    let home = Home::full();
    fs::remove_file(home.at(".secrets/identity.json")).expect("there");
    let real = Path::new(".secrets").join(target);
    home.put(&real, &key_file(1, "x"));
    symlink(target, home.at(".secrets/identity.json")).expect("made");
    let real_file = fs::canonicalize(home.at(".secrets/identity.json")).expect("there");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let link = home.new_home(".secrets/identity.json");
    assert!(fs::read_link(&link).expect("a link").is_relative());
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real_file);
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read_link(home.at(".secrets/identity.json")).expect("a link"), Path::new(target));
}

const TEMPORARY: &str = ".durable-fs.123-10.part";

/// A power cut leaves only the temporary file where the sync of a directory has no effect.
#[rstest]
#[case::at_the_old_location("")]
#[case::in_the_daemon_home(".myownmesh/")]
fn a_temporary_that_holds_the_only_copy_gets_its_name_back(#[case] side: &str) {
    let roster = br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#;
    let state = br#"{"version":2,"network_id":"home-mesh","roles":{}}"#;
    let home = Home::empty();
    home.put(format!("{side}.secrets/{TEMPORARY}"), &key_file(1, "x"));
    home.put(format!("{side}mesh/rosters/{TEMPORARY}"), roster);
    home.put(format!("{side}mesh/states/{TEMPORARY}"), state);
    assert!(home.pending(), "{side}");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{side}: {report:#?}");
    let there = |name: &str| fs::read(home.new_home(name)).unwrap_or_default();
    assert_eq!(there(".secrets/identity.json"), key_file(1, "x"), "{side}");
    assert_eq!(there("mesh/rosters/home-mesh.json"), roster, "{side}");
    assert_eq!(there("mesh/states/home-mesh.json"), state, "{side}");
    assert!(!home.pending(), "{side}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo, "{side}");
}

#[rstest]
#[case::cut(b"half a ros")]
#[case::network_id_that_is_a_path(br#"{"network_id":"../x"}"#)]
#[case::network_that_has_a_roster(br#"{"network_id":"one","other":1}"#)]
fn a_temporary_whose_content_is_nowhere_else_stays_and_is_named(
    #[case] content: &[u8],
    #[values("", ".myownmesh/")] side: &str,
) {
    let home = Home::full();
    let temporary = format!("{side}mesh/rosters/{TEMPORARY}");
    home.put(&temporary, content);
    let report = home.run(&Options::forward());
    let named = report.left.iter().any(|left| left.path == home.at(&temporary));
    assert!(named, "{side}: {report:#?}");
    assert_eq!(fs::read(home.at(&temporary)).expect("kept"), content, "{side}");
    assert!(!home.pending(), "{side}");
}

#[rstest]
#[case::empty(b"")]
#[case::whole(b"roster")]
#[case::cut(b"rost")]
fn a_temporary_whose_content_is_elsewhere_goes(
    #[case] content: &[u8],
    #[values("", ".myownmesh/")] side: &str,
) {
    let home = Home::full();
    let temporary = format!("{side}mesh/rosters/{TEMPORARY}");
    home.put(&temporary, content);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{side}: {report:#?}");
    assert!(!home.at(&temporary).exists(), "{side}");
}

/// A run that is killed while it removes the old symlink leaves the symlink in the claim directory.
#[cfg(unix)]
#[rstest]
#[case::before_the_new_one_is_made(false)]
#[case::after_the_new_one_is_made(true)]
fn a_relative_symlink_that_a_killed_run_took_aside_is_resolved_from_where_it_belonged(#[case] moved: bool) {
    let home = Home::full();
    let key = home.at(".secrets/identity.json");
    fs::create_dir(home.at("keys")).expect("made");
    fs::rename(&key, home.at("keys/id.json")).expect("moved");
    fs::create_dir(home.at(".secrets/.durable-fs.claimed")).expect("made");
    symlink("../keys/id.json", home.at(".secrets/.durable-fs.claimed/identity.json")).expect("made");
    if moved {
        fs::create_dir_all(home.new_home(".secrets")).expect("made");
        symlink("../../keys/id.json", home.new_home(".secrets/identity.json")).expect("made");
    }
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let there = fs::canonicalize(home.new_home(".secrets/identity.json")).expect("it leads somewhere");
    assert_eq!(there, fs::canonicalize(home.at("keys/id.json")).expect("there"));
    assert!(!home.at(".secrets").exists());
}

/// The target of the symlink has the name of a state, of a roster or of the second-factor lock: it
/// is an identity file in any case, and stays.
#[cfg(unix)]
#[rstest]
fn a_key_among_the_states_stays_where_its_link_leads(
    #[values("mesh/states/key.json", "mesh/rosters/key.json", ".secrets/custody.json")] name: &str,
    #[values("", ".myownmesh")] side: &str,
) {
    let home = Home::full();
    let real = home.at(name);
    fs::rename(home.at(".secrets/identity.json"), &real).expect("moved");
    let link = home.at(side).join(".secrets/identity.json");
    fs::create_dir_all(link.parent().expect("a folder")).expect("made");
    let up = if side.is_empty() { "../" } else { "../../" };
    symlink(Path::new(up).join(name), &link).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{name}: {report:#?}");
    assert!(home.may_start(), "{name}: {report:#?}");
    let link = home.new_home(".secrets/identity.json");
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real, "{name}");
    assert!(report.left.iter().any(|left| left.path == real), "{name}: {report:#?}");
    assert!(!home.pending(), "{name}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    home.put("mesh/states/new.json", b"a state that comes later");
    assert!(home.pending(), "{name}");
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    let link = home.at(".secrets/identity.json");
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real, "{name}");
}

#[cfg(unix)]
#[test]
fn a_linked_key_that_leads_nowhere_is_no_missing_key() {
    let home = Home::full();
    fs::remove_file(home.at(".secrets/identity.json")).expect("there");
    symlink("/mnt/stick/identity.json", home.at(".secrets/identity.json")).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.errors[0].code(), "migration.identity-unreachable", "{report:#?}");
    assert!(!home.may_start());
    assert!(home.pending());
}

#[rstest]
#[case::nobody_decides(None)]
#[case::source_is_kept(Some(Keep::Source))]
#[case::destination_is_kept(Some(Keep::Destination))]
fn collisions_stay_until_somebody_decides(#[case] keep: Option<Keep>) {
    let home = Home::full();
    home.put(".myownmesh/mesh/rosters/one.json", b"another roster");
    let report = home.run(&Options::forward().keeping(keep));
    let there = fs::read(home.new_home("mesh/rosters/one.json")).expect("there");
    let aside = home.new_home("mesh/rosters/one.json.set-aside-1");
    match keep {
        None => {
            assert_eq!(report.collisions.len(), 1);
            assert_eq!(report.class(), Some(Class::Refused));
            assert!(home.may_start(), "the key has moved: {report:#?}");
            assert_eq!(there, b"another roster");
            assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("there"), b"roster");
            assert!(home.pending(), "it is still to be decided");
        }
        Some(Keep::Source) => {
            assert_eq!(
                (there, fs::read(&aside).expect("there")),
                (b"roster".into(), b"another roster".into())
            );
        }
        Some(Keep::Destination) => {
            assert_eq!(
                (there, fs::read(&aside).expect("there")),
                (b"another roster".into(), b"roster".into())
            );
        }
    }
    if keep.is_some() {
        assert_eq!(report.class(), None, "{report:#?}");
        assert_eq!(mode(&aside), 0o600);
        assert!(!home.pending());
    }
}

/// One of the two is a symlink that leads to the other, directly or through a third: for every
/// decision the file is kept, under its name.
#[cfg(unix)]
#[rstest]
#[case::forward(Options::forward(), false)]
#[case::forward_through_a_third(Options::forward(), true)]
#[case::undo(Options::undo(), false)]
fn of_a_link_and_what_it_leads_to_the_file_is_kept(
    #[case] options: Options,
    #[case] by_way: bool,
    #[values(".secrets/identity.json", ".secrets/custody.json", "mesh/rosters/one.json")] name: &str,
    #[values(Keep::Source, Keep::Destination)] keep: Keep,
) {
    let contents = |name: &str| if name.contains("identity") { key_file(1, "x") } else { b"roster".to_vec() };
    let home = Home::full();
    home.put(name, &contents(name));
    if options == Options::undo() {
        assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    }
    let homes = home.homes();
    let source = homes.source(options.direction).join(name);
    let destination = homes.destination(options.direction).join(name);
    let dir = destination.parent().expect("a folder");
    fs::create_dir_all(dir).expect("made");
    if by_way {
        symlink(&source, dir.join("way")).expect("made");
        symlink("way", &destination).expect("made");
    } else {
        let up = "../".repeat(dir.strip_prefix(&home.app).expect("below").components().count());
        let target = Path::new(&up).join(source.strip_prefix(&home.app).expect("below"));
        symlink(target, &destination).expect("made");
    }
    let report = home.run(&options.clone().keeping(Some(keep)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{name} {keep:?}: {report:#?}");
    assert!(fs::symlink_metadata(&destination).expect("there").is_file(), "{name} {keep:?}");
    assert_eq!(fs::read(&destination).expect("there"), contents(name));
    assert_eq!(report.set_aside.len(), 1, "{report:#?}");
    assert_eq!(home.run(&options).outcome, MoveOutcome::NothingToDo);
}

/// Both are symlinks, and one leads to the other.
#[cfg(unix)]
#[rstest]
fn of_two_links_the_one_that_leads_to_the_key_is_kept(
    #[values(Keep::Source, Keep::Destination)] keep: Keep,
    #[values(Keep::Source, Keep::Destination)] first: Keep,
) {
    let home = Home::full();
    let (here, there) = (home.at(".secrets/identity.json"), home.new_home(".secrets/identity.json"));
    fs::rename(&here, home.at("real.json")).expect("moved");
    fs::create_dir_all(home.new_home(".secrets")).expect("made");
    let (first, second) = if first == Keep::Source { (here, &there) } else { (there.clone(), &here) };
    symlink(home.at("real.json"), &first).expect("made");
    symlink(&first, second).expect("made");
    let report = home.run(&Options::forward().keeping(Some(keep)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{keep:?}: {report:#?}");
    assert_eq!(fs::read(&there).expect("it leads to the key"), key_file(1, "x"));
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
}

#[test]
fn two_keys_stop_everything_until_somebody_decides() {
    let home = Home::full();
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "minted"));
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Refused);
    assert_eq!(report.refusals[0].code(), "migration.two-identities");
    assert_eq!(
        report.refusals[0].hint().as_deref(),
        Some("myownllm-mesh migrate --keep-identity old-location")
    );
    assert!(!home.may_start());
    assert_eq!(home.tree(), before, "nothing is touched");
    let shown = serde_json::to_value(&report.refusals[0]).expect("JSON");
    assert_eq!(shown["sides"][0]["rosters"], 1, "{shown:#}");
    assert_eq!(shown["sides"][1]["states"], 0, "{shown:#}");

    let report = home.run(&Options::forward().keeping(Some(Keep::Source)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), key_file(1, "x"));
    let aside = home.new_home(".secrets/identity.json.set-aside-1");
    assert_eq!(fs::read(&aside).expect("there"), key_file(2, "minted"));
    assert_eq!(mode(&aside), 0o600);
}

#[test]
fn a_decision_on_rosters_is_none_on_keys() {
    let home = Home::full();
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "minted"));
    home.put(".myownmesh/mesh/rosters/one.json", b"another roster");
    let before = home.tree();
    let report = home.run(&Options::forward().keeping_files(Some(Keep::Source)));
    assert_eq!(report.refusals[0].code(), "migration.two-identities", "{report:#?}");
    assert_eq!(home.tree(), before, "nothing is touched");
    // The reverse: the identities are settled, the rosters stay unchanged.
    let report = home.run(&Options::forward().keeping_identity(Some(Keep::Source)));
    assert_eq!(report.collisions.len(), 1, "{report:#?}");
    assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), key_file(1, "x"));
    assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"another roster");
    let report = home.run(&Options::forward().keeping_files(Some(Keep::Source)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"roster");
}

/// Peers know the identity that lies with rosters or states; if both identities do, or neither,
/// none is chosen.
#[rstest]
#[case::at_the_old_location(&[""], "--keep-identity old-location")]
#[case::in_the_daemon_home(&[".myownmesh/"], "--keep-identity daemon-home")]
#[case::both(&["", ".myownmesh/"], "--dry-run")]
#[case::neither(&[], "--dry-run")]
fn of_two_keys_the_hint_keeps_the_one_that_lies_with_something(#[case] sides: &[&str], #[case] option: &str) {
    let home = Home::empty();
    home.put(".secrets/identity.json", &key_file(1, "x"));
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "y"));
    for side in sides {
        home.put(format!("{side}mesh/states/of-one.json"), b"state");
    }
    let report = home.run(&Options::forward());
    let hint = report.refusals[0].hint().expect("a command");
    assert_eq!(hint, format!("myownllm-mesh migrate {option}"), "{report:#?}");
}

const DAMAGED: &[u8] = b"";
const NEWER: &[u8] = b"{\"version\":2}";

#[rstest]
#[case::damaged(DAMAGED.into(), None, "migration.identity-damaged", false)]
#[case::damaged_here(DAMAGED.into(), Some(key_file(1, "x")), "migration.identity-damaged", true)]
#[case::damaged_there(key_file(1, "x"), Some(DAMAGED.into()), "migration.identity-damaged", false)]
#[case::newer(NEWER.into(), None, "migration.identity-newer", false)]
#[case::newer_there(key_file(1, "x"), Some(NEWER.into()), "migration.identity-newer", false)]
#[case::newer_here(NEWER.into(), Some(key_file(1, "x")), "migration.identity-newer", false)]
fn damaged_and_newer_keys_are_kept_and_named(
    #[case] source: Vec<u8>,
    #[case] destination: Option<Vec<u8>>,
    #[case] code: &str,
    #[case] may_spawn: bool,
) {
    let home = Home::full();
    home.put(".secrets/identity.json", &source);
    if let Some(destination) = &destination {
        home.put(".myownmesh/.secrets/identity.json", destination);
    }
    let report = home.run(&Options::forward());
    let codes: Vec<_> = report.errors.iter().chain(&report.refusals).map(|error| error.code()).collect();
    assert!(codes.contains(&code), "{codes:?}");
    assert_eq!(home.may_start(), may_spawn, "{codes:?} {:?}", report.identity);
    assert_eq!(fs::read(home.at(".secrets/identity.json")).expect("there"), source);
    if let Some(destination) = destination {
        assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), destination);
    }
}

#[cfg(unix)]
#[test]
fn a_dir_link_out_of_the_home_is_refused() {
    let home = Home::full();
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink(outside.path(), home.new_home(".secrets")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.destination-outside", "{report:#?}");
    assert_eq!(home.tree(), before);
    assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
}

/// The way out of a symlink that leads out keeps what it leads to, also on a disk that is missing.
#[cfg(unix)]
#[rstest]
#[case::to_a_directory(false)]
#[case::to_a_missing_disk(true)]
fn the_way_out_of_a_dir_link_out_of_the_home_keeps_the_peers(#[case] is_missing: bool) {
    let home = Home::full();
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir(outside.path().join("rosters")).expect("made");
    fs::write(outside.path().join("rosters/two.json"), b"peers").expect("written");
    fs::create_dir(home.at(".myownmesh")).expect("made");
    let target = outside.path().join(if is_missing { "missing" } else { "" });
    symlink(&target, home.new_home("mesh")).expect("made");
    let hint = home.run(&Options::forward()).refusals[0].hint().expect("a way out");
    for is_done in [true, false] {
        let ran = std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell");
        assert!(ran.success() == is_done || is_missing, "{hint}");
    }
    let kept = if is_missing { "mesh.aside" } else { "mesh/rosters/two.json" };
    assert!(fs::symlink_metadata(home.new_home(kept)).is_ok(), "{hint}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done, "{hint}");
}

/// The key would go back alone, and the next move would be refused.
#[cfg(unix)]
#[test]
fn an_undo_that_would_part_the_key_from_its_peers_is_refused() {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    let outside = tempfile::tempdir().expect("a folder");
    fs::rename(home.new_home("mesh"), outside.path().join("mesh")).expect("moved");
    symlink(outside.path().join("mesh"), home.new_home("mesh")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::undo());
    assert_eq!(report.refusals[0].code(), "migration.destination-outside", "{report:#?}");
    assert_eq!(home.tree(), before);
    let hint = report.refusals[0].hint().expect("a way out");
    assert!(std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell").success());
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("there"), b"roster");
}

#[cfg(unix)]
#[rstest]
fn a_file_that_a_killed_undo_has_claimed_is_pending_and_comes_back(
    #[values(".secrets/identity.json", "mesh/rosters/one.json", "mesh/states/one.json")] file: &str,
) {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert!(!home.pending());
    let claimed = home.new_home(file).parent().expect("a folder").join(".durable-fs.claimed");
    fs::create_dir(&claimed).expect("made");
    chmod(&claimed, 0o700);
    let name = Path::new(file).file_name().expect("a name");
    fs::rename(home.new_home(file), claimed.join(name)).expect("claimed");
    assert!(home.pending(), "{file}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done, "{file}");
    assert!(home.new_home(file).is_file() && !home.pending(), "{file}");
}

/// The error names the path that is in the way, and not each path below it.
#[test]
fn a_file_in_the_place_of_the_new_home_is_named_once() {
    let home = Home::full();
    home.put(".myownmesh", b"a file");
    let report = home.run(&Options::forward());
    let named: Vec<_> = report.refusals.iter().map(|error| (error.code(), error.path())).collect();
    assert_eq!(named, [("migration.destination-not-folder", home.new_home("").as_path())], "{report:#?}");
    assert!(report.errors.is_empty(), "{report:#?}");
}

#[cfg(unix)]
#[test]
fn a_dir_link_back_to_the_source_loses_nothing() {
    let home = Home::full();
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink("../.secrets", home.new_home(".secrets")).expect("made");
    symlink("../mesh", home.new_home("mesh")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert!(report.refusals.iter().any(|error| error.code() == "migration.same-folder"), "{report:#?}");
    assert_eq!(home.tree(), before);
}

/// A directory with two names has one problem and one way out, which works, and its files do not
/// differ from themselves.
#[cfg(unix)]
#[test]
fn a_dir_with_two_names_is_named_once_with_the_command_that_takes_one_away() {
    let home = Home::full();
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink("../mesh", home.new_home("mesh")).expect("made");
    let report = home.run(&Options::forward());
    let [error] = report.refusals.as_slice() else { panic!("{report:#?}") };
    assert_eq!(error.path(), home.new_home("mesh"), "{report:#?}");
    assert!(report.collisions.is_empty() && report.errors.is_empty(), "{report:#?}");
    let hint = error.hint().expect("a way out");
    for is_done in [true, false] {
        let ran = std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell");
        assert_eq!(ran.success(), is_done, "{hint}");
    }
    let report = home.run(&Options::forward());
    assert!(report.refusals.is_empty() && report.errors.is_empty(), "{report:#?}");
    assert!(home.new_home("mesh/rosters/one.json").exists(), "{report:#?}");
}

#[cfg(unix)]
#[test]
fn a_key_behind_a_dir_link_is_not_taken_away() {
    let home = Home::full();
    let stick = tempfile::tempdir().expect("a folder");
    fs::rename(home.at(".secrets"), stick.path().join("secrets")).expect("moved");
    symlink(stick.path().join("secrets"), home.at(".secrets")).expect("made");
    assert!(home.pending());
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.source-link", "{report:#?}");
    assert!(!home.may_start());
}

#[cfg(unix)]
#[test]
fn world_writable_dirs_are_refused_with_the_command_that_mends_it() {
    let home = Home::full();
    chmod(&home.at(".secrets"), 0o777);
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.unsafe-permissions", "{report:#?}");
    assert!(report.refusals[0].hint().expect("a command").starts_with("chmod 700 "));
    chmod(&home.at(".secrets"), 0o775);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "what the group may write is tightened: {report:#?}");
}

/// The mode of the home is tightened before its files move, and left alone if there is nothing to
/// do.
#[cfg(unix)]
#[rstest]
#[case::forward(Options::forward())]
#[case::undo(Options::undo())]
fn a_home_that_the_group_may_write_is_tightened_when_something_moves(#[case] direction: Options) {
    let home = Home::full();
    if direction == Options::undo() {
        assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    }
    chmod(&home.app, 0o775);
    let report = home.run(&direction);
    assert_eq!((report.outcome, mode(&home.app)), (MoveOutcome::Done, 0o700), "{report:#?}");
    chmod(&home.app, 0o775);
    let report = home.run(&direction);
    assert_eq!((report.outcome, mode(&home.app)), (MoveOutcome::NothingToDo, 0o775), "{report:#?}");
}

#[cfg(unix)]
#[test]
fn a_home_that_nobody_else_may_write_keeps_its_mode() {
    let home = Home::full();
    chmod(&home.app, 0o755);
    home.run(&Options::forward());
    assert_eq!(mode(&home.app), 0o755, "nobody else may write there: how it is read is the user's business");
}

/// An access list that grants writing shows in the mode, because the group's bits are the list's
/// mask; clearing the bits removes the grant.
#[cfg(target_os = "linux")]
#[test]
fn an_access_list_that_grants_writing_is_tightened() {
    // Version 2; owner rwx, user 4321 rwx, group ---, mask rwx, others ---: tag, permissions,
    // number.
    let entries =
        [(1_u16, 7_u16, u32::MAX), (2, 7, 4321), (4, 0, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
    let list: Vec<u8> = entries
        .iter()
        .flat_map(|(tag, allowed, id)| {
            [tag.to_le_bytes().as_slice(), &allowed.to_le_bytes(), &id.to_le_bytes()].concat()
        })
        .collect();
    let list = [2_u32.to_le_bytes().as_slice(), &list].concat();
    let grant = |path: &Path| {
        rustix::fs::setxattr(path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty())
    };
    let home = Home::full();
    let dirs = [home.app.clone(), home.at(".secrets"), home.at("mesh"), home.at("mesh/rosters")];
    for dir in &dirs {
        chmod(dir, 0o700);
        if let Err(error) = grant(dir) {
            eprintln!("skipped: this file system has no access lists ({error})");
            return;
        }
        assert_eq!(mode(dir), 0o770, "{}", dir.display());
    }
    // The remaining file keeps the directory.
    home.put(".secrets/other", b"x");
    home.put("mesh/other", b"x");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    for dir in [home.app.clone(), home.at(".secrets"), home.at("mesh"), home.new_home("mesh/rosters")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        let mut now = [0; 64];
        let length =
            rustix::fs::getxattr(&dir, "system.posix_acl_access", &mut now).expect("it is still there");
        let mask = now[4..length].chunks(8).find(|entry| entry[0] == 0x10).expect("a mask");
        assert_eq!(mask[2], 0, "nothing that is granted by name counts: {}", dir.display());
    }
}

/// A user who may replace the home decides about everything in it.
#[cfg(unix)]
#[test]
fn what_the_home_lies_in_has_to_be_safe_too() {
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    chmod(&above, 0o777);
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals.len(), 1, "{report:#?}");
    assert_eq!(report.refusals[0].hint().as_deref(), Some(&*format!("chmod o-w {}", above.display())));
    chmod(&above, 0o1777);
    assert_eq!(
        home.run(&Options::forward()).outcome,
        MoveOutcome::Done,
        "nobody else can rename what is there"
    );
}

/// A home of another user inside our home, and an identity file of another user in our home.
#[cfg(unix)]
#[test]
fn what_belongs_to_another_user_is_refused_with_the_command_that_mends_it() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    chown(&above, Some(1234), Some(1234)).expect("root may");
    chown(&home.app, Some(4321), Some(4321)).expect("root may");
    let refused = |report: &MoveReport, command: &str| {
        assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
        assert!(report.refusals.iter().any(|r| r.hint().as_deref() == Some(command)), "{report:#?}");
    };
    refused(&home.run(&Options::forward()), &format!("sudo chown -RH 1234:1234 {}", home.app.display()));
    let key = home.at(".secrets/identity.json");
    chown(&home.app, Some(1234), Some(1234)).expect("root may");
    lchown(&key, Some(4321), Some(4321)).expect("root may");
    refused(&home.run(&Options::forward()), &format!("sudo chown -h 1234:1234 {}", key.display()));
    assert!(key.exists());
    // A directory of another user is not read, so it is refused even if nothing else is pending.
    lchown(&key, Some(1234), Some(1234)).expect("root may");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::create_dir(home.at("mesh")).expect("made");
    chown(home.at("mesh"), Some(4321), Some(4321)).expect("root may");
    refused(
        &home.run(&Options::forward()),
        &format!("sudo chown -h 1234:1234 {}", home.at("mesh").display()),
    );
}

#[cfg(unix)]
/// Tells if this is root, which can play another user.
#[cfg(unix)]
fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !is_root {
        eprintln!("skipped: only root can play another user");
    }
    is_root
}

/// Checks that a move refuses a file with this command, and changes nothing.
#[cfg(unix)]
fn refused(home: &Home, options: &Options, file: &Path, command: &str) {
    let before = home.tree();
    let report = home.run(options);
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
    assert_eq!(report.class(), Some(Class::Refused));
    let named = report.refusals.iter().find(|refusal| refusal.path() == file).expect("it is named");
    assert_eq!(named.code(), "migration.unsafe-permissions");
    assert_eq!(named.hint().as_deref(), Some(command));
    assert_eq!(home.tree(), before, "nothing has moved, nothing is changed");
}

#[cfg(unix)]
#[rstest]
#[case::in_a_sticky_directory(0o1777, 1)]
#[case::in_a_directory_of_the_group(0o775, 1)]
#[case::among_many(0o1777, 3)]
fn a_file_that_another_user_has_planted_is_refused_and_nothing_moves(
    #[case] mode_of_dir: u32,
    #[case] names: u32,
    #[values("mesh/rosters", "mesh/states")] dir: &str,
) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let planted: Vec<PathBuf> =
        (0..names).map(|number| home.at(dir).join(format!("planted{number}.json"))).collect();
    for file in &planted {
        fs::write(file, b"mine").expect("written");
        lchown(file, Some(4321), Some(4321)).expect("root may");
    }
    chmod(&home.at(dir), mode_of_dir);
    let command = match &*planted {
        [one] => format!("sudo chown -h 0:0 {}", one.display()),
        _ => format!(
            "sudo find {} -maxdepth 1 -type f ! -user 0 ! -user 0 -exec chown -h 0:0 {{}} +",
            home.at(dir).display()
        ),
    };
    refused(&home, &Options::forward(), &planted[0], &command);
    // The command of the error mends the problem.
    for file in &planted {
        lchown(file, Some(0), Some(0)).expect("root may");
    }
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.new_home(dir).join("planted0.json")).expect("there"), b"mine");
}

#[cfg(unix)]
#[rstest]
#[case::legacy_roster("mesh/roster.json", br#"{"version":1,"network_id":"home","authorized_devices":[]}"#)]
#[case::second_factor(".secrets/custody.json", b"custody")]
fn a_file_of_another_user_that_moves_by_itself_is_refused(#[case] name: &str, #[case] bytes: &[u8]) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    home.put(name, bytes);
    lchown(home.at(name), Some(4321), Some(4321)).expect("root may");
    let command = format!("sudo chown -h 0:0 {}", home.at(name).display());
    refused(&home, &Options::forward(), &home.at(name), &command);
}

#[cfg(unix)]
#[test]
fn undo_refuses_a_file_that_another_user_has_planted() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    let planted = home.new_home("mesh/rosters/one.json");
    lchown(&planted, Some(4321), Some(4321)).expect("root may");
    chmod(&home.new_home("mesh/rosters"), 0o1777);
    refused(&home, &Options::undo(), &planted, &format!("sudo chown -h 0:0 {}", planted.display()));
}

#[cfg(unix)]
#[test]
fn files_of_root_move_in_a_home_of_another_user() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    for path in [&above, &home.app, &home.at("mesh"), &home.at("mesh/rosters"), &home.at(".secrets")] {
        lchown(path, Some(1234), Some(1234)).expect("root may");
    }
    chmod(&home.at("mesh/rosters"), 0o1777);
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
}

#[cfg(unix)]
#[rstest]
fn what_another_user_has_at_the_destination_is_no_copy(
    #[values("mesh/rosters/one.json", ".secrets/custody.json", "mesh/roster.json")] name: &str,
) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    home.put("mesh/roster.json", br#"{"version":1,"network_id":"home","authorized_devices":[]}"#);
    let there = match name {
        "mesh/roster.json" => home.new_home("mesh/rosters/home.json"),
        _ => home.new_home(name),
    };
    fs::create_dir_all(there.parent().expect("a folder")).expect("made");
    fs::copy(home.at(name), &there).expect("copied");
    lchown(&there, Some(4321), Some(4321)).expect("root may");
    let report = home.run(&Options::forward());
    assert_eq!(report.class(), Some(Class::Refused), "{report:#?}");
    assert!(home.at(name).exists(), "the one that is ours stays: {report:#?}");
    assert!(report.errors.iter().any(|error| error.path() == there), "{report:#?}");
    assert!(home.at(".secrets/identity.json").exists() && !home.may_start());
    lchown(&there, Some(0), Some(0)).expect("root may");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
}

#[test]
fn the_legacy_roster_gets_its_network_as_its_name() {
    let good = br#"{"version":1,"network_id":" Home_Mesh ","authorized_devices":[]}"#;
    let home = Home::full();
    home.put("mesh/roster.json", good);
    assert!(home.pending());
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.new_home("mesh/rosters/home_mesh.json")).expect("there"), good);
    assert!(!home.at("mesh").exists());
}

#[rstest]
#[case::empty(b"")]
#[case::an_array(b"[]")]
#[case::of_a_newer_version(br#"{"version":2,"network_id":"home","authorized_devices":[]}"#)]
#[case::of_no_network(br#"{"version":1,"network_id":"","authorized_devices":[]}"#)]
#[case::of_a_network_that_is_a_path(br#"{"version":1,"network_id":"../../etc","authorized_devices":[]}"#)]
#[case::of_a_network_that_has_a_roster(br#"{"version":1,"network_id":"one","authorized_devices":[]}"#)]
fn a_legacy_roster_that_can_have_no_name_stays(#[case] bytes: &[u8]) {
    let home = Home::full();
    home.put("mesh/roster.json", bytes);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.left.len(), 1);
    assert_eq!(fs::read(home.at("mesh/roster.json")).expect("never deleted for being odd"), bytes);
    assert!(!home.pending());
}

#[cfg(unix)]
#[test]
fn two_names_of_one_file_are_recognised() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh/rosters")).expect("made");
    fs::hard_link(home.at("mesh/rosters/one.json"), home.new_home("mesh/rosters/one.json")).expect("linked");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.identical_removed, [home.at("mesh/rosters/one.json")]);
    assert_eq!(fs::metadata(home.new_home("mesh/rosters/one.json")).expect("there").nlink(), 1);
}

struct Alive(LiveDaemon);

impl LiveDaemons for Alive {
    fn live(&self) -> Vec<LiveDaemon> {
        vec![self.0.clone()]
    }

    fn are_of(&self, _: &Homes) -> bool {
        true
    }
}

const STOP: &str = "myownllm-mesh migrate --stop-legacy-daemon";

#[rstest]
#[case::legacy(LiveDaemon::new("/x/daemon.sock", Some(77), "0.3.8"), "daemon.legacy-running", STOP)]
#[case::own(
    LiveDaemon::new("/x/daemon.sock", Some(77), "0.3.8").own(),
    "daemon.own-running",
    if cfg!(windows) { STOP } else { "kill 77" }
)]
fn a_live_daemon_stops_the_move(#[case] daemon: LiveDaemon, #[case] code: &str, #[case] hint: &str) {
    let home = Home::full();
    let before = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = Migrator::new(&RealDisk, home.homes()).run(&lock, &Options::forward(), &Alive(daemon));
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
    assert_eq!((report.refusals[0].code(), report.refusals[0].hint().as_deref()), (code, Some(hint)));
    assert!(report.refusals[0].to_string().contains("77"));
    assert_eq!(home.tree(), before);
}

#[test]
fn of_many_at_once_one_moves() {
    let home = Home::full();
    let reports: Vec<MoveOutcome> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..16).map(|_| scope.spawn(|| home.run(&Options::forward()).outcome)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(reports.iter().filter(|outcome| **outcome == MoveOutcome::Done).count(), 1);
    assert!(reports.iter().all(|outcome| matches!(outcome, MoveOutcome::Done | MoveOutcome::NothingToDo)));
}

/// A caller puts the homes together by hand, and they are one directory.
#[rstest]
#[case::same("")]
#[case::same_by_dots("mesh/..")]
#[case::above("..")]
fn homes_that_are_not_apart_lose_nothing(#[case] daemon: &str) {
    let home = Home::full();
    let (before, lock) = (home.tree(), RealDisk.lock(&home.app, Duration::ZERO).expect("free"));
    let migrator = Migrator::new(&RealDisk, homes_at(&home.app, &home.app.join(daemon)));
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(home.tree(), before, "{report:#?}");
    assert!(report.moved.is_empty(), "{report:#?}");
}

#[test]
fn a_stale_plan_does_no_harm() {
    let home = Home::full();
    let migrator_homes = home.homes();
    let migrator = Migrator::new(&RealDisk, migrator_homes);
    let options = Options::forward();
    let stale = migrator.plan(&migrator.inspect(options.direction), &options);
    home.run(&options);
    let after = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let _ = migrator.execute(&lock, stale, &NoDaemons);
    assert_eq!(home.tree(), after);
}

#[test]
fn a_refusal_of_the_callers_own_stops_everything() {
    let home = Home::full();
    let migrator = Migrator::new(&RealDisk, home.homes());
    let options = Options::forward();
    let mut plan = migrator.plan(&migrator.inspect(options.direction), &options);
    plan.refusals.push(MigrationError::OtherDaemons { path: home.app.clone() });
    let before = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = migrator.execute(&lock, plan, &NoDaemons);
    assert_eq!(
        (report.outcome, report.refusals[0].code()),
        (MoveOutcome::Refused, "migration.other-daemons")
    );
    assert_eq!(home.tree(), before);
    assert!(matches!(report.identity, IdentityState::AtSource(_)));
}

/// Another program replaces the home by another directory while it is locked.
#[cfg(unix)]
#[test]
fn move_rests_on_the_home_that_is_locked() {
    let home = Home::full();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let former = home.app.with_file_name("former");
    fs::rename(&home.app, &former).expect("renamed");
    fs::create_dir(&home.app).expect("made");
    home.put("mesh/rosters/theirs.json", b"theirs");
    let before = home.tree();
    let report = Migrator::new(&RealDisk, home.homes()).run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(home.tree(), before);
    let moved = fs::read(former.join(".myownmesh/.secrets/identity.json")).expect("moved");
    assert_eq!(moved, key_file(1, "x"));
    assert!(!former.join(".myownmesh/mesh/rosters/theirs.json").exists());
}

#[cfg(unix)]
#[test]
fn across_real_file_systems() {
    let home = Home::full();
    let daemon = home.new_home("");
    let Some(_other) = Mount::memory(&daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    chmod(&home.at("mesh/rosters/one.json"), 0o640);
    let before = fs::metadata(home.at("mesh/rosters/one.json")).expect("there");
    let homes = home.homes();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let told = RefCell::new(Vec::new());
    let on_progress = |progress: Progress| told.borrow_mut().push(progress.done);
    let migrator = Migrator::new(&RealDisk, homes).with_progress(&on_progress);
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(report.moved.iter().all(|moved| moved.method == MoveMethod::Copy), "{report:#?}");
    assert_eq!(told.borrow().last(), Some(&report.files_moved()), "{told:?}");
    let after = fs::metadata(daemon.join("mesh/rosters/one.json")).expect("there");
    assert_eq!(
        (after.mode(), after.mtime(), after.mtime_nsec()),
        (before.mode(), before.mtime(), before.mtime_nsec())
    );
    assert!(!home.at("mesh").exists() && !home.at(".secrets").exists());
    let report = migrator.run(&lock, &Options::undo(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(home.at(".secrets/identity.json").is_file());
}

/// Gives a file an attribute. False where the file system has none.
#[cfg(target_os = "linux")]
fn note(path: &Path, name: &str, value: &[u8]) -> bool {
    let noted = rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty());
    noted.inspect_err(|error| eprintln!("skipped: {name} on {}: {error}", path.display())).is_ok()
}

/// Attributes that the other file system does not accept are lost with the original, and the report
/// says so.
#[cfg(target_os = "linux")]
#[test]
fn attributes_that_the_other_file_system_refuses_are_reported() {
    // The file system in memory accepts more than ext4 does.
    let (Ok(memory), Ok(disk)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else { return };
    let app = memory.path().join("app");
    let daemon = app.join(".myownmesh");
    let Some(_mount) = Mount::bind(disk.path(), &daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    let roster = app.join("mesh/rosters/one.json");
    fs::create_dir_all(app.join("mesh/rosters")).expect("made");
    for dir in [&app, &app.join("mesh"), &app.join("mesh/rosters")] {
        chmod(dir, 0o700);
    }
    fs::write(&roster, "roster").expect("written");
    put_key(&daemon);
    let secret = "never to be said ".repeat(400);
    if !note(&roster, "user.short", b"phone") || !note(&roster, "user.long", secret.as_bytes()) {
        return;
    }
    fs::write(disk.path().join("probe"), "").expect("written");
    if !note(&disk.path().join("probe"), "user.short", b"phone")
        || rustix::fs::setxattr(
            disk.path().join("probe"),
            "user.long",
            secret.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .is_ok()
    {
        eprintln!("skipped: the file system of {} takes all of it, or nothing", disk.path().display());
        return;
    }
    let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
    let migrator = Migrator::new(&RealDisk, homes_at(&app, &daemon));
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let lost = &report.attributes_lost;
    let moved = daemon.join("mesh/rosters/one.json");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((&lost[0].path, &lost[0].names), (&moved, &vec!["user.long".to_owned()]));
    assert!(!format!("{report:?}").contains("never to be said"));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&moved, "user.short", &mut value).expect("it came along");
    assert_eq!(&value[..length], b"phone");
}

/// The report is the same if another run made the copy and was killed before its report.
#[cfg(target_os = "linux")]
#[test]
fn attributes_of_an_original_that_is_there_already_are_reported() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh/rosters")).expect("made");
    for dir in [".myownmesh", ".myownmesh/mesh", ".myownmesh/mesh/rosters"] {
        chmod(&home.at(dir), 0o700);
    }
    fs::write(home.new_home("mesh/rosters/one.json"), "roster").expect("written");
    if !note(&home.at("mesh/rosters/one.json"), "user.origin", b"phone") {
        return;
    }
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.identical_removed, [home.at("mesh/rosters/one.json")]);
    let lost: Vec<_> = report.attributes_lost.iter().map(|lost| (&lost.path, &lost.names)).collect();
    assert_eq!(lost, [(&home.new_home("mesh/rosters/one.json"), &vec!["user.origin".to_owned()])]);
}

/// No copy is begun in an append-only directory.
#[cfg(target_os = "linux")]
#[test]
fn an_append_only_destination_on_another_disk_does_not_fill_up() {
    let (Ok(memory), Ok(disk)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else { return };
    let app = memory.path().join("app");
    let daemon = app.join(".myownmesh");
    let Some(_mount) = Mount::bind(disk.path(), &daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    let rosters = daemon.join("mesh/rosters");
    fs::create_dir_all(app.join("mesh/rosters")).expect("made");
    fs::create_dir_all(&rosters).expect("made");
    put_key(&daemon);
    for dir in [&daemon, &daemon.join("mesh"), &rosters] {
        chmod(dir, 0o700);
    }
    for name in ["one", "two"] {
        fs::write(app.join(format!("mesh/rosters/{name}.json")), "roster").expect("written");
    }
    let chattr = |what: &str| {
        let done = std::process::Command::new("chattr").arg(what).arg(&rosters).status();
        done.is_ok_and(|status| status.success())
    };
    if !chattr("+a") {
        eprintln!("skipped: no folder can be made append-only here");
        return;
    }
    let run = || {
        let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
        let migrator = Migrator::new(&RealDisk, homes_at(&app, &daemon));
        migrator.run(&lock, &Options::forward(), &NoDaemons)
    };
    let reports = [run(), run(), run()];
    let names = fs::read_dir(&rosters).expect("readable").count();
    assert!(chattr("-a"), "it can be removed again");
    assert_eq!(names, 0, "{reports:#?}");
    for report in reports {
        assert_eq!(report.errors.len(), 2, "{report:#?}");
        let hint = Some(format!("lsattr -d {}", rosters.display()));
        assert!(report.errors.iter().all(|error| error.hint() == hint), "{report:#?}");
    }
    assert_eq!(run().outcome, MoveOutcome::Done);
    assert!(rosters.join("two.json").exists());
}

/// The identity file and the second-factor lock end private, whoever made them.
#[cfg(unix)]
#[rstest]
#[case::identical(None, None)]
#[case::destination_is_kept(Some(key_file(2, "y")), Some(Keep::Destination))]
#[case::source_is_kept(Some(key_file(2, "y")), Some(Keep::Source))]
fn secrets_that_were_at_the_destination_end_private(
    #[case] bytes: Option<Vec<u8>>,
    #[case] keep: Option<Keep>,
    #[values(".secrets/custody.json", ".secrets/identity.json")] name: &str,
) {
    let home = Home::full();
    let there = home.new_home(name);
    fs::create_dir_all(there.parent().expect("a folder")).expect("made");
    fs::write(&there, bytes.unwrap_or_else(|| fs::read(home.at(name)).expect("there"))).expect("written");
    chmod(&there, 0o664);
    chmod(&home.at(name), 0o664);
    let report = home.run(&Options::forward().keeping(keep));
    assert_eq!(report.outcome, MoveOutcome::Done, "{name}: {report:#?}");
    for entry in fs::read_dir(there.parent().expect("a folder")).expect("readable") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}, {keep:?}", path.display());
    }
}

/// A killed run had claimed a roster with the longest possible name, and another file has that name
/// now.
#[test]
fn what_a_killed_run_held_is_set_aside_under_a_name_that_fits() {
    let home = Home::full();
    let name = format!("{}.json", "n".repeat(250));
    home.put(format!("mesh/rosters/.durable-fs.claimed/{name}"), b"held");
    home.put(format!("mesh/rosters/{name}"), b"new");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(!home.pending());
    assert_eq!(fs::read(home.new_home("mesh/rosters").join(&name)).expect("moved"), b"new");
    let aside = fs::read_dir(home.at("mesh/rosters"))
        .expect("there")
        .next()
        .expect("set aside")
        .expect("an entry")
        .path();
    assert_eq!(fs::read(aside).expect("kept"), b"held");
}

/// A shell that opens a file, reports that, and then executes commands line by line.
#[cfg(target_os = "linux")]
struct Writer(std::process::Child);

#[cfg(target_os = "linux")]
impl Writer {
    fn open(redirection: &str, file: &Path) -> Self {
        use std::io::Read;
        let script = format!("exec 3{redirection}\"$1\"; echo; while read -r line; do eval \"$line\"; done");
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(file)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        child.stdout.take().expect("piped").read_exact(&mut [0]).expect("it says that it is open");
        Self(child)
    }

    /// Executes the command and ends the shell.
    fn end(mut self, command: &str) {
        use std::io::Write;
        writeln!(self.0.stdin.take().expect("piped"), "{command}").expect("written");
        assert!(self.0.wait().expect("reaped").success());
    }
}

/// A home whose daemon home is on another file system, or holds the same files already.
#[cfg(target_os = "linux")]
struct Removing {
    /// Dropped before the home: a mounted home cannot be removed.
    _other: Option<Mount>,
    home: Home,
    homes: Homes,
}

#[cfg(target_os = "linux")]
impl Removing {
    fn identical(roster: &[u8]) -> Option<Self> {
        let home = Home::full();
        home.put(".myownmesh/mesh/rosters/one.json", roster);
        home.put("mesh/rosters/one.json", roster);
        Some(Self { homes: home.homes(), home, _other: None })
    }

    fn across(roster: &[u8]) -> Option<Self> {
        let home = Home::full();
        home.put("mesh/rosters/one.json", roster);
        let Some(other) = Mount::memory(&home.new_home("")) else {
            eprintln!("skipped: only root can mount another file system");
            return None;
        };
        Some(Self { homes: home.homes(), home, _other: Some(other) })
    }

    fn run(&self) -> MoveReport {
        let lock = RealDisk.lock(&self.home.app, Duration::from_secs(5)).expect("free");
        Migrator::new(&RealDisk, self.homes.clone()).run(&lock, &Options::forward(), &NoDaemons)
    }

    fn moved_to(&self) -> PathBuf {
        self.homes.daemon.join("mesh/rosters/one.json").into()
    }
}

#[cfg(target_os = "linux")]
#[rstest]
#[case::identical(Removing::identical, false)]
#[case::across_file_systems(Removing::across, true)]
fn a_file_that_a_program_has_open_for_writing_stays_until_it_is_closed(
    #[case] make: fn(&[u8]) -> Option<Removing>,
    #[case] is_moved: bool,
) {
    const MORE: &[u8] = b"rostermore";
    let Some(this) = make(b"roster") else { return };
    let home = &this.home;
    let writer = Writer::open(">>", &home.at("mesh/rosters/one.json"));
    let report = this.run();
    assert_eq!(report.outcome, MoveOutcome::Partial, "{report:#?}");
    let changed = report.errors.iter().find(|error| error.code() == "migration.changed");
    assert_eq!(changed.expect("it is reported").path(), home.at("mesh/rosters/one.json"));
    assert!(home.at(".secrets/identity.json").exists(), "the key does not go before its rosters");
    assert!(!home.at("mesh/rosters/.durable-fs.claimed").exists());
    writer.end("printf more >&3");
    assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("it has its name"), MORE);
    let report = this.run();
    if is_moved {
        assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
        assert_eq!(fs::read(this.moved_to()).expect("moved"), MORE);
    } else {
        // Two files that differ both stay.
        assert_eq!(report.collisions.len(), 1, "{report:#?}");
        assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("kept"), MORE);
    }
}

/// A program truncates a roster and writes it a moment later, and the move begins at any moment
/// before, between or after.
#[cfg(target_os = "linux")]
#[rstest]
#[case::identical(Removing::identical)]
#[case::across_file_systems(Removing::across)]
fn a_writer_that_truncates_loses_nothing_at_whatever_time_the_move_comes(
    #[case] make: fn(&[u8]) -> Option<Removing>,
) {
    const WHOLE: &[u8] = br#"{"version":1,"network_id":"one","authorized_devices":[]}"#;
    for round in 0..20_u64 {
        let Some(this) = make(b"{}") else { return };
        let home = &this.home;
        let path = home.at("mesh/rosters/one.json");
        let wrote = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                use std::io::Write;
                std::thread::sleep(Duration::from_micros(round * 137 % 4000));
                let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path).ok()?;
                std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
                file.write_all(WHOLE).ok()
            });
            this.run();
            writer.join().expect("it does not panic")
        });
        if wrote.is_some() {
            let places = [path, this.moved_to()];
            let there = places.iter().any(|place| fs::read(place).is_ok_and(|bytes| bytes == WHOLE));
            assert!(there, "round {round}: {:?}", home.tree());
        }
    }
}
