//! Parts of the commands that a person copies: for sh, bash, zsh and fish.

use std::io;
use std::path::{Path, PathBuf};

/// Returns a path as a shell takes it: unchanged if it is plain, else in single quotes. A terminal
/// does not show control characters, so a path with one is the output of a `printf`, as is a path
/// that is not UTF-8.
pub fn quote(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().as_os_str();
    let text = path.to_string_lossy();
    if path.to_str().is_none() || text.contains(is_control) {
        return format!("\"$(printf '{}')\"", for_printf(path.as_encoded_bytes()));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,~".contains(c);
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns bytes in the format of `printf`, in single quotes between double quotes.
fn for_printf(bytes: &[u8]) -> String {
    let octal = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<String>();
    let shown = |c: char| match c {
        '\'' => r"'\''".to_owned(),
        '%' => "%%".to_owned(),
        '\\' => r"\\".to_owned(),
        c if is_control(c) => octal(c.encode_utf8(&mut [0; 4]).as_bytes()),
        c => c.to_string(),
    };
    let chunks = bytes.utf8_chunks();
    chunks
        .map(|chunk| chunk.valid().chars().map(shown).collect::<String>() + &octal(chunk.invalid()))
        .collect()
}

/// Returns true if a character is a control character, or one of Unicode's that end lines or set
/// the direction of writing.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// Returns a free name beside `path`, with this ending or with this ending and a number. For
/// commands that a person copies: the command replaces nothing, however often it is run.
pub fn free_name(path: impl AsRef<Path>, ending: &str) -> PathBuf {
    let path = path.as_ref();
    let beside = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    (1..1000).map(beside).find(is_free).unwrap_or_else(|| beside(1))
}

/// Returns the command that moves a file out of the way, to a free name with this ending. The
/// command replaces nothing.
pub fn move_aside(path: impl AsRef<Path>, ending: &str) -> String {
    let path = path.as_ref();
    format!("mv -n {} {}", quote(path), quote(free_name(path, ending)))
}

/// Returns the command that replaces a symlink by a copy of its target. A second run finds no
/// symlink and does nothing. A copy that fails would leave a part of the target behind.
pub fn replace_symlink(symlink: impl AsRef<Path>) -> String {
    let symlink = symlink.as_ref();
    let closed = std::fs::canonicalize(symlink).ok().filter(|target| is_closed(target, 8));
    let open = closed.map_or_else(String::new, |target| format!("chmod -R u+rwX {} && ", quote(target)));
    // `cp` would copy into the directory that an interrupted run has left: each run has a name of its
    // own.
    let copy = r#"c=$0.copy-$$ && cp -RLpn "$0" "$c" && rm "$0" && mv -n "$c" "$0""#;
    format!("test -L {0} && {open}sh -c '{copy}' {0}", quote(symlink))
}

/// Returns true if this user may not read a file, or something in a directory up to this depth.
fn is_closed(path: &Path, depth: u8) -> bool {
    let entries = std::fs::metadata(path).and_then(|meta| match meta.file_type() {
        kind if kind.is_dir() => std::fs::read_dir(path).map(Some),
        kind if kind.is_file() => std::fs::File::open(path).map(|_| None),
        _ => Ok(None),
    });
    match entries {
        Ok(Some(entries)) => depth > 0 && entries.flatten().any(|entry| is_closed(&entry.path(), depth - 1)),
        entries => entries.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied),
    }
}
