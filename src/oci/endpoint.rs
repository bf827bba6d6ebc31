//! Where Object Storage is, and how the URL of a link is put together. Pure text, no I/O.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::error::{Error, Result};
use super::names::{BucketName, Namespace, ObjectName, SecretUrl, encode};

/// The domain of the first realm, which is also that of a region this program does not know.
const FIRST_REALM: &str = "oraclecloud.com";

/// The domains of the other realms with their regions, from Oracle's SDKs.
const OTHER_REALMS: &[(&str, &[&str])] = &[
    (
        "oraclegovcloud.com",
        &[
            "us-langley-1",
            "us-luke-1",
            "us-gov-ashburn-1",
            "us-gov-chicago-1",
            "us-gov-phoenix-1",
        ],
    ),
    (
        "oraclegovcloud.uk",
        &["uk-gov-london-1", "uk-gov-cardiff-1"],
    ),
    ("oraclecloud8.com", &["ap-chiyoda-1", "ap-ibaraki-1"]),
    ("oraclecloud9.com", &["me-dcc-muscat-1", "me-ibri-1"]),
    ("oraclecloud10.com", &["ap-dcc-canberra-1"]),
    (
        "oraclecloud14.com",
        &[
            "eu-dcc-milan-1",
            "eu-dcc-milan-2",
            "eu-dcc-dublin-1",
            "eu-dcc-dublin-2",
            "eu-dcc-rating-1",
            "eu-dcc-rating-2",
        ],
    ),
    ("oraclecloud15.com", &["ap-dcc-gazipur-1"]),
    ("oraclecloud.eu", &["eu-madrid-2", "eu-frankfurt-2"]),
    ("oraclecloud20.com", &["eu-jovanovac-1"]),
    ("oraclecloud21.com", &["me-dcc-doha-1", "me-alrayyan-1"]),
    ("oraclecloud23.com", &["us-somerset-1", "us-thames-1"]),
    ("oraclecloud24.com", &["eu-dcc-zurich-1", "eu-crissier-1"]),
    ("oraclecloud26.com", &["me-abudhabi-3", "me-alain-1"]),
    ("oraclecloud29.com", &["me-abudhabi-2", "me-abudhabi-4"]),
    (
        "oraclecloud35.com",
        &["ap-seoul-2", "ap-suwon-1", "ap-chuncheon-2"],
    ),
    ("oraclecloud42.com", &["us-ashburn-2", "us-newark-1"]),
    ("oraclecloud51.com", &["eu-budapest-1"]),
    ("oraclecloud52.com", &["sa-riodejaneiro-1"]),
];

/// The name of a region, such as `eu-frankfurt-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// Checks and takes the name.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] if it cannot be a part of a host name.
    pub fn new(name: &str) -> Result<Self> {
        let name = name.trim().to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(allowed) {
            return Err(Error::InvalidEndpoint {
                what: "region",
                why: "a name such as eu-frankfurt-1 is expected",
            });
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn realm_domain(&self) -> &'static str {
        OTHER_REALMS
            .iter()
            .find(|(_, regions)| regions.contains(&self.as_str()))
            .map_or(FIRST_REALM, |(domain, _)| domain)
    }
}

/// The address of Object Storage: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    base: String,
    host: String,
}

impl Endpoint {
    /// The public endpoint of a region.
    ///
    /// # Errors
    /// None in practice; a [`Region`] always makes a host name.
    pub fn of_region(region: &Region) -> Result<Self> {
        let (name, domain) = (region.as_str(), region.realm_domain());
        Self::at(&format!("https://objectstorage.{name}.{domain}"))
    }

    /// Any other address, such as a dedicated endpoint or a stand-in (`http://127.0.0.1:9000`).
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] unless it is `http` or `https` with nothing after the port.
    pub fn at(url: &str) -> Result<Self> {
        let invalid = |why| Error::InvalidEndpoint {
            what: "Object Storage endpoint",
            why,
        };
        let url = web_address(url).map_err(invalid)?;
        if url.path() != "/" {
            return Err(invalid("nothing may follow the host and port"));
        }
        let authority = authority(&url);
        Ok(Self {
            base: format!("{}://{authority}", url.scheme()),
            host: authority,
        })
    }

    /// Scheme, host and port, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The `Host` header: the port is there unless it is the scheme's own.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// What the URLs of links begin with when the service does not say (`OCI_BASE_PAR_URL`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkBase(String);

