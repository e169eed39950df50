//! Certificates: made, read, and served. What is served can be exchanged at any time; connections that stand stay.

use jiff::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How long a certificate is valid.
pub const VALID: Duration = Duration::from_secs(90 * 86_400);

/// Clocks of machines differ: what is made now is valid for one that is late, too.
const LATE: Duration = Duration::from_secs(3600);

/// A certificate, with the authority that issued it. That one issues no other: its key is not kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The authority's certificate (PEM).
    pub ca: String,
    /// The certificate (PEM).
    pub certificate: String,
    /// Its key (PEM).
    pub key: String,
    /// When it was made.
    pub made: Timestamp,
}

impl Pair {
    /// Makes one for a server that is called by these names.
    ///
    /// # Errors
    /// A name that is none.
    pub fn make(names: &[String], now: Timestamp) -> Result<Self, rcgen::Error> {
        let valid = |mut params: CertificateParams, name: &str| {
            let at = |time: Timestamp| {
                let since = u64::try_from(time.as_second()).unwrap_or_default();
                date_time_ymd(1970, 1, 1) + Duration::from_secs(since)
            };
            params.not_before = at(now - LATE);
            params.not_after = at(now + VALID);
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut ca = valid(CertificateParams::default(), "albacore webhook authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&issuer_key)?;
        let mut server = valid(CertificateParams::new(names)?, "albacore webhook");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(ca, issuer_key))?;
        Ok(Self {
            ca: ca_certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            made: now,
        })
    }

    /// Until when it is valid.
    pub fn until(&self) -> Timestamp {
        self.made
            .saturating_add(Span::new().seconds(VALID.as_secs() as i64))
            .unwrap_or(Timestamp::MAX)
    }
}

/// Why a certificate cannot be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not PEM.
    #[error("the {0} is not PEM: {1}")]
    Unreadable(&'static str, String),
    /// Key and certificate make no pair.
    #[error("key and certificate cannot be used together: {0}")]
    Mismatch(String),
}

/// What is served, once there is something; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Served(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl Served {
    /// Serves another certificate from now on; connections that are there stay.
    ///
    /// # Errors
    /// It cannot be served; the one before still is.
    pub fn exchange(&self, certificate: &[u8], key: &[u8]) -> Result<(), Unusable> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| Unusable::Unreadable("certificate", error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|error| Unusable::Unreadable("key", error.to_string()))?;
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| Unusable::Mismatch(error.to_string()))?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    /// TLS with it: 1.2 and 1.3, HTTP/1.1 only.
    ///
    /// # Errors
    /// The cryptography cannot do these versions.
    pub fn tls(&self) -> Result<ServerConfig, rustls::Error> {
        let mut tls = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(tls)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_served_leaves_what_is() {
        let names = ["albacore-webhook-service.kube-system.svc".to_owned()];
        let pair = || Pair::make(&names, Timestamp::UNIX_EPOCH).unwrap();
        let (one, other) = (pair(), pair());
        let served = Served::default();
        served.exchange(one.certificate.as_bytes(), one.key.as_bytes()).unwrap();
        let now = || served.0.read().unwrap().clone().unwrap();
        let before = now();
        for (certificate, key) in [
            (one.certificate.as_str(), other.key.as_str()),
            ("", one.key.as_str()),
            ("nonsense", one.key.as_str()),
            (one.certificate.as_str(), ""),
            (one.certificate.as_str(), one.certificate.as_str()),
        ] {
            let refused = served.exchange(certificate.as_bytes(), key.as_bytes());
            assert!(refused.is_err(), "{certificate} {key}");
            assert!(Arc::ptr_eq(&before, &now()));
        }
        served
            .exchange(other.certificate.as_bytes(), other.key.as_bytes())
            .unwrap();
        assert!(!Arc::ptr_eq(&before, &now()));
    }
}
