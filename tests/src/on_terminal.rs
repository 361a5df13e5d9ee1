//! Runs the command on a terminal.

use std::{
    ffi::{OsStr, OsString},
    io::Read,
    process::{Command, Stdio},
    thread,
};

use crate::{command::Running, python_server::python};

/// Runs a program on a new terminal of this width, types a text, and copies what the terminal gets.
const SCRIPT: &str = r"
import os, pty, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    termios.tcsetwinsize(0, (24, int(sys.argv[1])))
    os.execv(sys.argv[3], sys.argv[3:])
os.write(terminal, sys.argv[2].encode())
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// Status and output of the command on a terminal.
#[derive(Debug)]
pub struct Shown {
    /// Exit status; -1 if a signal ended it.
    pub status: i32,
    /// All bytes that the terminal got from both streams. Each line feed is preceded by a carriage return.
    pub bytes: Vec<u8>,
}

impl Shown {
    /// Returns the output as text, with U+FFFD for invalid UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Runs the command to its end. Both its streams are a terminal of this width and type.
///
/// # Panics
/// If the Python of `.venv` does not start, or the command does not end within five minutes.
pub fn flowherd_on_terminal<A: AsRef<OsStr>>(
    program: &str,
    (columns, term): (u16, &str),
    args: impl IntoIterator<Item = A>,
) -> Shown {
    run(program, (columns, term), [], args, "")
}

/// Runs the command to its end on a terminal, with variables added to the environment, and types a line.
///
/// # Panics
/// If the Python of `.venv` does not start, or the command does not end within five minutes.
pub fn flowherd_answering<A: AsRef<OsStr>>(
    program: &str,
    environment: impl IntoIterator<Item = (&'static str, String)>,
    args: impl IntoIterator<Item = A>,
    line: &str,
) -> Shown {
    run(program, (200, "dumb"), environment, args, &format!("{line}\n"))
}

fn run<A: AsRef<OsStr>>(
    program: &str,
    (columns, term): (u16, &str),
    environment: impl IntoIterator<Item = (&'static str, String)>,
    args: impl IntoIterator<Item = A>,
    typed: &str,
) -> Shown {
    let mut command = Command::new(python());
    command.args(["-c", SCRIPT, &columns.to_string(), typed, program]).envs(environment);
    command.args(args.into_iter().map(|argument| OsString::from(argument.as_ref())));
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    // Some libraries style their output wherever CI is set, also for a terminal without styles.
    command.env("CI", "true").env("TERM", term).stdin(Stdio::null());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python starts");
    let (stdout, stderr) = (process.stdout.take().expect("piped"), process.stderr.take().expect("piped"));
    let [stdout, stderr] = [thread::spawn(|| bytes_of(stdout)), thread::spawn(|| bytes_of(stderr))];
    // The end of Python closes the terminal, which ends the program.
    let status = Running(process).wait();
    let [bytes, errors] = [stdout, stderr].map(|bytes| bytes.join().expect("no panic"));
    assert!(errors.is_empty(), "{}", String::from_utf8_lossy(&errors));
    Shown { status, bytes }
}

fn bytes_of(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("readable");
    bytes
}
