//! Servers from the project's own `.venv`, run by the scripts in `tests/servers/`.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A server on a port of 127.0.0.1 that it has bound itself. Dropping it kills the process by its id. If the test process
/// is killed, the server's standard input ends, and the server exits.
#[derive(Debug)]
pub(crate) struct PythonServer {
    process: Child,
    pub(crate) port: u16,
}

impl PythonServer {
    /// Starts a script of `tests/servers/` in a directory, and waits until its port is bound.
    ///
    /// # Panics
    /// If the packages are not installed: `make test` installs them.
    pub(crate) fn start(script: &str, argument: Option<&str>, directory: &Path) -> Self {
        let mut process = Command::new(python())
            .arg("-B")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("servers").join(script))
            .args(argument.map(OsStr::new))
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse();
        if port.is_err() {
            let status = process.wait().unwrap();
            panic!("{script} ended before it bound a port: {status}");
        }
        Self { process, port: port.unwrap() }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python of `.venv`, which has the packages of the tests.
///
/// # Panics
/// If it does not exist.
#[must_use]
pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/bin/python");
    assert!(python.exists(), "no {}: `make test` installs it", python.display());
    python
}
