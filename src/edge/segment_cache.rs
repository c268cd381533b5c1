//! Sealed history: served from the edge cache, and brought there by whoever misses it first.
//!
//! A miss reads the log once, and keeps the segments after the wanted one as well: the upstream sends
//! everything up to the tail anyway, so one read for each segment would make it send the rest of the
//! log over and over. The filling belongs to no client, and goes on when the one that began it leaves.
//!
//! Where nothing is kept (there is no cache, it keeps nothing, or enough is being filled), a reader gets the same segment,
//! cut out of a read of its own that ends there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use futures::channel::oneshot;
use futures::stream;
use headwater_core::budget::BudgetLimits;
use headwater_core::event::{BackendId, Fingerprinter, Offset, Position};
use headwater_core::names::{StorePath, encode};
use headwater_core::problem::Problem;
use headwater_core::segments::assemble::{Passage, Sealed, SegmentMismatch, Segments};
use headwater_core::segments::pages::{self, Interior, Pages};
use headwater_core::segments::plan::Plan;
use headwater_core::sequencer::call::{Incarnation, Located};
use headwater_core::sequencer::{Refusal, UpstreamResult};
use worker::{Cache, Response, console_error};

use super::context::{Failure, StoreRequest};
use super::{reply, sequencer_client, tip_cache};
use crate::isolate::{Memory, now, wait_while};
use crate::lease::{FILLS, Lease};
use crate::upstream::{Opened, Stream, discard};

/// The edge cache that is Headwater's alone.
const CACHE: &str = "headwater-segments";

/// A filling that has not come to its next segment for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was met at a key is believed for so long.
const AVOID_MS: u64 = 60_000;

/// Keys at which something was met, at most; beyond it all are forgotten, which costs a try each.
const AVOIDED_KEYS: usize = 10_000;

/// How much may be gathered for the cache at once: each filling has a segment in memory, or two.
const FILLING: BudgetLimits = BudgetLimits { own_leases: 4, leases: 16, bytes: 16 << 20 };

/// A filling that has not come to its next segment for so long was ended by the runtime, which grants it 30 s after the answer.
const FILLING_LASTS: Duration = Duration::from_secs(60);

/// What a page of a run counts for.
const RUN_PAGE_BYTES: u64 = 2 << 20;

/// A segment for a reader.
pub struct Page {
    /// Body, `Stream-Next-Offset` and `ETag`.
    pub response: Response,
    /// Where it is from, as `X-Cache` names it.
    pub source: &'static str,
}

/// The segment that begins at an offset; `None` if none does, and the log itself must be read.
///
/// `located` is its place, where the Sequencer has told it already.
pub async fn page(
    on: &StoreRequest<'_>,
    cache: SegmentCache,
    from: &Offset,
    located: Option<Located>,
) -> Result<Option<Page>, Failure> {
    let stream = on.stream();
    let interior = Interior::parse(from);
    let begin = pages::begin_of(from);
    // Pages of a run are read from its begin, so what was met there holds for all of them.
    let met = || Avoid::at(&cache.key(from)).or_else(|| Avoid::at(&cache.key(&begin)));
    let is_avoided = met().is_some();
    let found = if is_avoided { cache.find(from).await } else { cache.find_or_await(from).await };
    if let Some(response) = found {
        return Ok(Some(Page { response, source: "HIT" }));
    }
    // Whoever was waited for may have met something.
    let avoided = met();
    if avoided == Some(Avoid::Index) {
        return Ok(None);
    }
    let marks = avoided.is_none().then(|| FillClaims::on(cache.key(from)));
    let located = match located {
        Some(located) => located,
        None => sequencer_client::locate(on, Position::Offset(begin.clone())).await?,
    };
    let plan = match located {
        Located::Found { incarnation, .. } if incarnation != cache.incarnation => {
            tip_cache::forget(&cache.store);
            return Ok(None);
        }
        Located::Found { plan, .. } => plan,
        _ => return Ok(None),
    };
    let is_segment = interior.is_none() && !plan.segments.is_empty();
    let Some((mut marks, lease)) = marks.zip(begin_filling(&cache, &plan)) else {
        return if is_segment { alone(cache, stream, plan).await } else { Ok(None) };
    };
    let (id, implicit_id) = (cache.incarnation.backend_id.clone(), cache.implicit_id());
    let cuts = if is_segment {
        // Each segment begins where the one before it ends.
        marks.extend(
            plan.segments
                .iter()
                .skip(1)
                .zip(&plan.segments)
                .map(|(_, before)| cache.key(&before.end)),
        );
        Cuts::Segments(Segments::new(plan, id, implicit_id))
    } else {
        let Some(pages) = Pages::new(plan, interior, on.settings.segment, id, implicit_id) else {
            return Ok(None);
        };
        Cuts::Pages(pages)
    };
    let (give, first) = oneshot::channel();
    on.runtime.wait_until(fill(
        Filling { cache, stream, from: from.clone(), begin, cuts, marks, lease },
        give,
    ));
    match first.await {
        Ok(FillOutcome::Segment(response)) => Ok(Some(Page { response, source: "MISS" })),
        Ok(FillOutcome::SegmentMismatch) => Ok(None),
        Ok(FillOutcome::NoAnswer) | Err(_) => Err(Problem::unavailable().into()),
    }
}

