//! Posts to addresses that teams chose, without lending them this machine's place in the network.
//!
//! A URL is the team's word, so what it leads to is judged after the name was resolved, and exactly
//! the addresses that were judged are connected to: a name can not point elsewhere a moment later.
//! Redirects are not followed, proxies not used, answers not read beyond their head.
//!
//! Promises: this machine's loopback (unless the operator allows it), link-local addresses, where
//! clouds keep their machines' secrets, and this server's own port are never reached.
//! Never knows: what is posted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::catalog::NoticeNetworks;

/// Largest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// A way out to the addresses that are allowed.
#[derive(Debug)]
pub struct Outbound {
    allowed: Allowed,
    agent: Agent,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    networks: NoticeNetworks,
    /// The port that this server listens on.
    own_port: u16,
}

/// A URL that no notice is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is no URL of a server.
    #[error("is no URL: write one such as https://example.com/hook, without a user or password")]
    Form,
    /// It names an address that may not be called.
    #[error(
        "is an address that notices are not sent to: loopback, link-local, or, as the operator \
         chose, a private network"
    )]
    Address,
}

/// Why a post was not taken; coarse, so that it tells nothing of the network behind this server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PostError {
    #[error("the url leads to an address that notices are not sent to")]
    Address,
    #[error("the server could not be reached")]
    Unreachable,
    #[error("no answer in time")]
    TimedOut,
    #[error("answered {0} instead of 2xx")]
    Status(u16),
}

/// How the resolver tells that all addresses of a name are refused.
#[derive(Debug, thiserror::Error)]
#[error("not an allowed address")]
struct Refused;

impl Outbound {
    /// A way out to `networks`, but for `own_port` of this machine. A post takes `timeout` at most,
    /// from the look-up of the name to the head of the answer.
    pub fn new(networks: NoticeNetworks, own_port: u16, timeout: Duration) -> Self {
        let allowed = Allowed { networks, own_port };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .max_response_header_size(MAX_HEAD_BYTES)
            .timeout_global(Some(timeout))
            .user_agent(concat!("mizan/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), allowed);
        Self { allowed, agent }
    }

    /// Refuses what can not be called, as far as the URL alone shows it.
    pub fn check(&self, url: &str) -> Result<(), BadUrl> {
        let uri: Uri = url.parse().map_err(|_| BadUrl::Form)?;
        let authority = uri.authority().ok_or(BadUrl::Form)?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(BadUrl::Form),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(BadUrl::Form);
        }
        let port = authority.port_u16().unwrap_or(port);
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allowed.permits(SocketAddr::new(address, port)) => {
                Err(BadUrl::Address)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Posts JSON; taken if the answer is 2xx.
    pub(super) fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(), PostError> {
        // The operator's choice may have changed since the URL was set.
        self.check(url).map_err(|_| PostError::Address)?;
        let mut request = self.agent.post(url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match request.send(body) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(PostError::Status(answer.status().as_u16())),
            Err(ureq::Error::Timeout(_)) => Err(PostError::TimedOut),
            Err(ureq::Error::Other(error)) if error.is::<Refused>() => Err(PostError::Address),
            Err(_) => Err(PostError::Unreachable),
        }
    }
}

impl Resolver for Allowed {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|address| self.permits(**address)) {
            allowed.push(*address);
        }
        if allowed.is_empty() { Err(ureq::Error::Other(Box::new(Refused))) } else { Ok(allowed) }
    }
}

impl Allowed {
    fn permits(self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_allowed = match (reach(ip), self.networks) {
            (Reach::Public, _)
            | (Reach::Private, NoticeNetworks::Private | NoticeNetworks::Any)
            | (Reach::Loopback, NoticeNetworks::Any) => true,
            (Reach::Private | Reach::Loopback | Reach::Never, _) => false,
        };
        is_allowed && !(address.port() == self.own_port && is_own(ip))
    }
}

/// Whether an address is this machine's: only those can be bound.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    /// A network of the place.
    Private,
    Loopback,
    Never,
}

