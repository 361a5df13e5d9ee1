//! Runs the program of a Lambda function as a process, and passes it events by the runtime API
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>), as Lambda does.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{ChildStderr, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::command::Running;

/// Time limit of an invocation, also for a function that ends.
const TIMEOUT: Duration = Duration::from_mins(2);
/// Time between two looks at whether the process lives.
const POLL: Duration = Duration::from_millis(100);

/// A function. Dropping it ends its process.
#[derive(Debug)]
pub struct FunctionHost {
    process: Mutex<Running>,
    stderr: Arc<Mutex<String>>,
    events: Sender<String>,
    responses: Receiver<(bool, Value)>,
}

impl FunctionHost {
    /// Starts a program with these variables, and the runtime API on a port of 127.0.0.1.
    #[must_use]
    pub fn start<'a>(program: &str, environment: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = listener.local_addr().unwrap().to_string();
        let of_lambda = [
            ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "function"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ];
        let mut command = Command::new(program);
        command.envs(environment).envs(of_lambda);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Running(command.spawn().unwrap());
        let stderr = keep(process.0.stderr.take().unwrap());
        let (events, next) = channel();
        let (answer, responses) = channel();
        let next = Arc::new(Mutex::new(next));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (next, answer) = (Arc::clone(&next), answer.clone());
                thread::spawn(move || serve(&connection.unwrap(), &next, &answer));
            }
        });
        Self { process: Mutex::new(process), stderr, events, responses }
    }

    /// Invokes the function. Returns its response, or its error.
    ///
    /// # Panics
    /// If it does not respond in time, or its process has ended.
    pub fn invoke(&self, event: &Value) -> Result<Value, Value> {
        self.events.send(event.to_string()).unwrap();
        let begin = Instant::now();
        let why = loop {
            match self.responses.recv_timeout(POLL) {
                Ok((true, response)) => return Ok(response),
                Ok((false, error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => break "closed its runtime API".to_owned(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(status) = self.process.lock().unwrap().0.try_wait().unwrap() {
                break format!("ended with {status}");
            }
            if begin.elapsed() > TIMEOUT {
                break format!("did not respond within {TIMEOUT:?}");
            }
        };
        panic!("the function {why}\n{}", self.stderr.lock().unwrap())
    }
}

/// Keeps what a process writes to its standard error.
fn keep(stderr: ChildStderr) -> Arc<Mutex<String>> {
    let kept = Arc::<Mutex<String>>::default();
    let lines = Arc::clone(&kept);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut kept = lines.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    kept
}

/// Answers the requests of one connection.
fn serve(connection: &TcpStream, next: &Mutex<Receiver<String>>, answer: &Sender<(bool, Value)>) {
    let mut connection = connection;
    let mut reader = BufReader::new(connection);
    while let Some((path, body)) = read(&mut reader) {
        let written = if path.ends_with("/invocation/next") {
            let Ok(event) = next.lock().unwrap().recv() else { return };
            let deadline = (SystemTime::now() + TIMEOUT).duration_since(UNIX_EPOCH).unwrap().as_millis();
            write!(
                connection,
                "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
                event.len()
            )
        } else {
            let is_response = path.ends_with("/response");
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let written = write!(connection, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            let _ = answer.send((is_response, body));
            written
        };
        if written.is_err() {
            return;
        }
    }
}

/// Reads a request: its path and its body. `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let header = line.trim_end().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        // Without a length, the client of the runtime would send a body in chunks.
        assert!(!header.starts_with("transfer-encoding:"), "{header}");
        if header.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[should_panic(expected = "the function ended with exit status: 1")]
    fn a_function_that_ends_is_named_with_its_status() {
        let function = FunctionHost::start("false", []);
        drop(function.invoke(&json!({})));
    }
}
