//! `flowherd estimate`: lists a prefix or a directory and estimates the work and cost of a run. It changes nothing.

mod index;

use std::{path::Path, time::Duration};

use anyhow::Context;
use aws_sdk_lambda::types::AccountLimit;
use flowherd_aws::Aws;
use flowherd_coordinator::{
    fleets::{Driver, Job},
    options::RunOptions,
};
use flowherd_shared::{
    error::error_chain,
    ledger::no_objects,
    store::{Lister, pages},
};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Deployment, buckets, connected, json, patience::Patience, stack};
use crate::{
    args::EstimateArgs,
    convert::listing::Listing,
    cost::{BYTES_PER_SECOND, Estimate, Objects, Workers, live::LiveDay},
    stop::Stop,
    summary,
    words::about,
};

/// The output of `--json`.
#[derive(Serialize)]
struct Output<'a> {
    /// The fleet whose workers are assumed; `null` for those of a stack with default settings.
    fleet: Option<&'a str>,
    #[serde(flatten)]
    estimate: &'a Estimate,
    /// With `--live`.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a LiveDay>,
    /// Concurrent executions that the account's functions may still use; `null` if unknown.
    unreserved_concurrency: Option<u32>,
}

/// What an estimate assumes.
struct Assumed {
    /// The fleet with these workers; `None` for those of a stack with default settings.
    fleet: Option<String>,
    workers: Workers,
}

/// `flowherd estimate`.
pub(crate) fn estimate(args: &EstimateArgs) -> Result<(), Stop> {
    if args.index.index {
        return index::estimate(args);
    }
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let assumed =
        |fleet, workers: Workers| Assumed { fleet, workers: workers.with(args.concurrency, args.memory) };
    let default = || assumed(None, Workers::default());
    if let Some(source) = &args.source {
        let objects = of_directory(source, prefix)?;
        return show(args, &source.display().to_string(), objects, &default(), None);
    }
    if let Some(name) = &args.bucket {
        let (aws, bucket) = buckets::find(name)?;
        let patience = Patience::new(Duration::from_secs(args.fleet.timeout));
        let objects = of_bucket(&bucket, name, prefix, &patience)?;
        let concurrency =
            patience.during("the account's settings in Lambda", || unreserved_concurrency(&aws));
        return show(args, &format!("s3://{name}"), objects, &default(), Some(concurrency));
    }
    connected(&args.fleet, |deployment| {
        let (fleet, workers) = of_fleet(deployment, args)?;
        let assumed = assumed(fleet, workers);
        if args.live && matches!(assumed.workers, Workers::Map { .. }) {
            return Err(Stop::usage("a fleet with driver map cannot be live; leave out --live"));
        }
        let Deployment { connected, settings, patience, aws, .. } = deployment;
        let bucket = &settings.common.source_bucket;
        let objects = of_bucket(&connected.source, bucket, prefix, patience)?;
        let concurrency = assumed
            .workers
            .are_functions()
            .then(|| patience.during("the account's settings in Lambda", || unreserved_concurrency(aws)));
        show(args, &format!("s3://{bucket}"), objects, &assumed, concurrency)
    })
}

/// Returns the fleet that would process the prefix, and its workers. Outside of a stack, and without such a fleet, the workers are
/// those of default settings.
fn of_fleet(deployment: &Deployment<'_>, args: &EstimateArgs) -> Result<(Option<String>, Workers), Stop> {
    let fleets = &deployment.settings.fleets;
    let (prefix, fleet) = (args.prefix.clone(), args.of_fleet.clone());
    let name = match fleets.choose(&RunOptions { prefix, fleet, ..RunOptions::default() }, None) {
        Ok(name) => name,
        Err(error) if args.of_fleet.is_some() => return Err(error.into()),
        // A prefix that no run can have yet.
        Err(error) => {
            summary::print_message(&format!("{error}; assuming workers of default settings"));
            return Ok((None, Workers::default()));
        }
    };
    let (_, settings) = fleets.get(name)?;
    if settings.job == Job::Index {
        return Err(Stop::usage(format!(
            "fleet {name} sends rows to a search cluster; estimate knows only fleets that convert objects; choose a fleet that \
             converts, or add --index"
        )));
    }
    let mut workers = None;
    if deployment.step_loop.is_some() {
        let outputs = || stack::outputs(deployment.aws, &args.fleet);
        workers = deployment.patience.during("the outputs of the stack", outputs)?.workers(name)?;
    }
    let default = || Workers::of_driver(matches!(settings.driver, Driver::Map));
    Ok((Some(name.to_owned()), workers.unwrap_or_else(default)))
}

fn of_directory(source: &Path, prefix: &str) -> Result<Objects, Stop> {
    if !source.exists() {
        return Err(Stop::usage(format!("no file or directory {}", source.display())));
    }
    let mut objects = Objects::default();
    let listing = Listing { source, prefix, excluded: Vec::new() };
    let listed = listing.each(|found| {
        objects.add(found.entry.size);
        Ok(())
    });
    listed.with_context(|| format!("cannot list {}", source.display()))?;
    Ok(objects)
}

