//! Finds a deployed stack by its name.

use std::collections::BTreeMap;

use anyhow::Context;
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata, types::Output};
use flowherd_aws::{Aws, settings::CommonSettings};
use flowherd_coordinator::{
    fleets::{Driver, FleetSettings, Fleets, Job},
    settings::{FLEETS, Settings},
};
use flowherd_shared::cluster::ClusterOptions;
use serde::Deserialize;

use crate::{args::FleetArgs, cost::Workers, stop::Stop};

/// The default stack name of `cdk deploy`.
const DEFAULT_NAME: &str = "Flowherd";

/// The outputs of a stack.
pub(super) struct Outputs {
    stack: String,
    outputs: BTreeMap<String, String>,
}

/// The output of a fleet, as far as the command reads it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FleetOutput {
    name: String,
    prefixes: Vec<String>,
    job: Job,
    /// `cluster` is the cluster of Fargate.
    #[serde(rename = "search")]
    cluster: Option<ClusterOptions>,
    live: bool,
    max_keys: u64,
    size: SizeOutput,
    #[serde(flatten)]
    driver: DriverOutput,
}

/// What runs the workers of a fleet, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(tag = "workers", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum SizeOutput {
    Lambda { memory_mb: u32, max_concurrency: u32, batch_size: u32 },
    Fargate { vcpu: f64, memory_mb: u32, max: u32, backlog_per_task: u32 },
}

#[derive(Deserialize)]
#[serde(tag = "driver", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum DriverOutput {
    Queue { queue_url: String, dead_letter_queue_url: String },
    Map,
}

impl From<FleetOutput> for FleetSettings {
    fn from(FleetOutput { prefixes, job, cluster, live, max_keys, driver, .. }: FleetOutput) -> Self {
        let driver = match driver {
            DriverOutput::Queue { queue_url: url, dead_letter_queue_url } => {
                Driver::Queue { url, dead_letters: Some(dead_letter_queue_url) }
            }
            DriverOutput::Map => Driver::Map,
        };
        Self { prefixes, job, cluster, live, max_keys, ..Self::on(driver) }
    }
}

impl Outputs {
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.outputs.get(key).cloned()
    }

    pub(super) fn needed(&self, key: &str) -> Result<String, Stop> {
        let missing = || {
            Stop::usage(format!(
                "stack {:?} has no output {key}. Check that it is a Flowherd stack of this version",
                self.stack
            ))
        };
        self.get(key).ok_or_else(missing)
    }

    /// Reads the fleets, each of an output whose name begins with `Fleet`.
    fn read_fleets(&self) -> Result<Vec<FleetOutput>, Stop> {
        let outputs = self.outputs.iter().filter(|(key, _)| key.starts_with("Fleet"));
        let read = |(key, value): (&String, &String)| {
            serde_json::from_str(value).map_err(|error| {
                Stop::usage(format!(
                    "output {key} of stack {:?} does not describe a fleet: {error}. Use the version of the command with which \
                     the stack was deployed",
                    self.stack
                ))
            })
        };
        let fleets: Vec<FleetOutput> = outputs.map(read).collect::<Result<_, _>>()?;
        if fleets.is_empty() {
            self.needed("FleetMain")?;
        }
        Ok(fleets)
    }

    fn fleets(&self) -> Result<Fleets, Stop> {
        let fleets = self.read_fleets()?.into_iter();
        Ok(Fleets::new(fleets.map(|fleet| (fleet.name.clone(), FleetSettings::from(fleet))).collect()))
    }

    /// Returns the workers of a fleet; `None` if no output describes the fleet.
    pub(super) fn workers(&self, fleet: &str) -> Result<Option<Workers>, Stop> {
        let found = self.read_fleets()?.into_iter().find(|output| output.name == fleet);
        Ok(found.map(|output| match (output.size, output.driver) {
            (SizeOutput::Lambda { memory_mb, max_concurrency: concurrency, batch_size: batch }, driver) => {
                match driver {
                    DriverOutput::Queue { .. } => Workers::Lambda { memory_mb, concurrency, batch },
                    DriverOutput::Map => Workers::Map { memory_mb, concurrency, batch },
                }
            }
            (SizeOutput::Fargate { vcpu, memory_mb, max: max_tasks, backlog_per_task }, _) => {
                Workers::Fargate { vcpu, memory_mb, max_tasks, backlog_per_task }
            }
        }))
    }
}

/// Returns the settings of a stack, and the ARN of its state machine.
pub(super) fn find(aws: &Aws, args: &FleetArgs) -> Result<(Settings, Option<String>), Stop> {
    let outputs = outputs(aws, args)?;
    let common = CommonSettings {
        source_bucket: outputs.needed("SourceBucket")?,
        source_bucket_owner: outputs.get("SourceBucketOwner"),
        source_bucket_region: outputs.get("SourceBucketRegion"),
        results_bucket: outputs.needed("ResultsBucket")?,
        results_bucket_owner: outputs.get("ResultsBucketOwner"),
    };
    let settings = Settings::of(common, outputs.fleets()?);
    Ok((settings, outputs.get("StateMachineArn")))
}

