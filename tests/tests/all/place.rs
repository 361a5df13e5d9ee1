//! A directory in which a test runs the command.

use std::{collections::BTreeMap, fs, path::PathBuf};

use flowherd_tests::command::{Ran, files_below, flowherd};
use serde_json::Value;
use tempfile::TempDir;

/// The command `flowherd`.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_flowherd-under-test");

/// A directory with `in/` for objects and `out/` for results.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir }
    }

    /// Creates a directory with a synthesized day.
    pub(crate) fn synth(objects: u32, records: u32, more: &[&str]) -> Self {
        let place = Self::new();
        let (objects, records) = (objects.to_string(), records.to_string());
        let source = place.path("in");
        let args = ["synth", source.to_str().unwrap(), "--objects", &objects, "--records", &records];
        let ran = flowherd(PROGRAM, args.iter().chain(more));
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        place
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn object(&self, key: &str, bytes: &[u8]) -> &Self {
        self.file(&format!("in/{key}"), bytes)
    }

    pub(crate) fn file(&self, path: &str, bytes: &[u8]) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    /// Runs `flowherd convert in out` with more arguments.
    pub(crate) fn convert(&self, more: &[&str]) -> Ran {
        flowherd(PROGRAM, self.convert_args(more))
    }

    pub(crate) fn convert_args(&self, more: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut args = vec!["convert".to_owned(), path("in"), path("out")];
        args.extend(more.iter().map(|argument| (*argument).to_owned()));
        args
    }

    /// Returns the report of `flowherd convert --json`, in any state. Checks that the exit status matches the state.
    pub(crate) fn report(&self, more: &[&str]) -> Value {
        let ran = self.convert(&[&["--json"], more].concat());
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        assert_eq!(ran.status, i32::from(report["state"] != "done"), "{ran:?}");
        report
    }

    /// Returns the report of a run that must be done and have read records.
    pub(crate) fn report_done(&self, more: &[&str]) -> Value {
        let report = self.report(more);
        assert_eq!(report["state"], "done", "{report}");
        assert_ne!(report["records"]["read"], 0, "{report}");
        report
    }

    /// Returns path and bytes of the results below `out`, without the ledger.
    pub(crate) fn results(&self) -> BTreeMap<String, Vec<u8>> {
        let out = self.path("out");
        let results = files_below(&out).into_iter().filter(|path| !path.starts_with("runs/"));
        results.map(|path| (path.clone(), fs::read(out.join(path)).unwrap())).collect()
    }
}
