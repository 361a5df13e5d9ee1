-- Records that were delivered more than once
-- CloudWatch Logs and Firehose deliver at least once, and each copy is a row. Records of one interface with equal values here
-- count as copies. Two flows through a NAT gateway or a load balancer that differ only in pkt-srcaddr or pkt-dstaddr also
-- have equal values. Sums over rows include copies.
SELECT "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, protocol_name, packets, bytes, action,
  count(*) AS copies
FROM {flows}
WHERE srcaddr IS NOT NULL
GROUP BY "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, protocol_name, packets, bytes, action
HAVING count(*) > 1
ORDER BY copies DESC, "timestamp", interface_id, srcaddr, srcport, dstaddr, dstport, packets,
  bytes, action
LIMIT {limit}
