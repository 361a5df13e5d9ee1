//! `flowherd convert` onto disks that are too small.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
};

use flowherd_shared::ledger::{Receipt, layout};
use flowherd_tests::command::{Running, files_below};

use super::place::{PROGRAM, Place};

/// A shell command that runs `before`, `flowherd convert` and `after`. `before` limits the disk.
fn convert_script(place: &Place, before: &str, after: &str) -> String {
    let quoted = |text: &str| format!("'{text}'");
    let command: Vec<String> =
        place.convert_args(&["--run", "r", "--jobs", "1"]).iter().map(|it| quoted(it)).collect();
    format!("{before}\n{} {}\nstatus=$?\n{after}\nexit $status", quoted(PROGRAM), command.join(" "))
}

/// Checks that every output of a run on a small disk is whole and has a receipt, and that the run resumes with more space.
fn check_resumes(place: &Place, reference: &BTreeMap<String, Vec<u8>>, context: &str) -> usize {
    let receipts = |run: &str| {
        let below = place.path("out").join(layout::receipts(run));
        let files = files_below(&below).into_iter();
        files
            .map(|file| serde_json::from_slice(&fs::read(below.join(file)).unwrap()).unwrap())
            .collect::<Vec<Receipt>>()
    };
    let outputs =
        |receipt: &Receipt| receipt.outputs.iter().map(|output| output.path.clone()).collect::<Vec<_>>();
    let promised: BTreeSet<String> = receipts("r").iter().flat_map(outputs).collect();
    let there = place.results();
    assert_eq!(there.keys().cloned().collect::<BTreeSet<_>>(), promised, "{context}");
    assert!(there.iter().all(|(path, bytes)| reference[path] == *bytes), "{context}");

    let ran = place.convert(&["--run", "r", "--resume"]);
    let has_run = place.path("out/runs/r/run.json").exists();
    let ran = if has_run { ran } else { place.convert(&["--run", "r"]) };
    assert_eq!(ran.status, 0, "{context} {ran:?}");
    assert!(place.results() == *reference, "{context}");
    there.len()
}

fn small_day() -> (Place, BTreeMap<String, Vec<u8>>) {
    let place = Place::synth(8, 1500, &["--malformed", "5"]);
    assert_eq!(place.convert(&[]).status, 0);
    let reference = place.results();
    fs::remove_dir_all(place.path("out")).unwrap();
    (place, reference)
}

fn outputs_that_do_not_fit_on_the_disk_are_failures() {
    for kilobytes in [1, 4, 16, 30] {
        let (place, reference) = small_day();
        // A write beyond this file size is an error, as on a full disk.
        let script = convert_script(&place, &format!("trap '' XFSZ; ulimit -f {kilobytes}"), "");
        let ran = Running::start("bash", ["-c", &script]).output();
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stderr.contains("cannot write"), "{ran:?}");
        check_resumes(&place, &reference, &format!("{kilobytes} KiB"));
    }
}

#[test]
fn a_full_disk_loses_no_result() {
    outputs_that_do_not_fit_on_the_disk_are_failures();
    a_disk_runs_full();
}

/// Runs only on machines that allow mounting a small disk.
fn a_disk_runs_full() {
    let may_mount = Running::start("unshare", ["--user", "--map-root-user", "--mount", "true"]).output();
    if may_mount.status != 0 {
        // Writes to standard error directly, because the harness hides the output of tests that pass.
        _ = writeln!(
            io::stderr(),
            "skipped a_disk_runs_full: cannot mount a small disk: {}",
            may_mount.stderr
        );
        return;
    }
    let mut done = BTreeSet::new();
    for kilobytes in [4, 16, 40, 64, 100, 200, 400] {
        let (place, reference) = small_day();
        let out = place.path("out");
        fs::create_dir_all(&out).unwrap();
        let (disk, kept) = (out.to_str().unwrap(), place.path("kept"));
        let kept = kept.to_str().unwrap();
        let mount = format!("mount -t tmpfs -o size={kilobytes}k none '{disk}' || exit 99");
        let script = convert_script(&place, &mount, &format!("cp -a '{disk}' '{kept}'"));
        let ran = Running::start("unshare", ["--user", "--map-root-user", "--mount", "bash", "-c", &script])
            .output();
        assert!(
            ran.status != 99 && ran.stderr.contains("No space left on device"),
            "{kilobytes} KiB: {ran:?}"
        );
        assert!(matches!(ran.status, 1 | 2), "{kilobytes} KiB: {ran:?}");
        // Copies the small disk, with its times, to a large one.
        fs::remove_dir(&out).unwrap();
        fs::rename(kept, &out).unwrap();
        done.insert(check_resumes(&place, &reference, &format!("{kilobytes} KiB")));
    }
    assert!(done.len() > 2, "all disks took the same number of outputs: {done:?}");
}
