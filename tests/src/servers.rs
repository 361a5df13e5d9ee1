//! Servers that check requests more strictly than the local AWS: versitygw or SeaweedFS for S3, ElasticMQ for SQS.
//! `make test-servers` installs them into the project's own directories.

mod arrivals;

use std::{
    fmt, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::Credentials;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use flowherd_aws::{Aws, s3::Bucket, sqs::SqsQueue};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use self::arrivals::ArrivalsQueue;
use crate::local_cloud::wait_at_most;

const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "test";
const SECRET_KEY: &str = "testtest";
/// Time limit of a server's start.
const START: Duration = Duration::from_mins(1);
/// Maximum attempts to start a server. An attempt fails if another program takes one of the ports first.
const STARTS: u32 = 5;
/// Name of a server's log in its directory.
pub(crate) const LOG: &str = "log";

/// A server with the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Server {
    /// versitygw, over a directory.
    Versitygw,
    /// SeaweedFS: master, volume, filer and S3 in one process.
    SeaweedFs,
}

impl fmt::Display for S3Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Versitygw => "versitygw",
            Self::SeaweedFs => "SeaweedFS",
        })
    }
}

/// A server process. Dropping the value ends the process, also when a test fails.
#[derive(Debug)]
struct Server {
    process: Child,
    endpoint: String,
    /// Ports of an S3 server. SeaweedFS uses them in the names of its sockets.
    ports: Vec<u16>,
    state: TempDir,
}

impl Server {
    fn log(&self) -> PathBuf {
        self.state.path().join(LOG)
    }

    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.ports[0])).is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // SeaweedFS always creates sockets in /tmp, and SIGKILL leaves them. After SIGTERM it would take half a minute to
        // end.
        for port in &self.ports {
            for part in ["s3", "filer", "s3-grpc", "filer-grpc", "master-grpc", "volume-grpc"] {
                let _ = fs::remove_file(format!("/tmp/seaweedfs-{part}-{port}.sock"));
            }
        }
    }
}

/// A server with the SQS API.
#[derive(Debug)]
pub struct Sqs {
    server: Server,
    aws: Aws,
}

/// A server for S3 and a server for SQS: all that one fleet needs.
#[derive(Debug)]
pub struct Servers<'a> {
    /// The program that serves S3.
    pub kind: S3Server,
    server: Server,
    aws: Aws,
    /// The server for SQS.
    pub sqs: &'a Sqs,
}

/// A FIFO queue with its dead-letter queue.
#[derive(Debug)]
pub struct Queues {
    /// The queue.
    pub queue: SqsQueue,
    /// Its URL.
    pub url: String,
    /// Its dead-letter queue.
    pub dead: SqsQueue,
    /// URL of the dead-letter queue.
    pub dead_url: String,
    /// The ARN of the dead-letter queue.
    pub dead_arn: String,
}

