//! Generated JSON, and generated ways to cut it into chunks.

use proptest::prelude::*;
use serde_json::Value;

/// Any JSON value. Its strings hold characters that may confuse a splitter.
pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        r#"[\\"\[\]{},:a😀]{0,8}"#.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// The body in chunks, cut at `cuts`.
pub fn chunked(body: &[u8], mut cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    cuts.sort_by_key(|cut| cut.index(body.len() + 1));
    let mut chunks = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let to = cut.index(body.len() + 1);
        chunks.push(&body[from..to]);
        from = to;
    }
    chunks.push(&body[from..]);
    chunks
}
