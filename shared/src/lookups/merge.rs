//! Merges what was read from AWS into a former `names.json`, so that every name keeps the time in which it applied.

mod combine;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::{combine::Combined, entry::Entry};
use super::{Lookups, file::File};
use crate::{problems::ConfigError, timestamp};

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Network interfaces.
    Interfaces,
    /// Subnets.
    Subnets,
    /// VPCs.
    Vpcs,
}

impl Part {
    /// All of them, in the order of the file.
    pub const ALL: [Self; 3] = [Self::Interfaces, Self::Subnets, Self::Vpcs];

    /// Returns the name of the section.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interfaces => "interfaces",
            Self::Subnets => "subnets",
            Self::Vpcs => "vpcs",
        }
    }
}

/// What one reading of an account and region found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The account whose credentials read it.
    pub account: String,
    /// The region.
    pub region: String,
    /// The parts that were read completely, by id. A part that could not be read is absent.
    pub parts: BTreeMap<Part, BTreeMap<String, Named>>,
}

/// An interface, a subnet or a VPC, and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether the resource that gives the name could not be read. The former name then stays.
    pub is_provisional: bool,
    /// The account that owns it, if the response names it.
    pub owner: Option<String>,
    /// Its subnet.
    pub subnet_id: Option<String>,
    /// Its VPC.
    pub vpc_id: Option<String>,
    /// Its CIDR blocks.
    pub cidrs: Vec<String>,
}

/// The new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Its bytes. The same names always give the same bytes.
    pub bytes: Vec<u8>,
    /// The difference to the former file.
    pub changes: Changes,
}

/// Ids that differ from the former file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Not in the former file.
    pub new: u64,
    /// With another name or other blocks.
    pub changed: u64,
    /// No longer there.
    pub gone: u64,
    /// There again.
    pub returned: u64,
}

type Ids = BTreeMap<String, Vec<Entry>>;

/// Merges readings of one time into a former file.
///
/// What is gone ends at `at_ms`, milliseconds since 1970; what is new begins then, unless its account and region were never
/// read before; what changed does both. What is there again gets another entry. Parts that no reading has stay as they are.
///
/// # Errors
/// All problems of the former file or, where the limits are exceeded, of the new one.
pub fn merge(former: Option<&[u8]>, readings: &[Reading], at_ms: i64) -> Result<Merged, ConfigError> {
    let mut names = match former {
        Some(bytes) => Names::parse(bytes)?,
        None => Names::default(),
    };
    let mut changes = Changes::default();
    for part in Part::ALL {
        let combined = Combined::new(readings, part, &names.sources);
        combined.apply(names.parts.entry(part).or_default(), at_ms, &mut changes);
        for source in combined.sources {
            names.sources.entry(source).or_default().insert(part.name().to_owned());
        }
    }
    names.add_missing_references();
    let bytes = names.to_json()?;
    Lookups::parse(&bytes)?;
    Ok(Merged { bytes, changes })
}

/// A whole file.
#[derive(Debug, Default)]
struct Names {
    /// By source, the parts that were ever read.
    sources: BTreeMap<String, BTreeSet<String>>,
    parts: BTreeMap<Part, Ids>,
}

impl Names {
    fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Lookups::parse(json)?;
        let file = File::parse(json)?;
        let sources = file.sources.into_iter().map(|(source, parts)| (source, parts.into_iter().collect()));
        let parts = [
            (Part::Interfaces, entry::from_file(file.interfaces)),
            (Part::Subnets, entry::from_file(file.subnets)),
            (Part::Vpcs, entry::from_file(file.vpcs)),
        ];
        Ok(Self { sources: sources.collect(), parts: parts.into() })
    }

    /// Adds an entry without a name for each id that others refer to, so that subnets of different VPCs stay apart
    /// although the VPCs could not be read.
    fn add_missing_references(&mut self) {
        for (from, to) in
            [(Part::Interfaces, Part::Subnets), (Part::Interfaces, Part::Vpcs), (Part::Subnets, Part::Vpcs)]
        {
            let entries = self.parts.get(&from).into_iter().flat_map(|ids| ids.values().flatten());
            let reference = |entry: &Entry| match to {
                Part::Subnets => entry.subnet_id.clone(),
                _ => entry.vpc_id.clone(),
            };
            let referenced: BTreeSet<String> = entries.filter_map(reference).collect();
            let ids = self.parts.entry(to).or_default();
            for id in referenced {
                ids.entry(id).or_insert_with(|| vec![Entry::default()]);
            }
        }
    }

    /// Returns the file: one line for each id, sorted.
    fn to_json(&self) -> Result<Vec<u8>, ConfigError> {
        let json = |value: Result<String, serde_json::Error>| value.map_err(|error| ConfigError::bug(&error));
        let mut text = format!("{{\n\"sources\": {}", json(serde_json::to_string(&self.sources))?);
        for part in Part::ALL {
            text += &format!(",\n\"{}\": {{", part.name());
            let mut separator = "\n";
            for (id, entries) in self.parts.get(&part).into_iter().flatten() {
                let id = json(serde_json::to_string(id))?;
                let entries = match &**entries {
                    [only] => serde_json::to_string(only),
                    several => serde_json::to_string(several),
                };
                text += &format!("{separator}{id}: {}", json(entries)?);
                separator = ",\n";
            }
            text += "\n}";
        }
        text += "\n}\n";
        Ok(text.into_bytes())
    }
}

/// Writes a time as the file has it.
#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn write_time<S: serde::Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    ms.and_then(timestamp::iso).serialize(serializer)
}
