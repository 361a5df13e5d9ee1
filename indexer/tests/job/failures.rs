//! Temporary failures of requests and documents: every row is in the cluster once.

use flowherd_indexer::{client::ClientError, job::IndexError, settings::Auth};

use crate::{
    fake_cluster::{FakeCluster, Reply},
    support::{assert_rows_once, assert_sum, gzip, index, object, row, settings},
};

#[test]
fn each_row_becomes_one_document() {
    let cluster = FakeCluster::start();
    let (counts, refused) = index(&settings(&cluster), &object(95));
    let counts = counts.unwrap();
    assert_rows_once(&cluster, 95);
    assert_eq!((counts.rows, counts.indexed, counts.existing, counts.refused), (95, 95, 0, 0));
    assert_eq!((counts.requests, counts.resent, refused.len()), (10, 0, 0));
}

#[test]
fn a_second_attempt_adds_nothing_and_counts_every_row_as_existing() {
    let cluster = FakeCluster::start();
    index(&settings(&cluster), &object(50)).0.unwrap();
    let counts = index(&settings(&cluster), &object(50)).0.unwrap();
    assert_rows_once(&cluster, 50);
    assert_eq!((counts.rows, counts.indexed, counts.existing), (50, 0, 50));
}

#[test]
fn exactly_the_documents_that_the_cluster_could_not_take_are_sent_again() {
    let cluster = FakeCluster::scripted([Reply::Items(vec![201, 429, 201, 503, 201])]);
    let mut settings = settings(&cluster);
    settings.max_in_flight = 1;
    let counts = index(&settings, &object(10)).0.unwrap();
    let rows: Vec<Vec<u64>> = cluster.requests().into_iter().map(|request| request.rows).collect();
    assert_eq!(rows, [(1..=10).collect(), vec![2, 4, 7, 9]]);
    assert_eq!((counts.indexed, counts.existing, counts.resent), (10, 0, 4));
    assert_rows_once(&cluster, 10);
}

#[test]
fn a_request_that_the_cluster_could_not_take_is_sent_again() {
    for failure in [
        Reply::status(429),
        Reply::status(503),
        Reply::status(502),
        Reply::status(504),
        Reply::Status { status: 429, retry_after: Some("0"), body: "too many requests" },
        Reply::Items(vec![429]),
        Reply::ResetInRequest,
    ] {
        let cluster = FakeCluster::scripted([failure.clone(), failure.clone()]);
        let counts = index(&settings(&cluster), &object(25)).0.unwrap();
        assert_rows_once(&cluster, 25);
        assert_eq!((counts.indexed, counts.existing), (25, 0), "{failure:?}");
    }
}

#[test]
fn documents_whose_outcome_is_not_known_are_sent_again_and_exist() {
    for failure in [Reply::ResetBeforeAnswer, Reply::ResetInAnswer, Reply::TruncatedJson, Reply::FewerItems] {
        let cluster = FakeCluster::scripted([failure.clone()]);
        let counts = index(&settings(&cluster), &object(25)).0.unwrap();
        assert_rows_once(&cluster, 25);
        assert_sum(&counts, 25);
        assert!(counts.existing > 0 && counts.existing == counts.resent, "{failure:?}: {counts:?}");
    }
}

#[test]
fn a_request_without_an_answer_is_sent_again_after_its_timeout() {
    let cluster = FakeCluster::scripted([Reply::Never]);
    let mut settings = settings(&cluster);
    settings.request_timeout = std::time::Duration::from_millis(300);
    let counts = index(&settings, &object(10)).0.unwrap();
    assert_rows_once(&cluster, 10);
    assert_eq!((counts.existing, counts.resent), (10, 10));
}

#[test]
fn refused_documents_have_the_reason_of_the_cluster_and_the_others_are_indexed() {
    let cluster = FakeCluster::start();
    let bad = "2026-02-18T09:00:00.000Z,not an address,3,web\n";
    let (counts, refused) = index(&settings(&cluster), &gzip(&[&row(1), &row(2), bad, &row(4)].concat()));
    let counts = counts.unwrap();
    assert_sum(&counts, 4);
    assert_eq!((counts.indexed, counts.refused), (3, 1));
    assert_eq!(cluster.rows(), [1, 2, 4]);
    let [refused] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((refused.row, &*refused.reason), (3, "mapper_parsing_exception"));
    assert_eq!(refused.detail, "failed to parse field [srcaddr] of type [ip]");
    let document: serde_json::Value = serde_json::from_slice(&refused.document).unwrap();
    assert_eq!((&document["srcaddr"], &document["flowherd.row"]), (&"not an address".into(), &3.into()));
}

