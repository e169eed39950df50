//! The double with its data plane, name server and instance metadata, as programs around it meet them: the control plane is
//! told what to do by plain HTTP requests, then load balancers are asked by name, from addresses that may and may not.
//!
//! The tests in the folder `inside` run in a network namespace without a way out, where every 10.x.y.z is local. The one test
//! here makes it and starts this program again in it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod inside;

use std::process::Command;

/// What a test inside needs of its namespace, and a pair of links as a pod would have; then the program of the arguments.
const NAMESPACE: &str = r#"
ip link set lo up
ip route add local 10.0.0.0/8 dev lo
ip route add local 169.254.169.254/32 dev lo
ip link add pod type veth peer name eth0
ip link set pod up
exec "$@"
"#;

#[test]
fn the_tests_inside_pass_in_a_namespace_of_their_own() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-ec", NAMESPACE, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--test-threads=4", "inside::"])
        .output()
        .expect("unshare (util-linux) is there");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
}
