//! The cluster's certificate authority, who may log in with which certificate, and the kubeconfigs that carry them.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// A certificate authority that writes what it issues into a folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority; its certificate is `<folder>/ca.crt`.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "albacore-cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key)?.pem();
        fs::write(folder.join("ca.crt"), &pem)?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A server's certificate for `names` (DNS names and addresses): `<name>.crt` and `<name>.key`.
    pub fn server(&self, name: &str, names: &[&str]) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        fs::write(
            self.folder.join(format!("{name}.crt")),
            params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem())?;
        Ok(())
    }

    /// The key pair that signs ServiceAccount tokens: `service-account.key` and `service-account.pub`.
    pub fn service_account_key(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        fs::write(self.folder.join("service-account.key"), key.serialize_pem())?;
        fs::write(self.folder.join("service-account.pub"), key.public_key_pem())?;
        Ok(())
    }

    /// A kubeconfig that logs `user` in, as a member of `group`, at `<folder>/<name>.kubeconfig`.
    pub fn kubeconfig(&self, name: &str, user: &str, group: Option<&str>, server: SocketAddrV4) -> Result<PathBuf> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "albacore",
            "clusters": [{"name": "albacore", "cluster": {
                "server": format!("https://{server}"), "certificate-authority-data": BASE64_STANDARD.encode(&self.pem)}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": BASE64_STANDARD.encode(certificate),
                "client-key-data": BASE64_STANDARD.encode(key.serialize_pem())}}],
            "contexts": [{"name": "albacore", "context": {"cluster": "albacore", "user": user}}],
        });
        let path = self.folder.join(format!("{name}.kubeconfig"));
        fs::write(&path, serde_yaml::to_string(&config)?)?;
        Ok(path)
    }
}
