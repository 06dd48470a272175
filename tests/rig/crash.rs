//! `cargo xtask crash`: kills, fails and unplugs real runs at every call that they make on the
//! disk. After each fault no file may be lost or torn. The next, undisturbed run has to finish the
//! work, and the run after that must change nothing.

mod bench;
mod power;
pub(crate) mod strace;
mod subject;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::guard::{self, Dir, run as run_program, start};
use crate::style::{self, Signs, paint, took};
use bench::Site;
use power::{Cut, Rig};
use strace::Call;
use subject::{Disk, Key, MANY, Op, Place, Prepared, Subject};

/// Longer than any run takes, also while another program writes much to the same disk; a longer run
/// counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The number of failures of a sweep that are shown in full; the others are listed by label.
const IN_FULL: usize = 10;

/// The number of parallel runs. Many of them wait.
const WORKERS: usize = 4;

/// The variables that pass the sweep's directory and the program into the mount namespace.
const INSIDE: [&str; 2] = ["MYOWNLLM_MESH_XTASK_BENCH", "MYOWNLLM_MESH_XTASK_PROGRAM"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Under a minute: samples of every sweep, on the main operations
    #[arg(long)]
    short: bool,
    /// Only the power cuts on disk images (needs root)
    #[arg(long)]
    ext4: bool,
    /// Only the points whose label contains this
    #[arg(long, value_name = "LABEL")]
    only: Option<String>,
    /// Keep the homes of failing points
    #[arg(long)]
    keep: bool,
}

/// A fault in one run.
#[derive(Debug, Clone)]
enum Fault {
    /// Strace makes these calls fail, or ends the program at them.
    Injected(Vec<String>),
    /// Another process creates the destinations after this time.
    Racer(Duration),
    /// SIGKILL after a time, without strace.
    Clock(Duration),
    /// A power cut.
    Cut(Cut),
}

/// A fault and its label. The label names the fault in a report, and `--only` repeats it.
#[derive(Debug, Clone)]
struct Point {
    label: String,
    fault: Fault,
}

/// The faults that this machine supports.
#[derive(Debug, Clone, Copy)]
struct Means {
    strace: bool,
    mounts: bool,
    cuts: bool,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    let [bench, program] = INSIDE.map(|name| std::env::var_os(name).map(PathBuf::from));
    match (bench, program) {
        (Some(bench), Some(program)) => sweep_all(args, &bench, &program),
        _ => {
            let program = crate::program("myownllm-mesh")?;
            let dir = Dir::new(if args.short { memory() } else { None })?;
            let good = match in_own_namespace(args, dir.path(), &program)? {
                Some(good) => good,
                None => sweep_all(args, dir.path(), &program)?,
            };
            if args.keep && !good {
                crate::say!("The homes are kept: {}", dir.keep().display());
            }
            Ok(good)
        }
    }
}

/// Returns a file system in memory with room for disk images, if there is one. Syncs cost nothing
/// there, so a short sweep is short on any machine.
fn memory() -> Option<&'static Path> {
    #[cfg(target_os = "linux")]
    {
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).ok()?;
        (room.f_bavail.saturating_mul(room.f_frsize) > 2 << 30).then_some(memory)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Runs the sweeps in a mount namespace of their own, so that no other process sees their mounts,
