//! IP addresses as flow logs write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an IPv4 or IPv6 address; what the standard library reads, only faster for IPv4.
pub(crate) fn parse(text: &[u8]) -> Option<IpAddr> {
    if let Some(address) = parse_v4(text) {
        return Some(IpAddr::V4(address));
    }
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let (mut octet, mut value, mut digits) = (0, 0_u32, 0);
    for byte in text {
        if *byte == b'.' {
            if digits == 0 || octet == 3 {
                return None;
            }
            octets[octet] = u8::try_from(value).ok()?;
            (octet, value, digits) = (octet + 1, 0, 0);
        } else {
            // Digits only, no more than three, and no leading zero.
            if !byte.is_ascii_digit() || digits == 3 || (digits > 0 && value == 0) {
                return None;
            }
            (value, digits) = (value * 10 + u32::from(byte - b'0'), digits + 1);
        }
    }
    if digits == 0 || octet != 3 {
        return None;
    }
    octets[3] = u8::try_from(value).ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exactly_the_addresses_of_the_standard_library_are_read(
            text in prop_oneof!["[0-9.]{0,16}", "(25[0-9]|0?[0-9]{1,2})(\\.[0-9]{1,3}){3}", "[0-9a-f:.]{0,20}",
                any::<Ipv6Addr>().prop_map(|address| address.to_string()),
                any::<Ipv4Addr>().prop_map(|address| address.to_string())],
        ) {
            prop_assert_eq!(parse(text.as_bytes()), text.parse::<IpAddr>().ok());
        }
    }
}
