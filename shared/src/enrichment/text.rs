//! The text of a file that may be compressed.

use super::problems::FileProblems;
use crate::{
    error::error_chain,
    limits::{Limits, MAX_ENRICHMENT_BYTES},
    pipeline::layers::Layers,
};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Decompresses a file and checks that it is UTF-8.
pub(super) fn decode(bytes: &[u8], problems: &mut FileProblems<'_>) -> Option<String> {
    let limits = Limits { max_decoded_bytes: MAX_ENRICHMENT_BYTES as u64, ..Limits::default() };
    let mut text = Vec::new();
    let read = Layers::open(bytes, limits).and_then(|mut layers| {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match layers.read(&mut chunk)? {
                0 => return layers.next_file(),
                count => text.extend_from_slice(&chunk[..count]),
            }
        }
    });
    match read {
        Ok(false) => {}
        Ok(true) => {
            problems.add("bytes", || "is an archive of several files; give one of them".to_owned());
            return None;
        }
        Err(error) => {
            problems.add("bytes", || format!("cannot be read: {}; get the file again", error_chain(&error)));
            return None;
        }
    }
    let text = match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + memchr::memchr_iter(b'\n', before).count();
            problems.add("text", || format!("line {line}: is not UTF-8 text; save the file as UTF-8"));
            return None;
        }
    };
    Some(text.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(text))
}
