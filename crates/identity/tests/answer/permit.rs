//! The permit to start a daemon.

use crate::Put::{self, *};
#[cfg(unix)]
use crate::common::public_key;
use crate::common::{Home, key_file, short};
use crate::{NEW, ROSTER, home_of, sh};
#[cfg(unix)]
use crate::{OLD, sound};
use myownllm_durable_fs::{Disk, RealDisk};
#[cfg(unix)]
use myownllm_identity::Class;
use myownllm_identity::{IdentityPaths, Refusal, StartPermit, scan};
use myownllm_paths::{Env, HostApp, PathResolver as _, Resolver};
use rstest::rstest;

#[test]
fn a_permit_needs_the_lock_of_the_apps_home_and_holds_for_one_key() {
    let home = home_of(&[Key(NEW, 1)]);
    let other = RealDisk.lock(home.user(), std::time::Duration::ZERO).unwrap();
    let refusal = StartPermit::for_places(&other, &home.places()).unwrap_err();
    assert_eq!(refusal.code(), "durable-fs.outside-lock");
    assert!(refusal.to_string().starts_with("cannot start a daemon: the given lock is not "), "{refusal}");
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let permit = StartPermit::for_places(&lock, &home.places()).unwrap();
    permit.check().unwrap();
    home.put(NEW, &key_file(2, "y"));
    assert_eq!(permit.check().unwrap_err().code(), "identity.changed");
    std::fs::remove_file(home.at(NEW)).unwrap();
    assert_eq!(permit.check().unwrap_err().code(), "identity.changed");
    // A daemon that failed has created a key.
    let permit = StartPermit::for_places(&lock, &home.places()).unwrap();
    home.put(NEW, &key_file(3, "z"));
    permit.check().unwrap();
    home.put(NEW, b"");
    assert_eq!(permit.check().unwrap_err().code(), "migration.identity-damaged");
}

/// A caller takes the paths of a layout that nobody has checked. The daemon would overwrite the
/// `config.json` of the directory that it gets.
#[cfg(unix)]
#[rstest]
#[case::the_apps_home(".", "is the same directory as")]
#[case::the_users_home("..", "lies above")]
#[case::another_apps_home("../other", "leads out of")]
fn permit_refuses_a_daemon_home_that_is_not_of_its_own(#[case] target: &str, #[case] relation: &str) {
    let home = home_of(&[Key(OLD, 1)]);
    std::fs::create_dir(home.user().join("other")).unwrap();
    std::os::unix::fs::symlink(target, home.daemon()).unwrap();
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let refusal = StartPermit::for_places(&lock, &home.places()).unwrap_err();
    assert_eq!((refusal.code(), refusal.class()), ("paths.overlap", Class::Refused));
    assert!(refusal.to_string().contains(relation), "{refusal}");
    // The way out ends the refusal.
    let hint = refusal.hint().unwrap();
    let Some(status) = sh(&hint) else { return };
    assert!(status.success(), "{hint}");
    assert_ne!(StartPermit::for_places(&lock, &home.places()).unwrap_err().code(), "paths.overlap", "{hint}");
}

#[cfg(unix)]
#[test]
fn permit_check_refuses_a_daemon_home_that_became_the_apps() {
    let home = home_of(&[Key(OLD, 1), Key(NEW, 1)]);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let permit = StartPermit::for_places(&lock, &home.places()).unwrap();
    std::fs::rename(home.daemon(), home.at("aside")).unwrap();
    std::os::unix::fs::symlink(".", home.daemon()).unwrap();
    assert_eq!(permit.check().unwrap_err().code(), "paths.overlap");
}

