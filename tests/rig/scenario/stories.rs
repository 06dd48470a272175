//! The stories. Each reads from top to bottom: the content of the home, the actions, and the
//! expected outcome.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Scenario;
use super::stage::{App, Asked, DAEMON_KEYS, Stage, Stop};
use crate::fixture::{self, APP, MESH, NETWORKS, SHARED, STATE};
use crate::{crash::strace, guard, tree};

pub(crate) const ALL: [Scenario; 10] = [
    Scenario {
        name: "the-bug",
        story: "As it was before: app and daemon share one directory. The user saves one network, the \
            daemon writes its own config over the app's, and every setting of the app is gone.",
        play: the_bug,
    },
    Scenario {
        name: "fresh-install",
        story: "A new user: nothing is there. The daemon gets a home of its own, with a new key in it, \
            and the app a config of its own.",
        play: fresh_install,
    },
    Scenario {
        name: "upgrade",
        story: "A user of an older version: key, approved peers and signed network states lie in the \
            app's directory. They move to the daemon's own home, and to every paired peer the device \
            is the one it was.",
        play: upgrade,
    },
    Scenario {
        name: "upgrade-after-the-bug",
        story: "The bug has struck: the app's config is in the daemon's shape, settings gone. The \
            networks are recovered from it, what is the daemon's goes to the daemon, and the settings \
            come back from the last good copy if there is one.",
        play: upgrade_after_the_bug,
    },
    Scenario {
        name: "save-and-activate",
        story: "The click that used to destroy the config: with the daemon running, a network is added \
            and activated. Now each program writes its own file.",
        play: save_and_activate,
    },
    Scenario {
        name: "switch-networks",
        story: "Two saved networks, and the user switches between them and off: the app's config and \
            what the daemon has joined stay in step.",
        play: switch_networks,
    },
    Scenario {
        name: "shared-daemon",
        story: "Another program already runs a daemon at ~/.myownmesh. The app uses that one, starts \
            none of its own, and leaves the other program's networks alone.",
        play: shared_daemon,
    },
    Scenario {
        name: "downgrade",
        story: "Back to the older version and forward again: the move is undone, the old layout works \
            as it did, and the next upgrade moves everything once more. One Device ID throughout.",
        play: downgrade,
    },
    Scenario {
        name: "interrupted",
        story: "The migration is killed right in the middle, with half of the files moved. Nothing is \
            lost, and the next start ends what was begun.",
        play: interrupted,
    },
    Scenario {
        name: "legacy-daemon-running",
        story: "A daemon of the older version still runs in the app's directory and would go on \
            writing there. Nothing is moved under it; the program says who it is and how to go on.",
        play: legacy_daemon_running,
    },
];

pub(super) type Played = Result<(), Stop>;

