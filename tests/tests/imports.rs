//! The files of a crate import each other in no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use integration_tests::testkit::root;
use rstest::rstest;

/// The path of a module. The root of the crate has an empty path.
type Module = Vec<String>;

fn modules(directory: &Path, above: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let below: Module = above.iter().cloned().chain([name.clone()]).collect();
        if path.is_dir() {
            modules(&path, &below, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = matches!(name.as_str(), "mod" | "lib" | "main");
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(if is_root { above.clone() } else { below }, without_tests_and_comments(&text));
        }
    }
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("\nmod tests {").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Parses the path or the tree of paths at the start of `code`. Returns the rest of `code`.
fn parse_paths<'c>(code: &'c str, above: &Module, found: &mut Vec<Module>) -> &'c str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.strip_prefix('}') {
                Some(rest) => return rest,
                None => rest = parse_paths(rest, above, found),
            }
        }
    }
    let (name, rest) = code.split_at(code.find(|c| !is_name(c)).unwrap_or(code.len()));
    let path: Module = above.iter().cloned().chain([name.to_owned()]).collect();
    match rest.strip_prefix("::") {
        Some(below) if below.starts_with(|c| is_name(c) || c == '{') => parse_paths(below, &path, found),
        _ => {
            found.push(path.into_iter().filter(|name| name != "self").collect());
            &rest[rest.find([',', '}']).unwrap_or(rest.len())..]
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the paths that follow `keyword` in `code`.
fn paths_after(keyword: &str, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(keyword) {
        if !code[..at].ends_with(|before: char| is_name(before) || matches!(before, '$' | ':')) {
            parse_paths(&code[at + keyword.len()..], &Vec::new(), &mut found);
        }
    }
    found
}

/// Returns the items that a module exports from another one: the path of the name, and of the item.
fn exports(all: &BTreeMap<Module, String>) -> BTreeMap<Module, Module> {
    let mut found = BTreeMap::new();
    for (module, code) in all {
        for keyword in ["pub use ", "pub(crate) use ", "pub(super) use "] {
            for path in paths_after(keyword, code) {
                let is_absolute = path.first().is_some_and(|name| name == "crate");
                let base = if is_absolute { &[][..] } else { module };
                let item: Module = base.iter().chain(&path[usize::from(is_absolute)..]).cloned().collect();
                let name: Module = module.iter().chain(path.last()).cloned().collect();
                let is_of_this_crate = item.len() > 1 && all.contains_key(&item[..item.len() - 1]);
                if is_of_this_crate && item != name && !all.contains_key(&name) {
                    found.insert(name, item);
                }
            }
        }
    }
    found
}

/// Returns the module that owns a path: the longest prefix that names a module. The rest is an
/// item.
fn resolve(mut path: Module, all: &BTreeMap<Module, String>, exports: &BTreeMap<Module, Module>) -> Module {
    while let Some((end, item)) = (1..=path.len()).find_map(|end| Some((end, exports.get(&path[..end])?))) {
        path.splice(..end, item.iter().cloned());
    }
    while !path.is_empty() && !all.contains_key(&path) {
        path.pop();
    }
    path
}

/// Returns `code` without the statements that export items: a module that only exports the items of
/// its children does not use them.
fn without_exports(code: &str) -> String {
    let is_export = |line: &&str| line.trim_start().starts_with("pub") && line.contains(" use ");
    let mut lines = code.lines();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        match is_export(&line) {
            true => drop(std::iter::once(line).chain(lines.by_ref()).find(|line| line.contains(';'))),
            false => kept.extend([line, "\n"]),
        }
    }
    kept
}

/// Returns the modules whose items `code` names: by `crate::` or `super::`, or by the name of a
/// child. An item that another module exports counts for the module that defines it.
fn imports(
    me: &Module,
    code: &str,
    all: &BTreeMap<Module, String>,
    exports: &BTreeMap<Module, Module>,
) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let used = without_exports(code);
    let above = &me[..me.len().saturating_sub(1)];
    for (keyword, base) in [("crate::", &[][..]), ("super::", above)] {
        // The root of a crate is there to export.
        for path in paths_after(keyword, if me.is_empty() { &used } else { code }) {
            found.insert(resolve(base.iter().cloned().chain(path).collect(), all, exports));
        }
    }
    for child in all.keys().filter(|module| module.split_last().is_some_and(|(_, above)| above == me)) {
        let name = format!("{}::", child[me.len()]);
        for path in paths_after(&name, &used).into_iter().chain(paths_after(&format!("self::{name}"), &used))
        {
            found.insert(resolve(child.iter().cloned().chain(path).collect(), all, exports));
        }
    }
    found.remove(me);
    found
}

