-- Connections that stayed open
-- The same two addresses and ports for --at-least minutes (60), with a record in as many stretches of 20 minutes as lie
-- between the first and the last: a flow log has one for each 10 minutes, or 1, in which there was traffic. Tunnels, remote
-- shells and beacons look so, and so do databases, replication, and what uses fixed ports at both ends (NTP, syslog). A
-- connection that was silent for longer is not shown, and none that is longer than the time that is asked.
SELECT srcaddr, srcport, dstaddr, dstport, protocol_name, count(*) AS records,
  sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen, max("timestamp") AS last_seen,
  CAST(floor(date_diff('millisecond', min("timestamp"), max("timestamp")) / 6e4) AS BIGINT) AS minutes
FROM {flows}
WHERE srcaddr IS NOT NULL AND action = 'ACCEPT'
GROUP BY srcaddr, srcport, dstaddr, dstport, protocol_name
HAVING date_diff('millisecond', min("timestamp"), max("timestamp")) >= {at_least} * 60000
  AND count(DISTINCT floor(date_diff('millisecond', TIMESTAMP '1970-01-01 00:00:00', "timestamp") / 12e5)) * 1200000
    >= date_diff('millisecond', min("timestamp"), max("timestamp"))
ORDER BY minutes DESC, bytes DESC, srcaddr, srcport, dstaddr, dstport, protocol_name
LIMIT {limit}
