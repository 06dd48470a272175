//! The settings in a config that is not JSON.

use crate::common::scenes::home;
use crate::common::{
    APP, CONFIG, DAEMON_CONFIG, FakeClock, OVERWRITTEN_V1, OVERWRITTEN_V3, SCHEMA, hash_of, healthy, ids,
    is_kept, launch, locked, sim_paths,
};
use crate::{live, load, of_kind, reported, seen_healthy, text, with_config};
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, FileShape, Loaded, Store, StoreError};
use myownllm_durable_fs::sim::SimDisk;
use rstest::rstest;

/// Launches on a file that is not JSON. Asserts that the file is kept byte for byte, and that the
/// next launch changes nothing.
fn launch_on_no_json(disk: &SimDisk, bytes: &[u8]) -> Loaded {
    launch_and_tell(disk, bytes).0
}

/// Does the same as [`launch_on_no_json`], and also returns the command that restores the file's
/// own settings.
fn launch_and_tell(disk: &SimDisk, bytes: &[u8]) -> (Loaded, Option<String>) {
    disk.put(CONFIG, bytes);
    let (loaded, applied) = launch(disk, &sim_paths()).unwrap();
    assert!(of_kind(disk, "kept").iter().any(|(_, kept)| kept == bytes), "the file is not kept");
    assert!(loaded.pending.repairs());
    assert_eq!(loaded.document.to_bytes(), live(disk));
    let codes =
        |found: &[myownllm_config_model::Diagnostic]| found.iter().map(|d| d.code).collect::<Vec<_>>();
    let said = applied.unwrap().diagnostics;
    assert_eq!(codes(&said), codes(&loaded.diagnostics));
    assert!(reported(&loaded, "store.corrupt").place.is_some());
    assert!(launch(disk, &sim_paths()).unwrap().1.is_none());
    // Before the repair there is no backup that the command could name.
    let of_offer = |found: &[myownllm_config_model::Diagnostic]| {
        found.iter().find(|d| d.code == "store.recoverable").and_then(|offer| offer.hint.clone())
    };
    assert_eq!(of_offer(&loaded.diagnostics), None);
    (loaded, of_offer(&said))
}

/// Restores the backup that a hint names, twice.
fn run_hint(disk: &SimDisk, hint: &str) -> Result<Vec<u8>, StoreError> {
    let name = hint.strip_prefix("myownllm-mesh config restore ").unwrap();
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    let id = store.find_backup(name)?;
    locked(&store).restore(&mut ids(), &id)?;
    let restored = live(disk);
    assert!(!locked(&store).restore(&mut ids(), &id)?.changed);
    assert_eq!(live(disk), restored);
    Ok(restored)
}

#[rstest]
#[case::a_tail(b"\n  \"stale\": true\n}\n", "bytes behind it")]
#[case::a_brace(b"}", "1 byte behind it")]
#[case::zeros(b"\0\0\0\0", "4 bytes behind it")]
#[case::another_document(b"{\"active_family\": \"old\"}", "bytes behind it")]
fn complete_config_with_a_foreign_tail_is_that_config(
    #[case] tail: &[u8],
    #[case] said: &str,
    #[values(true, false)] seen: bool,
) {
    let disk = if seen { seen_healthy(&healthy("good")) } else { home() };
    let newer = healthy("newer");
    let loaded = launch_on_no_json(&disk, &[newer.trim_ascii_end(), tail].concat());
    assert_eq!(live(&disk), newer.trim_ascii_end());
    assert_eq!(loaded.report.restored_from, None);
    assert!(loaded.report.kept_keys.iter().any(|key| key == "mark"));
    assert!(reported(&loaded, "store.recovered").message.contains(said), "{:?}", loaded.diagnostics);
    assert!(loaded.diagnostics.iter().all(|d| d.code != "store.defaults"));
}

#[rstest]
#[case::of_0_1_2(OVERWRITTEN_V1)]
#[case::of_0_3_8(OVERWRITTEN_V3)]
fn daemons_config_with_an_old_tail_is_repaired(#[case] leaked: &[u8]) {
    let tail = b"   \"providers\": []\n}";
    let disk = seen_healthy(&healthy("good"));
    let loaded = launch_on_no_json(&disk, &[leaked, tail].concat());
    assert_eq!(loaded.shape, FileShape::Daemon);
    assert!(!loaded.report.recovered_networks.is_empty());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(disk.content(DAEMON_CONFIG).is_some());
    reported(&loaded, "store.recovered");
}

