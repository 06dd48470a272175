//! A home on FUSE over ext4, and a power cut right after a move that reported success: no file is
//! lost or torn.
//!
//! The ext4 file system lies in an image file. A copy of that image holds what the disk would hold
//! after a power cut: data that was not synced is only in the page cache.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::testkit::{APP, Home, MESH, program, run, set_mode};
use rstest::rstest;

/// A FUSE file system that shows a directory at another path.
#[derive(Clone, Copy, Debug)]
enum Fuse {
    Bindfs,
    Gocryptfs,
    Overlay,
}

impl Fuse {
    fn program(self) -> &'static str {
        match self {
            Self::Bindfs => "bindfs",
            Self::Gocryptfs => "gocryptfs",
            Self::Overlay => "fuse-overlayfs",
        }
    }

    /// Prepares the directory that holds the data.
    fn init(self, lower: &Path) {
        std::fs::create_dir_all(lower).unwrap();
        match self {
            Self::Bindfs => {}
            Self::Gocryptfs => {
                done(Command::new("gocryptfs").args(["-q", "-init", "-extpass", "echo x"]).arg(lower))
            }
            Self::Overlay => ["upper", "work", "base"]
                .iter()
                .for_each(|name| std::fs::create_dir(lower.join(name)).unwrap()),
        }
    }

    fn mount(self, lower: &Path, at: &Path) -> Mounted {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new(self.program());
        match self {
            Self::Bindfs => command.arg(lower).arg(at),
            Self::Gocryptfs => command.args(["-q", "-nosyslog", "-extpass", "echo x"]).arg(lower).arg(at),
            Self::Overlay => {
                let dir = |name: &str| lower.join(name).display().to_string();
                let options =
                    format!("lowerdir={},upperdir={},workdir={}", dir("base"), dir("upper"), dir("work"));
                command.args(["-o", &options]).arg(at)
            }
        };
        // The FUSE server keeps the streams that it gets, and `run` would wait until they are
        // closed.
        let streams = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(streams.status().unwrap().success(), "{command:?}");
        Mounted(at.to_owned())
    }
}

/// Unmounts when it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let started = Instant::now();
        while !Command::new("umount").arg(&self.0).status().unwrap().success() {
            assert!(started.elapsed() < Duration::from_secs(10), "{} stays mounted", self.0.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn done(command: &mut Command) {
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.all());
}

/// Mounts an image so that only a sync commits the journal, and without the ext4 heuristics that
/// help programs which forget to sync.
fn mount_image(image: &Path, at: &Path) -> Mounted {
    std::fs::create_dir_all(at).unwrap();
    done(
        Command::new("mount")
            .args(["-t", "ext4", "-o", "loop,commit=300,noauto_da_alloc"])
            .arg(image)
            .arg(at),
    );
    Mounted(at.to_owned())
}

/// Returns the reason why the test cannot run here.
fn skip(fuse: Fuse) -> Option<String> {
    let has = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).metadata().is_ok())
    };
    if Path::new("/dev/fuse").metadata().is_err() {
        return Some("there is no /dev/fuse".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount an image".to_owned());
    }
    let missing = ["mkfs.ext4", fuse.program()].into_iter().find(|program| !has(program));
    missing.map(|program| format!("{program} is not installed"))
}

/// Makes the directory of a test; `None`, with the reason on stderr, where the test cannot run.
fn rig(fuse: Fuse) -> Option<tempfile::TempDir> {
    if let Some(why) = skip(fuse) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(tempfile::Builder::new().prefix("fuse-").tempdir_in("/tmp").unwrap())
}

/// The content of every file below a directory.
fn contents(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    found
}

