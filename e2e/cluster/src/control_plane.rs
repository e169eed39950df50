//! etcd, API server, controller manager and scheduler: real ones, started in about three seconds.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use http::{Request, header::HOST};
use http_body_util::Full;
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::certificates::Authority;
use crate::process::Process;

/// Where the API server listens; pods find it in `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
pub const API_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 10), 6443);

/// Who issues the tokens of ServiceAccounts.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// ClusterIPs come from here, outside of every VPC and pod range; nothing listens on them.
const SERVICE_RANGE: &str = "172.20.0.0/16";
const ETCD: &str = "127.0.0.1:2379";

/// Requests a second that controllers may make: the default of twenty makes thousands of pods a matter of minutes.
const QPS: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

/// How long a part may take to become ready; seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Every request once, without its body: enough to count calls and to see who was forbidden what.
const AUDIT_POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

/// The running control plane.
pub(crate) struct ControlPlane {
    etcd: Process,
    api_server: Process,
    others: Vec<Process>,
    pub client: Client,
    pub kubeconfig: PathBuf,
    pub audit: PathBuf,
}

impl ControlPlane {
    /// Starts everything below `state`; returns when the API server is ready and ServiceAccounts are being made.
    pub async fn start(tools: &Path, state: &Path) -> Result<Self> {
        if TcpStream::connect(API_SERVER).await.is_ok() {
            bail!("a cluster runs in these namespaces already; stop it first");
        }
        let pki = state.join("pki");
        let logs = state.join("log");
        let authority = Authority::new(&pki)?;
        let names = [
            "localhost",
            "127.0.0.1",
            &API_SERVER.ip().to_string(),
            "kubernetes.default.svc",
        ];
        authority.server("apiserver", &names)?;
        // The API server asks kubelets without checking their names.
        authority.server("kubelet", &["kubelet"])?;
        authority.service_account_key()?;
        let kubeconfig = authority.kubeconfig("admin", "kubernetes-admin", Some("system:masters"), API_SERVER)?;

        let mut etcd = Process::start(
            "etcd",
            &logs,
            Command::new(tools.join("etcd"))
                .arg("--data-dir")
                .arg(state.join("etcd"))
                .args([
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                    &format!("--listen-client-urls=http://{ETCD}"),
                    &format!("--advertise-client-urls=http://{ETCD}"),
                    "--listen-peer-urls=http://127.0.0.1:2380",
                ]),
        )?;
        until("etcd answers", &mut etcd, async || {
            Ok(TcpStream::connect(ETCD).await.is_ok())
        })
        .await?;

        let audit = state.join("audit.log");
        let policy = pki.join("audit-policy.yaml");
        std::fs::write(&policy, AUDIT_POLICY)?;
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut api_server = Process::start(
            "kube-apiserver",
            &logs,
            Command::new(tools.join("kube-apiserver")).args([
                format!("--advertise-address={}", API_SERVER.ip()),
                format!("--bind-address={}", API_SERVER.ip()),
                format!("--secure-port={}", API_SERVER.port()),
                format!("--etcd-servers=http://{ETCD}"),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--authorization-mode=RBAC".into(),
                "--allow-privileged=true".into(),
                "--enable-aggregator-routing=true".into(),
                "--endpoint-reconciler-type=none".into(),
                "--kubelet-preferred-address-types=InternalIP".into(),
                format!("--service-account-issuer={ISSUER}"),
                file("service-account-signing-key-file", &pki.join("service-account.key")),
                file("service-account-key-file", &pki.join("service-account.pub")),
                file("client-ca-file", &pki.join("ca.crt")),
                file("tls-cert-file", &pki.join("apiserver.crt")),
                file("tls-private-key-file", &pki.join("apiserver.key")),
                file("audit-policy-file", &policy),
                file("audit-log-path", &audit),
            ]),
        )?;
        let mut config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default()).await?;
        config.read_timeout = None;
        let client = Client::try_from(config)?;
        let ready = client.clone();
        until("the API server is ready", &mut api_server, async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let answer = tokio::time::timeout(Duration::from_secs(2), ready.request_text(request)).await;
            Ok(matches!(answer, Ok(Ok(_))))
        })
        .await?;

        let manager = authority.kubeconfig("controller-manager", "system:kube-controller-manager", None, API_SERVER)?;
        let mut controller_manager = Process::start(
            "kube-controller-manager",
            &logs,
            Command::new(tools.join("kube-controller-manager"))
                .args([
                    file("kubeconfig", &manager),
                    file("authentication-kubeconfig", &manager),
                    file("authorization-kubeconfig", &manager),
                    file("service-account-private-key-file", &pki.join("service-account.key")),
                    file("root-ca-file", &pki.join("ca.crt")),
                    "--use-service-account-credentials=true".into(),
                    // A node's pod range is the caller's to give: it must lie within a subnet of the VPC.
                    "--controllers=*,-node-ipam-controller".into(),
                    "--bind-address=127.0.0.1".into(),
                    "--leader-elect=false".into(),
                ])
                .args(QPS),
        )?;
        let sched = authority.kubeconfig("scheduler", "system:kube-scheduler", None, API_SERVER)?;
        let scheduler = Process::start(
            "kube-scheduler",
            &logs,
            Command::new(tools.join("kube-scheduler"))
                .args([
                    file("kubeconfig", &sched),
                    file("authentication-kubeconfig", &sched),
                    file("authorization-kubeconfig", &sched),
                    "--bind-address=127.0.0.1".into(),
                    "--leader-elect=false".into(),
                ])
                .args(QPS),
        )?;
        // A pod is refused before its namespace has this account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        until(
            "the default ServiceAccount exists",
            &mut controller_manager,
            async || Ok(accounts.get_opt("default").await?.is_some()),
        )
        .await?;
        Ok(Self {
            etcd,
            api_server,
            others: vec![scheduler, controller_manager],
            client,
            kubeconfig,
            audit,
        })
    }

    /// Has `process` stopped with the control plane, before the API server.
    pub fn attend(&mut self, process: Process) {
        self.others.push(process);
    }

    /// Has etcd forget what was before a revision, as the API server has it do every five minutes.
    pub async fn forget(&self, before: &str) -> Result<()> {
        let order = serde_json::json!({ "revision": before, "physical": true }).to_string();
        let request = Request::post("/v3/kv/compaction")
            .header(HOST, ETCD)
            .body(Full::new(Bytes::from(order)))?;
        let stream = TcpStream::connect(ETCD).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async { anyhow::Ok(sender.send_request(request).await?) };
        let response = tokio::select! {
            response = answer => response?,
            ended = connection => bail!("connection ended: {ended:?}"),
        };
        ensure!(response.status().is_success(), "status {}", response.status());
        Ok(())
    }

    /// Clients first, then the API server, then etcd: without etcd the API server's shutdown hangs for a minute.
    pub async fn stop(self) {
        futures::future::join_all(self.others.into_iter().map(Process::stop)).await;
        self.api_server.stop().await;
        self.etcd.stop().await;
    }
}

/// Asks `fact` until it holds; fails with the log's end when `process` dies or time is up.
async fn until(what: &str, process: &mut Process, fact: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        process.alive()?;
        match fact().await {
            Ok(true) => return Ok(()),
            outcome if tokio::time::Instant::now() > deadline => {
                let error = outcome
                    .err()
                    .unwrap_or_else(|| anyhow::anyhow!("not within {PATIENCE:?}"))
                    .context(what.to_owned());
                return Err(process.explain(error));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
