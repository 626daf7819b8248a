//! Where an upstream is. Invariant: it is trusted because the configuration names it, and asked nowhere else; the
//! addresses at which clouds hand out credentials are never connected to, by whatever name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// The base of an upstream's addresses, as `https://api.openai.com/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at the end.
    path: String,
    /// Whether one was written there.
    has_slash: bool,
}

/// Why a text is no base, with what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBase(String);

impl Base {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self, BadBase> {
        let bad = |what: &str| BadBase(format!("{what}, as https://host:port/v1"));
        let uri: Uri = text.trim().parse().map_err(|_| bad("a URL"))?;
        let parts = uri.into_parts();
        let scheme =
            parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let scheme = scheme.ok_or_else(|| bad("a URL that begins with http:// or https://"))?;
        let authority = parts.authority.ok_or_else(|| bad("a URL with a host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a URL without user and password; keys have settings of their own"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.parse() {
            Ok(address) if is_metadata(address) => {
                return Err(bad("no address at which a cloud keeps its metadata, but a URL"));
            }
            Ok(_) => {}
            // 0xa9fea9fe, 2852039166, 169.254.43518: addresses to some who read them, and names to others.
            Err(_) if ends_in_number(host) => {
                return Err(bad("a URL whose address is written in the usual way"));
            }
            Err(_) => {}
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(bad("a URL without a query"));
        }
        let (path, has_slash) = (path.path(), path.path().ends_with('/'));
        Ok(Self { scheme, authority, path: path.trim_end_matches('/').into(), has_slash })
    }

    /// Whether it is asked over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Its name or address; one of IPv6 in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Its port, said or usual.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or_else(|| self.usual_port())
    }

    /// As it is named in requests: without its port where that is the usual one (RFC 9110, 7.2).
    pub fn named(&self) -> &str {
        if self.port() == self.usual_port() { self.host() } else { self.authority.as_str() }
    }

    fn usual_port(&self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }

    /// The address of `path`, which begins with a slash, below this one; of nothing, this one itself, with the slash
    /// at its end if it was written with one.
    pub fn join(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(self.target(path)?)
            .build()
    }

    /// What of [`Base::join`] a request to it names.
    pub fn target(&self, path: &str) -> Result<PathAndQuery, http::Error> {
        let path = match path {
            "" if self.has_slash || self.path.is_empty() => "/",
            path => path,
        };
        Ok(PathAndQuery::from_maybe_shared(Bytes::from([&self.path, path].concat()))?)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// Whether browsers and others would read it as an IPv4 address (WHATWG, *URL*, 3.5).
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let hex = last.strip_prefix("0x");
    match hex {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Where clouds hand out credentials to whoever asks from inside: the link-local networks (AWS, Azure, Google and
/// most others), and those few that chose another address.
pub fn is_metadata(address: IpAddr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const AZURE_WIRE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    const ORACLE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    const AWS_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const GOOGLE_6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(four) => four.is_link_local() || [ALIBABA, AZURE_WIRE, ORACLE].contains(&four),
        IpAddr::V6(six) => match inner(six) {
            Some(four) => is_metadata(IpAddr::V4(four)),
            None => six.is_unicast_link_local() || [AWS_6, GOOGLE_6].contains(&six),
        },
    }
}

/// The IPv4 address that an IPv6 one leads to: mapped, compatible, 6to4 (RFC 3056), or by NAT64 (RFC 6052).
fn inner(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = six.segments();
    let four = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => four(g, h),
        [0, 0, 0, 0, 0, 0] if g != 0 => four(g, h),
        [0x2002, ..] => four(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_joined_with_paths() {
        for (base, path, whole) in [
            ("https://api.example/v1", "/audio/speech", "https://api.example/v1/audio/speech"),
            (" http://[::1]:8880/v1/ ", "/models", "http://[::1]:8880/v1/models"),
            ("http://localhost", "/x", "http://localhost/x"),
            ("https://api.example/graphql", "", "https://api.example/graphql"),
            ("https://api.example/graphql/", "", "https://api.example/graphql/"),
            ("https://api.example", "", "https://api.example/"),
        ] {
            let base = Base::parse(base).expect("good");
            assert_eq!(base.join(path).expect("a URL").to_string(), whole);
        }
    }

    #[test]
    fn what_is_no_base_is_said() {
        for (bad, said) in [
            ("", "a URL"),
            ("localhost:8880", "begins with http"),
            ("ftp://host/", "begins with http"),
            ("http://user:pass@host/v1", "without user"),
            ("http://host/v1?key=1", "without a query"),
            ("http://169.254.169.254/latest", "metadata"),
            ("http://[::ffff:169.254.169.254]/", "metadata"),
            ("http://169.254.169.254./latest", "metadata"),
            ("http://0xa9fea9fe/v1", "usual way"),
            ("http://2852039166/v1", "usual way"),
            ("http://169.254.43518/v1", "usual way"),
            ("http://example.0x1f/v1", "usual way"),
        ] {
            let error = Base::parse(bad).expect_err("is bad").to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }

    #[test]
    fn metadata_addresses_are_known_in_every_disguise() {
        for bad in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_metadata(bad.parse().expect("an address")), "{bad}");
        }
        for good in
            ["127.0.0.1", "10.0.0.1", "192.168.1.5", "::1", "fd00::1", "2001:db8::1", "8.8.8.8"]
        {
            assert!(!is_metadata(good.parse().expect("an address")), "{good}");
        }
    }
}
