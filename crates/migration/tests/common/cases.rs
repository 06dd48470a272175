//! The homes of the sweeps, and the checks of their guarantees.

use std::{collections::BTreeSet, io::ErrorKind, path::Path, time::Duration};

use myownllm_durable_fs::{
    Disk, Op,
    sim::{Entry, Fault, OpRecord, SimDisk},
};
use myownllm_migration::{Direction, Keep, Migrator, MoveOutcome, MoveReport, NoDaemons, Options};

use super::{APP, DAEMON, homes, key_file, with_slashes};

/// Returns the number of crash states to try for one crash; all of them if there are fewer.
/// `CRASH_STATES=500` tries many.
pub fn states() -> usize {
    std::env::var("CRASH_STATES").ok().and_then(|number| number.parse().ok()).unwrap_or(8)
}

pub fn run(disk: &SimDisk, options: &Options) -> Option<MoveReport> {
    let lock = disk.lock(Path::new(APP), Duration::ZERO).ok()?;
    Some(Migrator::new(disk, homes()).run(&lock, options, &NoDaemons))
}

pub struct Case {
    pub name: &'static str,
    pub disk: SimDisk,
    pub options: Options,
    /// True if the sources were synced before the run.
    pub flushed: bool,
}

/// Fills the old location. One file is no complete JSON, so that a copy waits for its writer.
pub fn full(disk: &SimDisk) {
    for (name, text) in [("one", "\"state one\""), ("two", "state two")] {
        disk.put(format!("{APP}/mesh/states/{name}.json"), text.as_bytes());
    }
    for (name, text) in [("one", "\"roster one\""), ("two", "\"roster two\"")] {
        disk.put(format!("{APP}/mesh/rosters/{name}.json"), text.as_bytes());
    }
    disk.put(format!("{APP}/.secrets/custody.json"), b"\"custody\"");
    disk.put(format!("{APP}/.secrets/identity.json"), &key_file(1, "laptop"));
    disk.put(format!("{APP}/config.json"), b"{}");
}

pub fn legacy(disk: &SimDisk) {
    let text = br#"{"version":1,"network_id":" Old-Net ","authorized_devices":[]}"#;
    disk.put(format!("{APP}/mesh/roster.json"), text);
}

/// Makes the directories of a daemon that was started once.
pub fn started(disk: &SimDisk) {
    for dir in ["", "/.secrets", "/mesh", "/mesh/rosters", "/mesh/states"] {
        disk.put_dir(format!("{DAEMON}{dir}"), 0o700);
    }
    disk.put(format!("{DAEMON}/config.json"), b"{\"daemon\":{}}");
}

