//! The planner as a table: from the contents of the two homes and the user's options to steps.

mod common;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{APP, DAEMON, homes, key_file};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{Disk, Op};
use myownllm_migration::{
    Direction, Homes, Keep, MigrationError, Migrator, MoveOutcome, MoveStep, NoDaemons, Options, Plan,
};
use myownllm_paths::{Env, HostApp, PathResolver, Resolver};
use rstest::rstest;

/// Builds a home: `PATH` is a file with its own path as content, `PATH=TEXT` a file with that text,
/// `PATH#SEED` an identity file, `PATH>TARGET` a symlink, and `PATH/` a directory. Paths are
/// relative to the app's home; `@` is the daemon home.
fn disk(parts: &[&str]) -> SimDisk {
    let disk = SimDisk::new();
    let at = |path: &str| {
        path.strip_prefix('@').map_or(format!("{APP}/{path}"), |rest| format!("{DAEMON}/{rest}"))
    };
    disk.put_dir(APP, 0o700);
    for part in parts {
        if let Some(dir) = part.strip_suffix('/') {
            disk.put_dir(at(dir), 0o700);
        } else if let Some((link, target)) = part.split_once('>') {
            disk.put_link(at(link), target);
        } else if let Some((path, seed)) = part.split_once('#') {
            disk.put(at(path), &key_file(seed.parse().expect("a number"), "laptop"));
        } else {
            let (path, text) = part.split_once('=').unwrap_or((part, part));
            disk.put(at(path), text.as_bytes());
        }
    }
    // The directories of the scene are as a daemon would leave them.
    for (path, entry) in disk.tree() {
        if matches!(entry, myownllm_durable_fs::sim::Entry::Dir(_)) && path.starts_with(APP) {
            disk.chmod(path, 0o700);
        }
    }
    disk.flush_all();
    disk
}

fn planned(disk: &SimDisk, options: &Options) -> Plan {
    let migrator = Migrator::new(disk, homes());
    migrator.plan(&migrator.inspect(options.direction), options)
}

/// Returns the printed steps and the other contents of the plan, with `~` for the app's home and
/// `@` for the daemon home.
fn printed(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan.to_string().lines().map(str::to_owned).collect();
    lines.extend(plan.collisions.iter().map(|both| format!("differs: {}", both.source.display())));
    lines.extend(plan.left.iter().map(|left| format!("left: {}", left.path.display())));
    lines.extend(plan.errors.iter().map(|error| format!("error: {}", error.code())));
    lines.extend(plan.refusals.iter().map(|error| format!("refused: {}", error.code())));
    let short = |line: &String| line.replace('\\', "/").replace(DAEMON, "@").replace(APP, "~");
    lines.iter().map(short).collect()
}

