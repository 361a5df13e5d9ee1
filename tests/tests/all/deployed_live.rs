//! A live fleet as the deployed stack on the local cloud: events of the bucket, the arrivals function, and a close by the step
//! loop.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
    time::Instant,
};

use flowherd_shared::store::Store;
use flowherd_tests::{
    command::flowherd_in,
    local_cloud::wait_until,
    objects::{FLOW, envelope, event, gzip},
    python_server::python,
};
use serde_json::{Value, json as value};

use super::{
    deployed::{Deployed, json},
    place::{PROGRAM, Place},
};

/// Lets the bucket send its events to `EventBridge`, and keeps what its notifications have.
const ENABLE: &str = r"
import sys, botocore.session
s3 = botocore.session.get_session().create_client(
    's3', region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id='test', aws_secret_access_key='test')
notifications = s3.get_bucket_notification_configuration(Bucket='archive')
notifications.pop('ResponseMetadata')
s3.put_bucket_notification_configuration(
    Bucket='archive', NotificationConfiguration={**notifications, 'EventBridgeConfiguration': {}})
";

/// Calls an operation of `EventBridge` on the rule with this name, such as `disable_rule`.
const RULE: &str = r"
import sys, botocore.session
events = botocore.session.get_session().create_client(
    'events', region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id='test', aws_secret_access_key='test')
getattr(events, sys.argv[2])(Name=sys.argv[3])
";

fn call(deployed: &Deployed, script: &str, args: &[&str]) {
    let mut command = Command::new(python());
    let status = command.args(["-c", script, &deployed.cloud.endpoint]).args(args).status().unwrap();
    assert!(status.success(), "{args:?}");
}

fn status(deployed: &Deployed) -> Value {
    let ran = deployed.flowherd(&["live", "status", "--json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    json(&ran)[0]["today"].clone()
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_deployed_live_fleet_converts_objects_as_they_arrive_and_closes_their_day() {
    let deployed = Deployed::with_settings(Place::synth(1, 1, &[]), &[], &["live=true".to_owned()]);
    let check = deployed.flowherd(&["live", "check"]);
    assert_eq!(check.status, 1, "{check:?}");
    assert!(check.stderr.contains("does not send its events to EventBridge"), "{check:?}");
    call(&deployed, ENABLE, &[]);

    let day = status(&deployed)["day"].as_str().unwrap().to_owned();
    let source = deployed.cloud.aws().bucket("archive", None);
    let object = gzip(envelope("g", &[event(1, FLOW)]).as_bytes());
    let began = Instant::now();
    for number in 0..20 {
        let key = format!("firehose/{}/10/a b+%ü-{number}", day.replace('-', "/"));
        source.put(&key, &object).unwrap();
    }
    wait_until("all objects are done", || status(&deployed)["done"] == 20);
    let latency = status(&deployed)["latency"].clone();
    println!("20 objects done after {:?}; latency {latency}", began.elapsed());
    let check = deployed.flowherd(&["live", "check"]);
    assert_eq!((check.status, check.stdout.contains("sent to EventBridge")), (0, true), "{check:?}");
    a_disabled_rule_is_a_problem(&deployed);

    // An object without an event, because the rule does not have its prefix, is no object of the fleet.
    source.put("other/a", &object).unwrap();
    let closed = deployed.flowherd(&["live", "close", "--day", &day]);
    assert_eq!(closed.status, 0, "{closed:?}");
    let run = format!("live-main-{day}");
    wait_until("the day has a report", || deployed.flowherd(&["report", &run]).status == 0);
    let report = json(&deployed.flowherd(&["report", &run, "--json"]));
    assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &20.into()), "{report}");
    assert_eq!(
        (&report["objects"]["listed"], &report["records"]["rows"]),
        (&20.into(), &20.into()),
        "{report}"
    );
    let yesterday = deployed.flowherd(&["live", "status"]);
    assert!(yesterday.stdout.contains("not closed"), "{yesterday:?}");
}

/// `live check` reads the rule of the stack, and names the command that fixes it.
fn a_disabled_rule_is_a_problem(deployed: &Deployed) {
    let rule = || json(&deployed.flowherd(&["live", "check", "--json"]))["rule"].clone();
    let found = rule();
    assert_eq!(found["differences"], value!([]), "{found}");
    let name = found["name"].as_str().unwrap();
    call(deployed, RULE, &["disable_rule", name]);
    let check = deployed.flowherd(&["live", "check"]);
    let command = format!("the EventBridge rule {name} is disabled");
    assert_eq!((check.status, check.stderr.contains(&command)), (1, true), "{check:?}");
    assert!(check.stderr.contains(&format!("aws events enable-rule --name {name}")), "{check:?}");
    assert!(check.stdout.contains("rule      disabled"), "{check:?}");
    call(deployed, RULE, &["enable_rule", name]);
    assert_eq!(rule()["differences"], value!([]));
    // Without the right to read the rule, the command names it and checks the rest.
    let endpoint = [("AWS_ENDPOINT_URL_EVENTBRIDGE", server_that_denies())];
    let environment = deployed.cloud.environment().chain(endpoint);
    let check = flowherd_in(PROGRAM, environment, ["live", "check"]);
    assert_eq!((check.status, check.stdout.contains("arrivals  0 waiting")), (0, true), "{check:?}");
    for part in [
        &format!("cannot read the EventBridge rule {name}: DescribeRule is refused"),
        "allow events:DescribeRule",
    ] {
        assert!(check.stderr.contains(part), "{part}: {check:?}");
    }
}

/// Starts a server that denies every request of a JSON API. It ends with the test process. Returns its URL.
fn server_that_denies() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            let mut lines = BufReader::new(&connection);
            let (mut line, mut length) = (String::new(), 0);
            while lines.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            lines.read_exact(&mut vec![0; length]).unwrap();
            let body = r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#;
            let head = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length";
            write!(&connection, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    endpoint
}

/// The chain in front of the source bucket: it also enables its events, and measures.
fn chain(deployed: &Deployed, args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("live/chain.py");
    let output = Command::new(python())
        .arg("-B")
        .arg(script)
        .args(args)
        .envs(deployed.cloud.environment())
        .output()
        .expect("python starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {text}{errors}");
    text.into_owned()
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn a_log_event_and_a_record_of_a_data_stream_become_one_row_each_in_athena() {
    let deployed = Deployed::with_settings(Place::synth(1, 1, &[]), &[], &["live=true".to_owned()]);
    chain(&deployed, &["create", "archive", "firehose/"]);
    // Each call sends ten lines, and fails unless Athena has exactly ten rows of them in time.
    for args in [&["measure", PROGRAM][..], &["measure", PROGRAM, "--kinesis"]] {
        let measured = chain(&deployed, args);
        assert!(measured.contains("Athena: 10 rows after"), "{measured}");
    }
    // Each of the two objects has a receipt, and no event was refused.
    let today = status(&deployed);
    assert_eq!((&today["failed"], today["done"].as_u64() >= Some(2)), (&0.into(), true), "{today}");
    let check = deployed.flowherd(&["live", "check"]);
    assert!(check.stdout.contains("0 dead-letter messages"), "{check:?}");
}
