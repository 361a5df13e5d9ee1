//! Runs the command under test.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, Stdio},
};

/// What a run of the command left.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; -1 if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The command, ready for its arguments. `program` is Cargo's path of the binary under test.
pub fn flowherd<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Ran {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect("the command starts");
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A running command, which is killed and waited for when a test ends, however it ends.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts the command.
    pub fn start<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the command starts"))
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> i32 {
        self.0.wait().expect("the command ends").code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every file below a directory, by its path from there, in order.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.strip_prefix(directory).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
