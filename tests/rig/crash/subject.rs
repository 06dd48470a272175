//! The subject of the faults: an operation on a home, the conditions that hold in that home at
//! every moment, and the home after an undisturbed run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration_tests::testkit::Ran;
use serde_json::{Value, json};

use crate::Fallible;
use crate::fixture::{self, APP, MESH, STATE, plant, plant_new};
use crate::guard::{self, run, start};
use crate::tree::{Kind, Tree, hash};

/// The operations that change a home without a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Migrate,
    Launch,
    Undo,
    Salvage,
}

impl Op {
    pub(crate) fn args(self) -> &'static [&'static str] {
        match self {
            Self::Migrate => &["migrate"],
            Self::Launch => &["launch", "--no-daemon"],
            Self::Undo => &["migrate", "--undo"],
            Self::Salvage => &["salvage"],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Launch => "launch",
            Self::Undo => "undo",
            Self::Salvage => "salvage",
        }
    }

    /// Returns true if the operation may write the app's config.
    fn repairs(self) -> bool {
        matches!(self, Self::Launch | Self::Salvage)
    }

    /// Returns true if the operation moves the daemon's state.
    fn moves(self) -> bool {
        self != Self::Salvage
    }
}

/// The place of the daemon home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the app's file system.
    Same,
    /// On another file system, so that a rename cannot move files there.
    Other,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "one-fs",
            Self::Other => "two-fs",
        }
    }
}

/// The file system of the home in a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Ext4,
    Xfs,
    Btrfs,
    /// FUSE over ext4: it answers `syncfs`, and does nothing.
    Bindfs,
}

impl Disk {
    /// Returns the words of the label; none for the usual file system.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ext4 => "",
            Self::Xfs => " xfs",
            Self::Btrfs => " btrfs",
            Self::Bindfs => " bindfs",
        }
    }

    /// Returns the programs without which there is no such disk.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["mkfs.ext4"],
            Self::Xfs => &["mkfs.xfs"],
            Self::Btrfs => &["mkfs.btrfs"],
            Self::Bindfs => &["mkfs.ext4", "bindfs"],
        }
    }
}

/// The form of the identity file before the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    File,
    /// A relative symlink to a file in another directory of the app's home.
    Symlink,
    /// The only copy is a temporary file of a killed run.
    Temporary,
}

impl Key {
    fn label(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Symlink => " symlinked-key",
            Self::Temporary => " key-in-temporary",
        }
    }
}

/// An operation, and the kind of its home.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) op: Op,
    pub(crate) version: &'static str,
    pub(crate) place: Place,
    pub(crate) disk: Disk,
    pub(crate) key: Key,
    /// The number of networks besides those of the fixture.
    pub(crate) networks: usize,
}

/// Enough networks for several threads to copy their files.
pub(crate) const MANY: usize = 40;

impl Subject {
    /// Makes a subject with a few networks.
    pub(crate) fn new(op: Op, version: &'static str, place: Place) -> Self {
        Self { op, version, place, disk: Disk::Ext4, key: Key::File, networks: 3 }
    }

    pub(crate) fn has_many(&self) -> bool {
        self.networks >= MANY
    }

    pub(crate) fn label(&self) -> String {
        let many = if self.has_many() { " many" } else { "" };
        let (op, place) = (self.op.name(), self.place.name());
        format!("{op} {} {place}{many}{}{}", self.version, self.disk.label(), self.key.label())
    }
}

/// A file of the daemon's state: its first place, its final place, and its bytes.
#[derive(Debug, Clone)]
struct Tracked {
    source: PathBuf,
    destination: PathBuf,
    bytes: Vec<u8>,
}

/// A subject with a template home that can be copied and broken any number of times.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) subject: Subject,
    /// The home before the operation.
    pub(crate) template: PathBuf,
    tracked: Vec<Tracked>,
    foreign: Vec<(PathBuf, Vec<u8>)>,
    former_config: Vec<u8>,
    mesh: PathBuf,
    /// The home after an undisturbed run.
    goal: Option<Goal>,
}

/// The content of a home at the end: every name, and of the backups of configs only the content.
#[derive(Debug, PartialEq, Eq)]
struct Goal {
    names: BTreeMap<PathBuf, Kind>,
    copies: Vec<u64>,
}

