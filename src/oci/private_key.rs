//! Private keys as people have them on disk: PEM of PKCS#8, of PKCS#8 under a pass phrase
//! (PBES2), or of PKCS#1. The result is a key that signs; the key itself is never shown.

use aws_lc_rs::rsa::KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;

/// Why a private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// There is no complete PEM block of a private key.
    #[error("it is not a private key in PEM form")]
    NotPem,
    /// It is encrypted in the way of old OpenSSL versions.
    #[error(
        "it is encrypted in the legacy PKCS#1 way (Proc-Type: 4,ENCRYPTED); convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.pem -out NEW.pem`"
    )]
    LegacyEncryption,
    /// It is encrypted, and no pass phrase was given.
    #[error("it is encrypted, and there is no pass phrase (`pass_phrase`)")]
    PassPhraseMissing,
    /// It is encrypted with an algorithm that is out of use.
    #[error(
        "its encryption is not supported; convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.pem -out NEW.pem`"
    )]
    UnsupportedEncryption,
    /// The pass phrase does not open it.
    #[error("the pass phrase (`pass_phrase`) does not open it")]
    PassPhraseWrong,
    /// It is not an RSA key, too short, or damaged.
    #[error("it is not a usable RSA key of 2048 to 8192 bits")]
    NotRsa,
}

/// Reads the key out of the text of a PEM file. Text around the block is ignored, such as the
/// label that Oracle's console tells people to append. A pass phrase that is not needed is not
/// used.
pub(super) fn parse(text: &str, pass_phrase: Option<&str>) -> Result<KeyPair, PrivateKeyError> {
    let (label, body) = block(text).ok_or(PrivateKeyError::NotPem)?;
    if body.contains("ENCRYPTED") {
        return Err(PrivateKeyError::LegacyEncryption);
    }
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD
        .decode(base64)
        .map_err(|_| PrivateKeyError::NotPem)?;

    let key = match label {
        "RSA PRIVATE KEY" => KeyPair::from_der(&der),
        "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
        "ENCRYPTED PRIVATE KEY" => {
            let phrase = pass_phrase.ok_or(PrivateKeyError::PassPhraseMissing)?;
            KeyPair::from_pkcs8(decrypt(&der, phrase)?.as_bytes())
        }
        _ => return Err(PrivateKeyError::NotRsa),
    };
    key.map_err(|_| PrivateKeyError::NotRsa)
}

/// The label and the inside of the first PEM block that is a private key.
fn block(text: &str) -> Option<(&str, &str)> {
    let mut rest = text;
    loop {
        let (_, begun) = rest.split_once("-----BEGIN ")?;
        let (label, inside) = begun.split_once("-----")?;
        let (body, after) = inside.split_once(&format!("-----END {label}-----"))?;
        if label.ends_with("PRIVATE KEY") {
            return Some((label, body));
        }
        rest = after;
    }
}

fn decrypt(der: &[u8], phrase: &str) -> Result<pkcs8::SecretDocument, PrivateKeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| PrivateKeyError::UnsupportedEncryption)?;
    info.decrypt(phrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }) => {
            PrivateKeyError::UnsupportedEncryption
        }
        _ => PrivateKeyError::PassPhraseWrong,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::vectors;
    use super::*;

    #[test]
    fn the_usual_encodings_are_the_same_key() {
        use aws_lc_rs::signature::KeyPair as _;
        let vectors = vectors();
        let plain = parse(&vectors.private_key_pkcs1_pem, None).unwrap();
        let others = [
            parse(&vectors.private_key_pkcs8_pem, None),
            parse(&vectors.private_key_pkcs8_pem, Some("not needed")),
            parse(
                &vectors.private_key_pkcs8_encrypted_pem,
                Some(&vectors.passphrase),
            ),
        ];
        for other in others {
            assert_eq!(
                other.unwrap().public_key().as_ref(),
                plain.public_key().as_ref()
            );
        }
    }

    #[test]
    fn text_around_the_block_and_odd_line_ends_are_ignored() {
        let key = &vectors().private_key_pkcs8_pem;
        let dressed = format!("Bag Attributes\n{}OCI_API_KEY\n", key.replace('\n', "\r\n"));
        assert!(parse(&dressed, None).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told_apart() {
        use PrivateKeyError as Why;
        let vectors = vectors();
        let encrypted = vectors.private_key_pkcs8_encrypted_pem.as_str();
        let legacy = vectors.private_key_pkcs1_encrypted_pem.as_str();
        let truncated = &vectors.private_key_pkcs8_pem[..400];
        let ec = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let table = [
            (encrypted, None, Why::PassPhraseMissing),
            (encrypted, Some("wrong"), Why::PassPhraseWrong),
            (
                legacy,
                Some(vectors.passphrase.as_str()),
                Why::LegacyEncryption,
            ),
            (truncated, None, Why::NotPem),
            (vectors.public_key_pem.as_str(), None, Why::NotPem),
            (ec, None, Why::NotRsa),
            ("", None, Why::NotPem),
        ];
        for (text, phrase, why) in table {
            assert_eq!(parse(text, phrase).err(), Some(why));
        }
        assert!(
            Why::LegacyEncryption
                .to_string()
                .contains("openssl pkcs8 -topk8")
        );
    }
}
