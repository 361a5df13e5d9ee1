-- Pairs of addresses by bytes
-- Who sent most to whom, with --ip only what went to or came from it, rejected traffic included. A flow between two
-- interfaces that both keep flow logs is recorded at both; of such a pair the larger record counts, not the sum. An address
-- that two VPCs have is one here, and the larger of the two counts. NAT gateways and load balancers stand for those behind
-- them.
SELECT srcaddr, max(src_subnet) AS src_subnet, dstaddr, max(dst_subnet) AS dst_subnet, max(flows) AS flows,
  max(packets) AS packets, max(bytes) AS bytes
FROM (
  SELECT interface_id, srcaddr, dstaddr, max(src_subnet_name) AS src_subnet, max(dst_subnet_name) AS dst_subnet,
    count(*) AS flows, sum(CAST(packets AS DECIMAL(38, 0))) AS packets, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes
  FROM {flows}
  WHERE srcaddr IS NOT NULL AND ({ip} IS NULL OR srcaddr = {ip} OR dstaddr = {ip})
  GROUP BY interface_id, srcaddr, dstaddr
) AS pairs
GROUP BY srcaddr, dstaddr
ORDER BY bytes DESC, srcaddr, dstaddr
LIMIT {limit}
