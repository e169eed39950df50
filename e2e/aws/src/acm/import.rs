//! `ImportCertificate`: what ACM demands of a certificate, its key and its chain.
//! Source: "Prerequisites for importing ACM certificates" and "Certificate and key format for importing", ACM user guide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Value, json};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::tag::{self, Tag};
use super::{Certificate, Issued, check};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Scene, World};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Import {
    certificate_arn: Option<String>,
    certificate: String,
    private_key: String,
    certificate_chain: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Source: "Quotas", ACM user guide: imported certificates.
const MOST: usize = 2500;

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationException", message)
}

/// The text that a blob carries.
fn text(blob: &str) -> Result<String, AwsError> {
    let bytes = STANDARD.decode(blob).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| invalid("The certificate or key is not in PEM format."))
}

/// `ImportCertificate`, also over one that was imported before.
pub(super) fn import(world: &mut World, call: &Call, input: Import) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let state = &mut region.acm;
    let chain = input.certificate_chain.as_deref().map(text).transpose()?;
    let mut certificate = Certificate::imported(
        &text(&input.certificate)?,
        &text(&input.private_key)?,
        &chain.unwrap_or_default(),
        call.now,
    )?;
    let arn = match input.certificate_arn {
        Some(arn) => {
            check(state, &arn)?;
            if !input.tags.is_empty() {
                let message = "Tags cannot be applied when a certificate is imported again.";
                return Err(AwsError::new("InvalidParameterException", message));
            }
            let before = &state.certificates[&arn];
            if before.issued.is_none() {
                return Err(invalid(format!("The certificate {arn} is not of type IMPORTED.")));
            }
            certificate.created = before.created;
            certificate.tags = before.tags.clone();
            arn
        }
        None => {
            certificate.tags = tag::checked(&input.tags, &certificate.tags)?;
            if state.certificates.len() >= MOST {
                let message = "You have exceeded the maximum number of certificates.";
                return Err(AwsError::new("LimitExceededException", message));
            }
            call.arn("acm", &format!("certificate/{}", ids.uuid()))
        }
    };
    state.certificates.insert(arn.clone(), certificate);
    Ok(json!({"CertificateArn": arn}))
}

impl Certificate {
    /// A certificate as ACM keeps it. All three are PEM; `chain` may be empty.
    ///
    /// # Errors
    /// `ValidationException`: not one certificate, a key that is not its own, a chain that does not lead on from it, or not
    /// valid now.
    pub fn imported(body: &str, key: &str, chain: &str, now: Timestamp) -> Result<Certificate, AwsError> {
        let own = certificates(body)?;
        let own = match own.as_slice() {
            [] => {
                return Err(invalid(
                    "The certificate field does not contain a certificate in PEM format.",
                ));
            }
            [one] => one,
            _ => {
                return Err(invalid(
                    "The certificate field contains more than one certificate. You can specify only one certificate in this field.",
                ));
            }
        };
        let parsed = parse(own)?;
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .ok()
            .and_then(|der| any_supported_type(&der).ok())
            .ok_or_else(|| invalid("The private key is not supported."))?;
        let public = private.public_key();
        if public.is_none_or(|public| public.as_ref() != parsed.public_key().raw) {
            return Err(invalid("The private key does not match the certificate."));
        }
        let mut issuer = parsed.issuer().as_raw().to_vec();
        for link in certificates(chain)? {
            let link = parse(&link)?;
            if link.subject().as_raw() != issuer || link.subject().as_raw() == parsed.subject().as_raw() {
                return Err(invalid(
                    "Could not validate the certificate with the certificate chain.",
                ));
            }
            issuer = link.issuer().as_raw().to_vec();
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| invalid("The certificate's validity cannot be read."))
        };
        let (not_before, not_after) = (
            moment(parsed.validity().not_before)?,
            moment(parsed.validity().not_after)?,
        );
        if now < not_before {
            return Err(invalid("The certificate is not valid yet."));
        }
        if now > not_after {
            return Err(invalid("The certificate has expired."));
        }
        let alternative_names = names(&parsed);
        let Some(domain_name) = alternative_names.first().cloned() else {
            return Err(invalid("The certificate does not contain a domain name."));
        };
        let issued = Issued {
            body: body.to_owned(),
            chain: chain.to_owned(),
            key: key.to_owned(),
            key_algorithm: key_algorithm(&parsed)?,
            signature_algorithm: signature_algorithm(&parsed)?,
            serial: parsed.raw_serial_as_string(),
            subject: parsed.subject().to_string(),
            issuer: common_name(parsed.issuer()).unwrap_or_else(|| parsed.issuer().to_string()),
            key_usages: key_usages(&parsed),
            extended_key_usages: extended_key_usages(&parsed),
            not_before,
            not_after,
            imported: now,
        };
        Ok(Certificate {
            domain_name,
            alternative_names,
            created: now,
            issued: Some(issued),
            tags: Default::default(),
        })
    }
}

/// The certificates in a PEM text.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, AwsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|_| invalid("The certificate is not in PEM format."))
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, AwsError> {
    let parsed = X509Certificate::from_der(der);
    let (_, certificate) = parsed.map_err(|_| invalid("The certificate is not a valid X.509 certificate."))?;
    Ok(certificate)
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let first = name.iter_common_name().next()?;
    first.as_str().ok().map(str::to_owned)
}

/// The common name, then the alternative ones, as far as they name domains.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names: Vec<String> = common_name(certificate.subject()).into_iter().collect();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    for name in alternative
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        if let GeneralName::DNSName(name) = name
            && !names.iter().any(|known| known == name)
        {
            names.push((*name).to_owned());
        }
    }
    names.retain(|name| is_domain(name));
    names
}