/// and the mounts end with them. Also in a process namespace, if that is allowed: a move looks for
/// writers in all of `/proc`, and a busy machine would make each traced run long. Returns `None` if
/// the system has no namespaces or does not allow them.
fn in_own_namespace(args: &Args, bench: &Path, program: &Path) -> Fallible<Option<bool>> {
    let ways: [&[&str]; 3] = [
        &["-m", "--propagation", "private", "--pid", "--fork", "--mount-proc"],
        &["-m", "--propagation", "private"],
        &["-U", "-r", "-m", "--propagation", "private"],
    ];
    let works = |way: &&&[&str]| {
        Command::new("unshare").args(**way).arg("true").output().is_ok_and(|out| out.status.success())
    };
    let Some(way) = ways.iter().find(works).filter(|_| cfg!(target_os = "linux")) else { return Ok(None) };
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let mut unshare = Command::new("unshare");
    // The first process of a namespace inherits the orphans. A shell reaps them.
    unshare.args(*way).args(["--", "sh", "-c", "\"$@\"; exit $?", "sh"]).arg(this).arg("crash");
    for (flag, set) in [("--short", args.short), ("--ext4", args.ext4), ("--keep", args.keep)] {
        unshare.args(set.then_some(flag));
    }
    if let Some(only) = &args.only {
        unshare.args(["--only", only]);
    }
    unshare.env(INSIDE[0], bench).env(INSIDE[1], program).env(guard::MARK, guard::mark());
    let status = unshare.status().map_err(|e| format!("cannot run unshare: {e}"))?;
    Ok(Some(status.success()))
}

/// The operations, homes and places of the sweeps.
fn subjects(short: bool, mounts: bool) -> Vec<Subject> {
    use {Op::*, Place::*};
    let of = Subject::new;
    let mut subjects = vec![
        of(Migrate, "0.1.2", Same),
        of(Migrate, "0.3.8", Other),
        of(Launch, "0.3.8", Same),
        of(Undo, "0.1.2", Same),
    ];
    if !short {
        subjects.extend([
            of(Migrate, "0.3.8", Same),
            of(Migrate, "0.1.2", Other),
            of(Launch, "0.1.2", Same),
            of(Launch, "0.3.8", Other),
            of(Undo, "0.3.8", Same),
            of(Undo, "0.3.8", Other),
            of(Salvage, "0.3.8", Same),
            of(Salvage, "0.1.2", Other),
            Subject { networks: MANY, ..of(Migrate, "0.3.8", Other) },
            Subject { key: Key::Symlink, ..of(Migrate, "0.3.8", Same) },
            Subject { key: Key::Symlink, ..of(Migrate, "0.1.2", Other) },
            Subject { key: Key::Temporary, ..of(Migrate, "0.3.8", Same) },
            Subject { key: Key::Temporary, ..of(Launch, "0.1.2", Same) },
        ]);
    }
    subjects.retain(|subject| mounts || subject.place == Same);
    subjects
}

fn sweep_all(args: &Args, bench: &Path, program: &Path) -> Fallible<bool> {
    let started = Instant::now();
    let signs = style::signs();
    let means = Means {
        strace: strace::there(),
        mounts: bench::can_mount(bench),
        cuts: power::can_cut(bench, Disk::Ext4),
    };
    let swept = if args.ext4 { Vec::new() } else { subjects(args.short, means.mounts) };
    let mut cut = if means.cuts && means.strace { cut_subjects(args.short) } else { Vec::new() };
    let lacking: Vec<Disk> = [Disk::Xfs, Disk::Btrfs, Disk::Bindfs]
        .into_iter()
        .filter(|kind| cut.iter().any(|subject| subject.disk == *kind) && !power::can_cut(bench, *kind))
        .collect();
    cut.retain(|subject| !lacking.contains(&subject.disk));
    let rounds = Rounds { started, done: 0, all: swept.len() + cut.len() };
    let mut board = Board { args, signs, points: 0, failed: 0, rounds };
    crate::say!("{}", paint(style::TITLE, "Killed, failed and unplugged at every call on the disk"));
    if args.ext4 && !(means.cuts && means.strace) {
        return Err("--ext4 needs root, loop devices, mkfs.ext4 and strace".to_owned());
    }
    for (at, subject) in swept.into_iter().enumerate() {
        sweep(subject, means, &mut board, &bench.join(format!("s{at}")), program)?;
        board.round_is_over();
    }
    for (at, subject) in cut.into_iter().enumerate() {
        cut_power(subject, &mut board, &bench.join(format!("p{at}")), program)?;
        board.round_is_over();
    }
    if board.points == 0 {
        return Err("nothing was tried".to_owned());
    }
    say_what_was_left_out(args, means, signs);
    for kind in lacking {
        let what =
            format!("power cuts on{}: they need root and {}", kind.label(), kind.programs().join(", "));
        crate::say!("{} not run: {what}", paint(style::CHANGED, signs.skip));
    }
    let verdict = if board.failed == 0 {
        paint(style::GOOD, "all hold")
    } else {
        paint(style::BAD, format!("{} do not hold", board.failed))
    };
    crate::say!("{} points, {verdict} ({})", board.points, took(started.elapsed()));
    Ok(board.failed == 0)
}

