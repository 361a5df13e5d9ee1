//! Tests of the requests to EC2 and of its responses, with pages in the form that AWS documents.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use flowherd_shared::{
    error::error_chain,
    names::merge::{Named, Part},
};

use super::*;

const QUICK: Retries = Retries {
    first: Duration::from_millis(1),
    limit: Duration::from_millis(2),
    attempts: 3,
    attempt: Duration::from_mins(1),
};
const SECRET: &str = "wJalrXUtnFEMI";
const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2Vj";
const DENIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>UnauthorizedOperation</Code>\
    <Message>You are not authorized to perform this operation.</Message></Error></Errors><RequestID>1</RequestID></Response>";
const THROTTLED: &str = "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>\
    </Error></Errors><RequestID>1</RequestID></Response>";

/// A request: its head and its form.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    form: Vec<(String, String)>,
}

impl Request {
    fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    fn action(&self) -> &str {
        self.get("Action").unwrap()
    }
}

/// A server that ends with the test process.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `respond` receives a request and the number of earlier requests of its action.
    fn start(respond: impl Fn(&Request, usize) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                let Some(request) = read(&mut BufReader::new(&connection)) else { continue };
                let mut seen = seen.lock().unwrap();
                let before = seen.iter().filter(|other| other.action() == request.action()).count();
                let (status, body) = respond(&request, before);
                seen.push(request);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = (&connection).write_all((head + &body).as_bytes());
            }
        });
        Self { endpoint, requests }
    }

    fn read_names(&self) -> Result<Inventory, ApiError> {
        let credentials =
            Credentials::new("AKIDEXAMPLE", SECRET, Some(SESSION_TOKEN.to_owned()), None, "test");
        let provider = SharedCredentialsProvider::new(credentials);
        let config =
            SdkConfig::builder().region(Region::new("eu-west-1")).endpoint_url(&self.endpoint).build();
        let mut client = ApiClient::new(&config, Some(provider), QUICK, &[EC2, STS])?;
        Runtime::new().unwrap().block_on(read_inventory(&mut client))
    }

    fn requests(&self, action: &str) -> Vec<Request> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| request.action() == action).cloned().collect()
    }
}

fn read(connection: &mut impl BufRead) -> Option<Request> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if connection.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(Request { head, form: form_urlencoded::parse(&body).into_owned().collect() })
}

fn response(action: &str, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n  \
         <requestId>8f7724cf-496f-496e-8fe3-example</requestId>\n  {content}\n</{action}Response>"
    )
}

fn tag(name: &str) -> String {
    format!(
        "<tagSet><item><key>Team</key><value>x</value></item><item><key>Name</key><value>{name}</value></item></tagSet>"
    )
}

fn interface(id: &str, content: &str) -> String {
    format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>\
         <ownerId>123456789012</ownerId>{content}</item>"
    )
}