#[test]
fn daemons_config_that_breaks_off_gives_its_complete_networks() {
    let leaked = std::str::from_utf8(OVERWRITTEN_V1).unwrap();
    let networks = Document::parse(OVERWRITTEN_V1).unwrap().document;
    let ids: Vec<String> = networks
        .get(&["networks"])
        .unwrap()
        .items()
        .map(|n| n.get("network_id").unwrap().as_str().unwrap().into_owned())
        .collect();
    assert!(ids.len() > 1, "the scene is not what it says");
    let last = leaked.rfind(&ids[ids.len() - 1]).unwrap();
    let disk = seen_healthy(&healthy("good"));
    let loaded = launch_on_no_json(&disk, &leaked.as_bytes()[..last + 4]);
    assert_eq!(loaded.report.recovered_networks, ids[..ids.len() - 1]);
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(reported(&loaded, "store.recovered").message.contains("breaks off"));
}

#[test]
fn daemons_config_that_breaks_off_in_a_network_is_the_daemons_and_names_the_network() {
    let leaked = std::str::from_utf8(OVERWRITTEN_V3).unwrap();
    let networks = leaked.find("\"networks\"").unwrap();
    let id = networks + leaked[networks..].find("\"office-mesh\",").unwrap() + "\"office-mesh\",".len();
    let first = networks + leaked[networks..].find('{').unwrap() + 1;
    for (torn_at, name) in [(first, ""), (id, ", inside the network office-mesh")] {
        let disk = home();
        let torn = &leaked.as_bytes()[..torn_at];
        let loaded = launch_on_no_json(&disk, torn);
        assert_eq!(
            loaded.report.stripped_keys,
            ["version", "identity_path", "daemon", "services", "networks"]
        );
        let half = Document::parse(&disk.content(DAEMON_CONFIG).unwrap()).unwrap().document;
        assert!(half.get(&["services"]).is_some(), "the daemon has its settings");
        let reported = &reported(&loaded, "store.recovered").message;
        assert!(reported.contains(&format!("{name}; its complete members (version, ")), "{reported}");
        assert!(is_kept(&disk, torn));
    }
}

#[test]
fn torn_config_gives_its_complete_members_without_a_backup() {
    let text_of = String::from_utf8(APP.to_vec()).unwrap();
    let at = text_of.find("\"api\"").unwrap();
    let disk = home();
    let loaded = launch_on_no_json(&disk, &text_of.as_bytes()[..at + 20]);
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("qwen3"));
    assert!(loaded.report.kept_keys.iter().any(|key| key == "active_family"));
    assert!(loaded.report.reset_keys.iter().any(|key| key == "providers"));
    assert!(!loaded.report.reset_keys.iter().any(|key| key == "active_family"));
    let recovered = reported(&loaded, "store.recovered");
    assert!(recovered.message.contains("active_family"), "{recovered:?}");
    assert!(loaded.diagnostics.iter().all(|d| d.code != "store.defaults"));
}

#[test]
fn torn_config_is_restored_from_the_backup_and_its_members_are_offered() {
    let disk = seen_healthy(&healthy("good"));
    let newer = String::from_utf8(healthy("newer")).unwrap().replace("qwen3\"", "llama\"");
    let at = newer.find("\"providers\"").unwrap();
    let torn = &newer.as_bytes()[..at];
    let (loaded, hint) = launch_and_tell(&disk, torn);
    assert_eq!(live(&disk), healthy("good"));
    let offer = reported(&loaded, "store.recoverable");
    assert!(offer.message.contains("breaks off") && offer.message.contains("active_family"), "{offer:?}");
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().any(|entry| entry.recoverable && entry.shape == FileShape::Corrupt));
    let restored = run_hint(&disk, &hint.unwrap()).unwrap();
    assert_eq!(text(&restored, "active_family").as_deref(), Some("llama"), "what is whole is the file's");
    assert_eq!(text(&restored, "mark").as_deref(), Some("good"), "and the rest stays");
    assert_eq!(load(&disk).unwrap().shape, FileShape::App);
    assert!(is_kept(&disk, &healthy("good")) && is_kept(&disk, torn));
}

#[test]
fn members_that_the_restored_backup_has_are_not_offered() {
    let bytes = healthy("good");
    let disk = seen_healthy(&bytes);
    let (loaded, hint) = launch_and_tell(&disk, &bytes[..bytes.len() / 2]);
    assert_eq!((live(&disk), hint), (bytes, None));
    assert!(loaded.diagnostics.iter().all(|found| found.code != "store.recoverable"));
}

