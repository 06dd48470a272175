//! The daemon's log. The child writes it itself; rotation keeps some previous logs.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use myownllm_durable_fs::{Disk, LockedDir, rename_or_link};
use myownllm_identity::IdentityPaths;
use myownllm_paths::{
    DaemonFiles,
    camino::{Utf8Path, Utf8PathBuf},
};

use crate::secrets::Secrets;

/// The longest end of a log that is read for its last lines.
const TAIL: u64 = 16 * 1024;
const MAX_LINE_CHARS: usize = 500;
/// The number of previous logs that are kept.
const KEPT_LOGS: usize = 4;
/// The size above which a log is cut to its last part when its daemon has ended.
const MAX_LOG: u64 = 16 << 20;
/// The size of that part.
const KEPT_PART: u64 = 1 << 20;

/// Returns the path of the log of a daemon with this home.
pub fn log_path(home: &Utf8Path) -> Utf8PathBuf {
    home.join(DaemonFiles::LOG)
}

fn numbered(log: &Utf8Path, number: usize) -> Utf8PathBuf {
    format!("{log}.{number}").into()
}

/// Makes room for a new log: the present log becomes number 1, and so on. Keeps [`KEPT_LOGS`]
/// previous logs. An empty log is removed. A number that is taken by anything but a file is left out.
pub(crate) fn rotate(lock: &LockedDir, log: &Utf8Path) -> io::Result<()> {
    let Some(size) = present(lock, log)? else { return Ok(()) };
    cut(log);
    if size == 0 {
        return Ok(lock.unlink(log.as_ref())?);
    }
    let mut previous = Vec::new();
    for path in (1..=KEPT_LOGS).map(|number| numbered(log, number)) {
        let Ok(size) = present(lock, &path) else { continue };
        previous.push(path);
        // The logs behind a gap need not move.
        if size.is_none() {
            break;
        }
    }
    let Some(last) = previous.last() else { return Err(not_a_file(&numbered(log, 1))) };
    if present(lock, last)?.is_some() {
        lock.unlink(last.as_ref())?;
    }
    for pair in previous.windows(2).rev() {
        rename_or_link(lock, pair[0].as_ref(), pair[1].as_ref())?;
    }
    Ok(rename_or_link(lock, log.as_ref(), previous[0].as_ref())?)
}

/// Cuts a log that is too long to its last part: a program that writes without end would fill the
/// disk with its logs. A log that cannot be cut stays.
pub(crate) fn cut(log: &Utf8Path) {
    if let Err(error) = try_to_cut(log) {
        tracing::debug!(%log, %error, "a log was not cut");
    }
}

fn try_to_cut(log: &Utf8Path) -> io::Result<()> {
    // The target of a symlink is no log.
    let is_file = std::fs::symlink_metadata(log)?.is_file();
    let mut file = open(log, true)?;
    let length = file.metadata()?.len();
    if !is_file || length <= MAX_LOG {
        return Ok(());
    }
    let last = end_of(&mut file, 0, KEPT_PART)?;
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "[the last {KEPT_PART} of {length} bytes]")?;
    file.write_all(&last)
}

