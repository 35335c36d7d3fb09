//! Many events have a connection of their own, and go without where there is none to be had.

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::store::Store;

#[tokio::test]
async fn a_server_with_no_place_for_another_connection_is_asked_once_and_has_the_events() {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await;
    let mut redis = connection.expect("a connection");
    let args = RedisArgs::of(server.url(), ["q", "f", "e"]);
    let store = Store::connect(&args).await.expect("a store");
    let _listener = store.subscribe().await.expect("a listener");
    // These three.
    let mut full = redis::cmd("CONFIG");
    full.arg(&["SET", "maxclients", "3"]);
    let full = full.exec_async(&mut redis).await;
    full.expect("no place for more");
    let (mut sender, messages) = (store.sender(), vec![vec![b'x'; 100_000]; 2]);
    for _ in 0..3 {
        let heard = sender.send(&messages).await;
        assert_eq!(heard.expect("an answer"), 1);
    }
    let stats: String = redis::cmd("INFO")
        .arg("stats")
        .query_async(&mut redis)
        .await
        .expect("figures");
    assert!(stats.contains("rejected_connections:1\r\n"), "{stats}");
}
