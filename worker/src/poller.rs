//! The worker as a long-running process, for Fargate, EC2 or a laptop: telemetry, settings, connect, run.

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use aws_config::{BehaviorVersion, timeout::TimeoutConfig};
use clap::Parser;
use flowherd_shared::{config::Config, lookups::Lookups, pipeline::Plan};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::{
    aws::{s3::Bucket, sqs::SqsQueue},
    settings::Settings,
    tasks::Tasks,
};

/// How long one attempt at a request may take: far above a long poll, and enough for 8 MiB on a slow line.
const ATTEMPT: Duration = Duration::from_mins(1);

/// Works on the objects that a queue names.
#[derive(Debug, Parser)]
#[command(name = "flowherd-worker", version)]
struct Args {
    /// Poll the queue until SIGTERM or Ctrl-C; the objects in hand are finished
    #[arg(long, required = true)]
    poll: bool,
    /// Objects worked on at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
}

/// Runs the worker with the process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(error = format!("{problem:#}"), "cannot work");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let settings = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(problems) => bail!("{}", problems.join("; ")),
    };
    let plan = plan(&settings)?;
    let runtime = Runtime::new().context("cannot start the runtime")?;
    // The SDK waits for ever for an answer on a connection that has gone quiet. Bodies have a watch of their own.
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
    let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load();
    let aws = runtime.block_on(aws);
    // Buckets by path, not by host name, where an endpoint is given: a local one has no such host names.
    let by_path = aws.endpoint_url().is_some();
    let s3 = aws_sdk_s3::config::Builder::from(&aws).force_path_style(by_path).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let bucket = |name: &str| Bucket::new(s3.clone(), runtime.handle().clone(), name);
    let (source, results) = (bucket(&settings.source_bucket), bucket(&settings.results_bucket));
    let queue = SqsQueue::new(aws_sdk_sqs::Client::new(&aws), runtime.handle().clone(), &settings.queue_url);
    let visibility = queue.visibility().context("cannot ask the queue for its settings")?;

    let stopping = stop_switch(&runtime)?;
    let goes_on = || !stopping.load(Ordering::Relaxed);
    let tasks = Tasks::new(&plan, (&settings.source_bucket, &source), &results, (&queue, visibility));
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = args.concurrency.map_or_else(cores, usize::from);
    info!(queue = settings.queue_url, threads, visibility_seconds = visibility.as_secs(), "polling");
    thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(|| tasks.poll(&goes_on));
        });
    });
    info!("stopped");
    Ok(())
}

fn plan(settings: &Settings) -> anyhow::Result<Plan> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut plan = Plan::default();
    if let Some(path) = &settings.config {
        let text = String::from_utf8(read(path)?).with_context(|| path.display().to_string())?;
        plan.config = Config::parse(&text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &settings.lookups {
        plan.lookups = Lookups::parse(&read(path)?).with_context(|| path.display().to_string())?;
    }
    Ok(plan)
}

/// Becomes true on SIGTERM or Ctrl-C.
fn stop_switch(runtime: &Runtime) -> anyhow::Result<Arc<AtomicBool>> {
    let stopping = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopping);
    let _in_runtime = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping when the objects in hand are finished");
        told.store(true, Ordering::Relaxed);
    });
    Ok(stopping)
}
