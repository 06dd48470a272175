//! Random homes: up to three faults of files and directories, chosen by a generator with a fixed
//! seed. Where `all_clear.rs` lists faults, this finds their combinations.
//!
//! `MYOWNLLM_RANDOM_HOMES=2000` tries as many homes instead of the few of every test run.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, OLD_KEY, fixture, fixture_of_038, set_mode,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::Value;

use crate::all_clear::agree;

/// The files that a fault befalls, where they are. The configs and the keys stand twice: they fail
/// more often.
const FILES: [&str; 13] = [
    CONFIG,
    CONFIG,
    DAEMON_CONFIG,
    DAEMON_CONFIG,
    OLD_KEY,
    OLD_KEY,
    NEW_KEY,
    NEW_KEY,
    ".myownllm/mesh/rosters/home-mesh.json",
    ".myownllm/mesh/states/home-mesh.json",
    ".myownllm/.myownmesh/mesh/rosters/home-mesh.json",
    ".myownllm/.myownmesh/mesh/rosters/office-mesh.json",
    ".myownllm/.myownmesh/mesh/states/home-mesh.json",
];

const DIRECTORIES: [&str; 9] = [
    ".myownllm/.secrets",
    ".myownllm/mesh",
    ".myownllm/mesh/rosters",
    ".myownllm/config-backups",
    MESH,
    ".myownllm/.myownmesh/.secrets",
    ".myownllm/.myownmesh/mesh",
    ".myownllm/.myownmesh/mesh/rosters",
    ".myownllm/.myownmesh/mesh/states",
];

type Act = fn(&Home, &Path);

const FILE_FAULTS: [(&str, Act); 24] = [
    ("is gone", |_, path| fs::remove_file(path).unwrap()),
    ("is empty", |_, path| write(path, b"")),
    ("is cut in its middle", |_, path| edit(path, |bytes| bytes.truncate(bytes.len() / 2))),
    ("has a foreign tail", |_, path| edit(path, |bytes| bytes.extend_from_slice(b"\n}"))),
    ("stands twice in itself", |_, path| edit(path, |bytes| bytes.extend_from_within(..))),
    ("has a byte order mark", |_, path| edit(path, |bytes| drop(bytes.splice(0..0, *b"\xef\xbb\xbf")))),
    ("has line ends of Windows", |_, path| write(path, &text(path).replace('\n', "\r\n").into_bytes())),
    ("is UTF-16", |_, path| {
        let units = text(path).encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        write(path, &[b"\xff\xfe", &units[..]].concat());
    }),
    ("is zeroes", |_, path| edit(path, |bytes| bytes.fill(0))),
    ("is {}", |_, path| write(path, b"{}")),
    ("is null", |_, path| write(path, b"null")),
    ("is the daemon's config", |_, path| write(path, &fixture_of_038(CONFIG))),
    ("is the app's config", |_, path| write(path, &fixture("app-config-before.json"))),
    ("has a copy", |_, path| {
        fs::copy(path, beside(path, ".bak")).unwrap();
    }),
    ("is renamed", |_, path| fs::rename(path, beside(path, " (1)")).unwrap()),
    ("has the name of a temporary file", |_, path| {
        fs::rename(path, path.with_file_name(".durable-fs.77-3.part")).unwrap();
    }),
    ("cannot be read", |_, path| set_mode(path, 0)),
    ("can be read by everybody", |_, path| set_mode(path, 0o644)),
    ("can be written by everybody", |_, path| set_mode(path, 0o666)),
    ("is a directory", |_, path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("is a symlink", elsewhere),
    ("is a broken symlink", |_, path| {
        fs::remove_file(path).unwrap();
        symlink("/nonexistent/file", path).unwrap();
    }),
    ("is a pipe", |_, path| {
        fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }),
    ("has a second name", |home, path| {
        let other = home.path("second-name");
        if !other.exists() {
            fs::hard_link(path, other).unwrap();
        }
    }),
];

const DIRECTORY_FAULTS: [(&str, Act); 8] = [
    ("is gone", |_, path| fs::remove_dir_all(path).unwrap()),
    ("is renamed", |_, path| fs::rename(path, beside(path, ".old")).unwrap()),
    ("is a symlink", elsewhere),
    ("has a copy", |_, path| {
        assert!(Command::new("cp").arg("-a").args([path, &beside(path, ".bak")]).status().unwrap().success());
    }),
    ("can be written by everybody", |_, path| set_mode(path, 0o777)),
    ("cannot be entered", |_, path| set_mode(path, 0o600)),
    ("is a file", |_, path| {
        fs::rename(path, beside(path, ".was")).unwrap();
        write(path, b"x");
    }),
    ("holds a foreign file", |_, path| write(&path.join("notes.txt"), b"hello")),
];

const HOME_FAULTS: [(&str, Act); 4] = [
    ("has its old state back", |home, _| {
        for path in [OLD_KEY, ".myownllm/mesh/rosters/home-mesh.json"] {
            if !home.has(path) {
                home.put(path, &fixture(&format!("daemon-0.1.2/home/{path}")), 0o600);
            }
        }
    }),
    ("has a stale socket at the old location", |_, path| stale_socket(&path.join("daemon.sock"))),
    ("has a stale socket in the daemon home", |_, path| stale_socket(&path.join(".myownmesh/daemon.sock"))),
    ("is beside a daemon home of its own", |home, _| {
        home.put(".myownmesh/.secrets/identity.json", &fixture_of_038(OLD_KEY), 0o600);
    }),
];

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    write(path, &bytes);
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

fn beside(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// Moves a file or directory to another place of the home, with a symlink in its place.
fn elsewhere(home: &Home, path: &Path) {
    let target = home.path("elsewhere").join(path.file_name().unwrap());
    fs::create_dir_all(home.path("elsewhere")).unwrap();
    if !target.exists() {
        fs::rename(path, &target).unwrap();
        symlink(target, path).unwrap();
    }
}

fn stale_socket(path: &Path) {
    if path.parent().unwrap().is_dir() && fs::symlink_metadata(path).is_err() {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    }
}

/// A fault at a place. Does nothing where an earlier fault took the place away.
#[derive(Clone, Copy)]
struct Fault {
    place: &'static str,
    what: &'static str,
    is_of_a_file: bool,
    act: Act,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.what)
    }
}

