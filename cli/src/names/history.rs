//! `flowherd names --from-config`: historical names, from files of AWS Config and CloudTrail.

mod changes;
mod cloudtrail;
mod config;
mod fields;
mod file;
mod object;
mod objects;
#[cfg(test)]
mod tests;
mod timeline;

use flowherd_shared::{
    config::ConfigError,
    names::merge::{Changes as Counts, Merged, merge},
};

use self::{
    changes::{Changes, Kind},
    file::{File, Section},
    objects::Read,
};
use crate::{location::Location, stop::Stop};

/// The new file, and what was read for it.
pub(super) struct History {
    pub(super) merged: Merged,
    /// Files that were read.
    pub(super) objects: u64,
    /// Files of other resource types, and those that have no items.
    pub(super) skipped: u64,
    /// A line for each file that could not be read.
    pub(super) failures: Vec<String>,
}

/// Reads all files of a location and merges them into a former `names.json`. `refused` returns the error of an invalid file.
///
/// # Errors
/// If the files cannot be listed, or report too many changes.
pub(super) fn read(
    location: &Location,
    former: Option<&[u8]>,
    now_ms: i64,
    refused: impl Fn(ConfigError) -> Stop,
) -> Result<History, Stop> {
    let Read { changes, objects, skipped, failures, .. } = objects::read(location, now_ms)?;
    let merged = merge_into(former, &changes, now_ms).map_err(refused)?;
    Ok(History { merged, objects, skipped, failures })
}

/// Merges changes into a former file, which was checked before.
fn merge_into(former: Option<&[u8]>, changes: &Changes, now_ms: i64) -> Result<Merged, ConfigError> {
    let invalid = |error: serde_json::Error| ConfigError { problems: vec![error.to_string()] };
    let mut file: File = match former {
        Some(bytes) => serde_json::from_slice(bytes).map_err(invalid)?,
        None => File::default(),
    };
    let interfaces = timeline::interfaces(changes);
    let [subnets, vpcs] = [Kind::Subnet, Kind::Vpc].map(|kind| timeline::networks(changes, kind));
    let mut counts = Counts::default();
    let mut count = |(new, changed): &(_, _)| {
        let size = |ids: &std::collections::BTreeSet<String>| ids.len() as u64;
        counts.new += size(new);
        counts.changed += size(changed);
    };
    count(&file::merge(&mut file.interfaces, Section::Interfaces, &interfaces));
    let merged_subnets = file::merge(&mut file.subnets, Section::Networks, &subnets);
    count(&merged_subnets);
    count(&file::merge(&mut file.vpcs, Section::Networks, &vpcs));
    let (mut subnet_ids, others) = merged_subnets;
    subnet_ids.extend(others);
    let mut notes = file::end_replaced(&mut file.subnets, &subnet_ids);
    file.add_missing_references();
    let bytes = serde_json::to_vec(&file).map_err(invalid)?;
    // Checks the new file, and writes it in the form of a refresh.
    let merged = merge(Some(&bytes), &[], now_ms)?;
    notes.extend(merged.notes);
    Ok(Merged { changes: counts, notes, ..merged })
}
