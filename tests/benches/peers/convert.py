"""What a careful script does: envelopes of one object to enriched CSV.gz. Usage: convert.py OBJECT NAMES OUT"""

import gzip
import ipaddress
import json
import sys
from datetime import datetime, timezone
from functools import lru_cache

FIELDS = "version account_id interface_id srcaddr dstaddr srcport dstport protocol packets bytes start end action log_status"
NAMES = "interface_description subnet_name vpc_name src_subnet_name dst_subnet_name"

source, names, out = sys.argv[1:]
with open(names) as file:
    names = json.load(file)
interfaces, subnets, vpcs = names["interfaces"], names["subnets"], names["vpcs"]
blocks = [
    (ipaddress.ip_network(cidr), subnet.get("vpc_id"), subnet.get("name") or "-")
    for subnet in subnets.values()
    for cidr in subnet["cidrs"]
]


@lru_cache(maxsize=None)
def own_names(interface):
    interface = interfaces.get(interface, {})
    subnet = subnets.get(interface.get("subnet_id"), {})
    vpc = interface.get("vpc_id") or subnet.get("vpc_id")
    names = [interface.get("description"), subnet.get("name"), vpcs.get(vpc, {}).get("name")]
    return vpc, ",".join(name or "-" for name in names)


@lru_cache(maxsize=None)
def subnet_of(vpc, address):
    if address == "-":
        return "-"
    address = ipaddress.ip_address(address)
    holders = {}
    for block, owner, name in blocks:
        if address in block and (owner not in holders or block.prefixlen > holders[owner][0]):
            holders[owner] = (block.prefixlen, name)
    if vpc in holders:
        return holders[vpc][1]
    return next(iter(holders.values()))[1] if len(holders) == 1 else "-"


with gzip.open(source, "rt", encoding="utf-8") as file:
    text = file.read()
decode = json.JSONDecoder().raw_decode
with gzip.open(out, "wt", compresslevel=1, encoding="utf-8", newline="") as file:
    file.write(",".join(["timestamp", *FIELDS.split(), *NAMES.split()]) + "\n")
    at = 0
    while at < len(text):
        envelope, at = decode(text, at)
        if envelope["messageType"] != "DATA_MESSAGE":
            continue
        for event in envelope["logEvents"]:
            time = datetime.fromtimestamp(event["timestamp"] / 1000, timezone.utc)
            time = time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{event['timestamp'] % 1000:03d}Z"
            values = event["message"].split(" ")
            vpc, own = own_names(values[2])
            names = f"{own},{subnet_of(vpc, values[3])},{subnet_of(vpc, values[4])}"
            file.write(f"{time},{','.join(values)},{names}\n")
