//! A node of OpenSearch, which `make test-opensearch` installs into the project's own directories.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    local_cloud::wait_at_most,
    servers::{LOG, free_ports, root},
};

/// Time limit of a node's start.
const START: Duration = Duration::from_mins(2);
/// Maximum attempts to start a node. An attempt fails if another program takes one of the ports first.
const STARTS: u32 = 5;
/// What the node's main class prints when the node answers.
const READY: &str = "node is ready";

/// A node of OpenSearch on 127.0.0.1. Dropping it ends the process, also when a test fails.
#[derive(Debug)]
pub struct SearchNode {
    process: Child,
    http: u16,
    transport: u16,
    settings: Vec<String>,
    state: TempDir,
}

impl SearchNode {
    /// Starts a node with settings in the format `NAME=VALUE`, on ports that were free a moment ago. The system could choose the
    /// ports, but only the node's log would report them.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let started = (0..STARTS).find_map(|_| {
            let [http, transport] = free_ports::<2>(0);
            let state = tempfile::tempdir().unwrap();
            let process = spawn_node(&state, http, transport, &settings);
            let mut node = Self { process, http, transport, settings: settings.clone(), state };
            node.has_started().then_some(node)
        });
        started.unwrap_or_else(|| panic!("other programs took the node's ports in {STARTS} attempts"))
    }

    /// Returns the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Ends the process at once, as a power failure does. Its data stays.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the node again with its data, after [`SearchNode::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        self.process = spawn_node(&self.state, self.http, self.transport, &self.settings);
        assert!(self.has_started(), "another program took one of the node's ports");
    }

    /// Waits until the node answers. Returns false if it ended because another program has one of its ports.
    fn has_started(&mut self) -> bool {
        let log = self.state.path().join(LOG);
        let mut has_ended = false;
        wait_at_most(START, "the node answers", || {
            has_ended = self.process.try_wait().unwrap().is_some();
            has_ended || fs::read_to_string(&log).unwrap().contains(READY)
        });
        if has_ended {
            let text = fs::read_to_string(&log).unwrap();
            assert!(text.contains("BindHttpException") || text.contains("BindTransportException"), "{text}");
        }
        !has_ended
    }
}

impl Drop for SearchNode {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the process. Its log replaces the log of an earlier process.
fn spawn_node(state: &TempDir, http: u16, transport: u16, settings: &[String]) -> Child {
    let libraries = libraries();
    let log = fs::File::create(state.path().join(LOG)).unwrap();
    let mut command = Command::new("java");
    command.args(["-Xms256m", "-Xmx512m", "-cp"]).arg(format!("{0}/*:{0}", libraries.display()));
    command.args(["SearchNode", "home", &http.to_string(), &transport.to_string()]).args(settings);
    // The node also ends when this pipe closes, so it never outlives a killed test process.
    command.current_dir(state.path()).stdin(Stdio::piped());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("cannot start java: {error}; install Java 17 or later"))
}

fn libraries() -> PathBuf {
    let path = root().join("target/tools/opensearch");
    let stamp = path.join("stamp");
    assert!(
        stamp.exists(),
        "no {}: `make test-opensearch` installs the node, and runs these tests",
        stamp.display()
    );
    path
}