fn say_what_was_left_out(args: &Args, means: Means, signs: Signs) {
    let left = [
        (
            !means.strace,
            "kills at a chosen call, failing calls, SIGTERM, power cuts: strace is not here, or may not \
                trace. Killed by the clock instead",
        ),
        (!means.mounts, "the daemon's home on a second file system: nothing can be mounted here"),
        (means.strace && !means.cuts, "power cuts: they need root, loop devices and mkfs.ext4"),
        (args.short, "samples only, as asked; `cargo xtask crash` tries every point"),
    ];
    for (_, what) in left.iter().filter(|(left, _)| *left) {
        crate::say!("{} not run: {what}", paint(style::CHANGED, signs.skip));
    }
}

/// Runs all faults for one subject.
fn sweep(subject: Subject, means: Means, board: &mut Board<'_>, dir: &Path, program: &Path) -> Fallible<()> {
    if !board.wants(&subject.label()) {
        return Ok(());
    }
    let prepared = Prepared::new(subject, program, &dir.join("template")).and_then(|mut prepared| {
        let site = Site::new(&prepared, dir.join("learn"))?;
        prepared.learn(&site.home)?;
        Ok(prepared)
    });
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return board.broken(&subject, &why),
    };
    if !means.strace {
        let points = (0..60).map(|n| Point {
            label: format!("clock {} #{n}", subject.label()),
            fault: Fault::Clock(Duration::from_micros(200 * n)),
        });
        board.sweep("killed by the clock", &subject, points.collect(), |point, n| {
            disturb(&prepared, point, dir, n, board.args.keep)
        });
        return Ok(());
    }
    let refused = |faults: &[String]| -> Fallible<Vec<Call>> {
        let site = Site::new(&prepared, dir.join("calls"))?;
        strace::calls(&prepared.operation(&site.home), faults, &site.home, &dir.join("calls.log"))
    };
    let calls = match refused(&[]) {
        Ok(calls) => calls,
        Err(why) => return board.broken(&subject, &why),
    };
    // With several threads the number of a call differs between runs, so samples tell as much as
    // all calls.
    let (short, label) = (board.args.short || subject.has_many(), subject.label());
    let mut try_all = |what: &str, mut points: Vec<Point>, most: usize| {
        if short && points.len() > most {
            // Takes one call of each stretch, so that the samples are evenly spread.
            let stride = points.len().div_ceil(most);
            points = points.into_iter().step_by(stride).collect();
        }
        board.sweep(what, &subject, points, |point, n| disturb(&prepared, point, dir, n, board.args.keep));
    };
    try_all("SIGKILL before", points("kill", &label, &calls, true, "signal=SIGKILL"), 80);
    try_all("SIGTERM at", points("term", &label, &calls, true, "signal=SIGTERM"), 10);
    for errno in ["EIO", "ENOSPC", "EACCES", "EXDEV"] {
        try_all(
            &format!("{errno} from"),
            points(errno, &label, &calls, false, &format!("error={errno}")),
            12,
        );
    }
    let interruptible = |call: &&Call| {
        ["open", "openat", "read", "write", "writev", "pwrite64", "flock", "fsync", "fdatasync"]
            .contains(&call.name.as_str())
    };
    let interrupted: Vec<_> = calls.iter().filter(interruptible).cloned().collect();
    try_all("EINTR from", points("EINTR", &label, &interrupted, false, "error=EINTR"), 4);
    try_all("for good, refused:", points_of_lacking(&label, subject.has_many()), 6);
    if subject.op != Op::Salvage {
        let moment = |n: u64| Point {
            label: format!("racer {label} #{n}"),
            fault: Fault::Racer(Duration::from_millis(2 * n)),
        };
        try_all("destinations appear", (0..40_u64).map(moment).collect(), 8);
    }
    let without = [always("renameat2", "EINVAL")];
    if let Ok(calls) = refused(&without) {
        let mut points = points("kill-links", &label, &calls, true, "signal=SIGKILL");
        // Strace accepts one fault for a call and takes the last one.
        points.retain(|point| !point.label.contains("renameat2"));
        points.iter_mut().for_each(|point| {
            if let Fault::Injected(faults) = &mut point.fault {
                faults.extend_from_slice(&without);
            }
        });
        try_all("SIGKILL, no renameat2, before", points, 12);
    }
    if !board.args.keep {
        guard::discard(dir);
    }
    Ok(())
}