#[rstest]
#[case::nothing(
    &[],
    Options::forward(),
    &[]
)]
#[case::everything_and_no_daemon_home(
    &[
        "mesh/states/s.json",
        "mesh/rosters/r.json",
        ".secrets/custody.json",
        ".secrets/identity.json#1",
    ],
    Options::forward(),
    &[
        "make the directory @",
        "make the directory @/.secrets",
        "make the directory @/mesh",
        "sync ~, @, @/.secrets, @/mesh, ~/.secrets, ~/mesh, ~/mesh/rosters, ~/mesh/states",
        "move the directory ~/mesh/states (1 files) to @/mesh/states",
        "move the directory ~/mesh/rosters (1 files) to @/mesh/rosters",
        "move ~/.secrets/custody.json to @/.secrets/custody.json",
        "sync @/.secrets, @/mesh, @/mesh/rosters, @/mesh/states, ~/.secrets, ~/mesh",
        "remove the sources that remain in ~/.secrets, ~/mesh/rosters, ~/mesh/states",
        "move ~/.secrets/identity.json to @/.secrets/identity.json",
        "sync @/.secrets, ~/.secrets",
        "remove the sources that remain in ~/.secrets",
        "remove the directory ~/mesh when it is empty",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
    ]
)]
#[case::a_foreign_file_beside_ours(
    &["mesh/states/s.json", "mesh/states/notes.txt", ".secrets/identity.json#1"],
    Options::forward(),
    &[
        "make the directory @",
        "make the directory @/.secrets",
        "make the directory @/mesh",
        "make the directory @/mesh/states",
        "sync ~, @, @/.secrets, @/mesh, @/mesh/states, ~/.secrets, ~/mesh/states",
        "move 1 files from ~/mesh/states to @/mesh/states",
        "sync @/mesh/states, ~/mesh/states",
        "remove the sources that remain in ~/mesh/states",
        "move ~/.secrets/identity.json to @/.secrets/identity.json",
        "sync @/.secrets, ~/.secrets",
        "remove the sources that remain in ~/.secrets",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
        "left: ~/mesh/states/notes.txt",
    ]
)]
#[case::the_same_bytes_are_there(
    &["mesh/rosters/r.json=x", "@mesh/rosters/r.json=x", "@.secrets/identity.json#1"],
    Options::forward(),
    &[
        "sync @, @/.secrets, @/mesh, @/mesh/rosters",
        "sync @/mesh/rosters",
        "remove ~/mesh/rosters/r.json, the same as @/mesh/rosters/r.json",
        "remove the sources that remain in ~/mesh/rosters",
        "remove the directory ~/mesh/rosters when it is empty",
        "remove the directory ~/mesh when it is empty",
        "sync ~",
    ]
)]
#[case::rosters_that_differ_stay(
    &["mesh/rosters/r.json=x", "@mesh/rosters/r.json=y", "@.secrets/identity.json#1"],
    Options::forward(),
    &[
        "differs: ~/mesh/rosters/r.json",
    ]
)]
#[case::rosters_that_differ_source_wins(
    &[
        "mesh/rosters/r.json=x",
        "mesh/rosters/s.json",
        "@mesh/rosters/r.json=y",
        "@.secrets/identity.json#1",
    ],
    Options::forward().keeping(Some(Keep::Source)),
    &[
        "sync @, @/.secrets, @/mesh, @/mesh/rosters, ~/mesh/rosters",
        "set @/mesh/rosters/r.json aside as @/mesh/rosters/r.json.set-aside-1",
        "sync @/mesh/rosters",
        "remove the sources that remain in @/mesh/rosters",
        "move 1 files from ~/mesh/rosters to @/mesh/rosters",
        "move ~/mesh/rosters/r.json to @/mesh/rosters/r.json",
        "sync @/mesh/rosters, ~/mesh/rosters",
        "remove the sources that remain in ~/mesh/rosters",
        "remove the directory ~/mesh/rosters when it is empty",
        "remove the directory ~/mesh when it is empty",
        "sync ~",
    ]
)]
#[case::rosters_that_differ_destination_wins(
    &["mesh/rosters/r.json=x", "@mesh/rosters/r.json=y", "@.secrets/identity.json#1"],
    Options::forward().keeping(Some(Keep::Destination)),
    &[
        "sync @, @/.secrets, @/mesh, @/mesh/rosters, ~/mesh/rosters",
        "set ~/mesh/rosters/r.json aside as @/mesh/rosters/r.json.set-aside-1",
        "sync @/mesh/rosters, ~/mesh/rosters",
        "remove the sources that remain in ~/mesh/rosters",
        "remove the directory ~/mesh/rosters when it is empty",
        "remove the directory ~/mesh when it is empty",
        "sync ~",
    ]
)]
#[case::two_keys_stop_all(
    &["mesh/rosters/r.json", ".secrets/identity.json#1", "@.secrets/identity.json#2"],
    Options::forward(),
    &[
        "make the directory @/mesh",
        "sync @, @/.secrets, @/mesh, ~/mesh, ~/mesh/rosters",
        "move the directory ~/mesh/rosters (1 files) to @/mesh/rosters",
        "sync @/mesh, @/mesh/rosters, ~/mesh",
        "remove the sources that remain in ~/mesh/rosters",
        "remove the directory ~/mesh when it is empty",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
        "refused: migration.two-identities",
    ]
)]
#[case::two_keys_source_wins(
    &[".secrets/identity.json#1", "@.secrets/identity.json#2"],
    Options::forward().keeping_identity(Some(Keep::Source)),
    &[
        "sync @, @/.secrets, ~/.secrets",
        "set @/.secrets/identity.json aside as @/.secrets/identity.json.set-aside-1",
        "sync @/.secrets",
        "remove the sources that remain in @/.secrets",
        "move ~/.secrets/identity.json to @/.secrets/identity.json",
        "sync @/.secrets, ~/.secrets",
        "remove the sources that remain in ~/.secrets",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
    ]
)]
#[case::a_key_that_is_a_symlink(
    &["keys/real.json#1", ".secrets/identity.json>../keys/real.json"],
    Options::forward(),
    &[
        "make the directory @",
        "make the directory @/.secrets",
        "sync ~, @, @/.secrets, ~/.secrets",
        "move the symlink ~/.secrets/identity.json to @/.secrets/identity.json (leading to \
            ../../keys/real.json)",
        "sync @/.secrets, ~/.secrets",
        "remove the sources that remain in ~/.secrets",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
    ]
)]
#[case::the_legacy_roster(
    &[
        "mesh/roster.json={\"version\":1,\"network_id\":\"old\",\"authorized_devices\":[]}",
        "@.secrets/identity.json#1",
    ],
    Options::forward(),
    &[
        "make the directory @/mesh",
        "make the directory @/mesh/rosters",
        "sync @, @/.secrets, @/mesh, @/mesh/rosters, ~/mesh",
        "move ~/mesh/roster.json to @/mesh/rosters/old.json",
        "sync @/mesh/rosters, ~/mesh",
        "remove the sources that remain in ~/mesh",
        "remove the directory ~/mesh when it is empty",
        "sync ~",
    ]
)]
#[case::emptied_directories(
    &["mesh/rosters/", ".secrets/", "@.secrets/identity.json#1"],
    Options::forward(),
    &[
        "sync @, @/.secrets",
        "remove the directory ~/mesh/rosters when it is empty",
        "remove the directory ~/mesh when it is empty",
        "remove the directory ~/.secrets when it is empty",
        "sync ~",
    ]
)]
#[case::a_quarantined_source(
    &[
        "mesh/rosters/.durable-fs.claimed/r.json=x",
        "@mesh/rosters/r.json=x",
        "@.secrets/identity.json#1",
    ],
    Options::forward(),
    &[
        "put ~/mesh/rosters/.durable-fs.claimed/r.json back to ~/mesh/rosters/r.json",
        "sync ~/mesh/rosters",
        "remove the directory ~/mesh/rosters/.durable-fs.claimed when it is empty",
        "sync @, @/.secrets, @/mesh, @/mesh/rosters, ~/mesh/rosters",
        "sync @/mesh/rosters",
        "remove ~/mesh/rosters/r.json, the same as @/mesh/rosters/r.json",
        "remove the sources that remain in ~/mesh/rosters",
        "remove the directory ~/mesh/rosters when it is empty",
        "remove the directory ~/mesh when it is empty",
        "sync ~",
    ]
)]
#[case::a_temporary_file_of_a_killed_run(
    &["@.secrets/.durable-fs.1-0.part#1", "@.secrets/identity.json#1"],
    Options::forward(),
    &[
        "remove the leftover @/.secrets/.durable-fs.1-0.part",
        "sync @, @/.secrets",
    ]
)]
#[case::undo(
    &["@mesh/rosters/r.json", "@.secrets/identity.json#1", "@config.json={}"],
    Options::undo(),
    &[
        "make the directory ~/.secrets",
        "make the directory ~/mesh",
        "sync ~, @/.secrets, @/mesh, @/mesh/rosters, ~/.secrets, ~/mesh",
        "move the directory @/mesh/rosters (1 files) to ~/mesh/rosters",
        "sync @/mesh, ~/mesh, ~/mesh/rosters",
        "remove the sources that remain in @/mesh/rosters",
        "move @/.secrets/identity.json to ~/.secrets/identity.json",
        "sync @/.secrets, ~/.secrets",
        "remove the sources that remain in @/.secrets",
        "remove the directory @/mesh when it is empty",
        "remove the directory @/.secrets when it is empty",
        "sync @",
    ]
)]
fn steps(#[case] parts: &[&str], #[case] options: Options, #[case] wanted: &[&str]) {
    assert_eq!(printed(&planned(&disk(parts), &options)), wanted);
}