fn of_bucket(bucket: &impl Lister, name: &str, prefix: &str, patience: &Patience) -> Result<Objects, Stop> {
    let mut objects = Objects::default();
    let mut pages = pages(bucket, prefix);
    while let Some(page) = patience.during(format!("the listing of {name}"), || pages.next()) {
        let page = page.context("cannot list the prefix")?;
        page.entries.iter().for_each(|entry| objects.add(entry.size));
    }
    Ok(objects)
}

/// Prints the estimate. `unreserved` is the account's concurrency, or why it is not known; `None` if it was not asked.
fn show(
    args: &EstimateArgs,
    source: &str,
    objects: Objects,
    assumed: &Assumed,
    unreserved: Option<Result<u32, String>>,
) -> Result<(), Stop> {
    let prefix = args.prefix.as_deref().unwrap_or_default();
    if objects.count == 0 {
        summary::print_message(&no_objects(source, prefix));
    }
    let estimate = Estimate::new(prefix, objects, &assumed.workers);
    let live = args.live.then(|| LiveDay::new(&estimate, &assumed.workers));
    if args.json {
        if let Some(Err(why)) = &unreserved {
            summary::print_message(why);
        }
        let unreserved_concurrency = unreserved.and_then(Result::ok);
        let fleet = assumed.fleet.as_deref();
        let output = Output { fleet, estimate: &estimate, live: live.as_ref(), unreserved_concurrency };
        return summary::print(&json(&output)?);
    }
    let live = live.as_ref().map_or_else(String::new, |day| live_text(day, &assumed.workers));
    let unreserved = unreserved
        .map_or_else(String::new, |unreserved| concurrency_text(unreserved, estimate.concurrency) + "\n");
    summary::print(&(text(&estimate, assumed) + &live + &unreserved))
}

/// Asks Lambda for the account's limit of concurrent executions. New accounts have fewer than 1,000
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
fn unreserved_concurrency(aws: &Aws) -> Result<u32, String> {
    let request = aws_sdk_lambda::Client::new(aws.config()).get_account_settings().send();
    let answer = aws.handle().block_on(request).map_err(|error| error_chain(&error));
    let limit = answer.map(|answer| answer.account_limit);
    let unreserved = |limit: AccountLimit| limit.unreserved_concurrent_executions;
    let unreserved = limit.and_then(|limit| {
        let number = limit.and_then(unreserved).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| "Lambda returned no number".to_owned())
    });
    unreserved.map_err(|why| {
        format!(
            "cannot read the account's concurrent executions (lambda:GetAccountSettings): {why}; new accounts have fewer \
             than 1,000, and workers beyond the limit are throttled"
        )
    })
}

fn concurrency_text(unreserved: Result<u32, String>, concurrency: u32) -> String {
    match unreserved {
        Ok(number) if number < concurrency => format!(
            "the account has {number} unreserved concurrent executions in this region, fewer than the assumed maxConcurrency \
             of {concurrency}:\nworkers are throttled; raise the quota of Lambda, or lower maxConcurrency"
        ),
        Ok(number) => format!(
            "the account has {} unreserved concurrent executions in this region",
            HumanCount(number.into())
        ),
        Err(why) => why,
    }
}

fn dollars(amount: f64) -> String {
    format!("${amount:.4}")
}

