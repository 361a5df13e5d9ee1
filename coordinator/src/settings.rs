//! The coordinator's environment variables.

use std::{collections::BTreeMap, time::Duration};

use flowherd_aws::settings::{CommonSettings, QUEUE_URL, Variables, is_account, is_fifo_url};
use flowherd_shared::{
    cluster::ClusterOptions,
    layout::{self, MAIN_FLEET},
};
use serde::Deserialize;

use crate::fleets::{Driver, FleetSettings, Fleets, Job, MAX_KEYS};

/// For how long the queue must be empty before objects without an outcome count as missing. Its counts become exact about a
/// minute after the last message was sent
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
const SETTLE: Duration = Duration::from_mins(2);
const TIME_LIMIT: Duration = Duration::from_hours(24);
const DEAD_URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/flowherd-dead.fifo";
/// The variable that defines several fleets.
pub const FLEETS: &str = "FLOWHERD_FLEETS";

/// A coordinator's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Settings that the workers have too.
    pub common: CommonSettings,
    /// `FLOWHERD_FLEETS`, or one fleet of the other variables.
    pub fleets: Fleets,
    /// `FLOWHERD_SETTLE_SECONDS`.
    pub settle: Duration,
    /// `FLOWHERD_TIME_LIMIT_SECONDS`.
    pub time_limit: Duration,
}

impl Settings {
    /// Returns the settings for these buckets and fleets, with defaults for the others.
    #[must_use]
    pub fn of(common: CommonSettings, fleets: Fleets) -> Self {
        Self { common, fleets, settle: SETTLE, time_limit: TIME_LIMIT }
    }

    /// Reads all settings.
    ///
    /// # Errors
    /// Every problem, each as one line.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let mut variables = Variables::new(variable);
        let seconds = |variables: &mut Variables<'_>, name, example, default| {
            number(variables, name, example).map_or(default, Duration::from_secs)
        };
        let settle = seconds(&mut variables, "FLOWHERD_SETTLE_SECONDS", "120", SETTLE);
        let time_limit = seconds(&mut variables, "FLOWHERD_TIME_LIMIT_SECONDS", "86400", TIME_LIMIT);
        let defaults = read_defaults(&mut variables);
        let common = CommonSettings::read(&mut variables);
        let fleets = match (variables.optional(FLEETS, |_| true, ""), defaults) {
            (Some(json), defaults) => read_fleets(&mut variables, &json, &defaults),
            (None, defaults) => read_only_fleet(&mut variables, defaults),
        };
        variables.finish(Self { common, fleets, settle, time_limit })
    }

    /// Returns the setting that has the URL of a fleet's queue, for people.
    pub(crate) fn queue_setting(&self, fleet: &str, url: &str) -> String {
        if fleet == MAIN_FLEET && self.fleets.count() == 1 {
            format!("{QUEUE_URL}={url}")
        } else {
            format!("{FLEETS}: the queueUrl of {fleet}, {url}")
        }
    }
}

/// The settings of a fleet that has no other value for them. Its driver has no meaning.
fn read_defaults(variables: &mut Variables<'_>) -> FleetSettings {
    let max_keys = number(variables, "FLOWHERD_MAX_KEYS", "10000000").unwrap_or(MAX_KEYS);
    let mut owner = |name| variables.optional(name, is_account, "123456789012");
    let config_bucket_owner = owner("FLOWHERD_CONFIG_BUCKET_OWNER");
    let names_bucket_owner = owner("FLOWHERD_NAMES_BUCKET_OWNER");
    let mut location = |name, example| variables.optional(name, is_location, example);
    FleetSettings {
        config: location("FLOWHERD_CONFIG", "s3://my-settings/flowherd.toml"),
        names: location("FLOWHERD_NAMES", "s3://my-settings/names.json"),
        config_bucket_owner,
        names_bucket_owner,
        max_keys,
        ..FleetSettings::on(Driver::Map)
    }
}

fn read_only_fleet(variables: &mut Variables<'_>, defaults: FleetSettings) -> Fleets {
    let url = CommonSettings::read_queue_url(variables);
    let dead_letters = variables.optional("FLOWHERD_DEAD_LETTER_QUEUE_URL", is_fifo_url, DEAD_URL);
    Fleets::only(FleetSettings { driver: Driver::Queue { url, dead_letters }, ..defaults })
}

/// A fleet of `FLOWHERD_FLEETS`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FleetJson {
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    driver: DriverName,
    queue_url: Option<String>,
    dead_letter_queue_url: Option<String>,
    #[serde(default)]
    job: Job,
    cluster: Option<ClusterOptions>,
    #[serde(default)]
    live: bool,
    config: Option<String>,
    config_bucket_owner: Option<String>,
    names: Option<String>,
    names_bucket_owner: Option<String>,
    max_keys: Option<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DriverName {
    #[default]
    Queue,
    Map,
}

