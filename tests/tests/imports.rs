//! The files of a crate import each other in no circle.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "reads the sources")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
            found.insert(if is_root { above.clone() } else { below }, code);
        }
    }
}

/// Returns the module of a path: the longest prefix that names a module. The rest is an item.
fn resolve(mut path: Module, all: &BTreeMap<Module, String>) -> Module {
    while !path.is_empty() && !all.contains_key(&path) {
        path.pop();
    }
    path
}

/// Returns the modules whose items `code` names by `crate::` or `super::`.
fn imports(me: &Module, code: &str, all: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    for (keyword, base) in [("crate::", Vec::new()), ("super::", me[..me.len().saturating_sub(1)].to_vec())] {
        for (at, _) in code.match_indices(keyword) {
            if code[..at]
                .ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '$' | ':'))
            {
                continue;
            }
            let rest = &code[at + keyword.len()..];
            let paths: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group[..group.find('}').unwrap()].split(',').collect(),
                None => vec![rest],
            };
            for path in paths {
                let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
                let path = path.trim().split(|c| !is_name(c)).next().unwrap_or_default();
                let names = path.split("::").filter(|name| !name.is_empty()).map(str::to_owned);
                found.insert(resolve(base.iter().cloned().chain(names).collect(), all));
            }
        }
    }
    // The root of a crate names its modules to export them, so it does not count.
    found.retain(|module| module != me && !module.is_empty());
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

fn circle_in(all: &BTreeMap<Module, String>) -> Option<Vec<Module>> {
    let edges: BTreeMap<Module, BTreeSet<Module>> =
        all.iter().map(|(module, code)| (module.clone(), imports(module, code, all))).collect();
    let mut done = BTreeSet::new();
    edges
        .keys()
        .filter(|module| !module.is_empty())
        .find_map(|module| circle(module, &edges, &mut Vec::new(), &mut done))
}

#[rstest]
fn files_import_each_other_in_no_circle(
    #[values(
        "app",
        "config-model",
        "durable-fs",
        "identity",
        "json-document",
        "launch",
        "paths",
        "report",
        "salvage"
    )]
    name: &str,
) {
    let mut all = BTreeMap::new();
    modules(&support::root().join("crates").join(name).join("src"), &Vec::new(), &mut all);
    assert!(all.len() > 3, "{name}: {:?}", all.keys());
    assert_eq!(circle_in(&all), None, "{name}");
}

/// What two commands share lives beside the commands.
#[test]
fn commands_of_the_program_do_not_import_each_other() {
    let mut all = BTreeMap::new();
    modules(&support::root().join("crates/app/src"), &Vec::new(), &mut all);
    let is_command = |module: &Module| module.len() > 1 && module[0] == "commands";
    let commands: Vec<_> = all.iter().filter(|(module, _)| is_command(module)).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for (module, code) in commands {
        let imported = imports(module, code, &all);
        let others: Vec<_> =
            imported.iter().filter(|other| is_command(other) && other[1] != module[1]).collect();
        assert!(others.is_empty(), "{module:?} imports {others:?}");
    }
}

#[test]
fn circle_of_three_files_is_found() {
    let file = |name: &str, code: &str| (vec![name.to_owned()], code.to_owned());
    let circle = |last: &str| {
        circle_in(&BTreeMap::from([
            (Vec::new(), "mod a; mod b; mod c;".to_owned()),
            file("a", "use crate::b::Item;"),
            file("b", "use super::c::{Item, other};"),
            file("c", last),
        ]))
    };
    assert_eq!(circle("use crate::{a::Item, Root};").map(|found| found.len()), Some(3));
    assert_eq!(circle("use crate::Root;"), None);
}
