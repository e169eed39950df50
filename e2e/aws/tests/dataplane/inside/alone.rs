//! The program `aws-double` with everything switched on.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use http::Request;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::traffic::{ask, connect};

/// `aws-double` in a namespace of its own, with a route more.
fn program(route: &str) -> Command {
    let script = format!("ip link set lo up; ip route add local 10.0.0.0/8 dev lo; {route} exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-ec", &script, "sh", env!("CARGO_BIN_EXE_aws-double")]);
    command.kill_on_drop(true);
    command
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn the_program_serves_all_that_it_is_asked_for() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aws-double"));
    let double: SocketAddr = "10.40.0.3:4566".parse().unwrap();
    command.args(["--dataplane", "--dns", "10.40.0.2:53", "--metadata", "10.40.0.4:80"]);
    command.args(["--address", "10.40.0.3"]).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for expected in [
        "DNS on 10.40.0.2:53",
        "instance metadata on http://10.40.0.4:80",
        "AWS double on http://10.40.0.3:4566",
    ] {
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(expected));
    }
    let client = IpAddr::from([10, 40, 200, 1]);
    let request = Request::get("/_admin/options")
        .header("host", "a")
        .body(String::new())
        .unwrap();
    let got = ask(connect(client, double).await.unwrap(), request).await;
    assert!(got.body.contains(r#""health":"probed""#), "{}", got.body);
    child.kill().await.unwrap();
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn the_program_opens_no_data_plane_where_a_route_leads_out() {
    let open = program("ip route add default dev lo;")
        .arg("--dataplane")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&open.stderr);
    assert!(!open.status.success() && text.contains("default route"), "{text}");
}