/// By the special-purpose address registries (RFC 6890).
fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    match ip.octets() {
        [127, ..] => Reach::Loopback,
        // This network, link-local, protocol assignments, multicast and what is reserved above.
        [0, ..] | [169, 254, ..] | [192, 0, 0, _] | [224..=255, ..] => Reach::Never,
        // A cloud's metadata, on an address that is otherwise carriers'.
        [100, 100, 100, 200] => Reach::Never,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        // Carriers' own networks (RFC 6598), and those for measurements (RFC 2544).
        [100, 64..=127, ..] | [198, 18..=19, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        // An IPv4 address inside: mapped, by NAT64 (RFC 6052), by 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // Unspecified and IPv4-compatible, local NAT64, Teredo, link-local, multicast.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Reach::Never,
        [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => Reach::Never,
        // A cloud's metadata.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Reach::Never,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn outbound(networks: NoticeNetworks) -> Outbound {
        Outbound::new(networks, 8_080, Duration::from_secs(5))
    }

    #[test]
    fn every_kind_of_address_has_its_reach() {
        let check = |text: &str, expected| {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(reach(ip), expected, "{text}");
        };
        for text in ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "192.0.2.1"] {
            check(text, Reach::Public);
        }
        for text in ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"] {
            check(text, Reach::Private);
        }
        for text in ["fd12::1", "fc00::1", "fec0::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"] {
            check(text, Reach::Private);
        }
        for text in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"] {
            check(text, Reach::Loopback);
        }
        for text in ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "240.0.0.1"] {
            check(text, Reach::Never);
        }
        for text in ["::", "fe80::1", "ff02::1", "fd00:ec2::254", "100.100.100.200", "::7f00:1"] {
            check(text, Reach::Never);
        }
        for text in ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"] {
            check(text, Reach::Never);
        }
    }

    #[test]
    fn urls_are_judged_before_they_are_stored() {
        use NoticeNetworks::{Any, Private, Public};
        let check = |networks, url, expected| {
            assert_eq!(outbound(networks).check(url), expected, "{networks} {url}");
        };
        for url in ["", "example.com", "/hook", "ftp://example.com", "file:///etc/passwd"] {
            check(Any, url, Err(BadUrl::Form));
        }
        for url in ["http://user:secret@example.com/", "http://", "gopher://example.com"] {
            check(Any, url, Err(BadUrl::Form));
        }
        check(Public, "https://example.com:8443/hook?a=b", Ok(()));
        check(Public, "http://10.0.0.7/hook", Err(BadUrl::Address));
        check(Private, "http://10.0.0.7/hook", Ok(()));
        check(Private, "http://127.0.0.1:9/hook", Err(BadUrl::Address));
        check(Private, "http://[::1]:9/hook", Err(BadUrl::Address));
        check(Private, "http://[::ffff:169.254.169.254]/", Err(BadUrl::Address));
        check(Any, "http://127.0.0.1:9/hook", Ok(()));
        check(Any, "http://127.0.0.1:8080/hook", Err(BadUrl::Address));
        check(Any, "http://169.254.169.254/latest", Err(BadUrl::Address));
    }

    /// Names, and the odd ways to write an address, are judged by what they resolve to; nothing
    /// ever arrives.
    #[test]
    fn a_name_can_not_lead_to_this_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.1", "0x7f.0.0.1", "2130706433"] {
            let url = format!("http://{host}:{port}/hook");
            let outbound = outbound(NoticeNetworks::Private);
            assert_eq!(outbound.check(&url), Ok(()), "only resolving shows it");
            let posted = outbound.post(&url, &[], "{}");
            // Where the system does not read such a spelling, it does not resolve at all.
            let is_odd = host != "localhost";
            let refused = posted == Err(PostError::Address)
                || is_odd && posted == Err(PostError::Unreachable);
            assert!(refused, "{host}: {posted:?}");
        }
        assert!(listener.accept().is_err(), "somebody connected");
    }
}
