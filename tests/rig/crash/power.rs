//! Simulated power cuts. The home lies on a file system in an image file (ext4, XFS or btrfs; or
//! bindfs over ext4), and the program is
//! stopped after one of its calls. A copy of the image then holds what the disk would hold after a
//! power cut at that moment: data that was not synced is only in memory. The copy is mounted, which
//! replays its journal; its files are checked, and the program runs on it.
//!
//! The mount options are the harsh ones: no commit for minutes, and none of the ext4 heuristics
//! that help programs which forget to sync a file before its rename. This cannot simulate a disk
//! that keeps late writes and loses early ones.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::testkit::{Running, Signal, send_signal};

use super::bench::{copy, unmount};
use super::strace::{self, Call};
use super::subject::{Disk, Place, Prepared};
use crate::Fallible;
use crate::fixture::{self, MESH};
use crate::guard::{self, run, start};

/// Large enough for a journal, small enough for a copy in milliseconds.
const fn size_of(kind: Disk) -> u64 {
    match kind {
        Disk::Ext4 | Disk::Bindfs => 24 << 20,
        Disk::Xfs => 64 << 20,
        Disk::Btrfs => 48 << 20,
    }
}

/// The number of copies after which a disk counts as never at rest.
const COPIES: usize = 50;

/// One disk or two, with a home on them.
#[derive(Debug)]
pub(crate) struct Rig {
    dir: PathBuf,
    kind: Disk,
    disks: Vec<PathBuf>,
}

/// The mounted disks of a rig.
struct Mounted {
    home: PathBuf,
    /// Where the disks are mounted.
    points: Vec<PathBuf>,
    /// Where FUSE shows the first disk.
    fuse: Option<PathBuf>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.fuse.is_some() {
            // The FUSE server keeps the disk in use for a moment after its own end.
            self.fuse.iter().chain(self.points.iter().rev()).for_each(|point| unmount_patiently(point));
        }
        self.points.iter().rev().for_each(|point| unmount(point));
    }
}

