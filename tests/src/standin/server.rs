//! The socket, and its faults.
#![expect(clippy::print_stderr, reason = "a daemon's log is its stderr")]

#[cfg(unix)]
use std::os::{
    fd::{AsFd, OwnedFd},
    unix::net::{UnixListener, UnixStream as Stream},
};
use std::{
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
#[cfg(unix)]
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

#[cfg(windows)]
use super::pipe::{Stream, listen};
#[cfg(unix)]
use super::store;
use super::{Daemon, Settings, mode::Modes};

/// The exit code of a fault that ends the daemon.
const DEAD: u8 = 3;

struct Shared {
    daemon: Mutex<Daemon>,
    subscribers: Mutex<Vec<Stream>>,
    answered: AtomicU64,
    asked: AtomicU64,
    modes: Modes,
    trace: Option<PathBuf>,
}

pub(super) fn serve(settings: Settings) -> u8 {
    let modes = settings.modes.clone();
    #[cfg(unix)]
    if modes.has("hands-over") {
        return hand_over(&settings).unwrap_or_else(|e| fail(&format!("hand over: {e}")));
    }
    #[cfg(unix)]
    let socket = Arc::new(Mutex::new(None::<PathBuf>));
    // Handles signals before anything else: a daemon that gets SIGTERM during its start ends too.
    #[cfg(unix)]
    match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => end_on_signal(signals, &modes, Arc::clone(&socket)),
        Err(e) => return fail(&format!("signals: {e}")),
    }
    if modes.has("dies-early") {
        eprintln!("stand-in-daemon: starting");
        eprintln!("stand-in-daemon: told to die early");
        return modes.number("dies-early").and_then(|code| u8::try_from(code).ok()).unwrap_or(DEAD);
    }
    if let Some(wait) = modes.millis("slow-start") {
        thread::sleep(wait);
    }
    let daemon = match Daemon::start(&settings) {
        Ok(daemon) => daemon,
        Err(e) => return fail(&e),
    };
    let path = match &daemon.config.daemon.control_socket {
        Some(path) => PathBuf::from(path),
        None => daemon.store.socket(),
    };
    let listener = match listen(&path, &modes) {
        Ok(listener) => listener,
        Err(e) => return fail(&format!("bind {}: {e}", path.display())),
    };
    note_ready(settings.trace.as_deref());
    #[cfg(unix)]
    if !modes.has("leaves-a-child") {
        *lock(&socket) = Some(path.clone());
    } else if let Err(e) = leave_a_child(&listener) {
        return fail(&format!("leave a child: {e}"));
    }
    eprintln!("stand-in-daemon {}: listening on {}", settings.version.name(), path.display());
    if let Some(wait) = modes.millis("dies-in") {
        thread::spawn(move || {
            thread::sleep(wait);
            die("told to die now");
        });
    }
    let shared = Arc::new(Shared {
        daemon: Mutex::new(daemon),
        subscribers: Mutex::new(Vec::new()),
        answered: AtomicU64::new(0),
        asked: AtomicU64::new(0),
        modes,
        trace: settings.trace,
    });
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.converse(stream));
            }
            Err(e) => eprintln!("stand-in-daemon: accept: {e}"),
        }
    }
    0
}

