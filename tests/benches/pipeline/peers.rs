//! The command as a whole process, beside other programs.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::read::MultiGzDecoder;

use crate::{
    RECORDS, ROUNDS, median,
    processes::{Used, peak_mib, run},
    samples::{FLOWHERD, Sample},
};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
/// Records of a small, a middle and a large object.
const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
/// One more, if the variable is set: 280 MB gzipped.
const LARGEST: (&str, u32) = ("FLOWHERD_BENCH_10M", 10_000_000);
/// Objects for several jobs.
const OBJECTS: u32 = 12;

/// One line of the table: the processes of a round, whose times are added up.
struct Peer {
    name: &'static str,
    commands: Vec<Command>,
    used: Vec<Used>,
    /// What it wrote, if that must be what we write.
    output: Option<PathBuf>,
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -o pipefail; {line}")]);
    command
}

fn convert(sample: &Sample, dest: &Path, jobs: u32) -> Command {
    let mut command = Command::new(FLOWHERD);
    command.arg("convert").arg(&sample.directory).arg(dest).arg("--names").arg(&sample.names_file);
    command.args(["--jobs", &jobs.to_string(), "--run", "bench"]);
    command
}

/// The main table and the goals, from one interleaved run.
pub(crate) fn table(sample: &Sample, scratch: &Path) {
    let dest = scratch.join("ours");
    assert!(run(&mut convert(sample, &dest, 1)).is_some());
    let name = sample.object.strip_prefix(&sample.directory).unwrap().display().to_string();
    let written = dest.join("csv/vpc_flow").join(name + ".csv.gz");
    let rows = scratch.join("rows.csv");
    fs::write(&rows, read_gzip(&written)).unwrap();

    let [object, rows_path] = [&sample.object, &rows].map(|path| path.display());
    let out = |name: &str| scratch.join(name);
    let peer = |name, commands, output| Peer { name, commands, used: Vec::new(), output };
    let script = |program: &str, file: &str, out: &Path, more: &[&str]| {
        let mut command = Command::new(program);
        command
            .arg(Path::new(PEERS).join(file))
            .args([&sample.object, &sample.names_file])
            .arg(out)
            .args(more);
        vec![command]
    };
    let mut peers = [
        peer("flowherd convert --jobs 1", vec![convert(sample, &dest, 1)], Some(written.clone())),
        peer(
            "igzip -dc, igzip -1 of our rows",
            vec![shell(&format!("igzip -dc '{object}'")), shell(&format!("igzip -1 -c '{rows_path}'"))],
            None,
        ),
        peer(
            "gzip -dc, gzip -1 of our rows",
            vec![shell(&format!("gzip -dc <'{object}'")), shell(&format!("gzip -1 -c '{rows_path}'"))],
            None,
        ),
        peer("python3, json", script("python3", "convert.py", &out("py.gz"), &[]), Some(out("py.gz"))),
        peer("node, envelopes", script("node", "convert.mjs", &out("js.gz"), &[]), Some(out("js.gz"))),
        peer(
            "node, streams of records",
            script("node", "convert.mjs", &out("js2.gz"), &["records"]),
            Some(out("js2.gz")),
        ),
        peer(
            "zcat, jq, gzip -1 (no names)",
            vec![shell(&format!(
                "gzip -dc <'{object}' | jq -r -f '{PEERS}/convert.jq' | gzip -1 >'{}'",
                out("jq.gz").display()
            ))],
            None,
        ),
    ];
    for _ in 0..ROUNDS {
        for peer in &mut peers {
            let _ = fs::remove_dir_all(dest.join("runs"));
            let used: Option<Vec<Used>> = peer.commands.iter_mut().map(run).collect();
            let add = |a: Used, b: Used| Used { cpu: a.cpu + b.cpu, wall: a.wall + b.wall };
            peer.used.extend(used.and_then(|used| used.into_iter().reduce(add)));
        }
    }
    let expected = fs::read(&rows).unwrap();
    for peer in peers.iter().filter(|peer| !peer.used.is_empty()) {
        let output = peer.output.as_deref().map(read_gzip);
        assert!(output.is_none_or(|output| output == expected), "{} writes other rows", peer.name);
    }

    let size = |path: &Path| fs::metadata(path).unwrap().len() as f64 / 1e6;
    println!(
        "one object: {RECORDS} records, {:.1} MB gzipped, {:.1} MB of rows, {:.1} MB out; median of {ROUNDS}, interleaved\n",
        size(&sample.object),
        size(&rows),
        size(&written)
    );
    println!("  {:<32} {:>9} {:>9} {:>12}", "", "CPU s", "wall s", "CPU of ours");
    let ours = peers[0].used.clone();
    for peer in &peers {
        if peer.used.len() < ROUNDS {
            println!("  {:<32} {:>9}", peer.name, "skipped: a program is missing here, or fails");
            continue;
        }
        let middle = |figure: fn(&Used) -> f64| median(&mut peer.used.iter().map(figure).collect::<Vec<_>>());
        println!(
            "  {:<32} {:>9.3} {:>9.3} {:>11.2}x",
            peer.name,
            middle(|used| used.cpu),
            middle(|used| used.wall),
            ratio(&peer.used, &ours)
        );
    }
    let goal = |name, reached: Option<f64>, text: &str| match reached {
        Some(reached) => println!("  {name:<44} {reached:>6.2}  ({text})"),
        None => println!("  {name:<44} skipped: a program is missing here"),
    };
    println!("\ngoals");
    let to_ours = |peer: &Peer| (peer.used.len() == ROUNDS).then(|| ratio(&ours, &peer.used));
    goal("our CPU, of igzip's both ways", to_ours(&peers[1]), "at most 2.00");
    goal("CPU of Node's streams, of ours", to_ours(&peers[5]).map(f64::recip), "at least 20");
    let smaller = Command::new("gzip").arg("-2c").arg(&rows).stderr(Stdio::null()).output();
    let smaller = smaller.ok().filter(|output| output.status.success());
    goal(
        "our size, of gzip -2's",
        smaller.map(|gzip| size(&written) * 1e6 / gzip.stdout.len() as f64),
        "at most 1.10",
    );
    let _ = fs::remove_dir_all(dest.join("runs"));
    goal("peak memory, MiB", Some(peak_mib(&mut convert(sample, &dest, 1))), "at most 64");
}

