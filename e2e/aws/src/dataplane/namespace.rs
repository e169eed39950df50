//! Where the data plane may connect: a network namespace without a way out, or loopback.
//!
//! The double listens on addresses and opens connections that come out of API calls. On a machine with a network those
//! could be somebody's, so it refuses to start there.

use std::fs;
use std::io;
use std::net::IpAddr;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

/// Where connections may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere, since this is a network namespace that has only its own links.
    Namespace,
    /// 127.0.0.0/8 and ::1.
    Loopback,
}

/// Why this network namespace may not be used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A route leads out.
    #[error(
        "the data plane only starts in a network namespace of its own (unshare --net): this one has a default route"
    )]
    DefaultRoute,
    /// A link leads out.
    #[error(
        "the data plane only starts in a network namespace of its own (unshare --net): this one has the link {0} of kind {1}"
    )]
    Link(String, String),
    /// It could not be found out.
    #[error("can't look at this network namespace: {0}")]
    Io(#[from] io::Error),
}

impl Reach {
    /// Looks whether this process is in a network namespace with no default route and no link up but `lo` and `veth` pairs.
    ///
    /// # Errors
    /// When it is not, or that can't be told.
    pub fn namespace() -> Result<Reach, NamespaceError> {
        let v4 = fs::read_to_string("/proc/thread-self/net/route")?;
        // A kernel without IPv6 has no such file.
        let v6 = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
        if has_default_route(&v4, &v6) {
            return Err(NamespaceError::DefaultRoute);
        }
        for link in links()? {
            // Kernels put tunnels such as `sit0` into every new namespace; down as they are, they lead nowhere.
            if link.up && link.kind != "veth" && link.name != "lo" {
                return Err(NamespaceError::Link(
                    link.name,
                    if link.kind.is_empty() {
                        "device".into()
                    } else {
                        link.kind
                    },
                ));
            }
        }
        Ok(Reach::Namespace)
    }

    /// Whether an address may be bound or connected to.
    pub fn permits(self, address: IpAddr) -> bool {
        self == Reach::Namespace || address.is_loopback()
    }
}

/// `v4` as in /proc/net/route (destination and mask in columns 1 and 7), `v6` as in /proc/net/ipv6_route (destination,
/// prefix length, …, device). The kernel's own unreachable default on `lo` in IPv6 is none.
fn has_default_route(v4: &str, v6: &str) -> bool {
    let v4 = v4
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let v6 = v6.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    v4.into_iter()
        .any(|columns| columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000"))
        || v6.into_iter().any(|columns| {
            columns.first().is_some_and(|to| to.bytes().all(|digit| digit == b'0'))
                && columns.get(1) == Some(&"00")
                && columns.last() != Some(&"lo")
        })
}

#[derive(Debug, PartialEq)]
struct Link {
    name: String,
    /// As in `ip -d link`: `veth`, `bridge`, …; empty for hardware and for `lo`.
    kind: String,
    /// `IFF_UP`
    up: bool,
}

// rtnetlink(7); linux/rtnetlink.h, linux/if_link.h
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x100 | 0x200;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
/// Where the link header has its flags; the lowest bit is `IFF_UP`.
const LINK_FLAGS: usize = 8;

fn links() -> io::Result<Vec<Link>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let length = u32::try_from(MESSAGE_HEADER + LINK_HEADER).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(MESSAGE_HEADER + LINK_HEADER);
    request.extend(length.to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.resize(MESSAGE_HEADER + LINK_HEADER, 0);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (read, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..read];
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                RTM_NEWLINK => found.push(link(body)),
                NLMSG_DONE => return Ok(found),
                other => return Err(io::Error::other(format!("netlink answered with message type {other}"))),
            }
            rest = next;
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The type and body of the first message, and what follows it. (Lengths of one message stay below 64 KiB here.)
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = word(bytes, 0)?;
    let kind = u16::try_from(word(bytes, 4)?).ok()?;
    Some((kind, bytes.get(MESSAGE_HEADER..length)?, after(bytes, length)))
}

/// The value of the first attribute of this type; the high bits of a type are flags.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = word(bytes, 0)?;
        let value = bytes.get(4..length)?;
        if word(bytes, 2)? & 0x3fff == usize::from(wanted) {
            return Some(value);
        }
        bytes = after(bytes, length);
    }
}

fn link(body: &[u8]) -> Link {
    let attributes = body.get(LINK_HEADER..).unwrap_or_default();
    let text = |value: Option<&[u8]>| {
        String::from_utf8_lossy(value.unwrap_or_default())
            .trim_end_matches('\0')
            .to_owned()
    };
    Link {
        name: text(attribute(attributes, IFLA_IFNAME)),
        kind: text(attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND))),
        up: word(body, LINK_FLAGS).is_some_and(|flags| flags & 1 == 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, NamespaceError, Reach, has_default_route, links};

    #[test]
    fn a_default_route_is_seen_in_both_families() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let zero = "0".repeat(32);
        let lo = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        let eth = format!(
            "{zero} 00 {zero} 00 fe80{} 00000400 00000001 00000000 00000003     eth0\n",
            "0".repeat(28)
        );
        assert!(!has_default_route(head, ""));
        assert!(!has_default_route(head, &lo));
        assert!(has_default_route(head, &eth));
        assert!(!has_default_route(
            &format!("{head}veth1\t0500000A\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"),
            ""
        ));
        assert!(has_default_route(
            &format!("{head}eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"),
            ""
        ));
    }

    #[test]
    fn the_kernel_tells_of_the_loopback_link() {
        assert!(links().unwrap().contains(&Link {
            name: "lo".into(),
            kind: String::new(),
            up: true,
        }));
    }

    #[test]
    fn only_loopback_is_reached_where_nothing_else_is_allowed() {
        assert!(Reach::Loopback.permits("127.1.2.3".parse().unwrap()));
        assert!(!Reach::Loopback.permits("10.0.0.1".parse().unwrap()));
        assert!(Reach::Namespace.permits("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let text = NamespaceError::Link("eth0".into(), "device".into()).to_string();
        assert!(text.contains("unshare --net") && text.contains("eth0"), "{text}");
    }
}
