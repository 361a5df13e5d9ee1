//! A process that reads bulk requests and answers that all documents are created.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use flate2::read::MultiGzDecoder;

/// A running sink. Ends with this value.
pub(crate) struct Sink {
    process: Child,
    pub(crate) url: String,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .arg("sink")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { process, url: format!("http://{}", address.trim()) }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Serves on a free port, which it prints, until its standard input ends.
pub(crate) fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || answer(connection.unwrap()));
        }
    });
    // Ends with the process that started it, also when that fails.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn answer(connection: TcpStream) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut writer = connection;
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut text = Vec::new();
        MultiGzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
        let documents = (text.split(|byte| *byte == b'\n').count() - 1) / 2;
        let items = vec![r#"{"create":{"status":201}}"#; documents].join(",");
        let answer = format!(r#"{{"errors":false,"items":[{items}]}}"#);
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
    }
}