#[cfg(unix)]
fn listen(path: &Path, modes: &Modes) -> io::Result<UnixListener> {
    if modes.has("takes-over") {
        return Ok(UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    // Unlinks the path even if a daemon listens there; that daemon then runs on without a reachable
    // socket.
    store::unlink(path);
    UnixListener::bind(path)
}

/// Starts a child that holds the socket as its standard input, and longer than this process.
#[cfg(unix)]
fn leave_a_child(listener: &UnixListener) -> io::Result<()> {
    let socket = OwnedFd::from(listener.try_clone()?);
    std::process::Command::new("sleep").arg("4").stdin(socket).spawn().map(drop)
}

/// Begins to listen, lets another process serve, and runs on without a part in it. Handles no
/// signal: any signal ends this process.
#[cfg(unix)]
fn hand_over(settings: &Settings) -> io::Result<u8> {
    let path = settings.home.join("daemon.sock");
    store::unlink(&path);
    let listener = UnixListener::bind(&path)?;
    let mut server = std::process::Command::new(std::env::current_exe()?)
        .arg("serve")
        .env("STAND_IN_MODE", format!("takes-over,{}", std::env::var("STAND_IN_THEN").unwrap_or_default()))
        .stdin(OwnedFd::from(listener.try_clone()?))
        .spawn()?;
    let _kept = (settings.modes.argument("hands-over") == Some("keep")).then_some(listener);
    server.wait()?;
    loop {
        thread::park();
    }
}

/// Writes the time at which the stand-in began to listen, beside the trace.
#[expect(clippy::disallowed_methods, reason = "a note, which nobody needs whole after a crash")]
fn note_ready(trace: Option<&Path>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let Some(path) = trace.map(|trace| beside(trace, ".ready")) else { return };
    let _ = std::fs::write(path, now.as_nanos().to_string());
}

fn beside(trace: &Path, end: &str) -> PathBuf {
    let mut path = trace.as_os_str().to_owned();
    path.push(end);
    path.into()
}

fn fail(problem: &str) -> u8 {
    eprintln!("Error: {problem}");
    1
}

fn die(why: &str) -> ! {
    eprintln!("stand-in-daemon: {why}");
    std::process::exit(DEAD.into())
}

#[cfg(unix)]
fn end_on_signal(mut signals: Signals, modes: &Modes, socket: Arc<Mutex<Option<PathBuf>>>) {
    let (ignore, lingers) = (modes.has("ignore-term"), modes.millis("lingers"));
    thread::spawn(move || {
        for _ in signals.forever() {
            if ignore {
                eprintln!("stand-in-daemon: told to ignore the signal");
                continue;
            }
            if let Some(path) = lock(&socket).take() {
                store::unlink(&path);
            }
            thread::sleep(lingers.unwrap_or_default());
            std::process::exit(0);
        }
    });
}

/// Kills the process at the other end of a connection and waits until it is gone and its locks are
/// released.
#[cfg(target_os = "linux")]
fn kill_peer(stream: &Stream) {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return };
    eprintln!("stand-in-daemon: told to kill process {}", peer.pid.as_raw_nonzero());
    let _ = rustix::process::kill_process(peer.pid, rustix::process::Signal::KILL);
    let stat = format!("/proc/{}/stat", peer.pid.as_raw_nonzero());
    let is_there = || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while is_there() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_peer(_: &Stream) {
    die("cannot tell here who asked")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn converse(&self, stream: Stream) {
        if self.modes.has("close") {
            return;
        }
        if self.modes.has("silent") {
            // Returns when the client closes the connection.
            let _ = io::copy(&mut &stream, &mut io::sink());
            return;
        }
        let Ok(writer) = stream.try_clone() else { return };
        for (number, line) in BufReader::new(stream).split(b'\n').enumerate() {
            let Ok(line) = line else { return };
            if number == 0 && self.note_connection().is_err() {
                return;
            }
            if self.exchange(&writer, &String::from_utf8_lossy(&line)).is_err() {
                return;
            }
        }
    }

    fn exchange(&self, mut to: &Stream, line: &str) -> io::Result<()> {
        self.note(line)?;
        if let Some(wait) = self.modes.millis("slow-answer") {
            thread::sleep(wait);
        }
        let (mut answer, events) = {
            let mut daemon = lock(&self.daemon);
            (daemon.answer(line), std::mem::take(&mut daemon.events))
        };
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if self.modes.number("dies-unanswered") == Some(asked) {
            die("told to die without an answer");
        }
        if self.modes.number("silent-after").is_some_and(|most| asked > most) {
            return Ok(());
        }
        if self.modes.number("kills-peer") == Some(asked) {
            kill_peer(to);
        }
        if self.modes.has("says-more") {
            answer["trace_id"] = "0af7651916cd43dd".into();
            if let Some(data) = answer["data"].as_object_mut() {
                data.insert("from_a_later_year".to_owned(), json!({"lanes": [1, 2]}));
            }
            let pushed = json!({"kind": "trace", "span": {"op": "something"}});
            to.write_all(format!("{pushed}\n").as_bytes())?;
        }
        if answer["data"]["subscribed"] == true {
            // Holds the lock until the subscriber is registered: a subscriber gets every event
            // after its answer.
            let mut subscribers = lock(&self.subscribers);
            self.send(to, &format!("{answer}\n"))?;
            subscribers.push(to.try_clone()?);
        } else {
            self.send(to, &format!("{answer}\n"))?;
        }
        if self.modes.has("unasked") {
            to.write_all(format!("{answer}\n").as_bytes())?;
        }
        self.push(&events);
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if self.modes.number("dies-after").is_some_and(|most| answered >= most) {
            die("told to die after so many requests");
        }
        Ok(())
    }

    fn send(&self, mut to: &Stream, line: &str) -> io::Result<()> {
        let line = line.as_bytes();
        if self.modes.has("garbage") {
            return to.write_all(b"220 mail.example.org ESMTP\n");
        }
        if self.modes.has("not-utf8") {
            return to.write_all(b"{\"ok\":true,\"data\":\"\xff\xfe\"}\n");
        }
        if self.modes.has("half-line") {
            return to.write_all(&line[..line.len() / 2]);
        }
        if self.modes.has("flood") {
            loop {
                to.write_all(&[b'x'; 64 * 1024])?;
            }
        }
        if self.modes.has("flood-events") {
            let event = json!({"kind": "event", "event": {"event_kind": "diag", "message": "flood"}});
            loop {
                to.write_all(format!("{event}\n").as_bytes())?;
            }
        }
        match self.modes.millis("drip") {
            Some(pause) => line.iter().try_for_each(|byte| {
                thread::sleep(pause.max(Duration::from_millis(1)));
                to.write_all(&[*byte])
            }),
            None => to.write_all(line),
        }
    }

    fn push(&self, events: &[Value]) {
        for event in events {
            let line = format!("{event}\n");
            lock(&self.subscribers).retain_mut(|subscriber| subscriber.write_all(line.as_bytes()).is_ok());
        }
    }

    /// Appends one line for each connection with a request, beside the trace.
    fn note_connection(&self) -> io::Result<()> {
        let Some(trace) = &self.trace else { return Ok(()) };
        let path = beside(trace, ".connections");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(b"one\n")
    }

    fn note(&self, line: &str) -> io::Result<()> {
        let Some(trace) = &self.trace else { return Ok(()) };
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(trace)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}
