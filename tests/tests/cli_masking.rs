//! No command prints a value unless it is known to be harmless. The planted secrets have unknown
//! names, or are in URLs, in arrays, in numbers, and in values of the wrong type.

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use integration_tests::testkit::{APP, CONFIG, Home, run};
use rstest::rstest;
use serde_json::{Value, json};

/// The two forms of the planted secret.
const STRING: &str = "planted-9c41d7";
const NUMBER: u64 = 918_273_645;

/// The commands that read the config. The last ones change the home.
const COMMANDS: [&[&str]; 31] = [
    &[],
    &["status"],
    &["doctor"],
    &["salvage", "--dry-run"],
    &["config", "show"],
    &["config", "check"],
    &["config", "history"],
    &["config", "get", "x_string"],
    &["config", "get", "x_object"],
    &["config", "get", "api"],
    &["config", "get", "api.bearer_token"],
    &["network", "list"],
    &["network", "show", "home-mesh"],
    &["network", "export", "home-mesh"],
    &["network", "add", "garden-mesh"],
    &["network", "use", "home-mesh"],
    &["network", "remove", "garden-mesh"],
    &["migrate"],
    &["salvage"],
    &["launch", "--no-daemon"],
    &["config", "set", "auto_cleanup.models=false"],
    &["config", "diff", "1"],
    &["repair"],
    &["launch", "--once"],
    &["logs"],
    &["logs", "--daemon"],
    &["identity"],
    &["config", "show"],
    &["report"],
    &["report", "--html"],
    &["config", "restore", "1"],
];

fn planted() -> Value {
    json!({
        "x_string": STRING,
        "x_number": NUMBER,
        "x_array": [STRING, NUMBER, [STRING, { "label": STRING, "port": NUMBER }]],
        "x_object": { "network_id": STRING, "url": STRING, "bearer_token": STRING, "deep": { "er": NUMBER } },
        "x_url": format!("https://user:{STRING}@host/"),
    })
}

fn network() -> Value {
    let mut network = planted();
    let more = json!({
        "id": "net-home", "network_id": "home-mesh", "kind": "closed",
        "label": format!("ask https://u:{STRING}@h/"),
        "topology": { "kind": "hubs", "hubs": ["a"], "x": STRING, "y": [NUMBER] },
        "signaling_servers": [format!("wss://u:{STRING}@r/"), format!("wss://r/?session={STRING}"),
        format!("wss://r/?{STRING}")],
        "stun_servers": [format!("stun:u:{STRING}@s:3478")],
        "turn_servers": [{ "url": format!("turn:u:{STRING}@t:3478"), "username": "u", "credential": STRING,
        "x": NUMBER }],
        "prompts": [{ "id": "p", "name": "n", "system_prompt": format!("API_KEY={STRING}"), "x": [STRING] }],
        "agent_permissions": { "shell": { "always_accept": [format!("curl -H 'Authorization: Bearer \
            {STRING}'")], "x": NUMBER } },
        "daemon_settings": { "signaling": { "x": STRING }, "later": { "id": STRING },
        "turn_servers": [{ "urls": [format!("turn:u:{STRING}@t"), "turn:v"], "credential": STRING }] },
    });
    network.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    network
}

