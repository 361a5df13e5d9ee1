//! IP addresses as flow logs write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{bits_of_bytes, equal, word};

/// Parses an IPv4 or IPv6 address. Accepts the same text as the standard library, but is faster for IPv4.
pub(crate) fn parse(text: &[u8]) -> Option<IpAddr> {
    if let Some(address) = parse_v4(text) {
        return Some(IpAddr::V4(address));
    }
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Returns the IPv4 address of an IPv4-mapped IPv6 address, and other addresses unchanged. Servers that listen on IPv6 log
/// IPv4 clients so.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Returns the slot of an address in a cache whose size is a power of two. `salt` distinguishes keys with the same address. Spreads
/// them by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
pub(super) fn slot(address: IpAddr, salt: u32, slots: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let mixed = (bits ^ u64::from(salt) << 32).wrapping_mul(GOLDEN);
    (mixed >> (64 - slots.trailing_zeros())) as usize
}

/// Parses without a branch for each byte, because the number of digits of an octet is unpredictable.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let (low, high) = match text.len() {
        // Two halves of a word that share a byte.
        7 => (u64::from(half(text, 0)) | u64::from(half(text, 3)) << 24, 0),
        8..=15 => (word(text, 0), word(text, text.len() - 8).unbounded_shr(8 * (16 - text.len() as u32))),
        _ => return None,
    };
    let whole = u128::from(low) | u128::from(high) << 64;
    let mut dots = bits_of_bytes(equal(low, b'.')) | bits_of_bytes(equal(high, b'.')) << 8;
    // The text's end ends the last octet.
    dots |= 1 << text.len();
    let (mut address, mut start, mut right) = (0, 0, true);
    for _ in 0..4 {
        let end = dots.trailing_zeros();
        dots &= dots.wrapping_sub(1);
        let (octet, is_octet) = octet(whole.unbounded_shr(8 * start) as u32, end.wrapping_sub(start));
        address = address << 8 | octet;
        right &= is_octet;
        start = end + 1;
    }
    (right && dots == 0).then(|| Ipv4Addr::from(address))
}

fn half(text: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&text[at..at + 4]);
    u32::from_le_bytes(half)
}

/// Returns the value of the first `digits` of four bytes, and whether they are an octet: one to three digits without a
/// leading zero.
fn octet(bytes: u32, digits: u32) -> (u32, bool) {
    const ONES: u32 = u32::MAX / 0xff;
    // The last digit is in the highest byte, and the bytes before the first are zero.
    let values = (bytes ^ (ONES * u32::from(b'0'))).unbounded_shl(8 * 4_u32.saturating_sub(digits));
    // A value above nine sets the highest bit, or already has it.
    let are_digits = (values.wrapping_add((0x7f - 9) * ONES) | values) & (ONES << 7) == 0;
    let value = (values >> 24) + (values >> 16 & 0xff) * 10 + (values >> 8 & 0xff) * 100;
    let least = [u32::MAX, 0, 10, 100][digits.min(3) as usize];
    (value, are_digits & (digits <= 3) & (value >= least) & (value <= 255))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_addresses_as_in_the_standard_library_are_accepted(
            text in prop_oneof!["[0-9.]{0,16}", "(25[0-9]|0?[0-9]{1,2})(\\.[0-9]{1,3}){3}", "[0-9a-f:.]{0,20}",
                any::<Ipv6Addr>().prop_map(|address| address.to_string()),
                any::<Ipv4Addr>().prop_map(|address| address.to_string())],
        ) {
            prop_assert_eq!(parse(text.as_bytes()), text.parse::<IpAddr>().ok());
        }
    }
}
