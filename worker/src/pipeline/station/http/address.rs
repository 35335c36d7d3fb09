//! Whom a lead may send this worker to. Where the host of a URL comes from a lead, whoever made
//! the lead chooses it; nothing in the machine's own network is for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Name, Resolve, Resolving};
use url::Host;

/// The host is in this machine's own network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a public address, and the host came from the lead; the route may allow it with private_hosts = true"
)]
pub(super) struct NotPublic(String);

/// The hosts that leads may choose among, where the route names them.
#[derive(Debug)]
pub(super) struct Allowed(Vec<String>);

impl Allowed {
    /// Names and addresses, and `*.example.com` for all names below one.
    pub(super) fn new(hosts: impl Iterator<Item = String>) -> Self {
        Self(hosts.map(|host| host.to_ascii_lowercase()).collect())
    }

    /// Whether a URL's host is one of them.
    pub(super) fn has(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0
            .iter()
            .any(|allowed| match allowed.strip_prefix('*') {
                Some(below) => host.len() > below.len() && host.ends_with(below),
                None => host == allowed,
            })
    }
}

/// Whether a text can stand in the list of hosts.
pub(super) fn is_host_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    !name.contains('*')
        && Url::parse(&format!("http://{name}/")).is_ok_and(|url| {
            url.host_str()
                .is_some_and(|host| host.eq_ignore_ascii_case(name))
        })
}

/// Refuses a URL whose host is such an address itself; names are looked at when they are resolved.
pub(super) fn check(url: &Url) -> Result<(), NotPublic> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_public(address) {
        Ok(())
    } else {
        Err(NotPublic(address.to_string()))
    }
}

/// Resolves names to public addresses only. The connection is made to the very addresses that were
/// looked at, so a name that changes its mind in between gains nothing.
#[derive(Debug)]
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if let Some(address) = found.iter().find(|address| !is_public(address.ip())) {
                return Err(NotPublic(format!("{} ({})", name.as_str(), address.ip())).into());
            }
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// Whether an address is somewhere in the public net. Sources: the special-purpose address
/// registries of the IANA (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation();
    let special = special
        || match address.octets() {
            // This network; reserved.
            [0 | 240..=255, ..] => true,
            // Shared by carriers; protocol assignments; benchmarks.
            [100, second, ..] => second & 0xc0 == 64,
            [192, second, third, _] => (second, third) == (0, 0),
            [198, second, ..] => second & 0xfe == 18,
            _ => false,
        };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = carried_v4(address) {
        return is_public_v4(inner);
    }
    // Only 2000::/3 is given out; in it 2001::/23 is for protocols, 2001:db8::/32 and 3fff::/20
    // for documentation.
    match address.segments() {
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped, translated or tunnelled.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => address.to_ipv4_mapped(),
    }
}

/// Whether the lead has a say in the host of a URL: whether an expression stands in the template
/// before the host is over. In doubt it has.
pub(super) fn host_is_from_lead(template: &str) -> bool {
    let first = ["{{", "{%"]
        .iter()
        .filter_map(|open| template.find(open))
        .min();
    let Some(first) = first else {
        return false;
    };
    let before = &template[..first];
    let after_scheme = match before.split_once("://") {
        Some((_, rest)) => rest,
        // The route's own variable may hold the scheme and the host.
        None if before.starts_with("${") => before,
        None => return true,
    };
    let host = after_scheme.trim_start_matches(['/', '\\']);
    !host.contains(['/', '?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_known() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fec0::1",
        ] {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
    }

    #[test]
    fn an_address_is_refused_in_every_way_it_can_be_written() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[64:ff9b:1::a9fe:a9fe]/",
            "http://127.1/",
            "http://0/",
            "http://017700000001/",
            "http://0xA9FEA9FE/",
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1./",
            "http://１２７.０.０.１/",
            "http://user@127.0.0.1:80/",
        ] {
            assert!(check(&Url::parse(url).expect(url)).is_err(), "{url}");
        }
        assert!(check(&Url::parse("http://example.com/").expect("a URL")).is_ok());
    }

    #[tokio::test]
    async fn a_name_with_a_private_address_does_not_resolve() {
        let name = "localhost".parse().expect("a name");
        let error = PublicOnly.resolve(name).await.err().expect("refused");
        assert!(error.downcast_ref::<NotPublic>().is_some(), "{error}");
    }

    #[test]
    fn a_host_is_one_of_those_allowed_or_below_one() {
        let allowed = Allowed::new(
            ["API.example.com", "*.example.org", "192.0.2.1"]
                .map(String::from)
                .into_iter(),
        );
        let has = |url: &str| allowed.has(&Url::parse(url).expect(url));
        for url in [
            "https://api.example.com/x",
            "https://api.example.com./x",
            "https://a.example.org:8443/",
            "https://a.b.example.org/",
            "http://192.0.2.1/",
        ] {
            assert!(has(url), "{url}");
        }
        for url in [
            "https://example.com/",
            "https://example.org/",
            "https://evilexample.org/",
            "https://api.example.com.evil.net/",
            "https://api.example.com@evil.net/",
            "https://evil.net/#api.example.com",
        ] {
            assert!(!has(url), "{url}");
        }
        for good in ["example.com", "*.example.com", "192.0.2.1", "[::1]"] {
            assert!(is_host_pattern(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "https://example.com",
            "a/b",
            "a:80",
            "0x7f.1",
        ] {
            assert!(!is_host_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn the_lead_has_a_say_where_an_expression_stands_before_the_end_of_the_host() {
        for template in [
            "{{ website }}",
            "http://{{ domain }}/x",
            "http://api.{{ domain }}/x",
            "http://user:{{ key }}@example.com/",
            "http://example.com{{ path }}",
            "http:///{{ domain }}/",
            "http:/{{ domain }}/",
            "http://\\{{ domain }}/",
            "{% if x %}http://a{% endif %}/x",
            "${BASE}{{ path }}",
        ] {
            assert!(host_is_from_lead(template), "{template}");
        }
        for template in [
            "http://example.com/x",
            "http://example.com/{{ id }}",
            "http://example.com?q={{ id }}",
            "${BASE}/people/{{ id }}",
            "https://${HOST}/{{ id }}",
        ] {
            assert!(!host_is_from_lead(template), "{template}");
        }
    }
}
