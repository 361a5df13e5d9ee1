//! An entry of any section of the file, with the operations of a merge.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{Ids, Named, write_time};
use crate::lookups::{
    entries::{Entries, Time},
    file::{InterfaceFile, SubnetFile, VpcFile},
};

/// An entry. A section uses some of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vpc_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cidrs: Vec<String>,
    /// Account and region that it was read from; `None` if a person wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_time")]
    pub(super) from: Option<i64>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_time")]
    pub(super) until: Option<i64>,
}

impl Entry {
    pub(super) fn begins_by(&self, time: i64) -> bool {
        self.from.is_none_or(|from| from <= time)
    }

    pub(super) fn contains(&self, time: i64) -> bool {
        self.begins_by(time) && self.until.is_none_or(|until| time < until)
    }

    /// Returns whether it only exists because others refer to its id.
    pub(super) fn is_reference(&self) -> bool {
        Self { vpc_id: None, ..self.clone() } == Self::default()
    }

    /// Returns whether it has the name and the blocks that were read.
    pub(super) fn is_same(&self, found: &Named) -> bool {
        let name = self.description.as_ref().or(self.name.as_ref());
        let has_name = name.map_or("", String::as_str) == found.name || found.is_provisional;
        has_name && self.cidrs == found.cidrs
    }
}

/// Returns the entries of a section of the file.
pub(super) fn from_file<T: Into<Entry>>(ids: HashMap<String, Entries<T>>) -> Ids {
    let entries = |entries: Entries<T>| match entries {
        Entries::One(entry) => vec![entry.into()],
        Entries::Several(entries) => entries.into_iter().map(Into::into).collect(),
    };
    ids.into_iter().map(|(id, of_id)| (id, entries(of_id))).collect::<BTreeMap<_, _>>()
}

/// The file was checked before, so that every time is one.
fn ms(time: Option<&Time>) -> Option<i64> {
    time.and_then(Time::ms)
}

impl From<InterfaceFile> for Entry {
    fn from(file: InterfaceFile) -> Self {
        let InterfaceFile { description, subnet_id, vpc_id, source, from, until } = file;
        let (from, until) = (ms(from.as_ref()), ms(until.as_ref()));
        Self { description, subnet_id, vpc_id, source, from, until, ..Self::default() }
    }
}

impl From<SubnetFile> for Entry {
    fn from(file: SubnetFile) -> Self {
        let SubnetFile { name, vpc_id, cidrs, source, from, until } = file;
        let (from, until) = (ms(from.as_ref()), ms(until.as_ref()));
        Self { name, vpc_id, cidrs, source, from, until, ..Self::default() }
    }
}

impl From<VpcFile> for Entry {
    fn from(file: VpcFile) -> Self {
        let VpcFile { name, source, from, until } = file;
        Self { name, source, from: ms(from.as_ref()), until: ms(until.as_ref()), ..Self::default() }
    }
}
