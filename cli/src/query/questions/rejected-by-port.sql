-- Rejected traffic by port
-- What security groups and network ACLs turned away: how often, from how many addresses, to how many. With --ip only what
-- was meant for it. A rejected flow is one that was tried; that another was not tried cannot be seen here.
SELECT dstport AS port, protocol_name, count(*) AS flows, count(DISTINCT srcaddr) AS sources,
  count(DISTINCT dstaddr) AS targets, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE action = 'REJECT' AND ({ip} IS NULL OR dstaddr = {ip})
GROUP BY dstport, protocol_name
ORDER BY flows DESC, port, protocol_name
LIMIT {limit}