/// An app may give its daemon a home with a name of many parts.
#[rstest]
#[case::nothing(&[], true)]
#[case::where_it_belongs(&[Key("a/b/c/d/e/f/.secrets/identity.json", 1)], true)]
#[case::rosters_of_another_app(&[Bytes("../other/a/b/c/d/e/f/mesh/rosters/home.json", ROSTER)], true)]
#[case::last_part_is_renamed(&[Key("a/b/c/d/e/f.old/.secrets/identity.json", 1)], false)]
#[case::part_is_renamed(&[Key("a/b/c.old/d/e/f/.secrets/identity.json", 1)], false)]
#[case::rosters_in_a_renamed_part(&[Bytes("a.old/b/c/d/e/f/mesh/rosters/home.json", ROSTER)], false)]
#[case::key_in_a_renamed_home(&[Key("../my app.old/a/b/c/d/e/f/.secrets/identity.json.bak", 1)], false)]
#[case::rosters_in_a_renamed_home(&[Bytes("../my app.old/a/b/c/d/e/f/mesh/rosters/home.json", ROSTER)], false)]
fn permit_for_a_deep_daemon_home_sees_the_renamed_one(#[case] parts: &[Put], #[case] is_free: bool) {
    let home = home_of(parts);
    let (app, daemon) = (home.app(), home.at("a/b/c/d/e/f"));
    let places = IdentityPaths::new(app.to_str().unwrap(), daemon.to_str().unwrap());
    let lock = RealDisk.lock(&app, std::time::Duration::ZERO).unwrap();
    let permit = StartPermit::for_places(&lock, &places);
    assert_eq!(permit.as_ref().err().map(Refusal::code), (!is_free).then_some("identity.gone"), "{permit:?}");
}

/// An app may share a directory in the user's home with other apps of its vendor.
#[rstest]
#[case::beside_the_home("vendor/identity.json", "none yet")]
#[case::renamed("vendor.old/app/node/.secrets/identity.json", "identity.gone")]
#[case::renamed_home_in_it("vendor/app.old/node/.secrets/identity.json", "identity.gone")]
#[case::renamed_with_the_home_in_it("vendor (1)/app.old/.secrets/identity.json", "identity.gone")]
#[case::in_the_trash(".local/share/Trash/files/vendor/app/.secrets/identity.json", "identity.gone")]
#[case::of_another_vendor("vendor-tools/app/node/.secrets/identity.json", "none yet")]
#[case::of_another_app("vendor/other/node/.secrets/identity.json", "none yet")]
#[case::of_another_app_of_a_renamed_vendor("vendor.old/other/node/.secrets/identity.json", "none yet")]
fn home_in_a_renamed_directory_of_the_user_holds_the_key(#[case] path: &str, #[case] answer: &str) {
    let home = Home::new();
    let app = HostApp::new("App", "app-mesh", "vendor/app", "node");
    let layout = Resolver::new(app).resolve(&Env::explicit(home.user())).unwrap();
    let file = home.user().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, key_file(1, "x")).unwrap();
    let answered = || scan(&RealDisk, &IdentityPaths::of(&layout)).answer();
    let first = answered();
    assert_eq!(short(&first), answer, "{first:?}");
    let Some(refusal) = first.refusal() else { return };
    let hint = refusal.hint().unwrap();
    let Some(status) = sh(&hint) else { return };
    assert!(status.success(), "{hint}");
    assert!(answered().key().is_some(), "{hint}: {:?}", answered());
}

/// Another program puts another directory in the place of the home while the home is locked.
#[cfg(unix)]
#[test]
fn permit_rests_on_the_home_that_is_locked() {
    let home = home_of(&[Key(NEW, 1)]);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    std::fs::rename(home.app(), home.user().join("former")).unwrap();
    home.put(NEW, &key_file(2, "theirs"));
    let permit = StartPermit::for_places(&lock, &home.places()).unwrap();
    assert_eq!(short(&scan(&lock, &home.places()).answer()), sound(1));
    assert_ne!(short(&home.answer()), sound(1));
    permit.check().unwrap();
    assert!(permit.expected().device_id().is_some_and(|id| id.starts_with(&public_key(1))), "{permit:?}");
}

#[test]
fn permit_refuses_a_relative_daemon_home() {
    let home = home_of(&[]);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let places = IdentityPaths::new(home.app().to_str().unwrap(), "mesh");
    assert_eq!(StartPermit::for_places(&lock, &places).unwrap_err().code(), "paths.overlap");
}
