//! Each way that the bench measures moves everything, and the state can be put back for the next
//! measurement. No other test runs a bench.
#![cfg(target_os = "linux")]

use bench::movers::{Kind, State};
use rstest::rstest;

#[rstest]
fn every_way_moves_everything_and_the_state_comes_back(
    #[values(Kind::Whole, Kind::Foreign)] kind: Kind,
    #[values(State::ours, State::straightforward, State::bare)] way: fn(&State),
) {
    let dir = tempfile::tempdir().expect("a directory");
    let state = State::new(kind, 3, dir.path(), dir.path());
    for _ in 0..2 {
        way(&state);
        let there =
            |n: i32| std::fs::read(state.daemon.join(format!("mesh/rosters/network-{n}.json"))).is_ok();
        assert!((0..3).all(there), "{state:?}");
        state.put_back(3);
        assert!(std::fs::read(state.app.join("mesh/states/network-2.json")).is_ok(), "{state:?}");
    }
}