impl LinkBase {
    /// Takes a base. Whatever it has from the path segment `p` on is cut, because that is where
    /// the service's own path begins.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] unless it is an `http` or `https` URL.
    pub fn new(url: &str) -> Result<Self> {
        let url = web_address(url).map_err(|why| Error::InvalidEndpoint {
            what: "base URL of links",
            why,
        })?;
        let kept: Vec<&str> = url
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .take_while(|segment| *segment != "p")
            .collect();
        let mut base = format!("{}://{}", url.scheme(), authority(&url));
        for segment in kept {
            base.push('/');
            base.push_str(segment);
        }
        Ok(Self(base))
    }
}

impl From<&Endpoint> for LinkBase {
    fn from(endpoint: &Endpoint) -> Self {
        Self(endpoint.base.clone())
    }
}

fn web_address(url: &str) -> Result<Url, &'static str> {
    let url = Url::parse(url.trim()).map_err(|_| "it is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it must begin with https:// or http:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not hold a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must not have a query or fragment");
    }
    Ok(url)
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What the URL of a link is made of, besides what the service answers.
pub(super) struct LinkTarget<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) bucket: &'a BucketName,
    pub(super) object: &'a ObjectName,
}

/// The URL of a link from the service's answer: its `fullPath`, or else `base` and its
/// `accessUri`. Nothing is documented about how the object name in them is encoded, so what is
/// not an encoding of the name that was asked for is written anew.
pub(super) fn link_url(
    full_path: Option<&str>,
    access_uri: Option<&str>,
    base: &LinkBase,
    target: &LinkTarget<'_>,
) -> Option<SecretUrl> {
    let whole = full_path.filter(|url| !url.is_empty());
    let (origin, path) = match whole.and_then(split_origin) {
        Some(parts) => parts,
        None => (base.0.as_str(), access_uri?),
    };

    let (token, named) = path.strip_prefix("/p/")?.split_once("/n/")?;
    let (_, object) = named.split_once("/b/")?.1.split_once("/o/")?;
    let object = if is_encoding_of(object, target.object) {
        object.to_owned()
    } else {
        encode(target.object.as_str())
    };
    if token.is_empty() {
        return None;
    }
    // The token is already fit for a path; decoding it first leaves one encoding, not two.
    let token = encode(&percent_decode_str(token).decode_utf8().ok()?);
    Some(SecretUrl::new(format!(
        "{origin}/p/{token}/n/{}/b/{}/o/{object}",
        target.namespace, target.bucket
    )))
}

/// Scheme and authority, and the path.
fn split_origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let slash = url.len() - rest.len() + rest.find('/')?;
    Some(url.split_at(slash))
}

