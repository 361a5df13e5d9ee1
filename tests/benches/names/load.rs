//! Time and peak memory of loading names and enrichment tables, and of merging a reading into the names.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use flowherd_shared::{
    config::Config,
    enrichment::EnrichmentFile,
    names::{
        NameIndex,
        merge::{Named, Part, Reading, merge},
    },
    pipeline::RunConfig,
};

use crate::{
    cpu_seconds, median,
    samples::{NamesFile, enrichment_tables, interface_id},
};

const ROUNDS: usize = 5;
/// Milliseconds since 1970 of 2027-01-01, after all times of the file.
const YEAR_END_MS: i64 = 1_798_761_600_000;

/// Prints a line for each size.
pub(crate) fn table() {
    println!(
        "| interfaces | subnets | VPCs | file | names | 20 tables | peak memory | merge | its peak memory |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
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
        let mut rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| in_child("load", directory.path())).collect();
        let [merge_ms, merge_peak] = in_child("merge", directory.path());
        let [names_ms, tables_ms, peak] =
            [0, 1, 2].map(|at| median(&mut rounds.iter_mut().map(|round| round[at]).collect::<Vec<_>>()));
        println!(
            "| {interfaces} | {subnets} | {} | {} MB | {names_ms:.0} ms | {tables_ms:.0} ms | {peak:.0} MB | {merge_ms:.0} ms | {merge_peak:.0} MB |",
            file.vpcs,
            names.len() / 1_000_000
        );
    }
}

fn in_child<const FIGURES: usize>(command: &str, directory: &Path) -> [f64; FIGURES] {
    let program: PathBuf = env::current_exe().unwrap();
    let ran = Command::new(program).arg(command).arg(directory).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8(ran.stdout).unwrap();
    let figures: Vec<f64> = printed.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    figures.try_into().unwrap()
}

/// Loads the files of a directory as a worker does. Prints milliseconds for the names and for the tables, and the peak memory
/// of this process in MB.
pub(crate) fn measure(directory: &Path) {
    let began = cpu_seconds();
    let bytes = fs::read(directory.join("names.json")).unwrap();
    let index = NameIndex::parse(&bytes).unwrap();
    drop(bytes);
    let names_ms = (cpu_seconds() - began) * 1000.0;
    let began = cpu_seconds();
    let config = Config::parse(&fs::read_to_string(directory.join("flowherd.toml")).unwrap()).unwrap();
    let names = flowherd_shared::enrichment::files(&config.enrichments);
    let read = |file: &&str| EnrichmentFile {
        file: (*file).to_owned(),
        bytes: fs::read(directory.join(file)).unwrap().into(),
    };
    let files: Vec<EnrichmentFile> = names.iter().map(read).collect();
    let run_config = RunConfig::load(config, index, &files).unwrap();
    drop(files);
    let tables_ms = (cpu_seconds() - began) * 1000.0;
    println!("{names_ms} {tables_ms} {}", peak_mb());
    drop(run_config);
}

/// Merges a reading that finds all interfaces again. Prints milliseconds and the peak memory of this process in MB.
pub(crate) fn measure_merge(directory: &Path) {
    let bytes = fs::read(directory.join("names.json")).unwrap();
    let (interfaces, _, _) = NameIndex::parse(&bytes).unwrap().sizes();
    let interface = |number: usize| {
        let named = Named {
            name: format!("ip-10-0-0-1.worker-{number}"),
            subnet_id: Some(format!("subnet-{:017x}", number % 50_000)),
            vpc_id: Some(format!("vpc-{:017x}", number % 1000)),
            // The former names stay, as in most hours.
            is_provisional: true,
            ..Named::default()
        };
        (interface_id(number as u64), named)
    };
    let reading = Reading {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        at_ms: YEAR_END_MS,
        parts: [(Part::Interfaces, (0..interfaces).map(interface).collect())].into(),
    };
    let began = cpu_seconds();
    let merged = merge(Some(&bytes), &[reading], YEAR_END_MS).map_err(|error| error.problems.len());
    println!("{} {}", (cpu_seconds() - began) * 1000.0, peak_mb());
    drop(merged);
}

fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kib * 1024.0 / 1e6
}