/// Whether a name is of the form that ACM's `DomainName` has: labels with dots between them, the first may be a star.
fn is_domain(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name).split('.');
    let label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inside && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.contains('.') && labels.into_iter().all(label)
}

/// Source: "Supported key algorithms", ACM user guide.
fn key_algorithm(certificate: &X509Certificate<'_>) -> Result<&'static str, AwsError> {
    let key = certificate.public_key();
    let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
    match (key.parsed(), curve.map(|oid| oid.to_id_string()).as_deref()) {
        (Ok(PublicKey::RSA(rsa)), _) => match rsa.key_size() {
            1024 => Ok("RSA_1024"),
            2048 => Ok("RSA_2048"),
            3072 => Ok("RSA_3072"),
            4096 => Ok("RSA_4096"),
            _ => Err(invalid("The key length of the certificate is not supported.")),
        },
        (_, Some("1.2.840.10045.3.1.7")) => Ok("EC_prime256v1"),
        (_, Some("1.3.132.0.34")) => Ok("EC_secp384r1"),
        (_, Some("1.3.132.0.35")) => Ok("EC_secp521r1"),
        _ => Err(invalid("The key algorithm of the certificate is not supported.")),
    }
}

/// The names of RFC 5758 and RFC 8017 as Java spells them, which is how ACM does.
fn signature_algorithm(certificate: &X509Certificate<'_>) -> Result<&'static str, AwsError> {
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.5" => Ok("SHA1WITHRSA"),
        "1.2.840.113549.1.1.11" => Ok("SHA256WITHRSA"),
        "1.2.840.113549.1.1.12" => Ok("SHA384WITHRSA"),
        "1.2.840.113549.1.1.13" => Ok("SHA512WITHRSA"),
        "1.2.840.10045.4.3.2" => Ok("SHA256WITHECDSA"),
        "1.2.840.10045.4.3.3" => Ok("SHA384WITHECDSA"),
        "1.2.840.10045.4.3.4" => Ok("SHA512WITHECDSA"),
        _ => Err(invalid("The signature algorithm of the certificate is not supported.")),
    }
}

fn key_usages(certificate: &X509Certificate<'_>) -> Vec<&'static str> {
    let Ok(Some(usage)) = certificate.key_usage() else {
        return Vec::new();
    };
    let usage = &usage.value;
    let named = [
        (usage.digital_signature(), "DIGITAL_SIGNATURE"),
        (usage.non_repudiation(), "NON_REPUDIATION"),
        (usage.key_encipherment(), "KEY_ENCIPHERMENT"),
        (usage.data_encipherment(), "DATA_ENCIPHERMENT"),
        (usage.key_agreement(), "KEY_AGREEMENT"),
        (usage.key_cert_sign(), "CERTIFICATE_SIGNING"),
        (usage.crl_sign(), "CRL_SIGNING"),
        (usage.encipher_only(), "ENCIPHER_ONLY"),
        (usage.decipher_only(), "DECIPHER_ONLY"),
    ];
    named
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect()
}

/// Names by the object identifiers of RFC 5280, section 4.2.1.12.
fn extended_key_usages(certificate: &X509Certificate<'_>) -> Vec<(&'static str, String)> {
    let extensions = certificate.extensions().iter();
    let mut usages = Vec::new();
    for extension in extensions {
        let ParsedExtension::ExtendedKeyUsage(usage) = extension.parsed_extension() else {
            continue;
        };
        let named = [
            (usage.any, "ANY", "2.5.29.37.0"),
            (usage.server_auth, "TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1"),
            (usage.client_auth, "TLS_WEB_CLIENT_AUTHENTICATION", "1.3.6.1.5.5.7.3.2"),
            (usage.code_signing, "CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
            (usage.email_protection, "EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
            (usage.time_stamping, "TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
            (usage.ocsp_signing, "OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
        ];
        let set = named.into_iter().filter(|(set, ..)| *set);
        usages.extend(set.map(|(_, name, oid)| (name, oid.to_owned())));
        usages.extend(usage.other.iter().map(|oid| ("CUSTOM", oid.to_id_string())));
    }
    usages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_that_is_no_domain_is_no_name_of_the_certificate() {
        let made = rcgen::generate_simple_self_signed(["a.example.com".to_owned(), "*.b.org".to_owned()]).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let (body, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let kept = Certificate::imported(&body, &key, "", now).unwrap();
        assert_eq!(kept.domain_name, "a.example.com");
        assert_eq!(kept.alternative_names, ["a.example.com", "*.b.org"]);
        let issued = kept.issued.unwrap();
        assert_eq!(
            (issued.key_algorithm, issued.signature_algorithm),
            ("EC_prime256v1", "SHA256WITHECDSA")
        );
        assert!(is_domain("x-1.example.com") && !is_domain("*.") && !is_domain("a b.com") && !is_domain("localhost"));
    }

    #[test]
    fn a_chain_leads_from_issuer_to_issuer() {
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            (params, rcgen::KeyPair::generate().unwrap())
        };
        let ((root, root_key), (middle, middle_key)) = (authority("root"), authority("middle"));
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = rcgen::Issuer::new(root, root_key);
        let middle_pem = middle.signed_by(&middle_key, &root).unwrap().pem();
        let middle = rcgen::Issuer::new(middle, middle_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
        let body = params.signed_by(&key, &middle).unwrap().pem();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let import = |chain: String| Certificate::imported(&body, &key.serialize_pem(), &chain, now);
        assert!(import(middle_pem.clone()).is_ok());
        assert!(import(middle_pem.clone() + &root_pem).is_ok());
        let error = import(root_pem + &middle_pem).unwrap_err();
        assert_eq!(
            error.message,
            "Could not validate the certificate with the certificate chain."
        );
    }
}
