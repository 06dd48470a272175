//! Power cuts, without a power switch. The home lies on an ext4 file system in an image file. The program is stopped behind one
//! of its calls; a copy of the image is then what the disk would hold had the power gone at that moment: what was not
//! flushed is still in memory only. The copy is mounted (which replays its journal), looked at, and the program run on it.
//!
//! The mount options are the harsh ones: no commit for minutes, and none of ext4's kindness to programs that forget to flush a
//! file before renaming it. What this cannot show: a disk that keeps late writes and loses early ones.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::bench::{copy, unmount};
use super::strace::{self, Call};
use super::subject::{Place, Prepared};
use crate::fixture::{self, MESH};
use crate::process::{Running, run};
use crate::{Fallible, guard};

/// Big enough for a journal, small enough to be copied in milliseconds.
const IMAGE: u64 = 24 << 20;

/// So often a disk is copied before it counts as one that never rests.
const COPIES: usize = 50;

/// A disk or two, with a home on them.
#[derive(Debug)]
pub(crate) struct Rig {
    folder: PathBuf,
    disks: Vec<PathBuf>,
}

/// The disks of a rig, mounted.
struct Mounted {
    home: PathBuf,
    points: Vec<PathBuf>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.points.iter().rev().for_each(|point| unmount(point));
    }
}

/// Whether images can be made and mounted here.
pub(crate) fn can_cut(folder: &Path) -> bool {
    let probe = folder.join("can-cut");
    let can = fixture::folder(&probe).is_ok()
        && disk(&probe.join("disk")).is_ok()
        && mount(&[probe.join("disk")], &probe.join("at"), false).is_ok();
    guard::discard(&probe);
    can
}

impl Rig {
    /// Disks with a fresh copy of the template on them, all flushed.
    pub(crate) fn new(prepared: &Prepared, folder: &Path) -> Fallible<Self> {
        fixture::folder(folder)?;
        let count = if prepared.subject.place == Place::Other { 2 } else { 1 };
        let disks: Vec<_> = (0..count).map(|n| folder.join(format!("disk{n}"))).collect();
        disks.iter().try_for_each(|path| disk(path))?;
        let mounted = mount(&disks, &folder.join("at"), true)?;
        copy(&prepared.template, &mounted.home)?;
        Ok(Self { folder: folder.to_owned(), disks })
    }

    /// The disks as they were at first, mounted under a name.
    fn fresh(&self, name: &str) -> Fallible<(Vec<PathBuf>, Mounted)> {
        let disks = self.copies(&self.disks, name)?;
        let mounted = mount(&disks, &self.folder.join(format!("{name}-at")), false)?;
        Ok((disks, mounted))
    }