#[allow(clippy::too_many_lines, reason = "a table: each case stands alone")]
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, options: Options, flushed: bool, setup: &dyn Fn(&SimDisk)| {
        let disk = SimDisk::new();
        setup(&disk);
        if flushed {
            disk.flush_all();
        }
        cases.push(Case { name, disk, options, flushed });
    };
    let forward = Options::forward();
    add("one file system, nothing there", forward.clone(), true, &full);
    add("written, not flushed", forward.clone(), false, &full);
    add("written, not flushed, file by file", forward.clone(), false, &|disk| {
        full(disk);
        started(disk);
    });
    add("no call that flushes a file system", forward.clone(), false, &|disk| {
        full(disk);
        disk.without_sync_fs();
    });
    add("a foreign file in each folder", forward.clone(), true, &|disk| {
        full(disk);
        legacy(disk);
        disk.put(format!("{APP}/mesh/rosters/notes.txt"), b"notes");
        disk.put(format!("{APP}/mesh/states/one.json.corrupt"), b"corrupt");
        disk.put(format!("{APP}/.secrets/other.key"), b"other");
    });
    add("the folders are there", forward.clone(), true, &|disk| {
        full(disk);
        legacy(disk);
        started(disk);
        disk.put(format!("{DAEMON}/mesh/rosters/two.json"), b"\"roster two\"");
    });
    add("the same bytes are there, not flushed", forward.clone(), false, &|disk| {
        full(disk);
        started(disk);
        disk.flush_all();
        disk.put(format!("{DAEMON}/mesh/rosters/two.json"), b"\"roster two\"");
        disk.put(format!("{DAEMON}/.secrets/identity.json"), &key_file(1, "laptop"));
    });
    add("two file systems", forward.clone(), true, &|disk| {
        full(disk);
        legacy(disk);
        disk.mount(DAEMON);
    });
    add("two file systems, no call that flushes one", forward.clone(), true, &|disk| {
        full(disk);
        disk.mount(DAEMON);
        disk.without_sync_fs();
    });
    add("two file systems, something there", forward.clone(), true, &|disk| {
        full(disk);
        disk.mount(DAEMON);
        started(disk);
        disk.put(format!("{DAEMON}/mesh/states/two.json"), b"state two");
    });
    add("a key that is a link", forward.clone(), true, &|disk| {
        full(disk);
        disk.remove(format!("{APP}/.secrets/identity.json"));
        disk.put(format!("{APP}/keys/real.json"), &key_file(1, "laptop"));
        disk.put_link(format!("{APP}/.secrets/identity.json"), "../keys/real.json");
        disk.reset_ops();
    });
    add("a key that is a link to a state", forward.clone(), true, &|disk| {
        full(disk);
        disk.remove(format!("{APP}/.secrets/identity.json"));
        disk.put(format!("{APP}/mesh/states/key.json"), &key_file(1, "laptop"));
        disk.put_link(format!("{APP}/.secrets/identity.json"), "../mesh/states/key.json");
        disk.reset_ops();
    });
    add("a key that is a link, two file systems", forward.clone(), true, &|disk| {
        full(disk);
        disk.remove(format!("{APP}/.secrets/identity.json"));
        disk.put(format!("{APP}/keys/real.json"), &key_file(1, "laptop"));
        disk.put_link(format!("{APP}/.secrets/identity.json"), format!("{APP}/keys/real.json"));
        disk.mount(DAEMON);
        disk.reset_ops();
    });
    for keep in [Keep::Source, Keep::Destination] {
        add("a decision", forward.clone().keeping(Some(keep)), true, &|disk| {
            full(disk);
            started(disk);
            disk.put(format!("{DAEMON}/mesh/rosters/two.json"), b"\"another roster two\"");
            disk.put(format!("{DAEMON}/.secrets/identity.json"), &key_file(2, "minted"));
        });
        add("a decision, two file systems", forward.clone().keeping(Some(keep)), true, &|disk| {
            full(disk);
            disk.mount(DAEMON);
            started(disk);
            disk.put(format!("{DAEMON}/mesh/rosters/two.json"), b"\"another roster two\"");
            disk.put(format!("{DAEMON}/.secrets/identity.json"), &key_file(2, "minted"));
        });
    }
    add("a decision on links", forward.clone().keeping(Some(Keep::Destination)), true, &|disk| {
        full(disk);
        started(disk);
        for name in ["mesh/rosters/two.json", ".secrets/identity.json"] {
            disk.put_link(format!("{DAEMON}/{name}"), format!("{APP}/{name}"));
        }
        disk.reset_ops();
    });
    // On an overlay, a directory of a lower layer cannot be renamed, but each of its files can.
    add("a folder that no rename takes as a whole", forward, true, &|disk| {
        full(disk);
        let undisturbed = disk.clone();
        run(&undisturbed, &Options::forward()).expect("the lock is free");
        let is_whole = |op: &&OpRecord| op.op == Op::RenameNoReplace;
        let whole = undisturbed.ops().iter().find(is_whole).expect("a directory is renamed").number;
        disk.fail(Fault::once(whole, ErrorKind::CrossesDevices));
    });
    let moved = |disk: &SimDisk| {
        full(disk);
        disk.flush_all();
        let report = run(disk, &Options::forward()).expect("the lock is free");
        assert_eq!(report.outcome, MoveOutcome::Done, "{report:?}");
        disk.put(format!("{DAEMON}/config.json"), b"the daemon's own");
        disk.reset_ops();
    };
    add("undo", Options::undo(), true, &moved);
    add("undo, two file systems", Options::undo(), true, &|disk| {
        disk.mount(DAEMON);
        moved(disk);
    });
    add("undo, out of links in the home", Options::undo(), true, &|disk| {
        for dir in ["mesh/rosters", ".secrets"] {
            disk.put_dir(format!("{APP}/data/{dir}"), 0o700);
            disk.put_link(format!("{DAEMON}/{dir}"), format!("{APP}/data/{dir}"));
        }
        moved(disk);
    });
    cases
}

