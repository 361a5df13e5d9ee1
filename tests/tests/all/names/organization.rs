//! `flowherd names --organization`.

use flowherd_tests::command::flowherd_in;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    PROGRAM,
    command::{empty, environment, server_of_requests},
};

#[test]
fn the_active_accounts_of_an_organization_are_read_with_a_role_in_each() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("names.json");
    let account = |id: &str, state: &str| {
        let arn = format!("arn:aws:organizations::111111111111:account/o-exampleorgid/{id}");
        json!({ "Id": id, "Arn": arn, "State": state })
    };
    // The page in the middle is empty, and the last one is throttled once.
    let mut listed = 0;
    let endpoint = server_of_requests(move |request| {
        let is_signed = |scope: &str| assert!(request.head.contains(scope), "{}", request.head);
        match &*request.action {
            "ListAccounts" => {
                is_signed("/us-east-1/organizations/aws4_request");
                let token = serde_json::from_str::<Value>(&request.body).unwrap()["NextToken"].clone();
                listed += 1;
                match (token.as_str(), listed) {
                    (None, _) => {
                        let own = [account("111111111111", "ACTIVE"), account("444444444444", "SUSPENDED")];
                        (200, json!({ "Accounts": own, "NextToken": "one" }).to_string())
                    }
                    (Some("one"), _) => (200, json!({ "Accounts": [], "NextToken": "two" }).to_string()),
                    (Some("two"), 3) => (400, r#"{"__type": "TooManyRequestsException"}"#.to_owned()),
                    (Some("two"), _) => {
                        let others = [account("333333333333", "ACTIVE"), account("222222222222", "ACTIVE")];
                        (200, json!({ "Accounts": others, "NextToken": null }).to_string())
                    }
                    other => panic!("{other:?}"),
                }
            }
            "AssumeRole" if request.body.contains("iam%3A%3A222222222222%3Arole%2Freader") => {
                let credentials = "<AccessKeyId>222222222222</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                    <SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>";
                let result =
                    format!("<AssumeRoleResult><Credentials>{credentials}</Credentials></AssumeRoleResult>");
                (200, format!("<AssumeRoleResponse>{result}</AssumeRoleResponse>"))
            }
            "AssumeRole" => {
                let error = "<Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>";
                (403, format!("<ErrorResponse>{error}</ErrorResponse>"))
            }
            action => {
                is_signed("/eu-west-1/");
                (200, empty(action, request.key()))
            }
        }
    });
    let environment = environment(&endpoint).into_iter().map(|(name, value)| {
        let key = name == "AWS_ACCESS_KEY_ID";
        (name, if key { "111111111111".to_owned() } else { value })
    });
    let environment: Vec<_> = environment.collect();
    let args = ["names", "--output", file.to_str().unwrap(), "--organization", "--role-name", "reader"];
    let ran = flowherd_in(PROGRAM, environment.clone(), args);
    assert_eq!((ran.status, ran.stderr.lines().count()), (1, 1), "{ran:?}");
    let why = "flowherd: account 333333333333, region ?, role reader: cannot load the credentials";
    assert!(ran.stderr.starts_with(why), "{ran:?}");
    assert!(
        ran.stderr.contains("not allowed") && ran.stderr.ends_with(". Its former names stay\n"),
        "{ran:?}"
    );
    for row in
        ["111111111111  eu-west-1  environment", "222222222222  eu-west-1  role reader", "333333333333  ?"]
    {
        assert!(ran.stdout.contains(row), "{ran:?}");
    }

    let twice = ["names", "--organization", "--role-arn", "arn:aws:iam::222222222222:role/r"];
    assert_eq!(flowherd_in(PROGRAM, environment, twice).status, 2);
    let denied = r#"{"__type": "com.amazonaws.organizations#AccessDeniedException", "Message": "no"}"#;
    let endpoint = server_of_requests(move |request| match &*request.action {
        "ListAccounts" => (400, denied.to_owned()),
        action => (200, empty(action, "111111111111")),
    });
    let ran = flowherd_in(PROGRAM, self::environment(&endpoint), args);
    let expected = "flowherd: cannot list the accounts of the organization; nothing was read: ListAccounts is refused: \
        AccessDeniedException: no\n";
    assert_eq!((ran.status, &*ran.stderr), (1, expected));
}