    #[allow(clippy::disallowed_methods, reason = "copies of disk images")]
    fn copies(&self, disks: &[PathBuf], name: &str) -> Fallible<Vec<PathBuf>> {
        let copy = |(n, from): (usize, &PathBuf)| {
            let to = self.folder.join(format!("{name}-disk{n}"));
            // The system writes to a mounted disk when it likes. A copy of half of that is no state that the disk ever had.
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

    /// Learns from an undisturbed run what a run ends with and which calls it makes.
    pub(crate) fn learn(&self, prepared: &mut Prepared) -> Fallible<Vec<Call>> {
        let (_, mounted) = self.fresh("learn")?;
        prepared.learn(&mounted.home)?;
        drop(mounted);
        let (_, mounted) = self.fresh("calls")?;
        let operation = prepared.operation(&mounted.home);
        strace::calls(&operation, &[], &mounted.home, &self.folder.join("calls.log"))
    }

    /// Cuts the power behind one call (behind the run's end, when none is named), and looks whether what the disk holds is
    /// whole and can be gone on with. Once as it is, and once for each disk that may have committed its journal just before:
    /// then every change of names is there, and what was written to the files, but not flushed, is not.
    pub(crate) fn cut(&self, prepared: &Prepared, call: Option<&Call>, name: &str) -> Fallible<()> {
        let (disks, mounted) = self.fresh(name)?;
        let log = self.folder.join(format!("{name}.log"));
        let never = "rename:signal=SIGSTOP:when=65535".to_owned();
        let fault = call.map_or(never, |call| format!("{}:signal=SIGSTOP:when={}", call.name, call.n));
        let mut running =
            Running::start(&mut strace::injecting_into(&prepared.operation(&mounted.home), &[fault], &log))?;
        wait_for_stop(&mut running, &log)?;
        let copies = self.copies(&disks, &format!("{name}-bare")).and_then(|bare| {
            mounted.points.iter().try_for_each(|point| commit_journal(point))?;
            Ok((bare, self.copies(&disks, &format!("{name}-committed"))?))
        });
        end_traced(running.id());
        let ended = running.wait(super::PATIENCE)?;
        drop(mounted);
        let (bare, committed) = copies?;
        // A run that ended before its turn came reported what it reported; then that must be on the disk.
        let reported = ended.code().is_some().then_some(&ended);
        for choice in 0..1_usize << disks.len() {
            let pick = |n: usize| if choice >> n & 1 == 1 { &committed[n] } else { &bare[n] };
            let picked: Vec<_> = (0..disks.len()).map(|n| pick(n).clone()).collect();
            let picked = self.copies(&picked, &format!("{name}-cut"))?;
            let cut = mount(&picked, &self.folder.join(format!("{name}-cut-at")), false)?;
            prepared.recovers(&cut.home, reported).map_err(|why| {
                let committed = (0..disks.len()).filter(|n| choice >> n & 1 == 1);
                let committed: Vec<_> = committed.map(|n| ["the app's", "the daemon's"][n]).collect();
                let which = if committed.is_empty() { "neither".to_owned() } else { committed.join(" and ") };
                format!("(disks that had committed their journal: {which}) {why}")
            })?;
        }
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "copies of disk images")]
fn is_same(one: &Path, other: &Path) -> std::io::Result<bool> {
    Ok(std::fs::read(one)? == std::fs::read(other)?)
}

/// Makes the file system commit its journal, as it does by itself every few seconds: by flushing a file of no interest.
#[allow(clippy::disallowed_methods, reason = "a probe on a disk image")]
fn commit_journal(point: &Path) -> Fallible<()> {
    let probe = point.join("lost+found").join("probe");
    let file = std::fs::File::create(&probe).and_then(|file| file.sync_all());
    file.map_err(|e| format!("cannot write {}: {e}", probe.display()))
}

/// Waits until the traced program has been stopped, or has ended.
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

/// Kills what a strace traces; strace then ends by itself.
fn end_traced(strace: u32) {
    let children =
        std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        guard::kill(child);
    }
}

/// An empty ext4 image.
#[allow(clippy::disallowed_methods, reason = "a disk image")]
fn disk(path: &Path) -> Fallible<()> {
    let say = |e: std::io::Error| format!("cannot make {}: {e}", path.display());
    std::fs::File::create(path).and_then(|file| file.set_len(IMAGE)).map_err(say)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(path);
    quietly(&mut mkfs)
}

/// Mounts a home's disk at `point`, and the daemon's, when it has its own, at its place in it.
fn mount(disks: &[PathBuf], point: &Path, new: bool) -> Fallible<Mounted> {
    let home = point.join("home");
    let mut mounted = Mounted { home: home.clone(), points: Vec::new() };
    for (disk, at) in disks.iter().zip([point.to_owned(), home.join(MESH)]) {
        if mounted.points.is_empty() || new {
            fixture::folder(&at)?;
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "loop,commit=300,noauto_da_alloc"]).arg(disk).arg(&at);
        quietly(&mut mount)?;
        mounted.points.push(at);
    }
    Ok(mounted)
}

fn quietly(command: &mut Command) -> Fallible<()> {
    command.stdin(Stdio::null());
    let finished = run(command, super::PATIENCE)?;
    match finished.code() {
        Some(0) => Ok(()),
        _ => Err(format!(
            "{} ended with {}: {}",
            command.get_program().to_string_lossy(),
            finished.status,
            finished.stderr.trim()
        )),
    }
}
