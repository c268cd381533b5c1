//! Calls to a store's Sequencer.

use headwater_core::event::Position;
use headwater_core::log::LogAddress;
use headwater_core::problem::Problem;
use headwater_core::sequencer::call::{
    Ask, CALL_HEADER, Call, Inspection, LEASE_HEADER, Located, ReadStart, VERSION,
};
use headwater_core::sequencer::{Answer, Need, Op};
use headwater_core::socket::{SUBPROTOCOL, SocketGrant};
use serde::de::DeserializeOwned;
use worker::js_sys::Uint8Array;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{
    Headers, Method, Request, RequestInit, Response, ResponseBody, Stub, console_error, web_sys,
};

use super::context::StoreContext;
use super::tip_cache::{self, KnownTip};
use crate::failure::Failure;
use crate::isolate::{TimedOut, within};
use crate::lease::Lease;
use crate::settings::{SEQUENCER_BINDING, UpstreamSettings};
use crate::upstream::{SEQUENCER_URL, Stream};

/// What the Sequencer tells a reader.
pub(super) struct Told {
    /// The tip; `None` while the store has no stream, or while the Sequencer can't tell.
    pub(super) tip: Option<KnownTip>,
    /// The place of the reader's position. `None` if the Sequencer was not asked, or can't tell.
    pub(super) located: Option<Located>,
    /// Why the store is halted.
    pub(super) halted: Option<Answer>,
}

impl Told {
    /// The problem of a store in whose place the upstream has other events. Then nobody vouches for what the upstream
    /// answers, and no place of the index is sure to be one of that log.
    pub(super) fn doubt(&self) -> Option<Problem> {
        self.halted.as_ref().filter(|halted| halted.is_of_another_log())?.problem()
    }
}

/// The remembered tip if it is recent, else what the Sequencer tells now.
///
/// A remembered tip may be older than a reset. It is good enough for sealed history, which stays what it was.
pub(super) async fn tip(ctx: &StoreContext<'_>, position: &Position) -> Result<Told, Failure> {
    let remembered = tip_cache::get(ctx.store)
        .filter(|(known, _)| ctx.names(&known.tip) && tip_cache::address(ctx.store).is_some());
    let Some((known, is_recent)) = remembered else { return told_now(ctx, position).await };
    if !is_recent {
        match told_now(ctx, position).await {
            Err(Failure::Problem(_)) => {}
            told => return told,
        }
        // It counts as recent again, and spares other reads this wait.
        tip_cache::keep(ctx.store, known.clone());
    }
    Ok(Told { tip: Some(known), located: None, halted: None })
}

/// What the Sequencer tells now. It answers at once. Twice a minute at most, it looks at the log afterwards if an
/// earlier reader found reason to. No read waits for that.
pub(super) async fn told_now(ctx: &StoreContext<'_>, position: &Position) -> Result<Told, Failure> {
    let remembered = tip_cache::get(ctx.store);
    let need = match &remembered {
        Some((known, false)) => known.need.clone(),
        _ => Need::Known,
    };
    let (answer, located, halted) = ask_tip(ctx, need, Some(position.clone())).await;
    let tip = match (answer, remembered) {
        (Ok(Answer::Tip(Some(tip))), Some((known, true))) if tip == known.tip => Some(known),
        (Ok(answer @ Answer::Tip(_)), _) => {
            tip_cache::learn(ctx.store, &answer);
            tip_cache::get(ctx.store).map(|(known, _)| known)
        }
        (Err(error @ Failure::Runtime(_)), _) => return Err(error),
        // Nobody can tell whether the incarnation goes on.
        (answer, _) if ctx.incarnation.is_some() => {
            let refusal = answer.map(|answer| answer.problem());
            return Err(refusal?.unwrap_or_else(Problem::unavailable).into());
        }
        // An old tip is better than none. It counts as recent again, and spares other reads this wait.
        (_, Some((known, _))) => {
            tip_cache::keep(ctx.store, known.clone());
            Some(known)
        }
        (_, None) => None,
    };
    Ok(Told { tip, located, halted })
}

