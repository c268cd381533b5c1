//! Arbitrary upstream results, in any order and for any time: work ends, each call is answered, and the core never panics.

use headwater_core::event::{BackendId, Fingerprint, Offset};
use headwater_core::log::{Break, LogRange};
use headwater_core::sequencer::{
    Core, Effect, Input, Need, Op, Refusal, Request, SequencerLimits, Tail, Ticket, UpstreamResult,
};
use proptest::prelude::*;

use super::rig::{chain, checked};

fn offset() -> impl Strategy<Value = Offset> {
    (0..4u8).prop_map(|n| Offset(format!("{n:03}")))
}

fn tail() -> impl Strategy<Value = Tail> {
    (offset(), prop::bool::weighted(0.2)).prop_map(|(offset, closed)| Tail { offset, closed })
}

fn id() -> impl Strategy<Value = BackendId> {
    prop_oneof![Just("a"), Just("b"), Just("path:t/s")].prop_map(|id| BackendId(id.into()))
}

fn range() -> impl Strategy<Value = LogRange> {
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

fn result() -> impl Strategy<Value = UpstreamResult> {
    let status = prop_oneof![Just(400), Just(403), Just(409), Just(413), Just(429)];
    prop_oneof![
        (prop::option::of(id()), tail())
            .prop_map(|(header, tail)| UpstreamResult::Checked(header, tail)),
        (range(), tail()).prop_map(|(range, end)| UpstreamResult::Read(range, end)),
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
    let delete = id().prop_map(Op::Delete);
    prop_oneof![4 => push, 2 => need.prop_map(Op::Look), 1 => Just(Op::Ensure), 1 => Just(Op::Reset), 1 => Just(Op::Adopt), 1 => Just(Op::Close(None)), 1 => delete]
}

/// Whether a request can have this result. The driver makes `Failed` of any other answer.
fn is_possible(request: &Request, result: &UpstreamResult) -> bool {
    match result {
        UpstreamResult::Checked(..) => matches!(request, Request::Check),
        UpstreamResult::Read(..) => {
            matches!(request, Request::ReadAll { .. } | Request::ReadOn { .. })
        }
        UpstreamResult::Created(..) | UpstreamResult::Exists => matches!(request, Request::Create),
        UpstreamResult::Appended(_) | UpstreamResult::Conflict => {
            matches!(request, Request::Append { .. })
        }
        UpstreamResult::Closed => matches!(request, Request::Close),
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
    fn work_ends_within_its_budget_whatever_the_upstream_answers(
        // The results repeat in their order.
        calls in prop::collection::vec((op(), 0..4usize), 1..12),
        results in prop::collection::vec(result(), 1..12),
    ) {
        let limits = SequencerLimits::default();
        let mut core = Core::new(None, BackendId("path:t/s".into()), limits);
        let (mut open, mut waiting, mut turn) = (None, 0usize, 0);
        let mut handle = |input, open: &mut Option<Request>| {
            let effects = core.handle(input);
            let answered = effects.iter().filter(|effect| matches!(effect, Effect::Answer(..))).count();
            for effect in effects {
                if let Effect::Request(request, _) = effect {
                    assert!(open.replace(request).is_none(), "two requests are open");
                }
            }
            answered
        };
        let mut next = |request: &Request| {
            let result = (0..results.len()).map(|n| &results[(turn + n) % results.len()]).find(|result| is_possible(request, result));
            turn += 1;
            result.cloned().unwrap_or(UpstreamResult::Failed)
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
        prop_assert_eq!(waiting, 0, "a call was never answered");
    }
}
