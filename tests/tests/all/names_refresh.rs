//! The refresh of the names in the results bucket.

use std::collections::BTreeMap;

use flowherd_aws::{
    api::ApiError,
    ec2::{Inventory, Resource},
    s3::Bucket,
};
use flowherd_coordinator::{
    coordinator::Inputs,
    error::CoordinatorError,
    names::{Refreshed, refresh},
    options::RefreshOptions,
};
use flowherd_shared::{
    layout,
    ledger::ReportState,
    ledger::Warning,
    names::merge::{Changes, Named, Part, Reading},
    store::Store,
};
use flowherd_tests::local_cloud::LocalCloud;
use jiff::Timestamp;
use serde_json::Value;

use super::{delivery::counts, fleet::Fleet};

const ROLE: &str = "arn:aws:iam::210987654321:role/flowherd-names";
/// 2026-02-18T00:00:00Z.
const MIDNIGHT: i64 = 1_771_372_800;

/// What an account has: interfaces with their names.
fn account(id: &str, hour: i64, interfaces: &[(&str, &str)]) -> Inventory {
    let named = |name: &str| Named { name: name.to_owned(), ..Named::default() };
    let interfaces = interfaces.iter().map(|(id, name)| ((*id).to_owned(), named(name))).collect();
    let parts =
        [(Part::Interfaces, interfaces), (Part::Subnets, BTreeMap::new()), (Part::Vpcs, BTreeMap::new())];
    let reading = Reading {
        account: id.to_owned(),
        region: "eu-west-1".to_owned(),
        at_ms: (MIDNIGHT + hour * 3600) * 1000,
        parts: parts.into(),
    };
    Inventory { reading, failures: Vec::new() }
}

/// Refreshes the own account and another one. `read` returns their results in this order.
fn refresh_at(
    results: &Bucket,
    hour: i64,
    read: impl FnMut() -> Vec<Result<Inventory, ApiError>>,
) -> Result<Refreshed, CoordinatorError> {
    refresh_keeping(results, None, hour, read)
}

fn refresh_keeping(
    results: &Bucket,
    retention_days: Option<u32>,
    hour: i64,
    mut read: impl FnMut() -> Vec<Result<Inventory, ApiError>>,
) -> Result<Refreshed, CoordinatorError> {
    let options =
        RefreshOptions { role_arns: vec![ROLE.to_owned()], retention_days, ..RefreshOptions::default() };
    refresh(
        results,
        &options,
        || Timestamp::from_second(MIDNIGHT + hour * 3600).unwrap(),
        |targets| {
            let mut results = read();
            let roles: Vec<_> = targets.iter().map(|target| target.role_arn.as_deref()).collect();
            match *roles {
                [None, Some(ROLE)] => {}
                [Some(ROLE), None] => results.reverse(),
                _ => panic!("{roles:?}"),
            }
            results
        },
    )
}

fn file(results: &Bucket) -> Value {
    serde_json::from_slice(&results.get(layout::NAMES).unwrap().unwrap()).unwrap()
}

