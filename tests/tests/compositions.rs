//! What programs get that compose the crates by themselves: errors in one shape, and no way to skip
//! the look for running daemons. The doc tests and the tests of the crates have the other tempting
//! wrong ways.

use std::fmt;
use std::path::{Path, PathBuf};

use myownllm_config_model::convert::ConvertError;
use myownllm_config_model::envelope::{Envelope, EnvelopeError};
use myownllm_config_model::network_id::{self, InvalidNetworkId};
use myownllm_config_model::networks::{self, NetworksError, SavedNetwork};
use myownllm_config_model::settings::{self, SettingError};
use myownllm_config_model::{Document, ParseError, SeededIds};
use myownllm_config_store::{Loss, StoreError, Wipe};
use myownllm_daemon::{
    AbandonedSocket, Candidate, CandidateOutcome, ControlError, DetectRefusal, Origin, SpawnError, StopError,
};
use myownllm_durable_fs::{DiskError, LockError};
use myownllm_migration::MigrationError;
use myownllm_migration::identity::Refusal;
use myownllm_paths::{Class, Failure, FailureData, PathsError, impl_failure};
use rstest::rstest;

/// An error of an app.
#[derive(Debug)]
struct NoModel;

impl fmt::Display for NoModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot find a model")
    }
}

impl std::error::Error for NoModel {}

impl NoModel {
    fn code(&self) -> &'static str {
        "app.no-model"
    }
    fn class(&self) -> Class {
        Class::Refused
    }
    fn path(&self) -> &Path {
        Path::new("/models")
    }
    fn hint(&self) -> Option<String> {
        None
    }
}

impl_failure!(NoModel, serialize);

#[test]
fn error_of_an_app_serialises_as_those_of_the_crates() {
    let json = serde_json::to_value(NoModel).unwrap();
    let wanted = serde_json::json!({"code": "app.no-model", "class": "refused", "message": "cannot find a model",
        "path": "/models", "hint": null, "causes": []});
    assert_eq!(json, wanted);
}

/// Each error that a call in the READMEs returns.
#[test]
fn each_error_of_a_composition_is_failure_data() {
    fn is_failure<E: Failure>() {}
    is_failure::<PathsError>();
    is_failure::<DiskError>();
    is_failure::<LockError>();
    is_failure::<Refusal>();
    is_failure::<MigrationError>();
    is_failure::<StoreError>();
    is_failure::<ControlError>();
    is_failure::<DetectRefusal>();
    is_failure::<SpawnError>();
    is_failure::<StopError>();
    is_failure::<ParseError>();
    is_failure::<ConvertError>();
    is_failure::<EnvelopeError>();
    is_failure::<NetworksError>();
    is_failure::<SettingError>();
    is_failure::<InvalidNetworkId>();
}

#[test]
fn errors_about_a_config_tell_code_class_and_remedy() {
    let mut config = Document::parse(br#"{"zoom": 1}"#).unwrap().document;
    let data = [
        FailureData::of(&Document::parse(b"{").unwrap_err()),
        FailureData::of(&Envelope::parse(b"{").unwrap_err()),
        FailureData::of(&network_id::normalize("a b").unwrap_err()),
        FailureData::of(&networks::add(&mut config, "a b", false, &mut SeededIds::new(0, 0)).unwrap_err()),
        FailureData::of(&settings::get(&config, "zom").unwrap_err()),
        FailureData::of(&settings::set(&mut config, "zoom", "wide").unwrap_err()),
    ];
    let reported = data.map(|data| (data.code, data.class, data.hint.is_some()));
    let wanted = [
        ("config.syntax", Class::Failed, true),
        ("envelope.parse", Class::Failed, true),
        ("network.invalid-id", Class::Failed, true),
        ("network.invalid-id", Class::Failed, true),
        ("config.unknown-setting", Class::Failed, true),
        ("config.wrong-setting", Class::Usage, false),
    ];
    assert_eq!(reported, wanted);
}

/// Another crate implements the traits `AppSchema`, `ConfigStore` and `Daemons`.
#[test]
fn result_of_a_trait_is_built_by_another_crate() {
    let saved = SavedNetwork::new("n1", "home");
    assert_eq!((saved.id, saved.network_id), ("n1".to_owned(), "home".to_owned()));
    let wipe = Wipe::new(Loss::Settings, "good-1", 3, 1);
    assert_eq!((wipe.backup, wipe.before, wipe.left), ("good-1".to_owned(), 3, 1));
    let socket = AbandonedSocket::new("/run/s", 7, "rm -f /run/s");
    assert_eq!((socket.path.as_str(), socket.owner), ("/run/s", 7));
    let tried = CandidateOutcome::new(Candidate::new("/bin/mesh", Origin::Beside), None);
    assert!(tried.to_string().ends_with("taken"), "{tried}");
}

/// `NoDaemons` tells a move that no daemon runs, and `StartPermit::for_places` takes homes that
/// nobody has found apart, so no program may build them in.
#[rstest]
#[case::no_daemons("migration", "live.rs", "NoDaemons")]
#[case::permit_without_a_layout("identity", "permit.rs", "for_places")]
fn back_door_is_for_tests_alone(#[case] name: &str, #[case] file: &str, #[case] item: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let dirs = ["crates", "examples"].map(|dir| std::fs::read_dir(root.join(dir)).unwrap());
    let dirs = dirs.into_iter().flatten().map(|entry| entry.unwrap().path());
    let manifests: Vec<PathBuf> =
        dirs.map(|dir| dir.join("Cargo.toml")).filter(|file| file.exists()).collect();
    assert!(manifests.len() > 12, "{manifests:?}");
    for file in manifests {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let builds_in = line.starts_with(&format!("myownllm-{name}")) && line.contains("testing");
            assert!(!builds_in || section.contains("dev-dependencies"), "{}: {line}", file.display());
        }
    }
    let source = std::fs::read_to_string(root.join(format!("crates/{name}/src/{file}"))).unwrap();
    let gated = source.matches("#[cfg(feature = \"testing\")]").count();
    assert_eq!(gated, source.matches(item).count(), "each of its items needs the feature");
}
