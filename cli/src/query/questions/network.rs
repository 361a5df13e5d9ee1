//! IP addresses and networks, as conditions in SQL.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An IP address, or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that the addresses of the network share.
    bits: u8,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, bits: length(address) }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not an IP address or network; an example: 10.0.0.5 or 10.0.0.0/16".to_owned();
        let Some((address, bits)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| wrong());
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let is_number = bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits =
            bits.parse().ok().filter(|bits| is_number && *bits <= length(address)).ok_or_else(wrong)?;
        let first = first(address, bits);
        if first != address {
            return Err(format!(
                "{address} is not the first address of its network; did you mean {first}/{bits}?"
            ));
        }
        Ok(Self { address, bits })
    }
}

impl Network {
    /// Returns the condition that the address in a text column is of the network, for Trino and `DuckDB`: neither has the other's
    /// functions for addresses. An absent address is in no network.
    pub(super) fn contains(self, column: &str) -> String {
        if self.bits == length(self.address) {
            return format!("{column} = '{}'", self.address);
        }
        let contains = match self.address {
            IpAddr::V4(address) => v4_contains(column, address, self.bits),
            IpAddr::V6(address) => v6_contains(column, address, self.bits),
        };
        format!("COALESCE({contains}, FALSE)")
    }
}

fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !v4_rest(bits))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !v6_rest(bits))),
    }
}

/// Returns the bits in which the addresses of a network differ.
fn v4_rest(bits: u8) -> u32 {
    u32::MAX.checked_shr(bits.into()).unwrap_or(0)
}

fn v6_rest(bits: u8) -> u128 {
    u128::MAX.checked_shr(bits.into()).unwrap_or(0)
}

/// Compares the address as a number. The cast of the first part of an IPv6 address gives null.
fn v4_contains(column: &str, first: Ipv4Addr, bits: u8) -> String {
    let octets = [(1, 1 << 24), (2, 1 << 16), (3, 1 << 8), (4, 1)];
    let number = octets
        .map(|(part, factor)| format!("TRY_CAST(split_part({column}, '.', {part}) AS BIGINT) * {factor}"));
    let first = first.to_bits();
    format!("{} BETWEEN {first} AND {}", number.join(" + "), first | v4_rest(bits))
}

/// Compares the leading groups of the address as text of four digits each. `::` replaces a run of
/// zero groups, so the groups after it count from the end.
fn v6_contains(column: &str, first: Ipv6Addr, bits: u8) -> String {
    let count = usize::from(bits.div_ceil(16)).max(1);
    let last = Ipv6Addr::from_bits(first.to_bits() | v6_rest(bits));
    let digits = |address: Ipv6Addr| {
        address.segments()[..count].iter().map(|group| format!("{group:04x}")).collect::<String>()
    };
    let groups = |side: &str| format!("length({side}) - length(replace({side}, ':', '')) + 1");
    let (before, after) =
        (format!("split_part({column}, '::', 1)"), format!("split_part({column}, '::', 2)"));
    let group = |number: usize| {
        // Without `::`, the first part is the whole address.
        format!(
            "lpad(CASE WHEN {before} <> '' AND {number} <= {} THEN split_part({before}, ':', {number}) WHEN {after} <> '' AND \
             {number} > 8 - ({}) THEN split_part({after}, ':', CAST(greatest(1, {number} - 8 + {}) AS INTEGER)) ELSE '0' END, 4, '0')",
            groups(&before),
            groups(&after),
            groups(&after),
        )
    };
    let address: Vec<String> = (1..=count).map(group).collect();
    format!(
        "{column} LIKE '%:%' AND {} BETWEEN '{}' AND '{}'",
        address.join(" || "),
        digits(first),
        digits(last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_compared_as_text() {
        assert_eq!(network("10.0.0.5").contains("srcaddr"), "srcaddr = '10.0.0.5'");
        assert_eq!(network("10.0.0.5/32").contains("srcaddr"), "srcaddr = '10.0.0.5'");
        assert_eq!(network("2001:DB8::1").contains("srcaddr"), "srcaddr = '2001:db8::1'");
    }

    #[test]
    fn a_network_is_a_range() {
        let v4 = network("10.0.0.0/8").contains("a");
        assert!(v4.ends_with(" BETWEEN 167772160 AND 184549375, FALSE)"), "{v4}");
        assert!(network("0.0.0.0/0").contains("a").ends_with(" BETWEEN 0 AND 4294967295, FALSE)"));
        let v6 = network("2001:db8::/33").contains("a");
        assert!(v6.ends_with(" BETWEEN '20010db80000' AND '20010db87fff', FALSE)"), "{v6}");
        assert!(network("::/0").contains("a").ends_with(" BETWEEN '0000' AND 'ffff', FALSE)"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "1' OR '1'='1", "10.0.0.0/8/8"]
        {
            assert!(text.parse::<Network>().unwrap_err().contains("10.0.0.0/16"), "{text}");
        }
        let host = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert!(host.ends_with("did you mean 10.0.0.0/8?"), "{host}");
    }
}
