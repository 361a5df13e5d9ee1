//! A proxy between a program and the local AWS that records all requests.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The proxy. It serves until the process ends.
#[derive(Debug)]
pub struct RecordingProxy {
    /// Its URL on 127.0.0.1.
    pub endpoint: String,
    /// Bytes of each connection.
    asked: Arc<Mutex<Vec<Connection>>>,
}

type Connection = Arc<Mutex<Vec<u8>>>;

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Its body as sent.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl RecordingProxy {
    /// Starts a proxy in front of a server.
    #[must_use]
    pub fn start(server: SocketAddr) -> Self {
        Self::start_with(server, |_| {})
    }

    /// Starts a proxy that calls `before` with all that a connection has sent, before the server gets the last part of it.
    #[must_use]
    pub fn start_with(server: SocketAddr, before: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let before = Arc::new(before);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Connection>>>::default();
        let connections = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                let connection = Connection::default();
                connections.lock().unwrap().push(Arc::clone(&connection));
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let before = Arc::clone(&before);
                thread::spawn(move || {
                    forward(client, server, &|bytes| {
                        let mut sent = connection.lock().unwrap();
                        sent.extend(bytes);
                        before(&sent);
                    });
                });
                thread::spawn(move || forward(from_server, to_client, &|_| {}));
            }
        });
        Self { endpoint, asked }
    }

    /// Returns all requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        let connections = self.asked.lock().unwrap();
        connections.iter().flat_map(|connection| requests(&connection.lock().unwrap())).collect()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, record: &dyn Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        record(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Splits the bytes of a connection into requests by their lengths. The last request may be incomplete.
fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
        let (method, target) = (first.next().unwrap(), first.next().expect("a request line"));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request = Request { method, target, headers, body: Vec::new() };
        assert!(request.header("transfer-encoding").is_none(), "a body of unknown length: {head}");
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let rest = &bytes[end + 4..];
        let (body, rest) = rest.split_at(length.min(rest.len()));
        request.body = body.to_vec();
        requests.push(request);
        bytes = rest;
    }
    requests
}