/// Returns the newest fixture version that the daemon can read, for stories that need one.
fn readable_fixture_version(stage: &Stage<'_>) -> Result<&'static str, Stop> {
    let newest = stage.tools.readable().pop();
    newest.ok_or_else(|| {
        Stop::Skipped(format!("daemon {} cannot read what newer ones wrote", stage.tools.version))
    })
}

/// Returns the place of each state file after the move, with its current bytes.
fn state_to_move(stage: &Stage<'_>, files: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
    files.iter().map(|file| Ok((format!("{MESH}/{file}"), stage.bytes(&format!("{APP}/{file}"))?))).collect()
}

/// Returns the Device ID of a daemon at the old location. The user's peers know this Device ID.
fn device_id_of_old(stage: &mut Stage<'_>) -> Result<String, Stop> {
    let daemon = stage.daemon(APP)?;
    let id = stage.device_id(&daemon)?;
    daemon.stop()?;
    Ok(id)
}

/// Checks an upgrade before any daemon runs, because a daemon may rewrite its files: the daemon's
/// state is in its own home, and nowhere else.
fn moved(stage: &mut Stage<'_>, state: &[(String, Vec<u8>)]) {
    stage.files("key, rosters and states are in the daemon's home", state);
    let places = [".secrets", "mesh/rosters", "mesh/states", "mesh"].map(|place| format!("{APP}/{place}"));
    stage.gone("the old places are gone", &places.each_ref().map(String::as_str));
}

/// Starts the app and checks that its daemon has the same Device ID. Returns the running app.
fn starts_as(stage: &mut Stage<'_>, known: &str) -> Result<App, Stop> {
    let app = stage.app(&[])?;
    let id = stage.device_id(&app)?;
    stage.same("same Device ID as before, asked of the daemon", known, &id);
    Ok(app)
}

/// Returns the `network_id`s that the app has saved, and the active one.
fn saved(config: &Value) -> (Vec<String>, Option<String>) {
    let mesh = &config["cloud_mesh"];
    let networks = || mesh["networks"].as_array().into_iter().flatten();
    let name = |network: &Value| network["network_id"].as_str().unwrap_or("?").to_owned();
    let active =
        networks().find(|network| !network["id"].is_null() && network["id"] == mesh["active_network_id"]);
    (networks().map(name).collect(), active.map(name))
}

fn the_bug(stage: &mut Stage<'_>) -> Played {
    let former = fixture::healthy_config(&stage.home)?;
    stage.begin()?;
    let daemon = stage.daemon(APP)?;
    daemon.add_network("net-m1", "home-mesh")?;
    daemon.stop()?;
    let config = stage.config()?;
    let lost = ["providers", "active_family", "cloud_mesh", "api"]
        .into_iter()
        .filter(|key| config.get(key).is_none());
    let lost: Vec<_> = lost.collect();
    stage.check(
        "the app's settings are lost",
        lost.len() == 4,
        format!("no longer in config.json: {}", lost.join(", ")),
    );
    let theirs: Vec<_> = DAEMON_KEYS.into_iter().filter(|key| config.get(key).is_some()).collect();
    stage.check(
        "the file is the daemon's now",
        theirs.contains(&"networks"),
        format!("in config.json: {}", theirs.join(", ")),
    );
    let copies =
        stage.tree()?.0.values().filter(|entry| entry.kind == tree::Kind::File(tree::hash(&former))).count();
    stage.same("copies of the former config anywhere", &0, &copies);
    let (run, status) = stage.mesh_json(&["status", "--check"])?;
    stage.ends(&format!("`status --check` sees it ({})", shape(&status)), &run, 3);
    Ok(())
}

/// Returns the shape of the config, at whatever depth of the report.
fn shape(report: &Value) -> String {
    fn find(value: &Value) -> Option<&str> {
        match value {
            Value::Object(members) => {
                members.get("shape").and_then(Value::as_str).or_else(|| members.values().find_map(find))
            }
            _ => None,
        }
    }
    find(&report["data"]).map_or_else(|| "no shape named".to_owned(), |shape| format!("shape: {shape}"))
}

fn fresh_install(stage: &mut Stage<'_>) -> Played {
    stage.begin()?;
    let app = stage.app(&[])?;
    let id = stage.device_id(&app)?;
    stage.check("the daemon has a Device ID", id.len() == 58, &id);
    stage.end(app)?;
    let key = format!("{MESH}/.secrets/identity.json");
    stage.check("its key is in its own home", stage.is_there(&key), format!("~/{key}"));
    stage.gone("and none is in the app's", &[&format!("{APP}/.secrets"), SHARED]);
    stage.app_shape()?;
    let (_, shown) = stage.mesh_json(&["identity"])?;
    stage.check("`identity` names the same Device ID", shown.to_string().contains(&id), &id);
    let app = stage.app(&[])?;
    let again = stage.device_id(&app)?;
    stage.same("the next start has the same Device ID", &id, &again);
    stage.end(app)?;
    stage.settled()?;
    Ok(())
}

fn upgrade(stage: &mut Stage<'_>) -> Played {
    fixture::old_state(&stage.home, readable_fixture_version(stage)?)?;
    let former: Value = serde_json::from_slice(&fixture::healthy_config(&stage.home)?).unwrap_or_default();
    let known = device_id_of_old(stage)?;
    let state = state_to_move(stage, &STATE)?;
    stage.begin()?;
    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("the first start of the new version", &launch, 0);
    moved(stage, &state);
    stage.app_shape()?;
    let (config, former) = (stage.config()?, former.as_object().cloned().unwrap_or_default());
    let differ =
        former.iter().filter(|(key, value)| *key != "cloud_mesh" && config.get(*key) != Some(value)).count();
    let seen = format!("{} settings compared, {differ} differ", former.len());
    stage.check("every setting of the app is what it was", differ == 0, seen);
    stage.settled()?;

    let app = starts_as(stage, &known)?;
    let joined = stage.joined(&app, &["home-mesh"])?;
    stage.same("the active network is joined", &["home-mesh"][..], &joined);
    let roster = stage.roster(&app, "home-mesh")?;
    let (laptop, seen) = (roster.to_string().contains("bbbbbbbbbbbb"), count(&roster["roster"]));
    stage.check(
        "the daemon knows the peers approved before",
        laptop,
        format!("roster_list: {seen} approved"),
    );
    stage.end(app)?;
    Ok(())
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn upgrade_after_the_bug(stage: &mut Stage<'_>) -> Played {
    let readable = stage.tools.readable();
    for (at, (version, copy)) in readable.iter().rev().flat_map(|v| [(v, true), (v, false)]).enumerate() {
        if at > 0 {
            stage.next_home()?;
        }
        // The homes of the older daemon look the same, so two pictures are enough.
        after_the_bug(stage, version, copy, at < 2)?;
    }
    let left_out: Vec<_> =
        fixture::VERSIONS.into_iter().filter(|version| !readable.contains(version)).collect();
    if !left_out.is_empty() {
        let (left_out, daemon) = (left_out.join(", "), &stage.tools.version);
        stage.part(format!(
            "(Not played: the home that daemon {left_out} left; daemon {daemon} cannot read it.)"
        ));
    }
    Ok(())
}

/// Checks the config after the repair: with a copy, the settings come from the copy.
fn settings_are_back(stage: &mut Stage<'_>, config: &Value, copy: bool) {
    let networks = saved(config).0;
    let all = NETWORKS.iter().all(|network| networks.iter().any(|saved| saved == network));
    stage.check("the networks are saved in the app again", all, networks.join(", "));
    let (what, settings) = if copy {
        ("providers and model family are back", "qwen3, MyOwnLLM Default, Mine")
    } else {
        ("providers and model family are at their defaults", "gemma4, MyOwnLLM Default")
    };
    let names = config["providers"].as_array().into_iter().flatten().map(|provider| &provider["name"]);
    let seen: Vec<_> =
        std::iter::once(&config["active_family"]).chain(names).filter_map(Value::as_str).collect();
    stage.same(what, settings, &seen.join(", "));
}

fn after_the_bug(stage: &mut Stage<'_>, version: &str, copy: bool, drawn: bool) -> Played {
    let with =
        if copy { "a last good copy of the config is there" } else { "no copy of the config is there" };
    stage.part(format!("The home that daemon {version} left; {with}"));
    if copy {
        stage.part("   Some days before, the config was still healthy, and a start kept a copy of it:");
        fixture::healthy_config(&stage.home)?;
        stage.mesh(&["launch", "--no-daemon"])?;
        stage.part("   Then an older version was used again, and the bug struck:");
    }
    fixture::old_state(&stage.home, version)?;
    let former = fixture::overwritten_config(&stage.home, version)?;
    let identity = stage.json(&format!("{APP}/.secrets/identity.json"))?;
    let known = identity["public_key"].as_str().unwrap_or("?").to_owned();
    let state = state_to_move(stage, &STATE)?;
    if drawn {
        stage.begin()?;
    }
    let broken = stage.config()?;
    let keys = broken.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
    stage.check(
        "the app's settings are gone",
        broken["providers"].is_null(),
        format!("config.json holds {}", keys.join(", ")),
    );

    let (dry, report) = stage.mesh_json(&["salvage", "--dry-run"])?;
    let report = &report["data"];
    let (recovered, reset) = (strings(&report["recovered_networks"]), strings(&report["reset_keys"]));
    let all = NETWORKS.iter().all(|network| recovered.iter().any(|found| found == network));
    stage.check(
        "the report names the networks that it recovers",
        dry.code == Some(0) && all,
        recovered.join(", "),
    );
    if copy {
        let from = report["restored_from"].as_str();
        let what = "the report names the copy that the settings come from";
        stage.check(what, from.is_some(), from.unwrap_or("none"));
    } else {
        let what = "the report says that there is no copy, and which settings are at defaults";
        stage.check(what, report["restored_from"].is_null() && !reset.is_empty(), some(&reset));
    }

    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("the start repairs and moves", &launch, 0);
    stage.app_shape()?;
    let config = stage.config()?;
    settings_are_back(stage, &config, copy);
    let copies = stage.path(&format!("{APP}/config-backups"));
    let kept =
        tree::Tree::of(&copies)?.0.values().any(|entry| entry.kind == tree::Kind::File(tree::hash(&former)));
    stage.check(
        "the overwritten config is kept",
        kept,
        format!("{} bytes, in ~/{APP}/config-backups/", former.len()),
    );
    let theirs = stage.json(&format!("{MESH}/config.json"))?;
    let seen = format!("version {}, update channel {}", theirs["version"], theirs["auto_update"]["channel"]);
    let good = theirs["version"].is_number() && theirs["auto_update"]["channel"] == "beta";
    stage.check("what is the daemon's is in the daemon's own config", good, seen);
    moved(stage, &state);
    stage.settled()?;

    let app = stage.app(&[])?;
    let id = stage.device_id(&app)?;
    stage.check("same Device ID as before, asked of the daemon", id.starts_with(&known), &id);
    let active: &[&str] = if copy { &["home-mesh"] } else { &[] };
    let what = if copy {
        "joined is what the user had active, nothing else"
    } else {
        "recovery alone connects to nothing: joined"
    };
    let joined = stage.joined(&app, active)?;
    stage.same(what, active, &joined);
    stage.end(app)?;
    Ok(())
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn some(names: &[String]) -> String {
    if names.len() > 6 {
        format!("{} and {} more", names[..5].join(", "), names.len() - 5)
    } else {
        names.join(", ")
    }
}

fn save_and_activate(stage: &mut Stage<'_>) -> Played {
    let former: Value = serde_json::from_slice(&fixture::healthy_config(&stage.home)?).unwrap_or_default();
    let app = stage.app(&[])?;
    stage.joined(&app, &["home-mesh"])?;
    stage.begin()?;
    let add = stage.mesh(&["network", "add", "office-mesh", "--activate"])?;
    stage.ends("the network is added", &add, 0);
    let joined = stage.joined(&app, &["office-mesh"])?;
    stage.same("the daemon has joined it, and left the former one", &["office-mesh"][..], &joined);
    stage.end(app)?;
    stage.app_shape()?;
    let config = stage.config()?;
    let (networks, active) = saved(&config);
    let good = networks == ["home-mesh", "office-mesh"] && active.as_deref() == Some("office-mesh");
    let seen = format!("{}; active: {}", networks.join(", "), active.as_deref().unwrap_or("none"));
    stage.check("both are saved in the app's config, the new one is active", good, seen);
    let kept = config["providers"] == former["providers"];
    stage.check("the providers are still there", kept, format!("{} of them", count(&config["providers"])));
    let theirs = stage.json(&format!("{MESH}/config.json"))?;
    let has = strings(&Value::from(
        theirs["networks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|network| network["network_id"].clone())
            .collect::<Vec<_>>(),
    ));
    stage.same("the daemon wrote it into its own config", &vec!["office-mesh".to_owned()], &has);
    stage.settled()?;
    Ok(())
}

fn switch_networks(stage: &mut Stage<'_>) -> Played {
    fixture::healthy_config(&stage.home)?;
    let app = stage.app(&[])?;
    stage.mesh(&["network", "add", "office-mesh"])?;
    stage.begin()?;
    for (args, active) in [
        (["network", "use", "office-mesh"], Some("office-mesh")),
        (["network", "use", "home-mesh"], Some("home-mesh")),
        (["network", "use", "--none"], None),
        (["network", "use", "net-m1"], Some("home-mesh")),
    ] {
        let used = stage.mesh(&args)?;
        let joined = stage.joined(&app, active.as_slice())?;
        let config = saved(&stage.config()?).1;
        let good = used.code == Some(0)
            && joined.iter().map(String::as_str).eq(active)
            && config.as_deref() == active;
        let what = active.map_or_else(
            || "nothing is active any more".to_owned(),
            |active| format!("{active} is the active one"),
        );
        stage.check(
            what,
            good,
            format!("app: {}; daemon has joined: {joined:?}", config.as_deref().unwrap_or("none")),
        );
    }
    stage.end(app)?;
    stage.app_shape()?;
    stage.settled()?;
    Ok(())
}

fn shared_daemon(stage: &mut Stage<'_>) -> Played {
    fixture::healthy_config(&stage.home)?;
    let mut daemon = stage.daemon(SHARED)?;
    daemon.add_network("other-1", "their-mesh")?;
    let known = stage.device_id(&daemon)?;
    stage.begin()?;
    let launch = stage.mesh(&["launch"])?;
    stage.ends("the start ends by itself: the daemon is not the app's to keep alive", &launch, 0);
    let joined = stage.joined(&daemon, &["home-mesh", "their-mesh"])?;
    stage.same(
        "the app's network is joined, the other program's is still",
        &["home-mesh", "their-mesh"][..],
        &joined,
    );
    let id = stage.device_id(&daemon)?;
    let running = daemon.is_running();
    stage.check(
        "the same daemon still runs",
        running && id == known,
        format!("process {}, {id}", daemon.pid()),
    );
    stage.gone(
        "no second daemon, no second key",
        &[
            &format!("{MESH}/daemon.sock"),
            &format!("{MESH}/.secrets/identity.json"),
            &format!("{APP}/.secrets"),
        ],
    );
    daemon.stop()?;
    stage.app_shape()?;
    Ok(())
}

fn downgrade(stage: &mut Stage<'_>) -> Played {
    fixture::old_state(&stage.home, readable_fixture_version(stage)?)?;
    fixture::healthy_config(&stage.home)?;
    let known = device_id_of_old(stage)?;
    stage.begin()?;
    let app = starts_as(stage, &known)?;
    stage.end(app)?;

    let here = |file| Ok((format!("{APP}/{file}"), stage.bytes(&format!("{MESH}/{file}"))?));
    let back = STATE.into_iter().map(here).collect::<Result<Vec<_>, String>>()?;
    let undo = stage.mesh(&["migrate", "--undo"])?;
    stage.ends("the move is undone", &undo, 0);
    stage.files("everything is back where the older version looks", &back);
    let old = device_id_of_old(stage)?;
    stage.same("the older version has the same Device ID", &known, &old);

    let state = state_to_move(stage, &STATE)?;
    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("the new version again", &launch, 0);
    moved(stage, &state);
    stage.settled()?;
    let app = starts_as(stage, &known)?;
    stage.end(app)?;
    Ok(())
}

fn interrupted(stage: &mut Stage<'_>) -> Played {
    fixture::old_state(&stage.home, readable_fixture_version(stage)?)?;
    fixture::healthy_config(&stage.home)?;
    let known = device_id_of_old(stage)?;
    // Many rosters, and a foreign file beside them, so that the directory cannot move as a whole.
    let many: Vec<_> = (0..60).map(|n| format!("mesh/rosters/mesh-{n:02}.json")).collect();
    for (n, file) in many.iter().enumerate() {
        let roster = json!({ "version": 1, "network_id": format!("mesh-{n:02}"), "authorized_devices": [] });
        fixture::plant(&stage.path(&format!("{APP}/{file}")), roster.to_string().as_bytes(), 0o600)?;
    }
    let note = format!("{APP}/mesh/rosters/my-notes.txt");
    fixture::plant(&stage.path(&note), b"the laptop is Anna's", 0o600)?;
    let files: Vec<&str> = STATE.into_iter().chain(many.iter().map(String::as_str)).collect();
    let state = state_to_move(stage, &files)?;
    stage.begin()?;

    kill_in_the_middle(stage, &state)?;
    let holds = |path: &str, bytes: &[u8]| stage.bytes(path).is_ok_and(|found| found == bytes);
    let old = state.iter().filter(|(path, bytes)| holds(&path.replace(MESH, APP), bytes)).count();
    let new = state.iter().filter(|(path, bytes)| holds(path, bytes)).count();
    let whole = state
        .iter()
        .filter(|(path, bytes)| holds(path, bytes) || holds(&path.replace(MESH, APP), bytes))
        .count();
    let seen = format!("{old} of {} files still in the old place, {new} in the new", state.len());
    stage.check("it was the middle", old > 0 && new > 0, seen);
    let seen = format!("{whole} of {} files", state.len());
    stage.check("every file is whole, in the one place or the other", whole == state.len(), seen);

    let launch = stage.mesh(&["launch", "--no-daemon"])?;
    stage.ends("the next start ends the move", &launch, 0);
    stage.files("everything is in the daemon's home", &state);
    let old: Vec<_> = files.iter().map(|file| format!("{APP}/{file}")).collect();
    let left = old.iter().filter(|path| stage.is_there(path)).count();
    stage.check(
        "nothing is left twice",
        left == 0,
        format!("{} old names looked for, {left} found", old.len()),
    );
    let kept = stage.is_there(&note);
    stage.check("the user's own note was not touched", kept, format!("~/{note}"));
    stage.settled()?;
    let app = starts_as(stage, &known)?;
    stage.end(app)?;
    Ok(())
}

/// Kills a migration half way: at a chosen system call with strace, otherwise once a roster has
/// moved.
fn kill_in_the_middle(stage: &mut Stage<'_>, state: &[(String, Vec<u8>)]) -> Played {
    let patience = Duration::from_secs(60);
    if stage.tools.strace {
        let call = "renameat2";
        let middle = state.len() / 2;
        let mut command = strace::injecting(
            &stage.mesh_command(&["migrate"]),
            &[format!("{call}:signal=SIGKILL:when={middle}")],
        );
        let killed = guard::run(&mut command, patience)?;
        stage.ran(
            &format!("myownllm-mesh --home ~ migrate   (SIGKILL at its {middle}th {call}, by strace)"),
            &killed,
        );
        return Ok(());
    }
    let mut child = guard::start(&mut stage.mesh_command(&["migrate"]))?;
    let roster = format!("{MESH}/mesh/rosters/home-mesh.json");
    while !stage.is_there(&roster) && child.is_running() {}
    child.kill();
    let killed = child.wait(patience)?;
    stage.ran("myownllm-mesh --home ~ migrate   (killed once a roster has moved; no strace here)", &killed);
    Ok(())
}

fn legacy_daemon_running(stage: &mut Stage<'_>) -> Played {
    fixture::old_state(&stage.home, readable_fixture_version(stage)?)?;
    fixture::healthy_config(&stage.home)?;
    let state = state_to_move(stage, &STATE)?;
    let mut daemon = stage.daemon(APP)?;
    let known = stage.device_id(&daemon)?;
    let process = format!("process {}", daemon.pid());
    stage.begin()?;
    let before = stage.tree()?;
    let (refused, report) = stage.mesh_json(&["launch"])?;
    stage.ends("refused: a decision of the user's is needed", &refused, 7);
    let said = report["diagnostics"].to_string();
    stage.check("it names the process", said.contains(&daemon.pid().to_string()), &process);
    let hint =
        report["diagnostics"].as_array().into_iter().flatten().find_map(|found| found["hint"].as_str());
    // No signal of Windows asks a daemon to end.
    let way_out = if cfg!(windows) { "taskkill /f /pid" } else { "--stop-legacy-daemon" };
    stage.check("and the way out", said.contains(way_out), hint.unwrap_or("no hint"));
    let mut touched = before.touched(&stage.tree()?);
    // Windows locks no directory, but a file in it.
    touched.retain(|path| cfg!(unix) || ![Path::new(APP), &Path::new(APP).join(".lock")].contains(&&**path));
    let touched = touched.len();
    let seen = format!("{} names compared, {touched} touched", before.0.len());
    stage.check("nothing was touched", touched == 0, seen);
    let running = daemon.is_running();
    stage.check("the old daemon still runs", running, &process);

    if cfg!(windows) {
        daemon.stop()?;
        let launch = stage.mesh(&["launch", "--no-daemon"])?;
        stage.ends("without it, the start goes through", &launch, 0);
    } else {
        let launch = stage.mesh(&["launch", "--no-daemon", "--stop-legacy-daemon"])?;
        stage.ends("told to end it, the start goes through", &launch, 0);
        let ended = !daemon.is_running();
        stage.check("the old daemon has ended", ended, &process);
    }
    moved(stage, &state);
    stage.settled()?;
    let app = starts_as(stage, &known)?;
    stage.end(app)?;
    Ok(())
}
