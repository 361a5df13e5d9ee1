//! Runs `make aws-smoke` on the local cloud, so that its errors cost nothing on AWS.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use flowherd_tests::local_cloud::LocalCloud;

use super::{
    deployed::functions,
    place::{PROGRAM, Place},
};

/// Checks that need AWS itself.
const SKIPPED: [&str; 3] = ["metrics", "batch_fill", "bucket_owner"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn smoke(cloud: &LocalCloud, place: &Place, confirm: &str) -> Output {
    Command::new(flowherd_tests::python_server::python())
        .arg("-B")
        .arg(root().join("tests/aws/smoke.py"))
        .envs(cloud.environment())
        .env("CONFIRM", confirm)
        .env("WORK", place.path("smoke"))
        .env("FLOWHERD", PROGRAM)
        .env("ARTIFACTS", place.path("functions"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn buckets(cloud: &LocalCloud) -> Vec<String> {
    let config = aws_sdk_s3::config::Builder::from(cloud.aws().config()).force_path_style(true).build();
    let request = aws_sdk_s3::Client::from_conf(config).list_buckets().send();
    let answer = cloud.aws().handle().block_on(request).unwrap();
    answer.buckets().iter().map(|bucket| bucket.name().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn the_smoke_test_checks_a_small_stack_and_removes_everything_it_created() {
    let cloud = LocalCloud::start();
    let place = Place::new();
    functions(&place);
    let ran = smoke(&cloud, &place, "yes");
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));

    let outcomes: BTreeMap<&str, &str> = printed
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (outcome, name) = (words.next()?, words.next()?);
            ["ok", "skipped", "FAILED"].contains(&outcome).then_some((name, outcome))
        })
        .collect();
    let skipped: Vec<&str> =
        outcomes.iter().filter(|(_, outcome)| **outcome == "skipped").map(|(name, _)| *name).collect();
    let mut expected = SKIPPED;
    expected.sort_unstable();
    assert_eq!(skipped, expected, "{printed}");
    let document = fs::read_to_string(root().join("docs/first-day-on-aws.md")).unwrap();
    assert!(outcomes.len() > 12, "{printed}");
    for name in outcomes.keys() {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    let left: Vec<String> = buckets(&cloud).into_iter().filter(|name| !name.starts_with("cdk-")).collect();
    assert_eq!(left, [""; 0], "{printed}");
    for file in [
        "checks.txt",
        "worker.log",
        "coordinator.log",
        "executions.json",
        "report.json",
        "cdk.log",
        "flowherd.log",
    ] {
        assert!(fs::metadata(place.path("smoke").join(file)).unwrap().len() > 0, "{file}");
    }
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn the_smoke_test_prints_the_cost_and_creates_nothing_without_consent() {
    let cloud = LocalCloud::start();
    let place = Place::new();
    let ran = smoke(&cloud, &place, "");
    assert_eq!(ran.status.code(), Some(2));
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(printed.contains("Cost in US dollars") && printed.contains("about 0.03"), "{printed}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("Set CONFIRM=yes"));
    assert!(buckets(&cloud).is_empty() && !place.path("smoke").exists());
}
