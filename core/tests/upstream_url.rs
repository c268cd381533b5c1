//! The shards of an upstream, by its URL.

use headwater_core::log::{MAX_SHARDS, UpstreamUrl};

fn read(text: &str) -> UpstreamUrl {
    UpstreamUrl::read(text).expect("a URL")
}

#[test]
fn a_url_without_shards_is_one_server() {
    let url = read("https://streams.example.com/v1/stream/");
    assert_eq!(url.shards(), 1);
    assert_eq!(url.shard_of("default/a"), 0);
    assert_eq!(url.of(0), "https://streams.example.com/v1/stream");
    assert_eq!(url.of(3), "https://streams.example.com/v1/stream");
}

#[test]
fn each_shard_has_its_number_in_the_url() {
    let url = read("https://streams-{shard:16}.example.com/v1/stream/");
    assert_eq!(url.shards(), 16);
    assert_eq!(url.of(0), "https://streams-0.example.com/v1/stream");
    assert_eq!(url.of(15), "https://streams-15.example.com/v1/stream");
    assert_eq!(read("http://h/{shard:2}/").of(1), "http://h/1");
}

/// The hashes come from another program. They must never change: a log would begin on another server.
#[test]
fn the_shard_of_a_new_store_is_the_hash_of_its_path() {
    let url = read("https://streams-{shard:16}.example.com");
    let shards = ["default/a", "default/b", "t/caf%C3%A9"].map(|path| url.shard_of(path));
    assert_eq!(shards, [6, 3, 12]);
}

#[test]
fn new_stores_are_spread_over_all_shards() {
    for count in [2_u32, 3, 16, MAX_SHARDS] {
        let url = read(&format!("https://streams-{{shard:{count}}}.example.com"));
        let mut stores = vec![0_u32; count as usize];
        for store in 0..count * 1_000 {
            stores[url.shard_of(&format!("default/store-{store}")) as usize] += 1;
        }
        assert!(stores.iter().all(|number| (800..1_200).contains(number)), "{count}: {stores:?}");
    }
}

#[test]
fn a_url_with_other_braces_is_none() {
    for text in [
        "https://{shard}.example.com",
        "https://{shard:}.example.com",
        "https://{shard:0}.example.com",
        "https://{shard:1}.example.com",
        "https://{shard:016}.example.com",
        "https://{shard:33}.example.com",
        "https://{shard:+2}.example.com",
        "https://{shard:2.example.com",
        "https://{shard:2}}.example.com",
        "https://{shard:2}.{shard:2}.example.com",
        "https://{region}.example.com",
        "https://{x}{shard:2}.example.com",
        "https://a}.example.com",
    ] {
        assert_eq!(UpstreamUrl::read(text), None, "{text}");
    }
}
