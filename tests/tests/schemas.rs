//! The output of `--json` matches `schemas/`: every document of every command fits the envelope,
//! and `data` fits the command's schema, without fields that the schema does not describe.

use std::collections::{BTreeMap, BTreeSet};

use integration_tests::testkit::{APP, CONFIG, Home, MESH, NEW_KEY, root, run_with};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

/// The base of the relative ids of the schemas.
const BASE: &str = "schemas://myownllm-mesh/";

/// The schemas of the repository, by file name.
struct Schemas(BTreeMap<String, Validator>);

/// Returns the schemas as the files have them.
fn files() -> BTreeMap<String, Value> {
    let directory = root().join("schemas");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect()
}

impl Schemas {
    fn load() -> Self {
        let schemas: BTreeMap<String, Value> = files()
            .into_iter()
            .map(|(name, mut schema)| {
                assert_eq!(schema["$id"], *name, "the id of {name}");
                // A command's schema describes `data` in full, and the envelope's members in part.
                schema.pointer_mut("/properties/data").into_iter().for_each(close);
                schema.get_mut("$defs").into_iter().for_each(close);
                (name, schema)
            })
            .collect();
        let resources = schemas.iter().map(|(name, schema)| (format!("{BASE}{name}"), schema.clone()));
        let registry = Registry::new().extend(resources).unwrap().prepare().unwrap();
        let options = jsonschema::options().with_registry(&registry);
        let validator = |name: &String| options.build(&json!({ "$ref": format!("{BASE}{name}") })).unwrap();
        Self(schemas.keys().map(|name| (name.clone(), validator(name))).collect())
    }

    /// Returns the violations, each with its place.
    fn misfits(&self, file: &str, value: &Value) -> Vec<String> {
        let validator = self.0.get(file).unwrap_or_else(|| panic!("there is no schemas/{file}"));
        let misfits = validator.iter_errors(value);
        misfits.map(|misfit| format!("{}: {misfit}", misfit.instance_path())).collect()
    }

    #[track_caller]
    fn fit(&self, file: &str, document: &Value, context: &str) {
        let misfits = self.misfits(file, document);
        assert!(misfits.is_empty(), "{context} does not fit {file}:\n{}\n{document:#}", misfits.join("\n"));
    }
}

/// Makes each member that no schema describes a violation. The schemas themselves leave objects
/// open, because a later version may add members.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.iter_mut().filter(|(name, _)| *name != "allOf").for_each(|(_, member)| close(member));
            if members.get("properties").is_some_and(Value::is_object)
                && members.get("additionalProperties").is_none()
            {
                members.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Commands that end by themselves, in an order in which some find what they need.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["status"],
    &["status", "--check"],
    &["doctor"],
    &["migrate", "--dry-run"],
    &["migrate", "--undo", "--dry-run"],
    &["salvage", "--dry-run"],
    &["config", "show"],
    &["config", "check"],
    &["config", "history"],
    &["network", "list"],
    &["network", "show", "home-mesh"],
    &["config", "schema", "app"],
    &["paths"],
    &["paths", "--mode", "shared"],
    &["paths", "daemon_home"],
    &["paths", "nothing"],
    &["identity"],
    &["completions", "bash"],
    &["man"],
    &["salvage", "--stdin"],
    &["config", "normalize"],
    &["network", "to-daemon"],
    &["network", "to-envelope"],
    &["network", "from-envelope"],
    &["nonsense"],
    &["--version"],
    &["--help"],
    &["help", "launch"],
    &["fix"],
    &["migrate"],
    &["salvage"],
    &["repair"],
    &["launch", "--no-daemon"],
    &["launch", "--once"],
    &["network", "add", "book-club", "--activate"],
    &["network", "add", "book-club"],
    &["network", "export", "book-club"],
    &["network", "import", "-"],
    &["network", "use", "book-club"],
    &["network", "use", "--none"],
    &["network", "remove", "book-club"],
    &["network", "remove", "book-club"],
    &["config", "get", "api"],
    &["config", "get", "api.prt"],
    &["config", "set", "auto_cleanup.models=false", "api.port=1"],
    &["config", "set", "cloud_mesh.enabled=true"],
    &["config", "set", "api.port=x"],
    &["config", "diff", "1"],
    &["config", "restore", "1"],
    &["config", "restore", "2"],
    &["config", "restore", "3"],
    &["config", "accept"],
    &["migrate", "--undo"],
    &["config", "history"],
    &["config", "restore", "2", "--as-is"],
    &["report"],
    &["logs"],
    &["logs", "--daemon", "-n", "3"],
    &["daemon", "status"],
    &["daemon", "restart"],
    &["daemon", "status"],
    &["daemon", "logs"],
    &["daemon", "stop"],
];

/// Homes of every kind, including homes on which commands fail or refuse.
fn homes() -> Vec<(&'static str, Home)> {
    let identity = format!("{APP}/.secrets/identity.json");
    let two_keys = Home::after_the_bug();
    two_keys.put(NEW_KEY, &other_key(), 0o600);
    let collision = Home::legacy();
    collision.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), b"{\"another\": 1}", 0o600);
    collision.put(&format!("{APP}/mesh/rosters/notes.txt"), b"mine", 0o600);
    let damaged = Home::legacy();
    damaged.put(&identity, b"{}", 0o600);
    let corrupt = Home::legacy();
    corrupt.put(CONFIG, b"{\"active_family\": ", 0o600);
    let newer = Home::legacy();
    newer.put(CONFIG, b"{\"version\": 99, \"daemon\": {}, \"networks\": []}", 0o600);
    let overlap = Home::empty();
    overlap.put(&format!("{APP}/conversations/a.json"), b"{}", 0o600);
    overlap.put(MESH, b"a file where a directory belongs", 0o600);
    let numbered = Home::settled();
    numbered.edit(CONFIG, |config| config["cloud_mesh"]["networks"][0]["network_id"] = 42.into());
    vec![
        ("empty", Home::empty()),
        ("legacy", Home::legacy()),
        ("after the bug", Home::after_the_bug()),
        ("settled", Home::settled()),
        ("two keys", two_keys),
        ("collision", collision),
        ("a damaged key", damaged),
        ("a corrupt config", corrupt),
        ("a newer config", newer),
        ("a file for a home", overlap),
        ("a number for a network id", numbered),
    ]
}

