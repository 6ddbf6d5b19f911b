//! Whether a browser means the gateway by what it called.
//!
//! A page of somebody else's may have its own name resolve to the address of the admin listener (DNS
//! rebinding): then it is that page which reads, and the operator who is asked for a password. So a
//! name must be one of ours. An address is none that anybody else could have.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::StatusCode;
use http::header::{HOST, HeaderName, HeaderValue, ORIGIN};

use super::answer::{Answer, detail};
use crate::policy::site::Authority;

/// What a browser tells of the page that asks (Fetch Metadata), of pages that came securely or from this
/// machine.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What speaks against answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The name that was called is none of ours.
    Host,
    /// A page from elsewhere asks.
    Origin,
}

impl Stranger {
    /// What it is answered.
    pub(super) fn answer(self) -> Answer {
        match self {
            Stranger::Host => detail(
                StatusCode::MISDIRECTED_REQUEST,
                "this listener is called by an address or `localhost`; list other names in `admin.names`",
            ),
            Stranger::Origin => {
                detail(StatusCode::FORBIDDEN, "another page asks for this one; open it by itself")
            }
        }
    }
}

/// The same for whoever presents a Bearer token: only a page is asked where it is from, and a program is none.
pub(super) fn check_page(headers: &HeaderMap, names: &[String]) -> Result<(), Stranger> {
    let is_page = headers.contains_key(ORIGIN) || headers.contains_key(SITE);
    if is_page { check(headers, names) } else { Ok(()) }
}

/// Looks at `Host`, `Origin` and what the browser tells besides; `names` are those of the config.
pub(super) fn check(headers: &HeaderMap, names: &[String]) -> Result<(), Stranger> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Stranger::Host) };
    let host = host.to_str().map_err(|_| Stranger::Host)?;
    let called = Authority::parse(host).ok_or(Stranger::Host)?;
    if !is_address(called.host) && !is_local(called.host) && !is_one_of(called.host, names) {
        return Err(Stranger::Host);
    }
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://"));
        if !origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
            return Err(Stranger::Origin);
        }
    }
    // Whoever follows a link from elsewhere opens it by itself.
    let navigates = headers.get(MODE).is_some_and(|mode| mode == "navigate");
    let own = |site: &HeaderValue| site == "same-origin" || site == "none";
    if !navigates && !headers.get_all(SITE).iter().all(own) {
        return Err(Stranger::Origin);
    }
    Ok(())
}

fn is_address(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// The names of a machine to itself (RFC 6761, 6.3).
fn is_local(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_one_of(host: &str, names: &[String]) -> bool {
    let mut names = names.iter().map(|name| name.strip_suffix('.').unwrap_or(name));
    names.any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_this_machine_and_names_of_the_config() {
        let names = ["Portcullis.corp".to_owned(), "dotted.corp.".to_owned()];
        let rows: &[(&[&str], &[&str], Result<(), Stranger>)] = &[
            (&["127.0.0.1:9090"], &[], Ok(())),
            (&["10.1.2.3"], &[], Ok(())),
            (&["[::1]:9090"], &[], Ok(())),
            (&["localhost:9090"], &[], Ok(())),
            (&["LOCALHOST."], &[], Ok(())),
            (&["a.localhost"], &[], Ok(())),
            (&["portcullis.corp:9090"], &[], Ok(())),
            (&["dotted.corp"], &[], Ok(())),
            (&["portcullis.corp.evil.example"], &[], Err(Stranger::Host)),
            (&["evil.example:9090"], &[], Err(Stranger::Host)),
            (&["notlocalhost"], &[], Err(Stranger::Host)),
            (&["127.0.0.1.evil.example"], &[], Err(Stranger::Host)),
            (&["u@127.0.0.1"], &[], Err(Stranger::Host)),
            (&[""], &[], Err(Stranger::Host)),
            (&[], &[], Err(Stranger::Host)),
            (&["127.0.0.1", "evil.example"], &[], Err(Stranger::Host)),
            (&["127.0.0.1:9090"], &["http://127.0.0.1:9090"], Ok(())),
            (&["127.0.0.1:9090"], &["http://127.0.0.1:9091"], Err(Stranger::Origin)),
            (&["127.0.0.1:9090"], &["https://evil.example"], Err(Stranger::Origin)),
            (&["127.0.0.1:9090"], &["null"], Err(Stranger::Origin)),
            (&["127.0.0.1"], &["http://127.0.0.1", "https://evil.example"], Err(Stranger::Origin)),
        ];
        for (hosts, origins, wanted) in rows {
            let mut headers = HeaderMap::new();
            for host in *hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            for origin in *origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(check(&headers, &names), *wanted, "{hosts:?} {origins:?}");
        }
    }

    #[test]
    fn a_page_says_where_it_is_from() {
        let rows: &[(&[(&str, &str)], Result<(), Stranger>)] = &[
            (&[], Ok(())),
            (&[("sec-fetch-site", "same-origin")], Ok(())),
            (&[("sec-fetch-site", "none")], Ok(())),
            (&[("sec-fetch-site", "cross-site")], Err(Stranger::Origin)),
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], Err(Stranger::Origin)),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], Ok(())),
            (&[("sec-fetch-site", "nonsense")], Err(Stranger::Origin)),
        ];
        for (fields, wanted) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:9090".parse().unwrap());
            for (name, value) in *fields {
                headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(check(&headers, &[]), *wanted, "{fields:?}");
        }
        // A program is asked for nothing but its credential.
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "portcullis.monitoring.svc:9090".parse().unwrap());
        assert_eq!(check_page(&headers, &[]), Ok(()));
        headers.insert(ORIGIN, "http://portcullis.monitoring.svc:9090".parse().unwrap());
        assert_eq!(check_page(&headers, &[]), Err(Stranger::Host));
    }
}
