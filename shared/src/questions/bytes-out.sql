-- Bytes out by destination
-- Accepted traffic from inner to outer addresses, by where it went: how much, from how many hosts, and which sent most.
-- With --ip only from that host. Inner is what the lookups name, or a private address. Behind a NAT gateway a flow is
-- recorded at the host and at the gateway: the gateway's address is then one more source with the same bytes.
SELECT dstaddr, sum(bytes) AS bytes, sum(packets) AS packets, sum(flows) AS flows, count(*) AS sources,
  max_by(srcaddr, bytes) AS largest_source, max(bytes) AS largest_bytes, min(first_seen) AS first_seen,
  max(last_seen) AS last_seen
FROM (
  SELECT srcaddr, dstaddr, sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS flows,
    min("timestamp") AS first_seen, max("timestamp") AS last_seen
  FROM {flows}
  WHERE action = 'ACCEPT' AND {inner:src} AND NOT {inner:dst} AND ({ip?} IS NULL OR srcaddr = {ip?})
  GROUP BY srcaddr, dstaddr
) AS sent
GROUP BY dstaddr
ORDER BY bytes DESC, dstaddr
LIMIT {limit}
