//! Completion in real shells: the words that the script offers for a line that is being typed.

#![cfg(unix)]

use std::process::Command;

use integration_tests::testkit::{Home, program, run};
use rstest::rstest;

/// Runs a script in a shell that finds the program on PATH; `None` if the shell is not installed.
fn run_in(shell: &str, options: &[&str], home: &Home, script: &str, words: &[&str]) -> Option<Vec<String>> {
    let said = run(Command::new(program()).args(["completions", shell])).ends_with(0).stdout;
    let file = home.path("completions");
    std::fs::write(&file, said).unwrap();
    if Command::new(shell).arg("--version").output().is_err() {
        eprintln!("skipped: {shell} is not installed");
        return None;
    }
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program().parent().unwrap().display());
    let mut command = Command::new(shell);
    command.args(options).args(["-c", script, shell]).arg(&file).args(words);
    command.env("HOME", home.path("")).env("PATH", path).env_remove("MYOWNMESH_HOME");
    let ran = run(&mut command).ends_with(0);
    Some(ran.stdout.lines().map(|line| line.split(['\t', ':']).next().unwrap().to_owned()).collect())
}

const BASH: &str = r#"
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
registered=$(complete -p myownllm-mesh); function=${registered##*-F }; function=${function%% *}
"$function" myownllm-mesh "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Replaces the zsh functions that show values and register a completer.
const ZSH: &str = r#"
compdef() { completer=$1 }
_describe() { print -l -- "${(@P)3}" }
source "$1"; shift
words=("$@"); CURRENT=$#
$completer
"#;

/// fish passes the name of the shell as the first argument; other shells use it as `$0`.
const FISH: &str = "source $argv[2]; set --erase argv[1..2]; complete --do-complete \"$argv\"";

fn completed(shell: &str, home: &Home, words: &[&str]) -> Option<Vec<String>> {
    match shell {
        "bash" => run_in(shell, &["--norc"], home, BASH, words),
        "zsh" => run_in(shell, &["-f"], home, ZSH, words),
        _ => run_in(shell, &["--no-config"], home, FISH, words),
    }
}

#[rstest]
fn a_shell_completes_what_is_typed(
    #[values("bash", "zsh", "fish")] shell: &str,
    #[values(
        ("mig", "migrate"),
        ("config ", "restore"),
        ("migrate --keep-i", "--keep-identity"),
        ("migrate --keep ", "daemon-home"),
        // Names from this home.
        ("network use h", "home-mesh"),
        ("config restore ", "1"),
        ("config get auto_cleanup.", "auto_cleanup.models"),
        ("config set api.p", "api.port=")
    )]
    (typed, wanted): (&str, &str),
) {
    let home = Home::settled();
    let words: Vec<&str> = std::iter::once("myownllm-mesh").chain(typed.split(' ')).collect();
    let Some(said) = completed(shell, &home, &words) else { return };
    assert!(said.iter().any(|value| value == wanted), "{shell}: {words:?}: {said:?}");
    assert!(
        said.iter().all(|value| value.starts_with(words.last().unwrap())),
        "{shell}: {words:?}: {said:?}"
    );
}

#[rstest]
fn the_named_home_is_asked(#[values("bash", "zsh", "fish")] shell: &str) {
    let (mine, other) = (Home::settled(), Home::settled());
    other.run(&["network", "add", "garden-mesh"]).ends_with(0);
    let home = other.path("");
    let words = ["myownllm-mesh", "--home", home.to_str().unwrap(), "network", "use", "gar"];
    if let Some(said) = completed(shell, &mine, &words) {
        assert_eq!(said, ["garden-mesh"], "{shell}");
    }
}