/// Makes the Sequencer look at the log, if a reader has seen more of it than the Sequencer told.
pub(super) async fn notify(ctx: &StoreContext<'_>) {
    let Some((known, _)) = tip_cache::get(ctx.store) else { return };
    // The answer is what the Sequencer knew before it looks. Pushes over sockets may have made it newer than what is
    // remembered.
    if let (Ok(answer), ..) = ask_tip(ctx, known.need, None).await
        && matches!(&answer, Answer::Tip(Some(tip)) if tip.offset > known.tip.offset)
    {
        tip_cache::learn(ctx.store, &answer);
    }
}

async fn ask_tip(
    ctx: &StoreContext<'_>,
    need: Need,
    position: Option<Position>,
) -> (Result<Answer, Failure>, Option<Located>, Option<Answer>) {
    if let Some(position) = position {
        match ask_text(ctx, Ask::Read(need.clone(), position), None).await {
            Err(failure) => return (Err(failure), None, None),
            Ok(text) => {
                if let Ok(ReadStart { answer, located, halted, place, shard }) =
                    serde_json::from_str(&text)
                {
                    if let Some(place) = place {
                        tip_cache::learn_address(ctx.store, LogAddress { place, shard });
                    }
                    return (Ok(answer), Some(located), halted);
                }
            }
        }
    }
    // A live read, or a Sequencer of an older build that does not know `Ask::Read`.
    (ask(ctx, Ask::Look(need), None).await, None, None)
}

/// Calls an operation. A refusal is an answer, too.
pub(super) async fn answer(ctx: &StoreContext<'_>, op: Op) -> Result<Answer, Failure> {
    let answer = ask(ctx, Ask::Op(op), None).await?;
    tip_cache::learn(ctx.store, &answer);
    Ok(answer)
}

/// Calls an operation. A refusal comes back as its [`Problem`].
pub(super) async fn call(ctx: &StoreContext<'_>, op: Op) -> Result<Answer, Failure> {
    unless_refused(answer(ctx, op).await?)
}

/// Pushes a batch. `lease` holds its memory. A refusal comes back as its [`Problem`].
pub(super) async fn push(
    ctx: &StoreContext<'_>,
    op: Op,
    batch: Vec<u8>,
    lease: &Lease,
) -> Result<Answer, Failure> {
    let answer = ask(ctx, Ask::Op(op), Some((batch, Some(lease)))).await?;
    tip_cache::learn(ctx.store, &answer);
    unless_refused(answer)
}

fn unless_refused(answer: Answer) -> Result<Answer, Failure> {
    match answer.problem() {
        Some(problem) => Err(problem.into()),
        None => Ok(answer),
    }
}

/// The place of a position in the index.
pub(super) async fn locate(ctx: &StoreContext<'_>, position: Position) -> Result<Located, Failure> {
    ask(ctx, Ask::Locate(position), None).await
}

/// The Sequencer's part of the inspector's view.
pub(super) async fn inspect(ctx: &StoreContext<'_>) -> Result<Inspection, Failure> {
    ask(ctx, Ask::Inspect, None).await
}