/// Returns the modules of a circle that `from` leads to; `None` if there is no circle.
fn circle(
    from: &Module,
    edges: &BTreeMap<Module, BTreeSet<Module>>,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(at) = way.iter().position(|module| module == from) {
        return Some(way[at..].to_vec());
    }
    if !done.contains(from) {
        way.push(from.clone());
        for next in edges.get(from).into_iter().flatten() {
            if let Some(found) = circle(next, edges, way, done) {
                return Some(found);
            }
        }
        way.pop();
        done.insert(from.clone());
    }
    None
}

/// `Disk::lock` returns a `LockedDir`, which reads through a `Disk`: the trait and the type know
/// each other.
const ALLOWED: (&str, &str) = ("disk", "locked");

fn circle_in(all: &BTreeMap<Module, String>) -> Option<Vec<Module>> {
    let exports = exports(all);
    let mut edges: BTreeMap<Module, BTreeSet<Module>> =
        all.iter().map(|(module, code)| (module.clone(), imports(module, code, all, &exports))).collect();
    if let Some(allowed) = edges.get_mut([ALLOWED.0.to_owned()].as_slice()) {
        allowed.remove([ALLOWED.1.to_owned()].as_slice());
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| circle(module, &edges, &mut Vec::new(), &mut done))
}

#[rstest]
fn files_import_each_other_in_no_circle(
    #[values(
        "app",
        "config-model",
        "config-store",
        "daemon",
        "durable-fs",
        "identity",
        "json-document",
        "launch",
        "migration",
        "paths",
        "report",
        "salvage"
    )]
    name: &str,
) {
    let mut all = BTreeMap::new();
    modules(&root().join("crates").join(name).join("src"), &Vec::new(), &mut all);
    assert!(all.len() > 3, "{name}: {:?}", all.keys());
    assert_eq!(circle_in(&all), None, "{name}");
}

#[rstest]
#[case::child_imports_its_parent("use child::make;", "use super::Item;", true)]
#[case::parent_calls_its_child("fn f() { child::make() }", "use crate::parent::Item;", true)]
#[case::parent_names_itself("use self::{child::make};", "use super::Item;", true)]
#[case::parent_exports_its_child("pub use child::{\n    make, Made,\n};", "use super::Item;", false)]
#[case::only_the_parent_imports("use child::make;", "use crate::other::Item;", false)]
#[case::tests_of_the_child(
    "use child::make;",
    "fn make() {}\n#[cfg(test)]\nmod tests {\n    use super::*;",
    false
)]
fn circle_of_parent_and_child_is_found(#[case] parent: &str, #[case] child: &str, #[case] is_circle: bool) {
    let module = |path: &[&str]| path.iter().map(|name| (*name).to_owned()).collect::<Module>();
    let found = circle_in(&BTreeMap::from([
        (Vec::new(), "mod other;\nmod parent;".to_owned()),
        (module(&["other"]), String::new()),
        (module(&["parent"]), without_tests_and_comments(parent)),
        (module(&["parent", "child"]), without_tests_and_comments(child)),
    ]));
    assert_eq!(found.is_some(), is_circle, "{found:?}");
}

/// What the root of a crate defines cannot be used by a module that the root uses.
#[rstest]
#[case::root_uses_the_module("fn f() { a::make() }", true)]
#[case::root_exports_the_module("pub use a::make;", false)]
fn circle_of_root_and_module_is_found(#[case] root: &str, #[case] is_circle: bool) {
    let all = [(Vec::new(), root.to_owned()), (vec!["a".to_owned()], "use crate::Item;".to_owned())];
    assert_eq!(circle_in(&BTreeMap::from(all)).is_some(), is_circle);
}

/// `NoDaemons` finds no daemon: outside of tests, files would move under one that writes them.
#[test]
fn no_library_turns_on_what_is_for_tests() {
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let shipped = text.split("[dev-dependencies]").next().unwrap();
        let is_use = |line: &&str| line.contains("\"testing\"") || line.contains("\"sim\"");
        assert_eq!(shipped.lines().find(is_use), None, "{}", manifest.display());
    }
}

