//! From where a request may come. Invariant: without keys, no web page of another site can make a
//! browser use the server: neither by posting across origins, nor under a name that was made to
//! point here (DNS rebinding).

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::error::ApiError;

/// What was configured of hosts and origins.
#[derive(Clone, Debug, Default)]
pub struct OriginConfig {
    /// Origins whose pages may use the server, as `https://app.example`.
    pub origins: Vec<HeaderValue>,
    /// Further names under which the server may be reached without keys.
    pub hosts: Vec<String>,
    /// Whether addresses beyond this machine may be bound without keys.
    pub insecure: bool,
}

impl OriginConfig {
    /// The host that a request names; every request of HTTP/1.1 names exactly one (RFC 9112, 3.2).
    pub fn host<B>(&self, request: &Request<B>) -> Result<Option<Authority>, ApiError> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (first, second) = (hosts.next(), hosts.next());
        let named = request.uri().authority();
        if second.is_some() {
            return Err(ApiError::bad_host("more than one Host"));
        }
        let Some(host) = first else {
            if named.is_some_and(|named| named.as_str().contains('@')) {
                return Err(ApiError::bad_host("a name of a user in its target"));
            }
            if named.is_none() && request.version() == Version::HTTP_11 {
                return Err(ApiError::bad_host("no Host"));
            }
            return Ok(named.cloned());
        };
        let host = Authority::try_from(host.as_bytes()).ok();
        let host = host.filter(|host| !host.as_str().contains('@'));
        let host = host.ok_or_else(|| ApiError::bad_host("a Host that is none"))?;
        match named {
            Some(named) if !named.as_str().eq_ignore_ascii_case(host.as_str()) => {
                Err(ApiError::bad_host("a Host that is not the one in its target"))
            }
            _ => Ok(Some(host)),
        }
    }

    /// Without keys: whether a request for `host` with these parts may come in.
    pub fn check(
        &self,
        host: Option<&Authority>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        // No browser leaves Host out.
        if let Some(host) = host.filter(|host| !self.is_ours(host.host())) {
            return Err(ApiError::foreign_host(host.as_str()));
        }
        let upgrade = headers.contains_key(header::UPGRADE);
        let reads = matches!(*method, Method::GET | Method::HEAD) && !upgrade;
        match headers.get(header::ORIGIN) {
            Some(origin) if !reads && !self.is_same(origin, host) => {
                Err(ApiError::foreign_origin(origin))
            }
            _ => Ok(()),
        }
    }

    /// Names that no site can make its own: this machine's, those listed, and, where everybody was
    /// let in, addresses and names without a dot.
    fn is_ours(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
        let loopback = address.as_ref().is_ok_and(IpAddr::is_loopback);
        let local = name == "localhost" || name.ends_with(".localhost");
        let listed = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(&name))
            || self.origins.iter().filter_map(authority).any(|a| a.host() == name);
        let open = self.insecure && (address.is_ok() || !name.contains('.'));
        loopback || local || listed || open
    }

    fn is_same(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        self.origins.contains(origin)
            || authority(origin).is_some_and(|origin| {
                host.is_some_and(|host| origin.as_str().eq_ignore_ascii_case(host.as_str()))
            })
    }

    /// CORS for the listed origins; none when none is listed.
    pub fn cors(&self) -> Option<CorsLayer> {
        let name = http::HeaderName::from_static;
        let asked = [
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            name("xi-api-key"),
            name("x-request-id"),
            name("idempotency-key"),
            name("last-event-id"),
        ];
        let told = [
            name("x-request-id"),
            name("x-stream-max-bytes"),
            name("x-voice"),
            name("x-engine"),
            name("x-cache"),
            name("server-timing"),
            super::graphql::PARTIAL,
            header::RETRY_AFTER,
        ];
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        (!self.origins.is_empty()).then(|| {
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(self.origins.iter().cloned()))
                .allow_methods(methods)
                .allow_headers(asked)
                .expose_headers(told)
                .max_age(crate::limits::PREFLIGHT_LASTS)
        })
    }
}

/// Host and port of an origin.
fn authority(origin: &HeaderValue) -> Option<Authority> {
    let (_, authority) = origin.to_str().ok()?.split_once("://")?;
    authority.parse().ok()
}

/// An origin as a configuration has it: scheme, host, port if it is not the scheme's own.
pub fn parse(text: &str) -> Option<HeaderValue> {
    let text = text.trim();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority: Authority = rest.parse().ok()?;
    let plain = authority.as_str() == rest && !rest.contains('@') && !rest.contains('*');
    if !plain || rest != rest.to_ascii_lowercase() {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(insecure: bool) -> OriginConfig {
        let origins = vec![HeaderValue::from_static("https://app.example:8443")];
        OriginConfig { origins, hosts: vec!["voice.home".into()], insecure }
    }

    fn checked(insecure: bool, method: Method, host: &str, origin: &str) -> bool {
        let mut request = Request::builder().method(method.clone()).uri("/x");
        request = request.header("host", host);
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let request = request.body(()).expect("a request");
        let config = config(insecure);
        let Ok(host) = config.host(&request) else { return false };
        config.check(host.as_ref(), &method, request.headers()).is_ok()
    }

    #[test]
    fn names_that_a_site_could_make_point_here_are_refused() {
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "a.localhost", "LOCALHOST."] {
            assert!(checked(false, Method::GET, host, ""), "{host}");
        }
        for host in ["voice.home:8080", "app.example", "VOICE.home"] {
            assert!(checked(false, Method::GET, host, ""), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "rebind", "", "a b"] {
            assert!(!checked(false, Method::GET, host, ""), "{host}");
        }
        for (host, fine) in [("10.0.0.1:80", true), ("evensong", true), ("evil.example", false)] {
            assert_eq!(checked(true, Method::GET, host, ""), fine, "{host}");
        }
    }

    #[test]
    fn another_site_s_page_may_read_but_not_ask_for_work() {
        for (method, origin, fine) in [
            (Method::POST, "", true),
            (Method::POST, "http://localhost:8080", true),
            (Method::POST, "https://app.example:8443", true),
            (Method::POST, "http://localhost:9999", false),
            (Method::POST, "https://evil.example", false),
            (Method::POST, "null", false),
            (Method::DELETE, "https://evil.example", false),
            (Method::OPTIONS, "https://evil.example", false),
            (Method::GET, "https://evil.example", true),
        ] {
            assert_eq!(checked(false, method.clone(), "localhost:8080", origin), fine, "{origin}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let host = |version, uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let request = request.body(()).expect("a request");
            config(false).host(&request).map(|host| host.map(|host| host.to_string())).ok()
        };
        let some = |text: &str| Some(Some(text.to_string()));
        assert_eq!(host(Version::HTTP_11, "/", &["a"]), some("a"));
        assert_eq!(host(Version::HTTP_11, "/", &[]), None);
        assert_eq!(host(Version::HTTP_10, "/", &[]), Some(None));
        assert_eq!(host(Version::HTTP_11, "/", &["a", "a"]), None);
        assert_eq!(host(Version::HTTP_11, "/", &["a@b/c"]), None);
        assert_eq!(host(Version::HTTP_11, "/", &["u@localhost"]), None);
        assert_eq!(host(Version::HTTP_11, "http://a/", &["a"]), some("a"));
        assert_eq!(host(Version::HTTP_11, "http://a/", &["b"]), None);
        assert_eq!(host(Version::HTTP_2, "http://a/", &[]), some("a"));
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for good in ["https://a.example", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://A.example",
            "null",
            "https://*.example",
            "ftp://a",
            "https://u@a",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
