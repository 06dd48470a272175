//! Every test that the table of faults names exists.

use std::path::Path;

#[test]
fn every_test_that_the_table_of_faults_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let named: Vec<(&str, &str)> = page.split('`').filter_map(|word| word.split_once(".rs::")).collect();
    assert!(named.len() > 100, "the table holds only {} names", named.len());
    for (file, test) in named {
        let path = root.join(format!("{file}.rs"));
        let source =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("docs/faults.md names {file}.rs: {e}"));
        let lines: Vec<&str> = source.lines().collect();
        // Tests inside `proptest!` are indented.
        let function = format!("fn {test}(");
        let at = lines.iter().position(|line| line.trim_start().starts_with(&function));
        let at = at.unwrap_or_else(|| {
            panic!("docs/faults.md names {test}, which is no function of {file}.rs (a row names no case)")
        });
        // Attributes stand right above the function; an empty line ends them.
        let mut above = lines[..at].iter().rev().map(|line| line.trim()).take_while(|line| !line.is_empty());
        assert!(above.any(|line| ["#[test]", "#[rstest]"].contains(&line)), "{test} in {file}.rs is no test");
    }
    // A sweep is named by the beginning of its labels.
    let sweeps = std::fs::read_to_string(root.join("tests/rig/crash.rs")).unwrap();
    for label in ["kill", "kill-links", "term", "EINTR", "EIO", "EACCES", "lacking", "racer", "cut"] {
        assert!(page.contains(&format!("`{label}`")) && sweeps.contains(label), "{label}");
    }
}