/// Opens a socket to the Sequencer. A refusal comes back as its [`Problem`]. `offered` are the client's
/// subprotocols.
pub(super) async fn connect(
    ctx: &StoreContext<'_>,
    grant: SocketGrant,
    offered: &str,
) -> Result<Response, Failure> {
    let headers = call_headers(ctx, Ask::Connect(grant))?;
    headers.set("upgrade", "websocket")?;
    // The token among the subprotocols goes no further.
    if offered.split(',').any(|one| one.trim() == SUBPROTOCOL) {
        headers.set("sec-websocket-protocol", SUBPROTOCOL)?;
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let request = Request::new_with_init(SEQUENCER_URL, &init)?;
    let object = sequencer(ctx)?;
    let response = match within(
        ctx.settings.upstream.sequencer_timeout(),
        Box::pin(object.fetch_with_request(request)),
    )
    .await
    {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(no_answer(&error.to_string())),
        Err(TimedOut) => return Err(no_answer("timed out")),
    };
    if response.status_code() == 101 {
        return Ok(response);
    }
    let answer: Answer = serde_json::from_str(&text(&response).await?)
        .map_err(|error| no_answer(&error.to_string()))?;
    Err(answer.problem().unwrap_or_else(Problem::too_many_sockets).into())
}

/// The log in the Sequencer's storage.
pub(super) fn stream(ctx: &StoreContext<'_>, settings: UpstreamSettings) -> worker::Result<Stream> {
    let call = Call { version: VERSION, path: ctx.store.as_str().into(), ask: Ask::Log };
    Ok(Stream::built_in(settings, sequencer(ctx)?, serde_json::to_string(&call)?))
}

fn sequencer(ctx: &StoreContext<'_>) -> worker::Result<Stub> {
    ctx.env.durable_object(SEQUENCER_BINDING)?.get_by_name(ctx.store.as_str())
}

fn call_headers(ctx: &StoreContext<'_>, ask: Ask) -> Result<Headers, Failure> {
    let call = Call { version: VERSION, path: ctx.store.as_str().into(), ask };
    let headers = Headers::new();
    headers.set(CALL_HEADER, &serde_json::to_string(&call).map_err(worker::Error::from)?)?;
    Ok(headers)
}

/// Calls the Sequencer. `body` are the bytes that travel beside the call, and the lease on their memory.
pub(super) async fn ask<A: DeserializeOwned>(
    ctx: &StoreContext<'_>,
    ask: Ask,
    body: Option<(Vec<u8>, Option<&Lease>)>,
) -> Result<A, Failure> {
    let text = ask_text(ctx, ask, body).await?;
    serde_json::from_str(&text).map_err(|error| no_answer(&error.to_string()))
}

/// The answer's text. Not part of the generic [`ask`], so that the module has this code only once.
async fn ask_text(
    ctx: &StoreContext<'_>,
    ask: Ask,
    body: Option<(Vec<u8>, Option<&Lease>)>,
) -> Result<String, Failure> {
    let headers = call_headers(ctx, ask)?;
    if let Some((_, Some(lease))) = &body {
        headers.set(LEASE_HEADER, &lease.name())?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        // Drops the Worker's copy of the body: the runtime has one, and the Sequencer gets its own.
        .with_body(body.map(|(bytes, _)| Uint8Array::from(bytes.as_slice()).into()));
    let request = Request::new_with_init(SEQUENCER_URL, &init)?;
    let object = sequencer(ctx)?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::at("edge-before-call");
    let timeout = ctx.settings.upstream.sequencer_timeout();
    let answer = within(timeout, Box::pin(fetch(&object, request))).await;
    #[cfg(feature = "failpoints")]
    crate::failpoints::at("edge-after-call");
    let failure = match answer {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error.to_string(),
        Err(TimedOut) => "timed out".into(),
    };
    Err(no_answer(&failure))
}

/// The Sequencer is overloaded, restarted, broken or silent. The outcome of the call is unknown.
fn no_answer(failure: &str) -> Failure {
    console_error!("the Sequencer did not answer: {failure}");
    Problem::unavailable().into()
}

async fn fetch(object: &Stub, request: Request) -> worker::Result<String> {
    text(&object.fetch_with_request(request).await?).await
}

async fn text(response: &Response) -> worker::Result<String> {
    let ResponseBody::Stream(body) = response.body() else {
        return Err("an answer has no body".into());
    };
    // The runtime collects the bytes in one step. The worker crate would take a step for each chunk.
    let text = web_sys::Response::new_with_opt_readable_stream(Some(body))?.text()?;
    Ok(JsFuture::from(text).await?.as_string().unwrap_or_default())
}