/// Returns the stack name from `--stack` or the environment.
pub(super) fn requested_name(args: &FleetArgs) -> Option<String> {
    args.stack.clone().or_else(|| variable("FLOWHERD_STACK"))
}

/// Returns whether the environment describes a fleet. One of these variables is enough, so that a missing one is an error and
/// not another fleet.
pub(super) fn environment_names_a_fleet() -> bool {
    let names = ["FLOWHERD_QUEUE_URL", FLEETS, "FLOWHERD_SOURCE_BUCKET", "FLOWHERD_RESULTS_BUCKET"];
    names.into_iter().any(|name| variable(name).is_some())
}

/// Returns an environment variable. An empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the outputs of the requested stack, or of the default one.
pub(super) fn outputs(aws: &Aws, args: &FleetArgs) -> Result<Outputs, Stop> {
    let name = requested_name(args).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let request = Client::new(aws.config()).describe_stacks().stack_name(&name).send();
    let answer = aws.handle().block_on(request).map_err(|error| match error.code() {
        Some("ValidationError") => Stop::usage(format!(
            "no stack {name:?} in this account and region. Name it with --stack, or set FLOWHERD_QUEUE_URL, \
             FLOWHERD_SOURCE_BUCKET and FLOWHERD_RESULTS_BUCKET"
        )),
        _ => anyhow::Error::new(error).context(format!("cannot read stack {name:?}")).into(),
    })?;
    let stack = answer.stacks().first().context("CloudFormation returned no stack")?;
    let output = |output: &Output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()));
    Ok(Outputs { outputs: stack.outputs().iter().filter_map(output).collect(), stack: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(fleets: &[(&str, &str)]) -> Outputs {
        let outputs = fleets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Outputs { stack: "Logs".to_owned(), outputs }
    }

    #[test]
    fn each_output_of_a_fleet_is_a_fleet() {
        let queue = r#"{"name":"waf-2","prefixes":["waf/"],"driver":"queue","job":"convert","live":true,"maxKeys":7,
            "size":{"workers":"fargate","vcpu":0.5,"memoryMb":1024,"max":3,"backlogPerTask":9},
            "queueUrl":"https://x/q.fifo","deadLetterQueueUrl":"https://x/d.fifo","worker":"w","trigger":"t"}"#;
        let map = r#"{"name":"bulk","prefixes":[],"driver":"map","job":"convert","live":false,"maxKeys":1,
            "size":{"workers":"lambda","memoryMb":512,"maxConcurrency":7,"batchSize":2}}"#;
        let outputs = outputs(&[("FleetWaf2", queue), ("FleetBulk", map), ("QueueUrl", "x")]);
        let fleets = outputs.fleets().unwrap();
        assert_eq!(fleets.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["bulk", "waf-2"]);
        let (_, waf) = fleets.get("waf-2").unwrap();
        let dead_letters = Some("https://x/d.fifo".to_owned());
        assert_eq!(waf.driver, Driver::Queue { url: "https://x/q.fifo".to_owned(), dead_letters });
        assert_eq!((&*waf.prefixes, waf.live, waf.max_keys), (&["waf/".to_owned()][..], true, 7));
        assert_eq!(fleets.get("bulk").unwrap().1.driver, Driver::Map);
        let fargate = Workers::Fargate { vcpu: 0.5, memory_mb: 1024, max_tasks: 3, backlog_per_task: 9 };
        assert_eq!(outputs.workers("waf-2").unwrap(), Some(fargate));
        let map = Workers::Map { memory_mb: 512, concurrency: 7, batch: 2 };
        assert_eq!((outputs.workers("bulk").unwrap(), outputs.workers("other").unwrap()), (Some(map), None));
    }

    #[test]
    fn a_stack_without_a_readable_fleet_is_a_usage_error() {
        for (fleets, why) in [
            (&[][..], "stack \"Logs\" has no output FleetMain"),
            (&[("FleetMain", "{}")], "output FleetMain of stack \"Logs\" does not describe a fleet"),
            (
                &[(
                    "FleetMain",
                    r#"{"name":"main","prefixes":[],"driver":"map","job":"convert","live":false,"maxKeys":1}"#,
                )],
                "output FleetMain of stack \"Logs\" does not describe a fleet: missing field `size`",
            ),
        ] {
            let Err(Stop::Usage(problems)) = outputs(fleets).fleets() else { panic!("{why}") };
            assert!(problems[0].starts_with(why), "{problems:?}");
        }
    }
}