/// The program's run log, in the app's home.
const RUN_LOG: &str = "myownllm-mesh.log";

/// Checks that only the owner can read the run log, and that it holds whole entries. A kill may
/// tear only the last line.
fn check_run_log(path: &Path) -> Fallible<()> {
    let say = |what: &str| format!("{}: {what}", path.display());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map_err(|e| say(&e.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(say(&format!("its mode is {:04o}", mode & 0o7777)));
        }
    }
    let text = std::fs::read_to_string(path).map_err(|e| say(&e.to_string()))?;
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    for line in whole.lines() {
        serde_json::from_str::<serde_json::Value>(line).map_err(|e| say(&format!("{e} in {line:?}")))?;
    }
    Ok(())
}

impl Goal {
    fn of(home: &Path) -> Fallible<Self> {
        let mut names: BTreeMap<_, _> =
            Tree::of(home)?.0.into_iter().map(|(path, entry)| (path, entry.kind)).collect();
        // The run log contains times, so it differs between runs; and a killed run writes no entry.
        let run_log = Path::new(APP).join(RUN_LOG);
        if names.remove(&run_log).is_some() {
            check_run_log(&home.join(&run_log))?;
        }
        let backups = Path::new(APP).join("config-backups");
        let mut copies = Vec::new();
        // A new config contains paths of its home.
        for (path, kind) in &mut names {
            if let Kind::File(hash) = kind
                && (path.starts_with(&backups) || *path == Path::new(APP).join("config.json"))
            {
                *hash = hash_wherever(home, path)?;
            }
        }
        names.retain(|path, kind| match kind {
            Kind::File(hash) if path.starts_with(&backups) && !is_temporary(path) => {
                copies.push(*hash);
                false
            }
            // ext4 makes this directory in its root.
            _ => !path.components().any(|part| part.as_os_str() == "lost+found"),
        });
        copies.sort_unstable();
        Ok(Self { names, copies })
    }

    /// Describes the differences between `home` and this goal.
    fn missed_by(&self, home: &Path, in_full: bool, copies_too: bool) -> Fallible<Option<String>> {
        let seen = Self::of(home)?;
        let mut wrong: Vec<String> = Vec::new();
        for (path, kind) in &self.names {
            match seen.names.get(path) {
                None => wrong.push(format!("{} is missing", path.display())),
                Some(now) if now != kind => {
                    wrong.push(format!("{} is not what it should be", path.display()))
                }
                Some(_) => {}
            }
        }
        // The next run removes a temporary file that could not be removed.
        let extra = seen.names.keys().filter(|path| !self.names.contains_key(*path));
        let extra = extra.filter(|path| in_full || !is_temporary(path));
        wrong.extend(extra.map(|path| format!("{} is left over", path.display())));
        let missing = self.copies.iter().filter(|copy| !seen.copies.contains(copy)).count();
        if copies_too && missing > 0 {
            wrong.push(format!("config-backups lacks {missing} of {} copies", self.copies.len()));
        }
        let twice = seen.copies.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let odd = seen.copies.iter().filter(|copy| !self.copies.contains(copy)).count();
        if twice + odd > 0 {
            wrong.push(format!(
                "config-backups holds {twice} copies twice, and {odd} that no undisturbed run leaves"
            ));
        }
        // Four differences show the fault; all of them would hide it.
        let more = wrong.len().saturating_sub(4);
        wrong.truncate(4);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
    }
}

/// Returns the hash of a file's content, independent of the home's path.
fn hash_wherever(home: &Path, file: &Path) -> Fallible<u64> {
    let bytes = std::fs::read(home.join(file)).map_err(|e| format!("{}: {e}", file.display()))?;
    match (String::from_utf8(bytes), home.to_str()) {
        (Ok(text), Some(home)) => Ok(hash(text.replace(home, "HOME").as_bytes())),
        (Ok(text), None) => Ok(hash(text.as_bytes())),
        (Err(odd), _) => Ok(hash(odd.as_bytes())),
    }
}

/// Returns true for a file that exists only while another one is written.
fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".durable-fs."))
}

