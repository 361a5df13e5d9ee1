//! Refreshes the names of the results bucket from AWS.

use std::time::Duration;

use flowherd_aws::{
    ec2::{Inventory, QueryError, Target, failures},
    s3::{Bucket, Version},
    settings::{is_region, is_role_arn},
};
use flowherd_shared::{
    error::error_chain,
    layout,
    limits::MAX_LOOKUPS_BYTES,
    lookups::merge::{Changes, Merged, Part, Reading, merge},
    store::StoreError,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{error::CoordinatorError, options::RefreshOptions};

/// Time that a refresh keeps for merging and writing. A file of the maximum size takes a few seconds.
pub const WRITE_TIME: Duration = Duration::from_mins(1);
/// Maximum readings, where other refreshes change the file at the same time.
const ATTEMPTS: u32 = 3;
/// The metric of a refresh: 1 if it read everything, otherwise 0. A refresh that is killed writes none.
pub const METRIC: &str = "NamesRefreshed";
/// Its only dimension: the name of the results bucket, which has the names of all fleets.
pub const DIMENSION: &str = "ResultsBucket";

impl RefreshOptions {
    /// Returns all mistakes.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let roles = self.role_arns.iter().filter(|role| !is_role_arn(role));
        let roles = roles.map(|role| format!("role_arns: {role:?} is not the ARN of a role"));
        let regions = self.regions.iter().filter(|region| !is_region(region));
        roles.chain(regions.map(|region| format!("regions: {region:?} is not a region"))).collect()
    }

    /// Returns each account, by its role, and region.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let roles = std::iter::once(None).chain(self.role_arns.iter().cloned().map(Some));
        let regions: Vec<Option<String>> = match &*self.regions {
            [] => vec![None],
            regions => regions.iter().cloned().map(Some).collect(),
        };
        let target = |role_arn: &Option<String>, region: &Option<String>| Target {
            role_arn: role_arn.clone(),
            region: region.clone(),
            profile: None,
        };
        roles.flat_map(|role| regions.iter().map(move |region| target(&role, region))).collect()
    }
}

/// The answer of a refresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refreshed {
    /// `names`.
    operation: &'static str,
    /// The file in the results bucket.
    path: &'static str,
    /// Whether the file was written. Without changes it stays as it is.
    pub written: bool,
    /// Counts by account and region.
    pub sources: Vec<SourceCounts>,
    /// The difference to the former file.
    pub changes: Changes,
    /// Messages about the file, one line each: blocks that another subnet took, limits that are nearly reached.
    pub notes: Vec<String>,
    /// Parts that could not be read, one line each. Their former names stay.
    pub failures: Vec<String>,
}

/// Counts of one account in one region; `None` for a part that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceCounts {
    account: String,
    region: String,
    interfaces: Option<usize>,
    subnets: Option<usize>,
    vpcs: Option<usize>,
}

impl SourceCounts {
    fn of(reading: &Reading) -> Self {
        let count = |part: Part| reading.parts.get(&part).map(std::collections::BTreeMap::len);
        Self {
            account: reading.account.clone(),
            region: reading.region.clone(),
            interfaces: count(Part::Interfaces),
            subnets: count(Part::Subnets),
            vpcs: count(Part::Vpcs),
        }
    }
}

/// Returns the line of metrics of a refresh, in the format that CloudWatch extracts from a log
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
#[must_use]
pub fn metrics(
    refreshed: &Result<Refreshed, CoordinatorError>,
    results_bucket: &str,
    now: Timestamp,
) -> Value {
    let is_complete = refreshed.as_ref().is_ok_and(|refreshed| refreshed.failures.is_empty());
    json!({
        METRIC: u8::from(is_complete),
        DIMENSION: results_bucket,
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Flowherd",
                "Dimensions": [[DIMENSION]],
                "Metrics": [{ "Name": METRIC, "Unit": "Count" }],
            }],
        },
    })
}

