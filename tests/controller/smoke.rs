use serde_json::json;

use crate::world::{MIB, World};

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive() {
    let world = World::install("smoke", json!({})).await;
    for (name, size) in [("a", MIB), ("b", 0), ("c", 20 * MIB)] {
        world.transfer(name, size).await;
    }
    for name in ["a", "b", "c"] {
        world.succeeded(name).await;
    }
    let names = ["a", "b", "c"].map(str::to_owned);
    world.assert_exactly(&names.into()).await;
}