impl Sqs {
    /// Starts ElasticMQ on a port that the system chooses.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let libraries = installed("target/tools/elasticmq");
        let state = tempfile::tempdir().unwrap();
        let config = root().join("tests/servers/elasticmq.conf");
        let mut command = Command::new("java");
        command.arg("-Xmx256m").arg(format!("-Dconfig.file={}", config.display()));
        command.arg("-cp").arg(libraries.join("*")).arg("org.elasticmq.server.Main");
        let mut process = spawn(command, &state);
        let log = state.path().join(LOG);
        let mut endpoint = None;
        wait_at_most(START, "ElasticMQ reports its port", || {
            let text = fs::read_to_string(&log).unwrap();
            assert!(process.try_wait().unwrap().is_none(), "ElasticMQ ended by itself:\n{text}");
            let port =
                text.split_once("bind address 127.0.0.1:").and_then(|(_, rest)| rest.split(',').next());
            endpoint = port.map(|port| format!("http://127.0.0.1:{port}"));
            endpoint.is_some()
        });
        let endpoint = endpoint.unwrap();
        let aws = connect(&endpoint, SECRET_KEY);
        Self { server: Server { process, endpoint, ports: Vec::new(), state }, aws }
    }

    /// Creates a queue with these attributes. Returns its URL.
    #[must_use]
    pub fn create(&self, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
        let request = aws_sdk_sqs::Client::new(self.aws.config()).create_queue().queue_name(name);
        let add =
            |request: aws_sdk_sqs::operation::create_queue::builders::CreateQueueFluentBuilder,
             (name, value): &(QueueAttributeName, &str)| request.attributes(name.clone(), *value);
        let request = attributes.iter().fold(request, add);
        self.aws.handle().block_on(request.send()).unwrap().queue_url.unwrap()
    }

    /// Creates a FIFO queue with a dead-letter queue.
    #[must_use]
    pub fn queues(&self, name: &str, visibility: Duration, max_deliveries: u32) -> Queues {
        let visibility = visibility.as_secs().to_string();
        let fifo = [
            (QueueAttributeName::FifoQueue, "true"),
            (QueueAttributeName::DeduplicationScope, "messageGroup"),
            (QueueAttributeName::FifoThroughputLimit, "perMessageGroupId"),
            (QueueAttributeName::VisibilityTimeout, &visibility),
        ];
        let dead_url = self.create(&format!("{name}-dead.fifo"), &fifo);
        let dead_arn = format!("arn:aws:sqs:{REGION}:000000000000:{name}-dead.fifo");
        let redrive =
            format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":"{max_deliveries}"}}"#);
        let attributes = [&fifo[..], &[(QueueAttributeName::RedrivePolicy, &redrive)]].concat();
        let url = self.create(&format!("{name}.fifo"), &attributes);
        Queues { queue: self.aws.queue(&url), url, dead: self.aws.queue(&dead_url), dead_url, dead_arn }
    }

    /// Returns the states of the message move tasks of a dead-letter queue.
    #[must_use]
    pub fn move_tasks(&self, arn: &str) -> Vec<String> {
        let request = aws_sdk_sqs::Client::new(self.aws.config()).list_message_move_tasks().source_arn(arn);
        let response = self.aws.handle().block_on(request.send()).unwrap();
        response.results().iter().filter_map(|task| task.status().map(str::to_owned)).collect()
    }
}

impl Sqs {
    /// Moves `count` dead-letter messages back. Like a message move task, it sends each one as a new message.
    pub fn redrive(&self, queues: &Queues, count: usize) {
        let client = aws_sdk_sqs::Client::new(self.aws.config());
        let mut moved = 0;
        while moved < count {
            let request = client.receive_message().queue_url(&queues.dead_url).wait_time_seconds(1);
            let all = MessageSystemAttributeName::All;
            let request = request.max_number_of_messages(10).message_system_attribute_names(all);
            for message in self.aws.handle().block_on(request.send()).unwrap().messages.unwrap_or_default() {
                let group = message.attributes.unwrap()[&MessageSystemAttributeName::MessageGroupId].clone();
                let send = client.send_message().queue_url(&queues.url).message_group_id(group);
                let send = send.message_deduplication_id(format!("moved-{}", message.message_id.unwrap()));
                self.aws.handle().block_on(send.message_body(message.body.unwrap()).send()).unwrap();
                let delete = client.delete_message().queue_url(&queues.dead_url);
                let delete = delete.receipt_handle(message.receipt_handle.unwrap());
                self.aws.handle().block_on(delete.send()).unwrap();
                moved += 1;
            }
        }
    }
}

impl<'a> Servers<'a> {
    /// Starts a server for S3 on free ports.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    #[must_use]
    pub fn start(kind: S3Server, sqs: &'a Sqs) -> Self {
        let started = (0..STARTS).find_map(|_| {
            let server = match kind {
                S3Server::Versitygw => start_versitygw(),
                S3Server::SeaweedFs => start_seaweedfs(),
            };
            let aws = connect(&server.endpoint, SECRET_KEY);
            let mut servers = Self { kind, server, aws, sqs };
            servers.has_started().then_some(servers)
        });
        started.unwrap_or_else(|| panic!("{kind}: other programs took its ports in {STARTS} attempts"))
    }

    /// Waits until the server creates a bucket, because it listens before all of its parts are ready. Returns false if it
    /// ended because another program has one of its ports.
    fn has_started(&mut self) -> bool {
        let mut has_ended = false;
        wait_at_most(START, "the S3 server creates a bucket", || {
            has_ended = self.server.process.try_wait().unwrap().is_some();
            has_ended || self.server.listens() && self.try_bucket("ready")
        });
        if has_ended {
            let log = fs::read_to_string(self.server.log()).unwrap();
            assert!(log.contains("address already in use"), "{} ended by itself:\n{log}", self.kind);
        }
        !has_ended
    }