#[rstest]
#[case::a_comma("\"qwen3\",", "\"qwen3\"", "insert `,` at line")]
#[case::a_quote("\"qwen3\",", "\"qwen3,", "insert `\"` at line")]
#[case::a_comma_too_many("\"qwen3\",", "\"qwen3\",,", "remove `,` at line")]
fn slip_of_a_hand_edit_is_named_and_its_text_can_be_had(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] mend: &str,
) {
    let pretty = |mark: &str| {
        let value: serde_json::Value = serde_json::from_slice(&healthy(mark)).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let edited = pretty("edited");
    assert!(edited.contains(right), "the scene is not what it says");
    let typo = edited.replacen(right, wrong, 1);
    let line = 1 + edited[..edited.find(right).unwrap()].matches('\n').count();

    let disk = seen_healthy(&healthy("good"));
    let (loaded, hint) = launch_and_tell(&disk, typo.as_bytes());
    assert_eq!(live(&disk), healthy("good"));
    let offer = reported(&loaded, "store.recoverable");
    assert!(offer.message.contains(&format!("{mend} {line}, column")), "{offer:?}");
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().any(|entry| entry.recoverable && entry.shape == FileShape::Corrupt));
    let restored = run_hint(&disk, &hint.unwrap()).unwrap();
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(value(&restored), value(edited.as_bytes()));

    // Without a backup, the corrected text is the only source.
    let disk = home();
    let loaded = launch_on_no_json(&disk, typo.as_bytes());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("edited"));
    assert!(reported(&loaded, "store.recovered").message.contains(mend));
    assert_eq!(loaded.report.reset_keys, Vec::<String>::new());
}

/// Returns a text of the config `mark` with something else around it.
fn mixed_up(how: &str) -> Vec<u8> {
    let pretty = |mark: &str| {
        let value: serde_json::Value = serde_json::from_slice(&healthy(mark)).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let (whole, other) = (pretty("mine"), r#"{"active_family":"other"}"#);
    match how {
        "an empty object before" => format!("{{}}{whole}").into_bytes(),
        "an object before" => format!("{{\"a\":1}}\n{whole}").into_bytes(),
        "a poorer config before" => format!("{other}\n{whole}").into_bytes(),
        "text before" => format!("saved by hand:\n{whole}\nend\n").into_bytes(),
        "a conflict of two documents" => {
            format!("<<<<<<< HEAD\n{other}\n=======\n{whole}\n>>>>>>> theirs\n").into_bytes()
        }
        "a conflict in a document" => whole
            .replacen('{', "{\n<<<<<<< HEAD\n  \"x\": 1,\n=======\n  \"x\": 2,\n>>>>>>> theirs", 1)
            .into_bytes(),
        "no first brace" => whole.replacen('{', "", 1).into_bytes(),
        "a value that is no JSON" => {
            let (before, rest) = whole.split_once("\"model_cleanup_days\": ").unwrap();
            let rest = &rest[rest.find(',').unwrap()..];
            format!("{before}\"model_cleanup_days\": NaN{rest}").into_bytes()
        }
        _ => {
            let units = std::iter::once(0xfeff).chain(whole.encode_utf16());
            let mut bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
            bytes.truncate(bytes.len() - 7);
            bytes
        }
    }
}

/// Without a backup, the settings that stand in the text come before the defaults.
#[rstest]
fn the_richest_config_in_a_text_is_taken_where_there_is_no_backup(
    #[values(
        "an empty object before",
        "an object before",
        "a poorer config before",
        "text before",
        "a conflict of two documents",
        "a conflict in a document",
        "no first brace",
        "a value that is no JSON",
        "UTF-16 that breaks off"
    )]
    how: &str,
) {
    let disk = home();
    let loaded = launch_on_no_json(&disk, &mixed_up(how));
    let whole = healthy("mine");
    let mut same = Document::parse(&whole).unwrap().document.root().to_value();
    let mut now = Document::parse(&live(&disk)).unwrap().document.root().to_value();
    for value in [&mut same, &mut now] {
        let members = value.as_object_mut().unwrap();
        members.remove("x");
        if how.contains("no JSON") {
            members.remove("model_cleanup_days");
        }
        if how.contains("UTF-16") {
            members.retain(|key, _| loaded.report.kept_keys.contains(key));
            assert!(members.len() > 12, "{members:?}");
        }
    }
    assert_eq!(now, same, "{:?}", loaded.diagnostics);
    reported(&loaded, "store.recovered");
}

#[test]
fn config_in_utf16_is_taken() {
    let newer = healthy("newer");
    let units = std::iter::once(0xfeff).chain(std::str::from_utf8(&newer).unwrap().encode_utf16());
    let disk = seen_healthy(&healthy("good"));
    launch_on_no_json(&disk, &units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    assert_eq!(live(&disk), newer);
}

#[rstest]
#[case::torn(b"{\n\"providers\": [{\"na")]
#[case::zero_bytes(b"\0\0\0")]
fn backup_without_a_complete_member_is_reported_with_a_command_that_shows_it(#[case] torn: &[u8]) {
    let disk = with_config(torn);
    launch(&disk, &sim_paths()).unwrap();
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().all(|entry| !entry.recoverable));
    let id = hash_of(torn);
    let error = run_hint(&disk, &format!("myownllm-mesh config restore {id}")).unwrap_err();
    assert_eq!(error.code(), "store.bad-copy");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("sed -n ") && hint.contains(&id), "{hint}");
}
