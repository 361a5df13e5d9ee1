//! The fleets of a stack, and which of them processes a run. Each has a queue, workers and rules of its own, so that each scales
//! by itself.

use std::collections::BTreeMap;

use flowherd_shared::{
    cluster::ClusterOptions,
    layout::{self, MAIN_FLEET},
    ledger::Run,
};
use serde::Deserialize;

use crate::{error::CoordinatorError, options::RunOptions};

/// How the objects of a run reach the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// As messages of an SQS queue.
    Queue {
        /// The URL of the FIFO queue.
        url: String,
        /// The URL of its dead-letter queue; by default that of the queue's redrive policy.
        dead_letters: Option<String>,
    },
    /// As items of a Distributed Map of Step Functions. There is no queue.
    Map,
}

/// What the workers do with an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Convert it to rows.
    #[default]
    Convert,
    /// Send its rows to a search cluster.
    Index,
}

/// The settings of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// The prefixes of its objects; empty for the whole bucket.
    pub prefixes: Vec<String>,
    /// How objects reach its workers.
    pub driver: Driver,
    /// What its workers do.
    pub job: Job,
    /// The search cluster, if its workers index and the settings have it. The outputs of a stack need not have it.
    pub cluster: Option<ClusterOptions>,
    /// Whether new objects are converted as they arrive.
    pub live: bool,
    /// `flowherd.toml`, as a path or `s3://bucket/key`.
    pub config: Option<String>,
    /// The account that must own the bucket of `config`.
    pub config_bucket_owner: Option<String>,
    /// `names.json`, as a path or `s3://bucket/key`.
    pub names: Option<String>,
    /// The account that must own the bucket of `names`.
    pub names_bucket_owner: Option<String>,
    /// Maximum objects of a run.
    pub max_keys: u64,
}

/// Enough for years of one stream. A larger prefix is more often a mistake.
pub(crate) const MAX_KEYS: u64 = 10_000_000;

impl FleetSettings {
    /// Returns the settings of a fleet for the whole bucket, with defaults for the others.
    #[must_use]
    pub fn on(driver: Driver) -> Self {
        Self {
            prefixes: Vec::new(),
            driver,
            job: Job::Convert,
            cluster: None,
            live: false,
            config: None,
            config_bucket_owner: None,
            names: None,
            names_bucket_owner: None,
            max_keys: MAX_KEYS,
        }
    }

    /// Returns the length of the longest of the fleet's prefixes with which `prefix` begins; `None` if `prefix` is outside.
    fn match_length(&self, prefix: &str) -> Option<usize> {
        if self.prefixes.is_empty() {
            return Some(0);
        }
        let own = self.prefixes.iter().filter(|own| prefix.starts_with(own.as_str()));
        own.map(String::len).max()
    }
}

/// The fleets of a stack by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleets(BTreeMap<String, FleetSettings>);

impl Fleets {
    /// Creates the fleets.
    #[must_use]
    pub fn new(fleets: BTreeMap<String, FleetSettings>) -> Self {
        Self(fleets)
    }

    /// Creates the only fleet of a stack.
    #[must_use]
    pub fn only(fleet: FleetSettings) -> Self {
        Self(BTreeMap::from([(MAIN_FLEET.to_owned(), fleet)]))
    }

