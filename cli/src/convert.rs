//! `flowherd convert`: converts files, a bucket or standard input on this machine.

mod begin;
pub(crate) mod listing;
mod progress;
mod source;
mod stop;

use std::{
    cell::Cell,
    ops::ControlFlow,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context;
use flowherd_coordinator::{manifest, reconcile::reconcile};
use flowherd_shared::{
    ledger::{ManifestEntry, Missing, Receipt, Report, ReportState, layout, put_json},
    report_page,
};
use flowherd_worker::processor::{Control, ObjectProcessor, Outcome, StopReason, now};
use indicatif::HumanCount;

use self::{begin::Begun, progress::Progress, source::Objects, stop::StopSwitch};
use crate::{
    args::ConvertArgs,
    inputs,
    local::DirStore,
    location::Location,
    stop::Stop,
    summary::{self, Details, print_message},
    words::counted,
};

/// Converts, prints the summary or the report, and fails unless every object is done. Fails with `--strict` also on warnings.
pub(crate) fn convert(args: &ConvertArgs) -> Result<(), Stop> {
    let mut inputs = inputs::read(args.config.as_ref(), args.names.as_ref())?;
    let source = Objects::open(args)?;
    let progress = Progress::listing(args.source.to_string());
    let begun = begin::begin(args, &inputs, &source, &progress)?;
    // Frees memory: the ledger has copies of the files.
    inputs.files.clear();
    let run = &begun.run;

    let switch = StopSwitch::install().context("cannot listen for Ctrl-C")?;
    let processor = ObjectProcessor::new(&run.run, &inputs.run_config, &source, &begun.store);
    progress.converting(run.manifest.unwrap_or_default());
    work(&processor, &begun, threads(args), &progress, &switch)?;
    progress.reporting();

    let finished = now().context("cannot finish the run")?;
    let report = reconcile(&begun.store, run, finished).context("cannot reconcile the run")?;
    put_json(&begun.store, &layout::report(&run.run), &report).context("cannot write the report")?;
    let page = report_page::write(&begun.store, run, &report).context("cannot write the page of the report");
    begun.clean_up();
    let work = progress.work();
    // Standard output may be the same terminal.
    drop(progress);
    let missing = if switch.is_stopping() { "not done" } else { "missing" };
    print(args, &report, work, missing)?;
    summary::warn(&report, &args.source.root(), args.json);
    if let Err(error) = page {
        // The page proves nothing. `flowherd report --html` writes it elsewhere.
        print_message(&format!("warning: {error:#}"));
    }
    if report.state == ReportState::Incomplete {
        let (count, listed) = (report.objects.missing, counted(report.objects.listed, "object", "objects"));
        let is = if count == 1 { "is" } else { "are" };
        let todo = match args.source {
            Location::Stdin => "convert the input again".to_owned(),
            _ => format!("to continue, repeat the command with --resume --run {}", run.run),
        };
        print_message(&format!("{} of {listed} {is} {missing}; {todo}", HumanCount(count)));
    }
    summary::verdict(&report, args.strict)
}

fn threads(args: &ConvertArgs) -> usize {
    args.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Prints the report. `missing` is the word for objects without an outcome.
fn print(
    args: &ConvertArgs,
    report: &Report,
    work: (Duration, u64),
    missing: &'static str,
) -> Result<(), Stop> {
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(report).context("cannot print the report")?)
    } else {
        let dest = args.dest.display().to_string();
        // Each failure was printed when it happened.
        summary::detailed(report, &Details { dest: &dest, work: Some(work), missing, lists_failures: false })
    };
    summary::print(&text)
}

/// Processes the manifest's objects on several threads.
fn work(
    processor: &ObjectProcessor<'_, Objects, DirStore>,
    begun: &Begun,
    threads: usize,
    progress: &Progress,
    switch: &StopSwitch,
) -> anyhow::Result<()> {
    // The bounded channel keeps the manifest out of memory.
    let (sender, receiver) = mpsc::sync_channel::<ManifestEntry>(threads);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        let work = |receiver: Arc<Mutex<mpsc::Receiver<ManifestEntry>>>| -> anyhow::Result<()> {
            let mut outcome = Ok(());
            loop {
                let next = receiver.lock().map_err(|_| anyhow::anyhow!("another thread panicked"))?.recv();
                let Ok(object) = next else { return outcome };
                if let Err(error) = process(processor, begun, &object, progress, switch) {
                    // Continues to receive objects without processing them. Otherwise the sender would block.
                    switch.stop_now();
                    outcome = outcome
                        .and(Err(error.context(format!("{}: cannot read or write the ledger", object.key))));
                }
            }
        };
        let start = |_| {
            let receiver = Arc::clone(&receiver);
            scope.spawn(move || work(receiver))
        };
        let workers: Vec<_> = (0..threads).map(start).collect();
        // Only the threads hold it now. When all of them have ended, sending fails instead of blocking.
        drop(receiver);
        let mut fed = Ok(());
        for entry in manifest::read(processor.store, &begun.run) {
            if switch.is_stopping() {
                break;
            }
            fed = entry.context("cannot read the manifest").and_then(|entry| Ok(sender.send(entry)?));
            if fed.is_err() {
                break;
            }
        }
        drop(sender);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        fed
    })
}

fn process(
    processor: &ObjectProcessor<'_, Objects, DirStore>,
    begun: &Begun,
    object: &ManifestEntry,
    progress: &Progress,
    switch: &StopSwitch,
) -> anyhow::Result<()> {
    if switch.is_stopping() {
        return Ok(());
    }
    if let Some(failure) = begun.listing_failure(object)? {
        progress.failed(&object.key, &failure.error(), object.size);
        return Ok(());
    }
    if begun.resumes {
        for run in std::iter::once(&begun.run.run).chain(&begun.run.resumes) {
            match Receipt::examine(&begun.store, run, object, &begun.run.fingerprint)? {
                Ok(receipt) => {
                    progress.done(&receipt, object.size);
                    return Ok(());
                }
                Err(Missing::DamagedReceipt(why)) => begun.damaged_receipt(run, object, &why),
                Err(_) => {}
            }
        }
    }
    let read = Cell::new(0);
    let should_continue = |bytes| {
        progress.read(bytes);
        read.set(read.get() + bytes);
        if switch.is_discarding() {
            ControlFlow::Break(StopReason::Shutdown)
        } else {
            ControlFlow::Continue(())
        }
    };
    let control = Control { should_continue: &should_continue, ..Control::NEVER_STOP };
    let outcome = processor.process_unqueued(object, &control)?;
    let unread = object.size.saturating_sub(read.get());
    match outcome {
        Outcome::Done(receipt) => progress.done(&receipt, unread),
        Outcome::Failed(failure) => progress.failed(&object.key, &failure.error(), unread),
        Outcome::Stopped(_) => {}
    }
    Ok(())
}
