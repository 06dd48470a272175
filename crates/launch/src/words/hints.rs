//! The hint of a diagnostic: one command to copy, if there is one.
//!
//! A library knows neither this program nor the options with which it was called for the home in
//! question. The library's hint is, at most, a command that shows or mends the problem itself. This
//! module adds the command of this program by the code of the diagnostic.

use std::ffi::OsString;
use std::path::Path;

use myownllm_durable_fs::{quote, show_path};

use crate::words::diagnostic::{Diagnostic, PROGRAM};

/// The variable that names the daemon's program.
const DAEMON_VARIABLE: &str = "MYOWNMESH_BIN";

impl Diagnostic {
    /// Sets the command for the diagnostic's code. `program` is the name of the program with its
    /// options.
    pub fn complete_hint(&mut self, program: &str) {
        let said = self.hint.take();
        self.hint = match command(self) {
            // These error families carry only prose hints.
            Some(command) if said.is_none() || is_in_words(&self.code) => Some(command),
            _ => said,
        };
        self.hint = self.hint.take().map(|hint| called(hint, program));
    }

    /// Drops `sudo` from the hint, for a user who is root: a container may lack `sudo`. Lets a hint
    /// that makes a directory give it to the owner of the one above, who could not use one of root's.
    pub fn complete_hint_for_root(&mut self) {
        let file = self.file.as_deref();
        self.hint = self.hint.take().map(|hint| match hint.strip_prefix("sudo ") {
            Some(command) if !command.starts_with('-') => command.to_owned(),
            _ if hint.contains("mkdir ") && !hint.contains(" && chown ") => {
                hint + &file.and_then(give_new).unwrap_or_default()
            }
            _ => hint,
        });
    }

    /// Repeats the command of this call, `args`, in a hint that leads to the home that the user
    /// meant.
    pub fn repeat_command(&mut self, args: &[OsString]) {
        const WRONG_HOME: [&str; 4] =
            ["paths.app-home", "paths.home-missing", "paths.sudo-home", "store.no-home"];
        let Some(hint) = self.hint.as_mut().filter(|_| WRONG_HOME.contains(&&*self.code)) else { return };
        let Some(before) = hint.strip_suffix(" status") else { return };
        let mut command = before.to_owned();
        let mut words = args.iter().skip(1);
        while let Some(word) = words.next() {
            if word == "--home" {
                words.next();
            } else if !word.to_string_lossy().starts_with("--home=") {
                command.push(' ');
                command.push_str(&quote(Path::new(word)));
            }
        }
        *hint = command;
    }
}

/// Returns the end of a command that gives the topmost missing part of a path to the owner of the
/// directory above, unless that is root.
#[cfg(unix)]
fn give_new(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let new = path.ancestors().take_while(|path| path.symlink_metadata().is_err()).last()?;
    let above = new.parent()?.metadata().ok().filter(|above| above.uid() != 0)?;
    Some(format!(" && chown -R {}:{} {}", above.uid(), above.gid(), quote(new)))
}

#[cfg(not(unix))]
fn give_new(_: &Path) -> Option<String> {
    None
}

fn is_in_words(code: &str) -> bool {
    ["config.", "store.", "envelope."].iter().any(|family| code.starts_with(family))
}

