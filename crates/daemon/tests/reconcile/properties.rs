//! Properties from any state of a daemon, with any refusal.

use std::collections::BTreeSet;

use crate::{Model, asked, labelled, pushed, saved, text};
use myownllm_daemon::reconcile::{SavedNetwork, differing_keys, reconcile};
use myownllm_daemon::{ControlError, DaemonControl, Endpoint, Role};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const CONFIG_IDS: &[&str] = &["n1", "n2", "n3", "bbb"];
const NETWORK_IDS: &[&str] = &["aaa", "bbb", "ccc", "ddd", "n1x"];
const TYPED: &[&str] = &["aaa", "BBB", " ccc ", "ddd", "eee"];

fn any_network(ids: &'static [&'static str]) -> impl Strategy<Value = Value> {
    (
        prop::sample::select(CONFIG_IDS),
        prop::sample::select(ids),
        any::<[bool; 3]>(),
        prop::option::of(prop::sample::select(&["full_mesh", "ring"][..])),
    )
        .prop_map(|(id, network_id, [label, closed, turn], topology)| {
            let mut network = if label { labelled(id, network_id) } else { pushed(id, network_id) };
            if closed {
                network["kind"] = "closed".into();
            }
            if let Some(topology) = topology {
                network["topology"] = json!({"kind": topology});
            }
            if !turn {
                network["turn_servers"] = json!([]);
            }
            network
        })
}

fn any_model() -> impl Strategy<Value = Model> {
    let networks = prop::collection::vec((any_network(NETWORK_IDS), prop::bool::weighted(0.85)), 0..5);
    (networks, any::<[bool; 3]>()).prop_map(|(networks, [knows_update, update_lies, rewords])| {
        let mut model = Model { knows_update, update_lies, rewords, ..Model::default() };
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for (network, joined) in networks {
            let keys = [format!("i {}", text(&network, "id")), format!("n {}", text(&network, "network_id"))];
            if keys.iter().all(|key| !taken.contains(key)) {
                taken.extend(keys);
                model.networks.push((model.kept(&network), joined));
            }
        }
        model
    })
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(&[Role::Own, Role::Shared][..])
}

fn any_saved() -> impl Strategy<Value = Vec<SavedNetwork>> {
    let pair = (prop::sample::select(CONFIG_IDS), prop::sample::select(NETWORK_IDS));
    prop::collection::vec(pair.prop_map(|(id, network_id)| saved(id, network_id)), 0..4)
}

/// A conversation that breaks at its `left`-th request, which the daemon executes or not.
struct Cut<'a> {
    daemon: &'a mut Model,
    left: usize,
    carried_out: bool,
}

impl DaemonControl for Cut<'_> {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let lost = || ControlError::Closed { endpoint: Endpoint::unix("/nowhere"), op: op.to_owned() };
        match self.left {
            0 => return Err(lost()),
            1 if !self.carried_out => {}
            _ => {
                let answer = self.daemon.request(op, fields);
                if self.left > 1 {
                    self.left -= 1;
                    return answer;
                }
            }
        }
        self.left = 0;
        Err(lost())
    }
}

