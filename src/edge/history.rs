//! Sealed history: served from the edge cache, and brought there by whoever misses it first.
//!
//! A miss reads the log once, and keeps the segments after the wanted one as well: the upstream sends
//! everything up to the tail anyway, so one read for each segment would make it send the rest of the
//! log over and over. The filling belongs to no client, and goes on when the one that began it leaves.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use futures::channel::oneshot;
use worker::{Cache, Context, Date, Delay, Env, Response, console_error};

use super::cut::{Sealed, Segments};
use super::lookup::{self, Known};
use super::{Failure, reply};
use crate::event::{BackendId, Fingerprinter, Offset};
use crate::names::{StorePath, encode};
use crate::problem::Problem;
use crate::sequencer::call::{Located, Position};
use crate::sequencer::core::Reply;
use crate::sequencer::plan::Plan;
use crate::upstream::{Stream, discard};

/// The edge cache that is Headwater's alone.
const CACHE: &str = "headwater-segments";

/// A filling that has not come to its next segment for so long is not waited for.
const PATIENCE_MS: u64 = 5_000;

/// A cache that does not keep what it is given (on workers.dev there is none) is not tried for so long.
const DISTRUST_MS: u64 = 60_000;

/// A segment as it is kept and found again.
pub struct Page {
    /// The kept response: body, `Stream-Next-Offset` and `ETag`.
    pub response: Response,
    /// Whether it was in the cache.
    pub hit: bool,
}

/// The segment that begins at an offset; `None` if none does, and the log itself must be read.
pub async fn page(
    env: &Env,
    context: &Context,
    stream: Stream,
    store: &StorePath,
    known: &Known,
    from: &Offset,
) -> Result<Option<Page>, Failure> {
    if Date::now().as_millis() < DISTRUSTED_UNTIL.get() {
        return Ok(None);
    }
    let shelf = Shelf::open(store, known).await;
    if let Some(response) = shelf.find_or_await(from).await {
        return Ok(Some(Page { response, hit: true }));
    }
    let marks = Marks::on(shelf.key(from));
    let plan = match lookup::locate(env, store, Position::Offset(from.clone())).await? {
        Located::Found(plan) if !plan.segments.is_empty() => plan,
        _ => return Ok(None),
    };
    let (give, first) = oneshot::channel();
    context.wait_until(fill(shelf, stream, plan, marks, give));
    match first.await {
        Ok(First::Segment(response)) => Ok(Some(Page { response, hit: false })),
        Ok(First::Misfit) => Ok(None),
        Ok(First::NoAnswer) | Err(_) => Err(Problem::unavailable().into()),
    }
}

/// What became of the segment that a reader waits for.
enum First {
    Segment(Response),
    NoAnswer,
    /// The log is not what the index says, or refuses: what it answers itself is to be seen.
    Misfit,
}

