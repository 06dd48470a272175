//! The programs that may be the daemon. Scenes of modes, symlinks and sockets are for Unix alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::{
    env::consts::EXE_SUFFIX,
    ffi::OsString,
    path::{Path, PathBuf},
};

use myownllm_daemon::{Candidate, Origin, ProgramSearch, Verdict, candidates};
use rstest::rstest;

fn file(path: &Path, options: &mut std::fs::OpenOptions) {
    std::fs::DirBuilder::new().recursive(true).create(path.parent().unwrap()).unwrap();
    options.create_new(true).write(true).open(path).unwrap();
}

fn program(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755);
    file(path, &mut options);
}

/// Returns the file names of programs on this platform.
fn exe<const N: usize>(names: [&str; N]) -> [PathBuf; N] {
    names.map(|name| format!("{name}{EXE_SUFFIX}").into())
}

fn search(root: &Path) -> ProgramSearch {
    ProgramSearch {
        name: String::new(),
        overrides: Vec::new(),
        program: Some(root.join("app/myownllm")),
        triple: Some("x86_64-unknown-linux-gnu".to_owned()),
        path: Some(std::env::join_paths([root.join("bin"), root.join("bin2")]).unwrap()),
        working_dir: Some(root.to_owned()),
    }
}

fn reason(candidate: &Candidate) -> &str {
    match &candidate.verdict {
        Verdict::Skipped { reason } => reason,
        _ => "",
    }
}

#[test]
fn candidates_are_overrides_then_bundled_then_path() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let programs = exe(["o1", "app/myownmesh", "app/myownmesh-x86_64-unknown-linux-gnu", "bin2/myownmesh"]);
    programs.iter().for_each(|name| program(&root.join(name)));
    let mut search = search(root);
    search.overrides = vec![
        ("MYOWNLLM_MESH_BIN".to_owned(), root.join("missing").into()),
        ("EMPTY".to_owned(), OsString::new()),
        ("MYOWNMESH_BIN".to_owned(), root.join(&programs[0]).into()),
    ];
    let found = candidates(&search);
    let paths: Vec<_> = found.iter().map(|c| c.path.strip_prefix(root).unwrap()).collect();
    assert_eq!(paths[0], Path::new("missing"));
    assert_eq!(paths[1..], programs);
    assert_eq!(reason(&found[0]), "not there");
    assert!(found[1..].iter().all(Candidate::is_usable));
    assert_eq!(found[0].origin, Origin::Override { variable: "MYOWNLLM_MESH_BIN".to_owned() });
}

#[test]
fn candidates_have_the_name_of_the_daemon_that_the_app_embeds() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let names = exe(["app/otherd", "app/otherd-x86_64-unknown-linux-gnu", "bin/otherd"]);
    names.iter().for_each(|name| program(&root.join(name)));
    program(&root.join("bin").join(format!("myownmesh{EXE_SUFFIX}")));
    let found = candidates(&ProgramSearch { name: "otherd".to_owned(), ..search(root) });
    let paths: Vec<_> = found.iter().map(|c| c.path.strip_prefix(root).unwrap()).collect();
    assert_eq!(paths, names);
}

#[rstest]
#[case::no_program("plain", if cfg!(windows) { "not a program file (.exe)" } else { "not executable" })]
#[case::directory("dir", "a directory")]
#[case::below_a_file("plain/x", "not there")]
#[cfg_attr(unix, case::dangling_symlink("dangling", "a dangling symlink"))]
#[cfg_attr(unix, case::socket("socket", "not a regular file"))]
#[cfg_attr(unix, case::symlink_to_itself("loop", "cannot be read: "))]
fn candidate_that_is_no_program_is_skipped_with_the_reason(#[case] name: &str, #[case] expected: &str) {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    file(&root.join("plain"), &mut std::fs::OpenOptions::new());
    program(&root.join("dir/x"));
    #[cfg(unix)]
    let _socket = {
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap()
    };
    let candidate = Candidate::new(root.join(name), Origin::Beside);
    assert!(!candidate.is_usable() && reason(&candidate).starts_with(expected), "{candidate:?}");
}

#[test]
fn relative_overrides_need_a_working_directory_and_relative_path_entries_are_ignored() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [here, other, on_path] = exe(["here/mesh", "bin/other", "bin/myownmesh"]);
    program(&root.join(&here));
    program(&root.join(&other));
    let mut search = search(root);
    search.program = None;
    search.overrides = vec![
        ("A".to_owned(), here.clone().into()),
        ("B".to_owned(), "other".into()),
        ("C".to_owned(), "./here".into()),
    ];
    let found = candidates(&search);
    assert_eq!(found[0].path, root.join(here));
    assert_eq!(found[1].path, root.join(other), "a bare name is looked up on PATH");
    assert_eq!(reason(&found[2]), "a directory");

    search.working_dir = None;
    assert!(!candidates(&search)[0].is_usable());
    search.overrides.clear();
    let dirs = [PathBuf::new(), PathBuf::new(), "bin".into(), ".".into(), root.join("bin")];
    search.path = Some(std::env::join_paths(dirs).unwrap());
    program(&root.join(on_path));
    let found = candidates(&search);
    assert_eq!(found.len(), 1, "relative entries are ignored: {found:?}");
}

#[cfg(unix)]
#[test]
fn candidate_under_a_second_name_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    program(&root.join("app/myownmesh"));
    program(&root.join("bin/x"));
    symlink("../app/myownmesh", root.join("bin/myownmesh")).unwrap();
    let found = candidates(&search(root));
    assert!(found[0].is_usable());
    assert!(reason(found.last().unwrap()).starts_with("the same file as"), "{found:?}");
}

#[cfg(unix)]
#[test]
fn candidate_with_a_name_that_is_not_utf8_is_serialised() {
    use std::os::unix::ffi::OsStringExt;
    let odd = PathBuf::from(OsString::from_vec(b"/nowhere/\xff".to_vec()));
    let candidate = Candidate::new(odd, Origin::Beside);
    assert_eq!(reason(&candidate), "not there");
    assert!(serde_json::to_string(&candidate).is_ok());
}
