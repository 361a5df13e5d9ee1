//! Bulk requests: follows the script, and keeps the documents.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, TcpStream},
};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

use super::{BulkRequest, Reply, Shared, State, http, http::Head};

/// A document of a request.
struct Document {
    index: String,
    id: String,
    source: Value,
}

/// Whether a field that a real cluster maps to `ip` would accept the value.
fn is_address(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Answers a bulk request. Returns whether the connection stays open.
pub(super) fn answer(connection: &TcpStream, head: &Head, shared: &Shared) -> io::Result<bool> {
    let reply = {
        let mut state = shared.lock();
        state.running += 1;
        state.max_running = state.max_running.max(state.running);
        let afterwards = state.afterwards.clone().unwrap_or(Reply::Accept);
        state.script.pop_front().unwrap_or(afterwards)
    };
    let answered = follow(connection, head, shared, &reply);
    shared.lock().running -= 1;
    answered
}

fn follow(connection: &TcpStream, head: &Head, shared: &Shared, reply: &Reply) -> io::Result<bool> {
    if *reply == Reply::ResetInRequest {
        // The other half stays unread, so the kernel resets the connection.
        http::read_bytes(connection, head.length() / 2)?;
        return Ok(false);
    }
    let body = http::read_bytes(connection, head.length())?;
    let (documents, bytes) = match decode(head, &body) {
        Ok(decoded) => decoded,
        Err(violation) => {
            shared.lock().violations.push(violation);
            http::respond(connection, 400, &[], b"{}")?;
            return Ok(true);
        }
    };
    let answer = {
        let mut state = shared.lock();
        state.requests.push(BulkRequest {
            rows: documents.iter().filter_map(|document| document.source["flowherd.row"].as_u64()).collect(),
            bytes,
            authorization: head.header("authorization").map(str::to_owned),
        });
        shared.changed.notify_all();
        if let Reply::Status { status, retry_after, body } = reply {
            drop(state);
            let headers: Vec<(&str, &str)> =
                retry_after.iter().map(|seconds| ("retry-after", *seconds)).collect();
            http::respond(connection, *status, &headers, body.as_bytes())?;
            return Ok(true);
        }
        if state.max_bytes.is_some_and(|limit| bytes > limit) {
            drop(state);
            http::respond(connection, 413, &[], b"")?;
            return Ok(true);
        }
        let statuses = if let Reply::Items(statuses) = reply { &statuses[..] } else { &[201] };
        let mut items: Vec<Value> = documents
            .into_iter()
            .zip(statuses.iter().cycle())
            .map(|(document, status)| create(document, *status, &mut state))
            .collect();
        if let Reply::LongAnswer(bytes) = reply {
            items.iter_mut().for_each(|item| item["padding"] = " ".repeat(*bytes).into());
        }
        if *reply == Reply::FewerItems {
            items.pop();
        }
        let has_errors = items.iter().any(|item| item["create"].get("error").is_some());
        json!({"errors": has_errors, "items": items}).to_string().into_bytes()
    };
    match reply {
        Reply::ResetBeforeAnswer => Ok(false),
        Reply::ResetInAnswer => {
            let mut stream = connection;
            write!(stream, "HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", answer.len())?;
            stream.write_all(&answer[..answer.len() / 2])?;
            Ok(false)
        }
        Reply::TruncatedJson => {
            http::respond(connection, 200, &[], &answer[..answer.len() / 2])?;
            Ok(true)
        }
        Reply::Never => {
            let mut stream = connection;
            // Returns when the client closes the connection.
            stream.read(&mut [0]).map(|_| false)
        }
        Reply::Held => {
            let state = shared.lock();
            drop(shared.changed.wait_while(state, |state| !state.is_released).unwrap());
            http::respond(connection, 200, &[], &answer)?;
            Ok(true)
        }
        _ => {
            http::respond(connection, 200, &[], &answer)?;
            Ok(true)
        }
    }
}

/// Returns the documents and the bytes after decompression, or why the request is not valid.
fn decode(head: &Head, body: &[u8]) -> Result<(Vec<Document>, usize), String> {
    for (name, expected) in [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")] {
        if head.header(name) != Some(expected) {
            return Err(format!("{name}: {:?}", head.header(name)));
        }
    }
    let mut text = String::new();
    MultiGzDecoder::new(body).read_to_string(&mut text).map_err(|error| format!("gzip: {error}"))?;
    if !text.ends_with('\n') {
        return Err("the last line has no line feed".to_owned());
    }
    let values: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
        .collect::<Result<_, _>>()?;
    let documents = values.chunks(2).map(|lines| match lines {
        [action, source] => {
            let name = |key: &str| action["create"][key].as_str().map(str::to_owned);
            let (Some(index), Some(id)) = (name("_index"), name("_id")) else {
                return Err(format!("not a create action with index and id: {action}"));
            };
            Ok(Document { index, id, source: source.clone() })
        }
        _ => Err("an action without a source".to_owned()),
    });
    Ok((documents.collect::<Result<_, _>>()?, text.len()))
}

/// Creates a document, or gives it another status.
fn create(document: Document, status: u16, state: &mut State) -> Value {
    let failed = |status: u16, kind: &str, reason: &str| json!({"create": {"status": status, "error": {"type": kind, "reason": reason}}});
    let key = (document.index, document.id);
    match status {
        201 if state.documents.contains_key(&key) => {
            failed(409, "version_conflict_engine_exception", "document already exists")
        }
        201 if !is_address(&document.source["srcaddr"]) => {
            failed(400, "mapper_parsing_exception", "failed to parse field [srcaddr] of type [ip]")
        }
        201 => {
            state.documents.insert(key, document.source);
            json!({"create": {"status": 201}})
        }
        429 => failed(429, "rejected_execution_exception", "the queue is full"),
        other => failed(other, "some_exception", "scripted"),
    }
}
