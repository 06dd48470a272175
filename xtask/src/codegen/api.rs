//! The public API of each library, one item a line, from rustdoc's JSON.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use public_api::Builder;

use super::Written;
use crate::Fallible;
use crate::workspace::{cargo, libraries, root, step};

/// The minor version of the Rust whose rustdoc writes the JSON that the `public-api` in
/// `Cargo.toml` reads. The format is unstable: each of its versions needs another `public-api`.
const RUST: &str = "1.95";
/// Names the rustdoc that this program stands in for.
const STANDS_FOR: &str = "XTASK_STANDS_FOR_RUSTDOC";

/// Returns the reason why no listing can be made here.
pub(super) fn unavailable() -> Option<String> {
    let said = Command::new(rustdoc()).arg("--version").output().ok();
    let version =
        said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
    let reads = version.starts_with(&format!("rustdoc {RUST}."));
    (!reads).then(|| format!("the public APIs are listed with rustdoc {RUST}, and this is {version:?}"))
}

/// Returns the listing of each library.
///
/// A stable rustdoc refuses to write JSON. This program goes between cargo and rustdoc and lifts
/// that for rustdoc alone: in cargo's own environment the variable would compile every dependency
/// once more.
pub(super) fn listings() -> Fallible<Vec<Written>> {
    if let Some(why) = unavailable() {
        return Err(why);
    }
    let crates = libraries()?;
    let mut doc = cargo();
    doc.args(["doc", "--no-deps", "--all-features", "--quiet"]);
    doc.args(crates.iter().map(|name| format!("--package=myownllm-{name}")));
    doc.env("RUSTDOCFLAGS", "-Zunstable-options --output-format=json --cap-lints=allow");
    doc.env(STANDS_FOR, rustdoc());
    doc.env("RUSTDOC", env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?);
    if !step(&mut doc)? {
        return Err("rustdoc failed".to_owned());
    }
    let listing = |name: &String| {
        let json = root().join(format!("target/doc/myownllm_{}.json", name.replace('-', "_")));
        let api = Builder::from_rustdoc_json(&json).omit_blanket_impls(true).omit_auto_trait_impls(true);
        let api = api.build().map_err(|e| format!("cannot read {}: {e}", json.display()))?;
        let path = format!("crates/{name}/public-api.txt");
        Ok(Written { path, text: without_implied(&api.to_string()) })
    };
    crates.iter().map(listing).collect()
}

/// Leaves out the methods and types of a trait's implementation, which the trait implies, and the
/// marker that every derived `PartialEq` brings.
fn without_implied(listing: &str) -> String {
    let mut kept = String::new();
    let mut implied = None;
    for line in listing.lines() {
        if let Some(block) = line.strip_prefix("impl") {
            let of_a_trait = block.split_once(" for ").map(|(_, of)| of);
            let name = of_a_trait.map(|of| of.split(['<', ' ']).next().unwrap_or(of));
            implied = name.map(|name| format!(" {name}"));
            if block.contains("StructuralPartialEq") {
                continue;
            }
        } else if implied
            .as_ref()
            .is_some_and(|of| line.contains(&format!("{of}::")) || line.contains(&format!("{of}<")))
        {
            continue;
        } else {
            implied = None;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

fn rustdoc() -> OsString {
    env::var_os("RUSTDOC").unwrap_or_else(|| OsString::from("rustdoc"))
}

/// Runs rustdoc with its unstable options, if cargo started this program in its place.
pub(crate) fn run_rustdoc() -> Option<ExitCode> {
    let rustdoc = env::var_os(STANDS_FOR)?;
    let ended = Command::new(rustdoc).args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status();
    Some(if ended.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_keeps_every_item_that_no_trait_implies() {
        let listing = "pub struct a::S<T>\nimpl<T> a::S<T>\npub fn a::S<T>::own(&self)\n\
            impl core::clone::Clone for a::S<u8>\npub fn a::S<u8>::clone(&self) -> a::S<u8>\n\
            impl core::marker::StructuralPartialEq for a::S<u8>\n\
            impl a::Tr for a::U\npub type a::U::Err = a::E\npub fn a::U::go(&self)\n\
            pub fn a::free() -> a::U\npub struct a::V\npub a::V::field: u8\n";
        let kept = "pub struct a::S<T>\nimpl<T> a::S<T>\npub fn a::S<T>::own(&self)\n\
            impl core::clone::Clone for a::S<u8>\nimpl a::Tr for a::U\npub fn a::free() -> a::U\n\
            pub struct a::V\npub a::V::field: u8\n";
        assert_eq!(without_implied(listing), kept);
    }
}
