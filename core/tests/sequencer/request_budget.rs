//! Whatever the upstream answers, in whatever order and for however long: work ends, everyone is told, and nothing
//! panics. So no answers can go round in circles.

use headwater_core::event::{BackendId, Fingerprint, Offset};
use headwater_core::log::{Break, LogRange};
use headwater_core::sequencer::{
    Core, Effect, Input, Need, Op, Refusal, Request, SequencerLimits, Ticket, UpstreamResult,
};
use proptest::prelude::*;

use super::steps::{chain, checked};

fn offset() -> impl Strategy<Value = Offset> {
    (0..4u8).prop_map(|n| Offset(format!("{n:03}")))
}

fn id() -> impl Strategy<Value = BackendId> {
    prop_oneof![Just("a"), Just("b"), Just("path:t/s")].prop_map(|id| BackendId(id.into()))
}

fn stretch() -> impl Strategy<Value = LogRange> {
    let broken = prop_oneof![4 => Just(None), 1 => Just(Some(Break::NotAnEvent(1)))];
    let link = prop::option::of((0..4u64, 1..4u64));
    (prop::option::of(id()), 0..3u64, link, broken, any::<(bool, bool)>()).prop_map(
        |(header, events, link, broken, (probe_found, known_found))| LogRange {
            header,
            events,
            bytes: events * 10,
            link,
            broken,
            fingerprint: Fingerprint(events.into()),
            probe_found,
            known_found,
        },
    )
}

fn reply() -> impl Strategy<Value = UpstreamResult> {
    let status = prop_oneof![Just(400), Just(403), Just(409), Just(413), Just(429)];
    prop_oneof![
        (prop::option::of(id()), offset())
            .prop_map(|(header, tail)| UpstreamResult::Checked(header, tail)),
        (stretch(), offset()).prop_map(|(stretch, end)| UpstreamResult::Read(stretch, end)),
        (id(), offset()).prop_map(|(id, offset)| UpstreamResult::Created(id, offset)),
        offset().prop_map(UpstreamResult::Appended),
        status.prop_map(|status| UpstreamResult::Refused(Refusal { status, retry_after: None })),
        Just(UpstreamResult::Exists),
        Just(UpstreamResult::Conflict),
        Just(UpstreamResult::Closed),
        Just(UpstreamResult::Deleted),
        Just(UpstreamResult::Missing),
        Just(UpstreamResult::Gone),
        Just(UpstreamResult::Unreadable),
        Just(UpstreamResult::Failed),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let push = (0..3u64, prop::option::of(id())).prop_map(|(parent, backend_id)| Op::Push {
        batch: checked(&chain(parent, 1, "x")),
        backend_id,
    });
    let need = prop_oneof![Just(Need::Known), Just(Need::Fresh), offset().prop_map(Need::Reaching)];
    prop_oneof![4 => push, 2 => need.prop_map(Op::Look), 1 => Just(Op::Ensure), 1 => Just(Op::Reset), 1 => Just(Op::Adopt)]
}

/// Whether a request can be answered so at all; what can't be is what the driver makes `Failed` of.
fn fits(request: &Request, reply: &UpstreamResult) -> bool {
    match reply {
        UpstreamResult::Checked(..) => matches!(request, Request::Check),
        UpstreamResult::Read(..) => {
            matches!(request, Request::ReadAll { .. } | Request::ReadOn { .. })
        }
        UpstreamResult::Created(..) | UpstreamResult::Exists => matches!(request, Request::Create),
        UpstreamResult::Appended(_) | UpstreamResult::Conflict | UpstreamResult::Closed => {
            matches!(request, Request::Append { .. })
        }
        UpstreamResult::Deleted => matches!(request, Request::Delete),
        UpstreamResult::Unreadable => {
            matches!(request, Request::Check | Request::ReadAll { .. } | Request::ReadOn { .. })
        }
        UpstreamResult::Missing
        | UpstreamResult::Gone
        | UpstreamResult::Refused(_)
        | UpstreamResult::Failed => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn whatever_the_upstream_answers_work_ends_within_its_budget(
        // The replies go round and round.
        calls in prop::collection::vec((op(), 0..4usize), 1..12),
        replies in prop::collection::vec(reply(), 1..12),
    ) {
        let limits = SequencerLimits::default();
        let mut core = Core::new(None, BackendId("path:t/s".into()), limits);
        let (mut open, mut waiting, mut turn) = (None, 0usize, 0);
        let mut handle = |input, open: &mut Option<Request>| {
            let outputs = core.handle(input);
            let answered = outputs.iter().filter(|output| matches!(output, Effect::Answer(..))).count();
            for output in outputs {
                if let Effect::Request(request, _) = output {
                    assert!(open.replace(request).is_none(), "one request at a time");
                }
            }
            answered
        };
        let mut next = |request: &Request| {
            let reply = (0..replies.len()).map(|n| &replies[(turn + n) % replies.len()]).find(|reply| fits(request, reply));
            turn += 1;
            reply.cloned().unwrap_or(UpstreamResult::Failed)
        };
        for (ticket, (op, steps)) in (0..).map(Ticket).zip(calls) {
            waiting += 1;
            waiting -= handle(Input::Call(ticket, op), &mut open);
            for _ in 0..steps {
                let Some(request) = open.take() else { break };
                waiting -= handle(Input::Upstream(next(&request)), &mut open);
            }
        }
        let bound = waiting * usize::from(limits.requests);
        for sent in 0.. {
            let Some(request) = open.take() else { break };
            prop_assert!(sent <= bound, "{sent} requests for {waiting} calls");
            waiting -= handle(Input::Upstream(next(&request)), &mut open);
        }
        prop_assert_eq!(waiting, 0, "everyone is told");
    }
}