/// The presence of the key at the destination means "done", so the plan does not move it beside
/// rosters that nobody can read.
#[test]
fn plan_holds_the_key_back_if_a_directory_cannot_be_read() {
    let disk = disk(&["mesh/states/s.json", "mesh/rosters/r.json", ".secrets/identity.json#1"]);
    disk.reset_ops();
    let whole = planned(&disk, &Options::forward());
    assert_eq!(whole.identity_steps.iter().map(MoveStep::files).sum::<usize>(), 1, "{whole}");
    let rosters = Path::new(APP).join("mesh/rosters");
    let listed = disk.ops().iter().rposition(|look| look.op == Op::ForEachEntry && look.path == rosters);
    disk.reset_ops();
    disk.fail(Fault::once(listed.expect("listed"), io::ErrorKind::PermissionDenied));
    let plan = planned(&disk, &Options::forward());
    assert!(plan.identity_steps.is_empty() && plan.tidy.is_empty(), "{plan}");
    let codes: Vec<&str> = plan.errors.iter().map(MigrationError::code).collect();
    assert_eq!(codes, ["migration.unreadable", "migration.identity-held-back"]);
    assert_eq!(plan.files(), 1, "the state moves: {plan}");
}

/// Returns the directories of each group of calls that sync.
fn synced(disk: &SimDisk) -> Vec<BTreeSet<PathBuf>> {
    let mut groups = vec![BTreeSet::new()];
    for record in disk.ops() {
        match record.op {
            Op::SyncDir => drop(groups.last_mut().expect("one").insert(record.path)),
            _ if record.is_change() && record.op != Op::SyncFs => groups.push(BTreeSet::new()),
            _ => {}
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// On one file system that can rename each file, a run syncs exactly the directories of its plan.
#[rstest]
#[case::everything(&["mesh/states/s.json", "mesh/rosters/r.json", ".secrets/identity.json#1"],
    Options::forward())]
#[case::foreign(&["mesh/states/s.json", "mesh/states/notes.txt", ".secrets/identity.json#1"],
    Options::forward())]