    /// Returns all fleets, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FleetSettings)> {
        self.0.iter().map(|(name, fleet)| (name.as_str(), fleet))
    }

    /// Returns the number of fleets.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns a fleet by its name.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] if there is no such fleet.
    pub fn get(&self, name: &str) -> Result<(&str, &FleetSettings), CoordinatorError> {
        let unknown = || match layout::fleet_name_problem(name) {
            Some(problem) => CoordinatorError::Refused(problem),
            None => CoordinatorError::Refused(format!("no fleet named {name:?}; {}", self.listed())),
        };
        self.0.get_key_value(name).map(|(name, fleet)| (name.as_str(), fleet)).ok_or_else(unknown)
    }

    /// Returns the fleet of a run that exists.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] if the stack does not have it any more.
    pub fn of_run(&self, run: &str, fleet: &str) -> Result<&str, CoordinatorError> {
        let name = self.0.get_key_value(fleet).map(|(name, _)| name.as_str());
        name.ok_or_else(|| {
            CoordinatorError::Refused(format!(
                "run {run} is of fleet {fleet}, which is not in this stack; {}. Add the fleet to the settings again, or \
                 process the remaining objects in another fleet: flowherd run --resume {run} --fleet NAME",
                self.listed()
            ))
        })
    }

    /// Returns the fleet of a new run: the one that the options name, else that of the resumed run, else the only one, else the
    /// one with the longest prefix with which that of the run begins.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] without exactly one such fleet, and if the prefix is outside the prefixes of the fleet.
    pub fn choose(&self, options: &RunOptions, resumed: Option<&Run>) -> Result<&str, CoordinatorError> {
        let prefix = options.prefix.as_deref().or(resumed.map(|run| run.prefix.as_str())).unwrap_or_default();
        let job = if options.index { Job::Index } else { Job::Convert };
        let mut candidates = self.iter().filter(|(_, fleet)| fleet.job == job);
        let (name, fleet) = match (&options.fleet, resumed, candidates.next(), candidates.next()) {
            (Some(name), ..) => self.get(name)?,
            (None, Some(run), ..) => self.get(self.of_run(&run.run, &run.fleet)?)?,
            (None, None, Some(only), None) => only,
            (None, None, None, _) if options.index => return Err(self.no_index_fleet()),
            (None, None, ..) => self.find(prefix, job)?,
        };
        if fleet.match_length(prefix).is_none() {
            return Err(CoordinatorError::Refused(format!(
                "prefix {prefix:?} is outside the prefixes of fleet {name}: {}; its workers may not read other objects",
                quoted(&fleet.prefixes)
            )));
        }
        Ok(name)
    }

    /// Returns the fleet of this name, or the only one that indexes.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] without exactly one, and for a fleet that converts.
    pub fn index_fleet(&self, name: Option<&str>) -> Result<&str, CoordinatorError> {
        let mut indexing = self.iter().filter(|(_, fleet)| fleet.job == Job::Index);
        match (name, indexing.next(), indexing.next()) {
            (Some(name), ..) => match self.get(name)? {
                (name, fleet) if fleet.job == Job::Index => Ok(name),
                (name, _) => Err(CoordinatorError::Refused(format!(
                    "fleet {name} converts objects; choose a fleet with job \"index\"; {}",
                    self.listed()
                ))),
            },
            (None, Some((only, _)), None) => Ok(only),
            (None, None, _) => Err(self.no_index_fleet()),
            (None, Some(_), Some(_)) => Err(CoordinatorError::Refused(format!(
                "several fleets send rows to search clusters; choose one with --fleet; {}",
                self.listed()
            ))),
        }
    }

    fn no_index_fleet(&self) -> CoordinatorError {
        CoordinatorError::Refused(format!(
            "no fleet sends rows to a search cluster; add a fleet with \"job\": \"index\" to the settings; {}",
            self.listed()
        ))
    }

    /// Finds the fleet of a job with the longest matching prefix.
    fn find(&self, prefix: &str, job: Job) -> Result<(&str, &FleetSettings), CoordinatorError> {
        let fleets = self.iter().filter(|(_, fleet)| fleet.job == job);
        let matching = fleets.filter_map(|(name, fleet)| Some((fleet.match_length(prefix)?, (name, fleet))));
        let matching: Vec<_> = matching.collect();
        let longest = matching.iter().map(|(length, _)| *length).max();
        let mut found = matching.into_iter().filter(|(length, _)| Some(*length) == longest);
        match (found.next(), found.next()) {
            (Some((_, fleet)), None) => Ok(fleet),
            (Some((_, (one, _))), Some((_, (other, _)))) => Err(CoordinatorError::Refused(format!(
                "fleets {one} and {other} have the same prefix for {prefix:?}; choose one with --fleet; {}",
                self.listed()
            ))),
            (None, _) => Err(CoordinatorError::Refused(format!(
                "no fleet has a prefix with which {prefix:?} begins; use a longer prefix, or choose a fleet with --fleet; {}",
                self.listed()
            ))),
        }
    }

    /// Returns all fleets with their prefixes, for people.
    fn listed(&self) -> String {
        let fleets: Vec<String> =
            self.iter().map(|(name, fleet)| format!("{name} {}", quoted(&fleet.prefixes))).collect();
        format!("the fleets and their prefixes: {}", fleets.join(", "))
    }
}

