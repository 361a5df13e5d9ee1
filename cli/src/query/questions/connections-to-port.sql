-- Who connected to a port
-- Sources and targets of traffic to --port, accepted and rejected, with the number of flows and bytes. With --ip only to that
-- address or network. Only the direction to the port counts: for a high port, answers to clients that use it are rows too.
-- Accepted means that security groups and network ACLs allowed the connection, not that the target answered. A flow that both
-- ends record counts twice.
SELECT srcaddr, max(src_subnet_name) AS src_subnet, dstaddr, max(dst_subnet_name) AS dst_subnet, protocol_name, action,
  count(*) AS flows, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen,
  max("timestamp") AS last_seen
FROM {flows}
WHERE dstport = {port}{and_dst_ip}
GROUP BY srcaddr, dstaddr, protocol_name, action
ORDER BY flows DESC, srcaddr, dstaddr, protocol_name, action
LIMIT {limit}