/// Returns a fault that makes every call of this name fail.
fn always(call: &str, errno: &str) -> String {
    format!("{call}:error={errno}:when=1+")
}

/// Makes the points of file systems that lack a feature: renames without replacement, then hard
/// links as well.
fn points_of_lacking(label: &str, has_many: bool) -> Vec<Point> {
    let mut lacking = Vec::new();
    for errno in ["EINVAL", "ENOSYS", "EPERM", "EOPNOTSUPP"] {
        let rename = always("renameat2", errno);
        lacking.push(Point {
            label: format!("lacking {label} renameat2={errno}"),
            fault: Fault::Injected(vec![rename.clone()]),
        });
        for second in ["EPERM", "EMLINK", "EXDEV"] {
            let fault = Fault::Injected(vec![rename.clone(), always("linkat", second)]);
            lacking
                .push(Point { label: format!("lacking {label} renameat2={errno} linkat={second}"), fault });
        }
    }
    for errno in ["ENOSYS", "EIO", "EINVAL"] {
        lacking.push(Point {
            label: format!("lacking {label} syncfs={errno}"),
            fault: Fault::Injected(vec![always("syncfs", errno)]),
        });
        lacking.push(Point {
            label: format!("lacking {label} fsync={errno}"),
            fault: Fault::Injected(vec![always("fsync", errno)]),
        });
    }
    if has_many {
        // At the front, so that the samples include it.
        let fault = Fault::Injected(vec![always("clone3", "EAGAIN")]);
        lacking.insert(0, Point { label: format!("lacking {label} clone3=EAGAIN"), fault });
    }
    lacking
}

/// Makes one point for each call.
fn points(kind: &str, label: &str, calls: &[Call], mutating: bool, fault: &str) -> Vec<Point> {
    let point = |call: &Call| Point {
        label: format!("{kind} {label} {}#{}", call.name, call.n),
        fault: Fault::Injected(vec![format!("{}:{fault}:when={}", call.name, call.n)]),
    };
    calls.iter().filter(|call| call.mutating || !mutating).map(point).collect()
}

/// Disturbs one run on a fresh home, and checks the outcome.
fn disturb(prepared: &Prepared, point: &Point, dir: &Path, n: usize, keep: bool) -> Fallible<()> {
    let mut site = Site::new(prepared, dir.join(format!("h{n}")))?;
    if let Fault::Racer(moment) = point.fault {
        return prepared.withstands_a_racer(&site.home, moment);
    }
    let mut operation = prepared.operation(&site.home);
    let outcome = match &point.fault {
        Fault::Injected(faults) => run_program(&mut strace::injecting(&operation, faults), PATIENCE),
        Fault::Clock(delay) => start(&mut operation).and_then(|mut running| {
            std::thread::sleep(*delay);
            running.kill();
            running.wait(PATIENCE)
        }),
        Fault::Cut(_) | Fault::Racer(_) => return Err("power is cut on a rig".to_owned()),
    };
    let outcome = outcome.and_then(|run| prepared.recovers(&site.home, Some(&run)));
    if keep && outcome.is_err() {
        site.keep();
        return outcome.map_err(|why| format!("{why}\n(the home: {})", site.home.display()));
    }
    outcome
}

