//! The backups: when one is made, how many there are, and what counts as one.

use crate::common::scenes::home;
use crate::common::{
    BACKUPS, CONFIG, FakeClock, SCHEMA, backup_names, hash_of, healthy, ids, is_kept, launch, launch_with,
    sim_paths,
};
use crate::{live, of_kind, seen_healthy, set_mark, text, with_config};
use myownllm_config_store::{BackupId, BackupKind, ConfigStore, InvalidBackupId, Limits, Step, Store};
use rstest::rstest;

#[test]
fn healthy_config_is_backed_up_once_and_again_after_a_change() {
    let disk = with_config(&healthy("one"));
    launch(&disk, &sim_paths()).unwrap();
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(of_kind(&disk, "good").len(), 1);
    assert_eq!(live(&disk), healthy("one"), "the config itself is not written");
    disk.put(CONFIG, &healthy("two"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert!(!loaded.pending.writes_config() && !loaded.pending.repairs());
    assert!(matches!(loaded.pending.steps[..], [Step::KeepLastGood { .. }]));
    assert_eq!(of_kind(&disk, "good").len(), 2);
}

#[test]
fn damaged_backup_does_not_count_as_a_backup() {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    let (name, _) = of_kind(&disk, "kept").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), b"{\"to");
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, b"{\"torn"));
}

#[rstest]
#[case::emptied(|bytes: &mut Vec<u8>| bytes.clear())]
#[case::cut_off(|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2))]
#[case::zero_bytes(|bytes: &mut Vec<u8>| bytes.fill(0))]
#[case::other_settings(|bytes: &mut Vec<u8>| *bytes = b"{}".to_vec())]
#[case::last_byte(|bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() = b' ')]
fn damaged_backup_of_a_healthy_config_is_made_anew(
    #[case] damage: fn(&mut Vec<u8>),
    #[values(0, 100_000)] padding: usize,
) {
    let config = [healthy("good"), vec![b'\n'; padding]].concat();
    let disk = seen_healthy(&config);
    let (name, mut bytes) = of_kind(&disk, "good").remove(0);
    damage(&mut bytes);
    disk.put(format!("{BACKUPS}/{name}"), &bytes);
    launch(&disk, &sim_paths()).unwrap();
    let contents: Vec<_> = of_kind(&disk, "good").into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(contents, [bytes, config], "the damaged one stays");
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(applied.is_none(), "the new one counts");
}

