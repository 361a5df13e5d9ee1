//! Any text, as it stands and repeated to some length: what is compressed is read back, whatever was compressed before.
#![no_main]

use std::{cell::RefCell, io::Read};

use flate2::read::MultiGzDecoder;
use flowherd_shared::pipeline::gzip::Deflater;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DEFLATER: RefCell<Deflater> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Some((times, text)) = data.split_first() else { return };
    for text in [text.to_vec(), text.repeat(usize::from(*times))] {
        DEFLATER.with_borrow_mut(|deflater| {
            let mut read = Vec::new();
            MultiGzDecoder::new(deflater.member(&text)).read_to_end(&mut read).expect("a gzip member");
            assert!(read == text);
        });
    }
});
