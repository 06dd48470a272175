//! The vocabulary of a scenario: a home, programs that run in it, requests to a daemon, and checks.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::testkit::{Ran, Running, ask, is_silent, wait_for};
use serde_json::{Value, json};

use super::Tools;
use crate::Fallible;
use crate::fixture::{self, APP, MESH, SECRETS};
use crate::guard::{self, Dir, run, start};
use crate::tree::Tree;

/// Far longer than any command of a scenario takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reason why a scenario stopped early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The scenario cannot be played here.
    Skipped(String),
    /// A precondition failed.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The events of a scenario, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// A heading inside the scenario.
    Part(String),
    /// A command, its outcome (usually an exit code), and its time.
    Ran { command: String, outcome: String, took: Duration, said: Vec<String> },
    /// The home, before and after.
    Drawn { before: Tree, after: Tree },
    /// A check: the condition, its result, and the evidence.
    Checked { what: String, good: bool, expected: Option<String>, seen: String },
}

/// The report of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) events: Vec<Event>,
    pub(crate) kept: Option<PathBuf>,
    pub(crate) stopped: Option<String>,
}

impl Record {
    pub(crate) fn failed(why: String) -> Self {
        Self::default().stopped(why)
    }

    pub(crate) fn stopped(mut self, why: String) -> Self {
        self.stopped = Some(why);
        self
    }

    pub(crate) fn checks(&self) -> impl Iterator<Item = bool> {
        self.events.iter().filter_map(|event| match event {
            Event::Checked { good, .. } => Some(*good),
            _ => None,
        })
    }

    pub(crate) fn all_good(&self) -> bool {
        self.checks().all(|good| good) && self.stopped.is_none()
    }
}

/// The place of a scenario: a user's home in a temporary directory.
#[derive(Debug)]
pub(crate) struct Stage<'t> {
    pub(crate) tools: &'t Tools,
    /// The user's home.
    pub(crate) home: PathBuf,
    homes: usize,
    dir: Dir,
    before: Option<Tree>,
    record: Record,
}

impl<'t> Stage<'t> {
    pub(crate) fn new(tools: &'t Tools) -> Fallible<Self> {
        let dir = Dir::new(None)?;
        let home = dir.path().join("home");
        fixture::dir(&home)?;
        // HOME points to this directory. The program gets its home by `--home`, so no file may ever
        // appear here.
        fixture::dir(&dir.path().join("elsewhere"))?;
        Ok(Self { tools, home, homes: 1, dir, before: None, record: Record::default() })
    }

    // --- the home

    /// Begins the scenario or a part of it, and records the home as it is now.
    pub(crate) fn begin(&mut self) -> Fallible<()> {
        self.before = Some(Tree::of(&self.home)?);
        Ok(())
    }

    /// Continues in another, empty home.
    pub(crate) fn next_home(&mut self) -> Fallible<()> {
        self.draw()?;
        self.homes += 1;
        self.home = self.dir.path().join(format!("home{}", self.homes));
        fixture::dir(&self.home)
    }

    /// Shows the changes of the home since `begin`.
    fn draw(&mut self) -> Fallible<()> {
        if let Some(before) = self.before.take() {
            let after = self.tree()?;
            self.record.events.push(Event::Drawn { before, after });
        }
        Ok(())
    }

    pub(crate) fn part(&mut self, title: impl Into<String>) {
        self.record.events.push(Event::Part(title.into()));
    }

    pub(crate) fn tree(&self) -> Fallible<Tree> {
        Tree::of(&self.home)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.home.join(path)
    }

    pub(crate) fn bytes(&self, path: &str) -> Fallible<Vec<u8>> {
        std::fs::read(self.path(path)).map_err(|e| format!("cannot read ~/{path}: {e}"))
    }

    pub(crate) fn json(&self, path: &str) -> Fallible<Value> {
        serde_json::from_slice(&self.bytes(path)?).map_err(|e| format!("~/{path} is no JSON: {e}"))
    }

    /// Returns the app's config.
    pub(crate) fn config(&self) -> Fallible<Value> {
        self.json(&format!("{APP}/config.json"))
    }

