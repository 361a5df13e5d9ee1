-- Pairs of addresses by bytes
-- The pairs with the most bytes, with --ip only from or to that address or network, with --port only on that port, including
-- rejected traffic. If both interfaces of a flow have flow logs, both record it: the larger record counts, not the sum. An
-- address that two VPCs use is one address, and the larger count remains. Flows through NAT gateways and load balancers have
-- the gateway's address.
SELECT srcaddr, max(src_subnet) AS src_subnet, dstaddr, max(dst_subnet) AS dst_subnet, max(flows) AS flows,
  max(packets) AS packets, max(bytes) AS bytes
FROM (
  SELECT interface_id, srcaddr, dstaddr, max(src_subnet_name) AS src_subnet, max(dst_subnet_name) AS dst_subnet,
    count(*) AS flows, sum(CAST(packets AS DECIMAL(38, 0))) AS packets, sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes
  FROM {flows}
  WHERE srcaddr IS NOT NULL{and_either_ip}{and_is_port}
  GROUP BY interface_id, srcaddr, dstaddr
) AS pairs
GROUP BY srcaddr, dstaddr
ORDER BY bytes DESC, srcaddr, dstaddr
LIMIT {limit}