/// Returns the command of this program for the code of a diagnostic, without the options of this
/// call.
fn command(diagnostic: &Diagnostic) -> Option<String> {
    let path = diagnostic.file.as_deref().or(diagnostic.path.as_deref().map(Path::new));
    let file = path.filter(|path| path.is_absolute()).map(quote);
    let ours = |rest: &str| Some(format!("{PROGRAM} {rest}"));
    match (diagnostic.code.as_str(), file) {
        ("daemon.unreachable", _) => ours("launch"),
        ("envelope.not-exportable", _) => ours("launch --no-daemon"),
        ("daemon.busy" | "daemon.foreign-owner" | "daemon.foreign-identity", _)
        | ("daemon.already-running" | "migration.identity-held-back", _) => ours("doctor"),
        ("daemon.closed" | "daemon.replaced" | "daemon.protocol" | "daemon.not-stopped", _) => ours("status"),
        ("daemon.socket-too-long" | "daemon.unknown-process", _) => ours("paths"),
        ("daemon.not-started", _) => ours("daemon logs"),
        ("daemon.unknown-op", _) => ours("daemon status"),
        ("daemon.no-means", _) => Some("ulimit -n".to_owned()),
        ("network.unknown" | "network.ambiguous" | "envelope.not-an-envelope", _) => ours("network list"),
        ("salvage.odd-network" | "config.replaced", _) => ours("config history"),
        ("input.unreadable", Some(_)) => path.map(show_path),
        ("store.newer" | "migration.identity-newer", _) => ours("--version"),
        ("store.unstable" | "store.conflict", Some(file)) => Some(format!("fuser -v {file}")),
        ("store.backups-full", Some(dir)) => {
            let previous = quote(format!("{}.old", diagnostic.path.as_deref()?));
            // The number in the name gives the order.
            // `xargs` would split any other name at a space or quote.
            let oldest = r"ls | grep -E '^(kept|daemon)-[0-9a-f-]+\.json$' | sort -t - -k 2,2n | head -n 250";
            // `xargs -I` would replace its letters in the path of the directory too.
            let move_them = format!("xargs sh -c 'mv -n \"$@\" \"$0\"' {previous}/");
            Some(format!("mkdir -p -m 700 {previous} && cd {dir} && {oldest} | {move_them}"))
        }
        ("config.syntax" | "config.not-an-object" | "envelope.parse", Some(_)) => {
            path.map(|path| edit(path, diagnostic.place.as_ref().map(|place| place.line)))
        }
        _ => None,
    }
}

/// Returns the command that launches with this daemon program.
pub(crate) fn launch_with(program: &Path) -> String {
    format!("{DAEMON_VARIABLE}={} {PROGRAM} launch", quote(program))
}

/// Returns the command that opens a file, at a line if one is known.
pub(crate) fn edit(file: impl AsRef<Path>, line: Option<usize>) -> String {
    let line = line.map_or_else(String::new, |line| format!("+{line} "));
    // The editor of a user may have arguments, which zsh does not split off, and fish reads no
    // braces.
    format!("sh -c '${{EDITOR:-vi}} {line}\"$0\"' {}", quote(file))
}

