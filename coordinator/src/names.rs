//! Refreshes the names of the results bucket from AWS.

use std::{borrow::Cow, num::NonZero, time::Duration};

use flowherd_aws::{
    api::ApiError,
    ec2::{Inventory, Target, failures},
    s3::{Bucket, Version},
    settings::{is_region, is_role_arn},
};
use flowherd_shared::{
    config::ConfigError,
    error::error_chain,
    layout,
    limits::MAX_NAMES_BYTES,
    names::merge::{Changes, Merged, Part, Reading, forget_before, merge},
    store::StoreError,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{error::CoordinatorError, options::RefreshOptions};

/// Time that a refresh keeps for merging and writing. A file of the maximum size takes a few seconds.
pub const WRITE_TIME: Duration = Duration::from_mins(1);
/// Maximum days of [`RefreshOptions::retention_days`].
const MAX_RETENTION_DAYS: u32 = 36_500;
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
        let regions = regions.map(|region| format!("regions: {region:?} is not a region"));
        let days = self.retention_days.filter(|days| !(1..=MAX_RETENTION_DAYS).contains(days));
        let days = days.map(|days| format!("retention_days: {days} is not from 1 to {MAX_RETENTION_DAYS}"));
        roles.chain(regions).chain(days).collect()
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

/// The order in which a refresh reads its targets. The first ones of each hour are others, because the deadline may cut off the
/// last ones.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    first: usize,
}

impl Rotation {
    /// Spreads the first target of successive hours by the golden ratio: whichever part of the targets fits into the time, each
    /// target is soon in it (Knuth, The Art of Computer Programming, volume 3, section 6.4).
    fn at(now: Timestamp, targets: NonZero<usize>) -> Self {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let hour = now.as_second().div_euclid(3600) as u64;
        let fraction = u128::from(hour.wrapping_mul(GOLDEN));
        Self { first: ((fraction * targets.get() as u128) >> 64) as usize }
    }

    /// Reads in this order, and returns the results in the order of the targets.
    fn read<T>(self, targets: &[Target], mut read: impl FnMut(&[Target]) -> Vec<T>) -> Vec<T> {
        let mut ordered = targets.to_vec();
        ordered.rotate_left(self.first);
        let mut results = read(&ordered);
        let first = self.first.min(results.len());
        results.rotate_right(first);
        results
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
    /// Entries that were removed because they ended before [`RefreshOptions::retention_days`].
    pub forgotten: usize,
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
    mut read: impl FnMut(&[Target]) -> Vec<Result<Inventory, ApiError>>,
) -> Result<Refreshed, CoordinatorError> {
    let problems = options.problems();
    if !problems.is_empty() {
        return Err(CoordinatorError::Refused(format!("invalid event: {}", problems.join("; "))));
    }
    let targets = options.targets();
    for _ in 0..ATTEMPTS {
        let former = former(results)?;
        let (kept, forgotten) = kept(former.as_ref(), options, now())?;
        // Checks the former file before any request to EC2.
        merged(kept.as_deref(), &[], now())?;
        let read = match NonZero::new(targets.len()) {
            Some(count) => Rotation::at(now(), count).read(&targets, &mut read),
            None => Vec::new(),
        };
        let failures = failures(&targets, &read);
        let readings: Vec<Reading> = read.into_iter().flatten().map(|inventory| inventory.reading).collect();
        let mut refreshed = Refreshed {
            operation: "names",
            path: layout::NAMES,
            written: false,
            sources: readings.iter().map(SourceCounts::of).collect(),
            changes: Changes::default(),
            forgotten,
            notes: Vec::new(),
            failures,
        };
        if readings.iter().all(|reading| reading.parts.is_empty()) {
            // Without names the file stays as it is.
            refreshed.forgotten = 0;
            return Ok(refreshed);
        }
        let Merged { bytes, changes, notes } = merged(kept.as_deref(), &readings, now())?;
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
    results.version(layout::NAMES, MAX_NAMES_BYTES as u64).map_err(|error| match error {
        StoreError::TooLarge { .. } => CoordinatorError::Refused(error_chain(&error)),
        error => CoordinatorError::Ledger(error),
    })
}

/// A file of names, and the number of entries removed from it.
type Kept<'f> = (Option<Cow<'f, [u8]>>, usize);

/// Returns the former file without the entries that ended before the retention, and their number.
fn kept<'f>(
    former: Option<&'f Version>,
    options: &RefreshOptions,
    now: Timestamp,
) -> Result<Kept<'f>, CoordinatorError> {
    let Some(former) = former else { return Ok((None, 0)) };
    let Some(days) = options.retention_days else { return Ok((Some(Cow::Borrowed(&former.bytes)), 0)) };
    let before_ms = (now.as_second() - i64::from(days) * 86_400) * 1000;
    let (kept, forgotten) = forget_before(&former.bytes, before_ms).map_err(|error| unchanged(&error))?;
    Ok((Some(Cow::Owned(kept)), forgotten))
}

fn merged(former: Option<&[u8]>, readings: &[Reading], now: Timestamp) -> Result<Merged, CoordinatorError> {
    merge(former, readings, now.as_second() * 1000).map_err(|error| unchanged(&error))
}

/// Returns the error for a file that cannot be merged.
fn unchanged(error: &ConfigError) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "{path} of the results bucket is unchanged: {}; see alarm-names-stale in docs/operations.md",
        error.problems.join("; "),
        path = layout::NAMES
    ))
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
            retention_days: None,
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
    fn each_target_is_soon_among_the_first_whichever_part_of_them_fits_into_the_time() {
        let target = |number: usize| Target { region: Some(number.to_string()), ..Target::default() };
        for (count, cut, max_hours) in [(2, 1, 2), (7, 5, 1), (75, 60, 1), (100, 50, 2), (300, 30, 12)] {
            let targets: Vec<Target> = (0..count).map(target).collect();
            let mut last_read = vec![0; count];
            for hour in 1..2000_i64 {
                let now = Timestamp::from_second(1_771_372_800 + hour * 3600).unwrap();
                let rotation = Rotation::at(now, NonZero::new(count).unwrap());
                // The deadline ends the reading after some of the targets.
                let results = rotation.read(&targets, |ordered| {
                    ordered
                        .iter()
                        .enumerate()
                        .map(|(at, target)| (at < cut).then(|| target.clone()))
                        .collect()
                });
                for (number, result) in results.iter().enumerate() {
                    if let Some(read) = result {
                        assert_eq!(read, &targets[number], "the results have the order of the targets");
                        last_read[number] = hour;
                    }
                    assert!(
                        hour - last_read[number] <= max_hours,
                        "{count} targets: {number} at hour {hour}"
                    );
                }
            }
        }
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
                forgotten: 0,
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