fn read_fleets(variables: &mut Variables<'_>, json: &str, defaults: &FleetSettings) -> Fleets {
    let example = r#"{"main": {"queueUrl": "https://…/flowherd.fifo", "prefixes": ["firehose/"]}}"#;
    for name in [QUEUE_URL, "FLOWHERD_DEAD_LETTER_QUEUE_URL"] {
        if variables.optional(name, |_| true, "").is_some() {
            variables.problem(format!("{name} and {FLEETS} are set; remove one of them"));
        }
    }
    let parsed: BTreeMap<String, FleetJson> = match serde_json::from_str(json) {
        Ok(parsed) => parsed,
        Err(error) => {
            variables.problem(format!("{FLEETS} is not valid: {error}; an example: {example}"));
            return Fleets::new(BTreeMap::new());
        }
    };
    if parsed.is_empty() {
        variables.problem(format!("{FLEETS} has no fleet; an example: {example}"));
    }
    let mut fleets = BTreeMap::new();
    for (name, fleet) in parsed {
        let (fleet, problems) = check_fleet(&name, fleet, defaults);
        problems.into_iter().for_each(|problem| variables.problem(format!("{FLEETS}: {problem}")));
        fleets.insert(name, fleet);
    }
    Fleets::new(fleets)
}

/// Returns the settings of a fleet, and all problems.
fn check_fleet(name: &str, fleet: FleetJson, defaults: &FleetSettings) -> (FleetSettings, Vec<String>) {
    let mut problems: Vec<String> = layout::fleet_name_problem(name).into_iter().collect();
    let mut check = |setting: &str, value: &Option<String>, is_valid: fn(&str) -> bool, example: &str| {
        if let Some(value) = value.as_deref().filter(|value| !is_valid(value)) {
            problems.push(format!("{setting} {value:?} of {name} is not valid; an example: {example}"));
        }
    };
    check("queueUrl", &fleet.queue_url, is_fifo_url, DEAD_URL);
    check("deadLetterQueueUrl", &fleet.dead_letter_queue_url, is_fifo_url, DEAD_URL);
    check("config", &fleet.config, is_location, "s3://my-settings/flowherd.toml");
    check("names", &fleet.names, is_location, "s3://my-settings/names.json");
    check("configBucketOwner", &fleet.config_bucket_owner, is_account, "123456789012");
    check("namesBucketOwner", &fleet.names_bucket_owner, is_account, "123456789012");
    problems.extend(job_problem(name, &fleet));
    let driver = match (fleet.driver, fleet.queue_url) {
        (DriverName::Queue, Some(url)) => Driver::Queue { url, dead_letters: fleet.dead_letter_queue_url },
        (DriverName::Queue, None) => {
            problems.push(format!("{name} has no queueUrl; an example: {DEAD_URL}"));
            Driver::Map
        }
        (DriverName::Map, None) => Driver::Map,
        (DriverName::Map, Some(_)) => {
            problems.push(format!("{name} has driver map and a queueUrl; remove one of them"));
            Driver::Map
        }
    };
    let settings = FleetSettings {
        prefixes: fleet.prefixes,
        driver,
        job: fleet.job,
        cluster: fleet.cluster,
        live: fleet.live,
        config: fleet.config.or_else(|| defaults.config.clone()),
        config_bucket_owner: fleet.config_bucket_owner.or_else(|| defaults.config_bucket_owner.clone()),
        names: fleet.names.or_else(|| defaults.names.clone()),
        names_bucket_owner: fleet.names_bucket_owner.or_else(|| defaults.names_bucket_owner.clone()),
        max_keys: fleet.max_keys.unwrap_or(defaults.max_keys),
    };
    (settings, problems)
}

/// Returns why the job and the other settings of a fleet do not fit.
fn job_problem(name: &str, fleet: &FleetJson) -> Option<String> {
    match (fleet.job, &fleet.cluster) {
        (Job::Convert, Some(_)) => {
            Some(format!("{name} converts and has a cluster; set its job to \"index\""))
        }
        (Job::Index, None) => Some(format!(
            "{name} has job index and no cluster; an example: \"cluster\": {{\"url\": \"https://search.example.com\"}}"
        )),
        (Job::Index, Some(_)) if fleet.live => {
            Some(format!("{name} has job index and live; only fleets that convert can be live"))
        }
        (Job::Index, Some(_)) if fleet.driver == DriverName::Map => Some(format!(
            "{name} has job index and driver map; an index fleet needs a queue, whose messages wait while the cluster is down"
        )),
        (_, Some(cluster)) => {
            cluster.problems().into_iter().next().map(|problem| format!("cluster of {name}: {problem}"))
        }
        (Job::Convert, None) => None,
    }
}

fn number(variables: &mut Variables<'_>, name: &str, example: &str) -> Option<u64> {
    let value = variables.optional(name, |value| value.parse::<u64>().is_ok(), example);
    value.and_then(|value| value.parse().ok())
}