/// Replaces the name of the program in a hint by `program`, so that the copied hint leads to the
/// home in question: the code that sets a hint need not know how the user named the home.
pub(crate) fn called(hint: String, program: &str) -> String {
    let found = match hint.starts_with(DAEMON_VARIABLE) {
        // The path of the daemon's program, which stands before, may hold the name too.
        true => hint.rsplit_once(PROGRAM),
        false => hint.strip_prefix(PROGRAM).map(|rest| ("", rest)),
    };
    match found {
        Some((before, rest)) if rest.starts_with(' ') && !rest.starts_with(" --") => {
            format!("{before}{program}{rest}")
        }
        _ => hint,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use myownllm_config_store::StoreError;
    use myownllm_daemon::{ControlError, DetectRefusal, Endpoint, Probe, SpawnError, StopError};
    use myownllm_durable_fs::sim_path;
    use myownllm_paths::camino::Utf8Path;

    use super::*;

    /// The words that may begin a line to copy.
    const COMMANDS: [&str; 23] = [
        PROGRAM, "chmod", "cp", "df", "findmnt", "fuser", "kill", "ls", "lsattr", "lsns", "mkdir", "mv",
        "pgrep", "ps", "readlink", "rm", "sh", "tail", "taskkill", "tasklist", "ulimit", "sudo", "test",
    ];

    #[track_caller]
    fn is_a_command(mut diagnostic: Diagnostic) {
        diagnostic.complete_hint(PROGRAM);
        let hint = diagnostic.hint.clone().unwrap_or_else(|| panic!("no way out: {diagnostic:?}"));
        let first = hint.split(' ').next().unwrap_or_default();
        assert!(COMMANDS.contains(&first) && !hint.contains('\n'), "{hint:?} is no command: {diagnostic:?}");
    }

    fn failed() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn the_way_out_of_what_goes_wrong_with_a_daemon_is_a_command() {
        let endpoint = || Endpoint::unix("/h/daemon.sock");
        let op = || "network_add".to_owned();
        let path = || sim_path!("/h/a b").into();
        for pid in [None, Some(7)] {
            let errors = [
                ControlError::Unreachable { endpoint: endpoint(), source: failed() },
                ControlError::ResourceExhausted { endpoint: endpoint(), source: failed() },
                ControlError::Busy { endpoint: endpoint(), op: op(), waited: Duration::ZERO, pid },
                ControlError::Closed { endpoint: endpoint(), op: op() },
                ControlError::ForeignOwner { endpoint: endpoint(), uid: 1, pid },
                ControlError::Replaced { endpoint: endpoint(), before: 1, now: 2 },
                ControlError::PathTooLong { endpoint: endpoint(), length: 2, limit: 1 },
                ControlError::Protocol { op: op(), problem: "p".to_owned() },
                ControlError::UnknownOp { op: op(), message: "m".to_owned() },
            ];
            errors.iter().for_each(|error| is_a_command(Diagnostic::from(error)));
            let refusals = [
                DetectRefusal::Busy { endpoint: endpoint(), pid, waited_ms: 1 },
                DetectRefusal::ForeignOwner { endpoint: endpoint(), uid: 1, pid },
                DetectRefusal::ForeignIdentity { endpoint: endpoint(), pid, expected: op(), found: op() },
                DetectRefusal::PathTooLong { endpoint: endpoint(), length: 2, limit: 1 },
                DetectRefusal::ResourceExhausted { endpoint: endpoint(), problem: op() },
                DetectRefusal::Unusable { endpoint: endpoint(), pid, problem: op() },
                DetectRefusal::Suspended { endpoint: endpoint(), pid: 7 },
                DetectRefusal::Unknown { endpoint: endpoint(), problem: op() },
            ];
            refusals.iter().for_each(|refusal| is_a_command(Diagnostic::from(refusal)));
            let found = || Box::new(Probe::Busy { pid, waited_ms: 1 });
            let errors = [
                SpawnError::Occupied { endpoint: endpoint(), found: found() },
                SpawnError::ResourceExhausted { endpoint: endpoint(), problem: op() },
                SpawnError::SocketTooLong { endpoint: endpoint(), length: 2, limit: 1 },
                SpawnError::NotASocket { path: path() },
                SpawnError::Home { home: path(), source: failed() },
                SpawnError::Log { path: path(), source: failed() },
                SpawnError::AllFailed { home: path(), tried: Vec::new() },
            ];
            errors.iter().for_each(|error| is_a_command(Diagnostic::from(error)));
            let errors = [
                StopError::UnknownProcess { endpoint: endpoint() },
                StopError::ForeignOwner { endpoint: endpoint(), uid: 1, pid },
                StopError::Unreachable { endpoint: endpoint(), source: failed() },
                StopError::Unverified { endpoint: endpoint(), why: op(), command: "ps -fp 7".to_owned() },
                StopError::NoHandle { endpoint: endpoint(), pid: 7, source: failed() },
                StopError::Signal { endpoint: endpoint(), pid: 7, source: failed() },
                StopError::StillThere { endpoint: endpoint(), pid: 7, waited: Duration::ZERO },
                StopError::CameBack { endpoint: endpoint(), before: 7, now: 8 },
            ];
            errors.iter().for_each(|error| is_a_command(Diagnostic::from(error)));
        }
    }

    #[test]
    fn the_way_out_of_what_is_wrong_with_paths_and_configs_is_a_command() {
        use myownllm_paths::PathsError;
        let path = || std::path::PathBuf::from(sim_path!("/h/a b"));
        let utf8 = || sim_path!("/h/a b").into();
        let errors = [
            PathsError::ControlSocket { named: utf8(), why: "is empty", config: utf8() },
            PathsError::SocketTooLong { socket: utf8(), length: 2, limit: 1, daemon_config: utf8() },
            PathsError::Lookup { path: path(), source: failed() },
            PathsError::NotADirectory { daemon_home: utf8(), at: utf8(), what: "a file" },
        ];
        errors.iter().for_each(|error| is_a_command(Diagnostic::from(error)));
        let errors = [
            StoreError::Unstable { path: utf8() },
            StoreError::Conflict { path: path() },
            StoreError::Newer { path: utf8(), version: 9 },
            StoreError::BackupsFull { path: utf8(), count: 1, bytes: 1 },
            StoreError::NoHome { path: utf8() },
            StoreError::TooLarge { path: utf8(), limit: 1 },
            StoreError::TooMuch { path: utf8(), why: "it is nested".to_owned() },
            StoreError::ConfigIsBackup { path: utf8(), backup: path() },
            StoreError::ForeignLink { path: utf8(), by: 1, of: 0 },
        ];
        errors.iter().for_each(|error| is_a_command(Diagnostic::from(error)));
        let broken = myownllm_config_model::Document::parse(b"{\n  \"a\": 1,\n}").unwrap_err();
        let file = Path::new(sim_path!("/h/c.json"));
        let mut diagnostic = Diagnostic::from_error(&broken, broken.code(), broken.hint()).at(file);
        diagnostic.complete_hint(PROGRAM);
        assert_eq!(diagnostic.hint, Some(format!("sh -c '${{EDITOR:-vi}} +2 \"$0\"' {}", quote(file))));
        // Without a file, there is nothing to open.
        let mut diagnostic = Diagnostic::from_error(&broken, broken.code(), broken.hint());
        diagnostic.complete_hint(PROGRAM);
        assert_eq!(diagnostic.hint, broken.hint());
    }

    /// A user may have put a copy there.
    #[cfg(target_os = "linux")]
    #[expect(clippy::disallowed_methods, reason = "a test sets its own scene")]
    #[test]
    fn hint_for_full_backups_passes_over_files_of_other_names() {
        let dir = tempfile::tempdir().expect("made");
        let backups = dir.path().join("it's {} full");
        std::fs::create_dir(&backups).expect("made");
        for name in
            ["kept-1-it's.json", "kept-000002-ab (1).json", "kept-000003-ab.json", "good-000004-ab.json"]
        {
            std::fs::write(backups.join(name), "").expect("written");
        }
        let path = Utf8Path::from_path(&backups).expect("UTF-8").to_owned();
        let mut diagnostic = Diagnostic::from(&StoreError::BackupsFull { path, count: 1, bytes: 1 });
        diagnostic.complete_hint(PROGRAM);
        let hint = diagnostic.hint.expect("a command");
        assert!(
            std::process::Command::new("sh").args(["-c", &hint]).status().expect("run").success(),
            "{hint}"
        );
        let moved: Vec<_> = std::fs::read_dir(format!("{}.old", backups.display())).expect("there").collect();
        assert_eq!(moved.len(), 1, "{hint}: {moved:?}");
    }

    #[test]
    fn a_hint_calls_the_program_as_it_was_called() {
        let with = |hint: &str| called(hint.to_owned(), "prog --home /h");
        assert_eq!(with("myownllm-mesh launch"), "prog --home /h launch");
        for path in ["/opt/myownmesh", "/opt/myownllm-mesh & co/myownmesh"] {
            let named = |program: &str| format!("MYOWNMESH_BIN={} {program} launch", quote(path));
            assert_eq!(with(&named(PROGRAM)), named("prog --home /h"));
            assert_eq!(launch_with(Path::new(path)), named(PROGRAM));
        }
        for same in [
            "myownllm-mesh --help",
            "ls /myownllm-mesh x",
            "cp a myownllm-mesh launch",
            "prog --home /h launch",
        ] {
            assert_eq!(with(same), same);
        }
    }
}
