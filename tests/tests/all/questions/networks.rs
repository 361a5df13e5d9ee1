//! The networks that a question takes: their condition in SQL against the addresses that they contain.

use std::{collections::BTreeSet, net::IpAddr};

use flowherd_tests::command::flowherd;
use ipnet::IpNet;

use super::{
    super::{place::PROGRAM, query::duckdb},
    rows,
};

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_network_contains_its_addresses_and_no_others() {
    let addresses = [
        "10.0.0.0",
        "10.1.2.3",
        "10.255.255.255",
        "9.255.255.255",
        "11.0.0.0",
        "1.0.0.10",
        "192.168.1.1",
        "::",
        "::1",
        "1::",
        "fe80::1",
        "2001:db8::",
        "2001:db8::1",
        "2001:db8:0:1::5",
        "2001:db8:1::",
        "2001:db8:7fff::1",
        "2001:db8:8000::1",
        "2001:db9::1",
        "2001:db8:1234:a100:8d6e:3477:df66:f105",
        "2001:0:0:db8::1",
        "0:0:0:1::a",
    ];
    let values: Vec<String> = addresses.iter().map(|address| format!("('{address}')")).collect();
    let table = format!(
        "CREATE TABLE vpc_flow AS SELECT 'REJECT' AS action, address AS srcaddr, '10.0.0.1' AS dstaddr, 1 AS dstport, 'n' AS \
         src_subnet_name, TIMESTAMP '2026-02-18 01:00:00' AS \"timestamp\" FROM (VALUES {}, (NULL)) AS of (address)",
        values.join(", ")
    );
    let networks = [
        "10.0.0.0/8",
        "10.1.2.0/24",
        "10.1.2.3/32",
        "0.0.0.0/0",
        "10.0.0.0/9",
        "2001:db8::/32",
        "2001:db8::/33",
        "2001:db8::/48",
        "2001:db8::/64",
        "2001:db8::1",
        "::/0",
        "::/8",
        "::/127",
        "fe80::/10",
        "2001:db8:1234:a100::/56",
    ];
    let selects = networks.map(|network| {
        let asked =
            ["query", "--named", "rejected-by-source", "--print", "--day", "2026-02-18", "--limit", "99"];
        let printed = flowherd(PROGRAM, asked.iter().chain(&["--ip", network]));
        assert_eq!(printed.status, 0, "{printed:?}");
        let sql = printed.stdout.trim_end().trim_end_matches(';');
        format!("SELECT '{network}' AS network, srcaddr FROM (\n{sql}\n) AS found")
    });
    let found = rows(&duckdb(&table, &selects.join("\nUNION ALL\n")));
    for network in networks {
        let of_network = found.iter().filter(|row| row[0] == network).map(|row| row[1].as_str());
        let is_inside = |address: &&str| contains(network, address.parse().unwrap());
        let expected: BTreeSet<&str> = addresses.iter().copied().filter(is_inside).collect();
        assert_eq!(of_network.collect::<BTreeSet<_>>(), expected, "{network}");
    }
}

/// Returns whether an address is in a network or is that address.
fn contains(network: &str, address: IpAddr) -> bool {
    match network.parse::<IpNet>() {
        Ok(network) => network.contains(&address),
        Err(_) => network.parse::<IpAddr>().unwrap() == address,
    }
}