async fn fill(shelf: Shelf, stream: Stream, plan: Plan, mut marks: Marks, give: oneshot::Sender<First>) {
    let mut give = Some(give);
    let end = match read(&shelf, stream, plan, &mut marks, &mut give).await {
        Ok(()) => return,
        Err(Stop::NoAnswer) => First::NoAnswer,
        Err(Stop::Misfit(why)) => {
            console_error!("not kept of {}: {why}", shelf.store.as_str());
            First::Misfit
        }
        Err(Stop::Runtime(error)) => {
            console_error!("filling the cache for {} failed: {error}", shelf.store.as_str());
            First::NoAnswer
        }
    };
    if let Some(give) = give {
        let _ = give.send(end);
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

/// Reads the log through the plan. The first segment goes to the reader before it goes to the cache.
async fn read(
    shelf: &Shelf,
    stream: Stream,
    plan: Plan,
    marks: &mut Marks,
    give: &mut Option<oneshot::Sender<First>>,
) -> Result<(), Stop> {
    // Each segment begins where the one before it ends.
    marks.extend(plan.segments.iter().skip(1).zip(&plan.segments).map(|(_, before)| shelf.key(&before.end)));
    let mut body = stream.open(&plan.from).await.map_err(|reply| match reply {
        Reply::Failed => Stop::NoAnswer,
        other => Stop::Misfit(format!("{other:?}")),
    })?;
    let mut trusted = false;
    let mut segments = Segments::new(plan, shelf.backend_id.clone(), shelf.implicit_id());
    while !segments.is_done() {
        let chunk = body.chunk().await.map_err(|_| Stop::NoAnswer)?;
        let chunk = chunk.ok_or_else(|| Stop::Misfit("the log is shorter than its index".into()))?;
        for sealed in segments.feed(chunk).map_err(|misfit| Stop::Misfit(misfit.to_string()))? {
            let mut kept = shelf.response(&sealed)?;
            if let Some(give) = give.take() {
                let _ = give.send(First::Segment(kept.cloned()?));
            }
            let put = shelf.cache.put(shelf.key(&sealed.from), kept).await;
            // Without a cache, to read ahead would be to read for nothing.
            trusted = put.is_ok() && (trusted || shelf.holds(&sealed.from).await);
            if !trusted {
                DISTRUSTED_UNTIL.set(Date::now().as_millis() + DISTRUST_MS);
                return Ok(());
            }
            marks.clear(&shelf.key(&sealed.from));
        }
    }
    Ok(())
}

/// The part of the edge cache that belongs to one life of one store.
struct Shelf {
    cache: Cache,
    store: StorePath,
    backend_id: BackendId,
    prefix: String,
}

impl Shelf {
    async fn open(store: &StorePath, known: &Known) -> Self {
        let (id, index) = (encode(&known.backend_id.0), encode(&known.sealed.index.0));
        Self {
            cache: Cache::open(CACHE.into()).await,
            store: store.clone(),
            backend_id: known.backend_id.clone(),
            prefix: format!("https://headwater.invalid/{id}/{index}/{}", store.as_str()),
        }
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

    /// What another request of this isolate is about to keep is looked for again and again: the runtime
    /// lets no request await what another one started.
    async fn find_or_await(&self, from: &Offset) -> Option<Response> {
        let mut pause = 4;
        loop {
            let marked = Marks::has(&self.key(from));
            let found = self.find(from).await;
            if found.is_some() || !marked {
                return found;
            }
            Delay::from(Duration::from_millis(pause)).await;
            pause = (pause * 2).min(64);
        }
    }

    fn response(&self, sealed: &Sealed) -> worker::Result<Response> {
        let mut tag = Fingerprinter::default();
        for part in [&self.backend_id.0, &sealed.from.0, &sealed.end.0, &sealed.fingerprint.to_hex()] {
            tag.event(part.as_bytes());
        }
        reply::segment(&sealed.body, &sealed.end, &tag.fingerprint().to_hex())
    }
}

thread_local! {
    /// Keys of segments that a request of this isolate is about to keep, and until when to believe it.
    static MARKED: RefCell<HashMap<String, u64>> = RefCell::default();

    /// Set by whoever did not find again what it had just put into the cache.
    static DISTRUSTED_UNTIL: Cell<u64> = const { Cell::new(0) };
}

/// What one filling has marked; the marks go with it.
struct Marks(Vec<String>);

impl Marks {
    fn on(key: String) -> Self {
        let mut marks = Self(Vec::new());
        marks.extend([key]);
        marks
    }

    fn extend(&mut self, keys: impl IntoIterator<Item = String>) {
        self.0.extend(keys);
        self.renew();
    }

    /// One is done, and the rest may take as long again.
    fn clear(&mut self, key: &str) {
        self.0.retain(|marked| marked != key);
        MARKED.with_borrow_mut(|all| all.remove(key));
        self.renew();
    }

    fn renew(&self) {
        let until = Date::now().as_millis() + PATIENCE_MS;
        MARKED.with_borrow_mut(|all| all.extend(self.0.iter().map(|key| (key.clone(), until))));
    }

    fn has(key: &str) -> bool {
        MARKED.with_borrow(|all| all.get(key).is_some_and(|until| Date::now().as_millis() < *until))
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        MARKED.with_borrow_mut(|all| all.retain(|key, _| !self.0.contains(key)));
    }
}