#[rstest]
#[case::a_home_on_bindfs(Fuse::Bindfs, false)]
#[case::a_home_on_gocryptfs(Fuse::Gocryptfs, false)]
#[case::a_home_on_fuse_overlayfs(Fuse::Overlay, false)]
#[case::a_daemon_home_on_bindfs(Fuse::Bindfs, true)]
#[case::a_daemon_home_on_gocryptfs(Fuse::Gocryptfs, true)]
#[case::a_daemon_home_on_fuse_overlayfs(Fuse::Overlay, true)]
fn a_move_that_is_reported_survives_a_power_cut(#[case] fuse: Fuse, #[case] daemon_home_alone: bool) {
    let Some(rig) = rig(fuse) else { return };
    let path = |name: &str| rig.path().join(name);
    std::fs::File::create(path("disk")).unwrap().set_len(48 << 20).unwrap();
    done(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(path("disk")));
    let before: Vec<Vec<u8>>;
    {
        let _disk = mount_image(&path("disk"), &path("ext4"));
        let lower = path("ext4").join("lower");
        fuse.init(&lower);
        let template = Home::legacy();
        // If only the daemon home is on FUSE, the rest of the home is on ext4.
        let home = if daemon_home_alone { path("ext4").join("user") } else { path("at").join("user") };
        let at = if daemon_home_alone { home.join(MESH) } else { path("at") };
        if daemon_home_alone {
            std::fs::create_dir_all(home.join(APP)).unwrap();
        }
        let _fuse = fuse.mount(&lower, &at);
        std::fs::create_dir_all(&home).unwrap();
        done(Command::new("cp").arg("-a").arg(template.path(APP)).arg(&home));
        before = contents(&home.join(APP));
        rustix::fs::sync();
        let mut migrate = Command::new(program());
        migrate.arg("--home").arg(&home).arg("migrate").current_dir("/").env("HOME", "/nonexistent");
        done(&mut migrate);
        // The power cut.
        std::fs::copy(path("disk"), path("cut")).unwrap();
    }
    let _disk = mount_image(&path("cut"), &path("after"));
    let lower = path("after").join("lower");
    let _fuse = fuse.mount(&lower, &path("at"));
    let mut after = contents(&path("at"));
    if daemon_home_alone {
        after.extend(contents(&path("after").join("user")));
    }
    let key =
        path("at").join(if daemon_home_alone { ".secrets".into() } else { format!("user/{MESH}/.secrets") });
    assert!(key.join("identity.json").metadata().is_ok(), "the identity file is not at its new place");
    for bytes in before {
        assert!(after.contains(&bytes), "lost: {}", String::from_utf8_lossy(&bytes));
    }
}

/// FUSE answers a sync before its server has done anything: the outcome says so once.
#[test]
fn a_sync_that_fuse_does_not_confirm_is_reported_once() {
    const CODE: &str = "durable-fs.sync-unconfirmed";
    let Some(rig) = rig(Fuse::Bindfs) else { return };
    let path = |name: &str| rig.path().join(name);
    std::fs::create_dir(path("lower")).unwrap();
    let _fuse = Fuse::Bindfs.mount(&path("lower"), &path("at"));
    let home = path("at/user");
    std::fs::create_dir(&home).unwrap();
    let template = Home::after_the_bug();
    done(Command::new("cp").arg("-a").arg(template.path(APP)).arg(&home));
    let program = |args: &[&str]| {
        let mut command = Command::new(program());
        command.arg("--home").arg(&home).args(args).current_dir("/").env("HOME", "/nonexistent");
        run(&mut command)
    };
    let reported =
        |args: &[&str]| program(args).ends_with(0).codes().iter().filter(|code| *code == CODE).count();
    assert_eq!(reported(&["launch", "--no-daemon", "--json"]), 1, "a move and a repair");
    assert_eq!(reported(&["launch", "--no-daemon", "--json"]), 0, "nothing is changed");
    assert_eq!(reported(&["network", "add", "other-net", "--json"]), 1, "a save");
    assert_eq!(reported(&["network", "list", "--json"]), 0, "a look");
    assert_eq!(reported(&["migrate", "--undo", "--json"]), 1, "a move back");
    let moved = program(&["migrate", "--json"]).ends_with(0);
    assert_eq!(moved.codes(), [CODE]);
    let homes = [home.join(APP), home.join(MESH)].map(|home| home.display().to_string());
    assert_eq!(moved.json()["data"]["sync_unconfirmed"], serde_json::json!(homes));
    let check = program(&["doctor", "--json"]).ends_with(0).check("homes.synced");
    assert_eq!(
        (check["result"].as_str(), check["code"].as_str()),
        (Some("warning"), Some(CODE)),
        "{check:#}"
    );
    done(Command::new("sh").arg("-c").arg(check["hint"].as_str().unwrap()));

    let elsewhere = Home::after_the_bug();
    assert!(!elsewhere.run(&["migrate", "--json"]).ends_with(0).codes().contains(&CODE.to_owned()));
}