impl Prepared {
    /// Builds the home: the files of a real daemon, more of each kind, and files of others.
    pub(crate) fn new(subject: Subject, mesh: &Path, template: &Path) -> Fallible<Self> {
        fixture::old_state(template, subject.version)?;
        let former_config = fixture::overwritten_config(template, subject.version)?;
        let mut moving: Vec<PathBuf> = STATE.iter().map(PathBuf::from).collect();
        let mut add = |file: &str, bytes: &[u8]| -> Fallible<()> {
            moving.push(PathBuf::from(file));
            plant(&template.join(APP).join(file), bytes, 0o600)
        };
        for n in 0..subject.networks {
            let id = format!("net-{n}");
            let roster = json!({ "version": 1, "network_id": id,
                "authorized_devices": [{ "device_id": "c".repeat(52), "label": "" }] });
            add(&format!("mesh/rosters/{id}.json"), roster.to_string().as_bytes())?;
            let state =
                json!({ "version": 1, "network_id": id, "kind": "closed", "roles": {}, "transitions": [] });
            add(&format!("mesh/states/{id}.json"), state.to_string().as_bytes())?;
        }
        add(".secrets/custody.json", br#"{"version":1,"salt":"c2FsdA==","verifier":"dmVyaWZpZXI="}"#)?;
        // A copy waits for the writer of a torn file. One subject on two file systems is enough for
        // that wait.
        if subject.place == Place::Same || (subject.op == Op::Migrate && subject.version == "0.1.2") {
            add("mesh/rosters/torn.json.corrupt", b"{\"version\": 1, \"netw")?;
        }
        let mut foreign = vec![(PathBuf::from("conversations/2026-01.json"), b"[]".to_vec())];
        if subject.version == "0.3.8" {
            // With these files no directory belongs to the daemon alone, so every file moves by
            // itself. Without them, directories move as a whole.
            foreign.push((PathBuf::from("mesh/rosters/notes.txt"), b"the laptop is Anna's".to_vec()));
            foreign.push((PathBuf::from("mesh/README"), b"do not touch".to_vec()));
            foreign.push((PathBuf::from(".secrets/api-key.txt"), b"not a daemon's".to_vec()));
            // The app's config, as a daemon moved it aside; the only healthy copy.
            let healthy = fixture::healthy_bytes(Path::new("/home/u"))?;
            foreign.push((PathBuf::from("config.json.corrupt"), healthy));
        }
        for (file, bytes) in &foreign {
            plant(&template.join(APP).join(file), bytes, 0o600)?;
        }
        let tracked = |file: &PathBuf, to: &Path| -> Fallible<Tracked> {
            let source = Path::new(APP).join(file);
            let bytes =
                std::fs::read(template.join(&source)).map_err(|e| format!("{}: {e}", source.display()))?;
            Ok(Tracked { source, destination: Path::new(MESH).join(to), bytes })
        };
        let mut files: Vec<_> = moving.iter().map(|file| tracked(file, file)).collect::<Fallible<_>>()?;
        let old_roster = json!({ "version": 1, "network_id": "oldest-mesh", "authorized_devices": [] });
        plant(&template.join(APP).join("mesh/roster.json"), old_roster.to_string().as_bytes(), 0o600)?;
        files.push(tracked(&"mesh/roster.json".into(), Path::new("mesh/rosters/oldest-mesh.json"))?);
        let foreign = foreign.into_iter().map(|(file, bytes)| (Path::new(APP).join(file), bytes)).collect();
        let mut this = Self {
            subject,
            template: template.to_owned(),
            tracked: files,
            foreign,
            former_config,
            mesh: mesh.to_owned(),
            goal: None,
        };
        this.change_key()?;
        if subject.op == Op::Undo {
            let finished = run(&mut this.command(template, &["migrate"]), super::PATIENCE)?;
            if finished.code != Some(0) {
                return Err(format!(
                    "migrate, before an undo, ended with {}:\n{}",
                    finished.status, finished.stderr
                ));
            }
            for file in &mut this.tracked {
                let back =
                    Path::new(APP).join(file.destination.strip_prefix(MESH).unwrap_or(&file.destination));
                file.source = std::mem::replace(&mut file.destination, back);
            }
        }
        Ok(this)
    }

    /// Gives the identity file of the template the form that the subject asks for.
    fn change_key(&mut self) -> Fallible<()> {
        const KEY: &str = ".secrets/identity.json";
        let source = Path::new(APP).join(KEY);
        let from = self.template.join(&source);
        let to = match self.subject.key {
            Key::File => return Ok(()),
            Key::Symlink => Path::new(APP).join("keys/id.json"),
            Key::Temporary => Path::new(MESH).join(".secrets/.durable-fs.123-10.part"),
        };
        let at = self.template.join(&to);
        let say = |e: std::io::Error| format!("{}: {e}", at.display());
        let bytes = std::fs::read(&from).map_err(say)?;
        plant(&at, &bytes, 0o600)?;
        guard::discard_file(&from);
        let tracked = self.tracked.iter_mut().find(|file| file.source == source);
        let tracked = tracked.ok_or("the template has no identity file")?;
        if self.subject.key == Key::Symlink {
            #[cfg(unix)]
            std::os::unix::fs::symlink("../keys/id.json", &from).map_err(say)?;
            self.foreign.push((to, bytes));
        } else {
            tracked.source = to;
        }
        Ok(())
    }

    fn command(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.mesh);
        command.arg("--home").arg(home).args(args).current_dir("/");
        for name in ["HOME", "MYOWNMESH_HOME", "MYOWNLLM_MESH_BIN", "MYOWNMESH_BIN"] {
            command.env_remove(name);
        }
        command
    }

