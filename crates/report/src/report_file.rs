//! The file of a report.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Owner, quote};
use myownllm_launch::{Class, Diagnostic};
use myownllm_paths::{Layout, RealLookup};

/// Writes a new file that only its owner can read: `owner`, or the user of this process. `command`
/// is the command that the user gave, for a hint.
///
/// # Errors
/// Fails if the file exists, or cannot be written. Refuses a path that the layout of the home
/// [reserves](Layout::reserves): a launch would take a report there for a damaged
/// identity file, config or roster.
pub fn write_new(
    layout: &Layout,
    path: &Path,
    text: &str,
    command: &str,
    owner: Option<Owner>,
) -> Result<(), Diagnostic> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if layout.reserves(absolute, &RealLookup) {
        let why = "only the app and the daemon write files there";
        let message = format!("cannot write the report {}: {why}", path.display());
        let extension = path.extension().filter(|extension| *extension == "html");
        let name = Path::new("report").with_extension(extension.unwrap_or(OsStr::new("txt")));
        let file = quote(free_name(layout.user_home.as_std_path().join(name)));
        let hint = format!("{command} --output {file}");
        return Err(Diagnostic::error("report.in-home", message).class(Class::Refused).at(path).hint(hint));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        #[cfg(unix)]
        let owned =
            owner.map_or(Ok(()), |owner| std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid)));
        #[cfg(not(unix))]
        let owned = owner.map_or(Ok(()), |_| Ok(()));
        #[expect(clippy::disallowed_methods, reason = "no name ever holds half a report")]
        owned.and_then(|()| file.write_all(text.as_bytes())).inspect_err(|_| drop(std::fs::remove_file(path)))
    });
    written.map_err(|error| {
        let message = format!("cannot write the report {}: {error}", path.display());
        // A command would take a path that begins with a hyphen for an option.
        let is_option = path.as_os_str().as_encoded_bytes().starts_with(b"-");
        let path = if is_option { &Path::new(".").join(path) } else { path };
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{command} --output {}", quote(free_name(path.to_owned())))
            }
            kind => {
                let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
                let is_full = matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
                let show = match kind {
                    _ if is_full => "df -h",
                    ErrorKind::NotFound => "mkdir -p",
                    _ => "ls -ld",
                };
                format!("{show} {}", quote(dir))
            }
        };
        Diagnostic::error("report.failed", message).at(path).hint(hint)
    })
}

/// Returns the first of `report.txt`, `report-2.txt`, `report-3.txt` and so on that does not exist.
fn free_name(path: PathBuf) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{number}"));
        for part in path.extension().into_iter().flat_map(|end| [OsStr::new("."), end]) {
            name.push(part);
        }
        path.with_file_name(name)
    };
    let mut names = std::iter::once(path.clone()).chain((2..).map(named));
    names.find(|path| std::fs::symlink_metadata(path).is_err()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use myownllm_paths::{Env, PathResolver as _, Resolver};

    #[test]
    fn path_in_a_hint_is_no_option() {
        let layout = Resolver::default().resolve(&Env::explicit(std::env::temp_dir())).unwrap();
        let error = write_new(&layout, Path::new("-no-such-dir/x"), "", "prog report", None).unwrap_err();
        let shown = quote(Path::new(".").join("-no-such-dir"));
        assert_eq!(error.hint, Some(format!("mkdir -p {shown}")));
    }
}
