//! As much of HTTP/1.1 as the fake cluster needs.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// Maximum bytes of the head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| &**value)
    }

    pub(super) fn length(&self) -> usize {
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// Reads the head of the next request; `None` when the client has closed the connection.
pub(super) fn read_head(mut connection: &TcpStream) -> io::Result<Option<Head>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read(&mut byte)? == 0 || head.len() > MAX_HEAD_BYTES {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok(Some(Head { method, path, headers: lines.filter_map(header).collect() }))
}

pub(super) fn read_body(connection: &TcpStream, head: Head) -> io::Result<Request> {
    let body = read_bytes(connection, head.length())?;
    Ok(Request { method: head.method, path: head.path, body })
}

pub(super) fn read_bytes(mut connection: &TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(body)
}

pub(super) fn respond(
    mut connection: &TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut response = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    response.push_str("\r\n");
    connection.write_all(&[response.as_bytes(), body].concat())
}
