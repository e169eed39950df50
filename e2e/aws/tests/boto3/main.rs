//! The double as boto3 sees it: one of everything in ec2, elbv2, acm and sts is created, read back, changed and deleted, and
//! error codes are checked (`test_double.py`); tags are found and changed whatever their service (`test_tagging.py`); by a client that nobody here wrote.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use albacore_aws::{Double, Options};
use albacore_cluster::python;
use tokio::net::TcpListener;

fn run(what: &str, command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{what}: cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A certificate with its key in `folder`, as `NAME.crt` and `NAME.key`.
fn certificate(folder: &Path, name: &str, made: &rcgen::CertifiedKey<rcgen::KeyPair>) {
    fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

fn signed(
    algorithm: &'static rcgen::SignatureAlgorithm,
    names: &[&str],
    until: i32,
) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let signing_key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, names[0].as_str());
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let cert = params.self_signed(&signing_key).unwrap();
    rcgen::CertifiedKey { cert, signing_key }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_creates_reads_changes_and_deletes_one_of_everything() {
    // Tests run in the folder of their package.
    let here = PathBuf::from("tests/boto3");
    let certificates = tempfile::tempdir().unwrap();
    let rsa = signed(&rcgen::PKCS_RSA_SHA256, &["example.com", "www.example.com"], 2090);
    certificate(certificates.path(), "rsa", &rsa);
    let ec = signed(&rcgen::PKCS_ECDSA_P256_SHA256, &["ec.example.com"], 2090);
    certificate(certificates.path(), "ec", &ec);
    let expired = signed(&rcgen::PKCS_ECDSA_P256_SHA256, &["old.example.com"], 2020);
    certificate(certificates.path(), "expired", &expired);

    let double = Double::new(Options::instant());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { double.serve(listener).await });
    tokio::task::spawn_blocking(move || {
        let python = python(&here.join("requirements.txt")).unwrap();
        for test in ["test_double.py", "test_tagging.py"] {
            run(
                test,
                Command::new(&python)
                    .args(["-B", "-W", "ignore"])
                    .arg(here.join(test))
                    .env("DOUBLE_URL", &url)
                    .env("DOUBLE_CERTIFICATES", certificates.path()),
            );
        }
    })
    .await
    .unwrap();
    serving.abort();
}
