use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lenient;
use myownllm_json_document::ValueRef;

/// The connections between the peers of a network. Both configs spell a topology alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Topology {
    /// Each peer connects to this number of neighbours; without it the daemon chooses.
    Ring { n_preferred: Option<u64> },
    /// Every peer connects to the hub with this Device ID.
    Star { hub: String },
    /// Every peer connects to every other peer.
    FullMesh,
    /// A topology of a newer daemon, by its name.
    Other { kind: String },
}

/// The connections between the peers of a network. Kinds of newer daemons are kept.
#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema),
    schemars(rename = "topology", extend("required" = ["kind"]),
        transform = crate::schema_transforms::without_required_defaults))]
#[serde(default)]
pub(crate) struct Members {
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["ring", "star", "full_mesh", "hubs"])))]
    kind: String,
    /// The number of neighbours in a ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    n_preferred: Option<u64>,
    /// The Device ID of the hub of a star.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String", length(min = 1)))]
    hub: Option<String>,
    /// The Device IDs of the hubs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    hubs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spoke_redundancy: Option<u64>,
}

impl Topology {
    /// Reads a topology; returns `None` for a value that is none.
    pub fn view(value: ValueRef<'_>) -> Option<Self> {
        lenient::read::<Members>(value).into_topology()
    }
}

impl Members {
    fn into_topology(self) -> Option<Topology> {
        Some(match self.kind.as_str() {
            "" => return None,
            "ring" => Topology::Ring { n_preferred: self.n_preferred.filter(|n| *n >= 1) },
            "star" => Topology::Star { hub: self.hub.filter(|hub| !hub.is_empty())? },
            "full_mesh" => Topology::FullMesh,
            _ => Topology::Other { kind: self.kind },
        })
    }
}

impl Serialize for Topology {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = match self {
            Topology::Ring { n_preferred } => {
                Members { kind: "ring".to_owned(), n_preferred: *n_preferred, ..Members::default() }
            }
            Topology::Star { hub } => {
                Members { kind: "star".to_owned(), hub: Some(hub.clone()), ..Members::default() }
            }
            Topology::FullMesh => Members { kind: "full_mesh".to_owned(), ..Members::default() },
            Topology::Other { kind } => Members { kind: kind.clone(), ..Members::default() },
        };
        members.serialize(serializer)
    }
}

pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Topology>, D::Error> {
    Ok(Option::<Members>::deserialize(deserializer)?.and_then(Members::into_topology))
}
