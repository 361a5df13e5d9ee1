//! The worker as a long-running process, for Fargate, EC2 or a laptop.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use flowherd_aws::Aws;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{
    checks::Connected,
    settings::Settings,
    tasks::{Limit, Tasks},
};

/// Works on the objects that a queue names.
#[derive(Debug, Parser)]
#[command(name = "flowherd-worker", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Poll the queue until SIGTERM or Ctrl-C; the objects in hand are finished
    #[arg(long, required = true)]
    poll: bool,
    /// Objects worked on at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
    /// Seconds after SIGTERM or Ctrl-C in which objects are finished; then, or at a second signal, they are given back
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    grace: u64,
}

/// Polls until a signal.
pub(crate) fn run(args: &Args, settings: &Settings, aws: &Aws) -> anyhow::Result<()> {
    let Connected { source, results, queue, attributes } = Connected::new(settings, aws)?;
    let visibility = attributes.visibility;
    let stop = Stop::on_signals(aws, Duration::from_secs(args.grace))?;
    let mut tasks = Tasks::new((&settings.source_bucket, &source), &results, (&queue, visibility));
    tasks.metrics_of = Some(settings.queue_name());
    tasks.max_deliveries = attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count);
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = args.concurrency.map_or_else(cores, usize::from);
    info!(queue = settings.queue_url, threads, visibility_seconds = visibility.as_secs(), "polling");
    thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(|| tasks.poll(&|| stop.takes_more(), &|| stop.may_finish()));
        });
    });
    info!("stopped");
    Ok(())
}

/// How urgently the process is to end.
#[derive(Debug, Default)]
struct Stop {
    /// When it was first told to.
    told: OnceLock<Instant>,
    /// It was told twice.
    at_once: AtomicBool,
    grace: Duration,
}

impl Stop {
    fn on_signals(aws: &Aws, grace: Duration) -> anyhow::Result<Arc<Self>> {
        let stop = Arc::new(Self { grace, ..Self::default() });
        let _in_runtime = aws.handle().enter();
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let told = Arc::clone(&stop);
        aws.handle().spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if told.told.set(Instant::now()).is_ok() {
                    info!(
                        grace_seconds = told.grace.as_secs(),
                        "stopping when the objects in hand are finished"
                    );
                } else {
                    told.at_once.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(stop)
    }

    fn takes_more(&self) -> bool {
        self.told.get().is_none()
    }

    fn may_finish(&self) -> Result<(), Limit> {
        let is_over = self.told.get().is_some_and(|told| told.elapsed() > self.grace);
        if is_over || self.at_once.load(Ordering::Relaxed) { Err(Limit::Stopping) } else { Ok(()) }
    }
}
