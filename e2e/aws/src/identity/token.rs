//! Tokens of a cluster's ServiceAccounts: JSON Web Tokens (RFC 7519), and the keys (RFC 7517) that they are signed with.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// A token, taken apart; nothing of it is verified.
#[derive(Clone, Debug)]
pub struct Token {
    /// Who says so (`iss`).
    pub issuer: String,
    /// Whom it is about (`sub`): `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// Whom it is meant for (`aud`).
    pub audiences: Vec<String>,
    /// When it ends (`exp`), in seconds since 1970.
    pub expires: i64,
    algorithm: String,
    key: String,
    signed: String,
    signature: Vec<u8>,
}

/// What is wrong with a token's form or signature, in the words of STS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no token.
    Form,
    /// The issuer has no such key.
    Key,
    /// Somebody else signed it, or changed it since.
    Signature,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Form => {
                "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
            }
            Wrong::Key => {
                "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements"
            }
            Wrong::Signature => "The web identity token that was passed could not be validated by AWS.",
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Wrong::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Wrong::Form)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Form);
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| Wrong::Form)?;
        let claims: Value = serde_json::from_slice(&bytes(claims)?).map_err(|_| Wrong::Form)?;
        let text = |name: &str| claims[name].as_str().map(str::to_owned).ok_or(Wrong::Form);
        let audiences = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        Ok(Token {
            issuer: text("iss")?,
            subject: text("sub")?,
            audiences,
            expires: claims["exp"].as_i64().ok_or(Wrong::Form)?,
            algorithm: header.alg,
            key: header.kid,
            signed: signed.to_owned(),
            signature: bytes(signature)?,
        })
    }

    /// Namespace and name of the ServiceAccount it is about.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.subject.strip_prefix("system:serviceaccount:")?.split_once(':')
    }
}

/// What an issuer signs with: a JSON Web Key Set, as an API server has it at `/openid/v1/jwks`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Keys {
    keys: Vec<Key>,
}

#[derive(Clone, Debug, Deserialize)]
struct Key {
    kid: String,
    #[serde(flatten)]
    public: Public,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kty")]
enum Public {
    #[serde(rename = "EC")]
    Ec { x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

impl Keys {
    /// Whether one of the keys signed the token.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(&self, token: &Token) -> Result<(), Wrong> {
        let key = self.keys.iter().find(|key| key.kid == token.key).ok_or(Wrong::Key)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Wrong::Key);
        let (signed, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        let verified = match (&key.public, token.algorithm.as_str()) {
            (Public::Ec { x, y }, algorithm @ ("ES256" | "ES384")) => {
                // An uncompressed point, SEC 1.
                let point = [vec![4], bytes(x)?, bytes(y)?].concat();
                let algorithm = if algorithm == "ES256" {
                    &ECDSA_P256_SHA256_FIXED
                } else {
                    &ECDSA_P384_SHA384_FIXED
                };
                UnparsedPublicKey::new(algorithm, point).verify(signed, signature)
            }
            (Public::Rsa { n, e }, algorithm @ ("RS256" | "RS384" | "RS512")) => {
                let algorithm = match algorithm {
                    "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &RSA_PKCS1_2048_8192_SHA384,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                let (n, e) = (bytes(n)?, bytes(e)?);
                RsaPublicKeyComponents { n, e }.verify(algorithm, signed, signature)
            }
            _ => return Err(Wrong::Key),
        };
        verified.map_err(|_| Wrong::Signature)
    }
}
