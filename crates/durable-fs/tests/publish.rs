//! Whole files on the simulated disk: crashed, failed and raced.

use std::{collections::BTreeSet, io::ErrorKind, path::Path, time::Duration};

use myownllm_durable_fs::{
    Disk, LockedDir, Op, Owner, ReplaceMethod, Replaced, is_new_content, make_dirs, publish_new, rename_back,
    rename_or_link, replace,
    sim::{Entry, Fault, SimDisk},
    sim_path, stale_temps,
};
use rstest::rstest;

const CONFIG: &str = sim_path!("/home/config.json");

fn home() -> (SimDisk, LockedDir) {
    let disk = SimDisk::new();
    disk.put_mode(CONFIG, b"old", 0o640);
    disk.flush_all();
    let locked = lock(&disk);
    (disk, locked)
}

/// Locks the home; the operations are counted from then on.
fn lock(disk: &SimDisk) -> LockedDir {
    let locked = disk.lock(Path::new("/home"), Duration::ZERO).expect("free");
    disk.reset_ops();
    locked
}

fn files(disk: &SimDisk) -> BTreeSet<Vec<u8>> {
    disk.tree()
        .into_values()
        .filter_map(|entry| match entry {
            Entry::File(bytes, _) => Some(bytes),
            _ => None,
        })
        .collect()
}

#[rstest]
#[case::on_a_capable_file_system(&[])]
#[case::without_exchange(&[Op::Exchange])]
#[case::without_exchange_and_hard_links(&[Op::Exchange, Op::HardLink])]
#[case::without_an_exclusive_rename(&[Op::RenameNoReplace])]
fn a_replaced_file_is_never_absent_never_torn_and_the_old_one_is_kept(#[case] refused: &[Op]) {
    for number in 0.. {
        let (disk, locked) = home();
        for op in refused {
            disk.fail(Fault::always(*op, ErrorKind::Unsupported));
        }
        disk.crash_at(number);
        let result = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20);
        for after in disk.crash_states(500, 1) {
            let content = after.content(CONFIG);
            let fine = matches!(content.as_deref(), Some(b"old" | b"new"));
            assert!(fine, "{refused:?}, crash at {number}: {content:?}\n{after:#?}");
            assert!(
                files(&after).contains(&b"old"[..]),
                "{refused:?}, crash at {number}: the old one is gone"
            );
            if result.is_ok() {
                assert_eq!(content.as_deref(), Some(&b"new"[..]), "{refused:?}: done means durable");
            }
            // The name of a file tells that a killed run left it, and if it may be an only
            // copy.
            for leftover in stale_temps(&after, Path::new("/home")).expect("readable") {
                let content = after.content(&leftover.path).unwrap_or_default();
                if content == b"old" {
                    assert!(leftover.may_be_only_copy, "{leftover:?}");
                }
                let is_marked = leftover.path.to_string_lossy().matches('.').count() == 4;
                assert_eq!(is_new_content(&leftover.path, &content), is_marked && content == b"new");
            }
        }
        if let Ok(replaced) = result {
            let Replaced::Expected { method, displaced, .. } = replaced else { panic!("nobody else wrote") };
            assert_eq!(method == ReplaceMethod::Exchange, !refused.contains(&Op::Exchange));
            assert_eq!(displaced.bytes, b"old");
            disk.clear_faults();
            displaced.discard(&locked).expect("removed");
            assert_eq!(
                disk.tree()[Path::new(CONFIG)],
                Entry::File(b"new".to_vec(), 0o640),
                "it keeps its mode"
            );
            assert!(stale_temps(&disk, Path::new("/home")).expect("readable").is_empty());
            break;
        }
    }
}

#[rstest]
#[case::on_a_capable_file_system(&[])]
#[case::without_exchange(&[Op::Exchange])]
#[case::without_exchange_and_hard_links(&[Op::Exchange, Op::HardLink])]
#[case::without_an_exclusive_rename(&[Op::RenameNoReplace])]
fn a_failure_leaves_the_old_file_or_the_new_one(#[case] refused: &[Op]) {
    for number in 0..40 {
        for performed in [false, true] {
            let (disk, locked) = home();
            for op in refused {
                disk.fail(Fault::always(*op, ErrorKind::Unsupported));
            }
            disk.fail(Fault { performed, ..Fault::once(number, ErrorKind::Other) });
            let result = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20);
            let content = disk.content(CONFIG);
            assert!(matches!(content.as_deref(), Some(b"old" | b"new")), "{number}: {content:?}");
            assert!(files(&disk).contains(&b"old"[..]), "{number}: the old one is gone");
            let in_place = if result.is_ok() { &b"new"[..] } else { b"old" };
            assert_eq!(content.as_deref(), Some(in_place), "{refused:?}, {number}: {result:?}");
        }
    }
}