/// The directories of launch, the lowest first.
const DIRECTORIES_OF_LAUNCH: [&str; 6] = ["words", "daemons", "homes", "files", "plan", "execute"];

#[test]
fn directory_of_launch_imports_only_those_below_it() {
    let mut all = BTreeMap::new();
    modules(&root().join("crates/launch/src"), &Vec::new(), &mut all);
    let place = |module: &Module| {
        DIRECTORIES_OF_LAUNCH.iter().position(|name| module.first().is_some_and(|top| top == name))
    };
    let exports = exports(&all);
    for (module, code) in all.iter().filter(|(module, _)| module.len() > 1) {
        let own = place(module);
        assert!(own.is_some(), "{module:?} is in no known directory");
        let imported = imports(module, code, &all, &exports);
        let above: Vec<_> = imported.iter().filter(|other| place(other) > own).collect();
        assert!(above.is_empty(), "{module:?} imports {above:?}");
    }
}

/// What two commands share lives beside the commands.
#[test]
fn commands_of_the_program_do_not_import_each_other() {
    let mut all = BTreeMap::new();
    modules(&root().join("crates/app/src"), &Vec::new(), &mut all);
    let is_command = |module: &Module| module.len() > 1 && module[0] == "commands";
    let commands: Vec<_> = all.iter().filter(|(module, _)| is_command(module)).collect();
    assert!(commands.len() > 5, "{commands:?}");
    let exports = exports(&all);
    for (module, code) in commands {
        let imported = imports(module, code, &all, &exports);
        let others: Vec<_> =
            imported.iter().filter(|other| is_command(other) && other[1] != module[1]).collect();
        assert!(others.is_empty(), "{module:?} imports {others:?}");
    }
}

#[rstest]
#[case::path("use super::a::Item;", Some(3))]
#[case::item_of_a_group("use crate::{a::Item, Root};", Some(3))]
#[case::item_behind_another_group("use crate::{\n    d::{One, Two},\n    a::Item,\n};", Some(3))]
#[case::item_that_the_root_exports("use crate::{Other, Item};", Some(3))]
#[case::root("use crate::Root;", None)]
#[case::link_in_a_comment("/// See [`Item`](crate::Item).", None)]
fn circle_of_three_files_is_found(#[case] last: &str, #[case] expected: Option<usize>) {
    let file = |name: &str, code: &str| (vec![name.to_owned()], without_tests_and_comments(code));
    let found = circle_in(&BTreeMap::from([
        (Vec::new(), "mod a; mod b; mod c; mod d;\npub use crate::a::{Item, More};".to_owned()),
        file("a", "use crate::b::Item;"),
        file("b", "use super::c::{Item, other};"),
        file("c", last),
        file("d", ""),
    ]));
    assert_eq!(found.map(|found| found.len()), expected);
}

#[test]
fn each_file_of_the_tests_is_a_module_of_their_program() {
    let directory = root().join("tests/tests");
    let program = std::fs::read_to_string(directory.join("main.rs")).unwrap();
    let manifest = std::fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            let is_run = program.contains(&format!("\nmod {name};\n"))
                || manifest.contains(&format!("[[test]]\nname = \"{name}\"\n"));
            assert!(is_run, "{name}.rs is in no test program");
        }
    }
}

/// No program runs a file that no module declares.
#[test]
fn each_file_in_a_directory_of_tests_is_a_module() {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path().join("tests"));
    for tests in crates.chain([root().join("tests/tests")]).filter(|tests| tests.is_dir()) {
        for directory in std::fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path()) {
            let parent = std::fs::read_to_string(directory.with_extension("rs"))
                .or_else(|_| std::fs::read_to_string(directory.join("mod.rs")))
                .unwrap_or_default();
            for file in std::fs::read_dir(&directory).into_iter().flatten() {
                let path = file.unwrap().path();
                let name = path.file_stem().unwrap().to_string_lossy();
                if path.extension().is_some_and(|extension| extension == "rs") && name != "mod" {
                    assert!(parent.contains(&format!("mod {name};\n")), "{}", path.display());
                }
            }
        }
    }
}