pub fn hard(case: &Case) -> Vec<Case> {
    // Repeats the case on a disk that refuses the rename that cannot replace.
    let disk = case.disk.clone();
    disk.fail(Fault::always(Op::RenameNoReplace, ErrorKind::InvalidInput));
    vec![
        Case {
            name: case.name,
            disk: case.disk.clone(),
            options: case.options.clone(),
            flushed: case.flushed,
        },
        Case { name: case.name, disk, options: case.options.clone(), flushed: case.flushed },
    ]
}

pub fn contents(disk: &SimDisk) -> BTreeSet<Vec<u8>> {
    let files = disk.tree().into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with(".part"));
    files
        .filter_map(|(_, entry)| match entry {
            Entry::File(bytes, _) => Some(bytes),
            _ => None,
        })
        .collect()
}

/// Checks guarantees 1 and 2.
pub fn intact(before: &BTreeSet<Vec<u8>>, disk: &SimDisk, case: &Case, at: &str) {
    let after = contents(disk);
    if case.flushed {
        for bytes in before {
            assert!(
                after.contains(bytes),
                "{}: {at}: lost {:?}\n{disk:#?}",
                case.name,
                String::from_utf8_lossy(bytes)
            );
        }
    }
    let destination = if case.options.direction == Direction::Forward { DAEMON } else { APP };
    for (path, entry) in disk.tree() {
        let Entry::File(bytes, _) = entry else { continue };
        let name = with_slashes(&path);
        let ours = name.starts_with(destination)
            && (case.options.direction == Direction::Forward || !name.starts_with(DAEMON))
            && !name.contains("/.durable-fs.");
        // A file that another program wrote and did not sync may be torn, but not a file that this
        // run named.
        let was_there = case.disk.content(&path).is_some();
        assert!(
            !ours || before.contains(&bytes) || was_there,
            "{}: {at}: torn {name}: {:?}\n{disk:#?}",
            case.name,
            String::from_utf8_lossy(&bytes)
        );
    }
}

pub fn shape(disk: &SimDisk) -> Vec<(String, Entry)> {
    // Emptied directories of the daemon home are not compared: the moment of the cut decides if
    // they were made.
    disk.tree()
        .into_iter()
        .map(|(path, entry)| (with_slashes(&path), entry))
        .filter(|(_, entry)| !matches!(entry, Entry::Dir(_)))
        .collect()
}

