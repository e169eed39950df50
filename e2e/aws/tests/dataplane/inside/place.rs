//! Where each test happens: a double that serves, with a VPC 10.N.0.0/16 of its own and a load balancer in two zones; the
//! control plane's calls as plain HTTP requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use albacore_aws::dataplane::{self, DataPlane, Reach};
use albacore_aws::{Double, HealthMode, Options, dns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// A double that serves, and what stands in it.
pub struct Place {
    pub double: Double,
    pub plane: DataPlane,
    /// The name server.
    pub dns: SocketAddr,
    /// Second byte of all addresses of the VPC.
    pub network: u8,
    pub vpc: String,
    pub subnets: [String; 2],
    /// Security group of the load balancer; lets clients in 10.N.200.0/24 reach ports 80 and 443.
    pub group: String,
    /// ARN of the load balancer.
    pub balancer: String,
    /// Its DNS name.
    pub name: String,
}

/// Options of most tests: no waits but those of real health checks.
pub fn probed() -> Options {
    Options {
        health: HealthMode::Probed,
        ..Options::instant()
    }
}

impl Place {
    /// Builds everything up to the load balancer.
    pub async fn build(network: u8, options: Options) -> Place {
        let double = Double::new(options);
        let reach = Reach::namespace().expect("started by the_tests_inside_pass_in_a_namespace_of_their_own");
        let options = dataplane::Options {
            connect_timeout: Duration::from_millis(300),
            ..dataplane::Options::new(reach)
        };
        let plane = DataPlane::start(double.clone(), options);
        let address = (IpAddr::from([10, network, 0, 2]), 53).into();
        let server = dns::Server::bind(double.clone(), address, dns::Records::new())
            .await
            .unwrap();
        tokio::spawn(server.serve());
        let mut place = Place {
            double,
            plane,
            dns: address,
            network,
            vpc: String::new(),
            subnets: Default::default(),
            group: String::new(),
            balancer: String::new(),
            name: String::new(),
        };
        place.vpc = place
            .ec2("CreateVpc", &[("CidrBlock", &place.net("0.0/16"))])
            .await
            .one("vpcId");
        for (n, zone) in ["eu-west-1a", "eu-west-1b"].into_iter().enumerate() {
            let block = place.net(&format!("{n}.0/24"));
            let params = [
                ("VpcId", &*place.vpc),
                ("CidrBlock", &block),
                ("AvailabilityZone", zone),
            ];
            place.subnets[n] = place.ec2("CreateSubnet", &params).await.one("subnetId");
        }
        place.group = place.security_group("lb").await;
        for port in ["80", "443"] {
            place
                .let_in(&place.group, port, ("IpRanges.1.CidrIp", &place.net("200.0/24")))
                .await;
        }
        let created = place
            .elbv2(
                "CreateLoadBalancer",
                &[
                    ("Name", "web"),
                    ("Scheme", "internal"),
                    ("Subnets.member.1", &place.subnets[0]),
                    ("Subnets.member.2", &place.subnets[1]),
                    ("SecurityGroups.member.1", &place.group),
                ],
            )
            .await;
        (place.balancer, place.name) = (created.one("LoadBalancerArn"), created.one("DNSName"));
        place
    }

    /// `10.N.` and the rest.
    pub fn net(&self, rest: &str) -> String {
        format!("10.{}.{rest}", self.network)
    }

    /// An address of the VPC.
    pub fn at(&self, third: u8, fourth: u8) -> IpAddr {
        Ipv4Addr::new(10, self.network, third, fourth).into()
    }

    /// A client that the load balancer's security group admits.
    pub fn friend(&self) -> IpAddr {
        self.at(200, 1)
    }

    pub async fn security_group(&self, name: &str) -> String {
        let params = [("GroupName", name), ("GroupDescription", name), ("VpcId", &self.vpc)];
        self.ec2("CreateSecurityGroup", &params).await.one("groupId")
    }

    /// Lets a peer, given as a parameter of the permission, reach a TCP port of those in a group.
    pub async fn let_in(&self, group: &str, port: &str, (member, peer): (&str, &str)) {
        let member = format!("IpPermissions.1.{member}");
        let params = [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", port),
            ("IpPermissions.1.ToPort", port),
            (&member, peer),
        ];
        self.ec2("AuthorizeSecurityGroupIngress", &params).await;
    }

    /// A target group that is checked every five seconds, AWS' shortest.
    pub async fn target_group(&self, name: &str, kind: &str, port: u16) -> String {
        let params = [
            ("Name", name),
            ("Protocol", "HTTP"),
            ("Port", &port.to_string()),
            ("VpcId", &self.vpc),
            ("TargetType", kind),
            ("HealthCheckIntervalSeconds", "5"),
            ("HealthCheckTimeoutSeconds", "2"),
            ("UnhealthyThresholdCount", "2"),
            ("HealthyThresholdCount", "2"),
        ];
        self.elbv2("CreateTargetGroup", &params).await.one("TargetGroupArn")
    }

    pub async fn register(&self, group: &str, id: &str, port: u16) {
        let params = [
            ("TargetGroupArn", group),
            ("Targets.member.1.Id", id),
            ("Targets.member.1.Port", &port.to_string()),
        ];
        self.elbv2("RegisterTargets", &params).await;
    }

    /// A listener with one default action, given as its parameters. Answers its ARN, once it is served.
    pub async fn listener(&self, port: u16, more: &[(&str, &str)]) -> String {
        let port = port.to_string();
        let mut params = vec![("LoadBalancerArn", &*self.balancer), ("Port", &port)];
        params.extend(more);
        let arn = self.elbv2("CreateListener", &params).await.one("ListenerArn");
        self.settled().await;
        arn
    }

    /// Waits until all calls so far are served.
    pub async fn settled(&self) {
        assert_eq!(self.plane.settled().await, [""; 0]);
    }

    /// State and reason of a target group's targets, by id.
    pub async fn health(&self, group: &str) -> BTreeMap<String, String> {
        let answer = self.elbv2("DescribeTargetHealth", &[("TargetGroupArn", group)]).await;
        let members = answer.0.split("</member>").filter_map(|member| {
            let (_, health) = member.split_once("<TargetHealth>")?;
            let health = Answer(health.split_once("</TargetHealth>")?.0.to_owned());
            let state = [Some(health.one("State")), health.find("Reason")];
            let state: Vec<String> = state.into_iter().flatten().collect();
            Some((Answer(member.to_owned()).one("Id"), state.join(" ")))
        });
        members.collect()
    }

    /// Waits until a target's health is as told; panics after a while.
    pub async fn becomes(&self, group: &str, id: &str, expected: &str) {
        let mut changes = self.double.changed();
        let change = async {
            loop {
                changes.borrow_and_update();
                if self.health(group).await.get(id).is_some_and(|state| state == expected) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let patience = Duration::from_secs(30);
        if tokio::time::timeout(patience, change).await.is_err() {
            panic!("{id} is not {expected} but {:?}", self.health(group).await);
        }
        self.settled().await;
    }

    pub async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.form("ec2", action, params).await
    }

    pub async fn elbv2(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.form("elasticloadbalancing", action, params).await
    }

    async fn form(&self, service: &str, action: &str, params: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).extend_pairs(params);
        let request = Request::post("/")
            .header("authorization", authorization(service))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Bytes::from(body.finish())).unwrap();
        Answer(self.call(request).await)
    }

    /// Imports a certificate; answers its ARN.
    pub async fn import(&self, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
        let input = json!({
            "Certificate": STANDARD.encode(certificate.cert.pem()),
            "PrivateKey": STANDARD.encode(certificate.signing_key.serialize_pem()),
        });
        let request = Request::post("/")
            .header("authorization", authorization("acm"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "CertificateManager.ImportCertificate");
        let request = request.body(Bytes::from(input.to_string())).unwrap();
        let answer: Value = serde_json::from_str(&self.call(request).await).unwrap();
        answer["CertificateArn"].as_str().unwrap().to_owned()
    }

    async fn call(&self, request: Request<Bytes>) -> String {
        let asked = format!("{:?}", request.body());
        let response = self.double.answer(request).await.unwrap();
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert_eq!(response.status(), 200, "{asked}: {text}");
        text
    }

    /// The addresses of a name, asked of the name server over UDP and TCP.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResponseCode> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let question = question.to_vec().unwrap();
        let udp = UdpSocket::bind((self.friend(), 0)).await.unwrap();
        udp.send_to(&question, self.dns).await.unwrap();
        let mut over_udp = vec![0; 512];
        let length = udp.recv(&mut over_udp).await.unwrap();
        let mut tcp = TcpStream::connect(self.dns).await.unwrap();
        tcp.write_u16(question.len().try_into().unwrap()).await.unwrap();
        tcp.write_all(&question).await.unwrap();
        let mut over_tcp = vec![0; tcp.read_u16().await.unwrap().into()];
        tcp.read_exact(&mut over_tcp).await.unwrap();
        assert_eq!(over_udp[..length], over_tcp[..]);
        let answer = Message::from_vec(&over_tcp).unwrap();
        let addresses = answer.answers.iter().map(|record| match &record.data {
            RData::A(address) => IpAddr::from(address.0),
            other => panic!("{other:?}"),
        });
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(addresses.collect()),
            code => Err(code),
        }
    }

    /// The first address of the load balancer.
    pub async fn address(&self) -> IpAddr {
        self.resolve(&self.name).await.unwrap()[0]
    }
}

fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// An answer in XML.
pub struct Answer(String);

impl Answer {
    /// The text of the first element of this name.
    pub fn find(&self, element: &str) -> Option<String> {
        let (_, rest) = self.0.split_once(&format!("<{element}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    }

    pub fn one(&self, element: &str) -> String {
        self.find(element).unwrap_or_else(|| panic!("{element} in {}", self.0))
    }
}
