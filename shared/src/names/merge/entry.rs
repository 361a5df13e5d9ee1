//! An entry of any section of the file, with the operations of a merge.

use serde::Serialize;

use super::write_time;
use crate::names::{
    entries::Time,
    file::{InterfaceFile, SubnetFile, Text, VpcFile},
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
    /// Whether its name may be wrong, because the resource that gives the name could not be read.
    #[serde(rename = "provisional", skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_provisional: bool,
    /// Account and region that own it; `None` if a person wrote the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    /// Account and region that read it, if they do not own it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reader: Option<String>,
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

    /// Returns whether both apply at some time.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let begins_before_end =
            |one: &Self, other: &Self| one.from.zip(other.until).is_none_or(|(from, until)| from < until);
        begins_before_end(self, other) && begins_before_end(other, self)
    }

    /// Returns whether it only exists because others refer to its id.
    pub(super) fn is_reference(&self) -> bool {
        *self == Self::default()
    }

    /// Returns its name; empty if it has none.
    pub(super) fn text(&self) -> &str {
        self.description.as_ref().or(self.name.as_ref()).map_or("", String::as_str)
    }

    /// Returns whether a later reading may replace its name at all its times.
    pub(super) fn is_preliminary(&self) -> bool {
        self.is_provisional || self.reader.is_some()
    }

    /// Ends it. Returns whether it had begun before.
    pub(super) fn end(&mut self, at: i64) -> bool {
        self.until = Some(at);
        self.from.is_none_or(|from| from < at)
    }

    /// Returns the latest of its times, if it was read from AWS.
    pub(super) fn last_time(&self) -> Option<i64> {
        self.source.as_ref().and(self.from.max(self.until))
    }
}

/// The file was checked before, so that every time is one.
fn ms(time: Option<&Time>) -> Option<i64> {
    time.and_then(Time::ms)
}

fn owned(text: Option<Text<'_>>) -> Option<String> {
    text.map(Text::into_owned)
}

impl From<InterfaceFile<'_>> for Entry {
    fn from(file: InterfaceFile<'_>) -> Self {
        Self {
            description: owned(file.description),
            subnet_id: owned(file.subnet_id),
            vpc_id: owned(file.vpc_id),
            is_provisional: file.provisional,
            source: owned(file.source),
            reader: owned(file.reader),
            from: ms(file.from.as_ref()),
            until: ms(file.until.as_ref()),
            ..Self::default()
        }
    }
}

impl From<SubnetFile<'_>> for Entry {
    fn from(file: SubnetFile<'_>) -> Self {
        Self {
            name: owned(file.name),
            vpc_id: owned(file.vpc_id),
            cidrs: file.cidrs.0.into_iter().map(Text::into_owned).collect(),
            source: owned(file.source),
            reader: owned(file.reader),
            from: ms(file.from.as_ref()),
            until: ms(file.until.as_ref()),
            ..Self::default()
        }
    }
}

impl From<VpcFile<'_>> for Entry {
    fn from(file: VpcFile<'_>) -> Self {
        Self {
            name: owned(file.name),
            source: owned(file.source),
            reader: owned(file.reader),
            from: ms(file.from.as_ref()),
            until: ms(file.until.as_ref()),
            ..Self::default()
        }
    }
}
