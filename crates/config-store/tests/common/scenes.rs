//! The homes and changes of the sweeps, and the checks of their guarantees.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore as _, LockedStore, Store, StoreError};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{Disk as _, Op};
use myownllm_salvage::{Shape, shape};

use super::*;

/// A home, and the expected result.
pub struct Scene {
    pub name: &'static str,
    pub disk: SimDisk,
    /// The bytes that must be in the config or among the backups at every instant.
    pub precious: Vec<Vec<u8>>,
    /// Checks the config at the end.
    pub ends: fn(&Document),
    /// True if the daemon's half must be in place at the end, and before the config changes.
    pub daemon_half: bool,
    /// The operations that the file system refuses.
    pub refused: &'static [Op],
}

/// Refuses nothing.
pub const CAPABLE: &[Op] = &[];
/// The operations that some file systems refuse: the exchange of names, and hard links as well.
pub const LIMITED: [&[Op]; 2] = [&[Op::Exchange], &[Op::Exchange, Op::HardLink]];

/// Returns the disk without faults, except that its file system refuses some operations.
pub fn restricted(disk: SimDisk, refused: &[Op]) -> SimDisk {
    refused.iter().for_each(|op| disk.fail(Fault::always(*op, ErrorKind::InvalidInput)));
    disk
}

pub fn home() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk
}

pub fn text(doc: &Document, path: &[&str]) -> Option<String> {
    doc.get(path).and_then(|v| v.as_str()).map(|s| s.into_owned())
}

fn with(config: &[u8]) -> SimDisk {
    let disk = home();
    disk.put(CONFIG, config);
    disk
}

/// A home whose config was good at a launch before.
fn with_a_copy(config: &[u8]) -> SimDisk {
    let disk = with(APP);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, config);
    disk
}

fn of_qwen(doc: &Document) {
    assert_eq!(text(doc, &["active_family"]).as_deref(), Some("qwen3"));
}

fn of_gemma(doc: &Document) {
    assert_eq!(text(doc, &["active_family"]).as_deref(), Some("gemma4"));
}

#[allow(clippy::too_many_lines, reason = "a table: each scene stands alone")]
pub fn scenes() -> Vec<Scene> {
    let mut all = Vec::new();
    let mut scene = |name, disk: SimDisk, ends, daemon_half| {
        disk.flush_all();
        let precious = contents(&disk).into_iter().collect();
        all.push(Scene { name, disk, precious, ends, daemon_half, refused: CAPABLE });
    };
    let recovered: fn(&Document) = |doc| {
        assert_eq!(shape(doc), Shape::App);
        assert!(doc.get(&["cloud_mesh", "networks"]).unwrap().items().count() > 0, "no network came back");
        of_gemma(doc);
    };

    for (name, leaked) in [("leaked by 0.1.2", OVERWRITTEN_V1), ("leaked by 0.3.8", OVERWRITTEN_V3)] {
        let disk = home();
        disk.put_mode(CONFIG, leaked, 0o644);
        scene(name, disk, recovered, true);
    }

    scene(
        "leaked, with a good copy",
        with_a_copy(OVERWRITTEN_V3),
        |doc| {
            of_qwen(doc);
            assert_eq!(text(doc, &["auto_update", "channel"]).as_deref(), Some("beta"));
            assert_eq!(doc.get(&["providers"]).unwrap().items().count(), 2);
        },
        true,
    );

    let disk = home();
    disk.put(CONFIG, OVERWRITTEN_V1);
    disk.put(DAEMON_CONFIG, b"{\"version\":3,\"networks\":[]}");
    scene("leaked, and the daemon has a config", disk, recovered, false);

    scene("torn, without a copy", with(b"{\"providers\":[],\"active_family\":\""), of_gemma, false);

    scene(
        "torn, with members that are whole",
        with(b"{\"active_family\": \"mine\", \"kept_models\": [\"a\", \"b\"], \"api\": {\"po"),
        |doc| {
            assert_eq!(text(doc, &["active_family"]).as_deref(), Some("mine"));
            assert_eq!(doc.get(&["kept_models"]).unwrap().items().count(), 2);
        },
        false,
    );

    let tailed = with(&[&healthy("with a tail")[..], b"}"].concat());
    scene(
        "whole, with a tail",
        tailed,
        |doc| assert_eq!(text(doc, &["mark"]).as_deref(), Some("with a tail")),
        false,
    );

    scene("leaked, with a tail", with(&[OVERWRITTEN_V3, b" old tail"].concat()), recovered, true);

    scene("empty, with a good copy", with_a_copy(b""), of_qwen, false);

    let disk = home();
    disk.put("/home/u/.myownllm/config.json.corrupt", APP);
    scene("moved aside by a daemon", disk, of_qwen, false);

    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    scene("a fresh install", disk, of_gemma, false);

    scene(
        "lacks defaults",
        with(b"{\"active_family\": \"mine\", \"x\": 1e5}"),
        |doc| {
            assert_eq!(text(doc, &["active_family"]).as_deref(), Some("mine"));
            assert_eq!(doc.get(&["x"]).unwrap().raw(), "1e5");
        },
        false,
    );

    scene(
        "healthy, seen for the first time",
        with(&healthy("healthy")),
        |doc| assert_eq!(text(doc, &["mark"]).as_deref(), Some("healthy")),
        false,
    );

    // The config, its backups and the daemon's half are on one file system, or on three that crash
    // independently.
    for apart in [false, true] {
        let disk = home();
        if apart {
            disk.mount(DAEMON_HOME);
            disk.mount("/home/u/dotfiles");
        }
        disk.put("/home/u/dotfiles/app.json", OVERWRITTEN_V3);
        disk.put_link(CONFIG, "../dotfiles/app.json");
        scene(
            if apart { "a link to a leaked one, three disks" } else { "a link to a leaked one" },
            disk,
            recovered,
            true,
        );
    }
    all
}

