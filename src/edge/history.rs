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
use worker::{Cache, Context, Date, Delay, Env, Response, console_error};

use super::cut::{Misfit, Passage, Sealed, Segments};
use super::lookup;
use super::pages::{Interior, Pages};
use super::{Failure, reply};
use crate::budget::Limits;
use crate::event::{BackendId, Fingerprinter, Offset};
use crate::lease::{FILLS, Lease};
use crate::names::{StorePath, encode};
use crate::problem::Problem;
use crate::sequencer::call::{Life, Located, Position};
use crate::sequencer::core::{Refusal, Reply};
use crate::sequencer::plan::Plan;
use crate::settings::Settings;
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
const FILLING: Limits = Limits { own_leases: 4, leases: 16, bytes: 16 << 20 };

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
pub async fn page(
    env: &Env,
    context: &Context,
    stream: Stream,
    shelf: Shelf,
    from: &Offset,
) -> Result<Option<Page>, Failure> {
    let interior = Interior::parse(from);
    let begin = interior.as_ref().map_or(from, |interior| &interior.run).clone();
    // Pages of a run are read from its begin, so what was met there holds for all of them.
    let met = || Avoid::at(&shelf.key(from)).or_else(|| Avoid::at(&shelf.key(&begin)));
    let is_avoided = met().is_some();
    let found = if is_avoided { shelf.find(from).await } else { shelf.find_or_await(from).await };
    if let Some(response) = found {
        return Ok(Some(Page { response, source: "HIT" }));
    }
    // Whoever was waited for may have met something.
    let avoided = met();
    if avoided == Some(Avoid::Index) {
        return Ok(None);
    }
    let marks = avoided.is_none().then(|| Marks::on(shelf.key(from)));
    let plan = match lookup::locate(env, &shelf.store, Position::Offset(begin.clone())).await? {
        Located::Found { life, .. } if life != shelf.life => {
            lookup::forget(&shelf.store);
            return Ok(None);
        }
        Located::Found { plan, .. } => plan,
        _ => return Ok(None),
    };
    let is_segment = interior.is_none() && !plan.segments.is_empty();
    let Some((mut marks, lease)) = marks.zip(begin_filling(&shelf, &plan)) else {
        return if is_segment { alone(shelf, stream, plan).await } else { Ok(None) };
    };
    let (id, implicit_id) = (shelf.life.backend_id.clone(), shelf.implicit_id());
    let cuts = if is_segment {
        // Each segment begins where the one before it ends.
        marks.extend(plan.segments.iter().skip(1).zip(&plan.segments).map(|(_, before)| shelf.key(&before.end)));
        Cuts::Segments(Segments::new(plan, id, implicit_id))
    } else {
        let size = Settings::of(env)?.segment;
        let Some(pages) = Pages::new(plan, interior, size, id, implicit_id) else { return Ok(None) };
        Cuts::Pages(pages)
    };
    let (give, first) = oneshot::channel();
    context.wait_until(fill(Filling { shelf, stream, from: from.clone(), begin, cuts, marks, lease }, give));
    match first.await {
        Ok(First::Segment(response)) => Ok(Some(Page { response, source: "MISS" })),
        Ok(First::Misfit) => Ok(None),
        Ok(First::NoAnswer) | Err(_) => Err(Problem::unavailable().into()),
    }
}

fn begin_filling(shelf: &Shelf, plan: &Plan) -> Option<Lease> {
    // A page of a run is about as long as a segment is.
    let longest = plan.segments.iter().map(|segment| segment.bytes).max().unwrap_or(RUN_PAGE_BYTES);
    Lease::take(&FILLS, shelf.store.as_str(), longest, FILLING_LASTS, FILLING)
}

/// Which of the segments that begin at these offsets are in this location's edge cache.
pub async fn kept(shelf: &Shelf, begins: &[Offset]) -> Vec<bool> {
    let mut kept = Vec::new();
    for from in begins {
        kept.push(shelf.holds(from).await);
    }
    kept
}

