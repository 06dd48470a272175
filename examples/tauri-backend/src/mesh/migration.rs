//! The mover, for the app's `mesh/migration.rs`.

use std::path::Path;

use myownllm_daemon::HomeDaemons;
use myownllm_durable_fs::{Disk as _, RealDisk};
use myownllm_launch::{Class, Diagnostic, LOCK_WAIT};
use myownllm_migration::{Homes, Migrator, Options};
use myownllm_paths::{CheckedLayout, Env, HostApp, MYOWNLLM, PathResolver as _, RealLookup, Resolver};

use crate::error::{MeshError, Result, to_mesh_error};

/// Moves the daemon's state from the app's home into the daemon's home inside it. A second call
/// finds nothing to do.
///
/// Differs from the app's own mover where that one can lose the key: the README lists how.
pub fn migrate_daemon_state_into_subdir(llm_dir: &Path, daemon_home: &Path) -> Result<()> {
    let layout = layout_of(llm_dir, daemon_home)?;
    let migrator = Migrator::new(&RealDisk, Homes::of(&layout));
    if !migrator.is_pending() {
        return Ok(());
    }
    let lock = RealDisk.lock(layout.app_home.as_std_path(), LOCK_WAIT).map_err(to_mesh_error)?;
    let daemons = HomeDaemons::of(&layout).map_err(to_mesh_error)?;
    let report = migrator.run(&lock, &Options::forward(), &daemons);
    for both in &report.collisions {
        eprintln!(
            "mesh-migration: {} and {} differ, and both stay",
            both.source.display(),
            both.destination.display()
        );
    }
    // The gravest decides; the app's log gets the others.
    let mut errors: Vec<_> = report.refusals.iter().chain(&report.errors).map(Diagnostic::from).collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.class));
    errors.iter().for_each(|error| eprintln!("mesh-migration: {} [{}]", error.message, error.code));
    errors.into_iter().next().map_or(Ok(()), |gravest| Err(MeshError(Box::new(gravest))))
}

/// Returns the layout of these two directories, with the names of MyOwnLLM for all else.
fn layout_of(llm_dir: &Path, daemon_home: &Path) -> Result<CheckedLayout> {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let (Some(app_dir), Some(daemon_dir), Some(user_home)) =
        (name(llm_dir), name(daemon_home), llm_dir.parent())
    else {
        let message = format!("{} is no home of an app", llm_dir.display());
        return Err(MeshError(Box::new(Diagnostic::error("app.homes", message).class(Class::Usage))));
    };
    let app = HostApp { app_dir: app_dir.into(), daemon_dir: daemon_dir.into(), ..MYOWNLLM };
    let layout = Resolver::new(app).resolve(&Env::explicit(user_home)).map_err(to_mesh_error)?;
    if layout.daemon_home != daemon_home {
        let message = format!("{} does not lie in {}", daemon_home.display(), llm_dir.display());
        return Err(MeshError(Box::new(Diagnostic::error("app.homes", message).class(Class::Usage))));
    }
    CheckedLayout::new(layout, &RealLookup).map_err(to_mesh_error)
}

/// The behaviours that the app's own tests ask of its mover, here with sound keys as contents.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test")]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const FIRST: &str =
        include_str!("../../../../tests/fixtures/daemon-0.1.2/home/.myownllm/.secrets/identity.json");
    const SECOND: &str =
        include_str!("../../../../tests/fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    const KEY: &str = ".secrets/identity.json";
    const HOME: &str = "mesh/rosters/home.json";
    const OFFICE: &str = "mesh/rosters/office.json";

    struct Dirs {
        _temp: tempfile::TempDir,
        llm: PathBuf,
        daemon: PathBuf,
    }

    impl Dirs {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let llm = temp.path().canonicalize().unwrap().join(".myownllm");
            fs::create_dir(&llm).unwrap();
            Self { _temp: temp, daemon: llm.join(".myownmesh"), llm }
        }

        fn put(dir: &Path, name: &str, content: &str) {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), content).unwrap();
        }

        fn migrate(&self) -> Result<()> {
            migrate_daemon_state_into_subdir(&self.llm, &self.daemon)
        }
    }

    fn read(dir: &Path, name: &str) -> Option<String> {
        fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn moves_the_key_and_the_rosters() {
        let dirs = Dirs::new();
        for (name, content) in [(KEY, FIRST), (HOME, "{\"a\": 1}"), (OFFICE, "{\"b\": 2}")] {
            Dirs::put(&dirs.llm, name, content);
        }
        dirs.migrate().unwrap();
        for (name, content) in [(KEY, FIRST), (HOME, "{\"a\": 1}"), (OFFICE, "{\"b\": 2}")] {
            assert_eq!(read(&dirs.daemon, name).as_deref(), Some(content));
            assert_eq!(read(&dirs.llm, name), None);
        }
    }

    /// The second key is not ignored in silence: the caller learns that there are two.
    #[test]
    fn second_run_keeps_the_first_key_and_reports_the_stray_one() {
        let dirs = Dirs::new();
        Dirs::put(&dirs.llm, KEY, FIRST);
        dirs.migrate().unwrap();
        dirs.migrate().unwrap();
        Dirs::put(&dirs.llm, KEY, SECOND);
        let error = dirs.migrate().unwrap_err();
        assert_eq!(error.0.code, "migration.two-identities");
        assert!(error.0.hint.is_some(), "{error:?}");
        assert_eq!(read(&dirs.daemon, KEY).as_deref(), Some(FIRST));
        assert_eq!(read(&dirs.llm, KEY).as_deref(), Some(SECOND));
    }

    #[test]
    fn fresh_install_is_left_as_it_is() {
        let dirs = Dirs::new();
        dirs.migrate().unwrap();
        assert!(!dirs.daemon.exists());
    }

    #[test]
    fn collision_keeps_both_rosters_and_the_key_moves() {
        let dirs = Dirs::new();
        Dirs::put(&dirs.llm, KEY, FIRST);
        Dirs::put(&dirs.llm, HOME, "{\"from\": \"source\"}");
        Dirs::put(&dirs.daemon, HOME, "{\"from\": \"destination\"}");
        dirs.migrate().unwrap();
        assert_eq!(read(&dirs.daemon, KEY).as_deref(), Some(FIRST));
        assert_eq!(read(&dirs.daemon, HOME).as_deref(), Some("{\"from\": \"destination\"}"));
        assert_eq!(read(&dirs.llm, HOME).as_deref(), Some("{\"from\": \"source\"}"));
    }

    /// Differs from the app's mover, which moves the rosters and lets the daemon make a new key.
    #[test]
    fn rosters_without_a_key_stay_where_they_are() {
        let dirs = Dirs::new();
        Dirs::put(&dirs.llm, HOME, "{\"a\": 1}");
        let error = dirs.migrate().unwrap_err();
        assert_eq!(error.0.code, "identity.gone");
        assert!(read(&dirs.llm, HOME).is_some() && !dirs.daemon.join("mesh").exists());
        let json = serde_json::to_value(&error).unwrap();
        assert!(json["hint"].is_string() && json["message"].is_string(), "{json}");
    }
}
