//! A local AWS without Docker: ministack, from the project's own `.venv`.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_lambda::{
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime as FunctionRuntime},
};
use aws_sdk_sqs::types::QueueAttributeName;
use flowherd_aws::{Aws, s3::Bucket, sqs::SqsQueue};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::python_server::{PythonServer, python};

const REGION: &str = "us-east-1";

/// A local AWS. It stops when this is dropped, also when a test fails.
#[derive(Debug)]
pub struct LocalCloud {
    /// The value of `AWS_ENDPOINT_URL` for the programs under test.
    pub endpoint: String,
    aws: Aws,
    _server: PythonServer,
    _state: TempDir,
}

impl LocalCloud {
    /// Starts a local AWS of its own for a test.
    ///
    /// # Panics
    /// If ministack is not installed: `make test` installs it.
    #[must_use]
    pub fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let server = PythonServer::start("local_cloud.py", None, state.path());
        let endpoint = server.endpoint();
        let runtime = Runtime::new().unwrap();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::new(REGION))
            .test_credentials();
        let config = runtime.block_on(config.load());
        Self { endpoint, aws: Aws::with(runtime, config), _server: server, _state: state }
    }

    /// Returns the environment for programs that use this AWS.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        let given = [("AWS_ENDPOINT_URL", self.endpoint.as_str()), ("AWS_REGION", REGION)];
        let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        given
            .into_iter()
            .chain(keys)
            .map(|(name, value)| (name, value.to_owned()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Creates a bucket.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Bucket {
        let config = aws_sdk_s3::config::Builder::from(self.aws.config()).force_path_style(true).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        self.aws.handle().block_on(client.create_bucket().bucket(name).send()).unwrap();
        self.aws.bucket(name, None)
    }

    /// Returns the connection.
    #[must_use]
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Returns a connection through the proxy at `endpoint`.
    #[must_use]
    pub fn through(&self, endpoint: &str) -> Aws {
        let config = self.aws.config().to_builder().endpoint_url(endpoint).build();
        Aws::with(Runtime::new().unwrap(), config)
    }

    /// Creates a FIFO queue in high-throughput mode with a dead-letter queue. Returns the queue, its URL and the dead-letter queue.
    #[must_use]
    pub fn queue(
        &self,
        name: &str,
        visibility: Duration,
        max_deliveries: u32,
    ) -> (SqsQueue, String, SqsQueue) {
        let client = aws_sdk_sqs::Client::new(self.aws.config());
        let create = |name: String, more: &[(QueueAttributeName, String)]| {
            let request = client
                .create_queue()
                .queue_name(format!("{name}.fifo"))
                .attributes(QueueAttributeName::FifoQueue, "true")
                .attributes(QueueAttributeName::DeduplicationScope, "messageGroup")
                .attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId")
                .attributes(QueueAttributeName::VisibilityTimeout, visibility.as_secs().to_string());
            let request =
                more.iter().fold(request, |request, (name, value)| request.attributes(name.clone(), value));
            self.aws.handle().block_on(request.send()).unwrap().queue_url.unwrap()
        };
        let dead_url = create(format!("{name}-dead"), &[]);
        let arn = format!("arn:aws:sqs:{REGION}:000000000000:{name}-dead.fifo");
        let redrive = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{max_deliveries}}}"#);
        let url = create(name.to_owned(), &[(QueueAttributeName::RedrivePolicy, redrive)]);
        (self.aws.queue(&url), url.clone(), self.aws.queue(&dead_url))
    }
}

/// A Lambda function.
#[derive(Debug)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// The program that it runs.
    pub program: &'a str,
    /// Files beside the program.
    pub files: &'a [&'a Path],
    /// Its environment.
    pub environment: &'a [(&'a str, &'a str)],
    /// Time limit of an invocation.
    pub timeout: Duration,
}

impl LocalCloud {
    /// Creates a Lambda function on `provided.al2023`.
    pub fn function(&self, function: &Function<'_>) {
        let place = tempfile::tempdir().unwrap();
        let bootstrap = place.path().join("bootstrap");
        // Debug information would be uploaded and unpacked for each function.
        let stripped = Command::new("strip").arg("-o").arg(&bootstrap).arg(function.program).status();
        assert!(stripped.expect("strip starts").success());
        let zip = place.path().join("function.zip");
        let zipped = Command::new(python())
            .args(["-m", "zipfile", "-c"])
            .arg(&zip)
            .arg(&bootstrap)
            .args(function.files)
            .status();
        assert!(zipped.expect("python starts").success());
        let code = Blob::new(std::fs::read(zip).unwrap());
        let variables = function.environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let request = self
            .lambda()
            .create_function()
            .function_name(function.name)
            .runtime(FunctionRuntime::Providedal2023)
            .handler("bootstrap")
            .role("arn:aws:iam::000000000000:role/test")
            .timeout(i32::try_from(function.timeout.as_secs()).unwrap())
            .memory_size(1769)
            .environment(Environment::builder().set_variables(Some(variables.collect())).build())
            .code(FunctionCode::builder().zip_file(code).build());
        self.aws.handle().block_on(request.send()).unwrap();
    }

    /// Invokes a function. Returns its response, or its error.
    pub fn invoke(
        &self,
        name: &str,
        event: &serde_json::Value,
    ) -> Result<serde_json::Value, serde_json::Value> {
        let request = self.lambda().invoke().function_name(name).payload(Blob::new(event.to_string()));
        let answer = self.aws.handle().block_on(request.send()).unwrap();
        let payload = serde_json::from_slice(answer.payload.unwrap_or_else(|| Blob::new("null")).as_ref());
        let payload = payload.unwrap();
        if answer.function_error.is_some() { Err(payload) } else { Ok(payload) }
    }

    /// Creates an event source mapping from a queue to a function, as the stack does.
    pub fn trigger(&self, name: &str, queue: &str) {
        let request = self
            .lambda()
            .create_event_source_mapping()
            .function_name(name)
            .event_source_arn(format!("arn:aws:sqs:{REGION}:000000000000:{queue}.fifo"))
            .batch_size(10)
            .function_response_types(aws_sdk_lambda::types::FunctionResponseType::ReportBatchItemFailures);
        self.aws.handle().block_on(request.send()).unwrap();
    }

    /// Returns the keys with a multipart upload in progress.
    #[must_use]
    pub fn uploads_in_parts(&self, bucket: &str) -> Vec<String> {
        let config = aws_sdk_s3::config::Builder::from(self.aws.config()).force_path_style(true).build();
        let request = aws_sdk_s3::Client::from_conf(config).list_multipart_uploads().bucket(bucket);
        let answer = self.aws.handle().block_on(request.send()).unwrap();
        answer.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect()
    }

    fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(self.aws.config())
    }
}

/// Polls a condition until it holds.
///
/// # Panics
/// If it does not hold within five minutes. The limit only ends tests that would hang: on a quiet machine every condition holds
/// within two minutes.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_at_most(Duration::from_mins(5), what, holds);
}

/// Polls a condition with another deadline.
///
/// # Panics
/// If it does not hold by then.
pub fn wait_at_most(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        // Leave the processor to the local AWS.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