pub fn config(disk: &SimDisk) -> Option<Vec<u8>> {
    disk.read(CONFIG.as_ref(), 1 << 20).ok()
}

/// Checks the guarantees of every instant, in any state that a crash leaves on the disk.
pub fn check_always(scene: &Scene, disk: &SimDisk, before: Option<&[u8]>, at: &str) {
    let everywhere = contents(disk);
    let live = config(disk);
    let kept: BTreeSet<Vec<u8>> =
        backups(disk).into_iter().map(|(_, bytes)| bytes).chain(live.clone()).collect();
    for bytes in &scene.precious {
        // A repair does not move files outside the config's place.
        let somewhere =
            if Some(bytes.as_slice()) == before { kept.contains(bytes) } else { everywhere.contains(bytes) };
        assert!(somewhere, "{}: {at}: former bytes are gone", scene.name);
    }
    let Some(live) = live else {
        assert!(before.is_none(), "{}: {at}: the config is absent", scene.name);
        return;
    };
    if Some(live.as_slice()) != before {
        let doc =
            Document::parse(&live).unwrap_or_else(|e| panic!("{}: {at}: torn: {e}", scene.name)).document;
        assert_eq!(shape(&doc), Shape::App, "{}: {at}", scene.name);
        if scene.daemon_half {
            let half = disk.content(DAEMON_CONFIG);
            assert!(
                half.is_some(),
                "{}: {at}: the config is repaired and the daemon's half is not in place",
                scene.name
            );
        }
    }
    if let Some(half) = disk.content(DAEMON_CONFIG) {
        assert!(Document::parse(&half).is_ok(), "{}: {at}: the daemon's config is torn", scene.name);
    }
    for (path, bytes) in backups(disk) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Ok(id) = name.trim_end_matches(".json").parse::<myownllm_config_store::BackupId>() {
            let again = hash_of(&bytes);
            assert_eq!(id.hash(), again, "{}: {at}: {name} is torn", scene.name);
        }
    }
}

/// Runs an undisturbed launch, and checks the guarantees of its end.
pub fn check_end(scene: &Scene, disk: &SimDisk, before: Option<&[u8]>, at: &str) {
    let launched = launch(disk, &sim_paths());
    launched.unwrap_or_else(|e| panic!("{}: {at}: {e}", scene.name));
    check_always(scene, disk, before, at);
    let live = config(disk).unwrap_or_else(|| panic!("{}: {at}: no config in the end", scene.name));
    (scene.ends)(&Document::parse(&live).unwrap().document);
    if scene.daemon_half {
        let half = Document::parse(&disk.content(DAEMON_CONFIG).unwrap()).unwrap().document;
        assert_eq!(half.get(&["networks"]).unwrap().items().count(), 0);
        assert!(half.get(&["version"]).is_some());
    }
    // A launch with nothing to do syncs nothing, so a killed run must leave a trace of everything
    // that it did not sync.
    for state in disk.crash_states(4, 1) {
        // A reported result must survive a power cut. A temporary file may be back; the next run
        // removes it.
        check_always(scene, &state, before, at);
        assert_eq!(precious_temporaries(&state), Vec::<PathBuf>::new(), "{}: {at}", scene.name);
        assert_eq!(backup_names(&state), backup_names(disk), "{}: {at}", scene.name);
        let live =
            config(&state).unwrap_or_else(|| panic!("{}: {at}: no config after the power went", scene.name));
        let doc = Document::parse(&live)
            .unwrap_or_else(|e| panic!("{}: {at}: after the power went: {e}", scene.name));
        let end = std::panic::catch_unwind(|| (scene.ends)(&doc.document));
        assert!(end.is_ok(), "{}: {at}: a reported success is none after the power went", scene.name);
    }
    disk.reset_ops();
    let (loaded, applied) = launch(disk, &sim_paths()).unwrap();
    assert!(applied.is_none(), "{}: {at}: the second run is not idle: {:?}", scene.name, loaded.pending);
    assert_eq!(changes(disk), Vec::<String>::new(), "{}: {at}", scene.name);
}