/// Returns a page with everything that an interface can belong to.
fn page(action: &str) -> String {
    let attached = |instance: &str| {
        format!("<description/><attachment><instanceId>{instance}</instanceId></attachment>")
    };
    let kind = |kind: &str, description: &str| {
        format!("<description>{description}</description><interfaceType>{kind}</interfaceType><tagSet/>")
    };
    let content = match action {
        "GetCallerIdentity" => {
            return "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
                <Arn>arn:aws:iam::123456789012:user/a</Arn><UserId>A</UserId><Account>123456789012</Account>\
                </GetCallerIdentityResult></GetCallerIdentityResponse>"
                .to_owned();
        }
        "DescribeInstances" => format!(
            "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>{}</item><item><instanceId>i-2</instanceId>\
             </item></instancesSet></item></reservationSet>",
            tag("web &amp; api")
        ),
        "DescribeNatGateways" => format!(
            "<natGatewaySet><item><natGatewayId>nat-1</natGatewayId><natGatewayAddressSet><item><networkInterfaceId>eni-nat\
             </networkInterfaceId></item></natGatewayAddressSet>{}</item></natGatewaySet>",
            tag("egress")
        ),
        "DescribeVpcEndpoints" => "<vpcEndpointSet><item><vpcEndpointId>vpce-1</vpcEndpointId><serviceName>\
             com.amazonaws.eu-west-1.sqs</serviceName><networkInterfaceIdSet><item>eni-endpoint</item></networkInterfaceIdSet>\
             </item></vpcEndpointSet>"
            .to_owned(),
        "DescribeNetworkInterfaces" => {
            let all = [
                interface("eni-own", &(attached("i-1") + &tag("own"))),
                interface("eni-instance", &attached("i-1")),
                interface("eni-unnamed", &attached("i-2")),
                interface("eni-nat", &kind("nat_gateway", "Interface for NAT Gateway nat-1")),
                interface("eni-endpoint", &kind("vpc_endpoint", "VPC Endpoint Interface vpce-1")),
                interface("eni-alb", &kind("interface", "ELB app/shop/50dc6c495c0c9188")),
                interface("eni-classic", &kind("interface", "ELB legacy")),
                interface("eni-lambda", &kind("lambda", "AWS Lambda VPC ENI-f-1")),
                interface("eni-none", "<description/>"),
            ];
            format!("<networkInterfaceSet>{}</networkInterfaceSet>", all.concat())
        }
        "DescribeSubnets" => format!(
            "<subnetSet><item><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/24</cidrBlock>\
             <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8::/64</ipv6CidrBlock><ipv6CidrBlockState><state>associated\
             </state></ipv6CidrBlockState></item><item><ipv6CidrBlock>2001:db8:1::/64</ipv6CidrBlock><ipv6CidrBlockState><state>\
             disassociated</state></ipv6CidrBlockState></item></ipv6CidrBlockAssociationSet><ownerId>123456789012</ownerId>{}\
             </item></subnetSet>",
            tag("public-a")
        ),
        "DescribeVpcs" => "<vpcSet><item><vpcId>vpc-1</vpcId><ownerId>123456789012</ownerId></item></vpcSet>".to_owned(),
        other => panic!("no page for {other}"),
    };
    response(action, &content)
}

fn names(inventory: &Inventory) -> Vec<(&str, &str)> {
    let interfaces = &inventory.reading.parts[&Part::Interfaces];
    interfaces.iter().map(|(id, named)| (&**id, &*named.name)).collect()
}

#[test]
fn an_interface_has_its_own_name_or_that_of_what_it_belongs_to() {
    let server = Server::start(|request, _| (200, page(request.action())));
    let inventory = server.read_names().unwrap();
    assert!(inventory.failures.is_empty(), "{:?}", inventory.failures);
    let expected = [
        ("eni-alb", "app/shop"),
        ("eni-classic", "legacy"),
        ("eni-endpoint", "vpce-1 com.amazonaws.eu-west-1.sqs"),
        ("eni-instance", "web & api"),
        ("eni-lambda", "AWS Lambda VPC ENI-f-1"),
        ("eni-nat", "egress"),
        ("eni-none", ""),
        ("eni-own", "own"),
        ("eni-unnamed", "i-2"),
    ];
    assert_eq!(names(&inventory), expected);
    let reading = &inventory.reading;
    assert_eq!((&*reading.account, &*reading.region), ("123456789012", "eu-west-1"));
    let subnet = Named {
        name: "public-a".to_owned(),
        owner: Some("123456789012".to_owned()),
        vpc_id: Some("vpc-1".to_owned()),
        cidrs: vec!["10.0.0.0/24".to_owned(), "2001:db8::/64".to_owned()],
        ..Named::default()
    };
    assert_eq!(reading.parts[&Part::Subnets]["subnet-1"], subnet);
    assert_eq!(reading.parts[&Part::Vpcs]["vpc-1"].name, "");
    // Every request is signed.
    for request in server.requests.lock().unwrap().iter() {
        let head = request.head.to_ascii_lowercase();
        let service = if request.action() == "GetCallerIdentity" { "sts" } else { "ec2" };
        assert!(head.contains(&format!("/eu-west-1/{service}/aws4_request")), "{head}");
    }
}

#[test]
fn all_pages_are_read() {
    let server = Server::start(|request, _| {
        if request.action() != "DescribeNetworkInterfaces" {
            return (200, page(request.action()));
        }
        let number: usize =
            request.get("NextToken").map_or(0, |token| token["page+".len()..].parse().unwrap());
        let next =
            if number < 2 { format!("<nextToken>page+{}</nextToken>", number + 1) } else { String::new() };
        let item = interface(&format!("eni-{number}"), "<description>d</description>");
        (200, response(request.action(), &format!("<networkInterfaceSet>{item}</networkInterfaceSet>{next}")))
    });
    let inventory = server.read_names().unwrap();
    assert_eq!(names(&inventory), [("eni-0", "d"), ("eni-1", "d"), ("eni-2", "d")]);
    let requests = server.requests("DescribeNetworkInterfaces");
    let tokens: Vec<Option<&str>> = requests.iter().map(|request| request.get("NextToken")).collect();
    assert_eq!(tokens, [None, Some("page+1"), Some("page+2")]);
    assert!(requests.iter().all(|request| request.get("MaxResults") == Some("1000")));
}

