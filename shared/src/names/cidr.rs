//! CIDR blocks as text.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a CIDR block. The error continues a sentence whose subject is the block.
pub(crate) fn parse_cidr(text: &str) -> Result<IpNet, String> {
    // Not `IpNet::from_str`, which reads octets with leading zeros as decimal where other tools read them as octal.
    let parts = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        IpNet::new(address, length.parse().ok()?).ok()
    });
    let block = parts.ok_or("is not a CIDR block; an example: \"10.0.0.0/24\"")?;
    if block.addr() != block.network() {
        return Err(format!("has host bits set; use \"{}\"", block.trunc()));
    }
    Ok(block)
}