/// Checks guarantee 3: the next run completes the move, and the run after that has nothing to do
/// and changes nothing.
pub fn converges(disk: &SimDisk, wanted: &SimDisk, case: &Case, at: &str) {
    disk.clear_faults();
    let pending = Migrator::new(disk, homes()).is_pending();
    let report = run(disk, &case.options).expect("the lock is free");
    assert!(
        pending || report.outcome == MoveOutcome::NothingToDo || case.options.direction == Direction::Undo,
        "{}: {at}: a launch would not have seen that something is left to do: {report:#?}",
        case.name
    );
    assert!(
        matches!(report.outcome, MoveOutcome::Done | MoveOutcome::NothingToDo),
        "{}: {at}: does not converge: {report:#?}\n{disk:#?}",
        case.name
    );
    assert_eq!(shape(disk), shape(wanted), "{}: {at}: ends elsewhere: {report:#?}", case.name);
    let emptied = if case.options.direction == Direction::Forward { APP } else { DAEMON };
    for dir in ["/mesh/rosters", "/mesh/states", "/mesh", "/.secrets"] {
        let path = format!("{emptied}{dir}");
        let (is, was) =
            (disk.tree().contains_key(Path::new(&path)), wanted.tree().contains_key(Path::new(&path)));
        assert_eq!(is, was, "{}: {at}: {path} is left\n{report:#?}", case.name);
    }
    for (path, entry) in disk.tree() {
        if let Entry::Dir(mode) = entry
            && path.starts_with(DAEMON)
            && case.options.direction == Direction::Forward
        {
            assert_eq!(mode & 0o077, 0, "{}: {at}: {} is open", case.name, path.display());
        }
    }
    if case.options.direction == Direction::Forward {
        assert!(!Migrator::new(disk, homes()).is_pending(), "{}: {at}: still pending", case.name);
    }
    disk.reset_ops();
    let report = run(disk, &case.options).expect("the lock is free");
    assert_eq!(report.outcome, MoveOutcome::NothingToDo, "{}: {at}: {report:#?}", case.name);
    let writes = disk.ops().into_iter().filter(|op| op.is_change() && !op.is_sync());
    let writes: Vec<_> = writes.collect();
    assert!(writes.is_empty(), "{}: {at}: writes with nothing to do: {writes:?}", case.name);
}

/// Checks guarantee 5: a result that was reported as done survives a power cut.
pub fn durable(disk: &SimDisk, case: &Case, before: &BTreeSet<Vec<u8>>, at: &str) {
    for after in disk.crash_states(states(), 7) {
        if case.flushed {
            assert_eq!(shape(&after), shape(disk), "{}: {at}: not durable", case.name);
            let dirs = |disk: &SimDisk| disk.tree().into_keys().collect::<Vec<_>>();
            assert_eq!(dirs(&after), dirs(disk), "{}: {at}: folders are not durable", case.name);
        }
        intact(before, &after, case, at);
    }
}

pub fn finished(case: &Case) -> SimDisk {
    let wanted = case.disk.clone();
    wanted.clear_faults();
    let report = run(&wanted, &case.options).expect("the lock is free");
    assert_eq!(report.outcome, MoveOutcome::Done, "{}: {report:#?}\n{wanted:#?}", case.name);
    wanted
}

/// An identity file at the destination means "done": none of our files may be at the source still.
pub fn key_is_last(case: &Case, disk: &SimDisk, at: &str) {
    let (source, destination) = match case.options.direction {
        Direction::Forward => (APP, DAEMON),
        _ => (DAEMON, APP),
    };
    let key = format!("{destination}/.secrets/identity.json");
    let came = |disk: &SimDisk| disk.tree().contains_key(Path::new(&key));
    if case.options.keep.is_some() || came(&case.disk) || !came(disk) {
        return;
    }
    for name in ["states/one", "states/two", "rosters/one", "rosters/two"] {
        let source = format!("{source}/mesh/{name}.json");
        assert!(disk.content(&source).is_none(), "{}: {at}: the key has moved, not so {source}", case.name);
    }
    assert!(disk.content(format!("{source}/.secrets/custody.json")).is_none(), "{}: {at}", case.name);
}

/// Returns the step between the operations that fail in this case: every operation in the cases
/// that together walk every path through the code.
pub fn stride(case: &Case) -> usize {
    let all = ["one file system, nothing there", "the folders are there", "two file systems", "undo"];
    if all.contains(&case.name) || std::env::var_os("CRASH_STATES").is_some() { 1 } else { 5 }
}