#[test]
fn routine_backups_are_bounded_and_the_newest_stays() {
    let disk = home();
    let clock = FakeClock::default();
    let limits = Limits { good_count: 3, good_bytes: 1 << 20, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    for i in 0..20 {
        disk.put(CONFIG, &healthy(&i.to_string()));
        launch_with(&store).unwrap();
        let good = of_kind(&disk, "good");
        assert!(good.len() <= 3);
        assert_eq!(good.last().unwrap().1, healthy(&i.to_string()), "the newest is the last good one");
    }
    let marks: Vec<_> = of_kind(&disk, "good").iter().map(|(_, b)| text(b, "mark").unwrap()).collect();
    assert_eq!(marks, ["17", "18", "19"], "the oldest went first");

    let one = Limits { good_count: 0, good_bytes: 0, ..limits };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(one);
    disk.put(CONFIG, &healthy("last"));
    launch_with(&store).unwrap();
    let good = of_kind(&disk, "good");
    assert_eq!(good.len(), 1, "the last good one stays, whatever the bounds say");
    assert_eq!(text(&good[0].1, "mark").as_deref(), Some("last"));
}

#[test]
fn alternating_edits_do_not_use_up_the_routine_backups() {
    let disk = seen_healthy(&healthy("treasure"));
    let (clock, mut seen) = (FakeClock::default(), Vec::new());
    for i in 0..100 {
        disk.put(CONFIG, &healthy(["a", "b"][i % 2]));
        launch(&disk, &sim_paths()).unwrap();
        let newest = of_kind(&disk, "good").last().unwrap().0.clone();
        seen.push(newest.strip_suffix(".json").unwrap().to_owned());
    }
    // An id that was removed stands for a later backup of its content.
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    for id in &seen {
        assert_eq!(store.find_backup(id).unwrap().hash(), id.rsplit('-').next().unwrap());
    }
    assert_eq!(store.find_backup(&seen[99]).unwrap().to_string(), seen[99]);
    assert!(of_kind(&disk, "good").iter().any(|(_, b)| text(b, "mark").as_deref() == Some("treasure")));
    assert!(of_kind(&disk, "good").len() <= 20);
}

/// The user puts an old config back by hand and edits it: its old backup would be the next to be
/// removed.
#[test]
fn replaced_config_becomes_a_backup_even_if_an_old_backup_holds_it() {
    let old = healthy("of old");
    let full = seen_healthy(&old);
    for i in 0..19 {
        set_mark(&full, &i.to_string()).unwrap();
    }
    let good = of_kind(&full, "good");
    assert_eq!((good.len(), &good[0].1), (20, &old), "the scene is not what it says");

    let disk = full.clone();
    disk.put(CONFIG, &old);
    set_mark(&disk, "edited").unwrap();
    assert!(is_kept(&disk, &old));
    for i in 0..18 {
        set_mark(&disk, &format!("then {i}")).unwrap();
    }
    assert!(is_kept(&disk, &old), "it goes when its turn comes, and not before");

    // The same holds for the file that a killed run displaced.
    let disk = full;
    disk.put("/home/u/.myownllm/.durable-fs.1-1.swap", &old);
    set_mark(&disk, "edited").unwrap();
    assert!(is_kept(&disk, &old));
}

#[test]
fn kept_backups_are_never_evicted_and_a_repair_fails_at_the_limit() {
    let disk = home();
    let clock = FakeClock::default();
    let limits = Limits { kept_count: 3, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let bad = |i: usize| format!("{{ torn {i}").into_bytes();
    for i in 0..3 {
        disk.put(CONFIG, &bad(i));
        launch_with(&store).unwrap();
    }
    disk.put(CONFIG, &bad(3));
    let foreseen = || store.check_apply(&store.load(&mut ids()).unwrap());
    assert_eq!(foreseen().unwrap_err().code(), "store.backups-full");
    let error = launch_with(&store).unwrap_err();
    assert_eq!(error.code(), "store.backups-full");
    assert!(error.hint().unwrap().contains("config-backups"));
    assert_eq!(live(&disk), bad(3), "it is not replaced without a copy");
    for i in 0..3 {
        assert!(is_kept(&disk, &bad(i)));
    }
    // A backup that exists already needs no more room.
    disk.put(CONFIG, &bad(1));
    foreseen().unwrap();
    launch_with(&store).unwrap();
    // The app has a config to run on in any case.
    disk.put(CONFIG, &bad(4));
    assert!(store.load(&mut ids()).unwrap().document.get(&["providers"]).is_some());

    let by_size = Limits { kept_bytes: 30, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(by_size);
    assert_eq!(launch_with(&store).unwrap_err().code(), "store.backups-full");
}

#[test]
fn thousand_starts_with_alternating_corruption_add_two_backups() {
    let disk = seen_healthy(&healthy("good"));
    for i in 0..1000 {
        disk.put(CONFIG, if i % 2 == 0 { b"" } else { b"{\"torn" });
        launch(&disk, &sim_paths()).unwrap();
    }
    assert_eq!(of_kind(&disk, "kept").len(), 2);
    assert_eq!(of_kind(&disk, "good").len(), 1);
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
}

#[test]
fn a_planted_name_does_not_use_up_the_numbers() {
    let disk = seen_healthy(&healthy("one"));
    let hash = "0".repeat(32);
    disk.put(format!("{BACKUPS}/good-18446744073709551615-{hash}.json"), b"{}");
    disk.put(format!("{BACKUPS}/good-1000000000000-{hash}.json"), b"{}");
    disk.put(format!("{BACKUPS}/notes.txt"), b"mine");
    disk.put(CONFIG, &healthy("two"));
    launch(&disk, &sim_paths()).unwrap();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
    disk.put(CONFIG, b"");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("two"));
    assert_eq!(disk.content(format!("{BACKUPS}/notes.txt")).unwrap(), b"mine");

    // A name with the last possible number does not count without the bytes of its hash.
    let disk = seen_healthy(&healthy("one"));
    let planted = format!("{BACKUPS}/good-999999999999-{hash}.json");
    disk.put(&planted, b"{}");
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, b"{\"torn"));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("one"));
    assert_eq!(disk.content(&planted).as_deref(), Some(&b"{}"[..]), "what is not ours is not removed");

    // With these bytes the file is a backup, and counts as an old one: saving cannot reach its
    // number, and new backups still get numbers.
    for number in ["999999999999", "998999999999", "1500000000"] {
        let far = healthy("far");
        let planted = format!("good-{number}-{}.json", hash_of(&far));
        for near in [true, false] {
            let disk = if near { seen_healthy(&healthy("one")) } else { with_config(&healthy("one")) };
            disk.put_dir(BACKUPS, 0o700);
            disk.put(format!("{BACKUPS}/{planted}"), &far);
            set_mark(&disk, "two").unwrap();
            assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
            disk.put(CONFIG, b"{\"torn");
            launch(&disk, &sim_paths()).unwrap();
            assert_eq!(text(&live(&disk), "mark").as_deref(), Some("two"));
            let expected = ["good-00000001", "good-00000002", "kept-00000003"];
            let names = backup_names(&disk);
            for (name, begin) in names.iter().filter(|name| **name != planted).zip(expected) {
                assert!(name.starts_with(begin), "{names:?}");
            }
            assert_eq!(names.len(), 4);
        }
    }
}

const HASH_OF_X: &str = "2d711642b726b04401627ca9fbac32f5";

#[test]
fn name_has_kind_order_and_hash() {
    let name = format!("kept-00000012-{}", hash_of(b"x"));
    assert_eq!(name, format!("kept-00000012-{HASH_OF_X}"));
    let id: BackupId = name.parse().unwrap();
    assert_eq!((id.kind(), id.sequence(), id.hash()), (BackupKind::Kept, 12, HASH_OF_X));
    assert_eq!(id.to_string(), name);
}

#[rstest]
#[case::empty(String::new())]
#[case::kind_alone("good".to_owned())]
#[case::short_number(format!("good-1-{HASH_OF_X}"))]
#[case::long_number(format!("good-99999999999999999999-{HASH_OF_X}"))]
#[case::sign(format!("good-+0000001-{HASH_OF_X}"))]
#[case::unknown_kind(format!("bad-00000001-{HASH_OF_X}"))]
#[case::upper_case(format!("good-00000001-{}", HASH_OF_X.to_uppercase()))]
#[case::long_hash(format!("good-00000001-{HASH_OF_X}0"))]
#[case::fourth_part(format!("good-00000001-{HASH_OF_X}-x"))]
fn other_name_is_no_id(#[case] name: String) {
    assert_eq!(name.parse::<BackupId>(), Err(InvalidBackupId));
}
