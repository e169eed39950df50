//! A name server that knows the double's load balancers, as the resolver of a VPC does.
//!
//! ```text
//! NAME-123.eu-west-1.elb.amazonaws.com  A ─► addresses of the load balancer's nodes, of both schemes (TTL 60)
//! a name that was given                 A ─► its addresses
//! any other name                          ─► NXDOMAIN
//! ```
//! Answers over UDP, truncated where they are too long for the asker, and TCP. Source: RFC 1035, RFC 6891 (EDNS).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Double;
use crate::world::World;

/// Seconds for which an answer may be kept. Source: "Application Load Balancers", user guide: "The TTL of the DNS entry is
/// 60 seconds".
const TTL: u32 = 60;

/// Longest answer that is sent over UDP without fragments. Source: DNS Flag Day 2020.
const PAYLOAD: u16 = 1232;

/// How long a TCP connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// Addresses of names beside the load balancers'. Names are in lower case, without the dot at the end.
pub type Records = BTreeMap<String, Vec<IpAddr>>;

/// A name server, ready to serve.
#[derive(Debug)]
pub struct Server {
    names: Arc<Names>,
    udp: UdpSocket,
    tcp: TcpListener,
}

#[derive(Debug)]
struct Names {
    double: Double,
    records: Records,
}

impl Server {
    /// Takes the address over UDP and TCP; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn bind(double: Double, address: SocketAddr, records: Records) -> io::Result<Server> {
        let tcp = TcpListener::bind(address).await?;
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        let names = Arc::new(Names { double, records });
        Ok(Server { names, udp, tcp })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The sockets are broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until dropped.
    ///
    /// # Errors
    /// The sockets are broken.
    pub async fn serve(self) -> io::Result<Infallible> {
        let mut connections = JoinSet::new();
        let mut datagram = vec![0; usize::from(u16::MAX)];
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut datagram) => {
                    let (length, asker) = received?;
                    if let Some(answer) = self.names.answer(&datagram[..length], Some(PAYLOAD)) {
                        // The asker may be gone.
                        let _ = self.udp.send_to(&answer, asker).await;
                    }
                }
                accepted = self.tcp.accept() => {
                    let (stream, _) = accepted?;
                    let names = self.names.clone();
                    connections.spawn(async move {
                        // Ends with an error when the asker goes away or is silent: not our concern.
                        let _ = timeout(IDLE, converse(&names, stream)).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Each message on a TCP connection comes after its length.
async fn converse(names: &Names, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = names.answer(&question, None) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&answer).await?;
    }
}

impl Names {
    /// The answer to a message, of `most` bytes at most or what the asker can take; none to what is no question.
    fn answer(&self, message: &[u8], most: Option<u16>) -> Option<Vec<u8>> {
        let question = Message::from_vec(message).ok()?;
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = true;
        answer.add_queries(question.queries.iter().cloned());
        if question.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_version(0);
            answer.set_edns(edns);
        }
        match (question.metadata.op_code, &question.queries[..]) {
            (OpCode::Query, [query]) => match self.records(query) {
                Some(records) => {
                    answer.add_answers(records);
                }
                None => answer.metadata.response_code = ResponseCode::NXDomain,
            },
            (OpCode::Query, _) => answer.metadata.response_code = ResponseCode::FormErr,
            _ => answer.metadata.response_code = ResponseCode::NotImp,
        }
        let bytes = answer.to_vec().ok()?;
        let too_long = most.is_some_and(|most| bytes.len() > usize::from(most.min(question.max_payload())));
        if too_long {
            answer.truncate().to_vec().ok()
        } else {
            Some(bytes)
        }
    }

    /// The records of a query's type; none when there is no such name.
    fn records(&self, query: &Query) -> Option<Vec<Record>> {
        let name = query.name().to_ascii().to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let given = self.records.get(name).cloned();
        let addresses = given.or_else(|| load_balancer(&self.double.world(), name))?;
        if query.query_class() != DNSClass::IN {
            return Some(Vec::new());
        }
        let wanted = query.query_type();
        let data = addresses.into_iter().map(|address| match address {
            IpAddr::V4(v4) => RData::A(v4.into()),
            IpAddr::V6(v6) => RData::AAAA(v6.into()),
        });
        let asked = data.filter(|data| wanted == RecordType::ANY || data.record_type() == wanted);
        Some(
            asked
                .map(|data| Record::from_rdata(query.name().clone(), TTL, data))
                .collect(),
        )
    }
}

/// The addresses of the load balancer with this name, in whichever account and region. The name with `dualstack.` before it
/// is the one that alias records point at.
fn load_balancer(world: &World, name: &str) -> Option<Vec<IpAddr>> {
    let name = name.strip_prefix("dualstack.").unwrap_or(name);
    world.regions.values().find_map(|region| {
        let mut all = region.elbv2.load_balancers.values();
        let found = all.find(|one| one.dns_name.eq_ignore_ascii_case(name))?;
        Some(region.named_addresses(found).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::Name;

    use super::*;
    use crate::Options;

    fn names(records: Records) -> Names {
        let double = Double::new(Options::instant());
        Names { double, records }
    }

    fn ask(names: &Names, name: &str, kind: RecordType, most: Option<u16>) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = names.answer(&question.to_vec().unwrap(), most).unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }

    #[test]
    fn a_given_name_has_its_addresses_and_any_other_does_not_exist() {
        let records = [("api.example.com".to_owned(), vec!["10.0.0.10".parse().unwrap()])];
        let names = names(records.into());
        let answer = ask(&names, "API.example.com.", RecordType::A, Some(PAYLOAD));
        let expected = RData::A(Ipv4Addr::new(10, 0, 0, 10).into());
        assert_eq!((answer.answers.len(), &answer.answers[0].data), (1, &expected));
        assert_eq!(answer.answers[0].ttl, 60);
        let no_ipv6 = ask(&names, "api.example.com.", RecordType::AAAA, Some(PAYLOAD));
        assert_eq!(
            (no_ipv6.metadata.response_code, no_ipv6.answers.len()),
            (ResponseCode::NoError, 0)
        );
        let other = ask(&names, "www.example.com.", RecordType::A, Some(PAYLOAD));
        assert_eq!(other.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn what_does_not_fit_is_asked_for_again_over_tcp() {
        let many = (0..60).map(|n| Ipv4Addr::new(10, 0, 1, n).into()).collect();
        let names = names([("many".to_owned(), many)].into());
        let short = ask(&names, "many.", RecordType::A, Some(PAYLOAD));
        assert!(short.metadata.truncation && short.answers.is_empty());
        let whole = ask(&names, "many.", RecordType::A, None);
        assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 60));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let names = names(Records::default());
        let response = Message::response(7, OpCode::Query).to_vec().unwrap();
        assert_eq!(names.answer(&response, None), None);
        assert_eq!(names.answer(b"no message", None), None);
        let mut status = Message::new(7, MessageType::Query, OpCode::Status);
        status.add_query(Query::query(Name::from_ascii("a.").unwrap(), RecordType::A));
        let answer = names.answer(&status.to_vec().unwrap(), None).unwrap();
        let code = Message::from_vec(&answer).unwrap().metadata.response_code;
        assert_eq!(code, ResponseCode::NotImp);
    }
}