/// The subjects of the power cuts.
fn cut_subjects(short: bool) -> Vec<Subject> {
    use {Op::*, Place::*};
    let of = Subject::new;
    let mut subjects = vec![of(Migrate, "0.3.8", Same), of(Launch, "0.3.8", Other)];
    if !short {
        subjects.extend([
            of(Migrate, "0.1.2", Same),
            of(Migrate, "0.3.8", Other),
            of(Launch, "0.3.8", Same),
            of(Undo, "0.3.8", Same),
            of(Undo, "0.1.2", Other),
            Subject { disk: Disk::Xfs, ..of(Migrate, "0.3.8", Same) },
            Subject { disk: Disk::Xfs, ..of(Launch, "0.3.8", Same) },
            Subject { disk: Disk::Btrfs, ..of(Migrate, "0.3.8", Same) },
            Subject { disk: Disk::Btrfs, ..of(Launch, "0.3.8", Same) },
            Subject { disk: Disk::Bindfs, ..of(Migrate, "0.3.8", Same) },
            Subject { disk: Disk::Bindfs, ..of(Launch, "0.3.8", Same) },
            Subject { key: Key::Symlink, ..of(Migrate, "0.1.2", Same) },
            Subject { key: Key::Temporary, ..of(Launch, "0.3.8", Same) },
        ]);
    }
    subjects
}

fn cut_power(subject: Subject, board: &mut Board<'_>, dir: &Path, program: &Path) -> Fallible<()> {
    if !["cut", "cut-again", "cut-links"]
        .iter()
        .any(|kind| board.wants(&format!("{kind} {}", subject.label())))
    {
        return Ok(());
    }
    let prepared = Prepared::new(subject, program, &dir.join("template"));
    let ready = prepared.and_then(|mut prepared| {
        let rig = Rig::new(&prepared, dir)?;
        let calls = rig.learn(&mut prepared)?;
        Ok((prepared, rig, calls))
    });
    let (prepared, rig, calls) = match ready {
        Ok(ready) => ready,
        Err(why) => return board.broken(&subject, &why),
    };
    let mutating: Vec<_> = calls.into_iter().filter(|call| call.mutating).collect();
    let stride = if board.args.short { mutating.len().div_ceil(8).max(1) } else { 1 };
    let label = |kind: &str, call: &Call| format!("{kind} {} {}#{}", subject.label(), call.name, call.n);
    let end = Point { label: format!("cut {} end", subject.label()), fault: Fault::Cut(Cut::default()) };
    let point =
        |kind: &str, call: &Call, cut: Cut| Point { label: label(kind, call), fault: Fault::Cut(cut) };
    let sampled = || mutating.iter().step_by(stride);
    let here = |call: &Call| Some(call.clone());
    let cut = sampled().map(|call| point("cut", call, Cut { call: here(call), ..Cut::default() }));
    let short = board.args.short;
    let mut sweep = |what: &str, points: Vec<Point>| {
        board.sweep(what, &subject, points, |point, n| match &point.fault {
            // Each sweep has names of its own, so that `--keep` keeps the images of a failed point.
            Fault::Cut(cut) => {
                rig.cut(&prepared, cut, &format!("{}-{n}", point.label.split(' ').next().unwrap_or_default()))
            }
            _ => Err("not a power cut".to_owned()),
        });
    };
    sweep("power cut behind", cut.chain([end]).collect());
    // A run is killed, the next one ends with success, and then the power is cut.
    // These take long; a short sweep has a third of the samples.
    let rest = if short { 3 } else { 1 };
    let again = sampled()
        .step_by(rest)
        .map(|call| point("cut-again", call, Cut { killed: here(call), ..Cut::default() }));
    sweep("killed, run again, power cut", again.collect());
    // A file system that can neither rename without replacing nor exchange.
    let links = || vec!["renameat2:error=EINVAL:when=1+".to_owned()];
    let without = sampled()
        .step_by(rest)
        .filter(|call| call.name != "renameat2")
        .map(|call| point("cut-links", call, Cut { call: here(call), faults: links(), ..Cut::default() }));
    let end = Point {
        label: format!("cut-links {} end", subject.label()),
        fault: Fault::Cut(Cut { faults: links(), ..Cut::default() }),
    };
    sweep("power cut, no renameat2", without.chain([end]).collect());
    if !board.args.keep {
        guard::discard(dir);
    }
    Ok(())
}