/// Returns the size of a log. Fails for anything that is no file: it is not ours to move.
fn present(lock: &LockedDir, path: &Utf8Path) -> io::Result<Option<u64>> {
    match lock.stat(path.as_ref()) {
        Ok(meta) if meta.is_file() || meta.is_symlink() => Ok(Some(meta.len)),
        Ok(_) => Err(not_a_file(path)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn not_a_file(path: &Utf8Path) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("{path} is not a file"))
}

/// Creates a log that this user alone can read.
pub(crate) fn create(log: &Utf8Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Opens for appending: several candidates write in turn, and a daemon's children beside it.
    options.append(true).read(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(log)?;
    // The umask may have removed bits that the owner needs.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

/// Writes a line that names the program to which the following lines belong.
pub(crate) fn announce(mut file: &File, app: &str, program: &Path) -> io::Result<()> {
    let now = rfc3339_seconds(SystemTime::now());
    writeln!(file, "[{app}] {now} {} serve", program.display())
}

/// Returns a time in UTC, with a year from 1970 to 9999: RFC 3339 has no other, and the clock of a
/// machine may be broken.
fn rfc3339_seconds(time: SystemTime) -> String {
    const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST_SECOND);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string()
}

/// Returns the last lines of the log of a home's daemon, at most `lines`, without secrets and control
/// characters. Returns none if the log cannot be read.
pub fn last_log_lines(disk: &dyn Disk, places: &IdentityPaths, log: &Utf8Path, lines: usize) -> Vec<String> {
    tail(log, 0, lines, &Secrets::of(disk, places))
}

/// Returns the last lines after the byte `from`, as [`last_log_lines`].
pub(crate) fn tail(log: &Utf8Path, from: u64, lines: usize, secrets: &Secrets) -> Vec<String> {
    let Ok(bytes) = open(log, false).and_then(|mut file| end_of(&mut file, from, TAIL)) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| printable(line, secrets)).collect()
}

/// Returns the whole lines in the last `limit` bytes, without the first `from` bytes.
fn end_of(file: &mut File, from: u64, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let start = from.max(length.saturating_sub(limit));
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    if start > from {
        // Drops the first line, which may be cut: without its beginning a secret is not recognised.
        let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..whole);
    }
    Ok(bytes)
}

fn open(log: &Utf8Path, is_written: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(is_written);
    // Prevents a pipe under this name from blocking the open.
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NONBLOCK
            | if is_written { rustix::fs::OFlags::NOFOLLOW } else { rustix::fs::OFlags::empty() };
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            i32::try_from(flags.bits()).unwrap_or_default(),
        );
    }
    options.open(log)
}

