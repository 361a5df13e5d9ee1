//! The coordinator's environment variables, and its connections.

use std::{fs::File, time::Duration};

use flowherd_aws::{
    Aws,
    s3::{Bucket, BucketError},
    settings::{CommonSettings, Variables, is_account, is_fifo_url},
    sqs::SqsQueue,
};
use flowherd_shared::{
    config::Config,
    enrichment::{self, EnrichmentFile},
    layout,
    limits::{MAX_ENRICHMENT_BYTES, MAX_RESULT_BYTES},
    queue::QueueError,
    store::{Problem, Store, StoreError, read_limited},
};
use jiff::Timestamp;

use crate::coordinator::{Coordinator, Inputs};

/// For how long the queue must be empty before objects without an outcome count as missing. Its counts become exact about a
/// minute after the last message was sent
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
const SETTLE: Duration = Duration::from_mins(2);
const TIME_LIMIT: Duration = Duration::from_hours(24);
/// Enough for years of one stream. A larger prefix is more often a mistake.
const MAX_KEYS: u64 = 10_000_000;

/// A coordinator's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Settings that the workers have too.
    pub common: CommonSettings,
    /// `FLOWHERD_DEAD_LETTER_QUEUE_URL`: the dead-letter queue; by default that of the queue's redrive policy.
    pub dead_letter_queue_url: Option<String>,
    /// `FLOWHERD_CONFIG`: `flowherd.toml`, as a path or `s3://bucket/key`.
    pub config: Option<String>,
    /// `FLOWHERD_NAMES`: `names.json`, as a path or `s3://bucket/key`.
    pub lookups: Option<String>,
    /// `FLOWHERD_CONFIG_BUCKET_OWNER`: the account that must own the bucket of `config`.
    pub config_bucket_owner: Option<String>,
    /// `FLOWHERD_NAMES_BUCKET_OWNER`: the account that must own the bucket of `lookups`.
    pub lookups_bucket_owner: Option<String>,
    /// `FLOWHERD_SETTLE_SECONDS`.
    pub settle: Duration,
    /// `FLOWHERD_TIME_LIMIT_SECONDS`.
    pub time_limit: Duration,
    /// `FLOWHERD_MAX_KEYS`: maximum objects of a run.
    pub max_keys: u64,
}

impl Settings {
    /// Returns the settings for these buckets and queues, with defaults for the others.
    #[must_use]
    pub fn of(common: CommonSettings, dead_letter_queue_url: String) -> Self {
        Self {
            common,
            dead_letter_queue_url: Some(dead_letter_queue_url),
            config: None,
            lookups: None,
            config_bucket_owner: None,
            lookups_bucket_owner: None,
            settle: SETTLE,
            time_limit: TIME_LIMIT,
            max_keys: MAX_KEYS,
        }
    }

    /// Reads all settings.
    ///
    /// # Errors
    /// Every problem, each as one line.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(variable);
        let dead_url = "https://sqs.eu-west-1.amazonaws.com/123456789012/flowherd-dead.fifo";
        let is_location =
            |location: &str| location.strip_prefix("s3://").is_none_or(|path| path.contains('/'));
        let mut number = |name, example| {
            let value = variables.optional(name, |value| value.parse::<u64>().is_ok(), example);
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let settle = number("FLOWHERD_SETTLE_SECONDS", "120").map_or(SETTLE, Duration::from_secs);
        let time_limit =
            number("FLOWHERD_TIME_LIMIT_SECONDS", "86400").map_or(TIME_LIMIT, Duration::from_secs);
        let max_keys = number("FLOWHERD_MAX_KEYS", "10000000").unwrap_or(MAX_KEYS);
        let mut owner = |name| variables.optional(name, is_account, "123456789012");
        let config_bucket_owner = owner("FLOWHERD_CONFIG_BUCKET_OWNER");
        let lookups_bucket_owner = owner("FLOWHERD_NAMES_BUCKET_OWNER");
        let common = CommonSettings::read(&mut variables);
        let settings = Self {
            common,
            dead_letter_queue_url: variables.optional(
                "FLOWHERD_DEAD_LETTER_QUEUE_URL",
                is_fifo_url,
                dead_url,
            ),
            config: variables.optional("FLOWHERD_CONFIG", is_location, "s3://my-settings/flowherd.toml"),
            lookups: variables.optional("FLOWHERD_NAMES", is_location, "s3://my-settings/names.json"),
            config_bucket_owner,
            lookups_bucket_owner,
            settle,
            time_limit,
            max_keys,
        };
        variables.finish(settings)
    }
}