pub fn temporaries(disk: &SimDisk) -> Vec<PathBuf> {
    disk.tree().into_keys().filter(|path| path.to_string_lossy().contains(".durable-fs.")).collect()
}

/// Returns the temporary files whose content is nowhere else.
pub fn precious_temporaries(disk: &SimDisk) -> Vec<PathBuf> {
    let mut found = temporaries(disk);
    found.retain(|path| !is_kept(disk, &disk.content(path).unwrap()));
    found
}

/// A change by the user, and the config's mark before and after it.
pub struct Change {
    pub name: &'static str,
    pub disk: SimDisk,
    pub act: fn(&Store<'_>, &dyn LockedStore) -> Result<(), StoreError>,
    pub marks: [&'static str; 2],
}

pub fn changes_by_hand() -> Vec<Change> {
    fn edit(_: &Store<'_>, locked: &dyn LockedStore) -> Result<(), StoreError> {
        let edit = &mut |doc: &mut Document| Ok(doc.set(&["mark"], "new").is_changed());
        locked.update(&mut ids(), edit).map(drop)
    }
    fn go_back(store: &Store<'_>, locked: &dyn LockedStore) -> Result<(), StoreError> {
        for entry in store.history()? {
            if store.read_backup(&entry.id)? == healthy("new") {
                return locked.restore(&mut ids(), &entry.id).map(drop);
            }
        }
        panic!("the copy is gone")
    }
    let seen = |marks: &[&str]| {
        let disk = home();
        for mark in marks {
            disk.put(CONFIG, &healthy(mark));
            launch(&disk, &sim_paths()).unwrap();
        }
        disk
    };
    let unseen = home();
    unseen.put(CONFIG, &healthy("old"));
    let apart = seen(&["older"]);
    apart.mount("/home/u/dotfiles");
    apart.put("/home/u/dotfiles/app.json", &healthy("old"));
    apart.remove(CONFIG);
    apart.put_link(CONFIG, "../dotfiles/app.json");
    let of = |name, disk: SimDisk, act, marks| {
        disk.flush_all();
        Change { name, disk, act, marks }
    };
    vec![
        of("an edit", seen(&["older", "old"]), edit, ["old", "new"]),
        of("an edit of what was never seen", unseen, edit, ["old", "new"]),
        of("an edit on another disk", apart, edit, ["old", "new"]),
        of("a restore", seen(&["new", "old"]), go_back, ["old", "new"]),
    ]
}

pub fn change(change: &Change, disk: &SimDisk) -> Result<(), StoreError> {
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    let locked =
        store.lock(std::time::Duration::ZERO).map_err(|e| StoreError::Conflict { path: e.home().into() })?;
    (change.act)(&store, &*locked)
}

/// The config is whole, and is the previous or the new one. The previous one is not lost in either
/// case.
pub fn check_change(change: &Change, disk: &SimDisk, at: &str) -> String {
    let previous = config(&change.disk).unwrap();
    let live = config(disk).unwrap_or_else(|| panic!("{}: {at}: the config is absent", change.name));
    let doc = Document::parse(&live).unwrap_or_else(|e| panic!("{}: {at}: torn: {e}", change.name)).document;
    let mark = text(&doc, &["mark"]).unwrap();
    assert!(change.marks.contains(&&*mark), "{}: {at}: {mark}", change.name);
    assert!(
        live == previous || backups(disk).iter().any(|(_, b)| *b == previous),
        "{}: {at}: it is lost",
        change.name
    );
    mark
}
