//! Checks the buckets and the queue before the first message, because a worker with a wrong setting fails every object.

use anyhow::{Context, bail};
use flowherd_aws::{
    Aws,
    s3::Bucket,
    sqs::{QueueAttributes, SqsQueue},
};
use flowherd_indexer::job::Indexer;
use jiff::Timestamp;

use crate::{
    index::cluster::ClusterIndexer,
    settings::{Job, Settings},
};

/// The checked buckets of a worker.
#[derive(Debug)]
pub(crate) struct Buckets {
    pub(crate) source: Bucket,
    pub(crate) results: Bucket,
}

/// The checked queue of a worker.
#[derive(Debug)]
pub(crate) struct CheckedQueue {
    pub(crate) queue: SqsQueue,
    pub(crate) attributes: QueueAttributes,
}

impl Buckets {
    /// Connects to both buckets. An error names the variable to correct.
    pub(crate) fn new(settings: &Settings, aws: &Aws) -> anyhow::Result<Self> {
        // Does not list the source: a worker only reads objects.
        let source = aws
            .find_bucket(
                &settings.common.source_bucket,
                settings.common.source_bucket_owner.as_deref(),
                settings.common.source_bucket_region.as_deref(),
            )
            .with_context(|| format!("FLOWHERD_SOURCE_BUCKET={}", settings.common.source_bucket))?
            .bucket;
        let named = || format!("FLOWHERD_RESULTS_BUCKET={}", settings.common.results_bucket);
        let results = aws
            .find_bucket(
                &settings.common.results_bucket,
                settings.common.results_bucket_owner.as_deref(),
                None,
            )
            .with_context(named)?;
        if !results.is_readable {
            bail!(
                "{}: access is denied; allow s3:ListBucket on it, and check FLOWHERD_RESULTS_BUCKET_OWNER",
                named()
            );
        }
        Ok(Self { source, results: results.bucket })
    }
}

/// Returns the indexer of a worker that indexes; `None` for a worker that converts. Reads no secret and sends no request.
pub(crate) fn indexer<'a>(settings: &'a Settings, aws: &'a Aws) -> Option<ClusterIndexer<'a>> {
    let Job::Index(options) = &settings.job else { return None };
    let connect = || {
        let connection = aws.cluster(options, &|name| std::env::var(name).ok())?;
        Ok(Indexer::new(&connection)?)
    };
    Some(ClusterIndexer::new(connect, &Timestamp::now, aws.handle().clone()))
}

impl CheckedQueue {
    /// Connects to the queue. An error names the variable to correct.
    pub(crate) fn new(url: &str, aws: &Aws) -> anyhow::Result<Self> {
        let queue = aws.queue(url);
        let named = || format!("FLOWHERD_QUEUE_URL={url}");
        let attributes = queue.attributes().with_context(|| {
            format!(
                "{}: cannot read the queue's attributes; check its URL, region and sqs:GetQueueAttributes",
                named()
            )
        })?;
        let problems = attributes.problems();
        if !problems.is_empty() {
            bail!("{}: {}", named(), problems.join("; "));
        }
        Ok(Self { queue, attributes })
    }
}
