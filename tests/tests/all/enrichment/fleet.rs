//! The files of `[[enrich]]` in a fleet.

use flowherd_coordinator::{error::CoordinatorError, options::RunOptions};
use flowherd_shared::{
    enrichment::EnrichmentFile,
    ledger::{ReportState, layout},
    store::Store,
};
use flowherd_tests::{command::flowherd_in, objects::gunzip};
use flowherd_worker::config_cache::{ConfigCache, ConfigCacheError};

use crate::{
    cloud,
    fleet::Fleet,
    place::{PROGRAM, Place},
};

const RULES: &str = r#"
[[rule]]
name = "flow"
table = "vpc_flow"
format = { kind = "vpc-flow" }
[[enrich]]
file = "hosts.csv"
key = "ip"
match = "cidr"
on = ["srcaddr"]
columns = { host = "host" }
"#;

/// Sets the configuration of new runs.
fn configure(fleet: &Fleet, hosts: Option<&str>) {
    let mut inputs = fleet.inputs.lock().unwrap();
    inputs.config = Some(RULES.into());
    let file = |text: &str| EnrichmentFile { file: "hosts.csv".to_owned(), bytes: text.as_bytes().into() };
    inputs.files = hosts.map(file).into_iter().collect();
}

#[test]
fn a_run_keeps_the_enrichment_files_of_its_begin() {
    let fleet = Fleet::new(2);
    configure(&fleet, Some("ip,host\n0.0.0.0/0,before\n"));
    let first = fleet.plan("first", "");
    configure(&fleet, Some("ip,host\n0.0.0.0/0,after\n"));
    let text = || {
        let files = fleet.store.files();
        let csv = files.iter().find(|(path, _)| path.contains("/001")).unwrap().1;
        String::from_utf8(gunzip(csv)).unwrap()
    };
    assert_eq!(fleet.finish(first).state, ReportState::Done);
    assert!(text().contains(",before\n"), "{}", text());
    assert_eq!(fleet.finish(fleet.begin("second", "")).state, ReportState::Done);
    assert!(text().contains(",after\n"), "{}", text());
}

#[test]
fn a_run_with_a_mistake_in_a_file_or_without_it_does_not_begin() {
    let fleet = Fleet::new(1);
    let options =
        || RunOptions { run: Some("r".to_owned()), prefix: Some(String::new()), ..RunOptions::default() };
    let refused = || match fleet.coordinate(|coordinator| coordinator.begin(&options())) {
        Err(CoordinatorError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    configure(&fleet, None);
    assert!(refused().starts_with("hosts.csv: does not exist"), "{}", refused());
    configure(&fleet, Some("ip,host\n10.0.0.1/8,a\n"));
    assert!(refused().starts_with("hosts.csv: line 2: ip \"10.0.0.1/8\" has host bits set"), "{}", refused());
    assert!(fleet.store.files().is_empty(), "nothing was written");
}

#[test]
fn a_worker_refuses_a_copy_that_is_changed_or_missing() {
    let fleet = Fleet::new(1);
    configure(&fleet, Some("ip,host\n0.0.0.0/0,a\n"));
    fleet.begin("r", "");
    let path = fleet.store.files().into_keys().find(|path| path.contains("/enrich/")).unwrap();
    assert!(ConfigCache::default().get(&fleet.store, "r").is_ok());
    let refused = || {
        let error = ConfigCache::default().get(&fleet.store, "r").unwrap_err();
        assert!(
            matches!(&error, ConfigCacheError::Damaged { path: damaged, .. } if *damaged == path),
            "{error}"
        );
    };
    fleet.store.put(&path, b"ip,host\n0.0.0.0/0,b\n").unwrap();
    refused();
    fleet.store.remove(&path).unwrap();
    refused();
    // Another configuration with the right files is not that of the run either.
    fleet.store.put(&path, b"ip,host\n0.0.0.0/0,a\n").unwrap();
    fleet.store.put(&layout::config("r"), RULES.replace("host =", "name =").as_bytes()).unwrap();
    let error = ConfigCache::default().get(&fleet.store, "r").unwrap_err();
    assert!(matches!(error, ConfigCacheError::Fingerprint), "{error}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn files_on_s3_are_read_by_commands_and_by_the_coordinator() {
    let fleet = cloud::Fleet::new(2, 20);
    let settings = fleet.cloud.bucket("settings");
    let rules = RULES.to_owned()
        + &RULES[RULES.find("[[enrich]]").unwrap()..]
            .replace("hosts.csv", "s3://settings/lists/hosts.csv")
            .replace("srcaddr", "dstaddr");
    settings.put("rules/flowherd.toml", rules.as_bytes()).unwrap();
    settings.put("rules/hosts.csv", b"ip,host\n0.0.0.0/0,beside\n").unwrap();
    let config = ("FLOWHERD_CONFIG", "s3://settings/rules/flowherd.toml".to_owned());
    let run = |name: &str| {
        let environment = fleet.environment().into_iter().chain([config.clone()]);
        flowherd_in(PROGRAM, environment, ["run", "--prefix", "firehose/", "--run", name, "--watch"])
    };
    let ran = run("missing");
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("s3://settings/lists/hosts.csv: does not exist"), "{ran:?}");

    settings.put("lists/hosts.csv", b"ip,host\n0.0.0.0/0,apart\n").unwrap();
    let _worker = fleet.worker();
    let ran = run("r");
    assert_eq!(ran.status, 0, "{ran:?}");
    let outputs = fleet.outputs();
    let (_, csv) = outputs.iter().find(|(key, _)| key.starts_with("csv/vpc_flow/")).unwrap();
    let text = String::from_utf8(gunzip(csv)).unwrap();
    assert!(text.contains(",beside,apart\n"), "{text}");
    assert_eq!(fleet.results_below("runs/r/enrich/").len(), 2);

    let place = Place::new();
    place.file("rules.toml", rules.as_bytes()).file("hosts.csv", b"ip,host\n10.0.0.1,web\n");
    let rules = place.path("rules.toml");
    let check = || flowherd_in(PROGRAM, fleet.cloud.environment(), ["check", rules.to_str().unwrap()]);
    assert_eq!(check().status, 0, "{:?}", check());
    settings.remove("lists/hosts.csv").unwrap();
    let ran = check();
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("cannot read s3://settings/lists/hosts.csv: no object has this key"),
        "{ran:?}"
    );
}
