//! The connection to AWS, or to whatever endpoint stands in its place.

use std::{io, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, timeout::TimeoutConfig};
use tokio::runtime::{Handle, Runtime};

use crate::{s3::Bucket, sqs::SqsQueue};

/// How long one attempt at a request may take: far above a long poll, and enough for 8 MiB on a slow line.
const ATTEMPT: Duration = Duration::from_mins(1);

/// Credentials, region and endpoint of the ordinary AWS environment, and the runtime on which the SDK works.
#[derive(Debug)]
pub struct Aws {
    runtime: Runtime,
    config: SdkConfig,
}

impl Aws {
    /// Reads the environment. Credentials are looked for only when the first request needs them.
    pub fn connect() -> io::Result<Self> {
        let runtime = Runtime::new()?;
        // The SDK waits for ever for an answer on a connection that has gone quiet. Bodies have a watch of their own.
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
        let config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load();
        let config = runtime.block_on(config);
        Ok(Self::with(runtime, config))
    }

    /// With a configuration of one's own.
    #[must_use]
    pub fn with(runtime: Runtime, config: SdkConfig) -> Self {
        Self { runtime, config }
    }

    /// A bucket. `owner` is the account that it must belong to, if that is known: a bucket of the same name that somebody
    /// else made is then refused
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>).
    #[must_use]
    pub fn bucket(&self, name: &str, owner: Option<&str>) -> Bucket {
        // By path, not by host name, where an endpoint is given: a local one has no such host names.
        let by_path = self.config.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(by_path).build();
        Bucket::new(aws_sdk_s3::Client::from_conf(config), self.handle().clone(), name, owner)
    }

    /// A queue.
    #[must_use]
    pub fn queue(&self, url: &str) -> SqsQueue {
        SqsQueue::new(aws_sdk_sqs::Client::new(&self.config), self.handle().clone(), url)
    }

    /// For clients of other services.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Where blocking calls wait.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
}