/// The progress of a run, in operations on kinds of homes. Each takes one to three minutes.
#[derive(Debug)]
struct Rounds {
    started: Instant,
    done: u32,
    all: usize,
}

/// Runs points and shows their outcomes.
struct Board<'a> {
    args: &'a Args,
    signs: Signs,
    points: usize,
    failed: usize,
    rounds: Rounds,
}

impl Board<'_> {
    /// Prints the progress of a long run and an estimate of the remaining time.
    fn round_is_over(&mut self) {
        let rounds = &mut self.rounds;
        rounds.done += 1;
        let left = rounds.all.saturating_sub(rounds.done as usize);
        if self.args.short || self.args.only.is_some() || left == 0 {
            return;
        }
        let each = rounds.started.elapsed() / rounds.done;
        let rest = took(each * u32::try_from(left).unwrap_or(u32::MAX));
        let far =
            format!("  {} of {} operations swept; the rest takes about {rest}", rounds.done, rounds.all);
        crate::say!("{}", paint(style::DIM, far));
    }

    /// Returns true if `--only` names a point of this subject, or a part of its label.
    fn wants(&self, label: &str) -> bool {
        let Some(only) = &self.args.only else { return true };
        only.contains(label.trim_start_matches("cut "))
            || label.contains(only.as_str())
            || !only.contains(' ')
    }

    /// Reports a subject whose undisturbed run fails.
    fn broken(&mut self, subject: &Subject, why: &str) -> Fallible<()> {
        self.points += 1;
        self.failed += 1;
        crate::say!("{} {}: {why}", paint(style::BAD, self.signs.no), subject.label());
        Ok(())
    }

    fn sweep(
        &mut self,
        what: &str,
        subject: &Subject,
        mut points: Vec<Point>,
        try_one: impl Fn(&Point, usize) -> Fallible<()> + Sync,
    ) {
        if let Some(only) = &self.args.only {
            points.retain(|point| point.label.contains(only.as_str()));
        }
        if points.is_empty() {
            return;
        }
        let started = Instant::now();
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        let take = || {
            let n = next.fetch_add(1, Ordering::Relaxed);
            Some((n, points.get(n)?))
        };
        let work = || {
            while let Some((n, point)) = take() {
                if let Err(why) = try_one(point, n) {
                    failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((n, why));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(work);
            }
        });
        let mut failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.sort_by_key(|(n, _)| *n);
        self.points += points.len();
        self.failed += failures.len();
        let (style, sign) =
            if failures.is_empty() { (style::GOOD, self.signs.yes) } else { (style::BAD, self.signs.no) };
        let held = points.len() - failures.len();
        crate::say!(
            "{} {:<24} {what:<30} {held:>4} of {:>4} hold  {}",
            paint(style, sign),
            subject.label(),
            points.len(),
            paint(style::DIM, took(started.elapsed()))
        );
        for (n, why) in failures.iter().take(IN_FULL) {
            crate::say!("    {}", paint(style::BAD, &points[*n].label));
            why.lines().for_each(|line| crate::say!("      {line}"));
            crate::say!("      again: cargo xtask crash --keep --only '{}'", points[*n].label);
        }
        if failures.len() > IN_FULL {
            let more = failures[IN_FULL..].iter().map(|(n, _)| points[*n].label.as_str());
            crate::say!("    and {}: {}", failures.len() - IN_FULL, more.collect::<Vec<_>>().join(", "));
        }
    }
}
