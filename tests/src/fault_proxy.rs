//! Faults between a program and the local AWS: microburst, from the project's own `.venv`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::python_server::PythonServer;

/// The proxy. It stops when this is dropped, also when a test fails.
#[derive(Debug)]
pub struct FaultProxy {
    /// The value of `AWS_ENDPOINT_URL` for the programs under test.
    pub endpoint: String,
    server: PythonServer,
    _state: TempDir,
}

impl FaultProxy {
    /// Starts a proxy in front of the server at `upstream`, without any fault yet.
    ///
    /// # Panics
    /// If microburst is not installed: `make test` installs it.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let server = PythonServer::start("fault_proxy.py", Some(upstream), state.path());
        Self { endpoint: server.endpoint(), server, _state: state }
    }

    /// Replaces all faults by these, in microburst's format.
    pub fn set_faults(&self, rules: &[Value]) {
        let set = self.control("POST", "rules", &Value::from(rules).to_string());
        assert_eq!(set.as_array().map(Vec::len), Some(rules.len()), "{set}");
    }

    /// Returns the count of requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.control("GET", "health", "")["requests_seen"].as_u64().unwrap()
    }

    /// Returns the faults that were injected so far, in order: service, operation and action.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        let fired = self.control("GET", "fired?limit=100000", "");
        let line = |event: &Value| {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("service"), text("operation"), text("action"))
        };
        fired.as_array().unwrap().iter().map(line).collect()
    }

    fn control(&self, method: &str, what: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port)).unwrap();
        write!(
            stream,
            "{method} /_microburst/{what} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }
}
