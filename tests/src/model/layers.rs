//! Layers of gzip, and the test for binary data.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// Returns the text below all gzip layers, or `None` if it is binary. The model knows no other codec or format.
pub(super) fn text(object: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = object.to_vec();
    for _ in 0..3 {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return (!is_binary(&bytes)).then_some(bytes);
        }
        let mut decoded = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut decoded).ok()?;
        bytes = decoded;
    }
    (!bytes.starts_with(&[0x1f, 0x8b]) && !is_binary(&bytes)).then_some(bytes)
}

/// Applies docs/semantics.md, "Binary formats fail by name".
fn is_binary(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4096)];
    let is_control = |byte: &u8| (*byte < 32 && ![8, 9, 10, 12, 13, 27].contains(byte)) || *byte == 127;
    // Counts bytes that are not UTF-8. The end of a part may cut a character.
    let invalid = |part: &[u8], is_cut: bool| match std::str::from_utf8(part) {
        Err(error) if is_cut && error.error_len().is_none() => 0,
        Ok(_) => 0,
        Err(_) => part.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>(),
    };
    let is_clean = |part: &[u8], is_cut| !part.iter().any(is_control) && invalid(part, is_cut) == 0;
    let lines: Vec<&[u8]> = head.split_inclusive(|byte| *byte == b'\n').collect();
    let is_cut = |line: &[u8]| text.len() >= 4096 && !line.ends_with(b"\n");
    let clean = lines.iter().filter(|line| line.len() > 1 && is_clean(line, is_cut(line)));
    let clean: usize = clean.map(|line| line.len()).sum();
    let controls = head.iter().filter(|byte| is_control(byte)).count();
    let unclean = controls + lines.iter().map(|line| invalid(line, is_cut(line))).sum::<usize>();
    let clean_starts =
        lines.iter().skip(1).filter(|line| line.len() >= 8 && is_clean(&line[..8], true)).count();
    controls > 0
        && controls * 64 >= head.len()
        && clean * 2 < head.len()
        && (head[..head.len().min(8)].iter().any(is_control)
            || invalid(&head[..head.len().min(8)], true) > 0 && unclean * 8 >= head.len()
            || clean == 0 && clean_starts == 0 && unclean * 4 >= head.len())
}