fn app_config() -> Value {
    let mut config = planted();
    let more = json!({
        "active_family": "qwen3",
        "providers": [{ "name": "p", "url": format!("https://h/?key={STRING}"), "x": STRING }, STRING],
        "api": { "bearer_token": STRING, "x": NUMBER },
        "mic": { "x": [STRING] },
        "mode_overrides": { "api_key": STRING },
        "cloud_mesh": { "enabled": true, "networks": [network()], "active_network_id": "net-home",
        "x": STRING },
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

fn daemon_config() -> Value {
    let mut config = planted();
    let mut network = planted();
    let members = json!({
        "id": "net-home", "network_id": "home-mesh", "kind": "closed",
        "signaling": { "strategy": "nostr", "servers": [format!("wss://u:{STRING}@r/")], "x": STRING },
        "turn_servers": [{ "urls": [format!("turn:u:{STRING}@t"), "turn:v"], "username": "u",
        "credential": STRING, "x": NUMBER }],
    });
    network.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let more = json!({
        "version": 3, "daemon": { "enabled": true, "x": STRING }, "networks": [network],
        "services": { "turn": { "credentials": [{ "username": "g", "password": STRING }] },
        "vault": { "port": NUMBER } },
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// A config in which every value of another type than expected is the planted secret.
fn wrong_types() -> Value {
    json!({
        "active_family": "qwen3", "api": STRING, "auto_update": [NUMBER], "mic": NUMBER,
        "kept_models": { "x": STRING },
        "mode_overrides": [STRING], "tracked_modes": { "x": NUMBER }, "providers": { "name": STRING },
        "cloud_mesh": { "enabled": [STRING], "diag_quiet": STRING, "networks": [STRING, NUMBER, [STRING], {
            "id": { "x": STRING }, "network_id": "home-mesh", "label": [STRING], "kind": [NUMBER],
            "topology": STRING,
            "signaling_servers": STRING, "turn_servers": [STRING, [NUMBER]], "accepting": [STRING],
            "prompts": STRING,
            "agent_permissions": { "shell": STRING, "later": STRING },
        }] },
    })
}

fn bytes(config: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(config).unwrap()
}

/// Returns the config text, cut inside a planted secret or with an extra word beside it.
fn broken(config: &Value) -> Vec<Vec<u8>> {
    let text = String::from_utf8(bytes(config)).unwrap();
    let places = text.match_indices(STRING).map(|(at, _)| at).take(3).collect::<Vec<_>>();
    places
        .into_iter()
        .flat_map(|at| {
            let line = at - text[..at].rfind('\n').unwrap();
            let end = at + text[at..].find('\n').unwrap();
            [
                text[..at + 6].to_owned(),
                format!("{} x{}", &text[..end], &text[end..]),
                format!("{}?{}", &text[..at - line + 1], &text[at - line + 1..]),
            ]
        })
        .map(String::into_bytes)
        .collect()
}

#[track_caller]
fn ensure_masked(source: &str, text: &str) {
    for secret in [STRING, &NUMBER.to_string()] {
        assert!(!text.contains(secret), "{source} prints {secret}:\n{text}");
    }
}

/// Runs each command as it is, as JSON, and with all that tracing says.
fn check(config: &[u8], commands: &[&[&str]]) {
    let home = Home::legacy();
    home.put(CONFIG, config, 0o600);
    for args in commands {
        for (more, level) in [(&[][..], "info"), (&["--json"], "debug"), (&["-vv"], "trace")] {
            let args = [args, more].concat();
            let ran = run(home.with_daemon(&args).env("MYOWNLLM_LOG", level));
            ensure_masked(&format!("{args:?}"), &ran.all());
        }
    }
    // `logs` prints the run log; the file itself holds no secret either.
    let log = std::fs::read_to_string(home.path(&format!("{APP}/myownllm-mesh.log")));
    ensure_masked("the run log", &log.unwrap_or_default());
}

#[rstest]
#[case::app_config(app_config())]
#[case::daemon_config(daemon_config())]
#[case::wrong_types(wrong_types())]
fn planted_secret_is_never_printed(#[case] config: Value) {
    check(&bytes(&config), &COMMANDS);
}

#[test]
fn planted_secret_is_never_printed_of_a_mixed_config() {
    let mut config = app_config();
    config.as_object_mut().unwrap().extend(daemon_config().as_object().unwrap().clone());
    check(&bytes(&config), &COMMANDS);
}

#[test]
fn planted_secret_is_never_printed_of_a_text_that_is_not_json() {
    for config in broken(&app_config()) {
        // A config that may be half written delays each run.
        check(&config, &[&["doctor"]]);
    }
}

#[test]
fn secrets_of_the_home_are_masked_in_the_daemons_log_without_a_name_before_them() {
    let home = Home::legacy();
    home.put(&format!("{APP}/config.json"), &bytes(&app_config()), 0o600);
    home.run(&["repair"]).ends_with(0);
    let identity = home.bytes(&format!("{APP}/.myownmesh/.secrets/identity.json"));
    let identity: Value = serde_json::from_slice(&identity).unwrap();
    let key = identity["secret_key"].as_str().unwrap();
    const TOTP: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXQ";
    let lock = json!({"networks": {"home-mesh": {"secret_b32": TOTP, "recovery_hashes": ["aa"]}}});
    home.put(&format!("{APP}/.myownmesh/.secrets/custody.json"), &bytes(&lock), 0o600);
    const FORMER: &str = "former-credential";
    const TOKEN: &str = "token-of-a-header";
    let headers = json!([{"name": "p", "headers": {"Authorization": format!("Bearer {TOKEN}")}}]);
    let backup = json!({"providers": headers, "api": {"bearer_token": FORMER}});
    home.put(&format!("{APP}/config-backups/of-another-program.json"), &bytes(&backup), 0o600);
    let log = format!(
        "DEBUG seed {key}\n+ turnclient --password {STRING}\n+ oathtool -b {TOTP}\n{FORMER}, {TOKEN}\nready\n"
    );
    home.put(&format!("{APP}/.myownmesh/daemon.log"), log.as_bytes(), 0o600);
    for args in [&["daemon", "logs"][..], &["report"], &["report", "--html"], &["report", "--json"]] {
        let shown = home.run(args).ends_with(0).all();
        let is_shown = [key, STRING, TOTP, FORMER, TOKEN].into_iter().any(|secret| shown.contains(secret));
        assert!(!is_shown, "{args:?} prints a secret:\n{shown}");
        assert!(shown.contains("turnclient"), "{args:?} shows no log:\n{shown}");
    }
}

#[cfg(unix)]
#[rstest]
#[case::as_in_the_file(|_: &[u8], key: &str| key.to_owned())]
#[case::in_capitals(|_: &[u8], key: &str| key.to_uppercase())]
#[case::in_hex(|seed: &[u8], _: &str| HEXLOWER.encode(seed))]
#[case::in_base64(|seed: &[u8], _: &str| BASE64.encode(seed))]
#[case::as_numbers(|seed: &[u8], _: &str| format!("{seed:?}"))]
#[case::where_a_long_line_is_cut(|_: &[u8], key: &str| format!("{} {key}", "x".repeat(460)))]
fn seed_of_the_home_is_masked_wherever_a_text_of_the_daemon_is_shown(
    #[case] printed: fn(&[u8], &str) -> String,
) {
    let home = Home::settled();
    let identity: Value =
        serde_json::from_slice(&home.bytes(&format!("{APP}/.myownmesh/.secrets/identity.json"))).unwrap();
    let key = identity["secret_key"].as_str().unwrap();
    let printed = printed(&BASE32_NOPAD.decode(key.to_uppercase().as_bytes()).unwrap(), key);
    let script = format!("#!/bin/sh\necho 'shown by the daemon: {printed}' >&2\nexit 3\n");
    home.put("bad-daemon", script.as_bytes(), 0o755);
    let bad_daemon = home.path("bad-daemon");
    let json = &["launch", "--once", "--json"][..];
    let starts = [&["launch", "--once"][..], json, &["daemon", "restart"]];
    for args in starts.into_iter().chain([&["daemon", "logs"][..], &["report"], &["report", "--html"]]) {
        let said = run(home.command(args).env("MYOWNMESH_BIN", &bad_daemon)).all();
        assert!(said.contains("shown by the daemon"), "{args:?} shows no log:\n{said}");
        let seed = printed.trim_start_matches(['x', ' ']);
        assert!(!said.contains(&seed[..seed.len().min(20)]), "{args:?} prints the seed:\n{said}");
    }
}

/// A user may put a symlink to a file of root in the place of the log that root reads.
#[cfg(unix)]
#[test]
fn root_reads_no_log_through_a_symlink_of_the_homes_owner() {
    let home = Home::settled();
    let (log, of_root) = (home.path(&format!("{APP}/.myownmesh/daemon.log")), home.path("../of-root"));
    std::fs::write(&of_root, STRING).unwrap();
    std::os::unix::fs::symlink(&of_root, &log).unwrap();
    if std::os::unix::fs::lchown(&log, Some(65_534), None).is_err() {
        return eprintln!("skipped: not root");
    }
    for args in [&["daemon", "logs"][..], &["logs", "--daemon"], &["report"], &["report", "--json"]] {
        let shown = home.run(args).ends_with(0).all();
        assert!(!shown.contains(STRING), "{args:?} prints a file of root:\n{shown}");
    }
}

#[cfg(unix)]
#[rstest]
#[case::config(CONFIG)]
#[case::backup("config-backups")]
fn root_reads_no_config_through_a_symlink_of_the_homes_owner(#[case] file: &str) {
    let home = Home::settled();
    let of_root = home.path("../of-root.json");
    let config = json!({"active_family": "of-root", "providers": [],
        "cloud_mesh": {"networks": [{"id": "n", "network_id": "of-root", "label": "of-root"}]}});
    std::fs::write(&of_root, bytes(&config)).unwrap();
    std::fs::set_permissions(&of_root, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = match file {
        CONFIG => home.path(CONFIG),
        _ => std::fs::read_dir(home.path(&format!("{APP}/config-backups")))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
    };
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&of_root, &file).unwrap();
    if std::os::unix::fs::lchown(&file, Some(65_534), None).is_err() {
        return eprintln!("skipped: not root");
    }
    for args in [
        &["config", "show"][..],
        &["config", "history"],
        &["config", "diff", "1"],
        &["salvage", "--dry-run"],
        &["network", "list"],
        &["status"],
        &["doctor"],
        &["report"],
        &["report", "--json"],
    ] {
        let shown = home.run(args).all();
        assert!(
            !shown.contains("\"of-root") && !shown.contains(" of-root"),
            "{args:?} prints a file of root:\n{shown}"
        );
    }
}

#[test]
fn planted_secret_is_printed_when_asked_for() {
    let home = Home::legacy();
    home.put(CONFIG, &bytes(&app_config()), 0o600);
    let shown = home.run(&["config", "show", "--with-secrets"]).ends_with(0).stdout;
    assert!(shown.contains(STRING) && shown.contains(&NUMBER.to_string()), "{shown}");
}
