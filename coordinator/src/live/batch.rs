//! The messages of one invocation, as Lambda passes them from the arrivals queue. Returns those that SQS must deliver again
//! (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).

use std::collections::{BTreeMap, BTreeSet};

use flowherd_shared::store::ManifestEntry;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    day::{Day, FleetPrefixes},
    event::{self, Created, Notice},
};
use crate::{
    error::CoordinatorError,
    fleets::{FleetSettings, Fleets, Job},
};

/// A message of the arrivals queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrivalMessage {
    /// Its id, by which the response names it.
    pub message_id: String,
    /// The event.
    pub body: String,
    /// The ARN of the queue.
    #[serde(rename = "eventSourceARN")]
    pub queue_arn: String,
}

/// A convert fleet and its keys.
#[derive(Clone, Debug)]
pub struct FleetKeys {
    /// The fleet.
    pub fleet: String,
    /// Its keys.
    pub prefixes: FleetPrefixes,
    /// Whether it converts objects as they arrive.
    pub live: bool,
}

/// The bucket whose objects arrive, and the fleets that convert them.
#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    /// The source bucket.
    pub bucket: &'a str,
    /// All convert fleets of the stack.
    pub fleets: &'a [FleetKeys],
    /// The time of this machine.
    pub now: Timestamp,
}

/// What became of the messages of an invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Ids of the messages that SQS must deliver again.
    pub failed: Vec<String>,
    /// Objects whose tasks were sent.
    pub sent: u64,
    /// Events that need no task: other types of events, objects of fleets that are not live, and objects that a closed run of
    /// their day has done.
    pub ignored: u64,
    /// Events that no delivery can make valid. Their messages become dead-letter messages.
    pub refused: u64,
    /// Objects whose tasks were not sent now.
    pub unsent: u64,
    /// Why messages are delivered again, one line each.
    pub problems: Vec<String>,
}

/// The objects of a fleet that arrived for a day, with the positions of their messages.
type Groups<'a> = BTreeMap<(&'a str, Day), Vec<(usize, ManifestEntry)>>;

impl FleetKeys {
    /// Returns the keys of all convert fleets of a stack.
    #[must_use]
    pub fn of(fleets: &Fleets) -> Vec<Self> {
        let converts: Vec<_> = fleets.iter().filter(|(_, fleet)| fleet.job == Job::Convert).collect();
        let keys = |&(name, fleet): &(&str, &FleetSettings)| {
            let others = converts.iter().filter(|(other, _)| *other != name);
            let others: Vec<String> = others.flat_map(|(_, other)| other.prefixes.iter().cloned()).collect();
            let prefixes = FleetPrefixes::new(&fleet.prefixes, &others);
            Self { fleet: name.to_owned(), prefixes, live: fleet.live }
        };
        converts.iter().map(keys).collect()
    }

    /// Returns the fleet whose days to close: the live fleet of this name, or the only one. A fleet that is no longer live may
    /// have days that are still open, so it can be chosen by its name, or if it is the only convert fleet.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] without exactly one.
    pub fn choose_to_close<'a>(fleets: &'a [Self], name: Option<&str>) -> Result<&'a Self, CoordinatorError> {
        let former = match (name, fleets) {
            (Some(name), _) => fleets.iter().find(|keys| keys.fleet == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        match former {
            Some(keys) => Ok(keys),
            None => Self::choose(fleets, name),
        }
    }

    /// Returns the live fleet of this name, or the only one.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] without exactly one.
    pub fn choose<'a>(fleets: &'a [Self], name: Option<&str>) -> Result<&'a Self, CoordinatorError> {
        let live: Vec<&Self> = fleets.iter().filter(|keys| keys.live).collect();
        let names: Vec<&str> = live.iter().map(|keys| keys.fleet.as_str()).collect();
        match (name, &live[..]) {
            (_, []) => Err(CoordinatorError::refused(
                "no fleet is live; set \"live\": true in the settings of the stack",
            )),
            (None, [only]) => Ok(only),
            (Some(name), _) => live.iter().find(|keys| keys.fleet == name).copied().ok_or_else(|| {
                CoordinatorError::Refused(format!(
                    "no live fleet named {name:?}; live are: {}",
                    names.join(", ")
                ))
            }),
            (None, _) => Err(CoordinatorError::Refused(format!(
                "several fleets are live; choose one with --fleet: {}",
                names.join(", ")
            ))),
        }
    }
}