/// A network file system loses the answer of an exchange: the exchange reports a failure, or that
/// it is unsupported, and has happened. The displaced file belongs to another program even if it
/// holds the same bytes as ours.
#[rstest]
#[case::other_bytes(b"theirs")]
#[case::the_same_bytes(b"new")]
fn file_taken_out_by_a_failed_exchange_is_not_removed(
    #[case] theirs: &'static [u8],
    #[values(ErrorKind::Other, ErrorKind::InvalidInput, ErrorKind::PermissionDenied)] kind: ErrorKind,
) {
    let (disk, locked) = home();
    disk.set_hook(move |record, foreign| {
        if record.op == Op::Exchange {
            foreign.put(CONFIG, theirs);
        }
    });
    disk.fail(Fault { performed: true, ..Fault::always(Op::Exchange, kind) });
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it has happened");
    let Replaced::Conflict { theirs: displaced, .. } = replaced else { panic!("{kind}: {replaced:?}") };
    assert_eq!(displaced.bytes, theirs, "{kind}");
    assert_eq!(disk.content(&displaced.path).as_deref(), Some(theirs), "{kind}");
    assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"new"[..]), "{kind}");
}

#[test]
fn a_foreign_write_comes_out_and_is_reported() {
    let mut reported = 0;
    for number in 0..20 {
        let (disk, locked) = home();
        disk.set_hook(move |record, foreign| {
            if record.number == number {
                foreign.put(CONFIG, b"theirs");
            }
        });
        let result = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
        if number >= disk.op_count() {
            break;
        }
        assert!(files(&disk).contains(&b"theirs"[..]), "before operation {number}: their write is nowhere");
        if let Replaced::Conflict { theirs: displaced, .. } = result {
            reported += 1;
            assert_eq!(displaced.bytes, b"theirs");
            assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"new"[..]));
        } else {
            assert_eq!(
                disk.content(CONFIG).as_deref(),
                Some(&b"theirs"[..]),
                "it came after, and is in place"
            );
        }
    }
    assert!(reported > 0);
}

/// The way in which another program writes.
#[derive(Clone, Copy, Debug)]
enum Writes {
    ByRename,
    InPlace,
}

/// Where names cannot be exchanged, a foreign rename goes unseen at one call only: our own rename.
#[rstest]
#[case::with_hard_links(&[Op::Exchange])]
#[case::without_hard_links(&[Op::Exchange, Op::HardLink])]
fn without_exchange_only_the_rename_itself_hides_a_foreign_write(
    #[case] refused: &[Op],
    #[values(Writes::ByRename, Writes::InPlace)] writes: Writes,
) {
    for number in 0.. {
        let (disk, locked) = home();
        refused.iter().for_each(|op| disk.fail(Fault::always(*op, ErrorKind::InvalidInput)));
        disk.set_hook(move |record, foreign| {
            if record.number == number {
                match writes {
                    Writes::ByRename => foreign.put(CONFIG, b"theirs"),
                    Writes::InPlace => foreign.overwrite(CONFIG, b"theirs"),
                };
            }
        });
        let result = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
        let Some(op) = disk.op_number(number) else { break };
        let at = format!("{refused:?}, {writes:?} before {} {}", op.op, op.path.display());
        let is_the_rename = op.op == Op::Rename && op.other.as_deref() == Some(Path::new(CONFIG));
        let content = disk.content(CONFIG);
        match result {
            // A second name shows a write in place; a copy does not.
            Replaced::Expected { .. } if is_the_rename && !refused.contains(&Op::HardLink) => {
                assert!(matches!(writes, Writes::ByRename), "{at}");
            }
            Replaced::Expected { .. } if is_the_rename => {}
            // The foreign write came after our rename.
            Replaced::Expected { .. } => assert_eq!(content.as_deref(), Some(&b"theirs"[..]), "{at}"),
            Replaced::Conflict { theirs: displaced, .. } => {
                assert_eq!(displaced.bytes, b"theirs", "{at}");
                assert_eq!(content.as_deref(), Some(&b"new"[..]), "{at}");
            }
            Replaced::Stale => {
                assert_eq!(content.as_deref(), Some(&b"theirs"[..]), "{at}");
                let left = stale_temps(&disk, Path::new("/home")).expect("readable");
                assert!(left.is_empty(), "{at}: {left:?}");
            }
            other => panic!("{at}: {other:?}"),
        }
    }
}