/// Median of the ratios of CPU time, round by round.
fn ratio(one: &[Used], other: &[Used]) -> f64 {
    median(&mut one.iter().zip(other).map(|(one, other)| one.cpu / other.cpu).collect::<Vec<_>>())
}

/// CPU for a record, and memory, over the size of the object.
pub(crate) fn sizes(scratch: &Path) {
    println!("\nover the size of the object, --jobs 1 (the start of a run is in it)");
    println!("  {:>10} {:>13} {:>10}", "records", "ns a record", "peak MiB");
    let largest = env::var_os(LARGEST.0).map(|_| LARGEST.1);
    for records in SIZES.into_iter().chain(largest) {
        let directory = scratch.join(format!("of {records}"));
        let (sample, dest) = (Sample::new(&directory, 1, records), directory.join("out"));
        let once = |_| {
            let _ = fs::remove_dir_all(&dest);
            run(&mut convert(&sample, &dest, 1)).unwrap().cpu * 1e9 / f64::from(records)
        };
        let time = median(&mut (0..ROUNDS).map(once).collect::<Vec<_>>());
        let _ = fs::remove_dir_all(&dest);
        let peak = peak_mib(&mut convert(&sample, &dest, 1));
        println!("  {records:>10} {time:>13.0} {peak:>10.1}");
        fs::remove_dir_all(&directory).unwrap();
    }
    if largest.is_none() {
        println!("  {:>10} skipped: set {}=1", LARGEST.1, LARGEST.0);
    }
}

/// What a second job adds.
pub(crate) fn jobs(scratch: &Path) {
    let sample = Sample::new(&scratch.join("many"), OBJECTS, 100_000);
    let dest = scratch.join("many out");
    let once = |jobs| {
        let _ = fs::remove_dir_all(&dest);
        run(&mut convert(&sample, &dest, jobs)).unwrap().wall
    };
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| once(1) / once(2)).collect();
    println!("\n{OBJECTS} objects, --jobs 2: {:.2} times the throughput of --jobs 1", median(&mut ratios));
}

fn read_gzip(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    text
}