/// Reads the names and merges them into the file of the results bucket. `now` is the clock.
///
/// Two refreshes at the same time do not lose each other's names: each replaces only the version that it merged into. A refresh
/// that finds another version reads again, because its own readings are older than the names of that version.
///
/// # Errors
/// [`CoordinatorError::Refused`] for mistakes in the options, for a damaged file, which stays as it is, for a clock that is
/// behind the file, and for names that exceed the limits.
pub fn refresh(
    results: &Bucket,
    options: &RefreshOptions,
    now: impl Fn() -> Timestamp,
    mut read: impl FnMut(&[Target]) -> Vec<Result<Inventory, QueryError>>,
) -> Result<Refreshed, CoordinatorError> {
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(CoordinatorError::Refused(format!("invalid event: {}", problems.join("; "))));
    }
    let targets = options.targets();
    for _ in 0..ATTEMPTS {
        let former = former(results)?;
        // Checks the former file before any request to EC2.
        merged(former.as_ref(), &[], now())?;
        let read = read(&targets);
        let failures = failures(&targets, &read);
        let readings: Vec<Reading> = read.into_iter().flatten().map(|inventory| inventory.reading).collect();
        let mut refreshed = Refreshed {
            operation: "names",
            path: layout::NAMES,
            written: false,
            sources: readings.iter().map(SourceCounts::of).collect(),
            changes: Changes::default(),
            notes: Vec::new(),
            failures,
        };
        if readings.iter().all(|reading| reading.parts.is_empty()) {
            return Ok(refreshed);
        }
        let Merged { bytes, changes, notes } = merged(former.as_ref(), &readings, now())?;
        (refreshed.changes, refreshed.notes) = (changes, notes);
        if former.as_ref().is_some_and(|former| former.bytes == bytes) {
            return Ok(refreshed);
        }
        let etag = former.as_ref().map(|former| &*former.etag);
        if results.replace(layout::NAMES, &bytes, etag).map_err(CoordinatorError::Ledger)? {
            refreshed.written = true;
            return Ok(refreshed);
        }
    }
    Err(CoordinatorError::Ledger(StoreError::transient(format!(
        "{} changed during each of {ATTEMPTS} attempts to replace it; check what else writes it",
        layout::NAMES
    ))))
}

fn former(results: &Bucket) -> Result<Option<Version>, CoordinatorError> {
    results.version(layout::NAMES, MAX_LOOKUPS_BYTES as u64).map_err(|error| match error {
        StoreError::TooLarge { .. } => CoordinatorError::Refused(error_chain(&error)),
        error => CoordinatorError::Ledger(error),
    })
}

fn merged(
    former: Option<&Version>,
    readings: &[Reading],
    now: Timestamp,
) -> Result<Merged, CoordinatorError> {
    let former = former.map(|former| &*former.bytes);
    merge(former, readings, now.as_second() * 1000).map_err(|error| {
        CoordinatorError::Refused(format!(
            "{path} of the results bucket is unchanged: {}; see alarm-names-stale in docs/operations.md",
            error.problems.join("; "),
            path = layout::NAMES
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_account_and_each_role_are_read_in_each_region() {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let role = "arn:aws:iam::123456789012:role/flowherd-names";
        let options = |roles: &[&str], regions: &[&str]| RefreshOptions {
            role_arns: texts(roles),
            regions: texts(regions),
        };
        assert_eq!(options(&[], &[]).targets(), [Target::default()]);
        let targets = options(&[role], &["eu-west-1", "us-east-1"]).targets();
        let targets: Vec<(Option<&str>, Option<&str>)> =
            targets.iter().map(|target| (target.role_arn.as_deref(), target.region.as_deref())).collect();
        let [ireland, virginia] = [Some("eu-west-1"), Some("us-east-1")];
        let expected = [(None, ireland), (None, virginia), (Some(role), ireland), (Some(role), virginia)];
        assert_eq!(targets, expected);
        assert_eq!(options(&[role], &["eu-west-1"]).problems(), [""; 0]);
        assert_eq!(
            options(&["arn:aws:iam::1:role/x"], &["EU"]).problems(),
            [
                "role_arns: \"arn:aws:iam::1:role/x\" is not the ARN of a role",
                "regions: \"EU\" is not a region"
            ]
        );
    }

    #[test]
    fn the_metric_is_1_only_if_everything_was_read() {
        let refreshed = |failures: &[&str]| {
            Ok(Refreshed {
                operation: "names",
                path: layout::NAMES,
                written: true,
                sources: Vec::new(),
                changes: Changes::default(),
                notes: Vec::new(),
                failures: failures.iter().map(|failure| (*failure).to_owned()).collect(),
            })
        };
        let line = metrics(&refreshed(&[]), "results", Timestamp::UNIX_EPOCH);
        assert_eq!((&line[METRIC], &line[DIMENSION]), (&json!(1), &json!("results")));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"], METRIC);
        let refused = Err(CoordinatorError::Refused("x".to_owned()));
        for incomplete in [refreshed(&["x"]), refused] {
            assert_eq!(metrics(&incomplete, "q", Timestamp::UNIX_EPOCH)[METRIC], 0);
        }
    }
}