/// The file had a second name between two writes of another program. The second name is removed
/// because its content is known.
#[test]
fn stale_replacement_does_not_leave_what_the_caller_knows() {
    let (disk, locked) = home();
    disk.fail(Fault::always(Op::Exchange, ErrorKind::Unsupported));
    disk.set_hook(|record, foreign| {
        if record.op == Op::SyncDir {
            foreign.put(CONFIG, b"theirs");
        }
    });
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
    assert!(matches!(replaced, Replaced::Stale), "{replaced:?}");
    assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"theirs"[..]));
    assert!(stale_temps(&disk, Path::new("/home")).expect("readable").is_empty());
}

/// Where names cannot be exchanged, the last call before the rename sees a file that another program
/// has put in the place of the compared one.
#[test]
fn file_that_replaces_the_compared_one_is_not_renamed_over() {
    let (disk, locked) = home();
    disk.fail(Fault::always(Op::Exchange, ErrorKind::Unsupported));
    let (mut has_second_name, mut is_compared) = (false, false);
    disk.set_hook(move |record, foreign| {
        if is_compared {
            foreign.put(CONFIG, b"theirs");
            has_second_name = false;
        }
        has_second_name |= record.op == Op::HardLink;
        is_compared = has_second_name && record.op == Op::Read && record.path == Path::new(CONFIG);
    });
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
    assert!(matches!(replaced, Replaced::Stale), "{replaced:?}");
    assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"theirs"[..]));
}

#[rstest]
#[case::over_ours(false)]
#[case::over_a_newer_one(true)]
fn displaced_file_is_renamed_back_over_ours_alone(#[case] newer: bool) {
    let (disk, locked) = home();
    disk.fail(Fault::always(Op::Exchange, ErrorKind::Unsupported));
    disk.set_hook(|record, foreign| {
        if record.op == Op::Rename && record.other.as_deref() == Some(Path::new(CONFIG)) {
            foreign.overwrite(CONFIG, b"theirs");
        }
    });
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
    let Replaced::Conflict { theirs: displaced, .. } = replaced else { panic!("{replaced:?}") };
    disk.set_hook(|_, _| {});
    if newer {
        disk.put(CONFIG, b"newer");
    }
    let ours = rename_back(&locked, &displaced, b"new").expect("it works");
    let in_place = if newer { &b"newer"[..] } else { b"theirs" };
    assert_eq!(disk.content(CONFIG).as_deref(), Some(in_place));
    assert_eq!(ours.is_none(), newer);
    if let Some(ours) = ours {
        assert_eq!(disk.content(ours).as_deref(), Some(&b"new"[..]));
    } else {
        assert_eq!(disk.content(&displaced.path).as_deref(), Some(&b"theirs"[..]));
    }
}

#[rstest]
#[case::on_a_capable_file_system(&[])]
#[case::without_an_exclusive_rename(&[Op::RenameNoReplace])]
fn a_published_file_is_whole_or_not_there(#[case] refused: &[Op]) {
    for number in 0.. {
        let disk = SimDisk::new();
        disk.put_dir("/home", 0o700);
        disk.flush_all();
        let locked = lock(&disk);
        for op in refused {
            disk.fail(Fault::always(*op, ErrorKind::InvalidInput));
        }
        disk.crash_at(number);
        let result = publish_new(&locked, Path::new("/home/key"), b"secret", 0o600, None);
        for after in disk.crash_states(500, 1) {
            match after.content("/home/key") {
                None => assert!(result.is_err(), "done means durable"),
                Some(bytes) => assert_eq!(bytes, b"secret", "crash at {number}"),
            }
        }
        if result.is_ok() {
            assert_eq!(disk.ops().iter().any(|op| op.op == Op::HardLink), !refused.is_empty());
            assert_eq!(files(&disk).len(), 1);
            break;
        }
    }
}

#[rstest]
#[case::on_a_capable_file_system(None)]
#[case::without_an_exclusive_rename(Some(Op::RenameNoReplace))]
fn nothing_replaces_what_is_there(#[case] refused: Option<Op>) {
    let disk = SimDisk::new();
    disk.put("/home/a", b"a");
    disk.put("/home/b", b"b");
    let locked = lock(&disk);
    if let Some(op) = refused {
        disk.fail(Fault::always(op, ErrorKind::InvalidInput));
    }
    let error = rename_or_link(&locked, Path::new("/home/a"), Path::new("/home/b")).expect_err("taken");
    assert!(error.is_already_exists(), "{error:?}");
    let error = publish_new(&locked, Path::new("/home/b"), b"c", 0o600, None).expect_err("taken");
    assert!(error.is_already_exists(), "{error:?}");
    assert_eq!(disk.content("/home/b").as_deref(), Some(&b"b"[..]));
    assert!(stale_temps(&disk, Path::new("/home")).expect("readable").is_empty());
}

