//! A library does not take the rights of a process away from the program that calls it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on a throw-away home")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use myownllm_launch::{Options, launch};
use myownllm_mesh::context::{Context, fresh_ids};

#[test]
fn no_look_and_no_launch_of_the_library_changes_the_user_of_the_process() {
    let user = || std::fs::metadata("/proc/self").unwrap().uid();
    if user() != 0 {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(home.path(), Some(1234), Some(1234)).unwrap();
    let context = Context::new(Some(home.path())).unwrap();
    let libraries = context.libraries();
    let outcome = launch(
        &libraries.launch_context(),
        &Options { daemon: false, ..context.options() },
        &mut fresh_ids(),
    );
    assert_eq!(outcome.class(), None, "{:?}", outcome.diagnostics);
    assert_eq!(user(), 0);
    // What root's hands made is the owner's all the same.
    for made in [".myownllm", ".myownllm/config.json"] {
        assert_eq!(std::fs::metadata(home.path().join(made)).unwrap().uid(), 1234, "{made}");
    }
    // A daemon of root's could not be read by the owner: none is started.
    let outcome = launch(&libraries.launch_context(), &context.options(), &mut fresh_ids());
    let codes: Vec<_> = outcome.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    assert_eq!(codes, ["paths.foreign-home"]);
    assert!(!home.path().join(".myownllm/.myownmesh").exists());
}
