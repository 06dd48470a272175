//! Homes for scenarios and sweeps: the files of real daemons, put into a directory with their
//! original modes (version control keeps no modes).

use std::path::Path;

pub(crate) use integration_tests::testkit::{APP, MESH, SHARED, STATE};

use crate::Fallible;

/// The daemon versions of the fixtures, oldest first.
pub(crate) const VERSIONS: [&str; 2] = ["0.1.2", "0.3.8"];

/// The networks in the overwritten `config.json` of the fixtures.
pub(crate) const NETWORKS: [&str; 2] = ["office-mesh", "ev-mesh"];

/// Secrets of the fixtures. None may ever be in the program's output.
pub(crate) const SECRETS: [&str; 4] = [
    "khseccpmjr6vebd2lkshxcv7af5urobtvjcld57rr2kpjacfq4va",
    "s3f7qcdbnerhntsnskhvpqqs2qawb6feo4saj6zgg7reyxw76onq",
    "s3cret",
    "theguestpassword",
];

fn fixture(path: &str) -> Fallible<Vec<u8>> {
    let path = integration_tests::testkit::root().join("tests/fixtures").join(path);
    std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Writes a file, and makes the directories above it.
#[allow(clippy::disallowed_methods, reason = "temporary homes for trying things; nothing here needs to last")]
pub(crate) fn plant(path: &Path, bytes: &[u8], mode: u32) -> Fallible<()> {
    let say = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(say)?;
        // The real modes: .secrets is closed, the rest is open.
        set_mode(parent, if parent.ends_with(".secrets") { 0o700 } else { 0o755 }).map_err(say)?;
    }
    std::fs::write(path, bytes).and_then(|()| set_mode(path, mode)).map_err(say)
}

/// Creates a file as another process might at any moment. Returns false if the path exists.
#[allow(clippy::disallowed_methods, reason = "temporary homes for trying things; nothing here needs to last")]
pub(crate) fn plant_new(path: &Path, bytes: &[u8]) -> bool {
    let made = path.parent().is_none_or(|parent| std::fs::create_dir_all(parent).is_ok());
    // Writes the content before the file gets its name, so that the program cannot see a
    // half-written file.
    let draft = path.with_extension("draft");
    let put = made && std::fs::write(&draft, bytes).is_ok() && std::fs::hard_link(&draft, path).is_ok();
    let _ = std::fs::remove_file(&draft);
    put
}

/// Makes a directory and its parents.
#[allow(clippy::disallowed_methods, reason = "temporary homes for trying things; nothing here needs to last")]
pub(crate) fn dir(path: &Path) -> Fallible<()> {
    std::fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))
}

/// Makes a symlink to a program, under another name.
#[cfg(unix)]
pub(crate) fn link(program: &Path, at: &Path) -> Fallible<()> {
    std::os::unix::fs::symlink(program, at).map_err(|e| format!("cannot link {}: {e}", at.display()))
}

#[cfg(not(unix))]
pub(crate) fn link(_: &Path, at: &Path) -> Fallible<()> {
    Err(format!("no links here: {}", at.display()))
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// Puts the daemon's identity, rosters and states at the old location.
pub(crate) fn old_state(home: &Path, version: &str) -> Fallible<()> {
    STATE.iter().try_for_each(|file| {
        let bytes = fixture(&format!("daemon-{version}/home/{APP}/{file}"))?;
        plant(&home.join(APP).join(file), &bytes, 0o600)
    })
}

/// Puts the app's `config.json` in place as that daemon overwrote it: in the daemon's shape,
/// without the app's settings.
pub(crate) fn overwritten_config(home: &Path, version: &str) -> Fallible<Vec<u8>> {
    let bytes = fixture(&format!("daemon-{version}/home/{APP}/config.json"))?;
    let mode = if version == "0.1.2" { 0o644 } else { 0o600 };
    plant(&home.join(APP).join("config.json"), &bytes, mode)?;
    Ok(bytes)
}

/// Returns the healthy `config.json` of the app for the user whose home is `user`: one saved
/// network, two providers, another model family than the default.
pub(crate) fn healthy_bytes(user: &Path) -> Fallible<Vec<u8>> {
    let text = String::from_utf8_lossy(&fixture("app-config-before.json")?).into_owned();
    let user = user.display().to_string().replace('\\', r"\\");
    Ok(text.replace("/home/u/", &format!("{user}/")).into_bytes())
}

/// Puts the healthy config in place.
pub(crate) fn healthy_config(home: &Path) -> Fallible<Vec<u8>> {
    let bytes = healthy_bytes(home)?;
    plant(&home.join(APP).join("config.json"), &bytes, 0o600)?;
    Ok(bytes)
}
