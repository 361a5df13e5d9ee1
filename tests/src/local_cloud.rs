//! An AWS on this machine, without Docker: ministack, from the project's own `.venv`, on a free port of 127.0.0.1.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::types::QueueAttributeName;
use flowherd_worker::aws::{s3::Bucket, sqs::SqsQueue};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const REGION: &str = "us-east-1";

/// The local cloud. Stopped when dropped, also when a test fails.
#[derive(Debug)]
pub struct LocalCloud {
    server: Child,
    /// What the programs under test are given as `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    runtime: Runtime,
    config: SdkConfig,
    _state: TempDir,
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl LocalCloud {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If it is not installed: `make test` installs it.
    #[must_use]
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let program = root.join(".venv/bin/ministack");
        assert!(program.exists(), "no {}: `make test` installs it", program.display());
        // Free at this moment; nobody else takes ports here.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let state = tempfile::tempdir().unwrap();
        let server = Command::new(program)
            .current_dir(state.path())
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("SFTP_ENABLED", "0")
            .env("IOT_MTLS_ENABLED", "0")
            .env("AWS_ENDPOINT_URL", &endpoint)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::new(REGION))
            .test_credentials();
        let config = runtime.block_on(config.load());
        let mut cloud = Self { server, endpoint, runtime, config, _state: state };
        wait_until("the local cloud answers", || {
            assert!(cloud.server.try_wait().unwrap().is_none(), "the local cloud ended by itself");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        cloud
    }

    /// The environment of a program that is to use it.
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

    /// A new bucket.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Bucket {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(true).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        self.runtime.block_on(client.create_bucket().bucket(name).send()).unwrap();
        Bucket::new(client, self.runtime.handle().clone(), name)
    }

    /// A new FIFO queue in high-throughput mode with a dead-letter queue behind it: the queue, its URL, the dead letters.
    #[must_use]
    pub fn queue(
        &self,
        name: &str,
        visibility: Duration,
        max_deliveries: u32,
    ) -> (SqsQueue, String, SqsQueue) {
        let client = aws_sdk_sqs::Client::new(&self.config);
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
            self.runtime.block_on(request.send()).unwrap().queue_url.unwrap()
        };
        let dead_url = create(format!("{name}-dead"), &[]);
        let arn = format!("arn:aws:sqs:{REGION}:000000000000:{name}-dead.fifo");
        let redrive = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{max_deliveries}}}"#);
        let url = create(name.to_owned(), &[(QueueAttributeName::RedrivePolicy, redrive)]);
        let queue = |url: &str| SqsQueue::new(client.clone(), self.runtime.handle().clone(), url);
        (queue(&url), url.clone(), queue(&dead_url))
    }
}

/// Waits until something is so.
///
/// # Panics
/// If it is not so within two minutes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        // The local cloud needs the processor more than we do.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
