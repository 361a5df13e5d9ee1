//! The options of a run: flags of `flowherd run`, members of the function's event, and input of the step loop.

use flowherd_shared::ledger::layout;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::CoordinatorError;

/// The options of a run. This is their only definition: the command takes its flags from it, the function its event, and a
/// test compares the input check of the step loop (`cdk/lib/run-options.json`) with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct RunOptions {
    /// Only keys with this prefix
    #[cfg_attr(feature = "clap", arg(long, required_unless_present = "resume"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Process only objects without a receipt in this earlier run
    #[cfg_attr(feature = "clap", arg(long, value_name = "RUN"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// Name of the run [default: the time and six more characters]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Fleet that processes the objects [default: the one whose prefixes contain the prefix]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// Send rows of the results bucket to a search cluster
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub index: bool,
    /// Index for all documents of the run
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Purge the fleet's queue first; refused while a run of another prefix has unfinished objects
    #[cfg_attr(feature = "clap", arg(long))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub purge: bool,
    /// Purge in any case; the reports of the runs that lose messages record the purge
    #[cfg_attr(feature = "clap", arg(long, requires = "purge"))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The accounts and regions of a refresh of the names: members of the function's event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshOptions {
    /// Roles of other accounts. The coordinator's own account is always read.
    #[serde(default)]
    pub role_arns: Vec<String>,
    /// Regions; without any, that of the coordinator.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Days for which entries that ended stay in the file; without it, they stay for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

impl RunOptions {
    /// Returns the name of the run, or a new one.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for an invalid name.
    pub fn run_name(&self, now: Timestamp) -> Result<String, CoordinatorError> {
        if let Some(problem) = self.run.as_deref().and_then(layout::run_name_problem) {
            return Err(CoordinatorError::Refused(problem));
        }
        match &self.run {
            Some(name) => Ok(name.clone()),
            None => Ok(new_run_name(now, self.prefix.as_deref().unwrap_or_default())),
        }
    }
}

/// Returns a name for a new run. Names sort by time; two names of the same second differ.
#[must_use]
pub fn new_run_name(now: Timestamp, prefix: &str) -> String {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let digest = Sha256::digest(format!("{} {} {prefix}", now.as_nanosecond(), std::process::id()));
    format!("{time}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// What the step loop's input check reads.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct StepLoopInput {
        options: BTreeMap<String, String>,
        run_name: String,
    }

    fn step_loop_input() -> StepLoopInput {
        serde_json::from_str(include_str!("../../cdk/lib/run-options.json")).unwrap()
    }

    #[test]
    fn the_step_loop_checks_exactly_these_options_and_their_types() {
        // Without `..`: a new option does not compile before it is here.
        let all = RunOptions {
            prefix: Some("p/".to_owned()),
            resume: Some("r".to_owned()),
            run: Some("r".to_owned()),
            fleet: Some("main".to_owned()),
            index: true,
            to: Some("incident".to_owned()),
            purge: true,
            force: true,
        };
        let Value::Object(members) = serde_json::to_value(&all).unwrap() else { panic!("an object") };
        let types = members.into_iter().map(|(name, value)| {
            let json_type = match value {
                Value::String(_) => "string",
                Value::Bool(_) => "boolean",
                other => panic!("{name}: the step loop has no check for {other}"),
            };
            (name, json_type.to_owned())
        });
        assert_eq!(step_loop_input().options, types.collect());
    }

    #[test]
    fn the_step_loop_accepts_exactly_the_names_that_the_coordinator_accepts() {
        let pattern = regex::Regex::new(&step_loop_input().run_name).unwrap();
        let long = "x".repeat(80);
        let names =
            ["r", "-", "_", "A.b", &long, "", ".", ".r", "a/b", "ä", "a b", "a\n", &format!("{long}x")];
        for name in names {
            assert_eq!(pattern.is_match(name), layout::is_run_name(name), "{name:?}");
        }
    }

    #[test]
    fn options_that_are_not_set_are_not_written() {
        let options = RunOptions { prefix: Some("p/".to_owned()), ..RunOptions::default() };
        assert_eq!(serde_json::to_value(&options).unwrap(), json!({ "prefix": "p/" }));
        assert_eq!(RunOptions::deserialize(json!({ "prefix": "p/" })).unwrap(), options);
    }

    #[test]
    fn an_invalid_run_name_is_refused() {
        let named = |name: &str| RunOptions { run: Some(name.to_owned()), ..RunOptions::default() };
        assert_eq!(named("a-1").run_name(Timestamp::UNIX_EPOCH).unwrap(), "a-1");
        assert!(matches!(named("../x").run_name(Timestamp::UNIX_EPOCH), Err(CoordinatorError::Refused(_))));
        assert!(layout::is_run_name(&RunOptions::default().run_name(Timestamp::UNIX_EPOCH).unwrap()));
    }
}