    /// Returns the operation on `home`.
    pub(crate) fn operation(&self, home: &Path) -> Command {
        self.command(home, self.subject.op.args())
    }

    /// Runs the operation undisturbed on `home`, a copy of the template, checks the outcome, and
    /// takes it as the goal of every run.
    pub(crate) fn learn(&mut self, home: &Path) -> Fallible<()> {
        let finished = run(&mut self.operation(home), super::PATIENCE)?;
        if finished.code != Some(0) {
            return Err(format!("the undisturbed run ended with {}:\n{}", finished.status, finished.stderr));
        }
        self.holds(home)?;
        for file in self.tracked.iter().filter(|_| self.subject.op.moves()) {
            if home.join(&file.source).symlink_metadata().is_ok() {
                return Err(format!("after an undisturbed run {} is still there", file.source.display()));
            }
        }
        self.goal = Some(Goal::of(home)?);
        Ok(())
    }

    /// Creates every missing destination at one moment of a run, between the check and the rename
    /// of the files whose turn has not come. The files of the racer must stay, and the sources of
    /// the program too.
    pub(crate) fn withstands_a_racer(&self, home: &Path, moment: Duration) -> Fallible<()> {
        let slowly = ["rename", "renameat2", "linkat"].map(|call| format!("{call}:delay_enter=2000:when=1+"));
        let running = start(&mut super::strace::injecting(&self.operation(home), &slowly))?;
        std::thread::sleep(moment);
        let theirs = b"made by somebody else";
        let created = |file: &&Tracked| plant_new(&home.join(&file.destination), theirs);
        let created: Vec<&Tracked> = self.tracked.iter().filter(created).collect();
        let ended = running.wait(super::PATIENCE)?;
        for run in [ended, run(&mut self.operation(home), super::PATIENCE)?] {
            if run.stderr.contains("panicked at") || run.code.is_none_or(|code| code > 8) {
                return Err(format!("it ended with {}:\n{}", run.status, run.stderr));
            }
            for file in &self.tracked {
                let read = |path: &Path| std::fs::read(home.join(path)).unwrap_or_default();
                let (source, destination) = (read(&file.source), read(&file.destination));
                let raced = created.iter().any(|other| other.destination == file.destination);
                if raced && destination != theirs {
                    return Err(format!("OVERWRITTEN: {} was somebody else's", file.destination.display()));
                }
                // A key that has lost its place to another file keeps its content under a free
                // name.
                let is_kept = || {
                    Ok::<_, String>(
                        Tree::of(home)?.0.values().any(|entry| entry.kind == Kind::File(hash(&file.bytes))),
                    )
                };
                let may_be_aside = self.subject.key == Key::Temporary;
                if source != file.bytes
                    && (raced || destination != file.bytes)
                    && !(may_be_aside && is_kept()?)
                {
                    return Err(format!("LOST: {} is nowhere", file.source.display()));
                }
            }
        }
        Ok(())
    }