impl Arrivals<'_> {
    /// Handles messages. `send` sends the tasks of objects of one fleet and day, and returns their number. `has_time` returns
    /// whether there is time for another day: the messages of the others are delivered again.
    pub fn handle(
        &self,
        messages: &[ArrivalMessage],
        has_time: &dyn Fn() -> bool,
        send: impl Fn(&FleetKeys, Day, &[ManifestEntry]) -> Result<u64, CoordinatorError>,
    ) -> Handled {
        let mut handled = Handled::default();
        let mut failed = BTreeSet::new();
        let mut groups = Groups::new();
        for (at, message) in messages.iter().enumerate() {
            for notice in event::parse(&message.body) {
                let sorted = match notice {
                    Ok(Notice::Created(created)) => self.sort(at, created, &mut groups),
                    Ok(Notice::Other(_)) => Ok(false),
                    Err(error) => Err(error.to_string()),
                };
                match sorted {
                    Ok(true) => {}
                    Ok(false) => handled.ignored += 1,
                    Err(why) => {
                        handled.refused += 1;
                        handled.problems.push(format!("message {}: {why}", message.message_id));
                        failed.insert(at);
                    }
                }
            }
        }
        for ((fleet, day), arrived) in groups {
            let Some(fleet) = self.fleets.iter().find(|keys| keys.fleet == fleet) else { continue };
            let objects: Vec<ManifestEntry> = arrived.iter().map(|(_, object)| object.clone()).collect();
            let outcome = if has_time() {
                send(fleet, day, &objects).map_err(|error| error.on_one_line())
            } else {
                Err("the function has no time left; its messages are delivered again".to_owned())
            };
            match outcome {
                Ok(tasks) => {
                    handled.sent += tasks;
                    handled.ignored += (objects.len() as u64).saturating_sub(tasks);
                }
                Err(why) => {
                    handled.unsent += objects.len() as u64;
                    handled.problems.push(format!("fleet {}, day {}: {why}", fleet.fleet, day.text()));
                    failed.extend(arrived.iter().map(|(at, _)| *at));
                }
            }
        }
        handled.failed = failed.into_iter().map(|at| messages[at].message_id.clone()).collect();
        handled
    }

    /// Adds an object to the group of its fleet and day. Returns `false` if its fleet is not live, and why it is refused as the
    /// error.
    fn sort<'a>(&'a self, at: usize, created: Created, groups: &mut Groups<'a>) -> Result<bool, String> {
        let Created { bucket, object, time } = created;
        let key = &object.key;
        if bucket != self.bucket {
            return Err(format!(
                "object {key:?} is in bucket {bucket:?}, but this stack reads {:?}; correct the rule or notification \
                 that sends it",
                self.bucket
            ));
        }
        let owners = self.fleets.iter().filter_map(|keys| Some((keys.prefixes.prefix_of(key)?.len(), keys)));
        let Some((_, keys)) = owners.max_by_key(|(length, keys)| (*length, keys.live)) else {
            return Err(format!(
                "object {key:?} is outside the prefixes of all fleets; correct the rule or notification that sends it"
            ));
        };
        if !keys.live {
            return Ok(false);
        }
        let day = keys.prefixes.day_of(key, time, self.now);
        groups.entry((&keys.fleet, day)).or_default().push((at, object));
        Ok(true)
    }
}

impl Handled {
    /// Returns the response of the function.
    #[must_use]
    pub fn response(&self) -> Value {
        let failed = self.failed.iter().map(|id| json!({ "itemIdentifier": id }));
        json!({ "batchItemFailures": failed.collect::<Vec<_>>() })
    }

    /// Returns the line of metrics of an invocation, in the format that CloudWatch extracts from a log
    /// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
    #[must_use]
    pub fn metrics(&self, queue: &str, now: Timestamp) -> Value {
        let names = ["ArrivalsSent", "ArrivalsIgnored", "ArrivalsRefused", "ArrivalsUnsent"];
        let metrics: Vec<Value> = names.iter().map(|name| json!({ "Name": name, "Unit": "Count" })).collect();
        json!({
            "ArrivalsSent": self.sent,
            "ArrivalsIgnored": self.ignored,
            "ArrivalsRefused": self.refused,
            "ArrivalsUnsent": self.unsent,
            "Queue": queue,
            "_aws": {
                "Timestamp": now.as_millisecond(),
                "CloudWatchMetrics": [{ "Namespace": "Flowherd", "Dimensions": [["Queue"]], "Metrics": metrics }],
            },
        })
    }
}
