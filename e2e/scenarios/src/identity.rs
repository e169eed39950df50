//! albacore with a role of its own: by web identity (IRSA), and by EKS Pod Identity; each with the pod's real token.

use crate::{
    pod_identity_webhook::ROLE,
    stage::{NAMESPACE, PATIENCE, Stage},
};
use albacore_aws::{
    call::Service,
    identity::{Provider, Role, RoleArn, trust::Trust},
    world::ACCOUNT,
};
use albacore_cluster::ISSUER;
use albacore_simulation::world::CLUSTER;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// The chart's ServiceAccount.
const SERVICE_ACCOUNT: &str = "albacore";

const WEB: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: identity}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: identity, name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: albacore-demo-http, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: identity, name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  namespace: identity
  name: web
  annotations: {alb.ingress.kubernetes.io/target-type: ip}
spec:
  ingressClassName: alb
  defaultBackend: {service: {name: web, port: {number: 80}}}
"#;

/// IRSA: the ServiceAccount's annotation names the role, whose trust policy names the ServiceAccount.
pub async fn an_ingress_becomes_a_load_balancer_with_the_role_of_the_service_account(
    stage: &Stage,
    project: &Path,
) -> Result<()> {
    let role = format!("arn:aws:iam::{ACCOUNT}:role/albacore-web-identity");
    let issuer = ISSUER.trim_start_matches("https://");
    let trust = Trust::parse(json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": Provider::arn(ACCOUNT, ISSUER)},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            format!("{issuer}:aud"): "sts.amazonaws.com",
            format!("{issuer}:sub"): format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"),
        }},
    }]}))?;
    stage
        .double
        .world()
        .identity
        .roles
        .insert(role.clone(), Role::trusting(trust));
    let account = json!({"serviceAccount": {"annotations": {ROLE: role}}});
    serve_as(stage, project, account, "AWS_WEB_IDENTITY_TOKEN_FILE").await?;
    leave_as(stage, &role).await
}

/// EKS Pod Identity: an association names the role, which trusts the service. The credentials end meanwhile, and new ones are
/// used.
pub async fn an_ingress_becomes_a_load_balancer_with_a_pod_identity_association(
    stage: &Stage,
    project: &Path,
) -> Result<()> {
    let role = format!("arn:aws:iam::{ACCOUNT}:role/albacore-pod-identity");
    let trust = Trust::parse(json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }]}))?;
    let account = (CLUSTER.to_owned(), NAMESPACE.to_owned(), SERVICE_ACCOUNT.to_owned());
    {
        let mut world = stage.double.world();
        world.identity.roles.insert(role.clone(), Role::trusting(trust));
        world.identity.associations.insert(account.clone(), role.clone());
    }
    let done = async {
        serve_as(stage, project, json!({}), "AWS_CONTAINER_CREDENTIALS_FULL_URI").await?;
        tokio::time::sleep(Duration::from_secs(40)).await;
        let given: Vec<String> = keys(stage).into_iter().collect();
        let now = stage.double.now();
        for key in &given {
            let mut world = stage.double.world();
            let session = world.identity.sessions.get_mut(key).context("a session")?;
            session.expiration = Some(now);
        }
        leave_as(stage, &role).await?;
        let new = keys(stage).into_iter().filter(|key| !given.contains(key)).count();
        ensure!(new > 0, "no new credentials are used: {given:?}");
        let journal = stage.double.journal();
        let refused = journal
            .iter()
            .filter(|call| call.error.as_deref().is_some_and(|code| code.contains("Expired")));
        ensure!(
            refused.count() == 0,
            "credentials were used that had ended: {:?}",
            stage.told()
        );
        Ok(())
    };
    let done = done.await;
    stage.double.world().identity.associations.remove(&account);
    done
}

/// albacore is installed with these values and started anew, and an Ingress is served. Its pods know of the role by `variable`.
async fn serve_as(stage: &Stage, project: &Path, values: Value, variable: &str) -> Result<()> {
    stage.upgrade(&project.join("chart"), &values).await?;
    let deployment = "deployment/albacore";
    let kubectl = async |arguments: &[&str]| stage.cluster.kubectl(arguments).await;
    kubectl(&["rollout", "restart", "-n", NAMESPACE, deployment]).await?;
    kubectl(&["rollout", "status", "-n", NAMESPACE, deployment, "--timeout=90s"]).await?;
    let led = async || Ok(stage.leader().await.ok());
    let leader = stage.cluster.wait_for("a leader", PATIENCE, led).await?;
    let pod = kubectl(&["get", "pod", "-n", NAMESPACE, &leader, "-o", "json"]).await?;
    ensure!(pod.contains(variable), "the pod has no {variable}: {pod}");

    stage.take_calls();
    stage.apply(WEB).await?;
    let name = stage.hostname("identity", "web").await?;
    stage.settle().await?;
    let answer = stage.client.get(&name, "http://web.example.com/").await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// The Ingress goes, and every call since it came was made as `role`.
async fn leave_as(stage: &Stage, role: &str) -> Result<()> {
    let delete = ["delete", "namespace", "identity", "--timeout=90s"];
    stage.cluster.kubectl(&delete).await?;
    stage.nothing_is_left(PATIENCE).await?;
    let callers = callers(stage);
    let session = RoleArn::parse(role).context("the role's ARN")?.session("");
    ensure!(
        !callers.is_empty() && callers.iter().all(|caller| caller.starts_with(&session)),
        "calls were made by {callers:?}, not by {session}"
    );
    Ok(())
}

/// The keys of the calls since the journal was cleared.
fn keys(stage: &Stage) -> BTreeSet<String> {
    let journal = stage.double.journal();
    let signed = journal.iter().filter(|entry| entry.service != Service::Sts);
    signed.map(|entry| entry.access_key.clone()).collect()
}

/// Who made the calls since the journal was cleared; an exchange of a token is made by nobody.
fn callers(stage: &Stage) -> BTreeSet<String> {
    let world = stage.double.world();
    let sessions = &world.identity.sessions;
    let caller = |key: &String| match sessions.get(key) {
        Some(session) => session.arn.clone(),
        None => format!("nobody ({key})"),
    };
    keys(stage).iter().map(caller).collect()
}
