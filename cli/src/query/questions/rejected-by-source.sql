-- Rejected traffic by source
-- Sources whose traffic security groups and network ACLs rejected: the number of flows, targets and ports, and the ports'
-- range. With --ip only from that address or network, with --port only to that port. Answers that a stateless network ACL
-- rejects count too: their ports are high and many.
SELECT srcaddr, max(src_subnet_name) AS src_subnet, count(*) AS flows, count(DISTINCT dstaddr) AS targets,
  count(DISTINCT dstport) AS ports, min(dstport) AS lowest_port, max(dstport) AS highest_port,
  min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE action = 'REJECT'{and_src_ip}{and_to_port}
GROUP BY srcaddr
ORDER BY flows DESC, srcaddr
LIMIT {limit}
