//! The docs match the program: every code is listed, every transcript is the program's output,
//! every link has a target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::testkit::{self, APP, is_installed, program, root, run, set_mode};

/// String literals that look like codes and are something else.
const NO_CODES: [&str; 3] = ["myownllm.network-settings", "myownmesh.network-settings", "myownllm-mesh.log"];
/// Endings of file names. The file `daemon.log` has the spelling of the code `daemon.log`, which is
/// listed.
const FILE_ENDINGS: [&str; 7] = ["json", "sock", "lock", "exe", "md", "toml", "txt"];

#[test]
fn every_code_of_the_sources_is_listed_and_no_other() {
    let mut in_sources = BTreeSet::from(["usage".to_owned()]);
    for file in files(&root().join("crates"), "rs") {
        if !file.components().any(|part| part.as_os_str() == "src") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        in_sources.extend(literals(code_alone(&text)).filter(|literal| is_code(literal)));
    }
    let listed: Vec<String> = std::fs::read_to_string(root().join("docs/errors.md"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned))
        .collect();
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), once.len(), "docs/errors.md lists a code twice: {listed:?}");
    let missing: Vec<_> = in_sources.difference(&once).collect();
    let gone: Vec<_> = once.difference(&in_sources).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}: add a row for each");
    assert!(gone.is_empty(), "docs/errors.md lists what no source has any more, remove the rows: {gone:?}");
    assert!(once.len() > 100, "the sources were not found: {once:?}");
}

/// A person who has a code finds it by its prefix, then by its name.
#[test]
fn each_code_stands_under_the_heading_of_its_prefix_in_order() {
    let page = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let (codes, _) = page.split_once("\n## The checks of `doctor`").unwrap();
    let mut checked = 0;
    for section in codes.split("\n## ").skip(1) {
        let (prefixes, _) = section.lines().next().unwrap().split_once(": ").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let rows: Vec<&str> = rows.collect();
        let is_of_section = |code: &&str| prefixes.split(", ").any(|one| code.split('.').next() == Some(one));
        assert!(rows.iter().all(is_of_section), "## {prefixes} has the codes {rows:?}");
        assert!(rows.is_sorted(), "## {prefixes}: {rows:?}");
        checked += rows.len();
    }
    assert!(checked > 100, "{checked} codes were found");
}

/// Returns a file's lines without its tests, which contain codes of their own, and without
/// comments.
fn code_alone(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn literals<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    // Codes contain neither quotes nor escapes, so a piece between two quotes is a code if it looks
    // like one. Text between two literals never looks like a code.
    lines.flat_map(|line| line.split('"')).map(str::to_owned)
}

fn is_code(literal: &str) -> bool {
    let Some((family, name)) = literal.split_once('.') else { return false };
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    word(family) && word(name) && !FILE_ENDINGS.contains(&name) && !NO_CODES.contains(&literal)
}

