//! Where a data centre is reached for files, chosen among what `help.getConfig` lists.
//!
//! Only the addresses that are meant for files welcome several connections of one key. A second
//! connection to any other may cost the key: 406 `AUTH_KEY_DUPLICATED`, for good. There grammers
//! has the first.

use std::net::{IpAddr, SocketAddr};

use grammers_client::tl::types::DcOption;

/// Where a data centre is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Its addresses, used in turn. There is at least one.
    pub addresses: Vec<SocketAddr>,
    /// The most connections that it may be given.
    pub connections: usize,
}

impl Doors {
    /// The doors of a data centre: its addresses for files, and at most `most` connections.
    /// `None` if it has no such address.
    pub fn among(options: &[DcOption], data_centre: i32, most: usize) -> Option<Self> {
        let ours = options
            .iter()
            .filter(|option| option.id == data_centre && option.media_only && is_plain(option));
        let addresses: Vec<_> = ours.filter_map(address).collect();
        (!addresses.is_empty()).then_some(Self {
            addresses,
            connections: most,
        })
    }
}

/// Whether it is Telegram's own, and speaks what we speak: neither a CDN, nor only obfuscated
/// transports, nor a proxy's secret. IPv6 is not used.
fn is_plain(option: &DcOption) -> bool {
    !(option.cdn || option.tcpo_only || option.ipv6) && option.secret.is_none()
}

fn address(option: &DcOption) -> Option<SocketAddr> {
    let address: IpAddr = option.ip_address.parse().ok()?;
    let port = u16::try_from(option.port).ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An option of data centre 2 at 10.0.0.`host`.
    fn option(host: u8) -> DcOption {
        DcOption {
            ipv6: false,
            media_only: false,
            tcpo_only: false,
            cdn: false,
            r#static: false,
            this_port_only: false,
            id: 2,
            ip_address: format!("10.0.0.{host}"),
            port: 443,
            secret: None,
        }
    }

    fn media(host: u8) -> DcOption {
        DcOption {
            media_only: true,
            ..option(host)
        }
    }

    #[test]
    fn connections_of_our_own_only_where_files_are_served() {
        const MOST: usize = 8;
        let cdn = |option| DcOption {
            cdn: true,
            ..option
        };
        let obfuscated = |option| DcOption {
            tcpo_only: true,
            ..option
        };
        let secret = |option| DcOption {
            secret: Some(vec![0xdd; 17]),
            ..option
        };
        let ipv6 = |option| DcOption {
            ipv6: true,
            ip_address: "2001:67c:4e8:f002::a".to_owned(),
            ..option
        };
        let abroad = |option| DcOption { id: 4, ..option };
        let at = |ip_address: &str, port| DcOption {
            ip_address: ip_address.to_owned(),
            port,
            ..media(9)
        };
        for (what, options, hosts) in [
            ("a door for files", vec![media(1)], vec![1]),
            ("several of them", vec![media(1), media(2)], vec![1, 2]),
            ("both kinds", vec![option(1), media(2)], vec![2]),
            ("no door for files", vec![option(1), option(2)], vec![]),
            ("a CDN's", vec![option(1), cdn(media(2))], vec![]),
            ("obfuscated", vec![option(1), obfuscated(media(2))], vec![]),
            ("behind a secret", vec![option(1), secret(media(2))], vec![]),
            ("IPv6", vec![option(1), ipv6(media(2))], vec![]),
            ("another's", vec![option(1), abroad(media(2))], vec![]),
            ("no address", vec![option(1), at("", 443)], vec![]),
            ("no port", vec![option(1), at("10.0.0.9", 0)], vec![]),
            (
                "beyond ports",
                vec![option(1), at("10.0.0.9", 65_979)],
                vec![],
            ),
            ("one of use", vec![cdn(media(1)), media(2)], vec![2]),
            ("nothing", vec![], vec![]),
        ] {
            let addresses = hosts
                .into_iter()
                .map(|host| SocketAddr::from(([10, 0, 0, host], 443)))
                .collect::<Vec<_>>();
            let expected = (!addresses.is_empty()).then_some(Doors {
                addresses,
                connections: MOST,
            });
            assert_eq!(Doors::among(&options, 2, MOST), expected, "{what}");
        }
    }

    #[test]
    fn fewer_connections_than_are_welcome_may_be_wanted() {
        let doors = Doors::among(&[option(1), media(2)], 2, 3).unwrap();
        assert_eq!(doors.connections, 3);
    }
}