fn begin_filling(cache: &SegmentCache, plan: &Plan) -> Option<Lease> {
    // A page of a run is about as long as a segment is.
    let longest = plan.segments.iter().map(|segment| segment.bytes).max().unwrap_or(RUN_PAGE_BYTES);
    Lease::take(&FILLS, cache.store.as_str(), longest, FILLING_LASTS, FILLING)
}

/// Which of the segments that begin at these offsets are in this location's edge cache.
pub async fn kept(cache: &SegmentCache, begins: &[Offset]) -> Vec<bool> {
    let mut kept = Vec::new();
    for from in begins {
        kept.push(cache.holds(from).await);
    }
    kept
}

/// The first segment of a plan for one reader, while it is read. The read ends with the segment, or when the reader leaves.
async fn alone(cache: SegmentCache, stream: Stream, plan: Plan) -> Result<Option<Page>, Failure> {
    let (from, end) = (plan.from.clone(), plan.segments[0].end.clone());
    let opened = match stream.open(&from).await {
        Ok(opened) => opened,
        Err(reply) => {
            return match cache.gave_up(&from, reply.into()) {
                FillOutcome::SegmentMismatch => Ok(None),
                _ => Err(Problem::unavailable().into()),
            };
        }
    };
    let passage = Passage::new(plan, cache.incarnation.backend_id.clone(), cache.implicit_id());
    let tag = cache.tag(&from, &end);
    let reading = Reading { cache, stream, from, opened, passage };
    let bytes = stream::try_unfold(reading, |mut reading| async move {
        match reading.next().await {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, reading))),
            // The reader sees it break off, and asks again.
            Err(stop) => {
                reading.cache.gave_up(&reading.from, stop);
                Err(worker::Error::from("the segment could not be read to its end"))
            }
        }
    });
    let response = reply::segment(reply::streamed(Box::pin(bytes))?, &end, &tag)?;
    Ok(Some(Page { response, source: "BYPASS" }))
}

/// A segment that is being passed on.
struct Reading {
    cache: SegmentCache,
    stream: Stream,
    from: Offset,
    opened: Opened,
    passage: Passage,
}

impl Reading {
    /// The next bytes of the segment; `None` behind it.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, FillError> {
        while !self.passage.is_done() {
            if let Some(chunk) = self.opened.body.chunk().await.map_err(|_| FillError::NoAnswer)? {
                let bytes = self.passage.feed(chunk)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes));
                }
                continue;
            }
            self.passage.next_page()?;
            turn(&self.stream, &mut self.opened).await?;
        }
        Ok(None)
    }
}

/// Goes on to the next page of a read, of which a planned segment needs more.
async fn turn(stream: &Stream, opened: &mut Opened) -> Result<(), FillError> {
    match stream.turn(opened).await? {
        true => Ok(()),
        false => Err(FillError::SegmentMismatch("the log is shorter than its index".into())),
    }
}

/// What became of the segment that a reader waits for.
enum FillOutcome {
    Segment(Response),
    NoAnswer,
    /// The log is not what the index says, or refuses: what it answers itself is to be seen.
    SegmentMismatch,
}

/// A read of the log that brings what it is cut into to the cache.
struct Filling {
    cache: SegmentCache,
    stream: Stream,
    /// Where the reader begins who waits for the first piece.
    from: Offset,
    /// Where the read begins.
    begin: Offset,
    cuts: Cuts,
    marks: FillClaims,
    lease: Lease,
}

enum Cuts {
    Segments(Segments),
    Pages(Pages),
}

impl Cuts {
    fn is_done(&self) -> bool {
        match self {
            Self::Segments(segments) => segments.is_done(),
            Self::Pages(pages) => pages.is_done(),
        }
    }

