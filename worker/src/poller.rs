//! The worker as a long-running process, for Fargate, EC2 or a laptop.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Parser;
use flowherd_aws::Aws;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{
    checks::{self, Buckets, CheckedQueue},
    handler::MessageHandler,
    index::IndexJob,
    processor::StopReason,
    settings::{Driver, Settings},
};

/// Converts the objects named by the messages of a queue
#[derive(Debug, Parser)]
#[command(name = "flowherd-worker", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Poll the queue until SIGTERM or Ctrl-C, then finish the objects in progress
    #[arg(long, required = true)]
    poll: bool,
    /// Maximum concurrent objects [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
    /// Seconds to finish objects after SIGTERM or Ctrl-C. After that time, or at a second signal, their messages return to
    /// the queue
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    grace: u64,
}

/// Polls until a signal.
pub(crate) fn run(args: &Args, settings: &Settings, aws: &Aws) -> anyhow::Result<()> {
    let Driver::Queue { url } = &settings.driver else {
        bail!(
            "FLOWHERD_MAP is set, so this worker has no queue to poll; unset it, and set FLOWHERD_QUEUE_URL"
        );
    };
    let Buckets { source, results } = Buckets::new(settings, aws)?;
    let CheckedQueue { queue, attributes } = CheckedQueue::new(url, aws)?;
    let visibility = attributes.visibility;
    let stop = Stop::on_signals(aws, Duration::from_secs(args.grace))?;
    let mut handler =
        MessageHandler::new((&settings.common.source_bucket, &source), &results, (&queue, visibility));
    handler.metrics_queue = Some(settings.driver.name());
    let indexer = checks::indexer(settings, aws);
    if let Some(indexer) = &indexer {
        // A wrong setting ends the process before it receives a message.
        indexer.connect().map_err(|problem| anyhow::anyhow!(problem)).context("FLOWHERD_CLUSTER")?;
    }
    let index = indexer.as_ref().map(|indexer| IndexJob::new(indexer));
    handler.index = index.as_ref();
    handler.max_deliveries = attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count);
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = args.concurrency.map_or_else(cores, usize::from);
    info!(queue = url, threads, visibility_seconds = visibility.as_secs(), "polling");
    thread::scope(|scope| {
        (0..threads).for_each(|_| {
            scope.spawn(|| handler.poll(&|| stop.can_begin(), &|| stop.should_continue()));
        });
    });
    info!("stopped");
    Ok(())
}

/// The stop signals that the process has received.
#[derive(Debug, Default)]
struct Stop {
    /// Time of the first signal.
    first: OnceLock<Instant>,
    /// Whether there was a second signal.
    has_second: AtomicBool,
    grace: Duration,
}

impl Stop {
    fn on_signals(aws: &Aws, grace: Duration) -> anyhow::Result<Arc<Self>> {
        let stop = Arc::new(Self { grace, ..Self::default() });
        let _in_runtime = aws.handle().enter();
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let signalled = Arc::clone(&stop);
        aws.handle().spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if signalled.first.set(Instant::now()).is_ok() {
                    info!(
                        grace_seconds = signalled.grace.as_secs(),
                        "stopping when the objects in progress are finished"
                    );
                } else {
                    signalled.has_second.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(stop)
    }

    fn can_begin(&self) -> bool {
        self.first.get().is_none()
    }

    fn should_continue(&self) -> ControlFlow<StopReason> {
        let is_over = self.first.get().is_some_and(|first| first.elapsed() > self.grace);
        if is_over || self.has_second.load(Ordering::Relaxed) {
            return ControlFlow::Break(StopReason::Shutdown);
        }
        ControlFlow::Continue(())
    }
}