fn text(estimate: &Estimate, assumed: &Assumed) -> String {
    let count = |number| HumanCount(number).to_string();
    let mut rows = vec![
        ("objects", count(estimate.objects)),
        ("bytes", HumanBytes(estimate.bytes).to_string()),
        ("largest object", HumanBytes(estimate.largest_bytes).to_string()),
        ("elapsed time", about(Duration::from_secs_f64(estimate.elapsed_seconds))),
        ("worker seconds", format!("{:.0}", estimate.worker_seconds)),
    ];
    let cost = estimate.dollars;
    // Only the services that the workers use.
    let (lambda, requests) =
        (("Lambda", dollars(cost.lambda)), ("Lambda requests", count(estimate.lambda_requests)));
    let sqs = [("SQS requests", count(estimate.sqs_requests)), ("SQS", dollars(cost.sqs))];
    let (counts, costs) = match assumed.workers {
        Workers::Lambda { .. } => (vec![requests, sqs[0].clone()], vec![lambda, sqs[1].clone()]),
        Workers::Map { .. } => {
            let executions = [
                ("Step Functions executions", count(estimate.express_requests)),
                ("their GB-seconds", format!("{:.0}", estimate.express_gb_seconds)),
                ("state transitions", count(estimate.state_transitions)),
            ];
            let all = [vec![requests], executions.to_vec()].concat();
            (all, vec![lambda, ("Step Functions", dollars(cost.step_functions))])
        }
        Workers::Fargate { .. } => {
            let hours = [
                ("Fargate vCPU-hours", format!("{:.2}", estimate.fargate_vcpu_hours)),
                ("Fargate GB-hours", format!("{:.2}", estimate.fargate_gb_hours)),
            ];
            let all = [hours.to_vec(), vec![sqs[0].clone()]].concat();
            (all, vec![("Fargate", dollars(cost.fargate)), sqs[1].clone()])
        }
    };
    if assumed.workers.are_functions() {
        rows.push(("Lambda GB-seconds", format!("{:.0}", estimate.lambda_gb_seconds)));
    }
    rows.extend(counts);
    rows.extend([
        ("S3 reads", count(estimate.s3_reads)),
        ("S3 writes and lists", count(estimate.s3_writes_and_lists)),
        ("logs and metrics", HumanBytes(estimate.log_bytes).to_string()),
    ]);
    rows.extend(costs);
    rows.extend([
        ("S3 requests", dollars(cost.s3)),
        ("CloudWatch", dollars(cost.cloudwatch)),
        ("total", dollars(cost.total)),
    ]);
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let table = summary::columns(&["a run of these objects", "about"], rows, 1);
    let idle = &estimate.idle_month;
    let workers = match assumed.workers {
        Workers::Fargate { vcpu, .. } => format!("tasks at once on Fargate with {vcpu} vCPU and"),
        Workers::Map { .. } => "workers at once by a Distributed Map with".to_owned(),
        Workers::Lambda { .. } => "workers at once with".to_owned(),
    };
    let of_fleet = assumed.fleet.as_ref().map_or_else(String::new, |fleet| format!(" (fleet {fleet})"));
    // What some stacks cost besides: docs/cost.md, "A month without a run".
    let not_idle = match assumed.workers {
        Workers::Fargate { .. } => {
            "not included: Container Insights, VPC endpoints ($58.40 if the stack creates the VPC), and the queue and alarms of a \
             live fleet ($0.56)\n"
        }
        Workers::Lambda { .. } => "not included: the queue and alarms of a live fleet ($0.56)\n",
        Workers::Map { .. } => "",
    };
    let step_loop = if estimate.express_requests > 0 { "the step loop" } else { "Step Functions" };
    format!(
        "{table}\nassumed: {} {workers} {} MB of memory{of_fleet}, arm64, prices of us-east-1 without free tiers, {:.0} MB of \
         compressed logs per second and vCPU;\nstorage, transfer, {step_loop} and Athena scans are not included\n\n\
         the stack itself: about ${:.2} per month without a run (alarms ${:.2}, dashboard ${:.2}, polls of the empty queue \
         ${:.2})\n{not_idle}",
        estimate.concurrency,
        estimate.memory_mb,
        BYTES_PER_SECOND / 1e6,
        idle.total,
        idle.alarms,
        idle.dashboard,
        idle.sqs
    )
}

fn live_text(day: &LiveDay, workers: &Workers) -> String {
    let row = |what: &str, live, listed| vec![what.to_owned(), dollars(live), dollars(listed)];
    let parts = day.rows.iter().map(|part| row(part.what, part.live, part.listed));
    let sums =
        [row("what both cost", day.common, day.common), row("total", day.live_total, day.listed_total)];
    let heads = ["these objects in a day", "as they arrive", "listed run"];
    let burst = match *workers {
        Workers::Fargate { max_tasks, .. } => format!(
            "objects that arrive evenly are the lower end on Fargate: a burst starts up to {max_tasks} tasks (`max`), and each of \
             them runs until the queue has been empty for five minutes\n"
        ),
        Workers::Lambda { .. } | Workers::Map { .. } => String::new(),
    };
    format!("\n{}\n{burst}", summary::columns(&heads, parts.chain(sums), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_without_a_run_names_what_it_leaves_out() {
        let text_of = |workers| {
            let assumed = Assumed { fleet: None, workers };
            text(&Estimate::new("", Objects::default(), &workers), &assumed)
        };
        let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 10, backlog_per_task: 4 };
        let text = text_of(fargate);
        for part in ["about $4.40 per month", "Container Insights", "$58.40", "live fleet ($0.56)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = text_of(Workers::default());
        assert!(text.contains("live fleet ($0.56)") && !text.contains("$58.40"), "{text}");
        // A fleet with driver map cannot be live.
        assert!(!text_of(Workers::of_driver(true)).contains("$0.56"));
        let document = include_str!("../../../docs/cost.md");
        assert!(document.contains("58.40 for [VPC endpoints]") && document.contains("adds 0.56 dollars"));
    }

    #[test]
    fn a_burst_on_fargate_may_start_all_tasks() {
        let text_of = |workers| {
            live_text(&LiveDay::new(&Estimate::new("", Objects::default(), &workers), &workers), &workers)
        };
        let fargate = Workers::Fargate { vcpu: 1.0, memory_mb: 2048, max_tasks: 7, backlog_per_task: 4 };
        assert!(text_of(fargate).contains("a burst starts up to 7 tasks"));
        assert!(!text_of(Workers::default()).contains("burst"));
    }
}
