//! Injects every failure at every operation: nothing is lost, nothing is torn, and the next run
//! completes the move.

mod common;

use std::{collections::BTreeSet, io::ErrorKind};

use common::cases::*;
use myownllm_durable_fs::{Op, sim::Fault};
use myownllm_migration::{MoveOutcome, Options};
use rstest::rstest;

fn fail_everywhere(kinds: &[ErrorKind], persistent: bool, performed: bool, part: usize) {
    for (index, case) in cases().into_iter().filter(|case| case.flushed).enumerate().skip(part).step_by(2) {
        let wanted = finished(&case);
        let before = contents(&case.disk);
        let mut seen = BTreeSet::new();
        for &kind in kinds {
            for number in (index % stride(&case)..).step_by(stride(&case)) {
                let disk = case.disk.clone();
                disk.fail(Fault { from: number, persistent, op: None, kind, performed });
                let report = run(&disk, &case.options);
                let Some(op) = disk.op_number(number) else { break };
                let at = format!("operation {number} ({op:?}) fails with {kind}, {persistent}, {performed}");
                intact(&before, &disk, &case, &at);
                // (A directory that is reported as absent is treated as absent, until the
                // inspection at the end.)
                if kind != ErrorKind::NotFound {
                    key_is_last(&case, &disk, &at);
                }
                let fresh = seen.insert(disk.fingerprint());
                if let Some(report) = report
                    && matches!(report.outcome, MoveOutcome::Done | MoveOutcome::NothingToDo)
                    // NotFound from a read is no failure but a statement, and here a false one.
                    && (kind != ErrorKind::NotFound || op.is_change())
                {
                    assert_eq!(
                        shape(&disk),
                        shape(&wanted),
                        "{}: {at}: success without it\n{report:#?}",
                        case.name
                    );
                }
                for after in disk.crash_states(2, number as u64) {
                    intact(&before, &after, &case, &at);
                }
                if kind != ErrorKind::NotFound && fresh {
                    converges(&disk, &wanted, &case, &at);
                }
            }
        }
    }
}

/// `ErrorKind::Other` stands for `EIO`.
const LIKELY: [ErrorKind; 4] =
    [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::CrossesDevices];

#[rstest]
fn every_failure_is_survived(#[values(0, 1)] part: usize) {
    fail_everywhere(&LIKELY, false, false, part);
}

#[rstest]
fn every_failure_that_lasts_is_survived(#[values(0, 1)] part: usize) {
    fail_everywhere(&LIKELY, true, false, part);
}

#[rstest]
fn every_failure_after_the_fact_is_survived(#[values(0, 1)] part: usize) {
    fail_everywhere(&[ErrorKind::Other], false, true, part);
}

#[rstest]
fn every_odd_failure_is_survived(#[values(0, 1)] part: usize) {
    let unusable = [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::Unsupported,
    ];
    fail_everywhere(&unusable, false, false, part);
}

#[test]
fn a_failed_flush_is_final() {
    for case in cases().into_iter().filter(|case| case.flushed) {
        for op in [Op::SyncFile, Op::SyncDir, Op::SyncFs] {
            let disk = case.disk.clone();
            disk.fail(Fault::always(op, ErrorKind::Other));
            let report = run(&disk, &case.options).expect("the lock is free");
            if disk.ops().iter().any(|record| record.op == op) {
                assert_eq!(report.outcome, MoveOutcome::Partial, "{}: {op}", case.name);
                assert!(
                    report.errors.iter().any(|error| error.code() == "migration.flush-failed"),
                    "{}: {op}: {report:#?}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn disk_without_exclusive_operations_moves_nothing() {
    for case in cases().into_iter().filter(|case| case.flushed && case.options == Options::forward()) {
        let disk = case.disk.clone();
        disk.fail(Fault::always(Op::RenameNoReplace, ErrorKind::InvalidInput));
        disk.fail(Fault::always(Op::HardLink, ErrorKind::PermissionDenied));
        let report = run(&disk, &case.options).expect("the lock is free");
        assert!(report.moved.is_empty(), "{}: {report:#?}", case.name);
        let named =
            report.errors.iter().chain(&report.refusals).any(|e| e.code() == "migration.no-exclusive-rename");
        assert!(named, "{}: {report:#?}", case.name);
        assert_eq!(shape(&disk), shape(&case.disk), "{}", case.name);
        converges(&disk, &finished(&case), &case, "healed");
    }
}
