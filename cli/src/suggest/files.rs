//! Chooses the files of the sample: every file given, and some of each kind of key below the directories given.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use super::{
    names,
    spread::{Spread, some_of},
};

/// Maximum files of the sample.
const MAX_FILES: usize = 200;
/// Maximum kinds of keys that are sampled separately.
const MAX_KINDS: usize = 1000;
/// Names of Flowherd's own files, which `convert` does not read either.
const OWN_FILES: [&str; 2] = ["flowherd.toml", "names.json"];

/// A file of the sample.
#[derive(Clone, Debug)]
pub(super) struct SampleFile {
    /// The key for `convert`: the path below the directory, or the file's name.
    pub(super) key: String,
    pub(super) path: PathBuf,
}

/// The files of the sample.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) chosen: Vec<SampleFile>,
    /// Files found.
    pub(super) found: u64,
    /// Files that cannot be read, one line each.
    pub(super) problems: Vec<String>,
}

/// Chooses files. The error has the paths that do not exist or are neither files nor directories.
pub(super) fn choose(paths: &[PathBuf]) -> Result<Files, Vec<String>> {
    let mut files = Files::default();
    let mut kinds: BTreeMap<String, Spread<SampleFile>> = BTreeMap::new();
    let mut problems = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => files.walk(path, &mut kinds),
            Ok(metadata) if metadata.is_file() => {
                let name = Path::new(path.file_name().unwrap_or_default());
                files.add(name, path, &mut kinds);
            }
            Ok(_) => problems.push(format!("{}: neither a file nor a directory", path.display())),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let kinds: Vec<Vec<SampleFile>> = kinds.into_values().map(Spread::into_kept).collect();
    files.chosen = spread_over(&kinds);
    Ok(files)
}

impl Files {
    fn walk(&mut self, directory: &Path, kinds: &mut BTreeMap<String, Spread<SampleFile>>) {
        // Sorted, so that the same directory gives the same sample.
        for entry in WalkDir::new(directory).follow_links(true).min_depth(1).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() => {
                    let is_own = entry.file_name().to_str().is_some_and(|name| OWN_FILES.contains(&name));
                    let is_empty = entry.metadata().is_ok_and(|metadata| metadata.len() == 0);
                    if !is_own && !is_empty {
                        let path = entry.path();
                        self.add(path.strip_prefix(directory).unwrap_or(path), path, kinds);
                    }
                }
                Ok(_) => {}
                Err(error) => self.problems.push(format!("cannot list a file: {error}")),
            }
        }
    }

    fn add(&mut self, name: &Path, path: &Path, kinds: &mut BTreeMap<String, Spread<SampleFile>>) {
        self.found += 1;
        let Some(key) = name.to_str() else {
            self.problems.push(format!("{}: its name is not UTF-8; rename it", path.display()));
            return;
        };
        let (_, mut kind) = names::key_globs(key);
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(&kind) {
            // More kinds mean random file names. Beyond the limit, all further folders are one kind.
            kind = String::new();
        }
        let spread = kinds.entry(kind).or_insert_with(|| Spread::new(MAX_FILES, usize::MAX));
        spread.push(1, || SampleFile { key: key.to_owned(), path: path.to_owned() });
    }
}

/// Takes files from each kind in turn, up to the limit.
fn spread_over(kinds: &[Vec<SampleFile>]) -> Vec<SampleFile> {
    let kinds: Vec<&Vec<SampleFile>> = some_of(kinds, MAX_FILES).collect();
    let mut quotas = vec![0; kinds.len()];
    let mut pending = MAX_FILES;
    loop {
        let before = pending;
        for (quota, kind) in quotas.iter_mut().zip(&kinds) {
            if pending > 0 && *quota < kind.len() {
                (*quota, pending) = (*quota + 1, pending - 1);
            }
        }
        if pending == 0 || pending == before {
            break;
        }
    }
    let mut chosen: Vec<SampleFile> =
        kinds.iter().zip(quotas).flat_map(|(kind, quota)| some_of(kind, quota).cloned()).collect();
    chosen.sort_by(|one, two| one.key.cmp(&two.key));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(key: String) -> SampleFile {
        SampleFile { path: PathBuf::from(&key), key }
    }

    #[test]
    fn every_kind_of_key_is_in_the_sample_although_one_has_most_files() {
        let many = (0..1000).map(|number| file(format!("flow/{number}"))).collect();
        let few = vec![file("waf/1".to_owned())];
        let chosen = spread_over(&[many, few]);
        assert_eq!(chosen.len(), MAX_FILES);
        assert!(chosen.iter().any(|file| file.key == "waf/1"));
        assert!(chosen.iter().any(|file| *file.key > *"flow/99"));
    }
}
