//! Explains why the system cannot start a program file that is there: a script without its
//! interpreter, or a file that is no program for this system.

use std::{ffi::OsStr, fs::File, io::Read, path::Path};

use myownllm_durable_fs::{Disk as _, Metadata, RealDisk, quote};

use crate::procfs::as_path;

/// The reason why the system cannot start a program file that is there and may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartObstacle {
    /// The reason, for people.
    pub problem: String,
    /// The command that mends it, if there is one.
    pub hint: Option<String>,
}

impl StartObstacle {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }
}

/// The longest first line that Linux reads of a script.
const FIRST_LINE: usize = 256;
/// The part of a program file that holds the headers and the path of its loader.
const HEADERS: u64 = 64 << 10;

/// Returns the reason why the system cannot start this file; `None` if it can, or if nothing tells.
/// `path` is the search path that the program gets.
pub(crate) fn obstacle(program: &Path, path: Option<&OsStr>) -> Option<StartObstacle> {
    let mut file = File::open(program).ok()?;
    let length = file.metadata().ok()?.len();
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(HEADERS).read_to_end(&mut start).ok()?;
    if let Some(rest) = start.strip_prefix(b"#!") {
        let end = rest.iter().take(FIRST_LINE).position(|byte| *byte == b'\n');
        return of_script(program, &rest[..end.unwrap_or_else(|| rest.len().min(FIRST_LINE))], path);
    }
    let problem = if start.is_empty() {
        "the file is empty"
    } else if cfg!(not(target_os = "linux")) {
        return None;
    } else if start.starts_with(b"\x7fELF") {
        return of_elf(&start, length).map(StartObstacle::new);
    } else if has_other_formats() {
        return None;
    } else {
        "the file is no program: it has neither the header of one nor a line that begins with `#!`"
    };
    Some(StartObstacle::new(problem))
}

/// Judges a script by its first line, without `#!`.
fn of_script(script: &Path, line: &[u8], path: Option<&OsStr>) -> Option<StartObstacle> {
    if line.ends_with(b"\r") {
        let problem = "the script has Windows line endings, so the system looks for an interpreter whose \
            name ends with \
                       a carriage return";
        let hint = Some(without_carriage_returns(script));
        return Some(StartObstacle { hint, ..StartObstacle::new(problem) });
    }
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (interpreter, argument) = (as_path(&line[..end]), line[end..].trim_ascii());
    let obstacle = |what: &str| {
        let problem = format!("the interpreter of the script, {}, {what}", interpreter.display());
        Some(StartObstacle::new(problem))
    };
    match RealDisk.stat_follow(interpreter) {
        _ if line.is_empty() => return Some(StartObstacle::new("the script names no interpreter")),
        Err(error) if error.is_absent() => return obstacle("is missing"),
        Err(_) => return None,
        Ok(meta) if !is_program(&meta) => return obstacle("is not executable"),
        Ok(_) => {}
    }
    let is_env = interpreter.file_name() == Some(OsStr::new("env"));
    let name = searched_name(argument).filter(|_| is_env)?;
    let found = path
        .map(std::env::split_paths)?
        .any(|directory| RealDisk.stat_follow(&directory.join(name)).is_ok_and(|meta| is_program(&meta)));
    let problem = format!("the interpreter of the script, {}, is not on PATH", name.display());
    (!found).then(|| StartObstacle::new(problem))
}

/// Returns the name that `env` searches on `PATH`. Linux passes the rest of the line as one
/// argument, which `-S` splits.
fn searched_name(argument: &[u8]) -> Option<&Path> {
    let name = match argument.strip_prefix(b"-S") {
        Some(words) => words.trim_ascii_start().split(u8::is_ascii_whitespace).next()?,
        None if cfg!(target_os = "linux") => argument,
        None => argument.split(u8::is_ascii_whitespace).next()?,
    };
    let is_name =
        !name.is_empty() && !name.starts_with(b"-") && !name.contains(&b'=') && !name.contains(&b'/');
    is_name.then(|| as_path(name))
}

fn is_program(meta: &Metadata) -> bool {
    meta.is_file() && meta.mode & 0o111 != 0
}

/// Returns true if the administrator has told Linux how to start files of other formats.
fn has_other_formats() -> bool {
    let formats = RealDisk.list("/proc/sys/fs/binfmt_misc".as_ref()).unwrap_or_default();
    formats.iter().any(|format| format.name != "register" && format.name != "status")
}

/// Returns the number of `N` bytes at an offset, the lowest byte first.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let digits: &[u8; N] = bytes.get(at..)?.first_chunk()?;
    Some(digits.iter().rev().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
}

/// Returns the kind, the offset and the length of each segment of a 64-bit program; `None` if the
/// headers are not complete.
fn segments(bytes: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    let (table, size, count) = (number::<8>(bytes, 32)?, number::<2>(bytes, 54)?, number::<2>(bytes, 56)?);
    let segment = |n: u64| {
        let at = usize::try_from(table.checked_add(n * size)?).ok()?;
        let field = |offset: usize| number::<8>(bytes, at.checked_add(offset)?);
        Some((number::<4>(bytes, at)?, field(8)?, field(32)?))
    };
    (0..count).map(segment).collect()
}

/// Judges a program file of Linux by its headers. `length` is that of the file.
fn of_elf(start: &[u8], length: u64) -> Option<String> {
    const LOADED: u64 = 1;
    const LOADER: u64 = 3;
    /// The numbers of the processors whose programs this one runs.
    const PROCESSORS: &[u64] = match () {
        () if cfg!(target_arch = "x86_64") => &[62, 3],
        () if cfg!(target_arch = "x86") => &[3],
        () if cfg!(target_arch = "aarch64") => &[183, 40],
        () if cfg!(target_arch = "arm") => &[40],
        () => &[],
    };
    let is_foreign = |processor: u64| !PROCESSORS.is_empty() && !PROCESSORS.contains(&processor);
    if number::<2>(start, 18).is_some_and(is_foreign) && !has_other_formats() {
        return Some("the program was built for another processor".to_owned());
    }
    // Nothing tells about a 32-bit program: its headers are others.
    if start.get(4) == Some(&1) {
        return None;
    }
    let cut = || Some("the program file is incomplete: its end is missing".to_owned());
    let Some(segments) = segments(start) else {
        return if length < HEADERS { cut() } else { None };
    };
    let is_cut = |&(kind, offset, size): &(u64, u64, u64)| {
        kind == LOADED && offset.checked_add(size).is_none_or(|end| end > length)
    };
    if segments.iter().any(is_cut) {
        return cut();
    }
    let (_, offset, size) = segments.into_iter().find(|(kind, ..)| *kind == LOADER)?;
    let (from, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
    let name = start.get(from..from.checked_add(size)?)?;
    let loader = as_path(name.split(|byte| *byte == 0).next()?);
    let is_there = std::fs::metadata(loader).is_ok();
    (!is_there).then(|| {
        format!(
            "the loader of the program, {}, is missing: it was built for another system",
            loader.display()
        )
    })
}

/// Returns the command that takes the carriage returns out of a script and keeps it as `….bak`.
fn without_carriage_returns(script: &Path) -> String {
    // The sed of macOS knows no `\r`.
    let edit = if cfg!(target_vendor = "apple") { "perl -i.bak -pe" } else { "sed -i.bak -e" };
    format!("{edit} 's/\\r$//' {}", quote(script))
}
