//! The cluster's own tests: one cluster, one fact after the other.

use albacore_cluster::{Cluster, Options};

fn main() -> anyhow::Result<()> {
    albacore_cluster::enter();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(Options::default()).await?;
        let version = cluster.kubectl(&["version"]).await?;
        anyhow::ensure!(version.contains("Server Version: v1.36"), "{version}");
        println!("test the_control_plane_starts ... ok");
        cluster.stop().await;
        println!("\ntest result: ok. 1 passed; 0 failed");
        Ok(())
    })
}
