//! The connection to AWS, or to an S3- or SQS-compatible endpoint.

use std::{io, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_types::service_config::ServiceConfigKey;
use tokio::runtime::{Handle, Runtime};

use crate::{
    limit::{EndsInTime, TimeLimit},
    s3::{Bucket, BucketError, FoundBucket},
    sqs::SqsQueue,
};

/// Timeout of one attempt of a request. Far longer than a long poll, and enough to upload 16 MiB on a slow connection.
const ATTEMPT: Duration = Duration::from_mins(1);

/// Credentials, region and endpoint from the standard AWS environment, and the runtime of the SDK.
#[derive(Debug)]
pub struct Aws {
    runtime: Runtime,
    config: SdkConfig,
    time_limit: TimeLimit,
}

impl Aws {
    /// Reads the environment. The first request resolves the credentials.
    pub fn connect() -> io::Result<Self> {
        let runtime = Runtime::new()?;
        // By default the SDK waits for a response forever. The SDK's stalled-stream protection covers bodies.
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
        let config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load();
        let config = runtime.block_on(config);
        Ok(Self::with(runtime, config))
    }

    /// Creates a connection with a given configuration.
    #[must_use]
    pub fn with(runtime: Runtime, config: SdkConfig) -> Self {
        Self { runtime, config, time_limit: TimeLimit::default() }
    }

    /// Returns a bucket of the configured region; sends no request. If `owner` is given, S3 refuses requests to the bucket
    /// if another account owns it (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>).
    #[must_use]
    pub fn bucket(&self, name: &str, owner: Option<&str>) -> Bucket {
        self.bucket_in(self.config.region().cloned(), name, owner)
    }

    /// Checks that a bucket exists, and returns it with its own region. `region` is its known region; without one,
    /// `HeadBucket` finds it.
    ///
    /// # Errors
    /// [`BucketError`] if the bucket does not exist, is not in `region`, or S3 cannot be reached.
    pub fn find_bucket(
        &self,
        name: &str,
        owner: Option<&str>,
        region: Option<&str>,
    ) -> Result<FoundBucket, BucketError> {
        let given = region.map(|region| Region::new(region.to_owned()));
        let requested_region = given.clone().or_else(|| self.config.region().cloned());
        let (found, is_readable) = self.bucket_in(requested_region.clone(), name, owner).head_bucket()?;
        // Ignore the region that a store outside AWS returns: its one endpoint does not depend on it.
        let found = found.map(Region::new).filter(|_| !self.has_custom_endpoint());
        match (found, given) {
            (Some(found), Some(given)) if found != given => Err(BucketError::OtherRegion {
                bucket: name.to_owned(),
                given: given.to_string(),
                found: found.to_string(),
            }),
            (found, _) => Ok(FoundBucket {
                bucket: self.bucket_in(found.or(requested_region), name, owner),
                is_readable,
            }),
        }
    }

    fn bucket_in(&self, region: Option<Region>, name: &str, owner: Option<&str>) -> Bucket {
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .region(region)
            // Stores outside AWS rarely have the DNS names that virtual-hosted addressing needs.
            .force_path_style(self.has_custom_endpoint())
            .interceptor(EndsInTime(self.time_limit.clone()))
            .build();
        Bucket::new(aws_sdk_s3::Client::from_conf(config), self.handle().clone(), name, owner)
    }

    /// Returns whether S3 requests go to an endpoint outside AWS.
    fn has_custom_endpoint(&self) -> bool {
        self.endpoint("S3").is_some_and(|endpoint| !is_aws(&endpoint))
    }

    pub(crate) fn endpoint(&self, service: &'static str) -> Option<String> {
        endpoint(&self.config, service)
    }

    /// Returns a queue; sends no request.
    #[must_use]
    pub fn queue(&self, url: &str) -> SqsQueue {
        let config = aws_sdk_sqs::config::Builder::from(&self.config)
            .interceptor(EndsInTime(self.time_limit.clone()))
            .build();
        SqsQueue::new(aws_sdk_sqs::Client::from_conf(config), self.handle().clone(), url)
    }

    /// Returns the time limit of all requests to buckets and queues of this connection. Initially there is none.
    #[must_use]
    pub fn time_limit(&self) -> &TimeLimit {
        &self.time_limit
    }

    /// Returns the configuration for clients of other services.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Returns the handle of the runtime. Blocking calls run the SDK's futures on it.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }
}

/// Returns the endpoint that is configured for a service, or else the one for all services
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
pub(crate) fn endpoint(config: &SdkConfig, service: &'static str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let own = config.service_config().zip(key.ok()).and_then(|(config, key)| config.load_config(key));
    own.or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Returns whether an endpoint is a host of an AWS partition or a VPC endpoint.
pub(crate) fn is_aws(endpoint: &str) -> bool {
    let (_, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    // <https://docs.aws.amazon.com/general/latest/gr/rande.html>, and the hosts of the other partitions.
    let domains =
        ["amazonaws.com", "amazonaws.com.cn", "api.aws", "api.amazonwebservices.com.cn", "amazonaws.eu"];
    domains
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn endpoints_of_aws_are_recognized() {
        for endpoint in [
            "https://s3.eu-west-1.amazonaws.com",
            "https://s3.dualstack.us-east-1.amazonaws.com/",
            "https://bucket.vpce-1a2b-3c4d.s3.us-east-1.vpce.amazonaws.com:443",
            "https://s3.cn-north-1.amazonaws.com.cn",
            "https://s3.us-east-1.api.aws",
        ] {
            assert!(is_aws(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://localhost:9000",
            "http://127.0.0.1:4566",
            "https://minio.example.com",
            "https://notamazonaws.com",
        ] {
            assert!(!is_aws(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn an_s3_endpoint_outside_aws_is_addressed_by_path() {
        // In a child process, because the SDK reads the environment of the process.
        const CHILD: &str = "FLOWHERD_TEST_PATH_STYLE";
        if env::var_os(CHILD).is_some() {
            let aws = Aws::connect().unwrap();
            let _ = aws.find_bucket("my-bucket", None, None);
            return;
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://localhost:{}", server.local_addr().unwrap().port());
        let itself = "connect::tests::an_s3_endpoint_outside_aws_is_addressed_by_path";
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", itself])
            .env(CHILD, "1")
            .env_remove("AWS_ENDPOINT_URL")
            .env("AWS_ENDPOINT_URL_S3", &endpoint)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (connection, _) = server.accept().unwrap();
        let mut first = String::new();
        BufReader::new(&connection).read_line(&mut first).unwrap();
        (&connection).write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
        drop(connection);
        assert!(child.wait().unwrap().success());
        assert_eq!(first, "HEAD /my-bucket/ HTTP/1.1\r\n");
    }
}