    fn next_page(&mut self) -> Result<(), SegmentMismatch> {
        match self {
            Self::Segments(segments) => segments.next_page(),
            Self::Pages(pages) => pages.next_page(),
        }
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, SegmentMismatch> {
        match self {
            Self::Segments(segments) => segments.feed(chunk),
            Self::Pages(pages) => pages.feed(chunk),
        }
    }
}

async fn fill(mut filling: Filling, give: oneshot::Sender<FillOutcome>) {
    let mut give = Some(give);
    if let Err(stop) = filling.read(&mut give).await {
        let end = filling.cache.gave_up(&filling.from, stop);
        if let Some(give) = give {
            let _ = give.send(end);
        }
    }
}

enum FillError {
    NoAnswer,
    SegmentMismatch(String),
    Runtime(worker::Error),
}

impl From<worker::Error> for FillError {
    fn from(error: worker::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<SegmentMismatch> for FillError {
    fn from(misfit: SegmentMismatch) -> Self {
        Self::SegmentMismatch(misfit.to_string())
    }
}

impl From<UpstreamResult> for FillError {
    fn from(reply: UpstreamResult) -> Self {
        match reply {
            UpstreamResult::Failed => Self::NoAnswer,
            UpstreamResult::Refused(Refusal { status, .. }) => {
                Self::SegmentMismatch(format!("the log's server refused with {status}"))
            }
            UpstreamResult::Missing | UpstreamResult::Gone => {
                Self::SegmentMismatch("the log's server does not have it".into())
            }
            _ => Self::SegmentMismatch("it is no JSON".into()),
        }
    }
}

impl Filling {
    /// Reads the log until all is cut, or up to what is kept already. The first piece goes to the reader before it goes to
    /// the cache.
    async fn read(
        &mut self,
        give: &mut Option<oneshot::Sender<FillOutcome>>,
    ) -> Result<(), FillError> {
        let mut opened = self.stream.open(&self.begin).await?;
        while !self.cuts.is_done() {
            let Some(chunk) = opened.body.chunk().await.map_err(|_| FillError::NoAnswer)? else {
                self.cuts.next_page()?;
                turn(&self.stream, &mut opened).await?;
                continue;
            };
            for sealed in self.cuts.feed(chunk)? {
                if !self.keep(sealed, give).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Gives and keeps one piece. Is there reason to read on?
    async fn keep(
        &mut self,
        piece: Sealed,
        give: &mut Option<oneshot::Sender<FillOutcome>>,
    ) -> Result<bool, FillError> {
        let Self { cache, marks, lease, .. } = self;
        let Sealed { from, end, body } = piece;
        let mut kept = reply::segment(Response::from_bytes(body)?, &end, &cache.tag(&from, &end))?;
        let is_first = give.is_some();
        if let Some(give) = give.take() {
            let _ = give.send(FillOutcome::Segment(kept.cloned()?));
        }
        if let Cuts::Pages(_) = self.cuts {
            // Nobody knew before where this one ends.
            marks.extend([cache.key(&end)]);
        }
        let put = cache.cache.put(cache.key(&from), kept).await;
        marks.clear(&cache.key(&from));
        lease.renew(FILLING_LASTS);
        if put.is_err() || (is_first && !cache.holds(&from).await) {
            // It is not kept here, and to read on would be to read for nothing.
            Avoid::Cache.set(cache.key(&from));
            return Ok(false);
        }
        Ok(!(is_first && cache.holds(&end).await))
    }
}

/// The part of the edge cache that belongs to one incarnation of one store.
pub struct SegmentCache {
    cache: Cache,
    store: StorePath,
    incarnation: Incarnation,
    prefix: String,
}

impl SegmentCache {
    /// `host` is the request's own: a Worker's cache is its zone's, and a zone answers for its own hosts only. Two hosts
    /// of one Worker have a cache each.
    pub async fn open(host: &str, store: &StorePath, incarnation: Incarnation) -> Self {
        let (id, index) = (encode(&incarnation.backend_id.0), encode(&incarnation.index.0));
        let prefix = format!("https://{host}/{CACHE}/{id}/{index}/{}", store.as_str());
        Self { cache: Cache::open(CACHE.into()).await, store: store.clone(), incarnation, prefix }
    }

    /// Every part encoded injectively: no two segments meet.
    fn key(&self, from: &Offset) -> String {
        format!("{}/{}", self.prefix, encode(&from.0))
    }

    fn implicit_id(&self) -> BackendId {
        BackendId::implicit(self.store.as_str())
    }

    /// A cache that fails is as good as none.
    async fn find(&self, from: &Offset) -> Option<Response> {
        self.cache.get(self.key(from), true).await.ok().flatten()
    }

    async fn holds(&self, from: &Offset) -> bool {
        self.find(from).await.inspect(discard).is_some()
    }

    /// Waits a second long for what another request of this isolate is about to keep. A look into the cache may count as a
    /// request, of which a free plan allows 50; a look at the claim costs nothing.
    async fn find_or_await(&self, from: &Offset) -> Option<Response> {
        let marked = FillClaims::has(&self.key(from));
        let found = self.find(from).await;
        // Those who look at the same time all find nothing; the first of them to come back has marked it by now.
        if found.is_some() || !(marked || FillClaims::has(&self.key(from))) {
            return found;
        }
        wait_while(|| FillClaims::has(&self.key(from)), Duration::from_secs(1)).await;
        self.find(from).await
    }

    /// What lies between two offsets of one incarnation never changes, so they make the tag.
    fn tag(&self, from: &Offset, end: &Offset) -> String {
        let mut tag = Fingerprinter::default();
        for part in [&self.incarnation.backend_id.0, &self.incarnation.index.0, &from.0, &end.0] {
            tag.event(part.as_bytes());
        }
        tag.fingerprint().to_hex()
    }

    /// A segment could not be read. What is not what the index says is not looked for again soon.
    fn gave_up(&self, from: &Offset, stop: FillError) -> FillOutcome {
        match stop {
            FillError::NoAnswer => FillOutcome::NoAnswer,
            FillError::SegmentMismatch(why) => {
                console_error!("not kept of {}: {why}", self.store.digest());
                tip_cache::invalidate(&self.store);
                Avoid::Index.set(self.key(from));
                FillOutcome::SegmentMismatch
            }
            FillError::Runtime(error) => {
                console_error!("filling the cache for {} failed: {error}", self.store.digest());
                FillOutcome::NoAnswer
            }
        }
    }
}

thread_local! {
    /// Keys of segments that a request of this isolate is about to keep, until when to believe it, and
    /// whose they are.
    static MARKED: RefCell<HashMap<String, (u64, u64)>> = RefCell::default();
    static LAST_OWNER: Cell<u64> = const { Cell::new(0) };

    /// What was met at a key of this isolate, until when to believe it.
    static AVOIDED: RefCell<Memory<String, (u64, Avoid), AVOIDED_KEYS>> = RefCell::default();
}

/// What is not to be tried again soon at a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Avoid {
    /// To keep the segment: the cache did not (on workers.dev there is none).
    Cache,
    /// To cut the segment: the log is not what the index says.
    Index,
}

impl Avoid {
    fn at(key: &str) -> Option<Self> {
        let (until, avoid) = AVOIDED.with_borrow(|all| all.get(key).copied())?;
        (now() < until).then_some(avoid)
    }

    fn set(self, key: String) {
        AVOIDED.with_borrow_mut(|all| all.insert(key, (now() + AVOID_MS, self)));
    }
}

/// What one filling has marked. The marks go with it, or with their time: the runtime drops nothing of a
/// request that it ends.
struct FillClaims {
    owner: u64,
    keys: Vec<String>,
}

impl FillClaims {
    fn on(key: String) -> Self {
        let owner = LAST_OWNER.get() + 1;
        LAST_OWNER.set(owner);
        let mut marks = Self { owner, keys: Vec::new() };
        marks.extend([key]);
        marks
    }

    fn extend(&mut self, keys: impl IntoIterator<Item = String>) {
        self.keys.extend(keys);
        self.renew();
    }

    /// One is done, and the rest may take as long again.
    fn clear(&mut self, key: &str) {
        self.keys.retain(|marked| marked != key);
        MARKED.with_borrow_mut(|all| all.remove(key));
        self.renew();
    }

    fn renew(&self) {
        let at_ms = now();
        let until = at_ms + PATIENCE.as_millis() as u64;
        MARKED.with_borrow_mut(|all| {
            all.retain(|_, (until, _)| at_ms < *until);
            all.extend(self.keys.iter().map(|key| (key.clone(), (until, self.owner))));
        });
    }

    fn has(key: &str) -> bool {
        MARKED.with_borrow(|all| all.get(key).is_some_and(|(until, _)| now() < *until))
    }
}

impl Drop for FillClaims {
    fn drop(&mut self) {
        MARKED.with_borrow_mut(|all| all.retain(|_, (_, owner)| *owner != self.owner));
    }
}