fn quoted(prefixes: &[String]) -> String {
    if prefixes.is_empty() {
        return "(the whole bucket)".to_owned();
    }
    let quoted: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix:?}")).collect();
    format!("({})", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(prefixes: &[&str]) -> FleetSettings {
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        FleetSettings { prefixes, ..FleetSettings::on(Driver::Map) }
    }

    fn fleets<const N: usize>(of: [(&str, &[&str]); N]) -> Fleets {
        Fleets::new(of.into_iter().map(|(name, prefixes)| (name.to_owned(), fleet(prefixes))).collect())
    }

    fn options(prefix: &str, fleet: Option<&str>) -> RunOptions {
        let (prefix, fleet) = (Some(prefix.to_owned()), fleet.map(str::to_owned));
        RunOptions { prefix, fleet, ..RunOptions::default() }
    }

    fn refusal(chosen: Result<&str, CoordinatorError>) -> String {
        chosen.unwrap_err().to_string()
    }

    #[test]
    fn a_run_is_of_the_fleet_with_the_longest_prefix_of_its_prefix() {
        let all = fleets([("flow", &["logs/", "old/"]), ("ids", &["logs/ids/"])]);
        let of = |prefix| all.choose(&options(prefix, None), None).unwrap();
        assert_eq!(
            ["logs/2026/", "old/", "logs/ids/", "logs/ids/x", "logs/id"].map(of),
            ["flow", "flow", "ids", "ids", "flow"]
        );
        assert_eq!(all.choose(&options("logs/ids/", Some("flow")), None).unwrap(), "flow");
        let none = refusal(all.choose(&options("log", None), None));
        assert!(none.starts_with("no fleet has a prefix with which \"log\" begins"), "{none}");
        let listed = "the fleets and their prefixes: flow (\"logs/\" \"old/\"), ids (\"logs/ids/\")";
        assert!(none.ends_with(listed), "{none}");
        let unknown = refusal(all.choose(&options("logs/", Some("waf")), None));
        assert_eq!(unknown, format!("no fleet named \"waf\"; {listed}"));
        let invalid = refusal(all.choose(&options("logs/", Some("Waf")), None));
        assert!(invalid.starts_with("invalid fleet name \"Waf\""), "{invalid}");
        let outside = refusal(all.choose(&options("logs/", Some("ids")), None));
        assert!(
            outside.starts_with("prefix \"logs/\" is outside the prefixes of fleet ids: (\"logs/ids/\")"),
            "{outside}"
        );
    }

    #[test]
    fn a_prefix_that_two_fleets_share_needs_the_name_of_one() {
        let all = fleets([("a", &["x/", "y/"]), ("b", &["x/"])]);
        let shared = refusal(all.choose(&options("x/1", None), None));
        assert!(
            shared.starts_with("fleets a and b have the same prefix for \"x/1\"; choose one with --fleet"),
            "{shared}"
        );
        assert_eq!(all.choose(&options("x/1", Some("b")), None).unwrap(), "b");
        assert_eq!(all.choose(&options("y/1", None), None).unwrap(), "a");
    }

    #[test]
    fn an_index_run_is_of_the_index_fleet_and_all_others_are_not() {
        let index = FleetSettings { job: Job::Index, ..fleet(&[]) };
        let settings = [("flow", fleet(&["x/"])), ("search", index)];
        let all = Fleets::new(settings.map(|(name, fleet)| (name.to_owned(), fleet)).into());
        let indexing = RunOptions { index: true, ..options("csv/t/", None) };
        assert_eq!(all.choose(&indexing, None).unwrap(), "search");
        assert_eq!(all.choose(&options("x/", None), None).unwrap(), "flow");
        assert_eq!(all.index_fleet(None).unwrap(), "search");
        let converts = refusal(all.index_fleet(Some("flow")));
        assert!(converts.starts_with("fleet flow converts objects"), "{converts}");
        let index = || FleetSettings { job: Job::Index, ..fleet(&[]) };
        let two = Fleets::new([("a".to_owned(), index()), ("b".to_owned(), index())].into());
        let several = refusal(two.index_fleet(None));
        assert!(several.contains("choose one with --fleet"), "{several}");
        assert_eq!(two.index_fleet(Some("b")).unwrap(), "b");
        let none = Fleets::only(fleet(&[]));
        let refused = refusal(none.choose(&indexing, None));
        assert!(refused.starts_with("no fleet sends rows to a search cluster"), "{refused}");
        assert_eq!(refused, refusal(none.index_fleet(None)));
    }

    #[test]
    fn the_only_fleet_needs_no_name() {
        let anything = Fleets::only(fleet(&[]));
        assert_eq!(anything.choose(&options("x/", None), None).unwrap(), "main");
        let some = Fleets::only(fleet(&["x/"]));
        assert_eq!(some.choose(&options("x/1", None), None).unwrap(), "main");
        let outside = refusal(some.choose(&options("y/", None), None));
        assert!(outside.starts_with("prefix \"y/\" is outside the prefixes of fleet main"), "{outside}");
    }

    #[test]
    fn a_resumed_run_keeps_its_fleet_unless_another_is_named() {
        let run: Run = serde_json::from_str(
            r#"{"run":"r","fleet":"b","prefix":"x/","config_hash":"","names_hash":"","version":"","started":"","manifest":null}"#,
        )
        .unwrap();
        let resume = |fleet: Option<&str>| RunOptions {
            resume: Some("r".to_owned()),
            fleet: fleet.map(str::to_owned),
            ..RunOptions::default()
        };
        let both = fleets([("a", &["x/"]), ("b", &["x/"])]);
        assert_eq!(both.choose(&resume(None), Some(&run)).unwrap(), "b");
        assert_eq!(both.choose(&resume(Some("a")), Some(&run)).unwrap(), "a");
        let removed = refusal(fleets([("a", &["x/"])]).choose(&resume(None), Some(&run)));
        assert!(removed.starts_with("run r is of fleet b, which is not in this stack"), "{removed}");
        assert!(removed.ends_with("flowherd run --resume r --fleet NAME"), "{removed}");
    }
}
