-- Pairs of addresses by bytes
-- Who sent most to whom, with --ip only what went to or came from it. A flow between two interfaces that both keep flow
-- logs is recorded at both; of such pairs the larger record counts, not the sum. NAT gateways and load balancers stand
-- for those behind them.
SELECT srcaddr, src_subnet, dstaddr, dst_subnet, max(flows) AS flows, max(packets) AS packets, max(bytes) AS bytes
FROM (
  SELECT interface_id, srcaddr, dstaddr, max(src_subnet_name) AS src_subnet, max(dst_subnet_name) AS dst_subnet,
    count(*) AS flows, sum(packets) AS packets, sum(bytes) AS bytes
  FROM {flows}
  WHERE srcaddr IS NOT NULL AND ({ip?} IS NULL OR srcaddr = {ip?} OR dstaddr = {ip?})
  GROUP BY interface_id, srcaddr, dstaddr
) AS pairs
GROUP BY srcaddr, src_subnet, dstaddr, dst_subnet
ORDER BY bytes DESC, srcaddr, dstaddr
LIMIT {limit}
