//! Feeds bytes as a config to the reader, to edits, to the repair, and to a repair on a disk.

use std::sync::Mutex;
use std::time::Duration;

use myownllm_config_model::{
    AppConfig, Document, ParseErrorKind, SeededIds, app_config, daemon_config, masking,
};
use myownllm_config_store::{Clock, ConfigStore, MyOwnLlm, Store, StorePaths};
use myownllm_durable_fs::sim::{Entry, SimDisk};
use myownllm_paths::{Env, PathResolver, Resolver};
use myownllm_salvage::{Shape, normalize, salvage_bytes, shape};
use serde::de::IgnoredAny;
use serde_json::Value;

const HOME: &str = "/home/u";
const DIR: &str = "/home/u/.myownllm/conversations";
const CONFIG: &str = "/home/u/.myownllm/config.json";

/// Checks all guarantees for these bytes; panics if one does not hold.
pub fn document(data: &[u8]) {
    is_read_as_others_read_it(data);
    if let Ok(parsed) = Document::parse(data) {
        let document = parsed.document;
        assert_eq!(document.to_bytes(), data, "what nobody changed is written as it was read");
        an_edit_changes_what_it_says_and_nothing_else(&document);
        assert!(Document::parse(&masking::mask(&document).to_bytes()).is_ok());
        AppConfig::view(&document);
    }
    a_repair_is_final_and_keeps_what_it_does_not_know(data);
    a_launch_keeps_every_byte(data);
}

fn ids() -> SeededIds {
    SeededIds::new(1_700_000_000_000, 7)
}

/// Checks that a text is accepted exactly if `serde_json` accepts it and its root is an object, and
/// that both return the same values.
///
/// Two differences are intended: a byte order mark is accepted, and the limit of the nesting depth
/// differs.
fn is_read_as_others_read_it(data: &[u8]) {
    let ours = Document::parse(data);
    if let Err(error) = &ours {
        assert!(error.offset <= data.len() && error.line > 0 && error.column > 0, "{error:?}");
        assert!(!error.to_string().is_empty() && error.hint().is_some());
    }
    let Ok(text) = std::str::from_utf8(data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data)) else { return };
    if ours.as_ref().is_err_and(|error| error.kind == ParseErrorKind::TooDeep) {
        return;
    }
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    match &ours {
        Ok(_) => assert!(is_json && is_object, "read, though it is no JSON object"),
        Err(error) if error.kind == ParseErrorKind::NotAnObject => assert!(is_json && !is_object, "{error}"),
        Err(error) => assert!(!is_json, "{error}"),
    }
    if let (Ok(ours), Ok(theirs)) = (ours, serde_json::from_str::<Value>(text)) {
        assert!(are_alike(&ours.document.root().to_value(), &theirs), "{theirs}");
    }
}

/// Compares two values. Numbers count by value: `-0` is an integer in this project, and
/// `serde_json` rounds the last binary digit of a fraction its own way.
fn are_alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| are_alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .all(|(key, ours)| theirs.get(key).is_some_and(|theirs| are_alike(ours, theirs)))
        }
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() || theirs.is_f64() => {
            let [ours, theirs] = [ours, theirs].map(|number| number.as_f64().unwrap_or(f64::NAN));
            (ours - theirs).abs() <= theirs.abs() * 1e-15 + f64::MIN_POSITIVE
        }
        _ => ours == theirs,
    }
}

fn members(document: &Document) -> Vec<(String, String)> {
    document.root().members().map(|(key, value)| (key.into_owned(), value.raw().into_owned())).collect()
}

