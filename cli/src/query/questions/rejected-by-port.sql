-- Rejected traffic by port
-- Traffic that security groups and network ACLs rejected: the number of flows, sources and targets. With --ip only to that
-- address or network, with --port only that port. A rejected flow shows an attempt. That an attempt did not happen cannot be
-- seen here.
SELECT dstport AS port, protocol_name, count(*) AS flows, count(DISTINCT srcaddr) AS sources,
  count(DISTINCT dstaddr) AS targets, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE action = 'REJECT'{and_dst_ip}{and_to_port}
GROUP BY dstport, protocol_name
ORDER BY flows DESC, port, protocol_name
LIMIT {limit}