#[test]
fn throttled_requests_are_sent_again() {
    let server = Server::start(|request, before| match (request.action(), before) {
        ("DescribeInstances", 0) => (500, "<html>".to_owned()),
        ("DescribeSubnets", 0 | 1) | ("DescribeVpcs", _) => (503, THROTTLED.to_owned()),
        (action, _) => (200, page(action)),
    });
    let inventory = server.read_names().unwrap();
    assert!(inventory.reading.parts.contains_key(&Part::Subnets));
    let [(resource, error)] = &*inventory.failures else { panic!("{:?}", inventory.failures) };
    assert_eq!(*resource, Resource::Vpcs);
    assert!(matches!(error, ApiError::Throttled { attempts: 3, .. }), "{error}");
    let count = |action| server.requests(action).len();
    assert_eq!([count("DescribeSubnets"), count("DescribeInstances"), count("DescribeVpcs")], [3, 2, 3]);
}

#[test]
fn parts_that_an_account_may_not_read_stay_unread_and_names_are_provisional() {
    let server = Server::start(|request, _| match request.action() {
        "DescribeInstances" | "DescribeNatGateways" | "DescribeVpcEndpoints" | "DescribeSubnets" => {
            (403, DENIED.to_owned())
        }
        action => (200, page(action)),
    });
    let inventory = server.read_names().unwrap();
    assert_eq!(inventory.failures.len(), 4);
    assert_eq!(
        error_chain(&inventory.failures[0].1),
        "DescribeInstances is refused: UnauthorizedOperation: You are not authorized to perform this operation."
    );
    assert_eq!(server.requests("DescribeInstances").len(), 1, "it is not sent again");
    assert!(!inventory.reading.parts.contains_key(&Part::Subnets));
    let interfaces = &inventory.reading.parts[&Part::Interfaces];
    let provisional: Vec<&str> =
        interfaces.iter().filter(|(_, named)| named.is_provisional).map(|(id, _)| &**id).collect();
    assert_eq!(
        provisional,
        ["eni-endpoint", "eni-instance", "eni-lambda", "eni-nat", "eni-none", "eni-unnamed"]
    );
}

#[test]
fn an_interface_whose_resource_is_newer_than_its_list_has_a_provisional_name() {
    let server = Server::start(|request, _| {
        if request.action() != "DescribeNetworkInterfaces" {
            return (200, page(request.action()));
        }
        let kind = |id: &str, kind: &str, description: &str| {
            let kind =
                format!("<description>{description}</description><interfaceType>{kind}</interfaceType>");
            interface(id, &kind)
        };
        let all = [
            interface("eni-instance", "<attachment><instanceId>i-9</instanceId></attachment>"),
            kind("eni-nat-1", "natGateway", ""),
            kind("eni-nat-2", "nat_gateway", ""),
            kind("eni-nat-3", "interface", "Interface for NAT Gateway nat-9"),
            kind("eni-endpoint-1", "interface", "VPC Endpoint Interface: vpce-9"),
            kind("eni-endpoint-2", "gatewayLoadBalancerEndpoint", ""),
            kind("final", "interface", "ELB app/shop/50dc6c495c0c9188"),
            kind("final-2", "lambda", "AWS Lambda VPC ENI-f-1"),
        ];
        let all = format!("<networkInterfaceSet>{}</networkInterfaceSet>", all.concat());
        (200, response(request.action(), &all))
    });
    let inventory = server.read_names().unwrap();
    let interfaces = &inventory.reading.parts[&Part::Interfaces];
    assert_eq!(interfaces["eni-instance"].name, "i-9");
    assert_eq!(interfaces.len(), 8);
    for (id, named) in interfaces {
        assert_eq!(named.is_provisional, id.starts_with("eni-"), "{id}");
    }
}

