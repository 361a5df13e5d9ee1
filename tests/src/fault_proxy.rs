//! Faults between a program and the local cloud: microburst, from the project's own `.venv`, on a free port of 127.0.0.1.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::local_cloud::{free_port, wait_until};

/// The proxy. Stopped when dropped, also when a test fails.
#[derive(Debug)]
pub struct FaultProxy {
    server: Child,
    port: u16,
    /// What programs are given as `AWS_ENDPOINT_URL`.
    pub endpoint: String,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl FaultProxy {
    /// In front of the server at `upstream`, without any fault yet.
    ///
    /// # Panics
    /// If it is not installed: `make test` installs it.
    #[must_use]
    pub fn start(upstream: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let program = root.join(".venv/bin/microburst");
        assert!(program.exists(), "no {}: `make test` installs it", program.display());
        let port = free_port();
        let server = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--upstream", upstream, "--no-resign"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Self { server, port, endpoint: format!("http://127.0.0.1:{port}") };
        wait_until("the fault proxy answers", || {
            assert!(proxy.server.try_wait().unwrap().is_none(), "the fault proxy ended by itself");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        proxy
    }

    /// From now on these faults, as microburst describes them; an empty list ends them all.
    pub fn set_faults(&self, rules: &[Value]) {
        let set = self.control("POST", "rules", &Value::from(rules).to_string());
        assert_eq!(set.as_array().map(Vec::len), Some(rules.len()), "{set}");
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.control("GET", "health", "")["requests_seen"].as_u64().unwrap()
    }

    /// What struck so far, in order: service, operation and action.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        let fired = self.control("GET", "fired?limit=100000", "");
        let told = |event: &Value| {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("service"), text("operation"), text("action"))
        };
        fired.as_array().unwrap().iter().map(told).collect()
    }

    fn control(&self, method: &str, what: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
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
