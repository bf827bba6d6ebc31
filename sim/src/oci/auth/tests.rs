//! The verifier against signatures that the official OCI Python SDK made.

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::*;
use crate::oci::keys::public_der;

/// Made with the official OCI Python SDK 2.189.0; the client's own signer is tested with them too.
const VECTORS: &str = include_str!("../../../../tests/data/oci-signing-vectors.json");

#[derive(Deserialize)]
struct Vectors {
    date: String,
    public_key_pem: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    url: String,
    body: Option<String>,
    enforce_content_headers: bool,
    authorization: String,
    sent_headers: std::collections::BTreeMap<String, String>,
}

/// A request of the vectors, open to tampering.
struct Request {
    name: String,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
    rule: BodyRule,
}

impl Request {
    fn verify(&self, keys: &Keyring, now: Timestamp) -> Result<(), ApiError> {
        let head = Head {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
        };
        verify(&head, self.rule, keys, now)?;
        match self.rule {
            BodyRule::Signed => verify_body(&self.headers, &self.body),
            BodyRule::Unsigned => Ok(()),
        }
    }

    fn set(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
    }
}

fn requests() -> (Vec<Request>, Keyring, Timestamp) {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    let now = DateTimeParser::new()
        .parse_timestamp(vectors.date.as_bytes())
        .expect("the date of the vectors");
    let keys = Keyring::default();
    let requests = vectors.cases.into_iter().map(|case| {
        let signature = Signature::parse(&case.authorization).expect("a signature");
        keys.register(
            signature.key_id,
            public_der(&vectors.public_key_pem).expect("a public key"),
        );
        let mut headers = HeaderMap::new();
        for (name, value) in case.sent_headers {
            headers.insert(
                HeaderName::try_from(name).expect("a header name"),
                HeaderValue::try_from(value).expect("a header value"),
            );
        }
        headers.insert(
            "authorization",
            HeaderValue::try_from(case.authorization).expect("a header value"),
        );
        Request {
            rule: match case.method.as_str() {
                "POST" if case.enforce_content_headers => BodyRule::Signed,
                _ => BodyRule::Unsigned,
            },
            method: case.method.parse().expect("a method"),
            uri: case.url.parse().expect("a URL"),
            headers,
            body: case.body.unwrap_or_default().into_bytes(),
            name: case.name,
        }
    });
    (requests.collect(), keys, now)
}

#[test]
fn what_the_official_sdk_signed_is_accepted() {
    let (requests, keys, now) = requests();
    assert_eq!(requests.len(), 9);
    for request in requests {
        let verdict = request.verify(&keys, now);
        assert!(verdict.is_ok(), "{}: {verdict:?}", request.name);
    }
}

#[test]
fn one_changed_byte_of_a_signed_header_is_refused() {
    let (requests, keys, now) = requests();
    for mut request in requests {
        request.set("host", "objectstorage.us-ashburn-2.oraclecloud.com");
        assert!(request.verify(&keys, now).is_err(), "{}", request.name);
    }
}

#[test]
fn another_path_query_method_or_key_is_refused() {
    let (requests, keys, now) = requests();
    for mut request in requests {
        request.uri = format!("{}x", request.uri).parse().expect("a URL");
        assert!(request.verify(&keys, now).is_err(), "{}", request.name);
    }
    let (requests, keys, now) = self::requests();
    for mut request in requests {
        request.method = Method::PATCH;
        assert!(request.verify(&keys, now).is_err(), "{}", request.name);
        assert!(request.verify(&Keyring::default(), now).is_err());
    }
}

#[test]
fn a_date_more_than_five_minutes_off_is_refused() {
    let (requests, keys, now) = requests();
    for request in requests {
        for (seconds, good) in [(299, true), (-299, true), (301, false), (-301, false)] {
            let then = now + SignedDuration::from_secs(seconds);
            assert_eq!(request.verify(&keys, then).is_ok(), good, "{seconds}");
        }
    }
}

#[test]
fn x_date_wins_over_date_and_must_be_signed() {
    let (mut requests, keys, now) = requests();
    requests[0].set("x-date", "Thu, 05 Jan 2034 21:31:40 GMT");
    assert!(requests[0].verify(&keys, now).is_err());
}

#[test]
fn a_post_must_sign_its_body() {
    let (requests, keys, now) = requests();
    for mut request in requests {
        if request.rule == BodyRule::Signed {
            request.body.push(b' ');
        } else {
            // Signed as a GET is, sent where a POST is expected.
            request.rule = BodyRule::Signed;
        }
        assert!(request.verify(&keys, now).is_err(), "{}", request.name);
    }
}

#[test]
fn no_signature_another_scheme_or_another_algorithm_is_refused() {
    let (mut requests, keys, now) = requests();
    let request = &mut requests[0];
    let genuine = request.headers["authorization"]
        .to_str()
        .expect("text")
        .to_owned();
    for forged in [
        genuine.replace("Signature ", "Bearer "),
        genuine.replace("rsa-sha256", "hmac-sha256"),
        genuine.replace("version=\"1\"", "version=\"2\""),
        genuine.replace("date (request-target) host", "date (request-target)"),
    ] {
        assert_ne!(forged, genuine);
        request.set("authorization", &forged);
        assert!(request.verify(&keys, now).is_err(), "{forged}");
    }
    request.headers.remove("authorization");
    assert!(request.verify(&keys, now).is_err());
}
