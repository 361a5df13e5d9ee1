//! The coordinator's connections.

use std::{collections::BTreeMap, fs::File, sync::OnceLock};

use flowherd_aws::{
    Aws,
    s3::{Bucket, BucketError},
    sqs::SqsQueue,
};
use flowherd_shared::{
    config::Config,
    enrichment::{self, EnrichmentFile},
    error::error_chain,
    layout,
    limits::{MAX_CONFIG_BYTES, MAX_ENRICHMENT_BYTES, MAX_NAMES_BYTES},
    queue::QueueError,
    store::{Problem, Store, StoreError, read_limited},
};
use jiff::Timestamp;

use crate::{
    cluster::RemoteCluster,
    coordinator::{Coordinator, Inputs, read_run},
    error::CoordinatorError,
    event::Event,
    fleets::{Driver, FleetSettings, Job},
    options::RunOptions,
    search::IndexFleet,
    settings::Settings,
};

/// The coordinator with its AWS clients.
pub type AwsCoordinator<'a> = Coordinator<'a, Bucket, Bucket, SqsQueue>;

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
        /// The setting and its value.
        named: String,
        /// The cause.
        source: QueueError,
    },
}

impl From<ConnectError> for CoordinatorError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(why) => Self::Refused(why),
            ConnectError::Bucket { .. } => Self::Refused(error_chain(&error)),
            ConnectError::Queue { source, .. } => Self::Queue(source),
        }
    }
}

/// The coordinator's connections: the buckets, and the queues of each fleet that was used.
#[expect(missing_debug_implementations, reason = "it holds a function")]
pub struct Connected<'a> {
    aws: &'a Aws,
    settings: &'a Settings,
    /// The source bucket.
    pub source: Bucket,
    /// The results bucket.
    pub results: Bucket,
    /// Connected when they are used first, so that a fleet whose queue does not respond does not stop the others.
    queues: BTreeMap<&'a str, OnceLock<Queues>>,
    /// As [`Coordinator::on_page`].
    on_page: &'a (dyn Fn() + Sync),
}

/// The queues of a fleet.
#[derive(Debug)]
struct Queues {
    queue: SqsQueue,
    dead_letters: Option<SqsQueue>,
}

impl<'a> Connected<'a> {
    /// Checks both buckets.
    ///
    /// # Errors
    /// [`ConnectError`], by what the caller can do about it.
    pub fn new(aws: &'a Aws, settings: &'a Settings) -> Result<Self, ConnectError> {
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
        let queues = settings.fleets.iter().map(|(name, _)| (name, OnceLock::new())).collect();
        Ok(Self { aws, settings, source: source.bucket, results: results.bucket, queues, on_page: &|| {} })
    }

    /// Calls this after each page of a listing that may be long.
    #[must_use]
    pub fn on_page(self, on_page: &'a (dyn Fn() + Sync)) -> Self {
        Self { on_page, ..self }
    }

