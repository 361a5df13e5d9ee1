-- Port scans
-- Who tried many ports of one address (--at-least, 20) with at most 3 packets each: how many ports, how many of them were
-- let through. Answers, from ports below 1024 to others and from others to ports from 32768 on, are left out, and with them
-- scans that look so. Not seen: one port of many hosts (ask rejected-by-port), a scan from many addresses, one slower than
-- the time that is asked, and ports where more than 3 packets went within a record, such as those where somebody stayed.
SELECT srcaddr, dstaddr, count(DISTINCT dstport) AS ports,
  count(DISTINCT CASE WHEN action = 'ACCEPT' THEN dstport END) AS accepted_ports, min(dstport) AS lowest_port,
  max(dstport) AS highest_port, sum(packets) AS packets, min("timestamp") AS first_seen, max("timestamp") AS last_seen
FROM {flows}
WHERE packets <= 3 AND NOT (srcport < 1024 AND dstport >= 1024) AND NOT (srcport < 32768 AND dstport >= 32768)
GROUP BY srcaddr, dstaddr
HAVING count(DISTINCT dstport) >= {at_least}
ORDER BY ports DESC, srcaddr, dstaddr
LIMIT {limit}
