//! Moves of many files on the simulated disk: within one file system, to another, crashed and
//! refused.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use myownllm_durable_fs::{
    Disk, FileMove, LockedDir, MoveKind, Op, Published, Removal, RemovalOutcome, SyncFailed, Transfer,
    TransferMethod,
    sim::{Fault, SimDisk},
};
use rstest::rstest;

const FROM: &str = "/home/old/file.json";
const TO: &str = "/home/new/file.json";

/// Returns a home with one file; `mounted` puts the destination on another file system.
fn home(mounted: bool) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(FROM, b"{}");
    if mounted {
        disk.mount("/home/new");
    } else {
        disk.put_dir("/home/new", 0o700);
    }
    disk.flush_all();
    disk
}

fn lock(disk: &SimDisk) -> LockedDir {
    disk.lock(Path::new("/home"), Duration::ZERO).expect("free")
}

fn file() -> FileMove {
    let (from, to) = (PathBuf::from(FROM), PathBuf::from(TO));
    FileMove { from, to, kind: MoveKind::File, copy_is_private: false, is_set_aside: false }
}

/// Moves the file as a caller does: publish, sync, remove. Returns both outcomes.
fn moved(lock: &LockedDir) -> Result<(Published, Option<RemovalOutcome>), SyncFailed> {
    let transfer = Transfer::new(lock, None, &|bytes| !bytes.is_empty(), &|_| {});
    let mut published = Vec::new();
    transfer.publish(vec![file()], &mut published)?;
    transfer.sync(&[PathBuf::from("/home/old"), PathBuf::from("/home/new")], |_| vec![TO.into()])?;
    let (_, outcome) = published.pop().expect("an outcome");
    let Published::SourceRemains(item) = outcome else { return Ok((outcome, None)) };
    let mut removal = Removal::default();
    transfer.remove_sources(vec![item.clone()], &mut removal)?;
    transfer.sync(&removal.changed_dirs, |_| Vec::new())?;
    let removed = removal.sources.pop().map(|(_, outcome)| outcome);
    Ok((Published::SourceRemains(item), removed))
}

#[rstest]
#[case::rename(false, &[], None)]
#[case::hard_link(false, &[Op::RenameNoReplace], Some(TransferMethod::Link))]
#[case::copy(true, &[], Some(TransferMethod::Copy))]
#[case::copy_without_exclusive_rename(true, &[Op::RenameNoReplace], Some(TransferMethod::Copy))]
fn file_moves_by_the_best_means_and_is_never_lost(
    #[case] mounted: bool,
    #[case] refused: &[Op],
    #[case] wanted: Option<TransferMethod>,
) {
    for number in 0.. {
        let disk = home(mounted);
        for op in refused {
            disk.fail(Fault::always(*op, ErrorKind::InvalidInput));
        }
        let lock = lock(&disk);
        disk.reset_ops();
        disk.crash_at(number);
        let result = moved(&lock);
        for after in disk.crash_states(500, 1) {
            let here = after.content(FROM).as_deref() == Some(b"{}");
            let aside = after.content("/home/old/.durable-fs.claimed/file.json").as_deref() == Some(b"{}");
            let there = after.content(TO).as_deref() == Some(b"{}");
            assert!(here || aside || there, "crash at {number}: {after:#?}");
        }
        if disk.has_crashed() {
            continue;
        }
        match (result.expect("moved"), wanted) {
            ((Published::Renamed, None), None) => {}
            ((Published::SourceRemains(item), Some(RemovalOutcome::Removed { .. })), Some(method)) => {
                assert_eq!(item.method, Some(method));
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
        assert_eq!(disk.content(FROM), None);
        assert_eq!(disk.content(TO).as_deref(), Some(&b"{}"[..]));
        return;
    }
}

#[test]
fn taken_name_with_other_content_keeps_both_files() {
    let disk = home(false);
    disk.put(TO, b"theirs");
    assert!(matches!(moved(&lock(&disk)), Ok((Published::Taken, None))));
    assert_eq!(disk.content(FROM).as_deref(), Some(&b"{}"[..]));
    assert_eq!(disk.content(TO).as_deref(), Some(&b"theirs"[..]));
}

#[test]
fn taken_name_with_the_same_content_ends_the_source() {
    let disk = home(false);
    disk.put(TO, b"{}");
    let (published, removed) = moved(&lock(&disk)).expect("moved");
    assert!(matches!(published, Published::SourceRemains(item) if item.method.is_none()));
    assert!(matches!(removed, Some(RemovalOutcome::Removed { .. })));
    assert_eq!(disk.content(FROM), None);
}

/// Another user owns the file: under its new name it would stay readable for everybody.
#[test]
fn file_that_cannot_be_made_private_is_not_set_aside() {
    let disk = home(false);
    disk.put_mode(FROM, b"{}", 0o644);
    disk.fail(Fault::always(Op::SetMode, ErrorKind::PermissionDenied));
    let mut published = Vec::new();
    let lock = lock(&disk);
    let transfer = Transfer::new(&lock, None, &|bytes| !bytes.is_empty(), &|_| {});
    let files = vec![FileMove { is_set_aside: true, ..file() }];
    transfer.publish(files, &mut published).expect("published");
    assert!(matches!(&published[..], [(_, Published::Failed(_))]), "{published:?}");
    assert_eq!(disk.content(FROM).as_deref(), Some(&b"{}"[..]));
    assert_eq!(disk.content(TO), None);
}

#[test]
fn file_system_without_exclusive_rename_and_links_moves_nothing() {
    let disk = home(false);
    disk.fail(Fault::always(Op::RenameNoReplace, ErrorKind::InvalidInput));
    disk.fail(Fault::always(Op::HardLink, ErrorKind::InvalidInput));
    let (published, _) = moved(&lock(&disk)).expect("no sync failed");
    assert!(matches!(published, Published::Unsupported(error) if error.is_no_exclusive_rename()));
    assert_eq!(disk.content(FROM).as_deref(), Some(&b"{}"[..]));
    assert_eq!(disk.content(TO), None);
}

#[test]
fn copies_that_cannot_be_synced_are_removed() {
    let disk = home(true);
    disk.fail(Fault::always(Op::SyncFs, ErrorKind::Other));
    assert!(moved(&lock(&disk)).is_err());
    assert_eq!(disk.content(FROM).as_deref(), Some(&b"{}"[..]));
    assert_eq!(disk.content(TO), None);
    assert!(disk.tree().keys().all(|path| !path.to_string_lossy().contains(".part")));
}
