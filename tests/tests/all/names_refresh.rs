//! The refresh of the names in the results bucket.

use std::collections::BTreeMap;

use flowherd_aws::{
    ec2::{Inventory, QueryError, Resource, Target},
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
    lookups::merge::{Changes, Named, Part, Reading},
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
fn account(id: &str, interfaces: &[(&str, &str)]) -> Inventory {
    let named = |name: &str| Named { name: name.to_owned(), ..Named::default() };
    let interfaces = interfaces.iter().map(|(id, name)| ((*id).to_owned(), named(name))).collect();
    let parts =
        [(Part::Interfaces, interfaces), (Part::Subnets, BTreeMap::new()), (Part::Vpcs, BTreeMap::new())];
    let reading =
        Reading { account: id.to_owned(), region: "eu-west-1".to_owned(), at_ms: 0, parts: parts.into() };
    Inventory { reading, failures: Vec::new() }
}

fn refresh_at(
    results: &Bucket,
    hour: i64,
    mut read: impl FnMut(&[Target]) -> Vec<Result<Inventory, QueryError>>,
) -> Result<Refreshed, CoordinatorError> {
    let options = RefreshOptions { role_arns: vec![ROLE.to_owned()], ..RefreshOptions::default() };
    let now = Timestamp::from_second(MIDNIGHT + hour * 3600).unwrap();
    refresh(
        results,
        &options,
        || now,
        |targets| {
            let mut read = read(targets);
            for inventory in read.iter_mut().flatten() {
                inventory.reading.at_ms = now.as_millisecond();
            }
            read
        },
    )
}

fn file(results: &Bucket) -> Value {
    serde_json::from_slice(&results.get(layout::NAMES).unwrap().unwrap()).unwrap()
}

fn denied(action: &'static str) -> QueryError {
    QueryError::Refused {
        action,
        code: "UnauthorizedOperation".to_owned(),
        message: "no".to_owned(),
        hint: "",
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_refresh_merges_into_the_file_and_names_what_it_could_not_read() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let own = || account("123456789012", &[("eni-1", "web")]);
    let first = refresh_at(&results, 0, |targets| {
        assert_eq!(
            targets.iter().map(|target| target.role_arn.as_deref()).collect::<Vec<_>>(),
            [None, Some(ROLE)]
        );
        vec![Ok(own()), Ok(account("210987654321", &[("eni-2", "batch")]))]
    });
    let first = first.unwrap();
    assert_eq!((first.written, first.changes.new, first.failures.len()), (true, 2, 0));

    // Without changes, the version stays.
    let etag = results.etag(layout::NAMES).unwrap();
    let same =
        refresh_at(&results, 1, |_| vec![Ok(own()), Ok(account("210987654321", &[("eni-2", "batch")]))]);
    let same = same.unwrap();
    assert_eq!((same.written, same.changes), (false, Changes::default()));
    assert_eq!(results.etag(layout::NAMES).unwrap(), etag);

    // One account is denied, and of the other the subnets.
    let partial = refresh_at(&results, 2, |_| {
        let mut own = account("123456789012", &[]);
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
fn two_refreshes_at_once_lose_nothing() {
    let cloud = LocalCloud::start();
    let results = cloud.bucket("results");
    let none = || Err(denied("GetCallerIdentity"));
    // First both create the file, then both replace it.
    for (hour, [one, other]) in [(0, ["a", "b"]), (1, ["c", "d"])] {
        let mut attempts = 0;
        let slow = refresh_at(&results, hour, |_| {
            attempts += 1;
            if attempts == 1 {
                let read = |_: &[Target]| vec![none(), Ok(account("210987654321", &[("eni-2", other)]))];
                assert!(refresh_at(&results, hour, read).unwrap().written);
            }
            vec![Ok(account("123456789012", &[("eni-1", one)])), none()]
        });
        assert_eq!(attempts, 2, "it reads again");
        assert!(slow.unwrap().written);
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
    let refused = refresh_at(&results, 0, |_| panic!("the file is checked before any request"));
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
    let nothing = |_: &[Target]| vec![Err(QueryError::OutOfTime), Err(QueryError::OutOfTime)];
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
    let with_names = Inputs { lookups: Some(b"{}".to_vec()), ..Inputs::default() };
    *fleet.inputs.lock().unwrap() = with_names;
    let report = fleet.finish(fleet.plan("s", ""));
    assert_eq!(report.warnings, []);
}
