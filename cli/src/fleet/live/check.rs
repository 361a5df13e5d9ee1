//! `flowherd live check`: whether events arrive and become tasks.

use std::time::Duration;

use anyhow::Context;
use flowherd_aws::{
    api::{ApiError, Retries},
    events::read_rule,
    sqs::SqsQueue,
};
use flowherd_coordinator::live::status::Verdict;
use flowherd_shared::{error::error_chain, ledger::ReportState, queue::Queue as _};
use serde::Serialize;

use super::{
    LiveFleet, look,
    rule::{Expected, Found},
    verdict,
};
use crate::{
    args::live::LiveLookArgs,
    fleet::{Deployment, connected, json, stack},
    stop::Stop,
    summary::{self, print_message, printable},
    words,
};

/// Age of a waiting object above which a check names it as a problem: several times what an arrival takes.
const LONG: Duration = Duration::from_mins(15);

/// What `flowherd live check` found.
#[derive(Serialize)]
struct Checked {
    /// Whether the bucket sends its events to `EventBridge`; `null` if that cannot be read.
    sends_events: Option<bool>,
    /// The rule that sends the events to the arrivals queue; `null` outside of a stack, and if it cannot be read.
    rule: Option<Found>,
    /// Messages of the arrivals queue; `null` outside of a stack.
    arrivals: Option<Arrivals>,
    fleets: Vec<LiveFleet>,
    problems: Vec<String>,
}

/// The counts of the arrivals queue, which are approximate.
#[derive(Serialize)]
struct Arrivals {
    waiting: u64,
    dead_letters: u64,
}

pub(super) fn check(args: &LiveLookArgs) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let fleets = look(deployment, args.of_fleet.as_deref())?;
        let mut checked =
            Checked { sends_events: None, rule: None, arrivals: None, fleets, problems: Vec::new() };
        let bucket = &deployment.settings.common.source_bucket;
        let read = || deployment.connected.source.sends_events();
        match deployment.patience.during("the notifications of the source bucket", read) {
            Ok(sends) => checked.sends_events = Some(sends),
            Err(error) => print_message(&format!(
                "cannot read the notifications of {bucket}: {error}; allow s3:GetBucketNotification"
            )),
        }
        checked.find_problems(bucket);
        if deployment.step_loop.is_some() {
            let outputs = || stack::outputs(deployment.aws, &args.fleet);
            checked
                .check_stack(deployment, &deployment.patience.during("the outputs of the stack", outputs)?)?;
        }
        summary::print(&if args.json { json(&checked)? } else { checked.text() })?;
        checked.problems.iter().for_each(|problem| print_message(problem));
        if checked.problems.is_empty() { Ok(()) } else { Err(Stop::Failed) }
    })
}

fn depth(deployment: &Deployment<'_>, queue: &SqsQueue) -> Result<u64, Stop> {
    let depth = deployment.patience.during("the counts of the arrivals queue", || queue.depth());
    Ok(depth.context("cannot read the arrivals queue")?.sum())
}

/// Reads the rule of a stack. Without the right to, prints that, and returns `None`.
fn read(deployment: &Deployment<'_>, queues: [&SqsQueue; 2], name: String) -> Result<Option<Found>, Stop> {
    let arn = |queue: &SqsQueue| {
        let arn = deployment.patience.during("the ARN of the arrivals queue", || queue.arn());
        arn.context("cannot read the arrivals queue")
    };
    let fleets = deployment.settings.fleets.iter().filter(|(_, fleet)| fleet.live);
    let expected = Expected {
        bucket: &deployment.settings.common.source_bucket,
        prefixes: fleets.flat_map(|(_, fleet)| fleet.prefixes.iter().map(String::as_str)).collect(),
        queue: arn(queues[0])?,
        dead_letters: arn(queues[1])?,
        name,
    };
    let read = || read_rule(deployment.aws, &expected.name, retries(deployment.patience.limit()));
    match deployment.patience.during("the EventBridge rule", read) {
        Ok(rule) => Ok(Some(expected.compare(rule.as_ref()))),
        Err(error) => {
            print_message(&unreadable(&expected.name, &error));
            Ok(None)
        }
    }
}

/// Returns the attempts of each of two requests, which together end within the time limit of the command, also if no response comes:
/// the other checks follow.
fn retries(limit: Duration) -> Retries {
    let attempt = (limit / 8).min(Duration::from_secs(10));
    Retries { attempts: 2, attempt, limit: attempt / 2, first: attempt / 20 }
}