    pub(crate) fn is_there(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    // --- programs

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.dir.path().join("elsewhere")).env("MYOWNMESH_BIN", &self.tools.daemon);
        command.env_remove("MYOWNMESH_HOME").env_remove("MYOWNLLM_MESH_BIN").current_dir(self.dir.path());
        command
    }

    /// Returns the program with these arguments.
    pub(crate) fn mesh_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.tools.mesh);
        command.arg("--home").arg(&self.home).args(args);
        command
    }

    /// Runs the program to its end and shows its output.
    pub(crate) fn mesh(&mut self, args: &[&str]) -> Fallible<Ran> {
        let finished = run(&mut self.mesh_command(args), PATIENCE)?;
        self.ran_saying(&format!("myownllm-mesh --home ~ {}", args.join(" ")), &finished, true);
        Ok(finished)
    }

    /// Runs the program and returns its JSON document.
    pub(crate) fn mesh_json(&mut self, args: &[&str]) -> Fallible<(Ran, Value)> {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let finished = run(&mut self.mesh_command(&args), PATIENCE)?;
        self.ran(&format!("myownllm-mesh --home ~ {}", args.join(" ")), &finished);
        let document = serde_json::from_str(&finished.stdout);
        let document = document.map_err(|e| format!("--json printed no JSON: {e}: {:?}", finished.stdout))?;
        Ok((finished, document))
    }

    /// Starts the app: `launch`, which runs as long as its daemon. Returns when the daemon answers.
    pub(crate) fn app(&mut self, args: &[&str]) -> Fallible<App> {
        let started = Instant::now();
        let args: Vec<&str> = std::iter::once("launch").chain(args.iter().copied()).collect();
        let mut running = start(&mut self.mesh_command(&args))?;
        let socket = self.path(&format!("{MESH}/daemon.sock"));
        let status = wait_for(&socket, Duration::from_secs(20), || running.is_running());
        let shown = format!("myownllm-mesh --home ~ {}", args.join(" "));
        match status {
            Ok(_) => {
                let outcome = "runs, its daemon answers".to_owned();
                self.record.events.push(Event::Ran {
                    command: shown.clone(),
                    outcome,
                    took: started.elapsed(),
                    said: vec![],
                });
                Ok(App { running, socket, shown })
            }
            Err(why) => {
                let said = running.errors_so_far();
                self.record.events.push(Event::Ran {
                    command: shown,
                    outcome: "no daemon answers".to_owned(),
                    took: started.elapsed(),
                    said: said.lines().map(str::to_owned).collect(),
                });
                Err(format!("no daemon answers at ~/{MESH}/daemon.sock: {why}"))
            }
        }
    }

    /// Ends the app like a shutdown, and checks that it ends well and ends its daemon.
    pub(crate) fn end(&mut self, app: App) -> Fallible<()> {
        let App { running, socket, shown } = app;
        let finished = running.stop()?;
        // Windows has no signal that asks a program to end: the app is killed there.
        let how = if cfg!(windows) { "kill of" } else { "SIGTERM to" };
        self.ran(&format!("({how} {shown})"), &finished);
        let alone = is_silent(&socket);
        let ended_well = finished.code == Some(0) || cfg!(windows);
        self.check("ending the app ends its daemon with it", ended_well && alone, {
            let code =
                finished.code.map_or_else(|| finished.status.to_string(), |code| format!("exit {code}"));
            format!("{code}, and {} answers on its socket", if alone { "nobody" } else { "somebody still" })
        });
        Ok(())
    }

    /// As [`Stage::app`], and waits until the launch has finished its start-up.
    pub(crate) fn app_that_is_up(&mut self, args: &[&str]) -> Fallible<App> {
        let mut app = self.app(args)?;
        let started = Instant::now();
        while !app.running.errors_so_far().contains("Ctrl-C stops it") {
            if started.elapsed() > PATIENCE || !app.running.is_running() {
                return Err(format!("the app does not come up: {}", app.running.errors_so_far()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(app)
    }

    /// Waits for the end of an app that the story ends by other means.
    pub(crate) fn await_end(&mut self, app: App) -> Fallible<Ran> {
        let finished = app.running.wait(PATIENCE)?;
        self.ran(&format!("({})", app.shown), &finished);
        Ok(finished)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&mut self, shown: &str, command: &mut Command) -> Fallible<Ran> {
        let finished = run(command, PATIENCE)?;
        self.ran(shown, &finished);
        Ok(finished)
    }

    /// Runs the program several times in parallel and returns the JSON documents.
    pub(crate) fn at_once(&mut self, args: &[&str], times: usize) -> Fallible<Vec<Value>> {
        let running: Vec<Running> =
            (0..times).map(|_| start(&mut self.mesh_command(args))).collect::<Fallible<_>>()?;
        running
            .into_iter()
            .map(|one| {
                let finished = one.wait(PATIENCE)?;
                self.ran(&format!("myownllm-mesh --home ~ {}", args.join(" ")), &finished);
                serde_json::from_str(&finished.stdout).map_err(|e| format!("--json printed no JSON: {e}"))
            })
            .collect()
    }

    /// Returns the process behind the one pipe of all daemons.
    #[cfg(windows)]
    pub(crate) fn serving(&self, _home: &str) -> Vec<u32> {
        integration_tests::testkit::server().into_iter().collect()
    }

    /// Returns the processes that serve this daemon home. Works only on Linux.
    #[cfg(not(windows))]
    pub(crate) fn serving(&self, home: &str) -> Vec<u32> {
        let wanted = [b"MYOWNMESH_HOME=", self.path(home).as_os_str().as_encoded_bytes()].concat();
        integration_tests::testkit::processes(|environment| environment.contains(&&*wanted))
    }

    /// Starts a daemon on a home of the story. Returns when the daemon answers.
    pub(crate) fn daemon(&mut self, home: &str) -> Fallible<Daemon> {
        self.daemon_at(home, &self.path(home).join("daemon.sock"))
    }

    /// As [`Stage::daemon`], with the socket path of its config.
    pub(crate) fn daemon_at(&mut self, home: &str, socket: &Path) -> Fallible<Daemon> {
        fixture::dir(&self.path(home))?;
        let mut command = self.command(&self.tools.daemon);
        command.arg("serve").env("MYOWNMESH_HOME", self.path(home)).env_remove("MYOWNMESH_BIN");
        self.start_daemon(home, socket, &mut command)
    }

    /// As [`Stage::daemon`], as another user who owns the home. Needs root.
    pub(crate) fn daemon_of_nobody(&mut self, home: &str) -> Fallible<Daemon> {
        #[cfg(unix)]
        {
            use std::os::unix::{fs::chown, process::CommandExt as _};
            const NOBODY: u32 = 65534;
            // That user must be able to enter the directory.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(self.dir.path(), open).map_err(|e| e.to_string())?;
            let dir = self.path(home);
            fixture::dir(&dir)?;
            let program = self.dir.path().join("myownmesh");
            let bytes = std::fs::read(&self.tools.daemon).map_err(|e| e.to_string())?;
            fixture::plant(&program, &bytes, 0o755)?;
            chown(&dir, Some(NOBODY), Some(NOBODY)).map_err(|e| e.to_string())?;
            let mut command = self.command(&program);
            command.arg("serve").env("MYOWNMESH_HOME", &dir).env_remove("MYOWNMESH_BIN");
            command.uid(NOBODY).gid(NOBODY);
            self.start_daemon(home, &dir.join("daemon.sock"), &mut command)
        }
        #[cfg(not(unix))]
        Err(format!("no other users here: {home}"))
    }

    fn start_daemon(&mut self, home: &str, socket: &Path, command: &mut Command) -> Fallible<Daemon> {
        let started = Instant::now();
        let mut running = start(command)?;
        wait_for(socket, Duration::from_secs(10), || running.is_running()).map_err(|e| {
            format!("the daemon on ~/{home} does not answer: {e}\n{}", running.errors_so_far())
        })?;
        let name = self.tools.daemon.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let command = format!("MYOWNMESH_HOME=~/{home} {name} serve");
        let outcome = "runs, answers".to_owned();
        self.record.events.push(Event::Ran { command, outcome, took: started.elapsed(), said: vec![] });
        Ok(Daemon { running, socket: socket.to_owned() })
    }

    /// Records a program that has ended, with its stderr if it failed.
    pub(crate) fn ran(&mut self, command: &str, finished: &Ran) {
        self.ran_saying(command, finished, false);
    }

    fn ran_saying(&mut self, command: &str, finished: &Ran, output: bool) {
        let outcome =
            finished.code.map_or_else(|| finished.status.to_string(), |code| format!("exit {code}"));
        let errors = if finished.code == Some(0) && !output { "" } else { finished.stderr.trim_end() };
        let said = if output { finished.stdout.trim_end() } else { "" };
        let said = said.lines().chain(errors.lines());
        let said = said.map(|line| line.replace(&*self.home.to_string_lossy(), "~")).collect();
        self.record.events.push(Event::Ran {
            command: command.to_owned(),
            outcome,
            took: finished.took,
            said,
        });
        let all = [finished.stdout.as_str(), finished.stderr.as_str()].concat();
        if let Some(secret) = SECRETS.iter().find(|secret| all.contains(**secret)) {
            self.check(
                "no secret in the output",
                false,
                format!("a secret that begins with {:?}", &secret[..3]),
            );
        }
        if all.contains("panicked at") {
            self.check("no panic", false, all);
        }
    }

    // --- questions

    /// Asks a daemon for its Device ID.
    pub(crate) fn device_id(&mut self, who: &impl Asked) -> Fallible<String> {
        let shown = ask(who.socket(), "identity_show", Value::Null)?;
        shown["device_id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("identity_show answered {shown}"))
    }

    /// Returns the networks that a daemon has joined, sorted. Asks again for up to ten seconds
    /// until they are `expected`.
    pub(crate) fn joined(&self, who: &impl Asked, expected: &[&str]) -> Fallible<Vec<String>> {
        let started = Instant::now();
        loop {
            let status = ask(who.socket(), "status", Value::Null)?;
            let joined = status["joined_networks"].as_array().into_iter().flatten();
            let mut joined: Vec<_> = joined.filter_map(|id| id.as_str().map(str::to_owned)).collect();
            joined.sort();
            if joined == expected || started.elapsed() > Duration::from_secs(10) {
                return Ok(joined);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the daemon's answer about the roster of a network that it has joined. A daemon 0.3.8
    /// reports a network as joined a moment before it answers about it.
    pub(crate) fn roster(&self, who: &impl Asked, network: &str) -> Fallible<Value> {
        let started = Instant::now();
        loop {
            match who.ask("roster_list", json!({ "network": network })) {
                Err(error)
                    if error.starts_with("unknown network")
                        && started.elapsed() < Duration::from_secs(10) =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                answer => return answer,
            }
        }
    }

    // --- checks

    /// Checks that a condition holds.
    pub(crate) fn check(&mut self, what: impl Into<String>, good: bool, seen: impl Display) {
        let seen = seen.to_string().replace(&*self.home.to_string_lossy(), "~");
        self.record.events.push(Event::Checked { what: what.into(), good, expected: None, seen });
    }

    /// Checks that `seen` equals `expected`.
    pub(crate) fn same<E: Debug + ?Sized, S: Debug + PartialEq<E>>(
        &mut self,
        what: &str,
        expected: &E,
        seen: &S,
    ) {
        let good = seen == expected;
        let expected = (!good).then(|| tidy(expected));
        self.record.events.push(Event::Checked { what: what.to_owned(), good, expected, seen: tidy(seen) });
    }

    /// Checks the exit code of a command.
    pub(crate) fn ends(&mut self, what: &str, run: &Ran, code: i32) {
        let seen = run.code.map_or_else(|| run.status.to_string(), |code| format!("exit {code}"));
        let good = run.code == Some(code);
        let expected = (!good).then(|| format!("exit {code}"));
        self.record.events.push(Event::Checked { what: what.to_owned(), good, expected, seen });
    }

    /// Checks the bytes of every file, and names their number as evidence.
    pub(crate) fn files(&mut self, what: &str, files: &[(String, Vec<u8>)]) {
        let wrong =
            |(path, bytes): &&(String, Vec<u8>)| std::fs::read(self.path(path)).ok().as_ref() != Some(bytes);
        let wrong: Vec<_> = files.iter().filter(wrong).map(|(path, _)| format!("~/{path}")).collect();
        let seen = if wrong.is_empty() {
            format!("{} files, byte for byte", files.len())
        } else {
            format!("not so: {}", wrong.join(", "))
        };
        self.check(what, wrong.is_empty(), seen);
    }

    /// Checks that none of these paths exists.
    pub(crate) fn gone(&mut self, what: &str, names: &[&str]) {
        let left: Vec<_> =
            names.iter().filter(|name| self.is_there(name)).map(|name| format!("~/{name}")).collect();
        let seen = if left.is_empty() {
            format!("looked for {}", list(names))
        } else {
            format!("still there: {}", left.join(", "))
        };
        self.check(what, left.is_empty(), seen);
    }

    /// Checks that the app's config has the full app shape and no key of the daemon.
    pub(crate) fn app_shape(&mut self) -> Fallible<()> {
        const APP_KEYS: [&str; 5] = ["providers", "active_family", "cloud_mesh", "api", "conversation_dir"];
        let config = self.config()?;
        let has = |key: &&&str| config.get(**key).is_some();
        let missing: Vec<_> = APP_KEYS.iter().filter(|key| !has(key)).collect();
        let foreign: Vec<_> = DAEMON_KEYS.iter().filter(has).collect();
        let seen = if missing.is_empty() && foreign.is_empty() {
            format!(
                "{} keys, among them {}",
                config.as_object().map_or(0, serde_json::Map::len),
                APP_KEYS.join(", ")
            )
        } else {
            format!("missing {missing:?}, the daemon's {foreign:?}")
        };
        self.check(
            "the app's config has the app's full shape, and nothing of the daemon's",
            missing.is_empty() && foreign.is_empty(),
            seen,
        );
        Ok(())
    }

    /// Checks that one more start changes no byte and no time stamp.
    pub(crate) fn settled(&mut self) -> Fallible<()> {
        let before = self.tree()?;
        let again = run(&mut self.mesh_command(&["launch", "--no-daemon"]), PATIENCE)?;
        self.ran("myownllm-mesh --home ~ launch --no-daemon", &again);
        let touched = before.touched(&self.tree()?);
        let seen = if touched.is_empty() {
            "same bytes, same mtime and ctime everywhere".to_owned()
        } else {
            format!("touched {touched:?}")
        };
        self.check(
            "one more start changes nothing at all",
            touched.is_empty() && again.code == Some(0),
            seen,
        );
        Ok(())
    }

    // --- the end

    /// Ends running processes, records the final home, and removes the home or keeps it.
    pub(crate) fn finish(mut self, keep: bool, complete: bool) -> Record {
        guard::end_processes_of(self.dir.path());
        let _ = self.draw();
        if complete {
            let strays = Tree::of(&self.dir.path().join("elsewhere"))
                .map(|tree| tree.0.into_keys().collect::<Vec<_>>());
            match strays {
                Ok(strays) if strays.is_empty() => {}
                strays => self.check(
                    "nothing is written outside the home",
                    false,
                    format!("in another directory: {strays:?}"),
                ),
            }
        }
        if keep {
            self.record.kept = Some(self.dir.keep());
        }
        self.record
    }
}

/// The daemon's own top-level keys.
pub(crate) const DAEMON_KEYS: [&str; 5] = ["version", "identity_path", "daemon", "services", "networks"];

/// Joins paths with commas.
fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("~/{name}")).collect::<Vec<_>>().join(", ")
}

/// Shortens evidence to one line.
fn tidy(value: &(impl Debug + ?Sized)) -> String {
    let text = format!("{value:?}").replace('"', "");
    if text == "[]" { "none".to_owned() } else { text.trim_matches(['[', ']']).to_owned() }
}

/// A program with a control socket.
pub(crate) trait Asked {
    fn socket(&self) -> &Path;

    fn ask(&self, op: &str, fields: Value) -> Fallible<Value> {
        ask(self.socket(), op, fields)
    }

    /// Sends the request that the app sent on *Save & activate*.
    fn add_network(&self, id: &str, network_id: &str) -> Fallible<Value> {
        self.ask("network_add", json!({ "config": { "id": id, "network_id": network_id, "label": "" } }))
    }
}

/// The app, running in the foreground over its own daemon.
#[derive(Debug)]
pub(crate) struct App {
    running: Running,
    socket: PathBuf,
    shown: String,
}

impl App {
    pub(crate) fn pid(&self) -> u32 {
        self.running.id()
    }
}

/// A daemon that the story started.
#[derive(Debug)]
pub(crate) struct Daemon {
    running: Running,
    socket: PathBuf,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.running.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    pub(crate) fn stop(self) -> Fallible<()> {
        self.running.stop().map(drop)
    }
}

impl Asked for App {
    fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Asked for Daemon {
    fn socket(&self) -> &Path {
        &self.socket
    }
}
