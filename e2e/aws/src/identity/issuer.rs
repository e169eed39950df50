//! An issuer of tokens where there is no cluster: signs as an API server does.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::token::Keys;

/// An issuer with a key of its own.
#[derive(Debug)]
pub struct Issuer {
    /// Its URL, the claim `iss`.
    pub url: String,
    key: EcdsaKeyPair,
}

const KEY: &str = "1";

impl Issuer {
    /// An issuer with a new key.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(url: &str) -> Result<Self, Unspecified> {
        Ok(Issuer {
            url: url.to_owned(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        })
    }

    /// Its JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        // An uncompressed point: a byte that says so, then both coordinates.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{"kid": KEY, "kty": "EC", "alg": "ES256", "use": "sig", "crv": "P-256", "x": text(x), "y": text(y)}]})
    }

    /// The same, ready to verify with.
    pub fn keys(&self) -> Keys {
        serde_json::from_value(self.jwks()).expect("a key set")
    }

    /// A token of a ServiceAccount, for one audience.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn token(
        &self,
        service_account: (&str, &str),
        audience: &str,
        expires: Timestamp,
    ) -> Result<String, Unspecified> {
        let (namespace, name) = service_account;
        let header = json!({"alg": "ES256", "kid": KEY});
        let claims = json!({
            "iss": self.url, "sub": format!("system:serviceaccount:{namespace}:{name}"), "aud": [audience],
            "exp": expires.as_second(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
