//! What a finished process has used, by the kernel's own count.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

/// Seconds of a process and all that it waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// User and system.
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

/// Runs a command to its end; nothing if it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Option<Used> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (before, began) = (of_children(), Instant::now());
    let status = command.status().ok()?;
    let wall = began.elapsed().as_secs_f64();
    status.success().then(|| Used { cpu: of_children() - before, wall })
}

fn of_children() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    seconds(used.user_time()) + seconds(used.system_time())
}

/// The most memory that a process had resident, in MiB, as it was last seen.
pub(crate) fn peak_mib(command: &mut Command) -> f64 {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()) {
            peak = kib / 1024.0;
        }
        thread::sleep(Duration::from_millis(1));
    }
    peak
}
