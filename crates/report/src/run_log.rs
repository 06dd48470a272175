//! The run log: what this program changed in a home, when, and the result of that run.
//!
//! The log is in the app's home, with one JSON object per line. A run that changes nothing writes
//! nothing. If a line cannot be written, the run goes on without it. The Device ID in the log shows
//! that a home without an identity file had one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use myownllm_config_model::{Document, app_config, settings};
use myownllm_config_store::Step;
#[cfg(not(unix))]
use myownllm_durable_fs::{Disk as _, RealDisk, rename_or_link};
use myownllm_identity::{IdentityPaths, scan};
use myownllm_launch::words::{at_defaults, count, short};
use myownllm_launch::{Diagnostic, LaunchStep, Severity, lost_network};
use myownllm_migration::{LiveDaemon, MoveReport};
use myownllm_paths::Layout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::HomeView;

/// The size, in bytes, from which a log makes room for a new one. One previous log is kept.
const MOST_BYTES: u64 = 256 << 10;

/// The command with which a user accepts the config as it is.
pub(crate) const ACCEPT: &str = "config accept";

/// The changes of a run, for the log.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The path of the log.
    file: PathBuf,
    /// The line of the log, without the members that only the end of the run tells.
    pub(crate) entry: Entry,
}

/// One line of the log.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
#[non_exhaustive]
pub struct Entry {
    /// The start of the run, RFC 3339 in UTC.
    pub at: String,
    /// The version of the program.
    pub version: String,
    /// The command as it was typed, without values that may be secrets.
    pub command: String,
    /// The changes, in a few words each.
    pub did: Vec<String>,
    /// The Device ID of the home after a launch or a move, or as it was last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The backup that holds the config as it was before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The backup that was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// The settings that a repair left at their defaults, as no backup has them, or that the config
    /// had lost before the run, although a backup has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// The lost settings and networks that the config has again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<String>,
    /// The codes of the warnings and errors.
    pub codes: Vec<String>,
    /// The exit code.
    pub exit: u8,
    /// The duration of the run, in milliseconds.
    pub took_ms: u64,
}

/// A run that has ended, for its line in the log.
#[derive(Debug)]
pub struct Run<'a> {
    /// The start of the run, RFC 3339 in UTC.
    pub at: String,
    /// The version of the program.
    pub version: &'a str,
    /// The exit code.
    pub exit: u8,
    /// The duration of the run, in milliseconds.
    pub took_ms: u64,
    /// The diagnostics of the run.
    pub diagnostics: &'a [Diagnostic],
}

impl Trace {
    /// Returns the changes of a command; `None` if it changed nothing, so that nothing is logged.
    pub fn of(layout: &Layout, command: impl Into<String>, did: Vec<String>) -> Option<Self> {
        let entry = Entry { command: command.into(), did, ..Entry::default() };
        (!entry.did.is_empty()).then(|| Self { file: layout.run_log().into(), entry })
    }

    /// Sets the Device ID that the home has now.
    #[must_use]
    pub fn device_of(mut self, home: &HomeView<'_>) -> Self {
        let answer = scan(home.disk, &IdentityPaths::of(home.layout)).answer();
        self.entry.device_id = answer.key().map(|key| key.device_id.clone());
        self
    }

    /// Adds the lost settings and networks that the config has again: from now on, only the user
    /// takes them out. `restored` are the keys that a repair restored.
    #[must_use]
    pub(crate) fn decided(mut self, home: &HomeView<'_>, config: &Document, restored: &[String]) -> Self {
        let lost = last_losses(home.layout);
        if let Some(schema) = home.store.schema().filter(|_| !lost.is_empty()) {
            let there = restored.iter().cloned().chain(schema.own_settings(config).names());
            self.entry.decided = there.filter(|key| settle_setting(&mut lost.clone(), key)).collect();
        }
        self
    }