impl Settings {
    /// Returns whether new runs use the names that the coordinator refreshes. Before the first refresh, there are none.
    fn refreshes_names(&self) -> bool {
        let refreshed = format!("s3://{}/{}", self.common.results_bucket, layout::NAMES);
        self.lookups.as_ref() == Some(&refreshed)
    }
}

/// Why the coordinator cannot connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration of the queue or the permissions do not fit; a retry does not help.
    #[error("{0}")]
    Refused(String),
    /// A bucket does not exist or does not respond.
    #[error("{named}")]
    Bucket {
        /// The variable and its value.
        named: String,
        /// The cause.
        source: BucketError,
    },
    /// The queue does not respond, or denies access.
    #[error(
        "{named}: cannot read the attributes of the queue; check its URL and region, and sqs:GetQueueAttributes"
    )]
    Queue {
        /// The variable and its value.
        named: String,
        /// The cause.
        source: QueueError,
    },
}

/// The coordinator's connections, made once.
#[derive(Debug)]
pub struct Connected<'a> {
    aws: &'a Aws,
    settings: &'a Settings,
    /// The source bucket.
    pub source: Bucket,
    /// The results bucket.
    pub results: Bucket,
    queue: SqsQueue,
    dead_letters: Option<SqsQueue>,
}

impl<'a> Connected<'a> {
    /// Checks the queue and both buckets. Without a dead-letter queue in the settings, takes that of the queue's redrive
    /// policy.
    ///
    /// # Errors
    /// [`ConnectError`], by what the caller can do about it.
    pub fn new(aws: &'a Aws, settings: &'a Settings) -> Result<Self, ConnectError> {
        let queue = aws.queue(&settings.common.queue_url);
        let named = || format!("FLOWHERD_QUEUE_URL={}", settings.common.queue_url);
        let unusable = |source| ConnectError::Queue { named: named(), source };
        let attributes = queue.attributes().map_err(unusable)?;
        let problems = attributes.problems();
        if !problems.is_empty() {
            return Err(ConnectError::Refused(format!("{}: {}", named(), problems.join("; "))));
        }
        let dead_letters = match (&settings.dead_letter_queue_url, &attributes.redrive) {
            (Some(url), _) => Some(aws.queue(url)),
            (None, Some(redrive)) => {
                let url = queue.url_of(&redrive.dead_letter_arn).map_err(unusable)?;
                Some(aws.queue(&url))
            }
            (None, None) => None,
        };
        let source = aws.find_bucket(
            &settings.common.source_bucket,
            settings.common.source_bucket_owner.as_deref(),
            settings.common.source_bucket_region.as_deref(),
        );
        let source = source.map_err(|source| ConnectError::Bucket {
            named: format!("FLOWHERD_SOURCE_BUCKET={}", settings.common.source_bucket),
            source,
        })?;
        let named = || format!("FLOWHERD_RESULTS_BUCKET={}", settings.common.results_bucket);
        let results = aws.find_bucket(
            &settings.common.results_bucket,
            settings.common.results_bucket_owner.as_deref(),
            None,
        );
        let results = results.map_err(|source| ConnectError::Bucket { named: named(), source })?;
        if !results.is_readable {
            let check = "check the credentials, s3:ListBucket on it, and FLOWHERD_RESULTS_BUCKET_OWNER";
            return Err(ConnectError::Refused(format!("{}: access is denied; {check}", named())));
        }
        let (source, results) = (source.bucket, results.bucket);
        Ok(Self { aws, settings, source, results, queue, dead_letters })
    }

