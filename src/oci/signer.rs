//! Signs requests the way Oracle does: the HTTP signatures of draft-cavage-http-signatures-08
//! with RSA-SHA256, as described under "Request Signatures" of the OCI API documentation.
//!
//! The body of an object is not signed, because it is streamed; every other body is.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::HeaderValue;

use super::error::{Error, Result};

/// A key together with the name the service knows it by. `Debug` shows neither.
pub struct Signer {
    key_id: String,
    key: KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(hidden)")
    }
}

/// What of a request is signed, each as it is sent.
pub(super) struct Signed<'a> {
    pub(super) method: &'a Method,
    /// The path with its query.
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    pub(super) date: &'a str,
    pub(super) content: Option<SignedContent<'a>>,
}

/// The headers of a body that is signed.
pub(super) struct SignedContent<'a> {
    pub(super) length: usize,
    pub(super) media_type: &'a str,
    /// The SHA-256 of the body in base64.
    pub(super) sha256: &'a str,
}

impl Signed<'_> {
    /// The value of `headers=` and the text that is signed.
    fn text(&self) -> (&'static str, String) {
        let method = self.method.as_str().to_ascii_lowercase();
        let head = format!(
            "date: {}\n(request-target): {method} {}\nhost: {}",
            self.date, self.target, self.host
        );
        match &self.content {
            None => ("date (request-target) host", head),
            Some(content) => (
                "date (request-target) host content-length content-type x-content-sha256",
                format!(
                    "{head}\ncontent-length: {}\ncontent-type: {}\nx-content-sha256: {}",
                    content.length, content.media_type, content.sha256
                ),
            ),
        }
    }
}

impl Signer {
    pub(super) fn new(key_id: String, key: KeyPair) -> Self {
        Self { key_id, key }
    }

    #[cfg(test)]
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Whether both sign with the same key under the same name.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key_id == other.key_id
            && self.key.public_key().as_ref() == other.key.public_key().as_ref()
    }

    /// The value of the `Authorization` header.
    pub(super) fn authorization(&self, request: &Signed<'_>) -> Result<HeaderValue> {
        let (headers, text) = request.text();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error::Signing)?;

        let value = format!(
            "Signature algorithm=\"rsa-sha256\",headers=\"{headers}\",keyId=\"{}\",\
             signature=\"{}\",version=\"1\"",
            self.key_id,
            STANDARD.encode(signature)
        );
        let mut value = HeaderValue::try_from(value).map_err(|_| Error::Signing)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::private_key;
    use super::super::testing::{Case, vectors};
    use super::*;

    fn authorization(case: &Case, signer: &Signer) -> String {
        let url = reqwest::Url::parse(&case.url).unwrap();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let signs_content = case.signed_headers.len() > 3;
        let content = signs_content.then(|| SignedContent {
            length: case.body.as_deref().unwrap_or_default().len(),
            media_type: "application/json",
            sha256: &case.sent_headers["x-content-sha256"],
        });
        let request = Signed {
            method: &case.method.parse().unwrap(),
            target: &target,
            host: url.host_str().unwrap(),
            date: &case.sent_headers["date"],
            content,
        };
        assert_eq!(request.text().1, case.signing_string, "{}", case.name);
        signer
            .authorization(&request)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn signatures_equal_those_of_the_official_sdk_byte_for_byte() {
        let vectors = vectors();
        let keys = [
            private_key::parse(&vectors.private_key_pkcs1_pem, None),
            private_key::parse(&vectors.private_key_pkcs8_pem, None),
            private_key::parse(
                &vectors.private_key_pkcs8_encrypted_pem,
                Some(&vectors.passphrase),
            ),
        ];
        for key in keys {
            let mut signer = Signer::new(vectors.key_id.clone(), key.unwrap());
            for case in &vectors.cases {
                signer.key_id = case.key_id(&vectors.key_id);
                assert_eq!(
                    authorization(case, &signer),
                    case.authorization,
                    "{}",
                    case.name
                );
            }
        }
        assert_eq!(vectors.cases.len(), 9);
    }

    #[test]
    fn debug_hides_the_key_and_its_name() {
        let vectors = vectors();
        let key = private_key::parse(&vectors.private_key_pkcs8_pem, None).unwrap();
        let shown = format!("{:?}", Signer::new("ST$secret".into(), key));
        assert_eq!(shown, "Signer(hidden)");
    }
}