fn same_id(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn reconcile_converges_from_every_state(
        before in any_model(),
        role in any_role(),
        active in prop::option::of(any_network(TYPED)),
        mut ours in any_saved(),
    ) {
        if let Some(active) = &active {
            ours.push(saved(text(active, "id"), text(active, "network_id")));
        }
        let mut daemon = before.clone();
        let (_, outcome) = reconcile(&mut daemon, role, active.clone(), ours.clone()).unwrap();
        prop_assert!(outcome.is_complete(), "{outcome:?}");
        let joined = daemon.joined();
        let is_active = |id: &str| {
            active.as_ref().is_some_and(|active| same_id(id, text(active, "network_id")))
        };
        if active.is_some() {
            prop_assert!(joined.iter().any(|id| is_active(id)), "{joined:?}");
        }
        match role {
            Role::Own => {
                prop_assert!(joined.iter().all(|id| is_active(id)), "{joined:?}");
                if let Some(active) = &active {
                    let entry =
                        daemon.networks.iter().find(|(n, joined)| {
                            *joined && is_active(text(n, "network_id"))
                        });
                    prop_assert_eq!(differing_keys(active, &entry.unwrap().0), Vec::<String>::new());
                }
            }
            Role::Shared => {
                for (network, _) in before.networks.iter().filter(|(_, joined)| *joined) {
                    let (id, network_id) = (text(network, "id"), text(network, "network_id"));
                    let is_ours = ours.iter().any(|s| same_id(&s.network_id, network_id)
                        && (s.id == id || format!("{}-{}", s.id, s.network_id) == id));
                    if !is_ours {
                        let is_there = daemon.networks.iter().any(|(n, joined)| *joined && n == network);
                        prop_assert!(is_there, "{network}");
                    }
                }
            }
        }
        let changes = asked(&daemon).len();
        let (second, _) = reconcile(&mut daemon, role, active, ours).unwrap();
        prop_assert!(second.is_empty(), "{second:?}");
        prop_assert_eq!(asked(&daemon).len(), changes);
    }

    #[test]
    fn no_network_is_lost_before_the_active_one_is_joined(
        before in any_model(),
        role in any_role(),
        active in any_network(TYPED),
        fails in prop::collection::vec(prop::option::of(prop::sample::select(&["join: no", "lost"][..])),
            0..2),
        removes in prop::collection::vec(prop::option::of(Just("no")), 0..4),
    ) {
        let ours = vec![saved(text(&active, "id"), text(&active, "network_id"))];
        let mut daemon = before.clone();
        daemon.add_says = fails.iter().map(|no| no.map(str::to_owned)).collect();
        daemon.remove_says = removes.iter().map(|no| no.map(str::to_owned)).collect();
        let (_, outcome) = reconcile(&mut daemon, role, Some(active.clone()), ours.clone()).unwrap();
        let joined = daemon.joined();
        let is_active = |id: &String| same_id(id, text(&active, "network_id"));
        if !joined.iter().any(is_active) {
            prop_assert!(outcome.failed_join().is_some());
            for id in before.joined() {
                prop_assert!(joined.contains(&id), "{id} was lost: {outcome:?}");
            }
        }
        // The next pass has no failure and converges.
        daemon.add_says.clear();
        daemon.remove_says.clear();
        reconcile(&mut daemon, role, Some(active.clone()), ours.clone()).unwrap();
        prop_assert!(daemon.joined().iter().any(is_active));
        let (last, _) = reconcile(&mut daemon, role, Some(active), ours).unwrap();
        prop_assert!(last.is_empty(), "{last:?}");
    }

    /// The app or the daemon is killed at any request: the next pass finds a partly executed plan.
    #[test]
    fn next_pass_converges_after_a_cut_off_at_any_request(
        before in any_model(),
        role in any_role(),
        active in prop::option::of(any_network(TYPED)),
        mut ours in any_saved(),
        left in 0_usize..9,
        carried_out in any::<bool>(),
    ) {
        if let Some(active) = &active {
            ours.push(saved(text(active, "id"), text(active, "network_id")));
        }
        let mut daemon = before.clone();
        let _ = reconcile(&mut Cut { daemon: &mut daemon, left, carried_out }, role, active.clone(),
            ours.clone());
        let (_, outcome) = reconcile(&mut daemon, role, active.clone(), ours.clone()).unwrap();
        prop_assert!(outcome.is_complete(), "{outcome:?}");
        let joined = daemon.joined();
        let is_active = |id: &str| {
            active.as_ref().is_some_and(|active| same_id(id, text(active, "network_id")))
        };
        prop_assert_eq!(active.is_some(), joined.iter().any(|id| is_active(id)));
        if role == Role::Own {
            prop_assert!(joined.iter().all(|id| is_active(id)), "{joined:?}");
        }
        for (network, _) in before.networks.iter().filter(|(_, joined)| *joined && role == Role::Shared) {
            let (id, network_id) = (text(network, "id"), text(network, "network_id"));
            let is_ours = ours.iter().any(|s| same_id(&s.network_id, network_id)
                && (s.id == id || format!("{}-{}", s.id, s.network_id) == id));
            prop_assert!(is_ours || joined.iter().any(|joined| joined == network_id), "{network}");
        }
        let changes = asked(&daemon).len();
        let (second, _) = reconcile(&mut daemon, role, active, ours).unwrap();
        prop_assert!(second.is_empty(), "{second:?}");
        prop_assert_eq!(asked(&daemon).len(), changes);
    }
}