/// Unmounts once nobody uses the file system any more.
fn unmount_patiently(point: &Path) {
    let started = Instant::now();
    let unmounts = || Command::new("umount").arg(point).stderr(Stdio::null()).status();
    while unmounts().is_ok_and(|status| !status.success()) && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns true if images of this kind can be made and mounted here.
pub(crate) fn can_cut(dir: &Path, kind: Disk) -> bool {
    let probe = dir.join("can-cut");
    let can = fixture::dir(&probe).is_ok()
        && disk(&probe.join("disk"), kind).is_ok()
        && mount(&[probe.join("disk")], kind, &probe.join("at"), true).is_ok();
    guard::discard(&probe);
    can
}

impl Rig {
    /// Makes disks with a synced copy of the template.
    pub(crate) fn new(prepared: &Prepared, dir: &Path) -> Fallible<Self> {
        fixture::dir(dir)?;
        let count = if prepared.subject.place == Place::Other { 2 } else { 1 };
        let disks: Vec<_> = (0..count).map(|n| dir.join(format!("disk{n}"))).collect();
        let kind = prepared.subject.disk;
        disks.iter().try_for_each(|path| disk(path, kind))?;
        let mounted = mount(&disks, kind, &dir.join("at"), true)?;
        // ext4 has this directory already.
        mounted.points.iter().try_for_each(|point| fixture::dir(&point.join("lost+found")))?;
        copy(&prepared.template, &mounted.home)?;
        Ok(Self { dir: dir.to_owned(), kind, disks })
    }

    /// Mounts a copy of the initial disks under a name.
    fn fresh(&self, name: &str) -> Fallible<(Vec<PathBuf>, Mounted)> {
        let disks = self.copies(&self.disks, name)?;
        let mounted = mount(&disks, self.kind, &self.dir.join(format!("{name}-at")), false)?;
        Ok((disks, mounted))
    }

    #[allow(clippy::disallowed_methods, reason = "copies of disk images")]
    fn copies(&self, disks: &[PathBuf], name: &str) -> Fallible<Vec<PathBuf>> {
        let copy = |(n, from): (usize, &PathBuf)| {
            let to = self.dir.join(format!("{name}-disk{n}"));
            // The kernel may write to a mounted disk during the copy. A mixture of old and new
            // blocks is no state that the disk ever had.
            for _ in 0..COPIES {
                std::fs::copy(from, &to).map_err(|e| format!("cannot copy {}: {e}", from.display()))?;
                if is_same(from, &to).map_err(|e| format!("cannot compare {}: {e}", from.display()))? {
                    return Ok(to);
                }
            }
            Err(format!("{} changed during each of {COPIES} copies", from.display()))
        };
        disks.iter().enumerate().map(copy).collect()
    }

    /// Learns the outcome and the calls of an undisturbed run.
    pub(crate) fn learn(&self, prepared: &mut Prepared) -> Fallible<Vec<Call>> {
        let (_, mounted) = self.fresh("learn")?;
        prepared.learn(&mounted.home)?;
        drop(mounted);
        let (_, mounted) = self.fresh("calls")?;
        let operation = prepared.operation(&mounted.home);
        strace::calls(&operation, &[], &mounted.home, &self.dir.join("calls.log"))
    }

    /// Cuts the power after one call (without a call, after the end of the run), and checks that
    /// the disk holds no lost or torn file and that the next run works. It checks the bare disk,
    /// and each disk as if it had committed its journal just before: then every change of names is
    /// on the disk, and file data that was not synced is not. `faults` are faults of that run;
    /// before it, a run is killed at the call `killed`, if any.
    pub(crate) fn cut(&self, prepared: &Prepared, at: &Cut, name: &str) -> Fallible<()> {
        let Cut { call, killed, faults } = at;
        let (disks, mounted) = self.fresh(name)?;
        let log = self.dir.join(format!("{name}.log"));
        if let Some(killed) = killed {
            let kill = format!("{}:signal=SIGKILL:when={}", killed.name, killed.n);
            let mut run = strace::injecting_into(&prepared.operation(&mounted.home), &[kill], &log);
            start(&mut run)?.wait(super::PATIENCE)?;
        }
        let never = "rename:signal=SIGSTOP:when=65535".to_owned();
        let stop =
            call.as_ref().map_or(never, |call| format!("{}:signal=SIGSTOP:when={}", call.name, call.n));
        let faults: Vec<String> = std::iter::once(stop).chain(faults.iter().cloned()).collect();
        let mut running =
            start(&mut strace::injecting_into(&prepared.operation(&mounted.home), &faults, &log))?;
        wait_for_stop(&mut running, &log)?;
        let copies = self.copies(&disks, &format!("{name}-bare")).and_then(|bare| {
            mounted.points.iter().try_for_each(|point| commit_journal(point))?;
            Ok((bare, self.copies(&disks, &format!("{name}-committed"))?))
        });
        end_traced(running.id());
        let ended = running.wait(super::PATIENCE)?;
        drop(mounted);
        let (bare, committed) = copies?;
        // A run that ended before the chosen call has reported an outcome, and that outcome must be
        // on the disk.
        let reported = ended.code.is_some().then_some(&ended);
        for choice in 0..1_usize << disks.len() {
            let pick = |n: usize| if choice >> n & 1 == 1 { &committed[n] } else { &bare[n] };
            let picked: Vec<_> = (0..disks.len()).map(|n| pick(n).clone()).collect();
            let picked = self.copies(&picked, &format!("{name}-cut"))?;
            let cut = mount(&picked, self.kind, &self.dir.join(format!("{name}-cut-at")), false)?;
            prepared.recovers(&cut.home, reported).map_err(|why| {
                let committed = (0..disks.len()).filter(|n| choice >> n & 1 == 1);
                let committed: Vec<_> = committed.map(|n| ["the app's", "the daemon's"][n]).collect();
                let which = if committed.is_empty() { "neither".to_owned() } else { committed.join(" and ") };
                format!("(disks that had committed their journal: {which}) {why}")
            })?;
            drop(cut);
            discard(&picked)?;
        }
        // A sweep has hundreds of points, and the images of those that hold are needed no more.
        [disks, bare, committed].iter().try_for_each(|images| discard(images))
    }
}

/// The moment of a power cut, and the events before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    /// The call behind which the power is cut; without a call, the end of the run.
    pub(crate) call: Option<Call>,
    /// The call at which an earlier run was killed.
    pub(crate) killed: Option<Call>,
    /// Further faults of the run.
    pub(crate) faults: Vec<String>,
}

