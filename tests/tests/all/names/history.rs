//! `flowherd names --from-config`: historical names, from files in the form of AWS Config and CloudTrail.

use std::{fs, io::Write, path::Path, process::Command};

use flate2::{Compression, write::GzEncoder};
use flowherd_shared::store::Store;
use flowherd_tests::{
    command::{Ran, flowherd, flowherd_in},
    local_cloud::LocalCloud,
    objects::{convert, envelope, event},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{MIDNIGHT, PROGRAM, command::json_of, plan};

const ACCOUNT: &str = "123456789012";

fn gzip(document: &Value) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut gzip, document).unwrap();
    gzip.finish().unwrap()
}

/// Returns a configuration item of 2026-02-18. Without a configuration the resource is deleted.
#[expect(clippy::needless_pass_by_value, reason = "the callers write the value in place")]
fn item(kind: &str, id: &str, at: &str, configuration: Option<Value>, name: Option<&str>) -> Value {
    json!({
        "version": "1.3", "accountId": ACCOUNT, "configurationItemCaptureTime": format!("2026-02-18T{at}.123Z"),
        "configurationItemStatus": if configuration.is_some() { "OK" } else { "ResourceDeleted" },
        "configurationStateId": "1771394400123", "arn": format!("arn:aws:ec2:eu-west-1:{ACCOUNT}:x/{id}"),
        "resourceType": format!("AWS::EC2::{kind}"), "resourceId": id, "awsRegion": "eu-west-1", "availabilityZone": "eu-west-1a",
        "tags": name.map_or(json!({}), |name| json!({ "Name": name })), "relatedEvents": [], "relationships": [],
        "configuration": configuration, "supplementaryConfiguration": {}, "resourceTransitionStatus": "None",
    })
}

fn interface(at: &str, instance: Option<&str>) -> Value {
    let attachment = instance
        .map(|id| json!({ "attachmentId": "eni-attach-1", "instanceId": id, "deleteOnTermination": false }));
    let configuration = json!({
        "networkInterfaceId": "eni-1", "subnetId": "subnet-1", "vpcId": "vpc-1", "ownerId": ACCOUNT, "description": "spare",
        "interfaceType": "interface", "privateIpAddress": "10.0.1.4", "attachment": attachment, "groups": [], "status": "in-use",
    });
    item("NetworkInterface", "eni-1", at, Some(configuration), None)
}

fn snapshot(items: &[Value]) -> Value {
    json!({ "fileVersion": "1.0", "configSnapshotId": "16da64e4-cb65-4846-b061-e6c3ba43cb96", "configurationItems": items })
}

/// Returns the files of a day in which an interface belongs to two instances, by key.
fn files() -> Vec<(String, Vec<u8>)> {
    let below = format!("AWSLogs/{ACCOUNT}/Config/eu-west-1/2026/2/18");
    let of =
        |kind: &str, name: &str| format!("{below}/{kind}/{ACCOUNT}_Config_eu-west-1_{kind}_{name}.json.gz");
    let history =
        |kind: &str| of("ConfigHistory", &format!("AWS::EC2::{kind}_20260218T000000Z_20260218T235959Z_1"));
    let subnet =
        json!({ "subnetId": "subnet-1", "vpcId": "vpc-1", "cidrBlock": "10.0.1.0/24", "ownerId": ACCOUNT });
    let instances = [("i-web", "web"), ("i-db", "database")]
        .map(|(id, name)| item("Instance", id, "00:30:00", Some(json!({ "instanceId": id })), Some(name)));
    let first = [&instances[..], &[interface("06:00:00", Some("i-web"))]].concat();
    let moves = [
        interface("11:30:00", None),
        interface("12:00:00", Some("i-db")),
        item("NetworkInterface", "eni-1", "18:00:00", None, None),
    ];
    let trail = json!({ "Records": [{
        "eventVersion": "1.08", "eventTime": "2026-02-18T03:00:00Z", "eventSource": "ec2.amazonaws.com", "eventName": "CreateVpc",
        "awsRegion": "eu-west-1", "recipientAccountId": ACCOUNT, "requestParameters": { "cidrBlock": "10.0.0.0/16" },
        "responseElements": { "vpc": { "vpcId": "vpc-1", "ownerId": ACCOUNT, "tagSet": { "items": [{ "key": "Name", "value": "prod" }] } } },
    }, { "eventSource": "s3.amazonaws.com", "eventName": "GetObject" }] });
    let trail_key = format!(
        "AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/2026/02/18/{ACCOUNT}_CloudTrail_eu-west-1_20260218T0310Z_x.json.gz"
    );
    vec![
        (of("ConfigSnapshot", "20260218T070000Z_16da64e4"), gzip(&snapshot(&first))),
        (history("NetworkInterface"), gzip(&snapshot(&moves))),
        (
            history("Subnet"),
            gzip(&snapshot(&[item("Subnet", "subnet-1", "04:00:00", Some(subnet), Some("public-a"))])),
        ),
        (history("Volume"), gzip(&snapshot(&[item("Volume", "vol-1", "04:00:00", Some(json!({})), None)]))),
        (trail_key, gzip(&trail)),
    ]
}

