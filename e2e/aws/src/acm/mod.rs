//! AWS Certificate Manager: certificates that users import, and those they request, which nobody validates here.
//!
//! ```text
//! ImportCertificate ─► x509: one certificate, its key, valid now ─► Certificate { issued } ─► data plane: chain and key
//! RequestCertificate ─► Certificate, PENDING_VALIDATION
//! ```

mod describe;
mod import;
mod list;
mod request;
mod tag;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// What stands in a region.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Certificates by ARN.
    pub certificates: BTreeMap<String, Certificate>,
}

impl State {
    /// What a certificate is served with; none if it does not exist or was not issued.
    pub fn certificate(&self, arn: &str) -> Option<&Issued> {
        self.certificates.get(arn)?.issued.as_ref()
    }
}

/// A certificate, requested or imported.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The name it is for.
    pub domain_name: String,
    /// All names it is for, that one among them.
    pub alternative_names: Vec<String>,
    /// When it was requested or first imported.
    pub created: Timestamp,
    /// What was imported; none while a requested one waits for its validation.
    pub issued: Option<Issued>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A certificate with its key, and what the certificate says.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub body: String,
    /// The certificates that lead to its root, PEM; may be empty.
    pub chain: String,
    /// Its private key, PEM.
    pub key: String,
    /// Such as `RSA_2048` or `EC_prime256v1`.
    pub key_algorithm: &'static str,
    /// Such as `SHA256WITHRSA`.
    pub signature_algorithm: &'static str,
    /// In pairs of hexadecimal digits with colons.
    pub serial: String,
    /// Distinguished name.
    pub subject: String,
    /// Name of who signed it.
    pub issuer: String,
    /// `KeyUsages`
    pub key_usages: Vec<&'static str>,
    /// `ExtendedKeyUsages`: names and object identifiers.
    pub extended_key_usages: Vec<(&'static str, String)>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// When it was last imported.
    pub imported: Timestamp,
}

impl Issued {
    /// The certificate and then its chain, PEM.
    pub fn chain_pem(&self) -> String {
        format!("{}\n{}", self.body.trim_end(), self.chain)
    }
}

impl Certificate {
    /// `Status` at a moment.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match &self.issued {
            None => "PENDING_VALIDATION",
            Some(issued) if issued.not_after < now => "EXPIRED",
            Some(_) => "ISSUED",
        }
    }

    /// `Type`
    fn kind(&self) -> &'static str {
        if self.issued.is_some() {
            "IMPORTED"
        } else {
            "AMAZON_ISSUED"
        }
    }

    /// Requested certificates get keys of the default algorithm.
    fn key_algorithm(&self) -> &'static str {
        self.issued.as_ref().map_or("RSA_2048", |issued| issued.key_algorithm)
    }
}

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "AddTagsToCertificate" => tag::add(world, call, read(input)?),
        "DeleteCertificate" => delete(world, call, &read(input)?),
        "DescribeCertificate" => describe::certificate(world, call, &read(input)?),
        "GetCertificate" => describe::get(world, call, &read(input)?),
        "ImportCertificate" => import::import(world, call, read(input)?),
        "ListCertificates" => list::list(world, call, &read(input)?),
        "ListTagsForCertificate" => tag::list(world, call, &read(input)?),
        "RemoveTagsFromCertificate" => tag::remove(world, call, &read(input)?),
        "RequestCertificate" => request::request(world, call, read(input)?),
        other => Err(AwsError::new(
            "UnknownOperationException",
            format!("The double does not perform {other}"),
        )),
    }
}

/// The parts of an input that an operation works with; the input was checked against its shape before.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::new("SerializationException", error.to_string()))
}

/// An input that only names a certificate.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    certificate_arn: String,
}

/// Refuses an ARN that is none of a certificate, or of one that is not there.
fn check(state: &State, arn: &str) -> Result<(), AwsError> {
    if state.certificates.contains_key(arn) {
        return Ok(());
    }
    if !arn
        .splitn(6, ':')
        .nth(5)
        .is_some_and(|resource| resource.starts_with("certificate/"))
    {
        let message = format!("The ARN {arn} is not a certificate ARN");
        return Err(AwsError::new("InvalidArnException", message));
    }
    let account = arn.split(':').nth(4).unwrap_or_default();
    Err(AwsError::new(
        "ResourceNotFoundException",
        format!("Could not find certificate {arn} in account {account}."),
    ))
}

/// `DeleteCertificate`: not while a load balancer presents it.
fn delete(world: &mut World, call: &Call, input: &Named) -> Result<Value, AwsError> {
    let arn = &input.certificate_arn;
    let region = world.region(call);
    check(&region.acm, arn)?;
    if !region.elbv2.certificate_users(arn).is_empty() {
        let message = format!("Certificate {arn} in account {} is in use.", call.account);
        return Err(AwsError::new("ResourceInUseException", message));
    }
    region.acm.certificates.remove(arn);
    Ok(json!({}))
}
