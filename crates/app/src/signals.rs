//! The signals that a launch listens to while its daemon lives, and the end of that daemon.

#[cfg(not(windows))]
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use myownllm_daemon::Spawned;
#[cfg(not(windows))]
use myownllm_launch::STOP_TIMEOUT;
use myownllm_launch::{Diagnostic, ended_diagnostic, not_stopped_diagnostic};

/// Waits for the signals that matter to a launch, without polling. Uses a thread only for a daemon
/// that a script started: no signal tells the end of such a daemon.
#[cfg(not(windows))]
pub(crate) struct Signals {
    all: signal_hook::iterator::Signals,
}

#[cfg(not(windows))]
impl Signals {
    /// Sets `asked` once a signal asks this process to end, for the time when no code waits for
    /// signals.
    pub(crate) fn listen(asked: &Arc<AtomicBool>) -> std::io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let mut heard = vec![SIGTERM];
        heard.extend(unless_ignored([SIGINT, SIGHUP, SIGQUIT]));
        for signal in &heard {
            signal_hook::flag::register(*signal, Arc::clone(asked))?;
        }
        heard.push(SIGCHLD);
        let all = signal_hook::iterator::Signals::new(heard)?;
        // The parent may have left the signals blocked: this process would receive none, and the
        // daemon, which inherits the mask, could never be asked to end.
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        Ok(Self { all })
    }

    /// Waits for the end of the daemon. Returns the reason, unless Ctrl-C, Ctrl-\ or SIGTERM had
    /// this program stop it.
    pub(crate) fn wait(&mut self, mut spawned: Spawned) -> Option<Diagnostic> {
        use signal_hook::consts::SIGCHLD;
        if let Some(end) = spawned.exit_watch() {
            let waker = self.all.handle();
            // Without this thread, the end of the script is noticed instead.
            let _ = std::thread::Builder::new().name("daemon-watch".to_owned()).spawn(move || {
                let _ = end.wait();
                waker.close();
            });
        }
        loop {
            // A child that ended before this process listened sends no second SIGCHLD, so the loop
            // looks first and then waits.
            if let Ok(Some(end)) = spawned.try_wait() {
                let diagnostic = ended_diagnostic(&spawned, &end);
                // If a script started the daemon, also stops the processes that the script left
                // behind.
                let _ = spawned.stop(STOP_TIMEOUT);
                return Some(diagnostic);
            }
            if self.all.wait().any(|signal| signal != SIGCHLD) {
                return spawned.stop(STOP_TIMEOUT).err().map(|error| not_stopped_diagnostic(&error));
            }
        }
    }
}

/// Returns the signals that are not ignored, as far as the system tells: a parent that ignores a
/// signal (`nohup`, a script's `&`) wants this process to outlive it.
#[cfg(not(windows))]
fn unless_ignored<const N: usize>(signals: [i32; N]) -> impl Iterator<Item = i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    signals.into_iter().filter(move |signal| ignored >> (signal - 1) & 1 == 0)
}

/// On Ctrl-C, Windows ends this process at once, and with it the daemon, which is in a job of this
/// process. Here this process only waits for the end of the daemon.
#[cfg(windows)]
pub(crate) struct Signals;

#[cfg(windows)]
impl Signals {
    /// Never sets the flag: there are no signals to receive.
    pub(crate) fn listen(_: &Arc<AtomicBool>) -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn wait(&mut self, mut spawned: Spawned) -> Option<Diagnostic> {
        loop {
            match spawned.wait_within(std::time::Duration::from_secs(3600)) {
                Ok(Some(status)) => return Some(ended_diagnostic(&spawned, &status)),
                Ok(None) => {}
                Err(error) => return Some(not_stopped_diagnostic(&error)),
            }
        }
    }
}

/// From now on, Ctrl-C or SIGTERM says that nothing is lost before it ends the program.
#[cfg(not(windows))]
pub(crate) fn say_on_interrupt() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let heard = unless_ignored([SIGINT]).chain([SIGTERM]);
    let Ok(mut signals) = signal_hook::iterator::Signals::new(heard) else { return };
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            let _ = std::io::stderr().lock().write_all(b"\nNothing is lost; run it again to go on.\n");
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    // Without a thread, the signal ends the program silently.
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait);
}

#[cfg(windows)]
pub(crate) fn say_on_interrupt() {}

/// From now on, Ctrl-C or SIGTERM sets the flag and does not end the program.
#[cfg(not(windows))]
pub(crate) fn cancel_on_signal(cancelled: &Arc<AtomicBool>) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in unless_ignored([SIGINT]).chain([SIGTERM]) {
        // Without a handler, the signal ends the program without an answer.
        let _ = signal_hook::flag::register(signal, Arc::clone(cancelled));
    }
}

#[cfg(windows)]
pub(crate) fn cancel_on_signal(_: &Arc<AtomicBool>) {}
