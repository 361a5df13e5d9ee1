-- What the attacker's address and the web server did, in order of time.
SELECT strftime("timestamp", '%H:%M:%S') AS "time", log, what FROM (
  SELECT "timestamp", 'load balancer' AS log,
    request_verb || ' ' || request_url || ': ' || elb_status_code || ' (' || user_agent || ')' AS what
  FROM alb WHERE client_ip = '192.0.2.44'
  UNION ALL
  SELECT "timestamp", 'DNS', query_name || ' is ' || coalesce("address", rcode)
  FROM route53_resolver WHERE srcaddr = '10.8.1.15'
  UNION ALL
  SELECT "timestamp", 'flow log', dstaddr || ' port ' || dstport || ': ' || "bytes" || ' bytes, ' || action
  FROM vpc_flow WHERE srcaddr = '10.8.1.15'
  UNION ALL
  SELECT "timestamp", 'CloudTrail', event_name || ' as ' || principal_arn || coalesce(': ' || error_code, '')
  FROM cloudtrail WHERE source_ip_address = '192.0.2.44'
) AS events
ORDER BY "timestamp", log;