    /// Adds changes that the same run made later, and what is known since.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        let did = [self.entry.did, more.entry.did].concat();
        Self { entry: Entry { command: self.entry.command, did, ..more.entry }, ..self }
    }

    /// Adds the line of this run to the log. A log that cannot be written is no error.
    pub fn write(&self, run: Run<'_>) {
        let worth = run.diagnostics.iter().filter(|diagnostic| diagnostic.severity != Severity::Info);
        let mut entry = Entry {
            at: run.at,
            version: run.version.to_owned(),
            codes: worth.map(|diagnostic| diagnostic.code.clone()).collect(),
            exit: run.exit,
            took_ms: run.took_ms,
            ..self.entry.clone()
        };
        // The first line of a new log repeats what a launch reads from the log: two rotations would
        // lose it.
        if std::fs::metadata(&self.file).is_ok_and(|meta| is_full(&meta)) {
            let previous = read(&self.file);
            entry.device_id =
                entry.device_id.or_else(|| previous.iter().rev().find_map(|entry| entry.device_id.clone()));
            entry.lost = losses_in(previous.into_iter().chain([entry.clone()]));
        }
        let line = serde_json::to_string(&entry).map_err(io::Error::other);
        if let Err(error) = line.and_then(|line| append(&self.file, &line)) {
            tracing::debug!(path = %self.file.display(), %error, "no line was added to the run log");
        }
    }
}

/// Describes the changes of a move.
pub fn of_move(report: &MoveReport) -> Vec<String> {
    let done = [
        (report.files_moved(), "moved"),
        (report.identical_removed.len(), "removed, as identical files are there:"),
        (report.set_aside.len(), "set aside"),
        (report.leftovers_removed.len(), "cleared, of a killed run:"),
    ];
    let done = done.into_iter().filter(|(files, _)| *files > 0);
    let mut did: Vec<String> = done.map(|(files, verb)| format!("{verb} {}", count(files, "file"))).collect();
    if did.is_empty() && !report.dirs_removed.is_empty() {
        did.push("removed empty directories".to_owned());
    }
    did
}

/// Describes the changes of the config.
pub fn of_config(steps: &[Step]) -> Vec<String> {
    let mut did: Vec<String> = Vec::new();
    for step in steps {
        let words = match step {
            Step::ReplaceConfig { repair: true, .. } => "repaired the config",
            Step::ReplaceConfig { .. } => "completed the config",
            Step::WriteConfig { restored: true, .. } => "wrote the config from a backup",
            Step::WriteConfig { .. } => "wrote a config with the defaults",
            Step::PublishDaemonHalf { .. } => "wrote the daemon's config",
            Step::KeepDaemonHalf { .. } | Step::KeepPrevious { .. } | Step::KeepLastGood { .. } => {
                "made a backup"
            }
            _ => "cleared what a killed run left",
        };
        if !did.iter().any(|earlier| earlier == words) {
            did.push(words.to_owned());
        }
    }
    did
}

/// Describes the changes of rosters and states.
pub(crate) fn of_file_steps(home: &HomeView<'_>, steps: &[LaunchStep]) -> Vec<String> {
    let did = steps.iter().filter_map(|step| {
        let (verb, path) = match step {
            LaunchStep::Move { .. } => return Some("finished an interrupted move".to_owned()),
            LaunchStep::KeepCorruptFile { path } => ("renamed", path),
            LaunchStep::MendState { path } => ("set aside", path),
            LaunchStep::CopyNewerState { path } => ("copied", path),
            _ => return None,
        };
        Some(format!("{verb} {}", short(path, &home.layout.user_home)))
    });
    did.collect()
}

/// Describes the settings that a repair could not bring back; `None` if it lost none.
pub fn of_losses(report: &myownllm_config_store::Report) -> Option<String> {
    let keys = &report.reset_keys;
    (!keys.is_empty()).then(|| format!("left {}: {}", at_defaults(keys), keys.join(", ")))
}

/// Describes the daemons that were stopped.
pub fn of_stopped(daemons: &[LiveDaemon]) -> impl Iterator<Item = String> {
    let who = |pid: u32| format!("stopped a daemon (process {pid})");
    daemons.iter().map(move |daemon| daemon.pid.map_or_else(|| "stopped a daemon".to_owned(), who))
}