/// Masks secrets and control characters, and cuts a long line.
fn printable(line: &str, secrets: &Secrets) -> String {
    let line = &secrets.mask_line(line);
    let mut shown: String = line
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .take(MAX_LINE_CHARS)
        .collect();
    if line.chars().nth(MAX_LINE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use myownllm_durable_fs::RealDisk;

    use super::*;

    #[test]
    fn time_outside_rfc_3339_is_the_closest_one() {
        let at = |seconds| rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1_795_401_077), "2026-11-23T02:31:17Z");
        assert_eq!(at(253_402_300_800), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339_seconds(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn log_that_is_too_long_is_cut_to_its_last_part_and_the_target_of_a_symlink_is_not() {
        let (dir, log) = home();
        let line = "x".repeat(99) + "\n";
        let long = line.repeat(usize::try_from(MAX_LOG).unwrap() / line.len() + 1) + "the end\n";
        written(&log, &long);
        std::os::unix::fs::symlink("daemon.log", utf8(&dir).join("link")).unwrap();
        cut(&utf8(&dir).join("link"));
        assert_eq!(std::fs::metadata(&log).unwrap().len(), long.len() as u64);
        written(&log, "new\n");
        let previous = std::fs::read_to_string(numbered(&log, 1)).unwrap();
        assert!(previous.len() as u64 <= KEPT_PART + 100, "{}", previous.len());
        assert!(previous.starts_with("[the last ") && previous.ends_with(&format!("{line}the end\n")));
        assert_eq!(tail(&log, 0, 1), ["new"]);
    }

    fn tail(log: &Utf8Path, from: u64, lines: usize) -> Vec<String> {
        super::tail(log, from, lines, &Secrets::default())
    }

    fn utf8(dir: &tempfile::TempDir) -> &Utf8Path {
        Utf8Path::from_path(dir.path()).unwrap()
    }

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let log = log_path(utf8(&dir));
        (dir, log)
    }

    fn lock(log: &Utf8Path) -> LockedDir {
        RealDisk.lock(log.parent().unwrap().as_ref(), Duration::ZERO).unwrap()
    }

    fn written(log: &Utf8Path, text: &str) {
        rotate(&lock(log), log).unwrap();
        create(log).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn listed(dir: &Utf8Path) -> Vec<(String, String)> {
        let mut all: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn rotate_keeps_four_former_logs() {
        let (dir, log) = home();
        for text in ["zero", "one", "two", "three", "four", "five"] {
            written(&log, text);
        }
        let all = listed(utf8(&dir));
        let names: Vec<_> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(
            names,
            [
                ("daemon.log", "five"),
                ("daemon.log.1", "four"),
                ("daemon.log.2", "three"),
                ("daemon.log.3", "two"),
                ("daemon.log.4", "one")
            ]
        );
    }

    #[test]
    fn rotate_keeps_former_logs_when_the_present_log_is_empty() {
        let (dir, log) = home();
        for text in ["one", "", "", "", "", ""] {
            written(&log, text);
        }
        assert_eq!(listed(utf8(&dir)).len(), 2);
    }

    #[test]
    fn rotate_fails_and_moves_nothing_when_the_log_is_a_directory() {
        let (_dir, log) = home();
        std::fs::DirBuilder::new().create(&log).unwrap();
        assert!(rotate(&lock(&log), &log).is_err());
        assert!(std::fs::metadata(&log).unwrap().is_dir());
    }

    #[test]
    fn rotate_leaves_out_a_number_that_a_directory_has() {
        let (_dir, log) = home();
        std::fs::DirBuilder::new().create(numbered(&log, 1)).unwrap();
        for text in ["one", "two", "three"] {
            written(&log, text);
        }
        let text = |path: &Utf8Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&log), "three");
        assert_eq!(text(&numbered(&log, 2)), "two");
        assert_eq!(text(&numbered(&log, 3)), "one");
    }

    #[test]
    fn rotate_moves_a_symlink_without_writing_through_it() {
        let (dir, _) = home();
        let dir = utf8(&dir);
        let (log, precious) = (dir.join("daemon.log"), dir.join("precious"));
        create(&precious).unwrap().write_all(b"precious").unwrap();
        std::os::unix::fs::symlink(&precious, &log).unwrap();
        written(&log, "new");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "new");
    }

    #[test]
    fn created_log_is_readable_by_its_owner_alone() {
        let (_dir, log) = home();
        create(&log).unwrap();
        assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&log).is_err(), "nothing is opened that is there already");
    }

    #[test]
    fn tail_masks_a_secret_whose_name_is_coloured() {
        let (_dir, log) = home();
        let line =
            "\x1b[2m12:00\x1b[0m \x1b[32m INFO\x1b[0m relay \x1b[3mcredential\x1b[0m\x1b[2m=\x1b[0mhunter2\n";
        create(&log).unwrap().write_all(line.as_bytes()).unwrap();
        let last = tail(&log, 0, 1);
        assert!(
            last[0].starts_with("12:00  INFO relay credential=") && !last[0].contains("hunter2"),
            "{last:?}"
        );
    }

    #[test]
    fn tail_is_short_and_holds_no_control_character() {
        let (dir, log) = home();
        let mut file = create(&log).unwrap();
        file.write_all(b"before\n").unwrap();
        let from = file.metadata().unwrap().len();
        for number in 0..10_000 {
            writeln!(file, "line {number}").unwrap();
        }
        file.write_all(b"\x1b[31mred\xff\x07\n").unwrap();
        file.write_all(&[b'x'; 2000]).unwrap();
        let last = tail(&log, from, 3);
        assert_eq!(last[0], "line 9999");
        assert_eq!(last[1], "red\u{fffd}\u{fffd}");
        assert!(last[2].chars().count() < 510);
        assert!(tail(&log, file.metadata().unwrap().len(), 3).is_empty());
        assert!(tail(&utf8(&dir).join("missing"), 0, 3).is_empty());
    }

    #[test]
    fn tail_masks_secrets() {
        let (_dir, log) = home();
        written(&log, "before\nread {\"secret_key\": \"hunter2\", \"n\": 1}\n");
        assert_eq!(tail(&log, 7, 3), ["read {\"secret_key\": \"********\", \"n\": 1}"]);
        // Here the part of the log that is read begins after the name of the secret.
        let long = format!("secret_key={}\nafter\n", "hunter2 ".repeat(3000));
        written(&log, &long);
        assert_eq!(tail(&log, 0, 3), ["after"]);
    }
}
