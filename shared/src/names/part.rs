//! The sections of a `names.json`.

use serde::Serialize;

use crate::limits::{MAX_INTERFACES, MAX_NETWORKS};

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

    /// Returns the maximum entries of the section.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Interfaces => MAX_INTERFACES,
            Self::Subnets | Self::Vpcs => MAX_NETWORKS,
        }
    }
}
