//! TLS towards clients, with the certificate their SNI asks for, and towards targets, whose certificates nobody checks.
//! Source: "SSL certificates for your Application Load Balancer" and "Security policies", Application Load Balancers user guide.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion, version};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::snapshot::{Certificate, Tls, Version};

/// Why a listener can't talk TLS.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The certificate is not in the snapshot.
    #[error("certificate {0} does not exist")]
    Missing(String),
    /// It is there but can't be used.
    #[error("certificate {arn}: {why}")]
    Unusable {
        /// Its ARN.
        arn: String,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refused.
    #[error("TLS: {0}")]
    Refused(String),
}

fn certified(
    arn: &str,
    certificate: &Certificate,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), TlsError> {
    let unusable = |why: String| TlsError::Unusable {
        arn: arn.to_owned(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let names = chain
        .first()
        .map(|leaf| names(leaf))
        .ok_or_else(|| unusable("no certificate in the PEM".into()))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| unusable(error.to_string()))?;
    Ok((key, names))
}

/// The names a certificate is for, in lower case: its alternative names, or without any its common name.
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let dns = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
    let dns: Vec<String> = dns.collect();
    if !dns.is_empty() {
        return dns;
    }
    let common = certificate
        .subject()
        .iter_common_name()
        .filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}

/// The certificate for a name: one that has it, then one with a wildcard for its first label, then the default.
struct Chooser<T> {
    default: T,
    by_name: BTreeMap<String, T>,
}

impl<T> Chooser<T> {
    fn choose(&self, name: Option<&str>) -> &T {
        let found = name.map(str::to_ascii_lowercase).and_then(|name| {
            self.by_name.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        });
        found.unwrap_or(&self.default)
    }
}

impl fmt::Debug for Chooser<Arc<CertifiedKey>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl ResolvesServerCert for Chooser<Arc<CertifiedKey>> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).clone())
    }
}

/// The TLS versions of a security policy, as far as rustls has them: TLS 1.0 and 1.1 are never spoken here.
fn versions(policy: &str) -> Vec<&'static SupportedProtocolVersion> {
    if policy.contains("TLS13-1-3") {
        vec![&version::TLS13]
    } else if policy.contains("TLS13") {
        vec![&version::TLS13, &version::TLS12]
    } else {
        vec![&version::TLS12]
    }
}

const HTTP1: &[u8] = b"http/1.1";
/// The ALPN name of HTTP/2.
pub const HTTP2: &[u8] = b"h2";

/// The server side of an HTTPS listener.
///
/// # Errors
/// When a certificate is missing or unusable.
pub fn server(
    tls: &Tls,
    certificates: &BTreeMap<String, Certificate>,
    http2: bool,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let load = |arn: &String| {
        let certificate = certificates.get(arn).ok_or_else(|| TlsError::Missing(arn.clone()))?;
        let (key, names) = certified(arn, certificate, &provider)?;
        Ok((Arc::new(key), names))
    };
    let (default, default_names) = load(&tls.default_certificate)?;
    let mut by_name: BTreeMap<_, _> = default_names.into_iter().map(|name| (name, default.clone())).collect();
    for arn in &tls.certificates {
        let (key, names) = load(arn)?;
        for name in names {
            by_name.entry(name).or_insert_with(|| key.clone());
        }
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(&tls.policy))
        .map_err(|error| TlsError::Refused(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Chooser { default, by_name }));
    config.alpn_protocols = if http2 {
        vec![HTTP2.to_vec(), HTTP1.to_vec()]
    } else {
        vec![HTTP1.to_vec()]
    };
    Ok(Arc::new(config))
}

/// The client side of a connection to a target: any certificate will do.
/// Source: "Target groups for your Application Load Balancers": the load balancer does not validate target certificates.
///
/// # Errors
/// When the TLS library has no usable protocol version.
pub fn client(version: Version) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Refused(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = match version {
        Version::Http1 => vec![HTTP1.to_vec()],
        Version::Http2 | Version::Grpc => vec![HTTP2.to_vec()],
    };
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Chooser, names, versions};

    #[test]
    fn a_name_goes_before_a_wildcard_and_a_wildcard_before_the_default() {
        let by_name = [("a.example.com", 1), ("*.example.com", 2), ("*.b.example.com", 3)];
        let chooser = Chooser {
            default: 0,
            by_name: by_name.map(|(name, n)| (name.to_owned(), n)).into(),
        };
        for (name, expected) in [
            (Some("a.example.com"), 1),
            (Some("A.EXAMPLE.com"), 1),
            (Some("c.example.com"), 2),
            (Some("x.b.example.com"), 3),
            (Some("y.x.b.example.com"), 0), // a wildcard stands for one label
            (Some("example.com"), 0),
            (Some("localhost"), 0),
            (None, 0),
        ] {
            assert_eq!(*chooser.choose(name), expected, "{name:?}");
        }
        assert_eq!(
            *Chooser {
                default: 7,
                by_name: BTreeMap::new()
            }
            .choose(Some("a.b")),
            7
        );
    }

    #[test]
    fn a_certificate_is_for_its_alternative_names() {
        let certificate =
            rcgen::generate_simple_self_signed(["Shop.example.com".to_owned(), "*.b.com".to_owned()]).unwrap();
        assert_eq!(names(certificate.cert.der()), ["shop.example.com", "*.b.com"]);
    }

    #[test]
    fn a_policy_decides_the_versions() {
        for (policy, count) in [
            ("ELBSecurityPolicy-2016-08", 1),
            ("ELBSecurityPolicy-TLS13-1-2-2021-06", 2),
            ("ELBSecurityPolicy-TLS13-1-3-2021-06", 1),
            ("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", 1),
        ] {
            assert_eq!(versions(policy).len(), count, "{policy}");
        }
    }
}
