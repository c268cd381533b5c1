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

use super::cut::{Misfit, Sealed, Segments};
use super::lookup::{self, Known};
use super::{Failure, reply};
use crate::event::{BackendId, Fingerprinter, Offset};
use crate::names::{StorePath, encode};
use crate::problem::Problem;
use crate::sequencer::call::{Life, Located, Position};
use crate::sequencer::core::{Refusal, Reply};
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
    let shelf = Shelf::open(store, known.life()).await;
    let trusted = Date::now().as_millis() >= DISTRUSTED_UNTIL.get();
    let found = if trusted { shelf.find_or_await(from).await } else { shelf.find(from).await };
    if let Some(response) = found {
        return Ok(Some(Page { response, hit: true }));
    }
    if !trusted {
        return Ok(None);
    }
    let marks = Marks::on(shelf.key(from));
    let plan = match lookup::locate(env, store, Position::Offset(from.clone())).await? {
        Located::Found { life, .. } if life != shelf.life => {
            lookup::forget(store);
            return Ok(None);
        }
        Located::Found { plan, .. } if !plan.segments.is_empty() => plan,
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

/// Which of the segments that begin at these offsets are in this location's edge cache.
pub async fn kept(store: &StorePath, life: Life, begins: &[Offset]) -> Vec<bool> {
    let shelf = Shelf::open(store, life).await;
    let mut kept = Vec::new();
    for from in begins {
        kept.push(shelf.holds(from).await);
    }
    kept
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
            console_error!("not kept of {}: {why}", shelf.store.digest());
            lookup::doubt(&shelf.store);
            First::Misfit
        }
        Err(Stop::Runtime(error)) => {
            console_error!("filling the cache for {} failed: {error}", shelf.store.digest());
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

/// Reads the log through the plan, up to what is kept already. The first segment goes to the reader
/// before it goes to the cache.
async fn read(
    shelf: &Shelf,
    stream: Stream,
    plan: Plan,
    marks: &mut Marks,
    give: &mut Option<oneshot::Sender<First>>,
) -> Result<(), Stop> {
    // Each segment begins where the one before it ends.
    marks.extend(plan.segments.iter().skip(1).zip(&plan.segments).map(|(_, before)| shelf.key(&before.end)));
    let (mut body, mut next) = stream.open(&plan.from).await?;
    let mut segments = Segments::new(plan, shelf.life.backend_id.clone(), shelf.implicit_id());
    while !segments.is_done() {
        let Some(chunk) = body.chunk().await.map_err(|_| Stop::NoAnswer)? else {
            let at = next.ok_or_else(|| Stop::Misfit("the log is shorter than its index".into()))?;
            segments.next_page()?;
            (body, next) = stream.open(&at).await?;
            continue;
        };
        for sealed in segments.feed(chunk)? {
            let Sealed { from, end, body } = sealed;
            let mut kept = shelf.response(&from, &end, body)?;
            let is_first = give.is_some();
            if let Some(give) = give.take() {
                let _ = give.send(First::Segment(kept.cloned()?));
            }
            let put = shelf.cache.put(shelf.key(&from), kept).await;
            marks.clear(&shelf.key(&from));
            if is_first && (put.is_err() || !shelf.holds(&from).await) {
                // Without a cache, to read ahead would be to read for nothing.
                DISTRUSTED_UNTIL.set(Date::now().as_millis() + DISTRUST_MS);
                return Ok(());
            }
            put?;
            if is_first && shelf.holds(&end).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The part of the edge cache that belongs to one life of one store.
struct Shelf {
    cache: Cache,
    store: StorePath,
    life: Life,
    prefix: String,
}

impl Shelf {
    async fn open(store: &StorePath, life: Life) -> Self {
        let (id, index) = (encode(&life.backend_id.0), encode(&life.index.0));
        let prefix = format!("https://headwater.invalid/{id}/{index}/{}", store.as_str());
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
    fn response(&self, from: &Offset, end: &Offset, body: Vec<u8>) -> worker::Result<Response> {
        let mut tag = Fingerprinter::default();
        for part in [&self.life.backend_id.0, &self.life.index.0, &from.0, &end.0] {
            tag.event(part.as_bytes());
        }
        reply::segment(body, end, &tag.fingerprint().to_hex())
    }
}

thread_local! {
    /// Keys of segments that a request of this isolate is about to keep, until when to believe it, and
    /// whose they are.
    static MARKED: RefCell<HashMap<String, (u64, u64)>> = RefCell::default();
    static LAST_OWNER: Cell<u64> = const { Cell::new(0) };

    /// Set by whoever did not find again what it had just put into the cache.
    static DISTRUSTED_UNTIL: Cell<u64> = const { Cell::new(0) };
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
        MARKED.with_borrow_mut(|all| {
            all.retain(|_, (until, _)| now < *until);
            all.extend(self.keys.iter().map(|key| (key.clone(), (now + PATIENCE_MS, self.owner))));
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