/// Such a mount refuses the rename that cannot replace, and shows one link for a file with two
/// names, which a killed run left.
#[test]
fn hard_links_that_a_mount_hides_are_one_file() {
    let Some(rig) = rig(Fuse::Bindfs) else { return };
    let path = |name: &str| rig.path().join(name);
    std::fs::create_dir(path("lower")).unwrap();
    let template = Home::legacy();
    done(Command::new("cp").arg("-a").arg(template.path(APP)).arg(path("lower")));
    let before = contents(&path("lower").join(APP));
    for file in [".secrets/identity.json", "mesh/rosters/home-mesh.json"] {
        let (from, to) = (path("lower").join(APP).join(file), path("lower").join(MESH).join(file));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::hard_link(from, to).unwrap();
    }
    std::fs::create_dir(path("at")).unwrap();
    let mut mount = Command::new("bindfs");
    mount.arg("--hide-hard-links").args([path("lower"), path("at")]);
    assert!(mount.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let _mounted = Mounted(path("at"));
    let mut migrate = Command::new(program());
    migrate.arg("--home").arg(path("at")).arg("migrate").current_dir("/");
    run(migrate.env("HOME", "/nonexistent")).ends_with(0);
    let app = path("lower").join(APP);
    assert!(!app.join(".secrets").exists() && !app.join("mesh").exists());
    let mut after = contents(&app);
    assert!(before.iter().all(|bytes| after.contains(bytes)), "something is lost");
    after.retain(|bytes| before.contains(bytes));
    assert_eq!(after.len(), before.len(), "a file is there twice");
}

/// A mount that gives every file one mode, as FAT does: `chmod` would change nothing.
#[rstest]
#[case::of_the_mount(&["--perms=0777", "--chmod-ignore"], "findmnt --target")]
#[case::of_the_directory(&[], "chmod -R go-w")]
fn a_mode_is_mended_where_it_comes_from(#[case] options: &[&str], #[case] command: &str) {
    let Some(rig) = rig(Fuse::Bindfs) else { return };
    let path = |name: &str| rig.path().join(name);
    std::fs::create_dir(path("lower")).unwrap();
    let template = Home::legacy();
    set_mode(&template.path(APP), 0o777);
    done(Command::new("cp").arg("-a").arg(template.path(APP)).arg(path("lower")));
    std::fs::create_dir(path("at")).unwrap();
    let mut mount = Command::new("bindfs");
    mount.args(options).args([path("lower"), path("at")]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(mount.status().unwrap().success());
    let _mounted = Mounted(path("at"));
    let mut doctor = Command::new(program());
    doctor.arg("--home").arg(path("at")).args(["doctor", "--json"]).current_dir("/");
    let said = run(doctor.env("HOME", "/nonexistent")).ends_with(4).json();
    let all = said["data"]["checks"].as_array().unwrap().iter();
    let hints: Vec<&str> = all.filter_map(|check| check["hint"].as_str()).collect();
    assert!(hints.iter().any(|hint| hint.starts_with(command)), "{hints:?}");
    assert_eq!(hints.iter().any(|hint| hint.contains("chmod")), command.starts_with("chmod"), "{hints:?}");
}