#[allow(clippy::disallowed_methods, reason = "copies of disk images")]
fn discard(images: &[PathBuf]) -> Fallible<()> {
    let remove = |image: &PathBuf| std::fs::remove_file(image);
    images.iter().try_for_each(remove).map_err(|e| format!("cannot remove an image: {e}"))
}

#[allow(clippy::disallowed_methods, reason = "copies of disk images")]
fn is_same(one: &Path, other: &Path) -> std::io::Result<bool> {
    Ok(std::fs::read(one)? == std::fs::read(other)?)
}

/// Makes the file system commit its journal, as it does every few seconds, with a sync of an
/// unrelated file.
#[allow(clippy::disallowed_methods, reason = "a probe on a disk image")]
fn commit_journal(point: &Path) -> Fallible<()> {
    let probe = point.join("lost+found").join("probe");
    let file = std::fs::File::create(&probe).and_then(|file| file.sync_all());
    file.map_err(|e| format!("cannot write {}: {e}", probe.display()))
}

/// Waits until the traced program is stopped or has ended.
fn wait_for_stop(running: &mut Running, log: &Path) -> Fallible<()> {
    let started = Instant::now();
    while running.is_running() {
        if std::fs::read_to_string(log).is_ok_and(|log| log.contains("stopped by SIGSTOP")) {
            return Ok(());
        }
        if started.elapsed() > super::PATIENCE {
            return Err("the program neither stopped nor ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Kills the traced programs; strace then ends by itself.
fn end_traced(strace: u32) {
    let children =
        std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        send_signal(child, Signal::KILL);
    }
}

/// Makes an empty image.
#[allow(clippy::disallowed_methods, reason = "a disk image")]
fn disk(path: &Path, kind: Disk) -> Fallible<()> {
    let say = |e: std::io::Error| format!("cannot make {}: {e}", path.display());
    std::fs::File::create(path).and_then(|file| file.set_len(size_of(kind))).map_err(say)?;
    let (program, args): (_, &[&str]) = match kind {
        Disk::Ext4 | Disk::Bindfs => {
            ("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        }
        // Without that option, the smallest file system has 300 MB.
        Disk::Xfs => ("mkfs.xfs", &["-q", "-f", "--unsupported"]),
        Disk::Btrfs => ("mkfs.btrfs", &["-q", "-f", "--mixed"]),
    };
    quietly(Command::new(program).args(args).arg(path))
}

/// Mounts the home's disk at `point`, or below it if FUSE shows it there, and the daemon's own
/// disk, if any, at the daemon home.
fn mount(disks: &[PathBuf], kind: Disk, point: &Path, new: bool) -> Fallible<Mounted> {
    let (kind_name, options) = match kind {
        Disk::Ext4 | Disk::Bindfs => ("ext4", "loop,commit=300,noauto_da_alloc"),
        // Several copies of one disk are mounted at once.
        Disk::Xfs => ("xfs", "loop,nouuid"),
        Disk::Btrfs => ("btrfs", "loop,commit=300"),
    };
    let home = point.join("home");
    let below = point.with_extension("below");
    let first = if kind == Disk::Bindfs { below } else { point.to_owned() };
    let mut mounted = Mounted { home: home.clone(), points: Vec::new(), fuse: None };
    for (disk, at) in disks.iter().zip([first, home.join(MESH)]) {
        if mounted.points.is_empty() || new {
            fixture::dir(&at)?;
        }
        quietly(Command::new("mount").args(["-t", kind_name, "-o", options]).arg(disk).arg(&at))?;
        mounted.points.push(at);
    }
    if kind == Disk::Bindfs {
        fixture::dir(point)?;
        let mut bindfs = Command::new("bindfs");
        // The server keeps the streams that it gets, and a reader would wait for their end.
        bindfs.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = bindfs.arg(&mounted.points[0]).arg(point).status();
        if !started.map_err(|e| format!("cannot run bindfs: {e}"))?.success() {
            return Err(format!("cannot mount bindfs at {}", point.display()));
        }
        mounted.fuse = Some(point.to_owned());
    }
    Ok(mounted)
}

fn quietly(command: &mut Command) -> Fallible<()> {
    command.stdin(Stdio::null());
    let finished = run(command, super::PATIENCE)?;
    match finished.code {
        Some(0) => Ok(()),
        _ => Err(format!(
            "{} ended with {}: {}",
            command.get_program().to_string_lossy(),
            finished.status,
            finished.stderr.trim()
        )),
    }
}