impl Fault {
    fn befall(self, home: &Home) {
        let path = home.path(self.place);
        // An unreadable or special file suffers no second fault.
        let is_there = fs::symlink_metadata(&path).is_ok_and(|meta| match self.is_of_a_file {
            true => meta.is_file() && fs::File::open(&path).is_ok(),
            false => meta.is_dir(),
        });
        if is_there {
            (self.act)(home, &path);
        }
    }
}

fn faults() -> Vec<Fault> {
    let of = |places: &[&'static str], faults: &[(&'static str, Act)], is_of_a_file| {
        let at = |place| faults.iter().map(move |&(what, act)| Fault { place, what, is_of_a_file, act });
        places.iter().flat_map(|place| at(*place).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let files = of(&FILES, &FILE_FAULTS, true);
    [files, of(&DIRECTORIES, &DIRECTORY_FAULTS, false), of(&[APP], &HOME_FAULTS, false)].concat()
}

/// A home before the faults.
#[derive(Clone, Copy, Debug)]
enum Base {
    Overwritten,
    Legacy,
    Settled,
}

impl Base {
    fn home(self) -> Home {
        match self {
            Self::Overwritten => Home::after_the_bug(),
            Self::Legacy => Home::legacy(),
            Self::Settled => Home::settled(),
        }
    }
}

/// The secret of each complete identity file in the home, with a path of it.
fn secrets(home: &Home) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, (_, bytes)) in home.snapshot() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let key: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_default();
        if let Some(secret) = key["secret_key"].as_str().filter(|secret| secret.len() == 52) {
            found.insert(secret.to_owned(), path.display().to_string());
        }
    }
    found
}

/// The content of each file that nobody may lose: not a log, not the config that a daemon rewrites,
/// and not an identity file, which may be written anew around its secret. With a path of it.
fn contents(home: &Home) -> BTreeMap<Vec<u8>, String> {
    let is_kept = |path: &str, bytes: &[u8]| {
        !bytes.is_empty()
            && !path.contains(".log")
            && !path.contains("/trace")
            && !path.ends_with(DAEMON_CONFIG)
            && !bytes.windows(10).any(|part| part == b"secret_key")
    };
    let all = home.snapshot().into_iter();
    let all = all.map(|(path, (_, bytes))| (bytes, path.display().to_string()));
    all.filter(|(bytes, path)| is_kept(path, bytes)).collect()
}

fn homes_to_try() -> u32 {
    std::env::var("MYOWNLLM_RANDOM_HOMES").ok().and_then(|number| number.parse().ok()).unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: homes_to_try(), failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_130), max_shrink_iters: 60,
        ..ProptestConfig::default() })]

    /// `doctor` agrees with the launch, no content and no key is lost, no second key is made, and
    /// after a launch that succeeded the next one changes nothing.
    #[test]
    fn random_home_loses_nothing_and_has_no_false_all_clear(
        base in select(&[Base::Overwritten, Base::Legacy, Base::Settled][..]),
        faults in prop::collection::vec(select(faults()), 1..=3),
    ) {
        let home = base.home();
        faults.iter().for_each(|fault| fault.befall(&home));
        let (keys, before) = (secrets(&home), contents(&home));
        agree(&home, |_| {});
        let (new_keys, after) = (secrets(&home), home.contents());
        let lost = before.iter().find(|(bytes, _)| !after.contains(bytes));
        prop_assert!(lost.is_none(), "lost: {:?}", lost.map(|(_, path)| path));
        let lost = keys.iter().find(|(secret, _)| !new_keys.contains_key(*secret));
        prop_assert!(lost.is_none(), "lost the key {:?}", lost.map(|(_, path)| path));
        let made = new_keys.iter().find(|(secret, _)| !keys.contains_key(*secret));
        prop_assert!(keys.is_empty() || made.is_none(), "{:?} beside {:?}", made.map(|(_, path)| path), keys.values());
        if home.launch_once().code == Some(0) {
            let settled = contents(&home);
            prop_assert_eq!(home.launch_once().code, Some(0));
            prop_assert!(contents(&home) == settled, "a launch with nothing to do writes");
        }
    }
}