    fn try_bucket(&self, name: &str) -> bool {
        let config = aws_sdk_s3::config::Builder::from(self.aws.config()).force_path_style(true).build();
        let request = aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(name);
        self.aws.handle().block_on(request.send()).is_ok()
    }

    /// Creates a bucket.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Bucket {
        assert!(self.try_bucket(name), "cannot create the bucket {name}");
        self.aws.bucket(name, None)
    }

    /// Returns the environment of a program that uses both servers.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL_S3", self.server.endpoint.clone()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.server.endpoint.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }
}

fn connect(endpoint: &str, secret: &str) -> Aws {
    let runtime = Runtime::new().unwrap();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(ACCESS_KEY, secret, None, None, "test"));
    let config = runtime.block_on(config.load());
    Aws::with(runtime, config)
}

/// Starts versitygw on a port that was free a moment ago. It accepts port 0, but reports 0 instead of the port that the
/// system chose.
fn start_versitygw() -> Server {
    let program = installed("target/tools/bin/versitygw");
    let state = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>(0);
    for directory in ["data", "sidecar"] {
        fs::create_dir(state.path().join(directory)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["--port", &format!("127.0.0.1:{port}"), "--access", ACCESS_KEY, "--secret", SECRET_KEY]);
    // Keeps metadata in files, because not every file system has extended attributes.
    command.args(["--region", REGION, "--quiet", "posix", "--sidecar"]);
    command.arg(state.path().join("sidecar")).arg(state.path().join("data"));
    start(command, state, &[port])
}

/// Starts SeaweedFS on ports that were free a moment ago. Its parts address each other by the configured ports, so the system
/// cannot choose them.
fn start_seaweedfs() -> Server {
    let program = installed(".venv-servers/bin/weed");
    let state = tempfile::tempdir().unwrap();
    // Each part also listens on its port + 10000, for gRPC.
    let [s3, master, volume, filer] = free_ports::<4>(10_000);
    let identities = serde_json::json!({ "identities": [{
        "name": "test",
        "credentials": [{ "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }] });
    let identities_file = state.path().join("s3.json");
    fs::write(&identities_file, identities.to_string()).unwrap();
    let mut command = Command::new(program);
    command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
    // Each bucket needs several volumes. Empty volumes take little space.
    command.args(["-master.volumeSizeLimitMB=64", "-volume.max=1000"]);
    command.arg(format!("-dir={}", state.path().display()));
    command.arg(format!("-s3.config={}", identities_file.display()));
    for (part, port) in [("s3", s3), ("master", master), ("volume", volume), ("filer", filer)] {
        command.arg(format!("-{part}.port={port}"));
    }
    let ports = [s3, master, volume, filer].map(|port| [port, port + 10_000]);
    start(command, state, ports.as_flattened())
}

/// Starts a server, whose API is on the first of `ports`.
fn start(command: Command, state: TempDir, ports: &[u16]) -> Server {
    let process = spawn(command, &state);
    Server { process, endpoint: format!("http://127.0.0.1:{}", ports[0]), ports: ports.to_vec(), state }
}

fn spawn(mut command: Command, state: &TempDir) -> Child {
    let log = fs::File::create(state.path().join(LOG)).unwrap();
    command.current_dir(state.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let name = command.get_program().display().to_string();
    command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}; install it"))
}

/// Returns free ports of 127.0.0.1. For each of them, the port plus `offset` is free too.
pub(crate) fn free_ports<const COUNT: usize>(offset: u16) -> [u16; COUNT] {
    // All listeners stay open until all ports are found, so that no port is returned twice.
    let mut held = Vec::new();
    [(); COUNT].map(|()| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            held.push(listener);
            if offset == 0 {
                break port;
            }
            // The system chooses high ports: use its port as the one with the offset added, and return the lower one.
            let Some(port) = port.checked_sub(offset).filter(|port| *port > 10_000) else { continue };
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                held.push(listener);
                break port;
            }
        }
    })
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn installed(path: &str) -> PathBuf {
    let path = root().join(path);
    assert!(path.exists(), "no {}: `make test-servers` installs it, and runs these tests", path.display());
    path
}