#[case::decided(&["mesh/rosters/r.json=x", "@mesh/rosters/r.json=y", ".secrets/identity.json#1"],
    Options::forward().keeping(Some(Keep::Source)))]
#[case::emptied(&["mesh/rosters/", ".secrets/", "@.secrets/identity.json#1"], Options::forward())]
#[case::undo(&["@mesh/rosters/r.json", "@.secrets/identity.json#1"], Options::undo())]
fn run_syncs_what_the_plan_says(#[case] parts: &[&str], #[case] options: Options) {
    let disk = disk(parts);
    let barriers: Vec<BTreeSet<PathBuf>> = planned(&disk, &options)
        .steps()
        .filter_map(|step| match step {
            MoveStep::Sync { directories, .. } => Some(directories.iter().cloned().collect()),
            _ => None,
        })
        .collect();
    disk.reset_ops();
    let lock = disk.lock(Path::new(APP), Duration::ZERO).expect("free");
    let report = Migrator::new(&disk, homes()).run(&lock, &options, &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(synced(&disk), barriers);
    assert!(!barriers.is_empty());
}

/// The same inventory and options give the same plan, and a completed run leaves an empty plan.
#[test]
fn plan_is_pure_and_converges() {
    let disk = disk(&["mesh/states/s.json", "mesh/rosters/r.json", ".secrets/identity.json#1"]);
    let migrator = Migrator::new(&disk, homes());
    let inventory = migrator.inspect(Direction::Forward);
    let [first, second] = [(); 2].map(|()| migrator.plan(&inventory, &Options::forward()).to_string());
    assert_eq!(first, second);
    let lock = disk.lock(Path::new(APP), Duration::ZERO).expect("free");
    migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert!(planned(&disk, &Options::forward()).is_empty());
}

/// The run log of another app has the name of its program, and shows that its home had a key.
#[rstest]
#[case::log_of_the_app(&["app-mesh.log"], &["identity.gone"])]
#[case::log_of_another_app(&["myownllm-mesh.log"], &[])]
#[case::log_and_key(&["app-mesh.log", "node/.secrets/identity.json"], &[])]
fn key_of_another_app_is_looked_for_by_the_names_of_the_app(
    #[case] files: &[&str],
    #[case] refusals: &[&str],
) {
    let app = HostApp::new("App", "app-mesh", ".app", "node");
    let user_home = Path::new(APP).parent().expect("a home");
    let layout = Resolver::new(app).resolve(&Env::explicit(user_home)).expect("a layout");
    let disk = SimDisk::new();
    disk.put_dir(&layout.app_home, 0o700);
    for file in files {
        let content = if file.ends_with(".log") { br#"{"device_id":"k-1"}"#.into() } else { key_file(1, "") };
        disk.put(layout.app_home.join(file), &content);
    }
    let migrator = Migrator::new(&disk, Homes::of(&layout));
    let plan = migrator.plan(&migrator.inspect(Direction::Forward), &Options::forward());
    let codes: Vec<_> = plan.refusals.iter().map(MigrationError::code).collect();
    assert_eq!(codes, refusals, "{plan}");
}

/// On a file system that ignores letter case, a name in another spelling is the file itself.
#[rstest]
#[case::key_at_the_source(&[".secrets/Identity.JSON#1"])]
#[case::custody_at_the_source(&[".secrets/identity.json#1", ".secrets/CUSTODY.json={}"])]
#[case::legacy_roster(&[".secrets/identity.json#1",
    r#"mesh/Roster.json={"version":1,"network_id":"home-mesh","authorized_devices":[]}"#])]
#[case::directories(&[".Secrets/identity.json#1", "Mesh/Rosters/home.json"])]
#[case::key_at_the_destination(&["@.secrets/IDENTITY.json#1"])]
fn file_in_another_letter_case_is_not_left_where_the_case_does_not_count(#[case] parts: &[&str]) {
    let disk = disk(parts);
    disk.ignore_case();
    let plan = planned(&disk, &Options::forward());
    assert!(plan.left.is_empty(), "{:?}", plan.left);
    assert!(plan.errors.is_empty() && plan.refusals.is_empty(), "{plan:?}");
    let lock = disk.lock(Path::new(APP), Duration::ZERO).expect("free");
    let report = Migrator::new(&disk, homes()).run(&lock, &Options::forward(), &NoDaemons);
    assert!(report.errors.is_empty() && report.refusals.is_empty(), "{report:?}");
    drop(lock);
    assert!(planned(&disk, &Options::forward()).is_empty(), "{disk:?}");
}

/// Where it counts, the other spelling is another file, and stays.
#[test]
fn file_in_another_letter_case_is_left_where_the_case_counts() {
    let disk = disk(&[".secrets/identity.json#1", "@.secrets/IDENTITY.json#1"]);
    disk.put_hard_link(format!("{APP}/.secrets/identity.json"), format!("{APP}/.secrets/Identity.json"));
    let left = &planned(&disk, &Options::forward()).left;
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A move that was killed while it copied leaves a temporary file for each roster. The next look
/// must not read every roster for every temporary file.
#[test]
fn leftovers_of_many_copies_are_judged_by_few_reads() {
    const FILES: usize = 200;
    let disk = disk(&["@mesh/rosters/", ".secrets/identity.json#1"]);
    for number in 0..FILES {
        let content = format!("{{\"number\":{number:06}}}");
        disk.put(format!("{APP}/mesh/rosters/{number}.json"), content.as_bytes());
        disk.put(format!("{DAEMON}/mesh/rosters/.durable-fs.7-{number}.part"), content.as_bytes());
    }
    disk.reset_ops();
    let plan = planned(&disk, &Options::forward());
    let removed = plan.prepare.iter().filter(|step| matches!(step, MoveStep::RemoveLeftover { .. })).count();
    assert_eq!(removed, FILES);
    let reads = disk.ops().iter().filter(|record| record.op == Op::Read).count();
    assert!(reads < 5 * FILES, "{reads} reads for {FILES} temporary files");
}
