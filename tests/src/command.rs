//! Runs the command under test.

use std::{
    ffi::OsStr,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Status and output of the command.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; -1 if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the command to its end. `program` is Cargo's path of the binary under test.
pub fn flowherd<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Ran {
    flowherd_in(program, [], args)
}

/// Runs the command to its end with variables added to the environment.
pub fn flowherd_in<A: AsRef<OsStr>>(
    program: &str,
    environment: impl IntoIterator<Item = (&'static str, String)>,
    args: impl IntoIterator<Item = A>,
) -> Ran {
    Running::start_in(program, environment, args).output()
}

/// A running command. Dropping it kills the process and waits for its end.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts the command.
    pub fn start<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Self {
        Self::start_in(program, [], args)
    }

    /// Starts the command with variables added to the environment.
    pub fn start_in<A: AsRef<OsStr>>(
        program: &str,
        environment: impl IntoIterator<Item = (&'static str, String)>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = Command::new(program);
        // With this variable the output would have colours.
        command.args(args).env_remove("CLICOLOR_FORCE").envs(environment).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the command starts"))
    }

    /// Starts a program that also ends when this process does, however it ends: the program reads a pipe, and ends when it closes.
    /// The program must call [`end_with_stdin`].
    pub fn start_bound<A: AsRef<OsStr>>(
        program: &str,
        environment: impl IntoIterator<Item = (&'static str, String)>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(args).envs(environment).env(ENDS_WITH_STDIN, "1").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the command starts"))
    }

    /// Closes the pipes of the output. Without a reader, a full pipe would block the command.
    #[must_use]
    pub fn without_output(mut self) -> Self {
        drop((self.0.stdout.take(), self.0.stderr.take()));
        self
    }

    /// Waits for the end and returns status and output.
    #[must_use]
    pub fn output(mut self) -> Ran {
        let mut stderr = self.0.stderr.take().expect("piped");
        // Read both pipes at the same time: a full pipe would block the command.
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut stdout = self.0.stdout.take().expect("piped");
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let status = self.wait();
        let [stdout, stderr] = [stdout, stderr].map(|text| text.join().expect("no panic").expect("text"));
        Ran { status, stdout, stderr }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    /// Waits for the end and returns the exit status.
    ///
    /// # Panics
    /// If the command does not end within five minutes.
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            if let Some(status) = self.0.try_wait().expect("it can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "the command does not end");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The variable with which [`Running::start_bound`] asks a program to end with its standard input.
const ENDS_WITH_STDIN: &str = "ENDS_WITH_STDIN";

/// Ends this process when its standard input closes, if [`Running::start_bound`] has started it.
pub fn end_with_stdin() {
    if std::env::var_os(ENDS_WITH_STDIN).is_some() {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(1)
        });
    }
}

/// Returns the paths of all files below a directory, relative and sorted.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                found.push(path.strip_prefix(directory).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
