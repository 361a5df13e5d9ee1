//! The worker as ECS runs it on Fargate: with exactly the arguments and the environment of the task definition, and with the
//! credentials of the task role.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use flowherd_shared::queue::{Queue, QueueDepth};
use flowherd_tests::{
    command::Running,
    local_cloud::wait_until,
    recording_proxy::{RecordingProxy, Request},
    requests::policy::Template,
};
use serde_json::{Value, json};

use super::cloud::{Fleet, WORKER, report, stop};

const ACCESS_KEY: &str = "ASIAOFTHETASKROLE000";
const SESSION_TOKEN: &str = "TokenOfTheTaskRole";

/// Serves the credentials of a task role, as the agent of ECS does, until the process ends. Returns its URL.
///
/// ECS sets `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, a path on 169.254.170.2. The same provider of the SDK reads a URL on the
/// loopback address from `AWS_CONTAINER_CREDENTIALS_FULL_URI`
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
fn credentials_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v2/credentials/task", listener.local_addr().unwrap());
    let credentials = json!({
        "RoleArn": "arn:aws:iam::000000000000:role/task",
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": "SecretOfTheTaskRole",
        "Token": SESSION_TOKEN,
        "Expiration": "2099-01-01T00:00:00Z",
    });
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            head(&connection);
            respond(&connection, "200 OK", &credentials.to_string());
        }
    });
    url
}

/// Reads the head of a request.
fn head(connection: &TcpStream) -> String {
    let lines = BufReader::new(connection).lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

fn respond(mut connection: &TcpStream, status: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}");
    let response = format!("{head}\r\nconnection: close\r\n\r\n{body}");
    connection.write_all(response.as_bytes()).unwrap();
}

/// Starts a worker in an environment that has only these variables.
fn start(args: &[String], environment: &[(String, String)]) -> Running {
    let mut command = Command::new(WORKER);
    command.args(args).env_clear().envs(environment.iter().cloned()).stdin(Stdio::null());
    Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the worker starts"))
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_worker_signs_its_requests_with_the_credentials_of_the_task_role() {
    let s3 = TcpListener::bind("127.0.0.1:0").unwrap();
    let environment = [
        variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials_endpoint()),
        variable("AWS_ENDPOINT_URL", &format!("http://{}", s3.local_addr().unwrap())),
        variable("AWS_REGION", "eu-west-1"),
        variable("FLOWHERD_SOURCE_BUCKET", "source"),
        variable("FLOWHERD_RESULTS_BUCKET", "results"),
        variable("FLOWHERD_QUEUE_URL", "http://127.0.0.1:1/1/tasks.fifo"),
    ];
    let mut worker = start(&["--poll".to_owned()], &environment);
    let (connection, _) = s3.accept().unwrap();
    let head = head(&connection).to_ascii_lowercase();
    respond(&connection, "404 Not Found", "");
    assert!(head.contains(&format!("credential={ACCESS_KEY}/").to_ascii_lowercase()), "{head}");
    assert!(head.contains(&format!("x-amz-security-token: {SESSION_TOKEN}").to_ascii_lowercase()), "{head}");
    let mut log = String::new();
    worker.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    // The worker ends, and ECS replaces the task, so the container needs no health check.
    assert_eq!(worker.wait(), 2, "{log}");
    assert!(log.contains("cannot work") && log.contains("FLOWHERD_SOURCE_BUCKET=source"), "{log}");
}

/// The container of the task definition, with the names of this fleet in place of the template's references.
fn container(queue_url: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let references = BTreeMap::from([
        ("AWS::AccountId", "000000000000".to_owned()),
        ("AWS::Region", "us-east-1".to_owned()),
        ("ResultsBucket", "results".to_owned()),
        ("TasksQueue", queue_url.to_owned()),
    ]);
    let settings = json!({
        "sourceBucket": "source",
        "prefixes": "firehose/",
        "workers": "fargate",
        "tasks": {"max": 3, "vcpu": 1, "memoryMb": 2048},
        "image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/flowherd/worker:1",
    });
    let template = Template::synthesize(directory.path(), settings, references);
    let definitions = template.property("AWS::ECS::TaskDefinition", "ContainerDefinitions");
    let [container] = definitions.as_array().unwrap().as_slice() else { panic!("{definitions}") };
    ["EntryPoint", "Command", "Environment"]
        .map(|name| (name.to_owned(), template.resolve(&container[name])))
        .into_iter()
        .collect()
}

fn texts(values: &Value) -> Vec<String> {
    values.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn is_signed_with_the_task_role(request: &Request) -> bool {
    let credential = format!("Credential={ACCESS_KEY}/");
    request.header("authorization").is_some_and(|header| header.contains(&credential))
        && request.header("x-amz-security-token") == Some(SESSION_TOKEN)
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn the_task_of_the_template_processes_the_queue_and_returns_its_messages_on_sigterm() {
    // With this visibility timeout, a message that is not returned would stay in flight longer than this test waits.
    let fleet = Fleet::with(200, 60, &["--malformed", "3"], (Duration::from_mins(30), 5));
    let container = container(fleet.queue_url());
    assert_eq!(texts(&container["EntryPoint"]), ["/flowherd-worker"]);
    let proxy = RecordingProxy::start(fleet.cloud.endpoint["http://".len()..].parse().unwrap());
    let given = container["Environment"].as_array().unwrap().iter();
    let environment: Vec<(String, String)> = given
        .map(|pair| variable(pair["Name"].as_str().unwrap(), pair["Value"].as_str().unwrap()))
        .chain([
            variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials_endpoint()),
            variable("AWS_ENDPOINT_URL", &proxy.endpoint),
        ])
        .collect();
    let task = || start(&texts(&container["Command"]), &environment).without_output();

    let run = fleet.start(&["run", "--prefix", "firehose/", "--run", "r", "--watch", "--json"]);
    let first = task();
    let is_working = || fleet.done("r") >= 10 && fleet.queue.depth().unwrap().in_flight > 0;
    wait_until("the task is working", is_working);
    stop(first);
    // It has finished its objects and returned the other messages.
    assert_eq!(fleet.queue.depth().unwrap().in_flight, 0);

    let second = task();
    let ran = run.output();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    stop(second);
    assert_eq!(report(&ran)["state"], "done");
    fleet.check_same_as_convert(&report(&ran));
    assert_eq!(fleet.queue.depth().unwrap(), QueueDepth::default());
    let requests = proxy.requests();
    assert!(requests.len() > 200 && requests.iter().all(is_signed_with_the_task_role));
}