/// The first segment of a plan for one reader, while it is read. The read ends with the segment, or when the reader leaves.
async fn alone(shelf: Shelf, stream: Stream, plan: Plan) -> Result<Option<Page>, Failure> {
    let (from, end) = (plan.from.clone(), plan.segments[0].end.clone());
    let opened = match stream.open(&from).await {
        Ok(opened) => opened,
        Err(reply) => {
            return match shelf.gave_up(&from, reply.into()) {
                First::Misfit => Ok(None),
                _ => Err(Problem::unavailable().into()),
            };
        }
    };
    let passage = Passage::new(plan, shelf.life.backend_id.clone(), shelf.implicit_id());
    let tag = shelf.tag(&from, &end);
    let reading = Reading { shelf, stream, from, opened, passage };
    let bytes = stream::try_unfold(reading, |mut reading| async move {
        match reading.next().await {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, reading))),
            // The reader sees it break off, and asks again.
            Err(stop) => {
                reading.shelf.gave_up(&reading.from, stop);
                Err(worker::Error::from("the segment could not be read to its end"))
            }
        }
    });
    let response = reply::segment(reply::streamed(Box::pin(bytes))?, &end, &tag)?;
    Ok(Some(Page { response, source: "BYPASS" }))
}

/// A segment that is being passed on.
struct Reading {
    shelf: Shelf,
    stream: Stream,
    from: Offset,
    opened: Opened,
    passage: Passage,
}