#[test]
fn a_row_whose_timestamp_names_no_index_is_refused_without_a_request() {
    let cluster = FakeCluster::start();
    let (counts, refused) =
        index(&settings(&cluster), &gzip(&format!("yesterday,10.0.0.1,1,web\n{}", row(2))));
    assert_eq!((counts.unwrap().refused, &*refused[0].reason), (1, "bad-timestamp"));
    assert_eq!(cluster.rows(), [2]);
}

#[test]
fn a_refusal_that_concerns_all_documents_ends_the_attempt_and_names_what_to_check() {
    let error = r#"{"error":{"type":"security_exception","reason":"no permissions"},"status":403}"#;
    for (status, body, parts) in [
        (401, "", &["401", "authentication"][..]),
        (403, error, &["403", "security_exception: no permissions", "create documents"]),
        (404, "", &["404", "address"]),
        (400, r#"{"error":"what is this"}"#, &["400", "what is this"]),
        (302, "", &["302"]),
    ] {
        let cluster = FakeCluster::scripted([Reply::Status { status, retry_after: None, body }]);
        let error = index(&settings(&cluster), &object(5)).0.unwrap_err();
        assert!(matches!(error, IndexError::Refused(_)) && !error.can_retry(), "{error:?}");
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(cluster.requests().len(), 1, "{status}");
    }
}

#[test]
fn documents_of_an_index_that_does_not_exist_do_not_become_rejects() {
    let cluster = FakeCluster::scripted([Reply::Items(vec![201, 404])]);
    let (outcome, refused) = index(&settings(&cluster), &object(5));
    assert!(matches!(outcome, Err(IndexError::Refused(ClientError::Index { .. }))), "{outcome:?}");
    assert!(refused.is_empty());
}

#[test]
fn requests_authenticate_and_no_error_shows_the_credentials() {
    for (auth, header) in [
        (Auth::Basic { user: "writer".into(), password: "hunter2".into() }, "Basic d3JpdGVyOmh1bnRlcjI="),
        (Auth::ApiKey("aHVudGVyMg==".into()), "ApiKey aHVudGVyMg=="),
    ] {
        let cluster = FakeCluster::scripted([Reply::Accept, Reply::status(401)]);
        let mut settings = settings(&cluster);
        settings.auth = auth;
        settings.max_in_flight = 1;
        let error = index(&settings, &object(20)).0.unwrap_err();
        assert_eq!(cluster.requests()[0].authorization.as_deref(), Some(header));
        let shown = format!("{settings:?} {error:?} {error}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("aHVudGVyMg") && !shown.contains(header),
            "{shown}"
        );
    }
}

#[test]
fn a_signed_request_names_service_and_region_and_signs_the_body() {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use flowherd_indexer::settings::SigningService;

    for service in [SigningService::Es, SigningService::Aoss] {
        let cluster = FakeCluster::start();
        let mut settings = settings(&cluster);
        let credentials = Credentials::new("AKIDEXAMPLE", "hunter2", Some("token".into()), None, "test");
        settings.auth = Auth::SigV4 {
            service,
            region: "eu-central-1".into(),
            credentials: SharedCredentialsProvider::new(credentials),
        };
        index(&settings, &object(5)).0.unwrap();
        let authorization = cluster.requests()[0].authorization.clone().unwrap();
        let scope = format!("/eu-central-1/{}/aws4_request", service.as_str());
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        assert!(authorization.contains(&scope), "{authorization}");
        for signed in ["content-encoding", "content-type", "x-amz-content-sha256", "x-amz-security-token"] {
            assert!(authorization.contains(signed), "{signed}: {authorization}");
        }
    }
}

#[test]
fn a_damaged_object_fails_after_the_rows_before_the_damage() {
    let cluster = FakeCluster::start();
    let object = object(500);
    let error = index(&settings(&cluster), &object[..object.len() - 20]).0.unwrap_err();
    assert!(matches!(error, IndexError::Damaged(_)) && !error.can_retry(), "{error:?}");
}

#[test]
fn an_object_of_another_table_is_refused_before_any_request() {
    let cluster = FakeCluster::start();
    let mut deflater = flowherd_deflate::Deflater::default();
    let error = index(&settings(&cluster), deflater.member(b"timestamp,other\n")).0.unwrap_err();
    assert!(matches!(error, IndexError::Columns(_)), "{error:?}");
    assert!(cluster.requests().is_empty());
}
