//! The frames of a socket, and how much of them a client may leave unreceived.

use headwater_core::event::{BackendId, Offset};
use headwater_core::problem::Problem;
use headwater_core::socket::{
    ClientFrame, MAX_UNRECEIVED_BYTES, MalformedFrame, ServerFrame, SocketGrant, Turn, Unreceived,
};
use headwater_core::turns::Turns;

fn push(id: u64, backend: Option<&str>, batch_at: usize) -> ClientFrame {
    ClientFrame::Push { id, backend_id: backend.map(|id| BackendId(id.into())), batch_at }
}

#[test]
fn frames_of_a_client_are_read() {
    let cases: [(&str, Result<ClientFrame, MalformedFrame>); 15] = [
        ("{\"push\":{\"id\":7}}\n[1]", Ok(push(7, None, 18))),
        ("{\"push\":{\"id\":7,\"backend\":\"b\"}}\n[1]", Ok(push(7, Some("b"), 32))),
        // A push without a batch reaches the check of batches, which names the mistake.
        ("{\"push\":{\"id\":7}}", Ok(push(7, None, 17))),
        ("{\"push\":{\"id\":7,\"later\":1},\"later\":2}\n", Ok(push(7, None, 38))),
        ("{\"token\":\"t\"}", Ok(ClientFrame::Token("t".into()))),
        ("{\"received\":9}", Ok(ClientFrame::Received(9))),
        ("{\"want\":true}", Ok(ClientFrame::Want)),
        ("{\"later\":true}", Ok(ClientFrame::Unknown)),
        ("{}", Ok(ClientFrame::Unknown)),
        ("", Err(MalformedFrame)),
        ("ping ", Err(MalformedFrame)),
        ("[]\n[]", Err(MalformedFrame)),
        ("{\"push\":{\"id\":-1}}\n[]", Err(MalformedFrame)),
        ("{\"push\":{}}\n[]", Err(MalformedFrame)),
        ("{\"received\":1e9}", Err(MalformedFrame)),
    ];
    for (frame, expected) in cases {
        assert_eq!(ClientFrame::parse(frame.as_bytes()), expected, "{frame:?}");
    }
}

#[test]
fn a_line_of_json_that_is_too_long_is_malformed() {
    let token = |bytes| format!("{{\"token\":\"{}\"}}", "x".repeat(bytes));
    assert!(ClientFrame::parse(token(30_000).as_bytes()).is_ok());
    assert_eq!(ClientFrame::parse(token(40_000).as_bytes()), Err(MalformedFrame));
    let behind = format!("{{\"push\":{{\"id\":1}}}}\n[{}]", " ".repeat(1_000_000));
    assert_eq!(ClientFrame::parse(behind.as_bytes()), Ok(push(1, None, 18)));
}

#[test]
fn frames_of_the_sequencer_are_one_line_of_json() {
    let (from, offset, backend) = (Offset("1".into()), Offset("2".into()), BackendId("b".into()));
    let events =
        ServerFrame::Events { parent: 0, head: 1, from: &from, offset: &offset, turn: None };
    let expected =
        "{\"events\":{\"parent\":0,\"head\":1,\"from\":\"1\",\"offset\":\"2\"}}\n[ {}\n]";
    let turns = || {
        let mut turns = Turns::default();
        turns.want(5, 0);
        turns.want(3, 0);
        Turn::of(&turns)
    };
    // The bytes of a batch are those of the client, line breaks too.
    assert_eq!(String::from_utf8(events.with_batch(b"[ {}\n]")).unwrap(), expected);
    let frames = [
        (
            ServerFrame::Ack { push: 7, head: 1, offset: &offset, turn: turns() },
            "{\"ack\":{\"push\":7,\"head\":1,\"offset\":\"2\",\"turn\":{\"line\":[5,3],\"patienceMs\":200}}}",
        ),
        (
            ServerFrame::Moved { head: 1, offset: &offset, turn: None },
            "{\"moved\":{\"head\":1,\"offset\":\"2\"}}",
        ),
        (ServerFrame::Reset { backend: &backend }, "{\"reset\":{\"backend\":\"b\"}}"),
        (ServerFrame::Granted { expires_in_ms: Some(5) }, "{\"granted\":{\"expiresInMs\":5}}"),
        (ServerFrame::Granted { expires_in_ms: None }, "{\"granted\":{}}"),
        (
            ServerFrame::Bye { reason: "too-slow", detail: "d" },
            "{\"bye\":{\"reason\":\"too-slow\",\"detail\":\"d\"}}",
        ),
    ];
    for (frame, expected) in frames {
        assert_eq!(String::from_utf8(frame.to_bytes()).unwrap(), expected);
    }
}

#[test]
fn a_refusal_has_the_members_of_an_http_answer() {
    let problem = Problem::overloaded("waiting");
    let frame = ServerFrame::refuse(7, &problem, None).to_bytes();
    let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(frame["refuse"]["push"], 7);
    assert_eq!(frame["refuse"]["problem"], problem.to_json());
    assert_eq!(frame["refuse"]["retryAfterMs"], 1_000);
}

#[test]
fn a_client_that_receives_may_be_sent_any_number_of_bytes() {
    let mut unreceived = Unreceived::default();
    for _ in 0..100 {
        assert!(unreceived.send(1 << 19));
        unreceived.receive(1 << 19);
    }
}

#[test]
fn a_client_that_receives_nothing_is_too_slow_after_a_megabyte() {
    let mut unreceived = Unreceived::default();
    assert!(unreceived.send(MAX_UNRECEIVED_BYTES as usize));
    assert!(!unreceived.send(1));
    // A client may name more than the Sequencer remembers.
    unreceived.receive(u64::MAX);
    assert!(unreceived.send(1));
}

#[test]
fn a_grant_ends_at_its_time() {
    let grant = |until_ms| SocketGrant { writes: true, until_ms };
    assert!(!grant(None).has_ended(u64::MAX));
    assert_eq!(grant(None).expires_in_ms(5), None);
    assert!(!grant(Some(10)).has_ended(9));
    assert!(grant(Some(10)).has_ended(10));
    assert_eq!([7, 12].map(|now| grant(Some(10)).expires_in_ms(now)), [Some(3), Some(0)]);
}