/// Returns every file below `dir` with this ending, without build output.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git", "dist", "fixtures"].contains(&name.as_str()) {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// These pages lead a reader to files and functions, so each name on them is one of the sources.
#[test]
fn names_on_the_pages_for_developers_are_in_the_sources() {
    let pages = ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/performance.md"];
    let page = pages.map(|page| std::fs::read_to_string(root().join(page)).unwrap()).join("\n");
    let sources = ["crates", "tests"].map(|dir| files(&root().join(dir), "rs")).concat();
    let words = |text: &str| -> BTreeSet<String> {
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        text.split(is_end).map(str::to_owned).collect()
    };
    let text = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    let mut code = BTreeSet::new();
    sources.iter().for_each(|file| code.extend(code_alone(&text(file)).flat_map(words)));
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_/:.-".contains(c);
    let mut checked = 0;
    for name in page.split(|c| !is_part(c)).map(|name| name.trim_matches(['.', ':'])) {
        if name.ends_with(".rs") {
            let is_one = |file: &PathBuf| file.ends_with(name) || root().join(name) == *file;
            assert!(sources.iter().any(is_one) || root().join(name).is_file(), "no source {name}");
            checked += 1;
        } else if name.contains("::") {
            let missing: Vec<_> = name.split("::").filter(|part| !code.contains(*part)).collect();
            let is_crate = |part: &&str| root().join("crates").join(part.replace('_', "-")).is_dir();
            assert!(missing.iter().all(is_crate), "{name}: no source has {missing:?}");
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} names were found");
}

#[test]
fn every_link_between_the_docs_leads_somewhere() {
    let mut broken = Vec::new();
    for file in files(root(), "md") {
        let text = std::fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            // rustdoc checks its own links.
            let is_path = target.contains('/') || target.ends_with(".md") || target == "LICENSE";
            if is_path && !target.contains("://") && !file.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_transcripts_of_the_front_page_are_what_the_program_prints() {
    play("README.md");
}

#[test]
fn the_transcripts_of_recovery_are_what_the_program_prints() {
    play("docs/recovery.md");
}

#[test]
fn the_transcripts_of_downgrade_are_what_the_program_prints() {
    play("docs/downgrade.md");
}

#[cfg(unix)]
#[test]
fn the_transcripts_of_the_fleet_page_are_what_the_program_prints() {
    play("docs/fleet.md");
}

#[test]
fn the_transcripts_of_the_support_page_are_what_the_program_prints() {
    play("docs/support.md");
}

/// The home in the docs. The throw-away home has a path of the same length, so that columns stay
/// aligned.
const SHOWN_HOME: &str = "/home/you";
/// If this variable is set, the test rewrites transcripts that differ; transcripts with `...` stay.
const UPDATE: &str = "MYOWNLLM_DOCS_UPDATE";

/// Runs every `$ myownllm-mesh …` of a document's `console` blocks and compares the output with the
/// lines below it.
///
/// `<!-- home: NAME -->` begins a new home. A line `...` stands for any number of lines. `# exit N`
/// after a command is its exit code, and `> FILE` writes its output into a file. Hashes, times and
/// long numbers are compared by their shape alone.
fn play(document: &str) {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let update = std::env::var_os(UPDATE).is_some();
    let mut out: Vec<String> = Vec::new();
    let mut home: Option<tempfile::TempDir> = None;
    let mut runs = 0;
    let mut lines = text.lines().peekable();
    let mut inside = false;
    while let Some(line) = lines.next() {
        out.push(line.to_owned());
        if let Some(name) = line.strip_prefix("<!-- home: ").and_then(|rest| rest.strip_suffix(" -->")) {
            home = Some(fixture(name));
        }
        if line.starts_with("```") {
            inside = line == "```console";
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| inside) else { continue };
        let mut wanted = Vec::new();
        while let Some(next) = lines.next_if(|next| !next.starts_with("$ ") && !next.starts_with("```")) {
            wanted.push(next.to_owned());
        }
        if command.contains("| jq ") && !is_installed("jq") {
            eprintln!("skipped, as jq is not installed: {command}");
            out.extend(wanted);
            runs += 1;
            continue;
        }
        let home = home.as_ref().unwrap_or_else(|| panic!("{document}: no home before `{command}`"));
        let said = said(home.path(), command, document);
        runs += 1;
        if alike(&wanted, &said) {
            out.extend(wanted);
        } else if update && !wanted.iter().any(|line| line == "...") {
            let blank = wanted.iter().rev().take_while(|line| line.is_empty()).count();
            out.extend(said.iter().map(|line| shown(line)));
            out.extend(std::iter::repeat_n(String::new(), blank));
        } else {
            panic!(
                "{document}: `{command}` does not print what stands there, but:\n\n{}\n\n({UPDATE}=1 \
                    rewrites it)",
                said.join("\n")
            );
        }
    }
    assert!(runs > 0, "{document} has no transcript");
    let out = out.join("\n") + "\n";
    if update && out != text {
        std::fs::write(path, out).unwrap();
    }
}

/// Returns all output of a command of the docs in this home, with the throw-away home replaced by
/// the reader's.
fn said(home: &Path, command: &str, document: &str) -> Vec<String> {
    let (command, exit) = match command.split_once("# exit ") {
        Some((command, exit)) => (command.trim_end(), exit.trim().parse().unwrap()),
        None => (command, 0),
    };
    let (command, into) = match command.split_once(" > ") {
        Some((command, file)) => (command, Some(home.join(file))),
        None => (command, None),
    };
    let mut words = command.split_whitespace();
    let mut ran = match words.next() {
        Some("myownllm-mesh") if command.contains(" | ") => {
            let programs = program().parent().unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(home).env_clear().env("HOME", home);
            run(shell.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display())))
        }
        Some("myownllm-mesh") => {
            let mut run_it = Command::new(program());
            run_it.args(words).current_dir(home).env("HOME", home).env("PATH", home);
            // Without a width, no line would be broken.
            run_it.env("COLUMNS", "100");
            for name in ["MYOWNMESH_HOME", "MYOWNLLM_MESH_BIN", "MYOWNMESH_BIN", "TERM"] {
                run_it.env_remove(name);
            }
            run(&mut run_it)
        }
        // A step of the reader, such as a copy of a directory.
        Some(tool @ ("cp" | "mv" | "rm")) => {
            let words = words.map(|word| word.replace('~', &home.display().to_string()));
            run(Command::new(tool).args(words).current_dir(home))
        }
        other => panic!("{document}: {other:?} is not run by this test"),
    };
    assert_eq!(ran.code, Some(exit), "{document}: `{command}`: {}", ran.all());
    if let Some(file) = into {
        std::fs::write(file, std::mem::take(&mut ran.stdout)).unwrap();
    }
    let all = format!("{}{}", ran.stdout, ran.stderr).replace(&home.display().to_string(), SHOWN_HOME);
    all.lines().map(str::to_owned).collect()
}

fn alike(wanted: &[String], said: &[String]) -> bool {
    // Blank lines at the end separate two commands.
    let end = wanted.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    matches(&wanted[..end], said)
}

fn matches(wanted: &[String], said: &[String]) -> bool {
    match (wanted, said) {
        ([], []) => true,
        ([any, rest @ ..], said) if any == "..." => {
            (0..=said.len()).any(|skipped| matches(rest, &said[skipped..]))
        }
        ([line, wanted @ ..], [found, said @ ..]) => normal(line) == normal(found) && matches(wanted, said),
        _ => false,
    }
}

/// Returns a line as the docs show it.
fn shown(line: &str) -> String {
    let Some((before, rest)) = line.split_once("(owner ") else { return line.to_owned() };
    let Some((_, after)) = rest.split_once(',') else { return line.to_owned() };
    format!("{before}(owner you,{after}")
}

/// Returns a line without the parts that differ between runs: column widths, the owner, hashes,
/// times, numbers of several digits.
fn normal(line: &str) -> String {
    let line = shown(line);
    // An internal id of this run: `net-`, the time, and a random part.
    let line = match line.split_once("(net-") {
        Some((before, id)) if id.contains('-') => format!("{before}(net-#)"),
        _ => line,
    };
    // The age of a backup depends on the speed of the test.
    let line = match line.split_once(" s ago") {
        Some((before, after)) => {
            format!("{}0 s ago{after}", before.trim_end_matches(|c: char| c.is_ascii_digit()))
        }
        None => line,
    };
    let mut out = String::new();
    let mut word = String::new();
    for char in line.trim_end().chars().chain(['\0']) {
        if char.is_ascii_alphanumeric() {
            word.push(char);
            continue;
        }
        if word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push('0');
        } else if word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            out.push('#');
        } else {
            out.push_str(&word);
        }
        word.clear();
        if char != '\0' && !(char == ' ' && out.ends_with(' ')) {
            out.push(char);
        }
    }
    out
}

