//! Memory of the indexer. A process of its own, because the peak of a process never falls.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use flowherd_deflate::Deflater;
use flowherd_indexer::{
    index_name::NameLayout,
    job::{Indexer, Object, Refused, RefusedSink, Target},
    schema::{DocumentSchema, Field, FieldKind},
    settings::ClusterSettings,
};
use tokio::io::{AsyncRead, ReadBuf};

/// Maximum peak memory of the whole process, this test's server included.
const MAX_PEAK_KIB: u64 = 96 << 10;
/// Bytes of the name in a long row. Two such documents do not fit into a bulk.
const LONG_BYTES: usize = 3 << 20;

/// Bytes of the name in a hostile row: almost the limit of a row. Each byte takes six in JSON.
const HOSTILE_BYTES: usize = (24 << 20) - 100;
const HOSTILE_ROWS: u64 = 3;

#[derive(Default)]
struct TooLarge(u64);

impl RefusedSink for TooLarge {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        assert_eq!(refused.reason, "too-large", "row {}: {}", refused.row, refused.detail);
        self.0 += 1;
        Ok(())
    }
}

/// An object that has more bytes than memory may hold: parts, each repeated.
struct Repeated {
    parts: Vec<(Vec<u8>, usize)>,
    position: usize,
}

impl AsyncRead for Repeated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some((part, times)) = this.parts.first_mut() else { return Poll::Ready(Ok(())) };
        let bytes = (part.len() - this.position).min(buffer.remaining());
        buffer.put_slice(&part[this.position..this.position + bytes]);
        this.position += bytes;
        if this.position == part.len() {
            this.position = 0;
            *times -= 1;
            if *times == 0 {
                this.parts.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Answers that all documents are created, and keeps none.
fn serve(listener: &TcpListener) {
    for connection in listener.incoming() {
        thread::spawn(move || answer(&connection.unwrap()));
    }
}

fn answer(mut connection: &TcpStream) {
    let mut reader = BufReader::new(connection);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut text = MultiGzDecoder::new(reader.by_ref().take(length));
        let (mut buffer, mut lines) = (vec![0; 64 << 10], 0);
        loop {
            let bytes = text.read(&mut buffer).unwrap();
            if bytes == 0 {
                break;
            }
            lines += buffer[..bytes].split(|byte| *byte == b'\n').count() - 1;
        }
        let items = vec![r#"{"create":{"status":201}}"#; lines / 2].join(",");
        let answer = format!(r#"{{"errors":false,"items":[{items}]}}"#);
        write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
    }
}

fn target() -> Target {
    let fields = [("@timestamp", FieldKind::Date), ("bytes", FieldKind::Long), ("name", FieldKind::Keyword)];
    let field = |(name, kind): (&str, FieldKind)| Some(Field { name: name.to_owned(), kind });
    Target {
        columns: ["timestamp", "bytes", "name"].map(str::to_owned).to_vec(),
        schema: DocumentSchema { fields: fields.into_iter().map(field).collect() },
        index: NameLayout::default().of_table("t"),
    }
}

/// Returns text that compresses by a quarter only.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..bytes).map(letter).collect::<String>().replace(['"', ',', '\\'], "x")
}

/// Returns a row of control characters as gzip. The text is never in memory as a whole.
fn hostile_row(time: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    write!(gzip, "{time},1,").unwrap();
    let piece = vec![1; 64 << 10];
    for _ in 0..HOSTILE_BYTES / piece.len() {
        gzip.write_all(&piece).unwrap();
    }
    gzip.write_all(b"\n").unwrap();
    gzip.finish().unwrap()
}

#[test]
fn memory_is_bounded_for_long_objects_and_long_rows() {
    let mut deflater = Deflater::default();
    let mut refused = TooLarge::default();
    let time = "2026-02-18T09:00:00.000Z";
    let rows = format!("{time},1500,a usual row of a log\n").repeat(16 << 10);
    let long = format!("{time},1,{}\n", noise(LONG_BYTES));
    let parts = vec![
        (deflater.member(b"timestamp,bytes,name\n").to_vec(), 1),
        (deflater.member(rows.as_bytes()).to_vec(), 20),
        (deflater.member(long.as_bytes()).to_vec(), 40),
        (hostile_row(time), HOSTILE_ROWS as usize),
    ];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = ClusterSettings::new(format!("http://{}", listener.local_addr().unwrap()));
    thread::spawn(move || serve(&listener));
    let target = target();
    let object = Object { key: "csv/t/a.csv.gz", etag: "e", run: "r", target: &target };
    let body = tokio::io::BufReader::new(Repeated { parts, position: 0 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let indexer = Indexer::new(&settings).unwrap();
    let counts = runtime.block_on(indexer.index(object, body, &mut refused, &|| false)).unwrap();
    assert_eq!((counts.indexed, counts.refused), (20 * (16 << 10) + 40, HOSTILE_ROWS));
    assert_eq!(refused.0, HOSTILE_ROWS);

    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("peak {peak} KiB");
    assert!(peak <= MAX_PEAK_KIB, "{peak} KiB");
}