impl Reading {
    /// The next bytes of the segment; `None` behind it.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        while !self.passage.is_done() {
            if let Some(chunk) = self.opened.body.chunk().await.map_err(|_| Stop::NoAnswer)? {
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
async fn turn(stream: &Stream, opened: &mut Opened) -> Result<(), Stop> {
    match stream.turn(opened).await? {
        true => Ok(()),
        false => Err(Stop::Misfit("the log is shorter than its index".into())),
    }
}

/// What became of the segment that a reader waits for.
enum First {
    Segment(Response),
    NoAnswer,
    /// The log is not what the index says, or refuses: what it answers itself is to be seen.
    Misfit,
}

/// A read of the log that brings what it is cut into to the cache.
struct Filling {
    shelf: Shelf,
    stream: Stream,
    /// Where the reader begins who waits for the first piece.
    from: Offset,
    /// Where the read begins.
    begin: Offset,
    cuts: Cuts,
    marks: Marks,
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

    fn next_page(&mut self) -> Result<(), Misfit> {
        match self {
            Self::Segments(segments) => segments.next_page(),
            Self::Pages(pages) => pages.next_page(),
        }
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<Vec<Sealed>, Misfit> {
        match self {
            Self::Segments(segments) => segments.feed(chunk),
            Self::Pages(pages) => pages.feed(chunk),
        }
    }
}

async fn fill(mut filling: Filling, give: oneshot::Sender<First>) {
    let mut give = Some(give);
    if let Err(stop) = filling.read(&mut give).await {
        let end = filling.shelf.gave_up(&filling.from, stop);
        if let Some(give) = give {
            let _ = give.send(end);
        }
    }
}

enum Stop {
    NoAnswer,
    Misfit(String),
    Runtime(worker::Error),
}

impl From<worker::Error> for Stop {
    fn from(error: worker::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<Misfit> for Stop {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit.to_string())
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Failed => Self::NoAnswer,
            Reply::Refused(Refusal { status, .. }) => Self::Misfit(format!("the log's server refused with {status}")),
            Reply::Missing | Reply::Gone => Self::Misfit("the log's server does not have it".into()),
            _ => Self::Misfit("it is no JSON".into()),
        }
    }
}

impl Filling {
    /// Reads the log until all is cut, or up to what is kept already. The first piece goes to the reader before it goes to
    /// the cache.
    async fn read(&mut self, give: &mut Option<oneshot::Sender<First>>) -> Result<(), Stop> {
        let mut opened = self.stream.open(&self.begin).await?;
        while !self.cuts.is_done() {
            let Some(chunk) = opened.body.chunk().await.map_err(|_| Stop::NoAnswer)? else {
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
    async fn keep(&mut self, piece: Sealed, give: &mut Option<oneshot::Sender<First>>) -> Result<bool, Stop> {
        let Self { shelf, marks, lease, .. } = self;
        let Sealed { from, end, body } = piece;
        let mut kept = reply::segment(Response::from_bytes(body)?, &end, &shelf.tag(&from, &end))?;
        let is_first = give.is_some();
        if let Some(give) = give.take() {
            let _ = give.send(First::Segment(kept.cloned()?));
        }
        if let Cuts::Pages(_) = self.cuts {
            // Nobody knew before where this one ends.
            marks.extend([shelf.key(&end)]);
        }
        let put = shelf.cache.put(shelf.key(&from), kept).await;
        marks.clear(&shelf.key(&from));
        lease.renew(FILLING_LASTS);
        if put.is_err() || (is_first && !shelf.holds(&from).await) {
            // It is not kept here, and to read on would be to read for nothing.
            Avoid::Cache.set(shelf.key(&from));
            return Ok(false);
        }
        Ok(!(is_first && shelf.holds(&end).await))
    }
}

/// The part of the edge cache that belongs to one life of one store.
pub struct Shelf {
    cache: Cache,
    store: StorePath,
    life: Life,
    prefix: String,
}

impl Shelf {
    /// `host` is the request's own: a Worker's cache is its zone's, and a zone answers for its own hosts only. Two hosts
    /// of one Worker have a shelf each.
    pub async fn open(host: &str, store: &StorePath, life: Life) -> Self {
        let (id, index) = (encode(&life.backend_id.0), encode(&life.index.0));
        let prefix = format!("https://{host}/{CACHE}/{id}/{index}/{}", store.as_str());
        Self { cache: Cache::open(CACHE.into()).await, store: store.clone(), life, prefix }
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

    /// What another request of this isolate is about to keep is waited for, a second long: the runtime lets
    /// no request await what another one started, so the mark is watched. A look into the cache may count as
    /// a request, of which a free plan allows 50; a look at the mark costs nothing.
    async fn find_or_await(&self, from: &Offset) -> Option<Response> {
        let marked = Marks::has(&self.key(from));
        let found = self.find(from).await;
        // Those who look at the same time all find nothing; the first of them to come back has marked it by now.
        if found.is_some() || !(marked || Marks::has(&self.key(from))) {
            return found;
        }
        let began = Date::now().as_millis();
        loop {
            let waited = Date::now().as_millis().saturating_sub(began);
            if waited >= 1_000 || !Marks::has(&self.key(from)) {
                return self.find(from).await;
            }
            Delay::from(Duration::from_millis(if waited < 100 { 2 } else { 16 })).await;
        }
    }

    /// What lies between two offsets of one life never changes, so they make the tag.
    fn tag(&self, from: &Offset, end: &Offset) -> String {
        let mut tag = Fingerprinter::default();
        for part in [&self.life.backend_id.0, &self.life.index.0, &from.0, &end.0] {
            tag.event(part.as_bytes());
        }
        tag.fingerprint().to_hex()
    }

    /// A segment could not be read. What is not what the index says is not looked for again soon.
    fn gave_up(&self, from: &Offset, stop: Stop) -> First {
        match stop {
            Stop::NoAnswer => First::NoAnswer,
            Stop::Misfit(why) => {
                console_error!("not kept of {}: {why}", self.store.digest());
                lookup::doubt(&self.store);
                Avoid::Index.set(self.key(from));
                First::Misfit
            }
            Stop::Runtime(error) => {
                console_error!("filling the cache for {} failed: {error}", self.store.digest());
                First::NoAnswer
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
    static AVOIDED: RefCell<HashMap<String, (u64, Avoid)>> = RefCell::default();
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
        (Date::now().as_millis() < until).then_some(avoid)
    }

    fn set(self, key: String) {
        AVOIDED.with_borrow_mut(|all| {
            if all.len() >= AVOIDED_KEYS {
                all.clear();
            }
            all.insert(key, (Date::now().as_millis() + AVOID_MS, self));
        });
    }
}

/// What one filling has marked. The marks go with it, or with their time: the runtime drops nothing of a
/// request that it ends.
struct Marks {
    owner: u64,
    keys: Vec<String>,
}

impl Marks {
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
        let now = Date::now().as_millis();
        let until = now + PATIENCE.as_millis() as u64;
        MARKED.with_borrow_mut(|all| {
            all.retain(|_, (until, _)| now < *until);
            all.extend(self.keys.iter().map(|key| (key.clone(), (until, self.owner))));
        });
    }

    fn has(key: &str) -> bool {
        MARKED.with_borrow(|all| all.get(key).is_some_and(|(until, _)| Date::now().as_millis() < *until))
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        MARKED.with_borrow_mut(|all| all.retain(|_, (_, owner)| *owner != self.owner));
    }
}