    /// Checks the conditions that hold at every moment: no file is lost, no file is torn.
    pub(crate) fn holds(&self, home: &Path) -> Fallible<()> {
        let read = |path: &Path| match std::fs::read(home.join(path)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("UNREADABLE: {}: {e}", path.display()))
            }
            read => Ok(read.ok()),
        };
        for file in &self.tracked {
            let (source, destination) = (read(&file.source)?, read(&file.destination)?);
            for (path, found) in [(&file.source, &source), (&file.destination, &destination)] {
                if found.as_ref().is_some_and(|found| *found != file.bytes) {
                    return Err(format!("TORN: {} holds something else than it should", path.display()));
                }
            }
            if source.is_none() && destination.is_none() {
                return Err(format!(
                    "LOST: {} is neither there nor at {}",
                    file.source.display(),
                    file.destination.display()
                ));
            }
        }
        for (path, bytes) in &self.foreign {
            if read(path)?.as_ref() != Some(bytes) {
                return Err(format!("FOREIGN: {} is not what it was", path.display()));
            }
        }
        self.config_holds(home)
    }

    fn config_holds(&self, home: &Path) -> Fallible<()> {
        let path = home.join(APP).join("config.json");
        let now = std::fs::read(&path).map_err(|e| format!("ABSENT: config.json: {e}"))?;
        if now == self.former_config {
            return Ok(());
        }
        if !self.subject.op.repairs() {
            return Err("config.json was written by an operation that has no business there".to_owned());
        }
        let config: Value = serde_json::from_slice(&now).map_err(|e| format!("TORN: config.json: {e}"))?;
        if !config["providers"].is_array() || !config["networks"].is_null() {
            return Err("config.json is neither what it was nor app-shaped".to_owned());
        }
        let copies = Tree::of(&home.join(APP).join("config-backups"))?;
        if !copies.0.values().any(|entry| entry.kind == Kind::File(hash(&self.former_config))) {
            return Err("LOST: config.json was replaced, and no copy of the former one is in config-backups"
                .to_owned());
        }
        match std::fs::read(home.join(MESH).join("config.json")) {
            Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
                Ok(theirs) if theirs["version"].is_number() => Ok(()),
                _ => Err("TORN: the daemon's own config.json".to_owned()),
            },
            Err(e) => {
                Err(format!("LOST: the app's config was repaired before the daemon's half was in place: {e}"))
            }
        }
    }

    /// Checks that `home` is as an undisturbed run leaves it. If the disk failed (`in_full` false),
    /// the next run may make a missing backup of a healthy config, and remove a temporary file. The
    /// backup of a replaced config may not wait; [`Self::holds`] checks it.
    fn done(&self, home: &Path, in_full: bool) -> Fallible<()> {
        self.holds(home)?;
        let goal = self.goal.as_ref().ok_or("no undisturbed run to compare with")?;
        // A repair without its routine backup is complete; the next launch makes that backup.
        let copies_too = in_full && self.subject.op != Op::Salvage;
        goal.missed_by(home, in_full, copies_too)?.map_or(Ok(()), Err)
    }

    /// Checks the home after a disturbed run. Then runs the operation undisturbed, which must
    /// finish the work, and once more, which must change nothing.
    pub(crate) fn recovers(&self, home: &Path, disturbed: Option<&Ran>) -> Fallible<()> {
        self.holds(home).map_err(|why| format!("after the disturbed run: {why}"))?;
        if let Some(run) = disturbed {
            if run.stderr.contains("panicked at") || run.code == Some(101) {
                return Err(format!("it panicked:\n{}", run.stderr));
            }
            if run.code == Some(0) {
                self.done(home, false).map_err(|why| format!("it reported success, but {why}"))?;
            }
        }
        let finished = run(&mut self.operation(home), super::PATIENCE)?;
        if finished.code != Some(0) {
            return Err(format!(
                "the next, undisturbed run ended with {}:\n{}",
                finished.status,
                finished.stderr.trim_end()
            ));
        }
        self.done(home, true).map_err(|why| format!("after the next, undisturbed run: {why}"))?;
        let before = Tree::of(home)?;
        let finished = run(&mut self.operation(home), super::PATIENCE)?;
        let touched = before.touched(&Tree::of(home)?);
        if finished.code != Some(0) || !touched.is_empty() {
            return Err(format!("the run after that ended with {} and touched {touched:?}", finished.status));
        }
        Ok(())
    }
}
