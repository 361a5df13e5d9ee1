-- Connections that stayed open
-- The same two addresses and ports for --at-least minutes (60), with a record for at least every 20 minutes: a flow log has
-- one for each 10 minutes, or 1, in which there was traffic. Tunnels, remote shells and beacons look so, and so do databases
-- and replication. A connection that was mostly silent is not shown.
SELECT srcaddr, srcport, dstaddr, dstport, protocol_name, count(*) AS records, sum(bytes) AS bytes,
  min("timestamp") AS first_seen, max("timestamp") AS last_seen,
  date_diff('minute', min("timestamp"), max("timestamp")) AS minutes
FROM {flows}
WHERE srcaddr IS NOT NULL AND action = 'ACCEPT'
GROUP BY srcaddr, srcport, dstaddr, dstport, protocol_name
HAVING date_diff('minute', min("timestamp"), max("timestamp")) >= {at_least:60}
  AND count(*) * 20 >= date_diff('minute', min("timestamp"), max("timestamp"))
ORDER BY minutes DESC, bytes DESC, srcaddr, srcport
LIMIT {limit}