fn denied(action: &'static str) -> ApiError {
    let (code, message) = ("UnauthorizedOperation".to_owned(), "no".to_owned());
    ApiError::Refused { action, code, message, hint: "" }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_refresh_merges_into_the_file_and_names_what_it_could_not_read() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let own = |hour| account("123456789012", hour, &[("eni-1", "web")]);
    let first =
        refresh_at(&results, 0, || vec![Ok(own(0)), Ok(account("210987654321", 0, &[("eni-2", "batch")]))]);
    let first = first.unwrap();
    assert_eq!((first.written, first.changes.new, first.failures.len()), (true, 2, 0));

    // Without changes, the version stays.
    let etag = results.etag(layout::NAMES).unwrap();
    let same =
        refresh_at(&results, 1, || vec![Ok(own(1)), Ok(account("210987654321", 1, &[("eni-2", "batch")]))]);
    let same = same.unwrap();
    assert_eq!((same.written, same.changes), (false, Changes::default()));
    assert_eq!(results.etag(layout::NAMES).unwrap(), etag);

    // One account is denied, and of the other the subnets.
    let partial = refresh_at(&results, 2, || {
        let mut own = account("123456789012", 2, &[]);
        own.reading.parts.remove(&Part::Subnets);
        own.failures.push((Resource::Subnets, denied("DescribeSubnets")));
        vec![Ok(own), Err(denied("GetCallerIdentity"))]
    });
    let partial = serde_json::to_value(partial.unwrap()).unwrap();
    let counts = &partial["sources"][0];
    assert_eq!((&counts["interfaces"], &counts["subnets"]), (&0.into(), &Value::Null), "{partial}");
    let failures: Vec<&str> =
        partial["failures"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let expected = [
        "account 123456789012, region eu-west-1, environment: cannot read subnets: DescribeSubnets is refused: \
         UnauthorizedOperation: no. The former names stay",
        "account 210987654321, region ?, role flowherd-names: GetCallerIdentity is refused: UnauthorizedOperation: no. Its \
         former names stay",
    ];
    assert_eq!(failures, expected);
    let names = file(&results);
    assert_eq!(names["interfaces"]["eni-1"]["until"], "2026-02-18T02:00:00.000Z", "{names}");
    assert_eq!(names["interfaces"]["eni-2"].get("until"), None, "{names}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_refresh_removes_entries_that_ended_before_the_retention() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let other = |hour| Ok(account("210987654321", hour, &[]));
    let at = |hour: i64, retention: Option<u32>, interfaces: &[(&str, &str)]| {
        let read = || vec![Ok(account("123456789012", hour, interfaces)), other(hour)];
        refresh_keeping(&results, retention, hour, read).unwrap()
    };
    at(0, None, &[("eni-1", "web"), ("eni-2", "batch")]);
    at(24, None, &[("eni-1", "front")]);
    let kept = at(71, Some(2), &[("eni-1", "front")]);
    assert_eq!((kept.forgotten, kept.written), (0, false));
    let forgot = at(72, Some(2), &[("eni-1", "front")]);
    assert_eq!((forgot.forgotten, forgot.written, forgot.changes), (2, true, Changes::default()));
    let names = file(&results);
    assert_eq!(names["interfaces"]["eni-1"]["description"], "front", "{names}");
    assert_eq!(names["interfaces"].as_object().unwrap().len(), 1, "{names}");

    let options = RefreshOptions { retention_days: Some(0), ..RefreshOptions::default() };
    let refused = refresh(&results, &options, Timestamp::now, |_| panic!("the event is checked first"));
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("retention_days: 0 is not from 1 to 36500"), "{why}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn two_refreshes_at_once_lose_nothing() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let none = || Err(denied("GetCallerIdentity"));
    // First both create the file, then both replace it.
    for (hour, [one, other]) in [(0, ["a", "b"]), (1, ["c", "d"])] {
        let mut readings = 0;
        let slow = refresh_at(&results, hour, || {
            readings += 1;
            if readings == 1 {
                let quick = refresh_at(&results, hour, || {
                    vec![none(), Ok(account("210987654321", hour, &[("eni-2", other)]))]
                });
                assert!(quick.unwrap().written);
            }
            vec![Ok(account("123456789012", hour, &[("eni-1", one)])), none()]
        });
        assert!(slow.unwrap().written);
        assert_eq!(readings, 2, "the first reading is older than the names of the other refresh");
        let names = file(&results)["interfaces"].to_string();
        for name in [one, other] {
            assert!(names.contains(&format!("\"description\":\"{name}\"")), "{names}");
        }
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_damaged_names_file_stays_as_it_is_and_fails_the_refresh() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let damaged = br#"{"vpcs": {"vpc-1": {"from": "yesterday"}}}"#;
    results.put(layout::NAMES, damaged).unwrap();
    let refused = refresh_at(&results, 0, || panic!("the file is checked before any request"));
    let why = refused.unwrap_err().to_string();
    assert!(
        why.starts_with("names/names.json of the results bucket is unchanged: VPC \"vpc-1\": from"),
        "{why}"
    );
    assert_eq!(results.get(layout::NAMES).unwrap().unwrap(), damaged);
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_refresh_that_reads_nothing_leaves_the_file_as_it_is() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let nothing = || vec![Err(ApiError::OutOfTime), Err(ApiError::OutOfTime)];
    let refreshed = refresh_at(&results, 0, nothing).unwrap();
    assert_eq!((refreshed.written, refreshed.failures.len()), (false, 2));
    assert_eq!(results.get(layout::NAMES).unwrap(), None);
}

#[test]
fn a_run_before_the_first_refresh_has_no_names_and_a_warning() {
    let fleet = Fleet::new(2);
    *fleet.inputs.lock().unwrap() = Inputs { lacks_names: true, ..Inputs::default() };
    let begun = fleet.begin("r", "");
    let message = begun.message.clone().unwrap();
    assert!(message.starts_with("names/names.json does not exist in the results bucket yet"), "{message}");
    let report = fleet.finish(fleet.drive(begun, |state| state.operation.name() == "plan"));
    assert_eq!(counts(&report), (ReportState::Done, 2, 0, 0));
    assert_eq!(report.warnings, [Warning::NamesNotRead { count: report.records.rows }]);
    assert!(report.records.rows > 0);
    let with_names = Inputs { names: Some(b"{}".to_vec()), ..Inputs::default() };
    *fleet.inputs.lock().unwrap() = with_names;
    let report = fleet.finish(fleet.plan("s", ""));
    assert_eq!(report.warnings, []);
}