    /// Returns the fleet of a new run.
    ///
    /// # Errors
    /// As [`Fleets::choose`](crate::fleets::Fleets::choose), and if the resumed run cannot be read.
    pub fn choose(&self, options: &RunOptions) -> Result<&'a str, CoordinatorError> {
        let resumed = options.resume.as_ref().map(|name| read_run(&self.results, name)).transpose()?;
        self.settings.fleets.choose(options, resumed.as_ref())
    }

    /// Returns the fleet of a run that exists.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] if there is no such run, or if the stack does not have its fleet any more.
    pub fn fleet_of_run(&self, name: &str) -> Result<&'a str, CoordinatorError> {
        let run = read_run(&self.results, name)?;
        self.settings.fleets.of_run(&run.run, &run.fleet)
    }

    /// Returns the fleet of an event.
    ///
    /// # Errors
    /// As [`Connected::choose`] and [`Connected::fleet_of_run`], and [`CoordinatorError::Refused`] for an event of no fleet.
    pub fn fleet_of(&self, event: &Event) -> Result<&'a str, CoordinatorError> {
        match event {
            Event::Run(options) | Event::Begin(options) => self.choose(options),
            Event::Continue { run } | Event::ReportNow { run } | Event::Redrive { run } => {
                self.fleet_of_run(run)
            }
            Event::State(state) => self.settings.fleets.of_run(&state.run, &state.fleet),
            Event::Arrivals(_) | Event::Close(_) | Event::Names(_) => {
                Err(CoordinatorError::refused("the event is not of one fleet"))
            }
        }
    }

    /// Checks the queue of a fleet, unless it was checked before.
    ///
    /// # Errors
    /// As [`Connected::with`].
    pub fn check_fleet(&self, fleet: &str) -> Result<(), ConnectError> {
        self.with(fleet, |_| ())
    }

    /// Calls `work` with the coordinator of a fleet. The first call for a fleet checks its queue. Without a dead-letter queue in
    /// the settings, takes that of the queue's redrive policy.
    ///
    /// # Errors
    /// [`ConnectError`] if the fleet does not exist, or its queue cannot be used.
    pub fn with<T>(
        &self,
        fleet: &str,
        work: impl FnOnce(&AwsCoordinator<'_>) -> T,
    ) -> Result<T, ConnectError> {
        let refused = |error: CoordinatorError| ConnectError::Refused(error.on_one_line());
        let (fleet, settings) = self.settings.fleets.get(fleet).map_err(refused)?;
        let queues = self.queues(fleet, settings)?;
        let cluster = settings.cluster.as_ref().map(|options| RemoteCluster::new(self.aws, options));
        let index = settings.cluster.as_ref().zip(cluster.as_ref());
        let index = index.map(|(options, cluster)| IndexFleet { target: options.target(), cluster });
        let common = &self.settings.common;
        let (source, bucket) = match settings.job {
            Job::Convert => (&self.source, &common.source_bucket),
            Job::Index => (&self.results, &common.results_bucket),
        };
        Ok(work(&Coordinator {
            fleet,
            source,
            bucket,
            results: &self.results,
            results_bucket: &common.results_bucket,
            queue: queues.map(|queues| &queues.queue),
            dead_letters: queues.and_then(|queues| queues.dead_letters.as_ref()),
            index,
            inputs: &|| self.inputs(settings),
            settle: self.settings.settle,
            time_limit: self.settings.time_limit,
            max_keys: settings.max_keys,
            clock: &Timestamp::now,
            pause: &std::thread::sleep,
            on_page: self.on_page,
        }))
    }

    /// Returns the queues of a fleet; `None` if its driver is a map.
    fn queues(&self, fleet: &str, settings: &FleetSettings) -> Result<Option<&Queues>, ConnectError> {
        let Driver::Queue { url, dead_letters } = &settings.driver else { return Ok(None) };
        let missing = || ConnectError::Refused(format!("no fleet named {fleet:?}"));
        let queues = self.queues.get(fleet).ok_or_else(missing)?;
        if let Some(queues) = queues.get() {
            return Ok(Some(queues));
        }
        let connected = self.connect_queues(fleet, url, dead_letters.as_deref())?;
        Ok(Some(queues.get_or_init(|| connected)))
    }

    fn connect_queues(
        &self,
        fleet: &str,
        url: &str,
        dead_letters: Option<&str>,
    ) -> Result<Queues, ConnectError> {
        let queue = self.aws.queue(url);
        let named = || self.settings.queue_setting(fleet, url);
        let unusable = |source| ConnectError::Queue { named: named(), source };
        let attributes = queue.attributes().map_err(unusable)?;
        let problems = attributes.problems();
        if !problems.is_empty() {
            return Err(ConnectError::Refused(format!("{}: {}", named(), problems.join("; "))));
        }
        let dead_letters = match (dead_letters, &attributes.redrive) {
            (Some(url), _) => Some(self.aws.queue(url)),
            (None, Some(redrive)) => {
                let url = queue.url_of(&redrive.dead_letter_arn).map_err(unusable)?;
                Some(self.aws.queue(&url))
            }
            (None, None) => None,
        };
        Ok(Queues { queue, dead_letters })
    }

    /// Reads the configuration files of a new run. Before the first refresh of the names, there are none.
    fn inputs(&self, fleet: &FleetSettings) -> Result<Inputs, StoreError> {
        let read = |location: &Option<String>, owner: &Option<String>, limit: usize| {
            let read = |location| self.read(location, owner.as_deref(), limit as u64);
            location.as_deref().map(read).transpose()
        };
        let config = read(&fleet.config, &fleet.config_bucket_owner, MAX_CONFIG_BYTES)?;
        if fleet.job == Job::Index {
            return Ok(Inputs { config, ..Inputs::default() });
        }
        let files = self.enrichment_files(fleet, config.as_deref().unwrap_or_default())?;
        let refreshed = format!("s3://{}/{}", self.settings.common.results_bucket, layout::NAMES);
        let read_names = read(&fleet.names, &fleet.names_bucket_owner, MAX_NAMES_BYTES);
        let (names, lacks_names) = match read_names {
            Err(StoreError::NotFound(_)) if fleet.names.as_ref() == Some(&refreshed) => (None, true),
            names => (names?, false),
        };
        Ok(Inputs { config, names, files, lacks_names })
    }

    /// Reads the enrichment files of a configuration, except those that do not exist: the begin of the run names all of them.
    fn enrichment_files(
        &self,
        fleet: &FleetSettings,
        config: &[u8],
    ) -> Result<Vec<EnrichmentFile>, StoreError> {
        // The begin of the run reports the problems of the configuration.
        let Ok(config) = Config::from_bytes(config) else { return Ok(Vec::new()) };
        let base = fleet.config.as_deref().unwrap_or_default();
        let mut files = Vec::new();
        for file in enrichment::files(&config.enrichments) {
            let location = enrichment::location(base, file);
            // The buckets of its files belong to the owner of the configuration.
            let owner = fleet.config_bucket_owner.as_deref();
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
            let found = match self.aws.bucket(bucket, bucket_owner).get_limited(key, limit) {
                // It may be in another region.
                Err(StoreError::WrongBucket(_)) => {
                    let bucket = self.aws.find_bucket(bucket, bucket_owner, None);
                    bucket.map_err(|error| bucket_error(location, error))?.bucket.get_limited(key, limit)
                }
                found => found,
            };
            return found?.ok_or_else(|| StoreError::NotFound(format!("{location} does not exist").into()));
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

/// Returns the error for a file whose bucket cannot be used.
fn bucket_error(location: &str, error: BucketError) -> StoreError {
    if let BucketError::Unreachable { .. } = error {
        return StoreError::transient_because(location.to_owned(), error);
    }
    let message = format!("{location}: correct the location of the file");
    StoreError::WrongBucket(Problem::caused_by(message, error))
}
