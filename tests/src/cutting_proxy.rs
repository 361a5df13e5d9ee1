//! A proxy between a program and the local AWS that truncates the responses of its first connections.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

/// The proxy. It serves until the process ends.
#[derive(Debug)]
pub struct CuttingProxy {
    /// Its URL on 127.0.0.1.
    pub endpoint: String,
    cuts: Arc<AtomicU32>,
}

impl CuttingProxy {
    /// Starts a proxy in front of a server. It closes the first `cuts` connections after `after` bytes of responses.
    #[must_use]
    pub fn start(server: SocketAddr, cuts: u32, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let remaining = Arc::new(AtomicU32::new(cuts));
        let cuts = Arc::clone(&remaining);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
                let cuts = Arc::clone(&cuts);
                thread::spawn(move || forward(server, client, &cuts, after));
            }
        });
        Self { endpoint, cuts: remaining }
    }

    /// Returns whether all cuts are made.
    #[must_use]
    pub fn has_cut_all(&self) -> bool {
        self.cuts.load(Ordering::SeqCst) == 0
    }
}

fn forward(mut server: TcpStream, mut client: TcpStream, cuts: &AtomicU32, after: usize) {
    let mut buffer = vec![0; 16 << 10];
    let mut sent = 0;
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
        sent += count;
        let one_less = |left: u32| left.checked_sub(1);
        if sent >= after && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