    /// Calls `work` with the coordinator.
    pub fn with<T>(&self, work: impl FnOnce(&Coordinator<'_, Bucket, Bucket, SqsQueue>) -> T) -> T {
        let settings = self.settings;
        let read = |location: &Option<String>, owner: &Option<String>| {
            let read = |location| self.read(location, owner.as_deref(), MAX_RESULT_BYTES);
            location.as_deref().map(read).transpose()
        };
        let inputs = || {
            let config = read(&settings.config, &settings.config_bucket_owner)?;
            let files = self.enrichment_files(config.as_deref().unwrap_or_default())?;
            let (lookups, lacks_names) = match read(&settings.lookups, &settings.lookups_bucket_owner) {
                Err(StoreError::NotFound(_)) if settings.refreshes_names() => (None, true),
                lookups => (lookups?, false),
            };
            Ok(Inputs { config, lookups, files, lacks_names })
        };
        work(&Coordinator {
            source: &self.source,
            bucket: &self.settings.common.source_bucket,
            results: &self.results,
            results_bucket: &self.settings.common.results_bucket,
            queue: &self.queue,
            dead_letters: self.dead_letters.as_ref(),
            inputs: &inputs,
            settle: self.settings.settle,
            time_limit: self.settings.time_limit,
            max_keys: self.settings.max_keys,
            clock: &Timestamp::now,
            pause: &std::thread::sleep,
        })
    }

    /// Reads the enrichment files of a configuration, except those that do not exist: the begin of the run names all of them.
    fn enrichment_files(&self, config: &[u8]) -> Result<Vec<EnrichmentFile>, StoreError> {
        // The begin of the run reports the problems of the configuration.
        let Ok(config) = Config::from_bytes(config) else { return Ok(Vec::new()) };
        let base = self.settings.config.as_deref().unwrap_or_default();
        let mut files = Vec::new();
        for file in enrichment::files(&config.enrichments) {
            let location = enrichment::location(base, file);
            // The buckets of its files belong to the owner of the configuration.
            let owner = self.settings.config_bucket_owner.as_deref();
            match self.read(&location, owner, MAX_ENRICHMENT_BYTES as u64) {
                Ok(bytes) => files.push(EnrichmentFile { file: file.to_owned(), bytes: bytes.into() }),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            if enrichment::total_problem(&files).is_some() {
                break;
            }
        }
        Ok(files)
    }

    /// Reads a file from a path or from `s3://bucket/key`.
    fn read(&self, location: &str, bucket_owner: Option<&str>, limit: u64) -> Result<Vec<u8>, StoreError> {
        if let Some((bucket, key)) = location.strip_prefix("s3://").and_then(|path| path.split_once('/')) {
            let bucket = self.aws.bucket(bucket, bucket_owner);
            let found = bucket.get_limited(key, limit)?;
            return found.ok_or_else(|| StoreError::NotFound(format!("{location} does not exist").into()));
        }
        let file = File::open(location).map_err(|error| {
            let message = format!("{location}: {error}");
            match StoreError::from_file_error(error) {
                StoreError::NotFound(problem) => StoreError::NotFound(Problem::caused_by(message, problem)),
                StoreError::AccessDenied(problem) => {
                    StoreError::AccessDenied(Problem::caused_by(message, problem))
                }
                other => StoreError::transient_because(message, other),
            }
        })?;
        read_limited(file, location, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_variables_have_defaults_and_every_problem_is_reported() {
        let given = |name: &str| match name {
            "FLOWHERD_QUEUE_URL" => Some("http://127.0.0.1:1/1/x.fifo".to_owned()),
            "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
            _ => None,
        };
        let settings = Settings::read(&given).unwrap();
        assert_eq!((settings.settle, settings.time_limit, settings.max_keys), (SETTLE, TIME_LIMIT, MAX_KEYS));
        let bad = |name: &str| match name {
            "FLOWHERD_CONFIG" => Some("s3://only-a-bucket".to_owned()),
            "FLOWHERD_SETTLE_SECONDS" => Some("soon".to_owned()),
            name => given(name),
        };
        let problems = Settings::read(&bad).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("FLOWHERD_SETTLE_SECONDS=\"soon\" is not valid"));
    }
}