/// Makes a home of the docs.
fn fixture(name: &str) -> tempfile::TempDir {
    let parent = if cfg!(unix) { PathBuf::from("/tmp") } else { std::env::temp_dir() };
    let home = tempfile::Builder::new().prefix("").rand_bytes(4).tempdir_in(parent).unwrap();
    let healthy = testkit::fixture("app-config-before.json");
    let left = |file: &str| testkit::fixture_of_038(&format!("{APP}/{file}"));
    let put = |file: &str, bytes: &[u8]| {
        let path = home.path().join(APP).join(file);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        std::fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o600);
        set_mode(parent, 0o700);
    };
    let settle = || {
        let mut launch = Command::new(program());
        launch.arg("--home").arg(home.path()).args(["launch", "--no-daemon"]);
        run(&mut launch).ends_with(0);
    };
    set_mode(home.path(), 0o755);
    put("config.json", &healthy);
    std::fs::create_dir(home.path().join("backup")).unwrap();
    std::fs::write(home.path().join("backup/config.json"), &healthy).unwrap();
    if name == "overwritten, with a copy" {
        settle();
    }
    for file in [
        ".secrets/identity.json",
        "mesh/rosters/home-mesh.json",
        "mesh/rosters/office-mesh.json",
        "mesh/states/home-mesh.json",
    ] {
        put(file, &left(file));
    }
    match name {
        "overwritten" => put("config.json", &left("config.json")),
        "overwritten, with a copy" => put("config.json", &left("config.json")),
        "settled" => settle(),
        "two rosters" => {
            settle();
            put("mesh/rosters/home-mesh.json", &left("mesh/rosters/office-mesh.json"));
        }
        other => panic!("no home is called {other:?}"),
    }
    home
}