/// The open directory of the log: if its name is moved or replaced, writes still go to this
/// directory.
#[cfg(unix)]
struct Dir(File);

#[cfg(unix)]
impl Dir {
    /// Opens the directory. To write, the directory must belong to this user.
    fn open(path: &Path, to_write: bool) -> io::Result<Self> {
        let dir = File::open(path)?;
        if to_write {
            belongs_to_us(&dir.metadata()?)?;
        }
        Ok(Self(dir))
    }

    /// Opens a log. It must be a regular file of its own that only its owner can read.
    fn log(&self, name: &str, to_write: bool) -> io::Result<File> {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::MetadataExt as _;
        let how = if to_write { OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT } else { OFlag::O_RDONLY };
        let flags = how | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        let file = File::from(nix::fcntl::openat(&self.0, name, flags, mode)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if to_write {
            belongs_to_us(&meta)?;
            // An appended line would change whatever else has this file under another name.
            if meta.nlink() != 1 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(file)
    }

    /// Makes room: the log replaces the previous log, and no other file.
    fn rotate(&self, name: &str) -> io::Result<()> {
        Ok(nix::fcntl::renameat(&self.0, name, &self.0, &*previous(name))?)
    }
}

#[cfg(unix)]
fn belongs_to_us(meta: &std::fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let is_ours = meta.uid() == nix::unistd::geteuid().as_raw();
    if is_ours { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// The directory of the log. The system decides who else may write in it.
#[cfg(not(unix))]
struct Dir(PathBuf);

#[cfg(not(unix))]
impl Dir {
    fn open(path: &Path, _to_write: bool) -> io::Result<Self> {
        Ok(Self(path.to_owned()))
    }

    fn log(&self, name: &str, to_write: bool) -> io::Result<File> {
        std::fs::OpenOptions::new().read(true).append(to_write).create(to_write).open(self.0.join(name))
    }

    fn rotate(&self, name: &str) -> io::Result<()> {
        let (log, previous) = (self.0.join(name), self.0.join(previous(name)));
        // If another process changes the home right now, the log grows, and a later run rotates it.
        let Ok(lock) = RealDisk.lock(&self.0, std::time::Duration::ZERO) else { return Ok(()) };
        if lock.stat(&previous).is_ok() {
            lock.unlink(&previous).map_err(io::Error::other)?;
        }
        rename_or_link(&lock, &log, &previous).map_err(io::Error::other)
    }
}

fn previous(name: &str) -> String {
    format!("{name}.1")
}

/// Splits the path of a log into its directory and its name.
fn split(path: &Path) -> (&Path, &str) {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    (path.parent().unwrap_or(path), name.unwrap_or_default())
}

fn is_full(log: &std::fs::Metadata) -> bool {
    log.len() > MOST_BYTES
}

/// Appends a line in one write, so that lines of concurrent runs do not mix. Ends a line that a
/// crash tore before it.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let (dir, name) = split(path);
    let dir = Dir::open(dir, true)?;
    let mut file = dir.log(name, true)?;
    if is_full(&file.metadata()?) {
        dir.rotate(name)?;
        file = dir.log(name, true)?;
    }
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let torn = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{torn}{line}\n").as_bytes())
}

/// Returns all entries, the oldest first. Skips a line that is not an entry, which a crash may
/// leave.
pub fn read(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (dir, name) = split(path);
    for name in [&*previous(name), name] {
        let mut bytes = Vec::new();
        let read = Dir::open(dir, false).and_then(|dir| dir.log(name, false));
        if let Err(error) = read.and_then(|file| file.take(2 * MOST_BYTES).read_to_end(&mut bytes)) {
            tracing::debug!(name, %error, "the run log was not read");
        }
        let lines = bytes.split(|byte| *byte == b'\n');
        entries.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
    }
    entries
}

/// Returns the backup that the user restored, unless a later run has changed the config.
pub fn last_restored(layout: &Layout) -> Option<String> {
    let mut entries = read(layout.run_log().as_ref()).into_iter().rev();
    entries.find(|entry| entry.restored.is_some() || entry.before.is_some())?.restored
}

/// Returns the settings and networks that were lost, without those that the config has had since,
/// and those that the user has decided on.
pub fn last_losses(layout: &Layout) -> Vec<String> {
    losses_in(read(layout.run_log().as_ref()))
}

fn losses_in(entries: impl IntoIterator<Item = Entry>) -> Vec<String> {
    let mut lost = Vec::new();
    for entry in entries {
        for key in &entry.decided {
            settle_setting(&mut lost, key);
        }
        lost.retain(|key| !entry.lost.contains(key));
        lost.extend(entry.lost);
        settle(&mut lost, &entry.command);
    }
    lost
}

/// Takes the settings and networks on which a command of the user's decides out of the lost ones.
fn settle(lost: &mut Vec<String>, command: &str) {
    if let Some(set) = command.strip_prefix("config set ") {
        set.split(' ').for_each(|key| {
            settle_setting(lost, key);
        });
    } else if let Some(changed) = command.strip_prefix("network ") {
        let id = changed.rsplit(' ').next();
        lost.retain(|key| lost_network(key).is_none() || lost_network(key) != id);
    } else if command == ACCEPT {
        lost.clear();
    }
}

/// Takes a setting that the user has set out of the lost ones. The other members of its section
/// stay lost. Returns true if the setting was lost.
fn settle_setting(lost: &mut Vec<String>, key: &str) -> bool {
    let mut was_lost = false;
    let key = key.trim_start_matches('/').replace('/', ".");
    if let Some((section, _)) = key.split_once('.')
        && let Some(at) = lost.iter().position(|lost| lost == section)
    {
        lost.remove(at);
        was_lost = true;
        let names = settings::names(&app_config::defaults("/")).into_iter();
        lost.extend(names.filter(|name| name.split_once('.').is_some_and(|(of, _)| of == section)));
    }
    let before = lost.len();
    lost.retain(|lost| *lost != key && lost.strip_prefix(&key).is_none_or(|rest| !rest.starts_with('.')));
    was_lost || lost.len() < before
}

/// Returns true if a command decides on settings or networks that a repair has lost.
pub(crate) fn settles_losses(layout: &Layout, command: &str) -> bool {
    let lost = last_losses(layout);
    let mut left = lost.clone();
    settle(&mut left, command);
    left != lost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_the_launch_of_a_restart_are_logged() {
        let part = |did: &str, lost: Vec<String>| {
            let entry = Entry { did: vec![did.to_owned()], lost, ..Entry::default() };
            Trace { file: PathBuf::from("log"), entry }
        };
        let both = part("stopped", Vec::new()).and(part("repaired", vec!["api".to_owned()]));
        assert_eq!(
            (both.entry.did, both.entry.lost),
            (vec!["stopped".into(), "repaired".into()], vec!["api".into()])
        );
    }

    #[test]
    fn log_is_bounded_and_a_torn_line_costs_one_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let entry = |n: u64| {
            format!(
                r#"{{"at":"t","version":"v","command":"c","did":["d"],"codes":[],"exit":0,"took_ms":{n}}}"#
            )
        };
        append(&path, &entry(1)).unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":\"t").unwrap();
        append(&path, &entry(2)).unwrap();
        let read_ms = || read(&path).iter().map(|entry| entry.took_ms).collect::<Vec<_>>();
        assert_eq!(read_ms(), [1, 2]);
        for n in 3..12_000 {
            append(&path, &entry(n)).unwrap();
        }
        let sizes = ["log", "log.1"].map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size < MOST_BYTES + 1000), "{sizes:?}");
        assert_eq!(read_ms().last(), Some(&11_999));
    }

    #[cfg(unix)]
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a second name is what is tested")]
    fn log_is_for_its_owner_alone_and_never_written_through_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("log"), dir.path().join("precious"));
        append(&path, "{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        append(&precious, "precious").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&precious, &link).unwrap();
        append(&link, "{}").unwrap_err();
        let second_name = dir.path().join("second");
        std::fs::hard_link(&precious, &second_name).unwrap();
        append(&second_name, "{}").unwrap_err();
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious\n");
    }
}
