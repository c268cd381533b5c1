//! The messages of a small log, and the log as a JSON array.

use headwater_core::event::{BackendId, SeqNum};
use headwater_core::log::header_message;

pub fn backend() -> BackendId {
    BackendId("b".into())
}

pub fn event(seq: SeqNum) -> String {
    format!(
        r#"{{"name":"e","args":[{seq}],"seqNum":{seq},"parentSeqNum":{},"clientId":"c","sessionId":"s"}}"#,
        seq - 1
    )
}

pub fn header(id: &BackendId) -> String {
    let body = header_message(id);
    body[1..body.len() - 1].into()
}

pub fn log(messages: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", messages.into_iter().collect::<Vec<_>>().join(", "))
}