/// A sound key of another identity, from the other daemon.
fn other_key() -> Vec<u8> {
    let home = root().join("tests/fixtures/daemon-0.3.8/home").join(APP);
    std::fs::read(home.join(".secrets/identity.json")).unwrap()
}

/// The input of a filter: a network of the app, or its envelope.
fn input(args: &[&str]) -> Vec<u8> {
    let network = br#"{"id": "net-a", "network_id": "abc", "signaling_servers": [], "stun_servers": [],
        "turn_servers": []}"#;
    match args {
        ["network", "import", _] | ["network", "from-envelope"] => {
            run_with(&mut Home::empty().command(&["network", "to-envelope"]), network)
                .ends_with(0)
                .stdout
                .into_bytes()
        }
        _ => network.to_vec(),
    }
}

#[test]
fn schemas_come_from_the_types() {
    let (files, types) = (files(), myownllm_report::schemas());
    assert_eq!(files.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>());
    for (name, schema) in types {
        assert_eq!(files[&name], schema, "{name} differs from its type: run `cargo xtask codegen`");
    }
}

#[test]
fn every_command_has_a_schema() {
    let schemas = Schemas::load();
    let manual = Home::empty().run(&["man", "--json"]).json();
    let commands: Vec<&str> =
        manual["data"]["commands"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(commands.contains(&"network use"), "{commands:?}");
    // A command with subcommands has no document of its own.
    let alone =
        commands.iter().filter(|name| !commands.iter().any(|other| other.starts_with(&format!("{name} "))));
    let lacking: Vec<_> = alone
        .filter(|name| !schemas.0.contains_key(&format!("{}.schema.json", name.replace(' ', "-"))))
        .collect();
    assert!(lacking.is_empty(), "schemas/ lacks {lacking:?}");
}

#[test]
fn printed_documents_fit_the_schemas() {
    let schemas = Schemas::load();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut fits = |name: &str, home: &Home, args: &[&str]| {
        let mut command = home.with_daemon(&[args, &["--json"]].concat());
        let ran = run_with(&mut command, &input(args));
        let (document, context) = (ran.json(), format!("{name}: {args:?}"));
        schemas.fit("envelope.schema.json", &document, &context);
        assert_eq!(document["ok"], ran.code == Some(0), "{context}: {ran:?}");
        assert_eq!(document["exit"], ran.code.unwrap(), "{context}: {ran:?}");
        let command = document["schema"].as_str().unwrap();
        let command = command.strip_prefix("myownllm-mesh.").and_then(|rest| rest.strip_suffix("/1"));
        let file = format!("{}.schema.json", command.unwrap());
        schemas.fit(&file, &document, &context);
        let is_told = args == ["nonsense"] || document["data"] != serde_json::json!({});
        *seen.entry(file).or_default() += usize::from(is_told);
        document["data"]["reconcile"].is_object()
    };
    for (name, home) in homes() {
        for args in COMMANDS {
            fits(name, &home, args);
        }
    }
    // If a daemon runs, a change of the networks also reports the changes in the daemon.
    let home = Home::settled();
    let _daemon = home.daemon(MESH).start().unwrap();
    let reconciled = COMMANDS.iter().filter(|args| fits("a daemon runs", &home, args)).map(|args| args[1]);
    assert_eq!(
        reconciled.collect::<BTreeSet<_>>(),
        BTreeSet::from(["--once", "add", "remove", "restart", "restore", "set", "use"])
    );
    for file in schemas.0.keys().filter(|file| *file != "envelope.schema.json") {
        assert!(seen.get(file).is_some_and(|times| *times > 2), "{file} was hardly tried: {seen:?}");
    }
}

#[test]
fn schemas_refuse_what_does_not_fit() {
    let schemas = Schemas::load();
    let home = Home::after_the_bug();
    let good = home.run(&["migrate", "--dry-run", "--json"]).json();
    assert_eq!(schemas.misfits("migrate.schema.json", &good), Vec::<String>::new());
    let spoil = |pointer: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        schemas.misfits("migrate.schema.json", &bad)
    };
    for (pointer, value) in [
        ("/ok", "yes".into()),
        ("/schema", "myownllm-mesh.migrate/2".into()),
        ("/diagnostics", serde_json::json!([{ "code": "a.b" }])),
        ("/data/identity/state", "somewhere".into()),
        ("/data/pending/0/step", 7.into()),
        ("/data/left", serde_json::json!([{ "path": "/x", "reason": "r", "surprise": 1 }])),
    ] {
        assert!(!spoil(pointer, value).is_empty(), "{pointer} may be anything");
    }
    let mut bad = good.clone();
    bad["data"].as_object_mut().unwrap().remove("collisions");
    assert!(!schemas.misfits("migrate.schema.json", &bad).is_empty(), "a member may be missing");
}
