//! One certificate, as `DescribeCertificate` and `GetCertificate` answer it.

use serde_json::{Value, json};

use super::{Named, check};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// `DescribeCertificate`.
pub(super) fn certificate(world: &mut World, call: &Call, input: &Named) -> Result<Value, AwsError> {
    let arn = &input.certificate_arn;
    let region = world.region(call);
    check(&region.acm, arn)?;
    let certificate = &region.acm.certificates[arn];
    let mut answer = json!({
        "CertificateArn": arn, "DomainName": certificate.domain_name, "Status": certificate.status(call.now),
        "SubjectAlternativeNames": certificate.alternative_names, "Type": certificate.kind(),
        "KeyAlgorithm": certificate.key_algorithm(), "InUseBy": region.elbv2.certificate_users(arn),
        "CreatedAt": certificate.created.to_string(), "RenewalEligibility": "INELIGIBLE",
        "Options": {"CertificateTransparencyLoggingPreference": "DISABLED"},
    });
    match &certificate.issued {
        Some(issued) => {
            let usages = issued.key_usages.iter().map(|name| json!({"Name": name}));
            let extended = issued.extended_key_usages.iter();
            answer["Serial"] = json!(issued.serial);
            answer["Subject"] = json!(issued.subject);
            answer["Issuer"] = json!(issued.issuer);
            answer["ImportedAt"] = json!(issued.imported.to_string());
            answer["NotBefore"] = json!(issued.not_before.to_string());
            answer["NotAfter"] = json!(issued.not_after.to_string());
            answer["SignatureAlgorithm"] = json!(issued.signature_algorithm);
            answer["KeyUsages"] = usages.collect();
            answer["ExtendedKeyUsages"] = extended.map(|(name, oid)| json!({"Name": name, "OID": oid})).collect();
        }
        None => {
            let pending = |name: &String| json!({"DomainName": name, "ValidationDomain": name, "ValidationStatus": "PENDING_VALIDATION"});
            answer["DomainValidationOptions"] = certificate.alternative_names.iter().map(pending).collect();
        }
    }
    Ok(json!({"Certificate": answer}))
}

/// `GetCertificate`.
pub(super) fn get(world: &mut World, call: &Call, input: &Named) -> Result<Value, AwsError> {
    let arn = &input.certificate_arn;
    let state = &world.region(call).acm;
    check(state, arn)?;
    let Some(issued) = state.certificate(arn) else {
        let message = format!("The certificate {arn} is pending validation");
        return Err(AwsError::new("RequestInProgressException", message));
    };
    let chain = (!issued.chain.is_empty()).then_some(&issued.chain);
    Ok(json!({"Certificate": issued.body, "CertificateChain": chain}))
}