fn is_location(location: &str) -> bool {
    location.strip_prefix("s3://").is_none_or(|path| path.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_variables_have_defaults_and_every_problem_is_reported() {
        let given = |name: &str| match name {
            "FLOWHERD_QUEUE_URL" => Some("http://127.0.0.1:1/1/x.fifo".to_owned()),
            "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
            _ => None,
        };
        let settings = Settings::read(&given).unwrap();
        assert_eq!((settings.settle, settings.time_limit), (SETTLE, TIME_LIMIT));
        let driver = Driver::Queue { url: "http://127.0.0.1:1/1/x.fifo".to_owned(), dead_letters: None };
        assert_eq!(settings.fleets, Fleets::only(FleetSettings::on(driver)));
        let bad = |name: &str| match name {
            "FLOWHERD_CONFIG" => Some("s3://only-a-bucket".to_owned()),
            "FLOWHERD_SETTLE_SECONDS" => Some("soon".to_owned()),
            name => given(name),
        };
        let problems = Settings::read(&bad).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("FLOWHERD_SETTLE_SECONDS=\"soon\" is not valid"));
    }

    fn with_fleets(json: &str) -> Result<Settings, Vec<String>> {
        let json = json.to_owned();
        Settings::read(&move |name: &str| match name {
            "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
            "FLOWHERD_CONFIG" => Some("all.toml".to_owned()),
            "FLOWHERD_CONFIG_BUCKET_OWNER" => Some("123456789012".to_owned()),
            FLEETS => Some(json.clone()),
            _ => None,
        })
    }

    #[test]
    fn the_settings_of_a_fleet_come_before_those_of_all() {
        let json = r#"{
            "flow": {"queueUrl": "https://x/flow.fifo", "prefixes": ["a/"], "live": true},
            "waf": {"driver": "map", "prefixes": ["b/", "c/"], "config": "s3://w/waf.toml", "maxKeys": 5, "job": "convert"}
        }"#;
        let settings = with_fleets(json).unwrap();
        let (_, flow) = settings.fleets.get("flow").unwrap();
        let (_, waf) = settings.fleets.get("waf").unwrap();
        assert_eq!(flow.driver, Driver::Queue { url: "https://x/flow.fifo".to_owned(), dead_letters: None });
        assert_eq!((flow.config.as_deref(), flow.max_keys, flow.live), (Some("all.toml"), MAX_KEYS, true));
        assert_eq!(flow.config_bucket_owner.as_deref(), Some("123456789012"));
        assert_eq!((&waf.driver, waf.prefixes.len(), waf.max_keys, waf.live), (&Driver::Map, 2, 5, false));
        assert_eq!(waf.config.as_deref(), Some("s3://w/waf.toml"));
        assert_eq!(waf.config_bucket_owner, flow.config_bucket_owner);
    }

    #[test]
    fn every_problem_of_the_fleets_names_fleet_and_setting() {
        let problems = with_fleets(
            r#"{"Flow": {"queueUrl": "x"}, "map": {"driver": "map", "queueUrl": "https://x/y.fifo"}, "none": {"config": "s3://b"}}"#,
        )
        .unwrap_err();
        let expected = [
            "FLOWHERD_FLEETS: invalid fleet name \"Flow\": ",
            "FLOWHERD_FLEETS: queueUrl \"x\" of Flow is not valid; an example: ",
            "FLOWHERD_FLEETS: map has driver map and a queueUrl; remove one of them",
            "FLOWHERD_FLEETS: config \"s3://b\" of none is not valid; an example: ",
            "FLOWHERD_FLEETS: none has no queueUrl; an example: ",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
        for (json, expected) in [
            ("[]", "FLOWHERD_FLEETS is not valid: "),
            ("{}", "FLOWHERD_FLEETS has no fleet; "),
            (
                r#"{"a": {"queueUrl": "https://x/y.fifo", "prefix": "a/"}}"#,
                "FLOWHERD_FLEETS is not valid: unknown field `prefix`",
            ),
            (
                r#"{"a": {"job": "index", "queueUrl": "https://x/y.fifo"}}"#,
                "FLOWHERD_FLEETS: a has job index and no cluster",
            ),
            (
                r#"{"a": {"queueUrl": "https://x/y.fifo", "cluster": {"url": "https://x"}}}"#,
                "FLOWHERD_FLEETS: a converts and has a cluster",
            ),
            (
                r#"{"a": {"job": "index", "driver": "map", "cluster": {"url": "https://x"}}}"#,
                "FLOWHERD_FLEETS: a has job index and driver map",
            ),
        ] {
            let problems = with_fleets(json).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        }
    }

    #[test]
    fn a_queue_beside_fleets_is_a_mistake() {
        let problems = Settings::read(&|name: &str| match name {
            "FLOWHERD_SOURCE_BUCKET" | "FLOWHERD_RESULTS_BUCKET" => Some("bucket".to_owned()),
            QUEUE_URL => Some("https://x/y.fifo".to_owned()),
            FLEETS => Some(r#"{"a": {"queueUrl": "https://x/y.fifo"}}"#.to_owned()),
            _ => None,
        });
        assert_eq!(
            problems.unwrap_err(),
            ["FLOWHERD_QUEUE_URL and FLOWHERD_FLEETS are set; remove one of them"]
        );
    }
}