/// Returns why a rule cannot be read, for people, and what to do without the permission to read it.
fn unreadable(name: &str, error: &ApiError) -> String {
    let advice = match error {
        ApiError::Refused { code, .. } if code.starts_with("AccessDenied") => {
            "; allow events:DescribeRule and events:ListTargetsByRule"
        }
        _ => "",
    };
    format!("cannot read the EventBridge rule {name}: {}{advice}", error_chain(error))
}

impl Checked {
    /// Checks what only a stack has: the rule and the arrivals queue.
    fn check_stack(&mut self, deployment: &Deployment<'_>, outputs: &stack::Outputs) -> Result<(), Stop> {
        let [queue, dead] = ["ArrivalsQueueUrl", "ArrivalsDeadLetterQueueUrl"].map(|key| outputs.get(key));
        let (Some(queue), Some(dead)) = (queue, dead) else { return Ok(()) };
        let [queue, dead] = [queue, dead].map(|url| deployment.aws.queue(&url));
        if let Some(name) = outputs.get("ArrivalsRule") {
            self.rule = read(deployment, [&queue, &dead], name)?;
            self.problems.extend(self.rule.iter().flat_map(|rule| rule.problems.clone()));
        }
        let (waiting, dead_letters) = (depth(deployment, &queue)?, depth(deployment, &dead)?);
        self.arrivals = Some(Arrivals { waiting, dead_letters });
        if dead_letters > 0 {
            self.problems.push(
                "the arrivals queue has dead-letter messages; see docs/operations.md#alarm-arrivals-dead-letters"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn find_problems(&mut self, bucket: &str) {
        if self.sends_events == Some(false) {
            self.problems.push(format!(
                "bucket {bucket} does not send its events to EventBridge: objects are only converted when their day is \
                 closed; to enable it, run the command in docs/live.md"
            ));
        }
        for LiveFleet { fleet, today, yesterday } in &self.fleets {
            if let Some(oldest) =
                today.oldest_waiting.as_ref().filter(|oldest| oldest.seconds > LONG.as_secs())
            {
                self.problems.push(format!(
                    "fleet {fleet}: {} has waited for {}; check its workers",
                    printable(&oldest.key),
                    words::duration(Duration::from_secs(oldest.seconds))
                ));
            }
            if let Some(Verdict { state, .. }) = &yesterday.verdict
                && *state != ReportState::Done
            {
                self.problems.push(format!("fleet {fleet}, {}: {}", yesterday.day, verdict(yesterday)));
            }
        }
    }

    fn text(&self) -> String {
        let events = match self.sends_events {
            Some(true) => "sent to EventBridge",
            Some(false) => "not sent",
            None => "unknown",
        };
        let mut text = format!("events    {events}\n");
        if let Some(rule) = &self.rule {
            text += &format!("rule      {}\n", rule.text());
        }
        if let Some(Arrivals { waiting, dead_letters }) = self.arrivals {
            let dead = words::counted(dead_letters, "dead-letter message", "dead-letter messages");
            text += &format!("arrivals  {waiting} waiting, {dead}\n");
        }
        for LiveFleet { fleet, today, .. } in &self.fleets {
            let last = today.last_done_seconds.map_or("none today".to_owned(), |seconds| {
                format!("{} ago", words::duration(Duration::from_secs(seconds)))
            });
            text += &format!("last done {last} (fleet {fleet})\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_denied_read_of_the_rule_names_the_permissions() {
        let refused = |code: &str| ApiError::Refused {
            action: "DescribeRule",
            code: code.to_owned(),
            message: "m".to_owned(),
            hint: "",
        };
        let text = unreadable("r", &refused("AccessDeniedException"));
        assert_eq!(
            text,
            "cannot read the EventBridge rule r: DescribeRule is refused: AccessDeniedException: m; allow events:DescribeRule and \
             events:ListTargetsByRule"
        );
        let throttled = ApiError::Throttled { action: "DescribeRule", code: "Rate".to_owned(), attempts: 2 };
        for error in [refused("UnrecognizedClientException"), throttled, ApiError::NoRegion] {
            assert!(!unreadable("r", &error).contains("allow events"), "{error}");
        }
    }

    #[test]
    fn all_attempts_to_read_the_rule_end_before_the_time_limit() {
        for limit in [1, 60, 3600].map(Duration::from_secs) {
            let Retries { first, limit: pause, attempts, attempt } = retries(limit);
            assert!((attempt * attempts + first.max(pause)) * 2 < limit);
        }
    }
}