fn an_edit_changes_what_it_says_and_nothing_else(document: &Document) {
    let before = members(document);
    // A key with a lone surrogate shows another character than it has, so no text can name it.
    for (key, _) in before.iter().filter(|(key, _)| !key.contains(char::REPLACEMENT_CHARACTER)).take(4) {
        let others: Vec<_> = before.iter().filter(|(other, _)| other != key).cloned().collect();
        let mut without = document.clone();
        assert!(without.remove(&[key]));
        assert_eq!(members(&without), others);
        assert_eq!(members(&again(&without)), others);
        let mut with = document.clone();
        let changed = with.set(&[key, "new \"key\""], "value\n");
        let again = again(&with);
        let new = again.get(&[key, "new \"key\""]).map(|value| value.to_value());
        assert_eq!(new, changed.is_changed().then(|| Value::from("value\n")));
        assert!(others.iter().all(|other| members(&again).contains(other)));
    }
}

/// Returns the document as the next reader reads it.
fn again(document: &Document) -> Document {
    let again = Document::parse(&document.to_bytes()).expect("what is written can be read").document;
    assert!(again.root().same_json(&document.root()), "what is read is what was written");
    again
}

fn a_repair_is_final_and_keeps_what_it_does_not_know(data: &[u8]) {
    let Ok(repaired) = normalize(data, DIR, &mut ids()) else { return };
    let again = normalize(&repaired.document.to_bytes(), "/elsewhere", &mut SeededIds::new(1, 1));
    let again = again.expect("what a repair writes can be read").document;
    assert!(!again.is_modified(), "a second load finds nothing to do: {}", again.to_text());

    let salvaged = salvage_bytes(data, &mut ids()).expect("it was read before");
    assert!(
        matches!(shape(&salvaged.app), Shape::App | Shape::Unknown),
        "a repair leaves nothing of the daemon's"
    );
    let twice = salvage_bytes(&salvaged.app.to_bytes(), &mut ids()).expect("it was written by us");
    assert!(twice.daemon.is_none() && twice.app.to_bytes() == salvaged.app.to_bytes());

    let read = Document::parse(data).expect("it was read before").document;
    let app = repaired.document.to_text();
    let daemon = salvaged.daemon.map(|half| half.to_text()).unwrap_or_default();
    for (key, raw) in members(&read) {
        let known = app_config::keys().any(|known| known == *key) || daemon_config::OWN_KEYS.contains(&&*key);
        // The app's own load drops `sources`, and moves `agent_permissions` elsewhere.
        if !known && !["sources", "agent_permissions"].contains(&&*key) {
            assert!(app.contains(&raw) || daemon.contains(&raw), "the value of {key:?} is gone");
        }
    }
}

/// A clock whose sleep returns at once.
#[derive(Default)]
struct NoWait(Mutex<Duration>);

impl Clock for NoWait {
    fn elapsed(&self) -> Duration {
        *self.0.lock().expect("nobody panics with it")
    }
    fn sleep(&self, time: Duration) {
        *self.0.lock().expect("nobody panics with it") += time;
    }
}

/// Launches on a home with that config. In any case these bytes are in the config or among the
/// backups, the config is a valid one, and the next launch finds nothing to do.
fn a_launch_keeps_every_byte(data: &[u8]) {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, data);
    let clock = NoWait::default();
    let layout = Resolver::default().resolve(&Env::explicit(HOME)).expect("an absolute home");
    let schema = MyOwnLlm::new(layout.conversations.as_str());
    let store = Store::new(&disk, &clock, StorePaths::of(&layout), &schema);
    for round in 0..2 {
        let loaded = store.load(&mut ids()).expect("a plain file can be looked at");
        if loaded.pending.is_empty() {
            break;
        }
        assert_eq!(round, 0, "the second launch has something to do: {:?}", loaded.pending);
        let locked = store.lock(Duration::ZERO).expect("nobody else is here");
        locked.apply(&mut ids()).expect("nothing fails on this disk");
    }
    let files: Vec<Vec<u8>> = disk
        .tree()
        .into_values()
        .filter_map(|entry| if let Entry::File(bytes, _) = entry { Some(bytes) } else { None })
        .collect();
    assert!(files.iter().any(|bytes| bytes == data), "the former bytes are gone");
    let now = disk.content(CONFIG).expect("there is a config");
    assert!(now == data || Document::parse(&now).is_ok_and(|now| shape(&now.document) == Shape::App));
}
