-- Bytes out by destination
-- Accepted traffic from inner to outer addresses, by destination: the amount, the number of sources, and the largest source.
-- With --ip only from that host or network, with --port only to that port. Answers count too, so the clients of a public server
-- are destinations. An address is inner if it has a name or it is private. If several interfaces record a flow
-- (a transit gateway's, a firewall's), the largest record counts. Behind a NAT gateway, the gateway's own address is one more
-- source with the same bytes.
SELECT dstaddr, sum(bytes) AS bytes, sum(packets) AS packets, sum(flows) AS flows, count(*) AS sources,
  max_by(srcaddr, ROW(bytes, srcaddr)) AS largest_source, max(bytes) AS largest_bytes, min(first_seen) AS first_seen,
  max(last_seen) AS last_seen
FROM (
  SELECT srcaddr, dstaddr, max(bytes) AS bytes, max(packets) AS packets, max(flows) AS flows,
    min(first_seen) AS first_seen, max(last_seen) AS last_seen
  FROM (
    SELECT interface_id, srcaddr, dstaddr, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes,
      sum(CAST(packets AS DECIMAL(38, 0))) AS packets, count(*) AS flows, min("timestamp") AS first_seen,
      max("timestamp") AS last_seen
    FROM {flows}
    WHERE action = 'ACCEPT' AND {inner_src} AND NOT {inner_dst}{and_src_ip}{and_to_port}
    GROUP BY interface_id, srcaddr, dstaddr
  ) AS recorded
  GROUP BY srcaddr, dstaddr
) AS sent
GROUP BY dstaddr
ORDER BY bytes DESC, dstaddr
LIMIT {limit}
