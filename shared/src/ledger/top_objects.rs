//! The slowest and the largest objects of a report.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::Receipt;
use crate::limits::MAX_TOP_OBJECTS;

/// The size and duration of an object that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneObject {
    /// The object.
    pub key: String,
    /// Size of the object as stored.
    pub compressed_in: u64,
    /// Size of the decoded text.
    pub decoded_in: u64,
    /// Rows.
    pub rows: u64,
    /// Time from opening the object to committing the last output.
    pub milliseconds: u64,
}

impl DoneObject {
    pub(super) fn new(key: &str, receipt: &Receipt) -> Self {
        Self {
            key: key.to_owned(),
            compressed_in: receipt.bytes.compressed_in,
            decoded_in: receipt.bytes.decoded_in,
            rows: receipt.records.rows,
            milliseconds: receipt.milliseconds,
        }
    }
}

/// Adds an object to the [`MAX_TOP_OBJECTS`] with the largest `value`, in descending order. Equal objects are in the order of
/// their keys, so the order of additions does not matter.
pub(super) fn add(top: &mut Vec<DoneObject>, object: &DoneObject, value: fn(&DoneObject) -> u64) {
    let precedes =
        |other: &DoneObject| (Reverse(value(other)), &*other.key) < (Reverse(value(object)), &*object.key);
    let at = top.partition_point(precedes);
    if at < MAX_TOP_OBJECTS {
        top.insert(at, object.clone());
        top.truncate(MAX_TOP_OBJECTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_values_are_kept_in_any_order_of_addition() {
        let objects: Vec<DoneObject> = (0..40_u64)
            .map(|number| DoneObject {
                key: format!("k{number:02}"),
                compressed_in: 0,
                decoded_in: 0,
                rows: 0,
                milliseconds: number / 4,
            })
            .collect();
        let top = |objects: &mut dyn Iterator<Item = &DoneObject>| {
            let mut top = Vec::new();
            objects.for_each(|object| add(&mut top, object, |object| object.milliseconds));
            top
        };
        let forward = top(&mut objects.iter());
        let keys: Vec<&str> = forward.iter().map(|object| &*object.key).collect();
        assert_eq!(keys, ["k36", "k37", "k38", "k39", "k32", "k33", "k34", "k35", "k28", "k29"]);
        assert_eq!(forward, top(&mut objects.iter().rev()));
    }
}
