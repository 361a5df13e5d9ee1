-- Who talked to an address, and who was talked to by it
-- All peers of --ip, an address or a network, with --port only on that port: ports, accepted or rejected, and the first and
-- last time. The port is the lower one of the two, which is almost always the service's. Bytes are as recorded. Both interfaces
-- record a flow between two own hosts, so it counts twice. Behind a NAT gateway or a load balancer, the address is the
-- gateway's. If the format has the fields pkt-srcaddr and pkt-dstaddr, query the table itself.
SELECT peer, max(peer_subnet) AS peer_subnet, direction, port, protocol_name, action, count(*) AS flows,
  sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM (
  SELECT CASE WHEN {src_is_ip} THEN dstaddr ELSE srcaddr END AS peer,
    CASE WHEN {src_is_ip} THEN dst_subnet_name ELSE src_subnet_name END AS peer_subnet,
    CASE WHEN {src_is_ip} THEN 'to peer' ELSE 'from peer' END AS direction,
    LEAST(srcport, dstport) AS port, protocol_name, action, bytes, "timestamp"
  FROM {flows}
  WHERE ({src_is_ip} OR {dst_is_ip}){and_is_port}
) AS peers
GROUP BY peer, direction, port, protocol_name, action
ORDER BY bytes DESC, peer, port, direction, action, protocol_name
LIMIT {limit}
