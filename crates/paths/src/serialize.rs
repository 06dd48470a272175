use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{CheckedLayout, Layout, PathEntry, Socket};

impl Serialize for CheckedLayout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Layout::serialize(self, serializer)
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries().into_iter().map(|entry| (entry.name, entry)))
    }
}

impl Serialize for PathEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("path", self.path)?;
        map.serialize_entry("rule", &self.rule)?;
        map.serialize_entry("why", self.rule.describe())?;
        map.end()
    }
}

impl Serialize for Socket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