#[test]
fn files_that_root_makes_belong_to_the_owner_of_the_home() {
    let disk = SimDisk::new();
    let ann = Owner { uid: 1000, gid: 1000 };
    disk.put_dir("/home/ann", 0o700);
    disk.set_user(Owner { uid: 0, gid: 0 });
    let locked = lock(&disk);
    let made = make_dirs(&locked, Path::new("/home/ann"), Path::new("/home/ann/a/b"), 0o700, Some(ann))
        .expect("made");
    publish_new(&locked, Path::new("/home/ann/a/b/c"), b"c", 0o600, Some(ann)).expect("published");
    assert_eq!(made.len(), 2);
    for path in ["/home/ann/a", "/home/ann/a/b", "/home/ann/a/b/c"] {
        assert_eq!(disk.stat(Path::new(path)).expect("there").owner, Some(ann), "{path}");
    }
}

#[test]
fn a_link_and_its_removal_never_lose_both_names() {
    for number in 0.. {
        let disk = SimDisk::new();
        disk.put("/home/a/file", b"all there is");
        disk.put_dir("/home/b", 0o700);
        disk.flush_all();
        let locked = lock(&disk);
        disk.fail(Fault::always(Op::RenameNoReplace, ErrorKind::InvalidInput));
        disk.crash_at(number);
        let (from, to) = (Path::new("/home/a/file"), Path::new("/home/b/file"));
        let result = rename_or_link(&locked, from, to);
        for after in disk.crash_states(500, 1) {
            assert!(files(&after).contains(&b"all there is"[..]), "crash at {number}: {after:#?}");
            let (a, b) = (after.stat(from), after.stat(to));
            if let (Ok(a), Ok(b)) = (a, b) {
                assert!(a.is_same_file(&b), "two names of one file, to be told by the next run");
            }
        }
        if result.is_ok() {
            assert!(disk.ops().iter().any(|op| op.op == Op::HardLink && !op.failed));
            break;
        }
    }
}

/// A new directory survives a power cut: otherwise the files put into it would be lost with it.
#[test]
fn made_folders_are_there_after_a_power_cut() {
    let disk = SimDisk::new();
    disk.put_dir("/home", 0o700);
    disk.flush_all();
    let locked = lock(&disk);
    make_dirs(&locked, Path::new("/home"), Path::new("/home/a/b"), 0o700, None).expect("made");
    for after in disk.crash_states(500, 1) {
        for folder in ["/home/a", "/home/a/b"] {
            assert!(after.stat(Path::new(folder)).is_ok_and(|meta| meta.is_dir()), "{folder}\n{after:#?}");
        }
    }
}

/// A file with unexpected content stays in its place: only a write in the last moment is taken out.
#[test]
fn file_changed_before_the_last_check_stays_in_place() {
    let (disk, locked) = home();
    disk.set_hook(|record, foreign| {
        if record.op == Op::SyncFile {
            foreign.put(CONFIG, b"theirs");
        }
    });
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
    assert!(matches!(replaced, Replaced::Stale), "{replaced:?}");
    assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"theirs"[..]));
    assert!(disk.ops().iter().all(|record| record.op != Op::Exchange));
    assert!(stale_temps(&disk, Path::new("/home")).expect("readable").is_empty());
}

/// A displaced file that cannot be read cannot be kept, so it goes back.
#[test]
fn file_that_is_too_large_is_put_back() {
    let (disk, locked) = home();
    disk.set_hook(|record, foreign| {
        if record.op == Op::Exchange {
            foreign.put(CONFIG, b"theirs, which is long");
        }
    });
    let error = replace(&locked, Path::new(CONFIG), b"new", b"old", 8).expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(disk.content(CONFIG).as_deref(), Some(&b"theirs, which is long"[..]));
}

/// A user who cannot chown makes a new file with their own group, which must not get the access of
/// the old group.
#[rstest]
#[case::read(0o640, 0o600)]
#[case::write(0o664, 0o604)]
#[case::less_than_others(0o604, 0o600)]
#[case::nothing(0o600, 0o600)]
fn new_group_gets_no_bits_of_the_old_group(#[case] mode: u32, #[case] expected: u32) {
    let disk = SimDisk::new();
    disk.set_user(Owner { uid: 1000, gid: 77 });
    disk.put_mode(CONFIG, b"old", mode);
    disk.set_user(Owner { uid: 1000, gid: 1000 });
    let locked = lock(&disk);
    let replaced = replace(&locked, Path::new(CONFIG), b"new", b"old", 1 << 20).expect("it works");
    assert!(matches!(replaced, Replaced::Expected { .. }));
    assert_eq!(disk.tree()[Path::new(CONFIG)], Entry::File(b"new".to_vec(), expected), "{mode:o}");
}
