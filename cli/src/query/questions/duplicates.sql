-- Records that were delivered more than once
-- CloudWatch Logs and Firehose deliver at least once; each copy is a row. Records of one interface that agree in every
-- value here are taken for copies. Two flows through a NAT gateway or a load balancer that differ only in pkt-srcaddr or
-- pkt-dstaddr agree so too. Sums over rows count copies.
SELECT "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, protocol_name, packets, bytes, action,
  count(*) AS copies
FROM {flows}
WHERE srcaddr IS NOT NULL
GROUP BY "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, protocol_name, packets, bytes, action
HAVING count(*) > 1
ORDER BY copies DESC, "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, packets,
  bytes, action
LIMIT {limit}