/// Whether `text` stands for `name` in a URL and needs no further encoding.
fn is_encoding_of(text: &str, name: &ObjectName) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b);
    let is_escape =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    text.bytes().all(plain)
        && text.split('%').skip(1).all(is_escape)
        && percent_decode_str(text)
            .decode_utf8()
            .is_ok_and(|decoded| decoded == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_region(name: &str) -> String {
        let region = Region::new(name).unwrap();
        Endpoint::of_region(&region).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_region_has_the_domain_of_its_realm() {
        let table = [
            (
                "us-ashburn-1",
                "https://objectstorage.us-ashburn-1.oraclecloud.com",
            ),
            (
                "US-Langley-1",
                "https://objectstorage.us-langley-1.oraclegovcloud.com",
            ),
            (
                "uk-gov-london-1",
                "https://objectstorage.uk-gov-london-1.oraclegovcloud.uk",
            ),
            (
                "ap-chiyoda-1",
                "https://objectstorage.ap-chiyoda-1.oraclecloud8.com",
            ),
            (
                "eu-frankfurt-2",
                "https://objectstorage.eu-frankfurt-2.oraclecloud.eu",
            ),
            ("zz-new-9", "https://objectstorage.zz-new-9.oraclecloud.com"),
        ];
        for (region, url) in table {
            assert_eq!(of_region(region), url);
        }
        for bad in ["", "a.b", "a/b", "a b"] {
            assert!(Region::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        let table = [
            (
                "http://172.30.0.1:9000",
                "http://172.30.0.1:9000",
                "172.30.0.1:9000",
            ),
            (
                "https://host.example:443/",
                "https://host.example",
                "host.example",
            ),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
        ];
        for (given, base, host) in table {
            let endpoint = Endpoint::at(given).unwrap();
            assert_eq!((endpoint.as_str(), endpoint.host()), (base, host));
        }
        for bad in [
            "",
            "host",
            "ftp://host",
            "http://u:p@host",
            "http://host/x",
            "http://host?q",
        ] {
            let text = Endpoint::at(bad).unwrap_err().to_string();
            assert!(text.contains("Object Storage endpoint"), "{text}");
        }
    }

    #[test]
    fn a_link_base_is_cut_where_the_services_path_begins() {
        let table = [
            (
                "https://objectstorage.r.oraclecloud.com/p/...",
                "https://objectstorage.r.oraclecloud.com",
            ),
            ("https://host/p/token/n/ns/b/bucket/o/", "https://host"),
            ("https://host/", "https://host"),
            ("https://files.example/dl/", "https://files.example/dl"),
            (
                "https://files.example/pages/p",
                "https://files.example/pages",
            ),
        ];
        for (given, base) in table {
            assert_eq!(LinkBase::new(given).unwrap().0, base);
        }
        assert!(LinkBase::new("not a url").is_err());
    }

    fn link(full_path: Option<&str>, access_uri: Option<&str>, name: &str) -> Option<String> {
        let target = LinkTarget {
            namespace: &Namespace::new("ns").unwrap(),
            bucket: &BucketName::new("bkt").unwrap(),
            object: &ObjectName::new(name).unwrap(),
        };
        let base = LinkBase::new("https://base/p/...").unwrap();
        link_url(full_path, access_uri, &base, &target).map(|url| url.expose().to_owned())
    }

    #[test]
    fn the_full_path_is_preferred_and_else_the_base_is_used() {
        let uri = "/p/T-o_k/n/ns/b/bkt/o/a.bin";
        let full = format!("https://full{uri}");
        assert_eq!(link(Some(&full), Some(uri), "a.bin"), Some(full.clone()));
        assert_eq!(
            link(None, Some(uri), "a.bin"),
            Some(format!("https://base{uri}"))
        );
        assert_eq!(
            link(Some(""), Some(uri), "a.bin"),
            Some(format!("https://base{uri}"))
        );
        assert_eq!(link(None, None, "a.bin"), None);
        for odd in ["/p//n/ns/b/bkt/o/a.bin", "/x", "", "/p/t/n/ns/b/bkt"] {
            assert_eq!(link(None, Some(odd), "a.bin"), None, "{odd}");
        }
    }

    #[test]
    fn the_object_name_ends_up_encoded_once_however_it_was_written() {
        let table = [
            ("dir/a b.bin", "dir/a%20b.bin", "dir/a%20b.bin"),
            ("dir/a b.bin", "dir%2Fa%20b.bin", "dir%2Fa%20b.bin"),
            ("dir/a b.bin", "dir/a b.bin", "dir%2Fa%20b.bin"),
            ("50%25.bin", "50%25.bin", "50%2525.bin"),
            ("50%25.bin", "50%2525.bin", "50%2525.bin"),
            ("50%.bin", "50%.bin", "50%25.bin"),
            ("é?#.bin", "é?#.bin", "%C3%A9%3F%23.bin"),
            ("a+b&c.bin", "a+b&c.bin", "a+b&c.bin"),
            ("n/b/o/p", "n/b/o/p", "n/b/o/p"),
        ];
        for (name, written, expected) in table {
            let uri = format!("/p/tok/n/ns/b/bkt/o/{written}");
            let expected = format!("https://base/p/tok/n/ns/b/bkt/o/{expected}");
            assert_eq!(link(None, Some(&uri), name), Some(expected), "{written}");
        }
    }
}
