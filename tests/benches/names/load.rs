//! Time and peak memory of loading names and enrichment tables.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use flowherd_shared::{config::Config, enrichment::EnrichmentFile, lookups::Lookups, pipeline::RunConfig};

use crate::{
    median,
    samples::{NamesFile, enrichment_tables},
};

const ROUNDS: usize = 5;

/// Prints a line for each size.
pub(crate) fn table() {
    println!("| interfaces | subnets | VPCs | file | names | 20 tables | peak memory |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (interfaces, subnets) in [(10_000, 500), (200_000, 50_000), (1_000_000, 50_000)] {
        let directory = tempfile::tempdir().unwrap();
        let file = NamesFile { interfaces, subnets, vpcs: (subnets / 50) as u32, has_history: true };
        let names = file.json();
        fs::write(directory.path().join("names.json"), &names).unwrap();
        let (config, files) = enrichment_tables();
        fs::write(directory.path().join("flowherd.toml"), config).unwrap();
        for (name, bytes) in files {
            fs::write(directory.path().join(name), bytes).unwrap();
        }
        let mut rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| in_child(directory.path())).collect();
        let [names_ms, tables_ms, peak] =
            [0, 1, 2].map(|at| median(&mut rounds.iter_mut().map(|round| round[at]).collect::<Vec<_>>()));
        println!(
            "| {interfaces} | {subnets} | {} | {} MB | {names_ms:.0} ms | {tables_ms:.0} ms | {peak:.0} MB |",
            file.vpcs,
            names.len() / 1_000_000
        );
    }
}

fn in_child(directory: &Path) -> [f64; 3] {
    let program: PathBuf = env::current_exe().unwrap();
    let ran = Command::new(program).arg("load").arg(directory).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8(ran.stdout).unwrap();
    let figures: Vec<f64> = printed.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    figures.try_into().unwrap()
}

/// Loads the files of a directory as a worker does. Prints milliseconds for the names and for the tables, and the peak memory
/// of this process in MB.
pub(crate) fn measure(directory: &Path) {
    let began = Instant::now();
    let bytes = fs::read(directory.join("names.json")).unwrap();
    let lookups = Lookups::parse(&bytes).unwrap();
    drop(bytes);
    let names_ms = began.elapsed().as_secs_f64() * 1000.0;
    let began = Instant::now();
    let config = Config::parse(&fs::read_to_string(directory.join("flowherd.toml")).unwrap()).unwrap();
    let names = flowherd_shared::enrichment::files(&config.enrichments);
    let read = |file: &&str| EnrichmentFile {
        file: (*file).to_owned(),
        bytes: fs::read(directory.join(file)).unwrap().into(),
    };
    let files: Vec<EnrichmentFile> = names.iter().map(read).collect();
    let run_config = RunConfig::load(config, lookups, &files).unwrap();
    drop(files);
    let tables_ms = began.elapsed().as_secs_f64() * 1000.0;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    println!("{names_ms} {tables_ms} {}", kib * 1024.0 / 1e6);
    drop(run_config);
}