#[test]
fn a_part_whose_second_page_fails_is_unread() {
    let server = Server::start(|request, _| match (request.action(), request.get("NextToken")) {
        ("DescribeVpcs", None) => {
            let content = "<vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet><nextToken>2</nextToken>";
            (200, response("DescribeVpcs", content))
        }
        ("DescribeVpcs", Some(_)) => (403, DENIED.to_owned()),
        (action, _) => (200, page(action)),
    });
    let inventory = server.read_names().unwrap();
    assert!(matches!(&*inventory.failures, [(Resource::Vpcs, ApiError::Refused { .. })]));
    assert!(!inventory.reading.parts.contains_key(&Part::Vpcs));
}

#[test]
fn a_region_that_does_not_know_the_credentials_is_named_as_a_cause() {
    let denied = DENIED.replace("UnauthorizedOperation", "AuthFailure");
    let server = Server::start(move |_, _| (401, denied.clone()));
    assert_eq!(
        server.read_names().unwrap_err().to_string(),
        "GetCallerIdentity is refused: AuthFailure: You are not authorized to perform this operation.; check the credentials, \
         and that the region exists and is enabled for the account"
    );
}

#[test]
fn settings_of_other_endpoints_are_not_ignored() {
    let client = |config: SdkConfig| {
        let credentials = SharedCredentialsProvider::new(Credentials::new("A", "s", None, None, "test"));
        ApiClient::new(&config, Some(credentials), QUICK, &[EC2, STS])
    };
    for (fips, expected) in [(true, "AWS_USE_FIPS_ENDPOINT"), (false, "AWS_USE_DUALSTACK_ENDPOINT")] {
        let config =
            || SdkConfig::builder().region(Region::new("us-gov-west-1")).use_fips(fips).use_dual_stack(!fips);
        let Err(ApiError::Endpoints { setting, variables }) = client(config().build()) else {
            panic!("{expected}")
        };
        assert_eq!((setting, &*variables), (expected, "AWS_ENDPOINT_URL_EC2 and AWS_ENDPOINT_URL_STS"));
        client(config().endpoint_url("https://ec2.example").build()).unwrap();
    }
}

#[test]
fn a_response_in_another_form_is_an_error_and_never_an_empty_list() {
    let wrong = [
        ("not XML".to_owned(), "the response is not XML"),
        ("<DescribeVpcsResponse/>".to_owned(), "the response has no vpcSet"),
        ("<R><vpcSet><item><vpcId/></item></vpcSet></R>".to_owned(), "an item of the response has no vpcId"),
        ("<R><vpcSet/><nextToken>x</nextToken></R>".to_owned(), "the response repeats the pagination token"),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><R><vpcSet/></R>".to_owned(), "the response is not XML"),
        (format!("<R><vpcSet>{}</vpcSet></R>", "<a/>".repeat(2_000_000)), "the response is not XML: "),
    ];
    for (xml, why) in wrong {
        let server = Server::start(move |request, _| match request.action() {
            "DescribeVpcs" => (200, xml.clone()),
            action => (200, page(action)),
        });
        let inventory = server.read_names().unwrap();
        let [(Resource::Vpcs, error)] = &*inventory.failures else { panic!("{:?}", inventory.failures) };
        assert!(error.to_string().contains(why), "{error}");
        assert!(!inventory.reading.parts.contains_key(&Part::Vpcs));
    }
}

#[test]
fn without_an_account_nothing_is_read() {
    let server = Server::start(|_, _| (403, DENIED.to_owned()));
    assert!(matches!(server.read_names(), Err(ApiError::Refused { action: "GetCallerIdentity", .. })));
    let unreachable = Server { endpoint: "http://127.0.0.1:1".to_owned(), requests: Arc::default() };
    let error = unreachable.read_names().unwrap_err();
    assert!(matches!(error, ApiError::NoResponse { .. }));
    // Errors show no credentials.
    let text = format!("{error:?} {}", error_chain(&error));
    assert!(!text.contains(SECRET) && !text.contains(SESSION_TOKEN), "{text}");
    // The account decides whose names end.
    let server = Server::start(|_, _| (200, "<R><Account>12345</Account></R>".to_owned()));
    let error = server.read_names().unwrap_err().to_string();
    assert_eq!(error, "GetCallerIdentity: unexpected response: the response has no Account of 12 digits");
}
