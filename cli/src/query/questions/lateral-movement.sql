-- East-west movement from an instance
-- Accepted connections from --ip, an address or a network, to inner addresses on ports of remote administration (SSH, RPC,
-- NetBIOS, SMB, RDP, VNC, WinRM), or on --port, and the second hop: later connections of the same type from those hosts.
-- Accepted means that security groups and network ACLs allowed the connection, not that the target answered: check the bytes. A
-- flow that both ends record counts twice. An address is inner if it has a name or it is private. Other ports
-- and more than two hops are not shown: ask again from the next host. An address that two VPCs use counts as one host.
WITH moves AS (
  SELECT srcaddr, dstaddr, dst_subnet_name, dstport, packets, bytes, "timestamp"
  FROM {flows}
  WHERE action = 'ACCEPT' AND ({inner_src} OR {src_is_ip}) AND {inner_dst}
    AND (dstport = {port} OR ({port} IS NULL AND dstport IN (22, 23, 135, 139, 445, 3389, 5900, 5985, 5986)))
), reached AS (
  SELECT dstaddr AS host, min("timestamp") AS since FROM moves WHERE {src_is_ip} GROUP BY dstaddr
)
SELECT 1 AS hop, srcaddr, dstaddr, max(dst_subnet_name) AS dst_subnet, dstport AS port, count(*) AS flows,
  sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM moves
WHERE {src_is_ip}
GROUP BY srcaddr, dstaddr, dstport
UNION ALL
SELECT 2 AS hop, srcaddr, dstaddr, max(dst_subnet_name) AS dst_subnet, dstport AS port, count(*) AS flows,
  sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM moves JOIN reached ON srcaddr = host
WHERE "timestamp" >= since AND NOT {src_is_ip} AND NOT {dst_is_ip}
GROUP BY srcaddr, dstaddr, dstport
ORDER BY hop, first_seen, srcaddr, dstaddr, port
LIMIT {limit}
