//! Tells the program the target triple that it is built for: a bundled daemon carries it in its name.
fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=MYOWNLLM_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
