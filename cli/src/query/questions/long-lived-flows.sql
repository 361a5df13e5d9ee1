-- Connections that stayed open
-- The same addresses and ports for at least --at-least minutes (60), with a record in every 20 minutes between the first and
-- the last. A flow log has one record for every 10 minutes, or every minute, with traffic. Tunnels, remote shells and beacons
-- look like this. So do databases, replication, and programs with fixed ports at both ends (NTP, syslog). With --ip and --port
-- only from or to that address or network, and on that port. Connections with longer silence, or longer than the time of the
-- question, are not shown.
SELECT srcaddr, srcport, dstaddr, dstport, protocol_name, count(*) AS records,
  sum(CAST(bytes AS DECIMAL(38, 0))) AS bytes, min("timestamp") AS first_seen, max("timestamp") AS last_seen,
  CAST(floor(date_diff('millisecond', min("timestamp"), max("timestamp")) / 6e4) AS BIGINT) AS minutes
FROM {flows}
WHERE srcaddr IS NOT NULL AND action = 'ACCEPT'{and_either_ip}{and_is_port}
GROUP BY srcaddr, srcport, dstaddr, dstport, protocol_name
HAVING date_diff('millisecond', min("timestamp"), max("timestamp")) >= {at_least} * 60000
  AND count(DISTINCT floor(date_diff('millisecond', TIMESTAMP '1970-01-01 00:00:00', "timestamp") / 12e5)) * 1200000
    >= date_diff('millisecond', min("timestamp"), max("timestamp"))
ORDER BY minutes DESC, bytes DESC, srcaddr, srcport, dstaddr, dstport, protocol_name
LIMIT {limit}
