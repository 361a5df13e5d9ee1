//! A search cluster in memory that follows a script: it fails as a real one does, but on request.

mod bulk;
mod http;
mod search;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use self::http::Request;

/// How long to wait for a condition before the test fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the cluster does with one bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Creates all documents.
    Accept,
    /// Creates none, and answers with this status.
    Status {
        /// The status.
        status: u16,
        /// The header `Retry-After`.
        retry_after: Option<&'static str>,
        /// The body.
        body: &'static str,
    },
    /// Gives the documents these statuses in turn. Creates those with 201.
    Items(Vec<u16>),
    /// Resets the connection after half of the request, and creates none.
    ResetInRequest,
    /// Creates all documents, and resets the connection instead of an answer.
    ResetBeforeAnswer,
    /// Creates all documents, and ends the connection in the middle of the answer.
    ResetInAnswer,
    /// Creates all documents. The answer is complete HTTP with half of the JSON.
    TruncatedJson,
    /// Creates all documents. The answer has one outcome less.
    FewerItems,
    /// Creates all documents. Each outcome takes this many bytes.
    LongAnswer(usize),
    /// Creates all documents, and answers only when the client has closed the connection.
    Never,
    /// Creates all documents, and answers after [`FakeCluster::release`].
    Held,
}

impl Reply {
    /// Answers with a status and no body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, body: "" }
    }
}

/// One bulk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    /// Row numbers of the documents in their order.
    pub rows: Vec<u64>,
    /// Bytes after decompression.
    pub bytes: usize,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

/// The contents of the cluster.
#[derive(Debug, Default)]
struct State {
    script: VecDeque<Reply>,
    /// When the script is over.
    afterwards: Option<Reply>,
    /// By index and id.
    documents: BTreeMap<(String, String), Value>,
    requests: Vec<BulkRequest>,
    /// Bulk requests that are being answered, and the maximum of them.
    running: usize,
    max_running: usize,
    max_bytes: Option<usize>,
    templates: BTreeMap<String, Value>,
    is_released: bool,
    /// Why a request was not as the API wants it.
    violations: Vec<String>,
}

/// A running cluster on a free port of 127.0.0.1. Ends when it is dropped.
#[derive(Debug)]
pub struct FakeCluster {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    has_ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl FakeCluster {
    /// Starts a cluster that accepts everything.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted([])
    }

    /// Starts a cluster that gives these replies to the first bulk requests, and accepts the later ones.
    #[must_use]
    pub fn scripted(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.lock().script.extend(replies);
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Returns the address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Appends replies to the script.
    pub fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().script.extend(replies);
    }

    /// Sets the reply after the end of the script; `None` accepts.
    pub fn afterwards(&self, reply: Option<Reply>) {
        self.shared.lock().afterwards = reply;
    }

    /// Answers 413 to requests with more bytes after decompression.
    pub fn set_max_bytes(&self, bytes: usize) {
        self.shared.lock().max_bytes = Some(bytes);
    }

    /// Answers all requests that [`Reply::Held`] holds, also later ones.
    pub fn release(&self) {
        self.shared.lock().is_released = true;
        self.shared.changed.notify_all();
    }

    /// Waits until there were this many bulk requests. Panics if they do not come.
    pub fn wait_for_requests(&self, count: usize) {
        let state = self.shared.lock();
        let few = |state: &mut State| state.requests.len() < count;
        let (state, wait) = self.shared.changed.wait_timeout_while(state, DEADLINE, few).unwrap();
        assert!(!wait.timed_out(), "{} requests instead of {count}", state.requests.len());
    }

    /// Returns the documents by index and id. Panics if a request was not as the API wants it.
    #[must_use]
    pub fn documents(&self) -> BTreeMap<(String, String), Value> {
        let state = self.shared.lock();
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
        state.documents.clone()
    }

    /// Returns the row numbers of all documents, sorted.
    #[must_use]
    pub fn rows(&self) -> Vec<u64> {
        let documents = self.documents();
        let mut rows: Vec<u64> =
            documents.values().map(|document| document["flowherd.row"].as_u64().unwrap()).collect();
        rows.sort_unstable();
        rows
    }

    /// Returns all bulk requests in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<BulkRequest> {
        self.shared.lock().requests.clone()
    }

    /// Returns how many bulk requests ran at the same time at most.
    #[must_use]
    pub fn max_running(&self) -> usize {
        self.shared.lock().max_running
    }

    /// Returns the index templates by name.
    #[must_use]
    pub fn templates(&self) -> BTreeMap<String, Value> {
        self.shared.lock().templates.clone()
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        self.release();
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for connection in listener.incoming() {
        if shared.has_ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(connection) = connection else { continue };
        shared.connections.lock().unwrap().push(connection.try_clone().unwrap());
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            // Clients end connections at any time.
            drop(serve(&connection, &shared));
            drop(connection.shutdown(Shutdown::Both));
        }));
    }
    for connection in shared.connections.lock().unwrap().drain(..) {
        drop(connection.shutdown(Shutdown::Both));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

fn serve(connection: &TcpStream, shared: &Shared) -> io::Result<()> {
    while let Some(head) = http::read_head(connection)? {
        if head.path.split('?').next() == Some("/_bulk") {
            if !bulk::answer(connection, &head, shared)? {
                return Ok(());
            }
        } else {
            let request = http::read_body(connection, head)?;
            let (status, body) = other(&request, &mut shared.lock());
            http::respond(connection, status, &[], body.to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// Answers everything but bulk requests.
fn other(request: &Request, state: &mut State) -> (u16, Value) {
    let path = request.path.split('?').next().unwrap_or_default();
    let template = path.strip_prefix("/_index_template/");
    match (&*request.method, path, template) {
        ("GET", "/", _) => (200, json!({"version": {"distribution": "opensearch", "number": "2.19.0"}})),
        ("PUT", _, Some(name)) => {
            let template = serde_json::from_slice(&request.body).unwrap();
            state.templates.insert(name.to_owned(), template);
            (200, json!({"acknowledged": true}))
        }
        ("GET", _, Some(name)) => match state.templates.get(name) {
            Some(template) => (200, json!({"index_templates": [{"name": name, "index_template": template}]})),
            None => (404, error("resource_not_found_exception", "no template")),
        },
        ("POST", path, _) if path.ends_with("/_refresh") => {
            (200, json!({"_shards": {"total": 2, "successful": 1, "failed": 0}}))
        }
        ("POST", path, _) if path.ends_with("/_search") => (200, search::count(&request.body, state)),
        _ => (404, error("unknown_path", "the fake does not know this path")),
    }
}

fn error(kind: &str, reason: &str) -> Value {
    json!({"error": {"type": kind, "reason": reason}})
}