fn write(directory: &Path, files: &[(String, Vec<u8>)]) {
    for (key, bytes) in files {
        let path = directory.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn names(source: &Path, file: &Path) -> Ran {
    flowherd(
        PROGRAM,
        ["names", "--from-config", source.to_str().unwrap(), "--output", file.to_str().unwrap()],
    )
}

#[test]
fn rows_of_an_interface_that_changes_owners_twice_in_a_day_have_the_owner_of_their_time() {
    let dir = TempDir::new().unwrap();
    write(&dir.path().join("archive"), &files());
    let file = dir.path().join("names.json");
    let ran = names(&dir.path().join("archive"), &file);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("4 files read, 1 file of other types skipped\n"), "{ran:?}");
    assert!(ran.stdout.ends_with("names.json: 3 ids new\n"), "{ran:?}");
    let hours = [5.0, 6.5, 11.75, 12.5, 17.5, 20.0];
    let at = |hour: &f64| MIDNIGHT + (hour * 3_600_000.0) as i64;
    let events: Vec<String> = hours.iter().map(|hour| event(at(hour), "eni-1 10.0.1.9 1")).collect();
    let plan = plan(&fs::read_to_string(&file).unwrap());
    let (counts, outputs) = convert(envelope("g", &events).as_bytes(), "k", &plan).unwrap();
    insta::assert_snapshot!(outputs[0].1);
    // Before the first owner and after the deletion.
    assert_eq!(counts.named_by_guess, 2);

    let written = fs::read(&file).unwrap();
    let again = names(&dir.path().join("archive"), &file);
    assert_eq!((again.status, fs::read(&file).unwrap() == written), (0, true), "{again:?}");
    assert!(again.stdout.ends_with("names.json: no changes\n"), "{again:?}");
}

#[test]
fn files_that_cannot_be_read_are_named_and_the_others_count() {
    let dir = TempDir::new().unwrap();
    let (archive, file) = (dir.path().join("archive"), dir.path().join("names.json"));
    let mut damaged = files();
    let (history, whole) = damaged[1].clone();
    damaged[1].1.truncate(whole.len() / 2);
    damaged.push(("flow.gz".to_owned(), gzip(&json!({ "logEvents": [] }))));
    write(&archive, &damaged);
    let ran = names(&archive, &file);
    assert_eq!(ran.status, 1, "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("cannot read")).collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].contains(&history) && lines[0].ends_with(". Its changes are missing"), "{ran:?}");
    assert!(lines[1].contains("/flow.gz: it is not a file of AWS Config or CloudTrail"), "{ran:?}");
    assert_eq!(json_of(&file)["interfaces"]["eni-1"]["description"], "web");
    assert!(json_of(&file)["interfaces"]["eni-1"]["until"].is_null());

    // After the repair, the file is the one that all files give.
    fs::write(archive.join(&history), whole).unwrap();
    fs::remove_file(archive.join("flow.gz")).unwrap();
    assert_eq!(names(&archive, &file).status, 0);
    let other = dir.path().join("other.json");
    assert_eq!(names(&archive, &other).status, 0);
    assert_eq!(fs::read(&file).unwrap(), fs::read(&other).unwrap());

    let nothing = names(&dir.path().join("archive/AWSLogs/123456789012/Config/nowhere"), &other);
    assert_ne!(nothing.status, 0, "{nothing:?}");
}

#[test]
fn a_large_file_is_read_in_little_memory() {
    /// 20 MiB less than the text of the file.
    const DATA_KIB: u32 = 40 << 10;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("large.json.gz");
    let mut gzip = GzEncoder::new(fs::File::create(&path).unwrap(), Compression::fast());
    gzip.write_all(b"{\"fileVersion\":\"1.0\",\"configurationItems\":[").unwrap();
    let bucket =
        item("Bucket", "b", "04:00:00", Some(json!({ "policy": "x".repeat(2000) })), None).to_string();
    let mut bytes = 0;
    let mut number = 0;
    while bytes < 60 << 20 {
        let id = format!("eni-{}", number % 500);
        let interface = interface("06:00:00", None).to_string().replace("eni-1", &id);
        let pair = format!("{interface},{bucket},");
        gzip.write_all(pair.as_bytes()).unwrap();
        bytes += pair.len();
        number += 1;
    }
    gzip.write_all(format!("{bucket}]}}").as_bytes()).unwrap();
    gzip.finish().unwrap();
    let file = dir.path().join("names.json");
    let script = format!("unset RUST_MIN_STACK && ulimit -d {DATA_KIB} && exec \"$@\"");
    let ran = Command::new("sh")
        .args(["-c", &script, "sh", PROGRAM, "names", "--from-config"])
        .args([&path, Path::new("--output"), &file])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(json_of(&file)["interfaces"].as_object().unwrap().len(), 500);
}

#[test]
#[ignore = "needs .venv: make test installs it"]
fn history_is_read_from_a_bucket() {
    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("config");
    for (key, bytes) in files() {
        bucket.put(&format!("org/{key}"), &bytes).unwrap();
    }
    bucket.put("org/AWSLogs/123456789012/Config/ConfigWritabilityCheckFile", b"").unwrap();
    let dir = TempDir::new().unwrap();
    let [file, local] = ["names.json", "local.json"].map(|name| dir.path().join(name));
    let args = ["names", "--from-config", "s3://config/org/", "--output", file.to_str().unwrap()];
    let ran = flowherd_in(PROGRAM, cloud.environment(), args);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("4 files read, 2 files of other types skipped\n"), "{ran:?}");
    write(&dir.path().join("archive"), &files());
    assert_eq!(names(&dir.path().join("archive"), &local).status, 0);
    assert_eq!(fs::read(file).unwrap(), fs::read(local).unwrap());
}
