//! The programs that may be the daemon. On Unix alone: modes and symlinks make the scenes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(unix)]

use std::{
    ffi::OsString,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use myownllm_daemon::{Candidate, CandidateSearch, Origin, Verdict, candidates};
use rstest::rstest;

fn program(path: &Path, mode: u32) {
    std::fs::DirBuilder::new().recursive(true).create(path.parent().unwrap()).unwrap();
    std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path).unwrap();
}

fn search(root: &Path) -> CandidateSearch {
    CandidateSearch {
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
    for name in ["o1", "app/myownmesh", "app/myownmesh-x86_64-unknown-linux-gnu", "bin2/myownmesh"] {
        program(&root.join(name), 0o755);
    }
    let mut search = search(root);
    search.overrides = vec![
        ("MYOWNLLM_MESH_BIN".to_owned(), root.join("missing").into()),
        ("EMPTY".to_owned(), OsString::new()),
        ("MYOWNMESH_BIN".to_owned(), root.join("o1").into()),
    ];
    let found = candidates(&search);
    let paths: Vec<_> = found.iter().map(|c| c.path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["missing", "o1", "app/myownmesh", "app/myownmesh-x86_64-unknown-linux-gnu", "bin2/myownmesh"]
    );
    assert_eq!(reason(&found[0]), "not there");
    assert!(found[1..].iter().all(Candidate::is_usable));
    assert_eq!(found[0].origin, Origin::Override { variable: "MYOWNLLM_MESH_BIN".to_owned() });
}

#[test]
fn candidates_have_the_name_of_the_daemon_that_the_app_embeds() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let names = ["app/otherd", "app/otherd-x86_64-unknown-linux-gnu", "bin/otherd"];
    names.iter().for_each(|name| program(&root.join(name), 0o755));
    program(&root.join("bin/myownmesh"), 0o755);
    let found = candidates(&CandidateSearch { name: "otherd".to_owned(), ..search(root) });
    let paths: Vec<_> = found.iter().map(|c| c.path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    assert_eq!(paths, names);
}

#[rstest]
#[case::no_execute_permission("plain", "not executable")]
#[case::directory("dir", "a directory")]
#[case::dangling_symlink("dangling", "a dangling symlink")]
#[case::socket("socket", "not a regular file")]
#[case::below_a_file("plain/x", "not there")]
#[case::symlink_to_itself("loop", "cannot be read: ")]
fn candidate_that_is_no_program_is_skipped_with_the_reason(#[case] name: &str, #[case] expected: &str) {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    program(&root.join("plain"), 0o644);
    program(&root.join("dir/x"), 0o755);
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let candidate = Candidate::new(root.join(name), Origin::Beside);
    assert!(!candidate.is_usable() && reason(&candidate).starts_with(expected), "{candidate:?}");
}

#[test]
fn relative_overrides_need_a_working_directory_and_relative_path_entries_are_ignored() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    program(&root.join("here/mesh"), 0o755);
    program(&root.join("bin/other"), 0o755);
    let mut search = search(root);
    search.program = None;
    search.overrides = vec![
        ("A".to_owned(), "here/mesh".into()),
        ("B".to_owned(), "other".into()),
        ("C".to_owned(), "./here".into()),
    ];
    let found = candidates(&search);
    assert_eq!(found[0].path, root.join("here/mesh"));
    assert_eq!(found[1].path, root.join("bin/other"), "a bare name is looked up on PATH");
    assert_eq!(reason(&found[2]), "a directory");

    search.working_dir = None;
    assert!(!candidates(&search)[0].is_usable());
    search.overrides.clear();
    search.path = Some(format!("::bin:.:{}", root.join("bin").display()).into());
    program(&root.join("bin/myownmesh"), 0o755);
    let found = candidates(&search);
    assert_eq!(found.len(), 1, "relative entries are ignored: {found:?}");
}

#[test]
fn candidate_under_a_second_name_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    program(&root.join("app/myownmesh"), 0o755);
    program(&root.join("bin/x"), 0o755);
    symlink("../app/myownmesh", root.join("bin/myownmesh")).unwrap();
    let found = candidates(&search(root));
    assert!(found[0].is_usable());
    assert!(reason(found.last().unwrap()).starts_with("the same file as"), "{found:?}");
}

#[test]
fn candidate_with_a_name_that_is_not_utf8_is_serialised() {
    use std::os::unix::ffi::OsStringExt;
    let odd = PathBuf::from(OsString::from_vec(b"/nowhere/\xff".to_vec()));
    let candidate = Candidate::new(odd, Origin::Beside);
    assert_eq!(reason(&candidate), "not there");
    assert!(serde_json::to_string(&candidate).is_ok());
}
